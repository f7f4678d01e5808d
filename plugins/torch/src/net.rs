//! A graph as libtorch computes it. Knows tensors and devices; knows no data, no loss and no files.
//!
//! All trained numbers lie in one flat tensor, of which each parameter is a view: the optimiser is then a handful of
//! operations however many parameters there are.

use model::{Graph, Node};
use quant::ActivationGrid;
use tch::{Device, Kind, Tensor, no_grad};

use self::kernel::Kernel;
use crate::params::Precision;
use crate::rounding::{self, NodeRounding};
use crate::state::{State, placed};

mod kernel;

/// PyTorch's default weight of a new batch in the running statistics.
pub(crate) const BATCH_NORM_MOMENTUM: f64 = 0.1;

/// libtorch refused an operation; its first line says why.
#[derive(Debug, thiserror::Error)]
#[error("libtorch: {0}")]
pub(crate) struct TorchError(String);

impl From<tch::TchError> for TorchError {
    fn from(error: tch::TchError) -> Self {
        let text = match error {
            tch::TchError::Torch(text) => text,
            other => other.to_string(),
        };
        // What follows is the C++ call stack.
        Self(text.lines().next().unwrap_or_default().to_owned())
    }
}

/// How an image's values lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryFormat {
    /// Channel by channel.
    Contiguous,
    /// Pixel by pixel: what libtorch's convolutions on a CPU are fastest with.
    ChannelsLast,
}

/// What a pass forward is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pass {
    /// Running statistics; nothing is dropped out.
    Inference,
    /// Statistics of the batch, which move the running ones by [`BATCH_NORM_MOMENTUM`]; dropout.
    Training,
    /// Statistics of the batch, which move the running ones by `share`; nothing is dropped out.
    Observing { share: f64 },
}

impl Pass {
    /// How far running statistics move towards those of the batch, if these are used.
    fn momentum(self) -> Option<f64> {
        match self {
            Self::Inference => None,
            Self::Training => Some(BATCH_NORM_MOMENTUM),
            Self::Observing { share } => Some(share),
        }
    }
}

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
    /// Puts `state` on `device`. Gradients can be taken where `trainable`. With `roundings`, by node, it computes as its INT8
    /// model will; then normalisations keep their running statistics.
    pub(crate) fn new(
        graph: &Graph,
        state: &State,
        device: Device,
        trainable: bool,
        roundings: Option<&[NodeRounding]>,
    ) -> Result<Self, TorchError> {
        let put = |values: &[f32]| Tensor::f_from_slice(values)?.f_to_device(device);
        Self::of(graph, put(&state.values)?, put(&state.stats)?, trainable, roundings)
    }

    /// As [`Net::new`], of flat tensors.
    pub(crate) fn of(
        graph: &Graph,
        values: Tensor,
        stats: Tensor,
        trainable: bool,
        roundings: Option<&[NodeRounding]>,
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
                    kernel: Kernel::of(graph, node, &views, roundings)?,
                    outcome: roundings.and_then(|all| all.get(node.id.index())?.outcome),
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
                Some(grid) => rounding::activations(&result, grid)?,
            }));
            for &index in &step.frees {
                if let Some(result) = results.get_mut(index) {
                    *result = None;
                }
            }
        }
        results.pop().flatten().ok_or_else(inconsistent)
    }

    /// The gradient of `loss` by all trained numbers, flat in the order of [`Net::values_mut`].
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
    pub(crate) fn state(&self) -> Result<State, TorchError> {
        Ok(State { values: to_host(&self.values)?, stats: to_host(&self.stats)? })
    }
}

/// The numbers of a tensor, row-major.
pub(crate) fn to_host(tensor: &Tensor) -> Result<Vec<f32>, TorchError> {
    let mut values = vec![0.0; tensor.numel()];
    let count = values.len();
    tensor.f_copy_data(&mut values, count)?;
    Ok(values)
}

/// Images `[N, C, H, W]` from row-major values, on `device` and in `format`.
pub(crate) fn to_images(
    values: &[f32],
    shape: [usize; 3],
    device: Device,
    format: MemoryFormat,
) -> Result<Tensor, TorchError> {
    let [channels, height, width] = shape.map(|dim| dim as i64);
    let images = Tensor::f_from_slice(values)?.f_to_device(device)?.f_view((-1, channels, height, width))?;
    lay_out(images, format)
}

/// Images `[N, C, H, W]`, contiguous so far, in `format`. Strides alone make a tensor channels-last.
pub(crate) fn lay_out(images: Tensor, format: MemoryFormat) -> Result<Tensor, TorchError> {
    Ok(match format {
        MemoryFormat::Contiguous => images,
        MemoryFormat::ChannelsLast => {
            images.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?
        }
    })
}

/// Runs `compute` without recording for gradients.
pub(crate) fn inference<T>(compute: impl FnOnce() -> T) -> T {
    no_grad(compute)
}

fn inconsistent() -> TorchError {
    TorchError("the graph is inconsistent".into())
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
        let state = State::initial(&graph, &mut generator(1, Purpose::Initialization, 0));
        let images = Tensor::arange(16 * 128, (Kind::Float, Device::Cpu)).sin().view([16, 2, 8, 8]);
        let pass = |precision: Precision, training: bool| {
            let net = Net::new(&graph, &state, Device::Cpu, true, None).unwrap().learning_in(precision);
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
