//! How a step changes a network's numbers: what of a recipe concerns it, and which numbers learn by which rule. Knows numbers and
//! their places; knows no images, no epochs and nobody who computes.

use std::ops::Range;

use model::{Graph, ParamKind};

use self::muon::{Matrix, Muon};
use self::sgd::Momentum;
use crate::net::parameters::placed;
use crate::params::TrainParams;

pub(crate) mod device;
pub(crate) mod host;
pub(crate) mod loss;
pub(crate) mod muon;
pub(crate) mod sgd;

/// What of a recipe concerns a single step.
pub(crate) struct Rules {
    /// How past gradients go along.
    pub(crate) momentum: Momentum,
    /// Pull towards zero, by value.
    pub(crate) weight_decay: Vec<f32>,
    /// What learns by gradient descent: places of values.
    pub(crate) descended: Vec<Range<usize>>,
    /// What learns by Muon.
    pub(crate) muon: Option<Muon>,
    /// Maximum global gradient norm.
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
            momentum: Momentum { share: params.momentum, nesterov: params.nesterov },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_matrix_has_is_descended() {
        let params: TrainParams =
            serde_json::from_value(serde_json::json!({"network": crate::fixtures::network(), "muon": {}}))
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
