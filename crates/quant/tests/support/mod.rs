//! Networks with made-up weights, and models that no network description can say.

use std::collections::BTreeMap;

use model::{Weights, WeightsMetadata};
use onnx::build::{BuildOptions, from_network};
use onnx::{Attribute, Data, Dim, ElementType, Model, Node, Tensor, Value};
use quant::{Range, Ranges, StaticOptions, tensors_to_observe};

/// Numbers in −1 to 1 that look random: the fractional parts of multiples of the golden ratio.
fn noise(count: usize, seed: usize) -> Vec<f32> {
    (1..=count)
        .map(|i| (((i + seed * 7919) as f64 * 0.618_033_988_749_895).fract() * 2.0 - 1.0) as f32)
        .collect()
}

/// A network as JSON, for four classes, with weights that keep activations of about the same size.
fn network(json: serde_json::Value) -> Model {
    let metadata: WeightsMetadata = serde_json::from_value(serde_json::json!({
        "network": json,
        "classes": ["a", "b", "c", "d"],
        "normalization": { "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25] },
    }))
    .unwrap();
    let graph = metadata.network.lower(4).unwrap();
    let mut tensors = BTreeMap::new();
    for (index, param) in graph.params().into_iter().enumerate() {
        use model::ParamKind::{Bias, NormScale, NormShift, RunningMean, RunningVar, Weight};
        let fan_in = param.count() / param.shape[0].max(1);
        let scale = (6.0 / fan_in.max(1) as f32).sqrt();
        let value = |value: f32| match param.kind {
            Weight => value * scale,
            Bias | NormShift | RunningMean => value * 0.3,
            NormScale | RunningVar => 1.0 + value * 0.5,
        };
        let values = noise(param.count(), index).into_iter().map(value).collect();
        tensors.insert(param.name, tensors::Tensor::new(param.shape, tensors::Data::F32(values)).unwrap());
    }
    let weights = Weights::new(tensors, metadata).unwrap();
    from_network(&graph, &weights, &BuildOptions::default()).unwrap()
}

/// Most layers that a network may have, and gates, skips and activations of all kinds.
pub(crate) fn varied() -> Model {
    network(serde_json::json!({
        "input": [3, 32, 32],
        "layers": [
            { "conv": { "out": 16, "kernel": 3, "stride": 2, "activation": "relu" } },
            { "max_pool": { "kernel": 2 } },
            { "inverted_residual": { "out": 16, "expand": 32, "se": 4, "gate": "hard_sigmoid" } },
            { "residual": { "layers": [
                { "conv": { "out": 32, "kernel": 3, "activation": "relu" } },
                { "conv": { "out": 32, "kernel": 3, "norm": "none", "activation": "none" } },
            ], "activation": "relu" } },
            { "average_pool": { "kernel": 2 } },
            { "linear": { "out": 24, "activation": "relu" } },
            { "linear": {} },
        ],
    }))
}

/// A model of hand-made nodes from `input` [batch, 3, 32, 32] to `output` [batch, shape].
pub(crate) fn by_hand(nodes: Vec<Node>, initializers: Vec<(&str, Tensor)>, shape: &[usize]) -> Model {
    let mut model = Model::new(13);
    let value = |name: &str, shape: &[usize]| {
        let dims =
            std::iter::once(Dim::Named("batch".into())).chain(shape.iter().map(|&size| Dim::Known(size)));
        Value { name: name.into(), element: ElementType::F32, shape: Some(dims.collect()) }
    };
    model.graph.name = "by hand".into();
    model.graph.inputs = vec![value("input", &[3, 32, 32])];
    model.graph.outputs = vec![value("output", shape)];
    model.graph.nodes = nodes;
    model.graph.initializers = initializers.into_iter().map(|(name, t)| (name.to_owned(), t)).collect();
    model.graph.check().unwrap();
    model
}

/// Floats that look random.
pub(crate) fn floats(shape: &[usize], seed: usize) -> Tensor {
    Tensor::new(shape.to_vec(), Data::F32(noise(shape.iter().product(), seed))).unwrap()
}

/// Operators that exporters give and no network description says: some have integer forms, some have not.
pub(crate) fn exported() -> Model {
    let node = |op: &str, inputs: &[&str], output: &str| {
        Node::new(op, inputs.iter().copied(), [output]).named(format!("{output}_node"))
    };
    by_hand(
        vec![
            node("Conv", &["input", "w0"], "c0").with("strides", Attribute::Ints(vec![4, 4])),
            node("HardSigmoid", &["c0"], "h0"),
            node("Mul", &["c0", "h0"], "swish"),
            node("Conv", &["swish", "w1", "b1"], "c1").with("group", Attribute::Int(4)),
            node("LeakyRelu", &["c1"], "leaky"),
            node("Conv", &["swish", "w2"], "c2"),
            node("Clip", &["c2", "low", "high"], "lifted"),
            node("Concat", &["leaky", "lifted"], "joined").with("axis", Attribute::Int(1)),
            node("Add", &["joined", "offset"], "moved"),
            node("GlobalAveragePool", &["moved"], "pooled"),
            node("Reshape", &["pooled", "target"], "rows"),
            node("MatMul", &["rows", "w3"], "product"),
            node("Add", &["product", "b3"], "logits"),
            node("Softmax", &["logits"], "output").with("axis", Attribute::Int(1)),
        ],
        vec![
            ("w0", floats(&[8, 3, 4, 4], 1)),
            ("w1", floats(&[8, 2, 1, 1], 2)),
            ("b1", floats(&[8], 3)),
            ("w2", floats(&[8, 8, 1, 1], 4)),
            ("low", Tensor::scalar_f32(0.1)),
            ("high", Tensor::scalar_f32(1.0)),
            ("offset", floats(&[16, 1, 1], 5)),
            ("target", Tensor::vector(Data::I64(vec![0, -1]))),
            ("w3", floats(&[16, 4], 6)),
            ("b3", floats(&[4], 7)),
        ],
        &[4],
    )
}

/// Options whose models keep their names.
pub(crate) fn readable() -> StaticOptions {
    StaticOptions { compact: false, ..StaticOptions::default() }
}

/// Ranges that no calibration gave: the same for all tensors.
pub(crate) fn made_up_ranges(model: &Model) -> Ranges {
    let range = |name| (name, Range { min: -4.0, max: 8.0 });
    let tensors = tensors_to_observe(model).unwrap().into_iter().map(range).collect();
    Ranges { tensors, ..Ranges::default() }
}

/// How many nodes have this operator.
pub(crate) fn count(model: &Model, op: &str) -> usize {
    model.graph.nodes.iter().filter(|node| node.is(op)).count()
}
