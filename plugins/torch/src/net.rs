//! A graph as libtorch computes it. Knows tensors and devices; knows no data, no loss and no files.
//!
//! All trained numbers lie in one flat tensor, of which each parameter is a view: the optimiser is then a handful of
//! operations however many parameters there are.

use model::{Activation, Graph, Node, Op, Pool};
use quant::ActivationGrid;
use tch::{Device, Kind, Tensor, no_grad};

use crate::params::Precision;
use crate::rounding::{self, NodeRounding, WeightRounding};
use crate::state::{State, placed};

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

enum Kernel {
    Input,
    Conv {
        weight: Tensor,
        bias: Option<Tensor>,
        stride: i64,
        padding: i64,
        groups: i64,
    },
    /// As its INT8 model computes it: the normalisation behind it is in its weights, which are rounded then.
    RoundedConv {
        weight: Tensor,
        bias: Option<Tensor>,
        norm: Option<Norm>,
        rounding: WeightRounding,
        stride: i64,
        padding: i64,
        groups: i64,
    },
    BatchNorm {
        norm: Norm,
        frozen: bool,
    },
    /// What was done before it.
    Nothing,
    Activation {
        activation: Activation,
        in_place: bool,
    },
    Add,
    Multiply,
    GlobalAveragePool,
    MaxPool(Pool),
    AveragePool(Pool),
    Flatten,
    Dropout {
        p: f64,
    },
    Linear {
        weight: Tensor,
        bias: Tensor,
        rounding: Option<WeightRounding>,
    },
}

/// A batch normalisation's numbers.
struct Norm {
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: f64,
}

impl Norm {
    /// Weights and bias of a convolution with what the running statistics make of its outcome in them.
    fn fold(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<(Tensor, Tensor), TorchError> {
        let factor = self.scale.f_div(&self.var.f_add_scalar(self.eps)?.f_sqrt()?)?;
        let centred = match bias {
            Some(bias) => bias.f_sub(&self.mean)?,
            None => self.mean.f_neg()?,
        };
        let bias = centred.f_mul(&factor)?.f_add(&self.shift)?;
        Ok((weight.f_mul(&factor.f_view([-1, 1, 1, 1])?)?, bias))
    }
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
                    kernel: kernel(graph, node, &views, roundings)?,
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
        let images = match self.precision {
            Precision::Bfloat16 if training => images.f_to_kind(Kind::BFloat16)?,
            _ => images.shallow_clone(),
        };
        let mut results: Vec<Option<Tensor>> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let operands: Vec<&Tensor> =
                step.inputs.iter().filter_map(|&input| results.get(input)?.as_ref()).collect();
            let result = step.kernel.apply(&images, &operands, training)?;
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
        Ok(results.pop().flatten().ok_or_else(inconsistent)?.f_to_kind(Kind::Float)?)
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

/// A weight in the numbers of what it meets.
fn like(weight: &Tensor, x: &Tensor) -> Result<Tensor, TorchError> {
    Ok(weight.f_to_kind(x.kind())?)
}

fn inconsistent() -> TorchError {
    TorchError("the graph is inconsistent".into())
}

fn kernel(
    graph: &Graph,
    node: &Node,
    views: &[Vec<Tensor>],
    roundings: Option<&[NodeRounding]>,
) -> Result<Kernel, TorchError> {
    let view = |node: &Node, place: usize| {
        let found = views.get(node.id.index()).and_then(|views| views.get(place));
        found.map(Tensor::shallow_clone).ok_or_else(inconsistent)
    };
    let norm = |node: &Node, eps: f64| -> Result<Norm, TorchError> {
        let [scale, shift, mean, var] = [0, 1, 2, 3].map(|place| view(node, place));
        Ok(Norm { scale: scale?, shift: shift?, mean: mean?, var: var?, eps })
    };
    let rounding = |node: &Node| roundings.and_then(|all| all.get(node.id.index())?.weights);
    Ok(match &node.op {
        Op::Input => Kernel::Input,
        Op::Conv(conv) => {
            let (weight, bias) = (view(node, 0)?, if conv.bias { Some(view(node, 1)?) } else { None });
            let [stride, padding, groups] = [conv.stride, conv.padding, conv.groups].map(|size| size as i64);
            match rounding(node) {
                None => Kernel::Conv { weight, bias, stride, padding, groups },
                Some(rounding) => {
                    let norm = match sole_norm(graph, node) {
                        Some((after, eps)) => Some(norm(after, eps)?),
                        None => None,
                    };
                    Kernel::RoundedConv { weight, bias, norm, rounding, stride, padding, groups }
                }
            }
        }
        Op::BatchNorm(batch_norm) => {
            let before = node.inputs.first().map(|input| graph.node(*input));
            let folded = before.is_some_and(|conv| {
                rounding(conv).is_some() && sole_norm(graph, conv).is_some_and(|(after, _)| after == node)
            });
            match folded {
                true => Kernel::Nothing,
                false => Kernel::BatchNorm { norm: norm(node, batch_norm.eps)?, frozen: roundings.is_some() },
            }
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
        Op::Linear(_) => {
            Kernel::Linear { weight: view(node, 0)?, bias: view(node, 1)?, rounding: rounding(node) }
        }
    })
}

/// The batch normalisation that alone reads `conv`, and what it adds to the variance.
fn sole_norm<'a>(graph: &'a Graph, conv: &Node) -> Option<(&'a Node, f64)> {
    let mut readers = graph.nodes().iter().filter(|node| node.inputs.contains(&conv.id));
    match (readers.next(), readers.next()) {
        (Some(node), None) => match &node.op {
            Op::BatchNorm(norm) => Some((node, norm.eps)),
            _ => None,
        },
        _ => None,
    }
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
                let (weight, bias) = (like(weight, x)?, bias.as_ref().map(|bias| like(bias, x)).transpose()?);
                x.f_conv2d(&weight, bias.as_ref(), [*stride; 2], [*padding; 2], [1, 1], *groups)?
            }
            (Self::RoundedConv { weight, bias, norm, rounding, stride, padding, groups }, [x]) => {
                let (weight, bias) = match norm {
                    None => (weight.shallow_clone(), bias.as_ref().map(Tensor::shallow_clone)),
                    Some(norm) => {
                        let (weight, bias) = norm.fold(weight, bias.as_ref())?;
                        (weight, Some(bias))
                    }
                };
                let weight = rounding::weights(&weight, *rounding)?;
                x.f_conv2d(&weight, bias.as_ref(), [*stride; 2], [*padding; 2], [1, 1], *groups)?
            }
            (Self::BatchNorm { norm: Norm { scale, shift, mean, var, eps }, frozen }, [x]) => x
                .f_batch_norm(
                    Some(scale),
                    Some(shift),
                    Some(mean),
                    Some(var),
                    training && !frozen,
                    BATCH_NORM_MOMENTUM,
                    *eps,
                    true,
                )?,
            (Self::Nothing, [x]) => x.shallow_clone(),
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
            (Self::Linear { weight, bias, rounding: None }, [x]) => {
                x.f_linear(&like(weight, x)?, Some(&like(bias, x)?))?
            }
            (Self::Linear { weight, bias, rounding: Some(rounding) }, [x]) => {
                x.f_linear(&rounding::weights(weight, *rounding)?, Some(bias))?
            }
            _ => return Err(inconsistent()),
        })
    }
}
