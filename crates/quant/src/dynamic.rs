//! Dynamic quantization: integer weights in the file; activations, where worth it, rounded anew for every batch.

use std::collections::BTreeMap;

use onnx::{Attribute, Data, ElementType, Graph, Model, Node, Tensor};

use crate::data_flow::computes_sizes;
use crate::emit::Emitter;
use crate::error::QuantError;
use crate::integers::{Channels, SymmetricWeight};
use crate::neighbours::Neighbours;
use crate::options::{DynamicOptions, DynamicScheme, Target};
use crate::plan::{self, Role};
use crate::prepare::prepare_weights;
use crate::stored;
use crate::summary::{Form, Layer, Summary};
use crate::weights::Weighty;

/// Quantizes weights to 8 bits, and activations while the model runs, as `options.scheme` says; no calibration. Weights are
/// `scale · integer` with `scale = max|w| / 127`, by channel or for all of a layer; activations are what ONNX's
/// `DynamicQuantizeLinear` makes of them.
///
/// # Errors
/// [`QuantError`]: a weight not finite, nothing to quantize, quantized already, or an opset too old.
pub fn quantize_dynamic(model: &Model, options: &DynamicOptions) -> Result<(Model, Summary), QuantError> {
    let source = prepare_weights(model)?;
    let roles = plan::classify_all(&source.graph, &options.exclude)?;
    let mut rewriter = Rewriter {
        source: &source.graph,
        per_channel: options.per_channel,
        emitter: Emitter::new(&source.graph),
        rounded: BTreeMap::new(),
    };
    let mut layers = Vec::with_capacity(source.graph.nodes.len());
    let computes_sizes = computes_sizes(&source.graph);
    for ((node, role), computes_sizes) in source.graph.nodes.iter().zip(roles).zip(computes_sizes) {
        if role == Role::Stored {
            let (changed, weight) = stored::emit(&mut rewriter.emitter, &source.graph, node)?;
            rewriter.copy(&changed);
            let (form, weight) = (Form::WeightOnly, Some(weight));
            layers.push(Layer { name: node.label().into(), op: node.op.clone(), form, weight, output: None });
            continue;
        }
        let weighty = match role {
            Role::Integer => Weighty::of(&source.graph, node)?,
            _ => None,
        };
        let (form, weight) = match weighty {
            None => {
                rewriter.copy(node);
                let reason = match role {
                    Role::Float(reason) if matches!(node.op.as_str(), "Conv" | "Gemm" | "MatMul") => reason,
                    _ => "only convolutions and matrix products have weights".to_owned(),
                };
                (Form::left(reason, computes_sizes), None)
            }
            Some(weighty) => {
                let form = form(options, node);
                // The runtime computes a `ConvInteger` by another kernel, which adds in 32 bits.
                let adds_in_pairs =
                    options.target.adds_in_pairs() && form == Form::Integer && !node.is("Conv");
                let neighbours = if adds_in_pairs { Neighbours::of(node, &weighty, 0) } else { None };
                let rounded = weighty.quantize(options.per_channel, &[], neighbours.as_ref());
                match form {
                    Form::Integer => rewriter.integer(node, &weighty, &rounded)?,
                    _ => rewriter.weight_only(node, &weighty, &rounded)?,
                }
                (form, Some(weighty.summary(&rounded)))
            }
        };
        layers.push(Layer { name: node.label().into(), op: node.op.clone(), form, weight, output: None });
    }
    let quantized = rewriter.emitter.finish(&source, options.compact)?;
    let (bytes_before, bytes_after) = (model.to_bytes().len(), quantized.to_bytes().len());
    let summary = Summary { layers, bytes_before, bytes_after, integers_from: None };
    Ok((quantized, summary))
}

/// Integer arithmetic where the scheme wants it. ONNX Runtime computes `ConvInteger` as a matrix product for each image and
/// group, without its layouts for convolutions, and writes 32-bit integers that are scaled in passes of their own.
fn form(options: &DynamicOptions, node: &Node) -> Form {
    match options.scheme {
        // As WebAssembly it rounds without vector instructions.
        DynamicScheme::Fast if options.target == Target::Wasm => Form::WeightOnly,
        DynamicScheme::Everything => Form::Integer,
        DynamicScheme::Fast if !node.is("Conv") => Form::Integer,
        DynamicScheme::Fast | DynamicScheme::WeightsOnly => Form::WeightOnly,
    }
}

/// An activation rounded while the model runs: integers, scale, zero point.
#[derive(Clone)]
struct Rounded {
    integers: String,
    scale: String,
    zero_point: String,
}

struct Rewriter<'a> {
    source: &'a Graph,
    per_channel: bool,
    emitter: Emitter,
    rounded: BTreeMap<String, Rounded>,
}

