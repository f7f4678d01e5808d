//! Models of which only some layers compute in integers, looked at without a runtime.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows that of functions marked as tests"
)]
#![expect(dead_code, reason = "the support of all tests")]

mod support;

use onnx::{Model, Node, Tensor};
use quant::{
    Form, StaticOptions, integer_layers, observed_quantized_model, quantize_one_layer, quantize_static,
};
use support::{by_hand, count, floats, made_up_ranges, readable};

/// conv → relu6 → sigmoid → mul → gemm, the gate being of the same tensor.
fn gated() -> Model {
    by_hand(
        vec![
            Node::new("Conv", ["input", "w"], ["raw"]).named("conv"),
            Node::new("Clip", ["raw", "low", "high"], ["a"]).named("relu6"),
            Node::new("Sigmoid", ["a"], ["g"]).named("gate"),
            Node::new("Mul", ["a", "g"], ["m"]).named("scale"),
            Node::new("GlobalAveragePool", ["m"], ["p"]).named("pool"),
            Node::new("Flatten", ["p"], ["f"]).named("flat"),
            Node::new("Gemm", ["f", "wg"], ["output"]).named("gemm"),
        ],
        vec![
            ("w", floats(&[4, 3, 1, 1], 1)),
            ("wg", floats(&[4, 5], 2)),
            ("low", Tensor::scalar_f32(0.0)),
            ("high", Tensor::scalar_f32(6.0)),
        ],
        &[5],
    )
}

#[test]
fn without_a_layer_with_weights_nearby_nothing_is_rounded() {
    let model = gated();
    let names = |model: &Model, options: &StaticOptions| -> Vec<String> {
        integer_layers(model, options).unwrap().into_iter().map(|layer| layer.name).collect()
    };
    assert_eq!(names(&model, &readable()), ["conv", "gate", "scale", "pool", "gemm"]);
    let keep = |labels: &[&str]| {
        let exclude = labels.iter().map(ToString::to_string).collect();
        StaticOptions { exclude, ..readable() }
    };
    assert_eq!(names(&model, &keep(&["conv"])), ["gemm"], "what only reads floats is rounded no earlier");
    let options = keep(&["conv", "pool"]);
    assert_eq!(names(&model, &options), ["gemm"]);
    let (quantized, summary) = quantize_static(&model, &made_up_ranges(&model), None, &options).unwrap();
    assert_eq!(count(&quantized, "QuantizeLinear"), 2, "before and after Flatten");
    let reason = &summary.layers[3].form;
    assert!(matches!(reason, Form::Float { reason } if reason.starts_with("what it reads")), "{reason:?}");
    let alone = by_hand(
        vec![
            Node::new("Sigmoid", ["input"], ["a"]).named("alone"),
            Node::new("Erf", ["a"], ["b"]),
            Node::new("Conv", ["b", "w"], ["output"]),
        ],
        vec![("w", floats(&[4, 3, 1, 1], 1))],
        &[4, 32, 32],
    );
    let (_, summary) = quantize_static(&alone, &made_up_ranges(&alone), None, &readable()).unwrap();
    let reason = &summary.layers[0].form;
    assert!(matches!(reason, Form::Float { reason } if reason.starts_with("no convolution")), "{reason:?}");
}

#[test]
fn one_layer_alone_is_rounded_whatever_it_is() {
    let model = gated();
    let ranges = made_up_ranges(&model);
    // Flatten is rounded on both sides.
    for (label, rounded) in [("conv", 2), ("gate", 2), ("scale", 3), ("gemm", 2)] {
        let one = quantize_one_layer(&model, &ranges, None, &readable(), label).unwrap();
        assert_eq!(count(&one, "QuantizeLinear"), rounded, "{label}");
        assert_eq!(count(&one, "Clip"), usize::from(label != "conv"), "{label}");
    }
}

#[test]
fn the_rounded_form_of_each_outcome_can_be_looked_at() {
    let model = gated();
    let (quantized, outputs) =
        observed_quantized_model(&model, &made_up_ranges(&model), None, &StaticOptions::default()).unwrap();
    assert_eq!(outputs.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "f", "g", "m", "p"]);
    for output in outputs.values() {
        assert!(quantized.graph.is_output(output), "{output}");
        let producer = quantized.graph.producers()[output.as_str()];
        assert!(quantized.graph.nodes[producer].is("DequantizeLinear"));
    }
}
