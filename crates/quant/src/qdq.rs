//! Static quantization: pairs of `QuantizeLinear` and `DequantizeLinear` around every operator that the runtime
//! can then fuse into its integer form.

mod rewriter;

use std::collections::BTreeMap;

use onnx::{ElementType, Model, Node, Value};

use crate::error::QuantError;
use crate::families::{Family, family};
use crate::integers::{Grid, limits};
use crate::moments::Moments;
use crate::options::{Rounding, StaticOptions};
use crate::plan::{Layers, Plan};
use crate::prepare::prepare;
use crate::qdq::rewriter::{Rewritten, rewrite};
use crate::ranges::Ranges;
use crate::summary::{Form, Layer, Summary};
use crate::versions::Runtime;

/// The key in a model's metadata under which it says what computes it in integers.
const INTEGERS_FROM: &str = "integers_from";

/// Quantizes weights and activations to 8 bits with scales fixed by `ranges`, which come from calibrating this
/// very model ([`crate::observed_model`]). Where there are `moments` of it, weights are rounded for them and biases make
/// up for the means that rounding loses, as the options say.
///
/// As ONNX's `QuantizeLinear` and `DequantizeLinear` have it, `real = scale · (integer − zero_point)`, rounded to the nearest, ties
/// to even. A range of activations is widened to contain zero: `scale = (max − min) / 255`, `zero_point = lowest − min / scale`.
/// Weights have `scale = max|w| / 127`, or more where the bias would not fit in 32 bits, and no zero point; to the nearest they are
/// rounded unless searched for. Biases have the product of both scales. The metadata say under `integers_from` which runtime is the
/// oldest that computes the model as it is meant.
///
/// # Errors
/// [`QuantError`]: a range missing or broken, a weight not finite, nothing to quantize, quantized already, or an
/// opset that cannot be had.
pub fn quantize_static(
    model: &Model,
    ranges: &Ranges,
    moments: Option<&Moments>,
    options: &StaticOptions,
) -> Result<(Model, Summary), QuantError> {
    let Rewritten { source, emitter, layers, .. } =
        rewrite(model, ranges, moments, options, Layers::AllBut(&options.exclude))?;
    let mut quantized = emitter.finish(&source, options.compact)?;
    let integers_from = Runtime::oldest_for(&quantized);
    if let Some(runtime) = integers_from {
        quantized.metadata.insert(INTEGERS_FROM.into(), format!("ONNX Runtime {runtime}"));
    }
    let (bytes_before, bytes_after) = (model.to_bytes().len(), quantized.to_bytes().len());
    let summary = Summary { layers, bytes_before, bytes_after, integers_from };
    Ok((quantized, summary))
}

/// The model for a layer's sensitivity: what [`quantize_static`] makes where only the layer with this label, one of [`crate::integer_layers`], computes in
/// integers.
///
/// # Errors
/// As [`quantize_static`].
pub fn quantize_one_layer(
    model: &Model,
    ranges: &Ranges,
    moments: Option<&Moments>,
    options: &StaticOptions,
    label: &str,
) -> Result<Model, QuantError> {
    let Rewritten { source, emitter, .. } = rewrite(model, ranges, moments, options, Layers::Only(label))?;
    Ok(emitter.finish(&source, false)?)
}

/// What [`quantize_static`] makes, with more outputs: the rounded form of each outcome of an integer layer. Beside it the
/// names of these outputs, by the tensor of [`crate::observed_model`] that they stand for.
///
/// # Errors
/// As [`quantize_static`].
pub fn observed_quantized_model(
    model: &Model,
    ranges: &Ranges,
    moments: Option<&Moments>,
    options: &StaticOptions,
) -> Result<(Model, BTreeMap<String, String>), QuantError> {
    let Rewritten { source, mut emitter, layers, tensors } =
        rewrite(model, ranges, moments, options, Layers::AllBut(&options.exclude))?;
    let mut outputs = BTreeMap::new();
    for tensor in layers.into_iter().filter_map(|layer| layer.output).map(|output| output.tensor) {
        let Some(ends) = tensors.get(&tensor) else { continue };
        emitter.output(Value { name: ends.rounded.clone(), element: ElementType::F32, shape: None });
        outputs.insert(tensor, ends.rounded.clone());
    }
    Ok((emitter.finish(&source, false)?, outputs))
}

/// What [`quantize_static`] makes with weights rounded to the nearest and under names that people read, and by the label of each
/// layer that computes in integers the tensor that its integer operator makes: whoever looks at what a runtime makes of the model
/// finds the operator by it.
///
/// # Errors
/// As [`quantize_static`].
pub fn named_quantized_model(
    model: &Model,
    ranges: &Ranges,
    options: &StaticOptions,
) -> Result<(Model, BTreeMap<String, String>), QuantError> {
    let (rounding, bias_correction, compact) = (Rounding::Nearest, false, false);
    let options = StaticOptions { rounding, bias_correction, compact, ..options.clone() };
    let Rewritten { source, emitter, layers, tensors } =
        rewrite(model, ranges, None, &options, Layers::AllBut(&options.exclude))?;
    let computes = |(layer, node): &(&Layer, &Node)| {
        layer.form == Form::Integer && family(node).is_some_and(|family| family != Family::Move)
    };
    let made = layers.iter().zip(&source.graph.nodes).filter(computes).filter_map(|(layer, node)| {
        let rounded = layer.output.as_ref().and_then(|output| tensors.get(&output.tensor));
        let tensor = rounded.map_or_else(|| node.output(0), |ends| Some(ends.integers.as_str()))?;
        Some((layer.name.clone(), tensor.to_owned()))
    });
    let made = made.collect();
    Ok((emitter.finish(&source, false)?, made))
}

/// How the elements of a tensor are rounded: `real = scale · (integer − zero_point)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ActivationGrid {
    /// The scale.
    pub scale: f32,
    /// The zero point.
    pub zero_point: i32,
    /// The smallest integer.
    pub lowest: i32,
    /// The largest integer.
    pub highest: i32,
}

/// By tensor of `model`, how [`quantize_static`] rounds it; tensors that it does not round are left out. For whoever trains
/// a network on the grid that it will run on.
///
/// # Errors
/// As [`quantize_static`].
pub fn activation_grids(
    model: &Model,
    ranges: &Ranges,
    options: &StaticOptions,
) -> Result<BTreeMap<String, ActivationGrid>, QuantError> {
    let source = prepare(model, options.opsets())?;
    let plan = Plan::new(&source, options.quantize_output, Layers::AllBut(&options.exclude))?;
    let grid = |(tensor, grid): (String, Grid)| {
        let (lowest, highest) = limits(grid.kind);
        let Grid { scale, zero_point, .. } = grid;
        (tensor, ActivationGrid { scale, zero_point, lowest, highest })
    };
    Ok(plan.grids(ranges, options.activation_type())?.into_iter().map(grid).collect())
}
