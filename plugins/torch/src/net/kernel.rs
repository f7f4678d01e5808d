//! What a node of a graph is in libtorch: its operation, and its numbers as views of the network's flat ones. Knows one
//! node at a time; knows no losses and no steps.

use model::{Activation, Graph, Node, Op, Pool};
use tch::Tensor;

use super::fake_quant::{self, NodeFakeQuant, WeightScales};
use crate::error::TorchError;

/// PyTorch's default weight of a new batch in the running statistics.
pub(crate) const BATCH_NORM_MOMENTUM: f64 = 0.1;

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
    pub(super) fn momentum(self) -> Option<f64> {
        match self {
            Self::Inference => None,
            Self::Training => Some(BATCH_NORM_MOMENTUM),
            Self::Observing { share } => Some(share),
        }
    }
}

/// What a node computes.
pub(super) enum Kernel {
    Input,
    Conv {
        weight: Tensor,
        bias: Option<Tensor>,
        stride: i64,
        padding: i64,
        groups: i64,
    },
    /// As its INT8 model computes it: the normalisation behind it is in its weights, which are rounded then.
    FakeQuantConv {
        weight: Tensor,
        bias: Option<Tensor>,
        norm: Option<Norm>,
        rounding: WeightScales,
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
        rounding: Option<WeightScales>,
    },
}

/// A batch normalisation's numbers.
pub(super) struct Norm {
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

/// A weight in the numbers of what it meets.
fn like(weight: &Tensor, x: &Tensor) -> Result<Tensor, TorchError> {
    Ok(weight.f_to_kind(x.kind())?)
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

impl Kernel {
    /// The kernel of `node`; `views` are the numbers of each node.
    pub(super) fn of(
        graph: &Graph,
        node: &Node,
        views: &[Vec<Tensor>],
        fake_quants: Option<&[NodeFakeQuant]>,
    ) -> Result<Self, TorchError> {
        let view = |node: &Node, place: usize| {
            let found = views.get(node.id.index()).and_then(|views| views.get(place));
            found.map(Tensor::shallow_clone).ok_or_else(TorchError::inconsistent)
        };
        let norm = |node: &Node, eps: f64| -> Result<Norm, TorchError> {
            let [scale, shift, mean, var] = [0, 1, 2, 3].map(|place| view(node, place));
            Ok(Norm { scale: scale?, shift: shift?, mean: mean?, var: var?, eps })
        };
        let rounding = |node: &Node| fake_quants.and_then(|all| all.get(node.id.index())?.weights);
        Ok(match &node.op {
            Op::Input => Self::Input,
            Op::Conv(conv) => {
                let (weight, bias) = (view(node, 0)?, if conv.bias { Some(view(node, 1)?) } else { None });
                let [stride, padding, groups] =
                    [conv.stride, conv.padding, conv.groups].map(|size| size as i64);
                match rounding(node) {
                    None => Self::Conv { weight, bias, stride, padding, groups },
                    Some(rounding) => {
                        let norm = match sole_norm(graph, node) {
                            Some((after, eps)) => Some(norm(after, eps)?),
                            None => None,
                        };
                        Self::FakeQuantConv { weight, bias, norm, rounding, stride, padding, groups }
                    }
                }
            }
            Op::BatchNorm(batch_norm) => {
                let before = node.inputs.first().map(|input| graph.node(*input));
                let folded = before.is_some_and(|conv| {
                    rounding(conv).is_some() && sole_norm(graph, conv).is_some_and(|(after, _)| after == node)
                });
                match folded {
                    true => Self::Nothing,
                    false => {
                        Self::BatchNorm { norm: norm(node, batch_norm.eps)?, frozen: fake_quants.is_some() }
                    }
                }
            }
            Op::Activation(activation) => {
                Self::Activation { activation: *activation, in_place: may_overwrite(graph, node) }
            }
            Op::Add => Self::Add,
            Op::Multiply => Self::Multiply,
            Op::GlobalAveragePool => Self::GlobalAveragePool,
            Op::MaxPool(pool) => Self::MaxPool(*pool),
            Op::AveragePool(pool) => Self::AveragePool(*pool),
            Op::Flatten => Self::Flatten,
            Op::Dropout { p } => Self::Dropout { p: *p },
            Op::Linear(_) => {
                Self::Linear { weight: view(node, 0)?, bias: view(node, 1)?, rounding: rounding(node) }
            }
        })
    }

    /// The outcome of operands; of the network's input, `images`.
    pub(super) fn apply(
        &self,
        images: &Tensor,
        operands: &[&Tensor],
        pass: Pass,
    ) -> Result<Tensor, TorchError> {
        let square = |side: usize| [side as i64; 2];
        Ok(match (self, operands) {
            (Self::Input, []) => images.shallow_clone(),
            (Self::Conv { weight, bias, stride, padding, groups }, [x]) => {
                let (weight, bias) = (like(weight, x)?, bias.as_ref().map(|bias| like(bias, x)).transpose()?);
                x.f_conv2d(&weight, bias.as_ref(), [*stride; 2], [*padding; 2], [1, 1], *groups)?
            }
            (Self::FakeQuantConv { weight, bias, norm, rounding, stride, padding, groups }, [x]) => {
                let (weight, bias) = match norm {
                    None => (weight.shallow_clone(), bias.as_ref().map(Tensor::shallow_clone)),
                    Some(norm) => {
                        let (weight, bias) = norm.fold(weight, bias.as_ref())?;
                        (weight, Some(bias))
                    }
                };
                let weight = fake_quant::weights(&weight, *rounding)?;
                x.f_conv2d(&weight, bias.as_ref(), [*stride; 2], [*padding; 2], [1, 1], *groups)?
            }
            (Self::BatchNorm { norm: Norm { scale, shift, mean, var, eps }, frozen }, [x]) => x
                .f_batch_norm(
                    Some(scale),
                    Some(shift),
                    Some(mean),
                    Some(var),
                    pass.momentum().is_some() && !frozen,
                    pass.momentum().unwrap_or_default(),
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
            (Self::Dropout { p }, [x]) => x.f_dropout(*p, pass == Pass::Training)?,
            (Self::Linear { weight, bias, rounding: None }, [x]) => {
                x.f_linear(&like(weight, x)?, Some(&like(bias, x)?))?
            }
            (Self::Linear { weight, bias, rounding: Some(rounding) }, [x]) => {
                x.f_linear(&fake_quant::weights(weight, *rounding)?, Some(bias))?
            }
            _ => return Err(TorchError::inconsistent()),
        })
    }
}
