//! A graph as libtorch computes it. Knows tensors and devices; knows no data, no loss and no files.
//!
//! All trained numbers lie in one flat tensor, of which each parameter is a view: the optimiser is then a handful of
//! operations however many parameters there are.

use model::{Graph, Node};
use quant::ActivationGrid;
use tch::{Device, Kind, Tensor};

use self::fake_quant::NodeFakeQuant;
use self::kernel::{Kernel, Pass};
use self::parameters::{Parameters, placed};
use crate::error::TorchError;
use crate::params::Precision;
use crate::tensor::{to_device, to_host};

pub(crate) mod fake_quant;
pub(crate) mod kernel;
pub(crate) mod parameters;
pub(crate) mod score;
pub(crate) mod teacher;

/// A network on a device.
pub(crate) struct Net {
    values: Tensor,
    stats: Tensor,
    leaves: Vec<Tensor>,
    steps: Vec<Step>,
    precision: Precision,
}

/// One node: what to compute, how to round it, from which nodes, and which results nobody needs afterwards.
struct Step {
    kernel: Kernel,
    outcome: Option<ActivationGrid>,
    inputs: Vec<usize>,
    frees: Vec<usize>,
}

impl Net {
    /// Puts `parameters` on `device`. Gradients can be taken where `trainable`. With `fake_quants`, by node, it computes as its INT8
    /// model will; then normalisations keep their running statistics.
    pub(crate) fn new(
        graph: &Graph,
        parameters: &Parameters,
        device: Device,
        trainable: bool,
        fake_quants: Option<&[NodeFakeQuant]>,
    ) -> Result<Self, TorchError> {
        let [values, stats] = [&parameters.values, &parameters.stats].map(|part| to_device(part, device));
        Self::of(graph, values?, stats?, trainable, fake_quants)
    }

    /// As [`Net::new`], of flat tensors.
    pub(crate) fn of(
        graph: &Graph,
        values: Tensor,
        stats: Tensor,
        trainable: bool,
        fake_quants: Option<&[NodeFakeQuant]>,
    ) -> Result<Self, TorchError> {
        let mut leaves = Vec::new();
        let mut views = Vec::new();
        for (param, place) in placed(graph) {
            let learns = param.kind.trainable();
            let part = if learns { &values } else { &stats };
            let shape: Vec<_> = param.shape.iter().map(|&dim| dim as i64).collect();
            let view = part.f_narrow(0, place as i64, param.count() as i64)?.f_view(shape.as_slice())?;
            let view = view.f_detach()?.f_set_requires_grad(learns && trainable)?;
            if learns {
                leaves.push(view.shallow_clone());
            }
            views.push(view);
        }
        let mut views = views.into_iter();
        let views: Vec<Vec<Tensor>> = (graph.nodes().iter())
            .map(|node| views.by_ref().take(node.op.params().len()).collect())
            .collect();
        let steps = (graph.nodes().iter())
            .map(|node| {
                Ok(Step {
                    kernel: Kernel::of(graph, node, &views, fake_quants)?,
                    outcome: fake_quants.and_then(|all| all.get(node.id.index())?.outcome),
                    inputs: node.inputs.iter().map(|input| input.index()).collect(),
                    frees: freed_after(graph, node),
                })
            })
            .collect::<Result<_, TorchError>>()?;
        Ok(Self { values, stats, leaves, steps, precision: Precision::Float32 })
    }

