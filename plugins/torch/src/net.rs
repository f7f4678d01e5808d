//! A graph as libtorch computes it. Knows tensors and devices; knows no data, no loss and no files.
//!
//! All trained numbers lie in one flat tensor, of which each parameter is a view: the optimiser is then a handful of
//! operations however many parameters there are.

use model::{Activation, Graph, Node, Op, Pool};
use tch::{Device, Tensor, no_grad};

use crate::state::{State, placed};

/// PyTorch's default weight of a new batch in the running statistics.
const BATCH_NORM_MOMENTUM: f64 = 0.1;

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

/// A network on a device.
pub(crate) struct Net {
    values: Tensor,
    stats: Tensor,
    leaves: Vec<Tensor>,
    steps: Vec<Step>,
}

/// One node: what to compute, from which nodes, and which results nobody needs afterwards.
struct Step {
    kernel: Kernel,
    inputs: Vec<usize>,
    frees: Vec<usize>,
}

enum Kernel {
    Input,
    Conv { weight: Tensor, bias: Option<Tensor>, stride: i64, padding: i64, groups: i64 },
    BatchNorm { scale: Tensor, shift: Tensor, mean: Tensor, var: Tensor, eps: f64 },
    Activation { activation: Activation, in_place: bool },
    Add,
    Multiply,
    GlobalAveragePool,
    MaxPool(Pool),
    AveragePool(Pool),
    Flatten,
    Dropout { p: f64 },
    Linear { weight: Tensor, bias: Tensor },
}

impl Net {
    /// Puts `state` on `device`. Gradients can be taken where `trainable`.
    pub(crate) fn new(
        graph: &Graph,
        state: &State,
        device: Device,
        trainable: bool,
    ) -> Result<Self, TorchError> {
        let values = Tensor::f_from_slice(&state.values)?.f_to_device(device)?;
        let stats = Tensor::f_from_slice(&state.stats)?.f_to_device(device)?;
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
        let steps = (graph.nodes().iter())
            .map(|node| {
                Ok(Step {
                    kernel: kernel(graph, node, &mut views)?,
                    inputs: node.inputs.iter().map(|input| input.index()).collect(),
                    frees: freed_after(graph, node),
                })
            })
            .collect::<Result<_, TorchError>>()?;
        Ok(Self { values, stats, leaves, steps })
    }

    /// Logits `[N, classes]` of images `[N, C, H, W]`. Where `training`, batch statistics are used and the running
    /// ones updated, and dropout draws from libtorch's generator.
    pub(crate) fn forward(&self, images: &Tensor, training: bool) -> Result<Tensor, TorchError> {
        let mut results: Vec<Option<Tensor>> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let operands: Vec<&Tensor> =
                step.inputs.iter().filter_map(|&input| results.get(input)?.as_ref()).collect();
            let result = step.kernel.apply(images, &operands, training)?;
            results.push(Some(result));
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

fn kernel(
    graph: &Graph,
    node: &Node,
    views: &mut impl Iterator<Item = Tensor>,
) -> Result<Kernel, TorchError> {
    let mut next = || views.next().ok_or_else(inconsistent);
    Ok(match &node.op {
        Op::Input => Kernel::Input,
        Op::Conv(conv) => Kernel::Conv {
            weight: next()?,
            bias: if conv.bias { Some(next()?) } else { None },
            stride: conv.stride as i64,
            padding: conv.padding as i64,
            groups: conv.groups as i64,
        },
        Op::BatchNorm(norm) => {
            Kernel::BatchNorm { scale: next()?, shift: next()?, mean: next()?, var: next()?, eps: norm.eps }
        }
        Op::Activation(activation) => {
            Kernel::Activation { activation: *activation, in_place: may_overwrite(graph, node) }
        }
        Op::Add => Kernel::Add,
        Op::Multiply => Kernel::Multiply,
        Op::GlobalAveragePool => Kernel::GlobalAveragePool,
        Op::MaxPool(pool) => Kernel::MaxPool(*pool),
        Op::AveragePool(pool) => Kernel::AveragePool(*pool),
        Op::Flatten => Kernel::Flatten,
        Op::Dropout { p } => Kernel::Dropout { p: *p },
        Op::Linear(_) => Kernel::Linear { weight: next()?, bias: next()? },
    })
}

/// Whether `node` may write over its operand: nobody else reads it, and its own gradient needs only its input, as
/// that of a batch normalisation.
fn may_overwrite(graph: &Graph, node: &Node) -> bool {
    let [input] = *node.inputs else { return false };
    let readers = graph.nodes().iter().filter(|other| other.inputs.contains(&input)).count();
    readers == 1 && matches!(graph.node(input).op, Op::BatchNorm(_))
}

/// Nodes that `node` is the last to read.
fn freed_after(graph: &Graph, node: &Node) -> Vec<usize> {
    let mut last = node.inputs.clone();
    last.retain(|input| graph.nodes().iter().rev().find(|other| other.inputs.contains(input)) == Some(node));
    last.into_iter().map(|input| input.index()).collect()
}

impl Kernel {
    fn apply(&self, images: &Tensor, operands: &[&Tensor], training: bool) -> Result<Tensor, TorchError> {
        let square = |side: usize| [side as i64; 2];
        Ok(match (self, operands) {
            (Self::Input, []) => images.shallow_clone(),
            (Self::Conv { weight, bias, stride, padding, groups }, [x]) => {
                x.f_conv2d(weight, bias.as_ref(), [*stride; 2], [*padding; 2], [1, 1], *groups)?
            }
            (Self::BatchNorm { scale, shift, mean, var, eps }, [x]) => x.f_batch_norm(
                Some(scale),
                Some(shift),
                Some(mean),
                Some(var),
                training,
                BATCH_NORM_MOMENTUM,
                *eps,
                true,
            )?,
            (Self::Activation { activation: Activation::Relu6, in_place: true }, [x]) => {
                x.shallow_clone().f_relu6_()?
            }
            (Self::Activation { activation: Activation::Relu, in_place: true }, [x]) => {
                x.shallow_clone().f_relu_()?
            }
            (Self::Activation { activation, .. }, [x]) => match activation {
                Activation::Relu6 => x.f_relu6()?,
                Activation::Relu => x.f_relu()?,
                Activation::Sigmoid => x.f_sigmoid()?,
                Activation::HardSigmoid => x.f_hardsigmoid()?,
            },
            (Self::Add, [left, right]) => left.f_add(right)?,
            (Self::Multiply, [left, right]) => left.f_mul(right)?,
            (Self::GlobalAveragePool, [x]) => x.f_adaptive_avg_pool2d([1, 1])?,
            (Self::MaxPool(pool), [x]) => {
                x.f_max_pool2d(square(pool.kernel), square(pool.stride), [0, 0], [1, 1], false)?
            }
            (Self::AveragePool(pool), [x]) => {
                x.f_avg_pool2d(square(pool.kernel), square(pool.stride), [0, 0], false, true, None)?
            }
            (Self::Flatten, [x]) => x.f_flatten(1, -1)?,
            (Self::Dropout { p }, [x]) => x.f_dropout(*p, training)?,
            (Self::Linear { weight, bias }, [x]) => x.f_linear(weight, Some(bias))?,
            _ => return Err(inconsistent()),
        })
    }
}
