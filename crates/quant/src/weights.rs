//! The constant weights and biases of convolutions and matrix products, read out of a graph and rounded.

use onnx::{Data, Graph, Node, Tensor};

use crate::error::QuantError;
use crate::integers::{Channels, SymmetricWeight};
use crate::neighbours::Neighbours;
use crate::plan::has_weight;
use crate::summary;

/// Weight and bias of a node, as floats.
pub(crate) struct Weighty<'a> {
    /// The weight's name.
    pub(crate) name: &'a str,
    /// The weight.
    pub(crate) tensor: &'a Tensor,
    /// Its elements.
    pub(crate) values: &'a [f32],
    /// Where its output channels lie.
    pub(crate) channels: Channels,
    /// The bias's name and elements.
    pub(crate) bias: Option<(&'a str, &'a [f32])>,
}

impl<'a> Weighty<'a> {
    /// What a node that the plan found to have weights holds; `None` for other nodes.
    pub(crate) fn of(graph: &'a Graph, node: &'a Node) -> Result<Option<Self>, QuantError> {
        let found = || {
            has_weight(graph, node).then_some(())?;
            let (name, tensor) = (node.input(1)?, graph.constant(node, 1)?);
            let count = |axis: usize| tensor.shape().get(axis).copied();
            let channels = match node.op.as_str() {
                "Conv" => Channels::First(count(0)?),
                "Gemm" if node.int("transB", 0) != 0 => Channels::First(count(0)?),
                "Gemm" | "MatMul" => Channels::Last(count(1)?),
                _ => return None,
            };
            let bias = match node.input(2) {
                None => None,
                Some(name) => Some((name, graph.constant(node, 2)?.as_f32()?)),
            };
            Some(Self { name, tensor, values: tensor.as_f32()?, channels, bias })
        };
        let Some(weighty) = found() else { return Ok(None) };
        let bias = weighty.bias.iter().flat_map(|(name, values)| values.iter().map(|value| (*name, *value)));
        let mut all = weighty.values.iter().map(|value| (weighty.name, *value)).chain(bias);
        match all.find(|(_, value)| !value.is_finite()) {
            None => Ok(Some(weighty)),
            Some((name, value)) => Err(QuantError::BadWeight { tensor: name.to_owned(), value }),
        }
    }

    /// The weight rounded to signed bytes. `floors` and `neighbours` as for [`SymmetricWeight::new`].
    pub(crate) fn quantize(
        &self,
        per_channel: bool,
        floors: &[f32],
        neighbours: Option<&Neighbours>,
    ) -> SymmetricWeight {
        SymmetricWeight::new(self.values, self.channels, per_channel, floors, neighbours)
    }

    /// The rounded weight as a tensor of the float weight's shape.
    pub(crate) fn integers(&self, rounded: &SymmetricWeight) -> Option<Tensor> {
        Tensor::new(self.tensor.shape().to_vec(), Data::I8(rounded.integers.clone()))
    }

    /// The bias, or one of zeros where there is none, with `more` added, and its name; `None` for no bias and no `more`.
    pub(crate) fn bias_with(&self, more: Option<&[f32]>) -> Option<(String, Vec<f32>)> {
        match (self.bias, more) {
            (Some((name, bias)), None) => Some((name.to_owned(), bias.to_vec())),
            (None, Some(more)) => Some((format!("{}_bias", self.name), more.to_vec())),
            (Some((name, bias)), Some(more)) => {
                Some((name.to_owned(), bias.iter().zip(more).map(|(bias, more)| bias + more).collect()))
            }
            (None, None) => None,
        }
    }

    /// How well the rounded weight stands for the float one.
    pub(crate) fn summary(&self, rounded: &SymmetricWeight) -> summary::Weight {
        summary::Weight {
            shape: self.tensor.shape().to_vec(),
            scales: rounded.scales.len(),
            sqnr_db: rounded.sqnr_db(self.values, self.channels),
            raised_scales: rounded.raised,
        }
    }
}
