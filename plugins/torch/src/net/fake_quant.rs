//! Rounding in the forward pass: a network computes in floats, but every weight and activation is one that its INT8 model can
//! hold. Gradients pass as if nothing were rounded, except where a value lies outside of its range (straight-through
//! estimator, Jacob et al. 2018, arXiv 1712.05877).
//!
//! What is rounded, and to which grid, is asked of the quantizer itself, about the model that export will write: so what is
//! trained is what runs.

use model::{Graph, Node, Op, Weights};
use quant::{ActivationGrid, Ranges, StaticOptions, activation_grids, integer_layers};
use tch::{Kind, Tensor, no_grad};

use crate::error::TorchError;

/// The largest integer of a weight; the smallest is its negative.
const LARGEST: i64 = 127;

/// How a node of a network is rounded.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NodeFakeQuant {
    /// Its weights.
    pub(crate) weights: Option<WeightScales>,
    /// Its outcome.
    pub(crate) outcome: Option<ActivationGrid>,
}

/// How weights are rounded: symmetrically, to the largest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WeightScales {
    /// With a scale for each output channel.
    PerChannel,
    /// With one for all.
    PerTensor,
}

/// By node of `graph`, how `onnx/quantize` will round what `onnx/export` makes of it.
pub(crate) fn of_network(
    graph: &Graph,
    weights: &Weights,
    ranges: &Ranges,
    options: &StaticOptions,
) -> anyhow::Result<Vec<NodeFakeQuant>> {
    let model = onnx::build::from_network(graph, weights, &onnx::build::BuildOptions::default())?;
    let mut grids = activation_grids(&model, ranges, options)?;
    let layers = integer_layers(&model, options)?;
    let tensors = onnx::build::tensor_names(graph, weights)?;
    let scales = if options.per_channel { WeightScales::PerChannel } else { WeightScales::PerTensor };
    let is_integer = |node: &Node| layers.iter().any(|layer| layer.name == node.name);
    // A batch normalisation that goes into a convolution shares its tensor, which is then what stands behind it. A dropout
    // does so too, and is none in the model.
    let leaves_tensor = |(node, _): &(&Node, &String)| !matches!(node.op, Op::Dropout { .. });
    let mut fake_quants: Vec<NodeFakeQuant> = (graph.nodes().iter().zip(&tensors).rev())
        .map(|pair| NodeFakeQuant {
            weights: (is_integer(pair.0) && !pair.0.op.params().is_empty()).then_some(scales),
            outcome: if leaves_tensor(&pair) { grids.remove(pair.1) } else { None },
        })
        .collect();
    fake_quants.reverse();
    Ok(fake_quants)
}

/// `tensor` with each element rounded to the grid.
pub(crate) fn activations(tensor: &Tensor, grid: ActivationGrid) -> Result<Tensor, TorchError> {
    let ActivationGrid { scale, zero_point, lowest, highest } = grid;
    Ok(tensor.f_fake_quantize_per_tensor_affine(
        f64::from(scale),
        i64::from(zero_point),
        i64::from(lowest),
        i64::from(highest),
    )?)
}

/// The weights `[out, …]` of a layer, rounded.
pub(crate) fn weights(tensor: &Tensor, rounding: WeightScales) -> Result<Tensor, TorchError> {
    let largest = no_grad(|| {
        let rows = match rounding {
            WeightScales::PerChannel => tensor.f_flatten(1, -1)?,
            WeightScales::PerTensor => tensor.f_reshape([1, -1])?,
        };
        rows.f_abs()?.f_amax([1], false)
    })?;
    let scales = (largest / LARGEST as f64).f_clamp_min(f64::from(f32::MIN_POSITIVE))?.f_detach()?;
    let channels = tensor.size()[0];
    let scales = scales.f_expand([channels], false)?.f_contiguous()?;
    let zeros = scales.f_zeros_like()?.f_to_kind(Kind::Int)?;
    Ok(tensor.f_fake_quantize_per_channel_affine(&scales, &zeros, 0, -LARGEST, LARGEST)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_keep_their_largest_and_pass_gradients() {
        let values =
            Tensor::from_slice(&[1.27_f32, 0.504, 100.0, -12.7]).view([2, 2]).set_requires_grad(true);
        let rounded = weights(&values, WeightScales::PerChannel).unwrap();
        let got: Vec<f32> = Vec::try_from(rounded.flatten(0, -1)).unwrap();
        let wanted = [1.27, 0.50, 100.0, -16.0 * 100.0 / 127.0];
        assert!(got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?}");
        rounded.sum(Kind::Float).backward();
        assert_eq!(Vec::<f32>::try_from(values.grad().flatten(0, -1)).unwrap(), [1.0; 4]);
        let one = weights(&values, WeightScales::PerTensor).unwrap();
        assert!(one.double_value(&[0, 1]).abs() < 1.0);
    }

    #[test]
    fn activations_are_held_within_their_range() {
        let values = Tensor::from_slice(&[-1.0_f32, 0.26, 9.0]).set_requires_grad(true);
        let grid = ActivationGrid { scale: 0.1, zero_point: 0, lowest: 0, highest: 60 };
        let rounded = activations(&values, grid).unwrap();
        let got: Vec<f32> = Vec::try_from(&rounded).unwrap();
        assert!(got.iter().zip([0.0, 0.3, 6.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
        rounded.sum(Kind::Float).backward();
        assert_eq!(Vec::<f32>::try_from(values.grad()).unwrap(), [0.0, 1.0, 0.0]);
    }
}
