//! Quantized models in the real runtime: what it fuses, and what fused operators give.

use std::collections::BTreeMap;
use std::path::Path;

use onnx::{Attribute, Data, DataFiles, Dim, ElementType, Node, Tensor, Value};
use quant::{
    ActivationType, BiasType, Lineage, Method, Observer, Ranges, Runtime, StaticOptions, observed_model,
    quantize_static, tensors_to_observe,
};

use crate::executed::{Arithmetic, Counts};
use crate::{executed, library, noise, runtime};

/// Ranges of `float` on `images`, `count` of them.
fn calibrated(float: &onnx::Model, images: &[f32], count: usize) -> Ranges {
    let observed = observed_model(float).unwrap().to_bytes();
    let mut observer = Observer::new(tensors_to_observe(float).unwrap(), Method::Minmax, false);
    let mut model = runtime::Model::from_bytes(&observed, "observed".into(), 1).unwrap();
    let inputs: [(&str, &[f32]); 1] = [(model.input(), images)];
    observer.observe(&inputs, count).unwrap();
    model.run_all(images, &mut |outputs| Ok(observer.observe(outputs, count)?)).unwrap();
    observer.ranges(100.0, Lineage::default(), 1).unwrap()
}

/// With unsigned activations the runtime computes the whole network in integers: no island of floats, which
/// would cost conversions and transposes on both sides.
#[test]
fn static_int8_is_integer_throughout_in_the_runtime() {
    let reference =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/model/tinynet.onnx");
    if library::find().is_err() || !reference.is_file() {
        println!("skipped: there is no ONNX Runtime or no `../shared/reference/model/tinynet.onnx`");
        return;
    }
    let float = onnx::Model::read(&reference).unwrap();
    let ranges = calibrated(&float, &noise::normal(8 * 3 * 32 * 32, 1), 8);
    let (int8, _) = quantize_static(&float, &ranges, None, &StaticOptions::default()).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let (_, executed) =
        executed::load(&int8.to_bytes(), &DataFiles::new(), "it".into(), 1, folder.path()).unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &executed.nodes {
        *counts.entry(&node.op).or_default() += 1;
    }
    let count = |op: &str| counts.get(op).copied().unwrap_or(0);
    assert_eq!(count("QLinearConv"), 36, "{counts:?}");
    for op in ["Conv", "FusedConv", "Clip", "Relu", "Sigmoid", "Mul", "Add", "GlobalAveragePool", "Gemm"] {
        assert_eq!(count(op), 0, "{op}: {counts:?}");
    }
    // Gates of images at least eight pixels wide.
    assert_eq!(count("Tile"), 6, "{counts:?}");
    assert_eq!(count("QuantizeLinear"), 1, "{counts:?}");
    assert!(count("DequantizeLinear") <= 1 && count("Transpose") <= 2, "{counts:?}");
}

/// No multiple of four, so that some convolutions get channels of zeros.
const CHANNELS: usize = 6;
const SIZE: usize = 6;
/// Long enough for gates to be repeated along rows.
const WIDTH: usize = 10;

/// A model of these nodes from `x` [n, 6, 6, 10] to `y` [n, …].
fn model(nodes: Vec<Node>, constants: &[(&str, &[usize])], output: &[usize]) -> onnx::Model {
    let value = |name: &str, shape: &[usize]| {
        let dims = std::iter::once(Dim::Named("n".into())).chain(shape.iter().map(|size| Dim::Known(*size)));
        Value { name: name.into(), element: ElementType::F32, shape: Some(dims.collect()) }
    };
    let mut model = onnx::Model::new(13);
    model.graph.inputs = vec![value("x", &[CHANNELS, SIZE, WIDTH])];
    model.graph.outputs = vec![value("y", output)];
    model.graph.nodes = nodes;
    for (seed, (name, shape)) in constants.iter().enumerate() {
        let values = noise::normal(shape.iter().product(), 10 + seed as u64);
        let values = values.iter().map(|value| value * 0.3).collect();
        let tensor = Tensor::new(shape.to_vec(), Data::F32(values)).unwrap();
        model.graph.initializers.insert((*name).into(), tensor);
    }
    model
}

