//! Cross-layer equalisation where it matters: one scale for all channels of a layer whose channels differ widely.

use onnx::{Data, Dim, ElementType, Model, Node, Tensor, Value};
use serde_json::json;

use crate::support::{images, run, runtime};

/// Numbers in −1 to 1 that look random.
fn noise(count: usize, seed: usize) -> Vec<f32> {
    let value = |i: usize| (((i + seed * 7919) as f64 * 0.618_033_988_749_895).fract() * 2.0 - 1.0) as f32;
    (1..=count).map(value).collect()
}

/// A network of two convolutions with ReLU, of random weights, whose first layer's channels span five orders of magnitude,
/// which the second's make up for.
fn uneven() -> Model {
    let scale = |channel: usize| 10_f32.powi(channel as i32 % 6 - 3);
    let first = noise(16 * 27, 1).into_iter().enumerate().map(|(place, value)| value * scale(place / 27));
    let second = noise(16 * 16, 2).into_iter().enumerate().map(|(place, value)| value / scale(place % 16));
    let tensor = |shape: &[usize], values: Vec<f32>| Tensor::new(shape.to_vec(), Data::F32(values)).unwrap();
    let value = |name: &str, shape: &[usize]| {
        let dims = std::iter::once(Dim::Named("n".into())).chain(shape.iter().map(|size| Dim::Known(*size)));
        Value { name: name.into(), element: ElementType::F32, shape: Some(dims.collect()) }
    };
    let mut model = Model::new(13);
    let graph = &mut model.graph;
    graph.name = "uneven".into();
    graph.inputs = vec![value("input", &[3, 32, 32])];
    graph.outputs = vec![value("output", &[10])];
    graph.nodes = vec![
        Node::new("Conv", ["input", "w1"], ["a"]).named("first"),
        Node::new("Relu", ["a"], ["b"]),
        Node::new("Conv", ["b", "w2"], ["c"]).named("second"),
        Node::new("Relu", ["c"], ["d"]),
        Node::new("GlobalAveragePool", ["d"], ["e"]),
        Node::new("Flatten", ["e"], ["f"]),
        Node::new("Gemm", ["f", "w3"], ["output"]).named("last"),
    ];
    graph.initializers = [
        ("w1", tensor(&[16, 3, 3, 3], first.collect())),
        ("w2", tensor(&[16, 16, 1, 1], second.collect())),
        ("w3", tensor(&[16, 10], noise(160, 3))),
    ]
    .map(|(name, tensor)| (name.to_owned(), tensor))
    .into();
    model
}

#[test]
fn balanced_channels_survive_a_single_scale() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (Some(()), Some(dataset)) = (runtime(), images(folder.path())) else { return };
    let float = at("float.onnx");
    uneven().write(&float).unwrap();
    let balanced = at("balanced.onnx");
    let said = run("equalize", json!({}), &[("model", &float)], &[("model", &balanced)]).done();
    assert_eq!(said.value("pairs"), 2.0);

    let normalization = json!({ "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25] });
    let quantized = |model: &std::path::Path, name: &str| {
        let (ranges, moments, int8) = (at("ranges.json"), at("moments.safetensors"), at(name));
        let params = json!({ "images": 64, "moments": false, "normalization": normalization });
        let outputs = [("ranges", ranges.as_path()), ("moments", &moments)];
        run("calibrate", params, &[("model", model), ("dataset", &dataset)], &outputs).done();
        let inputs = [("model", model), ("ranges", ranges.as_path())];
        run("quantize", json!({ "per_channel": false }), &inputs, &[("model", &int8)]).done();
        int8
    };
    let (plain, even) = (quantized(&float, "plain.onnx"), quantized(&balanced, "even.onnx"));
    let inputs = [("dataset", dataset.as_path()), ("fp32", &float), ("plain", &plain), ("even", &even)];
    let params = json!({ "baseline": "fp32", "normalization": normalization });
    let said = run("evaluate", params, &inputs, &[("predictions", &at("predictions"))]).done();
    let (plain, even) = (said.value("plain.agreement"), said.value("even.agreement"));
    assert!(even > 95.0 && plain < even - 20.0, "plain {plain} %, balanced {even} %");
}

#[test]
fn what_cannot_be_balanced_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let Some(()) = runtime() else { return };
    let mut model = uneven();
    for node in model.graph.nodes.iter_mut().filter(|node| node.is("Relu")) {
        node.op = "Sigmoid".into();
    }
    let (float, balanced) = (folder.path().join("float.onnx"), folder.path().join("balanced.onnx"));
    model.write(&float).unwrap();
    let said = run("equalize", json!({}), &[("model", &float)], &[("model", &balanced)]).done();
    assert!(said.logs.iter().any(|line| line.contains("no two layers")), "{:?}", said.logs);
}
