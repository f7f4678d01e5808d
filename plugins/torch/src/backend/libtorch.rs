//! Training by libtorch: on any device, and on the grid of an INT8 model. Knows steps and tensors; knows no epochs and no
//! files.

use dataset::Split;
use tch::{Kind, Reduction, Tensor};

use super::{At, Backend, Task, TrainState, with_shares};
use crate::data::device_images::DeviceImages;
use crate::data::loader::Batch;
use crate::error::TorchError;
use crate::net::Net;
use crate::net::kernel::Pass;
use crate::net::parameters::Parameters;
use crate::net::score::Inference;
use crate::net::teacher::Teacher;
use crate::optim::device::DeviceOptimizer;
use crate::optim::loss::Outcome;
use crate::optim::{Rules, kept};
use crate::params::Distill;
use crate::random::seed_libtorch;
use crate::tensor::{MemoryFormat, inference, to_device, to_host, to_images, whole_to_device};

/// Images at a time when validating.
const EVALUATION_BATCH: usize = 256;

/// A network that learns.
pub(crate) struct Libtorch<'a> {
    task: Task<'a>,
    rules: &'a Rules,
    net: Net,
    optimizer: DeviceOptimizer<'a>,
    class_weights: Option<Tensor>,
    /// Averages of trained values and of statistics.
    average: Option<[Tensor; 2]>,
    teacher: Option<(Net, Distill)>,
    /// Where images are made, unless on the host.
    device_images: Option<DeviceImages>,
    epoch: Option<u32>,
    /// Loss, and number of right answers, of each step that nobody asked for yet.
    outcomes: Vec<[Tensor; 2]>,
}

impl<'a> Libtorch<'a> {
    /// Goes on from `train_state`. Images come from the host, unless from `device_images`.
    pub(crate) fn new(
        task: Task<'a>,
        rules: &'a Rules,
        train_state: &TrainState,
        device_images: Option<DeviceImages>,
    ) -> Result<Self, TorchError> {
        let Task { graph, fake_quants, device, precision, teacher, .. } = task;
        let put = |values: &[f32]| to_device(values, device);
        Ok(Self {
            net: Net::new(graph, &train_state.parameters, device, true, fake_quants)?.learning_in(precision),
            optimizer: DeviceOptimizer::new(rules, &train_state.velocity, device)?,
            class_weights: rules.class_weights.as_deref().map(put).transpose()?,
            average: match &train_state.average {
                Some(parameters) => Some([put(&parameters.values)?, put(&parameters.stats)?]),
                None => None,
            },
            teacher: match teacher {
                Some(Teacher { graph, parameters, distill }) => {
                    Some((Net::new(graph, parameters, device, false, None)?, *distill))
                }
                None => None,
            },
            device_images,
            epoch: None,
            outcomes: Vec::new(),
            task,
            rules,
        })
    }
}