impl Rewriter<'_> {
    fn copy(&mut self, node: &Node) {
        self.emitter.keep_constants(self.source, node);
        self.emitter.node(node.clone());
    }

    /// Emits the node with a weight that becomes float by `Cast` and `Mul`: unlike `DequantizeLinear`, the runtime
    /// computes those once, when it loads the model.
    fn weight_only(
        &mut self,
        node: &Node,
        weighty: &Weighty<'_>,
        rounded: &SymmetricWeight,
    ) -> Result<(), QuantError> {
        let integers = weighty.integers(rounded).ok_or_else(|| QuantError::unfilled(weighty.name))?;
        let rank = integers.shape().len();
        let integers = self.emitter.constant(&format!("{}_integers", weighty.name), integers);
        let mut shape = vec![1; rank];
        let axis = match weighty.channels {
            Channels::First(_) => 0,
            Channels::Last(_) => rank.saturating_sub(1),
        };
        let scale = self.scales(weighty.name, rounded, shape.as_mut_slice(), axis)?;
        let steps = self.cast(&integers, &format!("{}_steps", weighty.name));
        let weight = self.emitter.value("Mul", &[&steps, &scale], &format!("{}_rounded", weighty.name));
        let mut node = node.clone();
        if let Some(slot) = node.inputs.get_mut(1) {
            *slot = weight;
        }
        self.copy(&node);
        Ok(())
    }

    /// Emits the integer product of the rounded operand and the weight, scaled back to floats, plus the bias.
    fn integer(
        &mut self,
        node: &Node,
        weighty: &Weighty<'_>,
        rounded: &SymmetricWeight,
    ) -> Result<(), QuantError> {
        let input = node.input(0).ok_or_else(|| QuantError::unplanned(node, "input"))?;
        let output = node.output(0).ok_or_else(|| QuantError::unplanned(node, "output"))?;
        let input = self.round(input);
        let (op, integers, rank, axis) = if node.is("Conv") {
            let rank = weighty.tensor.shape().len();
            ("ConvInteger", weighty.integers(rounded), rank, 1)
        } else {
            ("MatMulInteger", matrix(weighty, rounded), 1, 0)
        };
        let integers = integers.ok_or_else(|| QuantError::unfilled(weighty.name))?;
        let integers = self.emitter.constant(&format!("{}_integers", weighty.name), integers);
        let mut shape = vec![1; rank];
        let weight_scale = self.scales(weighty.name, rounded, &mut shape, axis)?;
        let sums = self.emitter.fresh(&format!("{output}_sums"));
        let mut product = Node::new(op, [&input.integers, &integers, &input.zero_point], [&sums]);
        if node.is("Conv") {
            product.attributes = node.attributes.clone();
        }
        product.name.clone_from(&node.name);
        self.emitter.node(product);
        let steps = self.cast(&sums, &format!("{output}_steps"));
        let scale = self.emitter.value("Mul", &[&input.scale, &weight_scale], &format!("{output}_scale"));
        let Some((name, bias)) = weighty.bias else {
            self.emitter.node(Node::new("Mul", [steps.as_str(), &scale], [output]));
            return Ok(());
        };
        let scaled = self.emitter.value("Mul", &[&steps, &scale], &format!("{output}_scaled"));
        if let Some(slot) = shape.get_mut(axis) {
            *slot = bias.len();
        }
        let bias = Tensor::new(shape, Data::F32(bias.to_vec())).ok_or_else(|| QuantError::unfilled(name))?;
        let bias = self.emitter.constant(&format!("{name}_shaped"), bias);
        self.emitter.node(Node::new("Add", [scaled.as_str(), &bias], [output]));
        Ok(())
    }

    /// Adds the scales as a constant that broadcasts along `axis` of `shape`, which is all ones.
    fn scales(
        &mut self,
        name: &str,
        rounded: &SymmetricWeight,
        shape: &mut [usize],
        axis: usize,
    ) -> Result<String, QuantError> {
        let mut shape = shape.to_vec();
        match shape.get_mut(axis) {
            Some(slot) if self.per_channel => *slot = rounded.scales.len(),
            _ => shape.clear(),
        }
        let scales = Tensor::new(shape, Data::F32(rounded.scales.clone()))
            .ok_or_else(|| QuantError::unfilled(name))?;
        Ok(self.emitter.constant(&format!("{name}_scale"), scales))
    }

    fn cast(&mut self, tensor: &str, wanted: &str) -> String {
        let output = self.emitter.fresh(wanted);
        let to = Attribute::Int(i64::from(ElementType::F32.code()));
        self.emitter.node(Node::new("Cast", [tensor], [output.as_str()]).with("to", to));
        output
    }

    fn round(&mut self, tensor: &str) -> Rounded {
        if let Some(rounded) = self.rounded.get(tensor) {
            return rounded.clone();
        }
        let mut fresh = |what| self.emitter.fresh(&format!("{tensor}_{what}"));
        let rounded =
            Rounded { integers: fresh("integers"), scale: fresh("scale"), zero_point: fresh("zero_point") };
        let outputs = [&rounded.integers, &rounded.scale, &rounded.zero_point].map(String::as_str);
        self.emitter.node(Node {
            op: "DynamicQuantizeLinear".into(),
            inputs: vec![tensor.to_owned()],
            outputs: outputs.map(str::to_owned).to_vec(),
            ..Node::default()
        });
        self.rounded.insert(tensor.to_owned(), rounded.clone());
        rounded
    }
}

/// A matrix product's rounded weight as `[in, out]`, which `MatMulInteger` wants.
fn matrix(weighty: &Weighty<'_>, rounded: &SymmetricWeight) -> Option<Tensor> {
    let &[rows, columns] = weighty.tensor.shape() else { return None };
    match weighty.channels {
        Channels::Last(_) => weighty.integers(rounded),
        Channels::First(_) => {
            let column = |start| rounded.integers.iter().skip(start).step_by(columns.max(1)).copied();
            Tensor::new(vec![columns, rows], Data::I8((0..columns).flat_map(column).collect()))
        }
    }
}
