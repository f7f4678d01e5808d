//! What a training asks of those who compute: a step, a snapshot, logits. Two do: [`crate::native`] on a CPU, and
//! [`crate::libtorch`] anywhere and with anything.

use std::ops::Range;

use dataset::Split;
use model::{Graph, ParamKind};

use crate::batches::Batch;
use crate::loss::Outcome;
use crate::muon::{Matrix, Muon};
use crate::net::TorchError;
use crate::params::TrainParams;
use crate::state::{State, placed};

/// Batches, each with what it counts in the mean over all images so far, its own the last.
pub(crate) fn with_shares<'a>(batches: &'a [&'a [usize]]) -> impl Iterator<Item = (&'a [usize], f64)> {
    batches.iter().scan(0, |seen, &batch| {
        *seen += batch.len();
        Some((batch, batch.len() as f64 / *seen as f64))
    })
}

/// What of a recipe concerns a single step.
pub(crate) struct Rules {
    /// Share of the velocity that is kept.
    pub(crate) momentum: f64,
    /// Whether the gradient is looked up ahead.
    pub(crate) nesterov: bool,
    /// Pull towards zero, by value.
    pub(crate) weight_decay: Vec<f32>,
    /// What learns by gradient descent: places of values.
    pub(crate) descended: Vec<Range<usize>>,
    /// What learns by Muon.
    pub(crate) muon: Option<Muon>,
    /// Largest global norm of a gradient.
    pub(crate) clip: Option<f64>,
    /// Share of the target spread evenly over all classes.
    pub(crate) smoothing: f64,
    /// A weight of each class.
    pub(crate) class_weights: Option<Vec<f32>>,
    /// Decay of the running average of the weights.
    pub(crate) average: Option<f64>,
    /// Seed of everything random.
    pub(crate) seed: u64,
}

impl Rules {
    /// Those of `params` for a network; `class_weights` by class.
    pub(crate) fn new(params: &TrainParams, graph: &Graph, class_weights: Option<Vec<f32>>) -> Self {
        let muon = Muon::new(params, graph);
        let mut weight_decay = Vec::with_capacity(graph.parameter_count());
        for (param, _) in placed(graph).iter().filter(|(param, _)| param.kind.trainable()) {
            let pulled = params.decay_norms || param.kind == ParamKind::Weight;
            let pull = if pulled { params.weight_decay as f32 } else { 0.0 };
            weight_decay.extend(std::iter::repeat_n(pull, param.count()));
        }
        Self {
            momentum: params.momentum,
            nesterov: params.nesterov,
            descended: descended(weight_decay.len(), muon.as_ref().map_or(&[], Muon::matrices)),
            weight_decay,
            muon,
            clip: params.clip_grad,
            smoothing: params.label_smoothing,
            class_weights,
            average: params.ema,
            seed: params.seed,
        }
    }
}

/// Of `count` values the places that no matrix has.
fn descended(count: usize, matrices: &[Matrix]) -> Vec<Range<usize>> {
    let ends = matrices.iter().map(|matrix| matrix.range()).chain(std::iter::once(count..count));
    let mut from = 0;
    let gap = |range: Range<usize>| std::mem::replace(&mut from, range.end)..range.start;
    ends.map(gap).filter(|gap| !gap.is_empty()).collect()
}

/// How much of an average with a `decay` is kept in a step, counted from 0: less at first, when there is little to average
/// (as TensorFlow's `ExponentialMovingAverage` with `num_updates`).
pub(crate) fn kept(decay: f64, step: u64) -> f64 {
    let steps = step as f64;
    decay.min((1.0 + steps) / (10.0 + steps))
}

/// Which step of a training.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    /// The epoch, from 0.
    pub(crate) epoch: u32,
    /// The step since the first epoch, from 0.
    pub(crate) step: u64,
    /// Its learning rate.
    pub(crate) lr: f64,
}

/// What a training has come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Learned {
    /// The network's numbers.
    pub(crate) state: State,
    /// The optimiser's velocity.
    pub(crate) velocity: Vec<f32>,
    /// The running average of the trained numbers, with statistics of its own.
    pub(crate) average: Option<State>,
}

impl Learned {
    /// What is validated and kept: the average, where there is one.
    pub(crate) fn kept(&self) -> &State {
        self.average.as_ref().unwrap_or(&self.state)
    }
}

/// Who computes.
pub(crate) trait Engine {
    /// Whether it makes images itself, from what of them is seen.
    fn makes_images(&self) -> bool {
        false
    }

    /// Learns from a batch. A device may still be at it afterwards.
    fn step(&mut self, batch: &Batch, at: At) -> Result<(), TorchError>;

    /// What each step came to since this was last asked; waits for the device.
    fn outcomes(&mut self) -> Result<Vec<Outcome>, TorchError>;

    /// Brings the statistics of averaged weights up to date: their mean over batches of images of `split`, each batch by its
    /// size. Those that were seen on the way are of other weights (Izmailov et al., *Averaging Weights Leads to Wider Optima
    /// and Better Generalization* (2018), §3.2). Does nothing without an average.
    fn estimate_statistics(&mut self, split: &Split, batches: &[&[usize]]) -> Result<(), TorchError>;

    /// A copy of everything that later steps depend on.
    fn learned(&self) -> Result<Learned, TorchError>;

    /// Logits `[N, classes]` of images, by what is kept.
    fn logits(&mut self, split: &Split, indices: &[usize]) -> Result<Vec<f32>, TorchError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_matrix_has_is_descended() {
        let params: TrainParams =
            crate::params::parse(&serde_json::json!({"network": crate::fixtures::network(), "muon": {}}))
                .unwrap();
        let graph = params.network.lower(2).unwrap();
        let rules = Rules::new(&params, &graph, None);
        let mut times = vec![0; rules.weight_decay.len()];
        let turned = rules.muon.iter().flat_map(Muon::matrices).map(|matrix| matrix.range());
        for place in turned.chain(rules.descended.iter().cloned()).flatten() {
            times[place] += 1;
        }
        assert!(times.iter().all(|&times| times == 1) && !rules.descended.is_empty());
        let matrices = rules.muon.as_ref().unwrap().matrices();
        assert_eq!(matrices[0].range().start, 0, "the first number is a matrix's");
        // Between two that touch, and behind one at the end, there is nothing.
        assert!(descended(matrices[0].range().end, &matrices[..1]).is_empty());
        assert_eq!(descended(9, &[]).iter().cloned().flatten().count(), 9);
    }
}