    /// Itself, with passes in training computed in numbers of `precision`.
    pub(crate) fn learning_in(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Logits `[N, classes]` of images `[N, C, H, W]`. Where `training`, batch statistics are used and the running
    /// ones updated, and dropout draws from libtorch's generator.
    pub(crate) fn forward(&self, images: &Tensor, training: bool) -> Result<Tensor, TorchError> {
        self.pass(images, if training { Pass::Training } else { Pass::Inference })
    }

    /// As [`Net::forward`], in one of three ways.
    pub(crate) fn pass(&self, images: &Tensor, pass: Pass) -> Result<Tensor, TorchError> {
        if pass == Pass::Training && self.precision == Precision::Bfloat16 {
            return Ok(self.compute(&images.f_to_kind(Kind::BFloat16)?, pass)?.f_to_kind(Kind::Float)?);
        }
        self.compute(images, pass)
    }

    fn compute(&self, images: &Tensor, pass: Pass) -> Result<Tensor, TorchError> {
        let mut results: Vec<Option<Tensor>> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let operands: Vec<&Tensor> =
                step.inputs.iter().filter_map(|&input| results.get(input)?.as_ref()).collect();
            let result = step.kernel.apply(images, &operands, pass)?;
            results.push(Some(match step.outcome {
                None => result,
                Some(grid) => fake_quant::activations(&result, grid)?,
            }));
            for &index in &step.frees {
                if let Some(result) = results.get_mut(index) {
                    *result = None;
                }
            }
        }
        results.pop().flatten().ok_or_else(TorchError::inconsistent)
    }

    /// The gradient of `loss` with respect to all trained numbers, flat in the order of [`Net::values_mut`].
    pub(crate) fn gradient(&self, loss: &Tensor) -> Result<Tensor, TorchError> {
        let gradients = Tensor::f_run_backward(&[loss], &self.leaves, false, false)?;
        let flat: Vec<_> = gradients.iter().map(|part| part.f_reshape(-1)).collect::<Result<_, _>>()?;
        Ok(Tensor::f_cat(&flat, 0)?)
    }

    /// All trained numbers, flat; changing them changes the network.
    pub(crate) fn values_mut(&mut self) -> &mut Tensor {
        &mut self.values
    }

    /// Running means and variances, flat.
    #[cfg(test)]
    pub(crate) fn stats(&self) -> &Tensor {
        &self.stats
    }

    /// A copy of all numbers.
    pub(crate) fn parameters(&self) -> Result<Parameters, TorchError> {
        Ok(Parameters { values: to_host(&self.values)?, stats: to_host(&self.stats)? })
    }
}

/// Nodes that `node` is the last to read.
fn freed_after(graph: &Graph, node: &Node) -> Vec<usize> {
    let mut last = node.inputs.clone();
    last.retain(|input| graph.nodes().iter().rev().find(|other| other.inputs.contains(input)) == Some(node));
    last.into_iter().map(|input| input.index()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{alone, network};
    use crate::random::{Purpose, generator};

    /// Sixteen bits have eight of a fraction: logits are off by that much, not less and not much more.
    #[test]
    fn a_step_in_bfloat16_is_as_coarse_as_bfloat16() {
        let _turn = alone();
        let mut network = network();
        let layers = network["layers"].as_array_mut().unwrap();
        layers.retain(|layer| layer.get("dropout").is_none());
        let network: model::Network = serde_json::from_value(network).unwrap();
        let graph = network.lower(2).unwrap();
        let parameters = Parameters::initial(&graph, &mut generator(1, Purpose::Initialization, 0));
        let images = Tensor::arange(16 * 128, (Kind::Float, Device::Cpu)).sin().view([16, 2, 8, 8]);
        let pass = |precision: Precision, training: bool| {
            let net = Net::new(&graph, &parameters, Device::Cpu, true, None).unwrap().learning_in(precision);
            let logits = net.forward(&images, training).unwrap();
            let gradient = net.gradient(&logits.square().sum(Kind::Float)).unwrap();
            (to_host(&logits.detach()).unwrap(), to_host(&gradient).unwrap())
        };
        let off = |one: &[f32], other: &[f32]| {
            let largest = one.iter().map(|value| value.abs()).fold(0.0, f32::max);
            one.iter().zip(other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max) / largest
        };
        let (exact, coarse) = (pass(Precision::Float32, true), pass(Precision::Bfloat16, true));
        // A gradient goes through kinks, which coarse numbers pass on the other side.
        for (exact, coarse, most) in [(&exact.0, &coarse.0, 0.1), (&exact.1, &coarse.1, 0.5)] {
            let off = off(exact, coarse);
            assert!(off > 1e-4 && off < most, "{off}");
        }
        assert_eq!(
            pass(Precision::Float32, false).0,
            pass(Precision::Bfloat16, false).0,
            "validation has 32 bits"
        );
    }
}
