//! Training by libtorch: on any device, and on the grid of an INT8 model.

use dataset::{Normalization, Split};
use model::Graph;
use tch::{Device, Reduction, Tensor};

use crate::batches::Batch;
use crate::engine::{At, Engine, Learned, Rules, kept};
use crate::loss::Outcome;
use crate::net::{MemoryFormat, Net, TorchError, inference, to_host, to_images};
use crate::random::seed_libtorch;
use crate::rounding::NodeRounding;
use crate::score::Inference;
use crate::sgd::Sgd;
use crate::state::State;

/// Images at a time when validating.
const EVALUATION_BATCH: usize = 256;

/// What a network is computed from.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// The network.
    pub(crate) graph: &'a Graph,
    /// What concerns a step.
    pub(crate) rules: &'a Rules,
    /// How pixels become input.
    pub(crate) normalization: &'a Normalization,
    /// How each node is rounded, if its INT8 model is what learns.
    pub(crate) roundings: Option<&'a [NodeRounding]>,
    /// Where.
    pub(crate) device: Device,
}

/// A network that learns.
pub(crate) struct Libtorch<'a> {
    setting: Setting<'a>,
    net: Net,
    sgd: Sgd,
    class_weights: Option<Tensor>,
    /// Averages of trained values and of statistics.
    average: Option<[Tensor; 2]>,
    epoch: Option<u32>,
}

impl<'a> Libtorch<'a> {
    /// Goes on from `learned`.
    pub(crate) fn new(setting: Setting<'a>, learned: &Learned) -> Result<Self, TorchError> {
        let Setting { graph, rules, roundings, device, .. } = setting;
        let put = |values: &[f32]| Tensor::f_from_slice(values)?.f_to_device(device);
        Ok(Self {
            net: Net::new(graph, &learned.state, device, true, roundings)?,
            sgd: Sgd {
                velocity: put(&learned.velocity)?,
                momentum: rules.momentum,
                nesterov: rules.nesterov,
                weight_decay: put(&rules.weight_decay)?,
                clip: rules.clip,
            },
            class_weights: rules.class_weights.as_deref().map(put).transpose()?,
            average: match &learned.average {
                Some(state) => Some([put(&state.values)?, put(&state.stats)?]),
                None => None,
            },
            epoch: None,
            setting,
        })
    }
}

impl Engine for Libtorch<'_> {
    fn step(&mut self, batch: &Batch, at: At) -> Result<Outcome, TorchError> {
        let Setting { graph, rules, device, .. } = self.setting;
        if self.epoch != Some(at.epoch) {
            self.epoch = Some(at.epoch);
            seed_libtorch(rules.seed, at.epoch);
        }
        let images = to_images(&batch.images, graph.input_shape(), device, MemoryFormat::ChannelsLast)?;
        let labels = Tensor::f_from_slice(&batch.labels)?.f_to_device(device)?;
        let logits = self.net.forward(&images, true)?;
        let weights = self.class_weights.as_ref();
        let loss = logits.f_cross_entropy_loss(&labels, weights, Reduction::Mean, -100, rules.smoothing)?;
        let gradient = self.net.gradient(&loss)?;
        self.sgd.step(self.net.values_mut(), gradient, at.lr)?;
        if let (Some(decay), Some([values, stats])) = (rules.average, &mut self.average) {
            let share = 1.0 - kept(decay, at.step);
            inference(|| -> Result<(), TorchError> {
                let _ = values.f_lerp_(self.net.values_mut(), share)?;
                let _ = stats.f_lerp_(self.net.stats(), share)?;
                Ok(())
            })?;
        }
        let right = logits.f_argmax(-1, false)?.f_eq_tensor(&labels)?.f_sum(tch::Kind::Int64)?;
        Ok(Outcome { loss: loss.f_double_value(&[])?, correct: right.f_int64_value(&[])?.unsigned_abs() })
    }

    fn learned(&self) -> Result<Learned, TorchError> {
        let average = match &self.average {
            Some([values, stats]) => Some(State { values: to_host(values)?, stats: to_host(stats)? }),
            None => None,
        };
        Ok(Learned { state: self.net.state()?, velocity: to_host(&self.sgd.velocity)?, average })
    }

    fn logits(&mut self, split: &Split, indices: &[usize]) -> Result<Vec<f32>, TorchError> {
        let Setting { graph, normalization, roundings, device, .. } = self.setting;
        let inference = Inference { normalization, device, batch_size: EVALUATION_BATCH };
        match &self.average {
            None => inference.logits(&self.net, split, indices, |_| {}),
            Some([values, stats]) => {
                let net = Net::of(graph, values.shallow_clone(), stats.shallow_clone(), false, roundings)?;
                inference.logits(&net, split, indices, |_| {})
            }
        }
    }
}
