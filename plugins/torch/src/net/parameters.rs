//! The numbers of a network on the host, flat: what gradients train, and the running statistics. Knows how they map
//! to named tensors of a state dict; knows no libtorch.

use std::collections::BTreeMap;

use model::{Graph, ModelError, Op, Param, ParamKind, Weights};
use rand::Rng;
use tensors::{Data, Tensor};

/// All numbers of a network, each part in the order of [`Graph::params`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parameters {
    /// What gradients train.
    pub(crate) values: Vec<f32>,
    /// Running means and variances.
    pub(crate) stats: Vec<f32>,
}

impl Parameters {
    /// PyTorch's default initialisation: weights and biases uniform within ±1/√fan_in (He's uniform with a = √5, as
    /// `torch.nn.Conv2d` and `Linear` do), normalisation that changes nothing.
    pub(crate) fn initial(graph: &Graph, rng: &mut impl Rng) -> Self {
        let (mut values, mut stats) = (Vec::with_capacity(graph.parameter_count()), Vec::new());
        // A bias follows its weight and shares its fan-in.
        let mut bound = 0.0;
        for param in graph.params() {
            let count = param.count();
            match param.kind {
                ParamKind::Weight | ParamKind::Bias => {
                    if param.kind == ParamKind::Weight {
                        let fan_in: usize = param.shape.iter().skip(1).product();
                        bound = 1.0 / (fan_in.max(1) as f32).sqrt();
                    }
                    values.extend((0..count).map(|_| (rng.random::<f32>() * 2.0 - 1.0) * bound));
                }
                ParamKind::NormScale => values.extend(std::iter::repeat_n(1.0, count)),
                ParamKind::NormShift => values.extend(std::iter::repeat_n(0.0, count)),
                ParamKind::RunningMean => stats.extend(std::iter::repeat_n(0.0, count)),
                ParamKind::RunningVar => stats.extend(std::iter::repeat_n(1.0, count)),
            }
        }
        Self { values, stats }
    }

    /// The numbers of `weights`, which belong to `graph`.
    pub(crate) fn from_weights(graph: &Graph, weights: &Weights) -> Result<Self, ModelError> {
        let (mut values, mut stats) = (Vec::new(), Vec::new());
        for param in graph.params() {
            let part = if param.kind.trainable() { &mut values } else { &mut stats };
            part.extend_from_slice(weights.values(&param.name)?);
        }
        Ok(Self { values, stats })
    }

    /// A state dict, with PyTorch's counter of `steps` beside each normalisation's statistics.
    pub(crate) fn to_tensors(&self, graph: &Graph, steps: u64) -> BTreeMap<String, Tensor> {
        let mut tensors = BTreeMap::new();
        for (param, place) in placed(graph) {
            let part = if param.kind.trainable() { &self.values } else { &self.stats };
            let values = part[place..place + param.count()].to_vec();
            if let Some(tensor) = Tensor::new(param.shape, Data::F32(values)) {
                tensors.insert(param.name, tensor);
            }
        }
        for node in graph.nodes() {
            if let Op::BatchNorm(norm) = &node.op
                && let Some(counter) = Tensor::new(vec![], Data::I64(vec![steps.cast_signed()]))
            {
                tensors.insert(format!("{}.num_batches_tracked", norm.prefix), counter);
            }
        }
        tensors
    }

    /// Whether every number is finite.
    pub(crate) fn is_finite(&self) -> bool {
        self.values.iter().chain(&self.stats).all(|value| value.is_finite())
    }
}

/// Each parameter with the place of its first number in its part: `values` or `stats`.
pub(crate) fn placed(graph: &Graph) -> Vec<(Param, usize)> {
    let (mut values, mut stats) = (0, 0);
    let place = |param: Param| {
        let part = if param.kind.trainable() { &mut values } else { &mut stats };
        let place = *part;
        *part += param.count();
        (param, place)
    };
    graph.params().into_iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};
    use dataset::Normalization;
    use model::{Network, WeightsMetadata};

    #[test]
    fn initial_values_have_pytorchs_spread() {
        let graph = Network::tinynet().lower(10).unwrap();
        let parameters = Parameters::initial(&graph, &mut generator(42, Purpose::Initialization, 0));
        assert_eq!(parameters.values.len(), 78_630);
        for (param, place) in placed(&graph) {
            let part = if param.kind.trainable() { &parameters.values } else { &parameters.stats };
            let values = &part[place..place + param.count()];
            let expected = match param.kind {
                ParamKind::NormScale | ParamKind::RunningVar => (1.0, 1.0),
                ParamKind::NormShift | ParamKind::RunningMean => (0.0, 0.0),
                ParamKind::Weight => {
                    let bound = 1.0 / (param.shape[1..].iter().product::<usize>() as f32).sqrt();
                    (-bound, bound)
                }
                ParamKind::Bias => continue,
            };
            let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
            assert!(expected.0 <= low && high <= expected.1, "{}: {low} to {high}", param.name);
            if param.kind == ParamKind::Weight {
                assert!(low < 0.9 * expected.0 && high > 0.9 * expected.1, "{}: {low} to {high}", param.name);
            }
        }
    }

    #[test]
    fn a_state_dict_and_back() {
        let graph = Network::tinynet().lower(10).unwrap();
        let parameters = Parameters::initial(&graph, &mut generator(1, Purpose::Initialization, 0));
        let metadata = WeightsMetadata {
            network: Network::tinynet(),
            classes: (0..10).map(|class| class.to_string()).collect(),
            normalization: Normalization::cifar10(),
            held_out: None,
        };
        let weights = Weights::new(parameters.to_tensors(&graph, 7), metadata).unwrap();
        assert_eq!(weights.tensors["stem.1.num_batches_tracked"].data(), &Data::I64(vec![7]));
        assert_eq!(Parameters::from_weights(&graph, &weights).unwrap(), parameters);
    }
}