/// By what is looked at, a model of it; a convolution before operators that have no weights.
fn operators() -> Vec<(&'static str, onnx::Model)> {
    let image = [CHANNELS, SIZE, WIDTH];
    let conv = |group: i64, pad: i64| {
        Node::new("Conv", ["x", "w", "b"], ["y"])
            .with("group", Attribute::Int(group))
            .with("pads", Attribute::Ints(vec![pad; 4]))
    };
    // Before a convolution, without which they would stay floats.
    let before = |nodes: Vec<Node>, output: [usize; 3]| {
        let conv = Node::new("Conv", ["y", "w", "b"], ["z"]);
        let nodes = nodes.into_iter().chain([conv]).collect();
        let weight = [CHANNELS, output[0], 1, 1];
        let mut model = model(nodes, &[("w", &weight), ("b", &[CHANNELS]), ("k", &[6, 1, 1])], &output);
        let dims = [CHANNELS, output[1], output[2]].map(Dim::Known);
        let shape = std::iter::once(Dim::Named("n".into())).chain(dims).collect();
        model.graph.outputs.push(Value { name: "z".into(), element: ElementType::F32, shape: Some(shape) });
        model
    };
    let alone = |node: Node, output: [usize; 3]| before(vec![node], output);
    let gate =
        |op: &str| vec![Node::new("GlobalAveragePool", ["x"], ["g"]), Node::new(op, ["g", "x"], ["y"])];
    let joined = Node::new("Concat", ["x", "x"], ["y"]).with("axis", Attribute::Int(1));
    let pool = Node::new("AveragePool", ["x"], ["y"])
        .with("kernel_shape", Attribute::Ints(vec![2, 2]))
        .with("strides", Attribute::Ints(vec![2, 2]));
    let flat = Node::new("Flatten", ["x"], ["f"]);
    vec![
        ("conv", model(vec![conv(1, 1)], &[("w", &[6, 6, 3, 3]), ("b", &[6])], &image)),
        ("wide conv", model(vec![conv(1, 1)], &[("w", &[16, 6, 3, 3]), ("b", &[16])], &[16, SIZE, WIDTH])),
        ("grouped conv", model(vec![conv(2, 0)], &[("w", &[6, 3, 1, 1]), ("b", &[6])], &image)),
        ("depthwise conv", model(vec![conv(6, 1)], &[("w", &[6, 1, 3, 3]), ("b", &[6])], &image)),
        (
            "conv and relu",
            model(
                vec![Node::new("Conv", ["x", "w"], ["c"]), Node::new("Relu", ["c"], ["y"])],
                &[("w", &[6, 6, 1, 1])],
                &image,
            ),
        ),
        (
            "gemm",
            model(
                vec![flat.clone(), Node::new("Gemm", ["f", "w", "b"], ["y"])],
                &[("w", &[CHANNELS * SIZE * WIDTH, 5]), ("b", &[5])],
                &[5],
            ),
        ),
        (
            "matmul",
            model(
                vec![flat, Node::new("MatMul", ["f", "w"], ["y"])],
                &[("w", &[CHANNELS * SIZE * WIDTH, 5])],
                &[5],
            ),
        ),
        ("add", alone(Node::new("Add", ["x", "k"], ["y"]), image)),
        ("mul", alone(Node::new("Mul", ["x", "k"], ["y"]), image)),
        ("gate", before(gate("Mul"), image)),
        ("shifts", before(gate("Add"), image)),
        ("square", alone(Node::new("Mul", ["x", "x"], ["y"]), image)),
        ("sigmoid", alone(Node::new("Sigmoid", ["x"], ["y"]), image)),
        (
            "leaky relu",
            alone(Node::new("LeakyRelu", ["x"], ["y"]).with("alpha", Attribute::Float(0.1)), image),
        ),
        ("global pool", alone(Node::new("GlobalAveragePool", ["x"], ["y"]), [CHANNELS, 1, 1])),
        ("pool", alone(pool, [CHANNELS, SIZE / 2, WIDTH / 2])),
        ("concat", alone(joined, [2 * CHANNELS, SIZE, WIDTH])),
    ]
}