impl Backend for Libtorch<'_> {
    fn makes_images(&self) -> bool {
        self.device_images.is_some()
    }

    fn step(&mut self, batch: &Batch, at: At) -> Result<(), TorchError> {
        let (Task { graph, device, .. }, rules) = (self.task, self.rules);
        if self.epoch != Some(at.epoch) {
            self.epoch = Some(at.epoch);
            seed_libtorch(rules.seed, at.epoch);
        }
        let images = match &self.device_images {
            Some(device_images) => device_images.images(&batch.seen)?,
            None => to_images(&batch.images, graph.input_shape(), device, MemoryFormat::ChannelsLast)?,
        };
        let labels = whole_to_device(&batch.labels, device)?;
        let logits = self.net.forward(&images, true)?;
        let mut loss = cross_entropy(&logits, &labels, rules.smoothing, self.class_weights.as_ref())?;
        if let Some((teacher, Distill { weight, temperature })) = &self.teacher {
            let soft = |logits: &Tensor| logits.f_div_scalar(*temperature)?.f_log_softmax(1, Kind::Float);
            let told =
                inference(|| -> Result<_, TorchError> { Ok(soft(&teacher.forward(&images, false)?)?) })?;
            let share = weight * temperature.powi(2) / batch.labels.len() as f64;
            let divergence = soft(&logits)?.f_kl_div(&told, Reduction::Sum, true)?.f_mul_scalar(share)?;
            loss = loss.f_mul_scalar(1.0 - weight)?.f_add(&divergence)?;
        }
        let gradient = self.net.gradient(&loss)?;
        self.optimizer.step(self.net.values_mut(), gradient, at.lr)?;
        if let (Some(decay), Some([values, _])) = (rules.average, &mut self.average) {
            let share = 1.0 - kept(decay, at.step);
            inference(|| values.f_lerp_(self.net.values_mut(), share).map(drop))?;
        }
        let right = logits.f_argmax(-1, false)?.f_eq_tensor(&labels)?.f_sum(Kind::Int64)?;
        self.outcomes.push([loss.f_detach()?, right]);
        Ok(())
    }

    fn outcomes(&mut self) -> Result<Vec<Outcome>, TorchError> {
        let told = std::mem::take(&mut self.outcomes);
        if told.is_empty() {
            return Ok(Vec::new());
        }
        let all = |part: usize, kind| -> Result<Tensor, TorchError> {
            let values: Vec<_> = told.iter().map(|outcome| &outcome[part]).collect();
            Ok(Tensor::f_stack(&values, 0)?.f_to_kind(kind)?)
        };
        let losses = Vec::<f64>::try_from(all(0, Kind::Double)?)?;
        let right = Vec::<i64>::try_from(all(1, Kind::Int64)?)?;
        Ok(losses
            .into_iter()
            .zip(right)
            .map(|(loss, right)| Outcome { loss, correct: right.unsigned_abs() })
            .collect())
    }

    fn estimate_statistics(&mut self, split: &Split, batches: &[&[usize]]) -> Result<(), TorchError> {
        let Task { graph, normalization, fake_quants, device, .. } = self.task;
        let Some([values, stats]) = &self.average else { return Ok(()) };
        let net = Net::of(graph, values.shallow_clone(), stats.shallow_clone(), false, fake_quants)?;
        let mut images = Vec::new();
        for (batch, share) in with_shares(batches) {
            images.clear();
            normalization.apply(split, batch, &mut images);
            let images = to_images(&images, graph.input_shape(), device, MemoryFormat::ChannelsLast)?;
            let _logits = inference(|| net.pass(&images, Pass::Observing { share }))?;
        }
        Ok(())
    }

    fn train_state(&self) -> Result<TrainState, TorchError> {
        let average = match &self.average {
            Some([values, stats]) => Some(Parameters { values: to_host(values)?, stats: to_host(stats)? }),
            None => None,
        };
        Ok(TrainState {
            parameters: self.net.parameters()?,
            velocity: to_host(self.optimizer.velocity())?,
            average,
        })
    }

    fn logits(&mut self, split: &Split, indices: &[usize]) -> Result<Vec<f32>, TorchError> {
        let Task { graph, normalization, fake_quants, device, .. } = self.task;
        let inference = Inference { normalization, device, batch_size: EVALUATION_BATCH };
        match &self.average {
            None => inference.logits(&self.net, split, indices, |_| {}),
            Some([values, stats]) => {
                let net = Net::of(graph, values.shallow_clone(), stats.shallow_clone(), false, fake_quants)?;
                inference.logits(&net, split, indices, |_| {})
            }
        }
    }
}

