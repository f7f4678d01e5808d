//! Whether ONNX Runtime takes the integer forms that a model is written in: what it does not take computes in floats between roundings,
//! which is slower and less accurate than floats alone.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use onnx::Graph;
use quant::{ActivationType, Form, Ranges, StaticOptions, Summary, named_quantized_model};

use crate::executed::Arithmetic;
use crate::runtime::told;

/// How often layers are put back: each may leave neighbours that are not taken alone.
const ROUNDS: usize = 4;

/// Why a layer was put back.
const REASON: &str = "ONNX Runtime does not take its integer form here";

/// The labels of the layers that ONNX Runtime computes in floats, however they are written. None for signed activations, which are
/// for processors other than most that quantize. `scratch` is a folder for dumps.
///
/// # Errors
/// Where the model cannot be quantized or loaded.
pub(super) fn left(
    float: &onnx::Model,
    ranges: &Ranges,
    options: &StaticOptions,
    scratch: &Path,
) -> Result<Vec<String>> {
    let mut left: Vec<String> = Vec::new();
    if options.activation_type() != ActivationType::U8 {
        return Ok(left);
    }
    for _ in 0..ROUNDS {
        let exclude = options.exclude.iter().chain(&left).cloned().collect();
        let (model, made) =
            named_quantized_model(float, ranges, &StaticOptions { exclude, ..options.clone() })?;
        let graph = told::fused(&model.to_bytes(), scratch)?;
        let before = left.len();
        left.extend(in_floats(&made, &graph));
        if left.len() == before {
            break;
        }
    }
    Ok(left)
}

/// The labels whose tensors an operator makes that does not compute in integers. What is not found was joined with something else.
fn in_floats(made: &BTreeMap<String, String>, graph: &Graph) -> Vec<String> {
    let (makers, arithmetic) = (graph.producers(), Arithmetic::of(graph));
    let maker = |tensor: &String| makers.get(tensor.as_str()).and_then(|maker| arithmetic.get(*maker));
    let is_left =
        |(_, tensor): &(&String, &String)| maker(tensor).is_some_and(|it| *it != Arithmetic::Integers);
    made.iter().filter(is_left).map(|(label, _)| label.clone()).collect()
}

/// Says of these layers why they are in floats.
pub(super) fn explain(summary: &mut Summary, left: &[String]) {
    for layer in summary.layers.iter_mut().filter(|layer| left.contains(&layer.name)) {
        if let Form::Float { reason } = &mut layer.form {
            REASON.clone_into(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library;
    use onnx::{Attribute, Data, Dim, ElementType, Node, Tensor, Value};
    use quant::{Range, tensors_to_observe};

    /// A convolution, and what is behind it.
    fn model(behind: Vec<Node>) -> onnx::Model {
        let mut model = onnx::Model::new(13);
        let value = |name: &str, shape: Option<[usize; 4]>| Value {
            name: name.into(),
            element: ElementType::F32,
            shape: shape.map(|dims| dims.map(Dim::Known).to_vec()),
        };
        model.graph.inputs = vec![value("x", Some([1, 4, 8, 8]))];
        model.graph.outputs = vec![value("y", None)];
        model.graph.nodes = [vec![Node::new("Conv", ["x", "w"], ["a"]).named("first")], behind].concat();
        let weight = Tensor::new(vec![4, 4, 1, 1], Data::F32((0..16_u8).map(f32::from).collect())).unwrap();
        model.graph.initializers.insert("w".into(), weight);
        model
    }

    #[test]
    fn what_floats_are_rounded_behind_is_left() {
        let graph = Graph {
            nodes: vec![
                Node::new("QuantizeLinear", ["x", "s", "z"], ["q"]),
                Node::new("QLinearConv", ["q"], ["taken"]),
                Node::new("DequantizeLinear", ["taken", "s", "z"], ["d"]),
                Node::new("Conv", ["d", "w"], ["c"]),
                Node::new("QuantizeLinear", ["c", "s", "z"], ["rounded"]),
                Node::new("Gemm", ["d", "w"], ["floats"]),
            ],
            ..Graph::default()
        };
        let made =
            ["taken", "rounded", "floats", "gone"].map(|tensor| (format!("of {tensor}"), tensor.to_owned()));
        assert_eq!(in_floats(&made.into(), &graph), ["of floats", "of rounded"]);
    }

    #[test]
    fn what_is_taken_stays_in_integers() {
        if library::find().is_err() {
            println!("skipped: there is no ONNX Runtime");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let found = |model: &onnx::Model| {
            let range = |name| (name, Range { min: -1.0, max: 2.0 });
            let tensors = tensors_to_observe(model).unwrap().into_iter().map(range).collect();
            let ranges = Ranges { tensors, ..Ranges::default() };
            left(model, &ranges, &StaticOptions::default(), folder.path()).unwrap()
        };
        let last = || Node::new("Conv", ["b", "w"], ["y"]).named("last");
        let pool = Node::new("AveragePool", ["a"], ["b"])
            .named("pool")
            .with("kernel_shape", Attribute::Ints(vec![1, 1]));
        assert!(found(&model(vec![pool, last()])).is_empty());
        assert!(found(&model(vec![Node::new("Sigmoid", ["a"], ["b"]), last()])).is_empty());
        // A name that no rounding of the model has stands for one that was not taken.
        let sum = Node::new("Sum", ["a", "a"], ["y"]);
        assert!(found(&model(vec![sum])).is_empty(), "what is in floats anyway is no news");
    }
}
