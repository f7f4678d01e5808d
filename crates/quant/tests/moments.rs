//! What is gathered of layers' inputs, and what rounding makes of it, looked at without a runtime.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows that of functions marked as tests"
)]
#![expect(dead_code, reason = "the support of all tests")]

mod support;

use onnx::{Attribute, Data, Model, Node, Tensor};
use quant::{
    Moments, MomentsObserver, Range, Ranges, Rounding, StaticOptions, quantize_static, tensors_to_observe,
};
use support::{by_hand, floats};

const IMAGE: usize = 3 * 32 * 32;

/// A convolution without a bias, one of every channel by itself, and a matrix product.
fn model() -> Model {
    let depthwise = Node::new("Conv", ["a", "wd", "bd"], ["b"])
        .named("depthwise")
        .with("group", Attribute::Int(4))
        .with("pads", Attribute::Ints(vec![1; 4]));
    by_hand(
        vec![
            Node::new("Conv", ["input", "wc"], ["raw"]).named("conv"),
            Node::new("Relu", ["raw"], ["a"]),
            depthwise,
            Node::new("GlobalAveragePool", ["b"], ["pooled"]),
            Node::new("Flatten", ["pooled"], ["flat"]),
            Node::new("Gemm", ["flat", "wg"], ["output"]).named("gemm"),
        ],
        vec![
            ("wc", floats(&[4, 3, 1, 1], 1)),
            ("wd", floats(&[4, 1, 3, 3], 2)),
            ("bd", floats(&[4], 3)),
            ("wg", floats(&[4, 5], 4)),
        ],
        &[5],
    )
}

fn ranges(model: &Model) -> Ranges {
    let range = |name| (name, Range { min: -1.0, max: 1.0 });
    let tensors = tensors_to_observe(model).unwrap().into_iter().map(range).collect();
    Ranges { tensors, ..Ranges::default() }
}

/// Values of every tensor that the observer wants, for `images` images.
fn batch(images: usize, seed: usize) -> Vec<(&'static str, Vec<f32>)> {
    let values = |size: usize, seed| match floats(&[images * size], seed).data() {
        Data::F32(values) => values.clone(),
        _ => unreachable!("floats are floats"),
    };
    vec![("input", values(IMAGE, seed)), ("a", values(4 * 1024, seed + 1)), ("flat", values(4, seed + 2))]
}

fn observe(observer: &mut MomentsObserver, batch: &[(&'static str, Vec<f32>)], images: usize) {
    let batch: Vec<(&str, &[f32])> = batch.iter().map(|(name, values)| (*name, values.as_slice())).collect();
    observer.observe(&batch, images);
}

#[test]
fn neither_order_nor_threads_change_them_and_files_keep_them() {
    let model = model();
    let new = || MomentsObserver::new(&model, &ranges(&model)).unwrap();
    let (mut whole, mut one, mut other) = (new(), new(), new());
    for seed in [10, 20, 30] {
        observe(&mut whole, &batch(40, seed), 40);
    }
    observe(&mut other, &batch(40, 30), 40);
    observe(&mut one, &batch(40, 20), 40);
    observe(&mut other, &batch(40, 10), 40);
    one.merge(&other);
    let moments = whole.moments("digest".into());
    assert_eq!(one.moments("digest".into()), moments);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("moments.safetensors");
    moments.write(&path).unwrap();
    assert_eq!(Moments::read(&path).unwrap(), moments);
    std::fs::write(&path, "no tensors").unwrap();
    assert!(Moments::read(&path).unwrap_err().to_string().contains("moments.safetensors"));
}

#[test]
fn the_model_to_run_gives_what_weights_multiply() {
    let observer = MomentsObserver::new(&model(), &ranges(&model())).unwrap();
    let outputs: Vec<&str> = observer.model().graph.outputs.iter().map(|value| value.name.as_str()).collect();
    assert_eq!(outputs, ["output", "a", "flat"]);
}

/// Constant images leave nothing but the mean, and the bias makes up for all that rounding loses of it.
#[test]
fn a_bias_makes_up_for_what_rounding_loses_of_the_mean() {
    let model = by_hand(
        vec![Node::new("Conv", ["input", "w"], ["output"]).named("conv")],
        vec![("w", floats(&[4, 3, 1, 1], 1))],
        &[4, 32, 32],
    );
    let ranges = ranges(&model);
    let mut observer = MomentsObserver::new(&model, &ranges).unwrap();
    observe(&mut observer, &[("input", vec![1.0; 2 * IMAGE])], 2);
    let moments = observer.moments(String::new());
    let options = StaticOptions { compact: false, rounding: Rounding::Nearest, ..StaticOptions::default() };
    let (quantized, _) = quantize_static(&model, &ranges, Some(&moments), &options).unwrap();
    let conv = quantized.graph.nodes.iter().find(|node| node.is("Conv")).unwrap();
    let bias =
        quantized.graph.constant(conv, 2).and_then(Tensor::as_f32).expect("a bias where there was none");
    let dequantize = &quantized.graph.nodes[quantized.graph.producers()[conv.input(1).unwrap()]];
    let scales = quantized.graph.constant(dequantize, 1).unwrap().as_f32().unwrap();
    let Data::I8(integers) = quantized.graph.constant(dequantize, 0).unwrap().data() else {
        panic!("weights are bytes")
    };
    let weights = model.graph.initializers["w"].as_f32().unwrap();
    // The largest step above zero.
    let input = 127.0 * (2.0 / 255.0);
    for channel in 0..4 {
        let filter = channel * 3..channel * 3 + 3;
        let wanted: f32 = weights[filter.clone()].iter().map(|weight| weight * input).sum();
        let rounded = integers[filter].iter().map(|integer| f32::from(*integer) * scales[channel] * input);
        let got = rounded.sum::<f32>() + bias[channel];
        assert!((got - wanted).abs() < 1e-4, "{got} {wanted}");
    }
    let plain = StaticOptions { bias_correction: false, ..options };
    let (quantized, _) = quantize_static(&model, &ranges, Some(&moments), &plain).unwrap();
    assert_eq!(quantized.graph.nodes.iter().find(|node| node.is("Conv")).unwrap().inputs.len(), 2);
}

#[test]
fn the_search_changes_weights_only_where_it_is_wanted() {
    let model = model();
    let ranges = ranges(&model);
    let mut observer = MomentsObserver::new(&model, &ranges).unwrap();
    observe(&mut observer, &batch(64, 5), 64);
    let moments = observer.moments(String::new());
    let bytes = |moments: Option<&Moments>, rounding| {
        let options = StaticOptions { rounding, bias_correction: false, ..StaticOptions::default() };
        quantize_static(&model, &ranges, moments, &options).unwrap().0.to_bytes()
    };
    assert_eq!(bytes(Some(&moments), Rounding::Nearest), bytes(None, Rounding::Search));
    assert_ne!(bytes(Some(&moments), Rounding::Search), bytes(None, Rounding::Search));
    assert_eq!(bytes(Some(&moments), Rounding::Search), bytes(Some(&moments), Rounding::Search));
}