/// The loss of logits `[N, classes]`, by the formula of [`crate::optim::loss::CrossEntropy::of`]. libtorch's own, with weights and
/// smoothing, makes the host wait: it looks for labels to ignore.
fn cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    smoothing: f64,
    weights: Option<&Tensor>,
) -> Result<Tensor, TorchError> {
    let likely = logits.f_log_softmax(1, Kind::Float)?;
    let own = likely.f_gather(1, &labels.f_unsqueeze(1)?, false)?.f_squeeze_dim(1)?;
    let (own, all, total) = match weights {
        None => (own, likely, None),
        Some(weights) => {
            let counts = weights.f_index_select(0, labels)?;
            (own.f_mul(&counts)?, likely.f_mul(weights)?, Some(counts.f_sum(Kind::Float)?))
        }
    };
    let size = logits.size();
    let [images, classes] = [0, 1].map(|axis: usize| size[axis] as f64);
    let (own, all) = (own.f_sum(Kind::Float)?, all.f_sum(Kind::Float)?);
    let sum = own.f_mul_scalar(smoothing - 1.0)?.f_add(&all.f_mul_scalar(-smoothing / classes)?)?;
    Ok(match total {
        None => sum.f_div_scalar(images)?,
        Some(total) => sum.f_div(&total)?,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use dataset::Normalization;
    use tch::Device;

    use super::*;
    use crate::data::loader::Loader;
    use crate::fixtures::{alone, network, synthetic};
    use crate::params::{EngineName, Precision, TrainParams};
    use crate::random::{Purpose, generator};

    #[test]
    fn the_loss_is_libtorchs_own() {
        let logits = Tensor::from_slice(&[1.0_f32, 2.0, 0.5, -1.0, 0.0, 3.0, 0.2, 0.1, -0.3]).view((3, 3));
        let labels = Tensor::from_slice(&[1_i64, 2, 0]);
        for weights in [None, Some(Tensor::from_slice(&[0.5_f32, 2.0, 1.5]))] {
            for smoothing in [0.0, 0.1] {
                let own = cross_entropy(&logits, &labels, smoothing, weights.as_ref()).unwrap();
                let wanted =
                    logits.cross_entropy_loss(&labels, weights.as_ref(), Reduction::Mean, -100, smoothing);
                assert!(
                    (own.double_value(&[]) - wanted.double_value(&[])).abs() < 1e-6,
                    "{own:?} {wanted:?}"
                );
            }
        }
    }

    /// What an epoch comes to with images of the host, and with those that the device makes.
    #[test]
    fn it_learns_the_same_from_images_made_on_the_device() {
        let _turn = alone();
        let params: TrainParams =
            serde_json::from_value(serde_json::json!({"network": network(), "label_smoothing": 0.1}))
                .unwrap();
        let graph = params.network.lower(2).unwrap();
        let split = synthetic(64, 2).train;
        let normalization = Normalization { mean: vec![0.5; 2], std: vec![0.25; 2] };
        let rules = Rules::new(&params, &graph, None);
        let parameters = Parameters::initial(&graph, &mut generator(1, Purpose::Initialization, 0));
        let velocity = vec![0.0; parameters.values.len()];
        let train_state = TrainState { parameters, velocity, average: None };
        let task = Task {
            graph: &graph,
            normalization: &normalization,
            fake_quants: None,
            engine: EngineName::Libtorch,
            precision: Precision::Float32,
            teacher: None,
            device: Device::Cpu,
            threads: 1,
        };
        let indices: Vec<_> = (0..64).collect();
        let run = |on_device: bool| {
            let loader = Loader {
                split: &split,
                indices: &indices,
                augment: params.augment,
                normalization: &normalization,
                batch_size: 16,
                seed: 1,
                renders: !on_device,
            };
            let device_images = on_device.then(|| DeviceImages::new(Device::Cpu, &loader).unwrap());
            let mut engine = Libtorch::new(task, &rules, &train_state, device_images).unwrap();
            assert_eq!(engine.makes_images(), on_device);
            let (sender, receiver) = sync_channel(8);
            loader.send(0..2, &sender);
            drop(sender);
            for (step, batch) in receiver.into_iter().enumerate() {
                let step = step as u64;
                engine.step(&batch, At { epoch: (step / 4) as u32, step, lr: 0.1 }).unwrap();
            }
            let outcomes = engine.outcomes().unwrap();
            assert_eq!((outcomes.len(), engine.outcomes().unwrap().len()), (8, 0), "each is told once");
            (outcomes, engine.train_state().unwrap())
        };
        assert!(run(false) == run(true));
    }
}