/// Older runtimes want biases as integers; these are what newer ones make of floats themselves.
#[test]
fn a_model_for_an_older_runtime_computes_the_same_in_as_many_integers() {
    if library::find().is_err() {
        println!("skipped: there is no ONNX Runtime");
        return;
    }
    const IMAGES: usize = 16;
    let images = noise::normal(IMAGES * CHANNELS * SIZE * WIDTH, 3);
    let folder = tempfile::tempdir().unwrap();
    for (name, float) in operators() {
        let ranges = calibrated(&float, &images, IMAGES);
        let [newer, older] = [None, Some("1.15")].map(|runtime| {
            let runtime = runtime.map(|runtime| Runtime::try_from(runtime.to_owned()).unwrap());
            let options = StaticOptions { runtime, quantize_output: true, ..StaticOptions::default() };
            let (int8, summary) = quantize_static(&float, &ranges, None, &options).unwrap();
            let (loaded, executed) =
                executed::load(&int8.to_bytes(), &DataFiles::new(), name.into(), 1, folder.path()).unwrap();
            let outcome = runtime::Model::of(loaded).unwrap().run(&images).unwrap();
            let output = summary.layers.iter().filter_map(|layer| layer.output.as_ref()).next_back();
            let step = f64::from(output.unwrap().scale);
            (outcome, step, Counts::of(&Arithmetic::of(&executed)), summary.integers_from)
        });
        assert_eq!(older.2, newer.2, "{name}");
        assert_eq!(older.3, Some(Runtime::OLDEST), "{name}");
        let has_bias = float.graph.nodes.iter().any(|node| node.input(2).is_some());
        assert_eq!(newer.3, Some(if has_bias { Runtime::ROUNDS_BIASES } else { Runtime::OLDEST }), "{name}");
        let steps = runtime::max_difference(&older.0, &newer.0) / newer.1;
        assert!(steps < 1.01, "{name}: {steps} steps");
    }
}

/// The model with every operand that is repeated along rows as it was.
fn without_tiles(model: &onnx::Model) -> onnx::Model {
    let mut plain = model.clone();
    let (tiles, mut others): (Vec<_>, Vec<_>) =
        plain.graph.nodes.into_iter().partition(|node| node.is("Tile"));
    for tile in &tiles {
        let reads = others.iter_mut().flat_map(|node| &mut node.inputs);
        reads.filter(|name| **name == tile.outputs[0]).for_each(|name| name.clone_from(&tile.inputs[0]));
    }
    plain.graph.nodes = others;
    plain
}

/// The runtime's integer operators against its float ones between the same roundings, which it computes literally where it
/// optimises nothing: they may differ by one step, at ties.
#[test]
fn integer_operators_are_within_a_step_of_rounded_floats() {
    if library::find().is_err() {
        println!("skipped: there is no ONNX Runtime");
        return;
    }
    const IMAGES: usize = 16;
    let images = noise::normal(IMAGES * CHANNELS * SIZE * WIDTH, 3);
    for (name, float) in operators() {
        let ranges = calibrated(&float, &images, IMAGES);
        for (activations, per_channel, bias) in [
            (ActivationType::U8, true, BiasType::Float),
            (ActivationType::U8, false, BiasType::Int32),
            (ActivationType::S8, true, BiasType::Int32),
        ] {
            let quantize_output = true;
            let options = StaticOptions {
                activations: Some(activations),
                per_channel,
                bias,
                quantize_output,
                ..StaticOptions::default()
            };
            let (int8, summary) = quantize_static(&float, &ranges, None, &options).unwrap();
            let repeats = int8.graph.nodes.iter().filter(|node| node.is("Tile")).count();
            let repeated = matches!(name, "gate" | "shifts") && activations == ActivationType::U8;
            assert_eq!(repeats, usize::from(repeated), "{name}, {options:?}");
            let mut outputs = summary.layers.iter().filter_map(|layer| layer.output.clone());
            let output = outputs.find(|output| output.tensor == "y");
            let step = f64::from(output.unwrap_or_else(|| panic!("{name}: {:?}", summary.layers)).scale);
            let outcome = |model: &onnx::Model| {
                let model = runtime::Model::from_bytes(&model.to_bytes(), name.into(), 1);
                model.unwrap().run(&images).unwrap()
            };
            let fused = outcome(&int8);
            if repeated {
                assert_eq!(fused, outcome(&without_tiles(&int8)), "{name}: repeating changes no bit");
            }
            let whole = StaticOptions { compact: false, ..options.clone() };
            let (whole, _) = quantize_static(&float, &ranges, None, &whole).unwrap();
            assert!(whole.to_bytes().len() > int8.to_bytes().len());
            assert_eq!(fused, outcome(&whole), "{name}: compacting changes no bit");
            assert_eq!(outcome(&float.compacted()), outcome(&float), "{name}: nor does it in floats");
            let literal = runtime::unoptimized(&int8.to_bytes()).unwrap().run(&images).unwrap();
            let steps = runtime::max_difference(&fused, &literal) / step;
            assert!(steps < 1.01, "{name}, {options:?}: {steps} steps");
            let off = fused.iter().zip(&literal).filter(|(a, b)| (*a - *b).abs() > 0.0).count();
            assert!(off * 20 <= fused.len(), "{name}: {off} of {} differ", fused.len());
        }
    }
}
