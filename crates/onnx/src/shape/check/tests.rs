//! Each attribute in contradiction to its operands, and beside it what is just right.

mod picks;

use super::super::*;
use crate::Model;
use crate::graph::{Attribute, Value};
use crate::tensor::{Data, Tensor};

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::new(shape.to_vec(), Data::F32(vec![0.0; shape.iter().product()])).unwrap()
}

fn ints(values: &[i64]) -> Tensor {
    Tensor::vector(Data::I64(values.to_vec()))
}

fn floats(values: &[f32]) -> Tensor {
    Tensor::vector(Data::F32(values.to_vec()))
}

/// One operator over `x`, whose batch is open.
struct One {
    op: &'static str,
    x: Vec<usize>,
    operands: Vec<Option<Tensor>>,
    outputs: usize,
}

impl One {
    fn new<const N: usize>(op: &'static str, x: &[usize], operands: [Tensor; N]) -> Self {
        Self { op, x: x.to_vec(), operands: operands.map(Some).into(), outputs: 1 }
    }

    /// What reading a file with it says; empty where it is read.
    fn says(&self, attributes: &[(&str, Attribute)]) -> String {
        let names: Vec<String> = (0..self.operands.len()).map(|index| format!("c{index}")).collect();
        let given = |(name, operand): (&String, &Option<Tensor>)| match operand {
            Some(_) => name.clone(),
            None => String::new(),
        };
        let inputs = std::iter::once("x".to_owned()).chain(names.iter().zip(&self.operands).map(given));
        let outputs = (0..self.outputs).map(|index| format!("y{index}"));
        let node = attributes
            .iter()
            .fold(Node::new(self.op, inputs.collect::<Vec<_>>(), outputs), |node, (name, value)| {
                node.with(name, value.clone())
            });
        let value = |name: &str, shape| Value { name: name.into(), element: ElementType::F32, shape };
        let dims =
            std::iter::once(Dim::Named("batch".into())).chain(self.x.iter().map(|&size| Dim::Known(size)));
        let mut model = Model::new(18);
        model.graph = Graph {
            nodes: vec![node.named("n")],
            initializers: names
                .into_iter()
                .zip(&self.operands)
                .filter_map(|(name, it)| Some((name, it.clone()?)))
                .collect(),
            inputs: vec![value("x", Some(dims.collect()))],
            outputs: vec![value("y0", None)],
            ..Graph::default()
        };
        Model::from_bytes(&model.to_bytes()).err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn accepts(&self, attributes: &[(&str, Attribute)]) {
        assert_eq!(self.says(attributes), "", "{} with {attributes:?}", self.op);
    }

    /// Each value of the attribute is refused, by its name.
    fn refuses(&self, name: &str, values: impl IntoIterator<Item = Attribute>) {
        for value in values {
            self.refuses_all(&format!("`{name}`"), &[(name, value)]);
        }
    }

    fn refuses_all(&self, what: &str, attributes: &[(&str, Attribute)]) {
        let said = self.says(attributes);
        let begins = format!("invalid ONNX model: shapes at node `n` ({}): ", self.op);
        assert!(said.starts_with(&begins) && said.contains(what), "{} with {attributes:?}: {said}", self.op);
    }
}

fn list(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}

fn lists<const N: usize>(values: [&[i64]; N]) -> [Attribute; N] {
    values.map(list)
}

fn numbers<const N: usize>(values: [i64; N]) -> [Attribute; N] {
    values.map(Attribute::Int)
}

fn text(text: &str) -> Attribute {
    Attribute::Text(text.into())
}

const HUGE: i64 = i64::MAX;

#[test]
fn windows_of_convolutions() {
    let conv = || One::new("Conv", &[4, 8, 8], [zeros(&[6, 2, 3, 3]), zeros(&[6])]);
    let good = [("group", Attribute::Int(2)), ("kernel_shape", list(&[3, 3])), ("pads", list(&[1, 1, 1, 1]))];
    conv().accepts(&good);
    conv().accepts(&[good[0].clone(), ("strides", list(&[8, 8])), ("dilations", list(&[3, 1]))]);
    for (name, values) in [
        ("kernel_shape", lists([&[5, 5], &[3], &[3, 3, 3], &[0, 3], &[-3, 3], &[HUGE, HUGE]]).to_vec()),
        ("strides", lists([&[0, 1], &[1], &[-1, 1], &[1, 1, 1], &[i64::MIN, 1]]).to_vec()),
        ("dilations", lists([&[0, 1], &[1], &[-2, 2]]).to_vec()),
        ("pads", lists([&[1, 1], &[-1, 0, 0, 0], &[0; 5]]).to_vec()),
        ("auto_pad", vec![text("SAME"), Attribute::Int(1)]),
        ("strides", vec![Attribute::Int(2), Attribute::Floats(vec![1.0, 1.0])]),
    ] {
        for value in values {
            conv().refuses_all(&format!("`{name}`"), &[good[0].clone(), (name, value)]);
        }
    }
    // A window over more than there is, without anything that overflows.
    for value in [list(&[HUGE, HUGE]), list(&[4, 4])] {
        conv().refuses_all("a window of", &[good[0].clone(), ("dilations", value)]);
    }
    conv().accepts(&[good[0].clone(), ("pads", list(&[HUGE; 4])), ("strides", list(&[HUGE, HUGE]))]);
    conv().refuses("group", numbers([0, -1, 4, 3, HUGE]).into_iter().chain([Attribute::Int(1)]));
    let both = [good[0].clone(), good[2].clone(), ("auto_pad", text("SAME_UPPER"))];
    conv().refuses_all("`auto_pad` is `SAME_UPPER`", &both);
    conv().accepts(&[good[0].clone(), ("pads", list(&[0; 4])), ("auto_pad", text("VALID"))]);
    One::new("Conv", &[4, 8, 8], [zeros(&[6, 4, 3, 3]), zeros(&[5])]).refuses_all("5 biases for 6", &[]);
    One::new("Conv", &[4, 8], [zeros(&[6, 4, 3, 3])]).refuses_all("operands of 3 and 4 dimensions", &[]);
    One::new("Conv", &[4, 8, 8], []).refuses_all("operand 2 of at least 2 is missing", &[]);
    One::new("Conv", &[4, 8, 8], [zeros(&[6, 4, 0, 3])]).refuses_all("a window without elements", &[]);
}

#[test]
fn windows_of_transposed_convolutions() {
    let conv = || One::new("ConvTranspose", &[4, 8, 8], [zeros(&[4, 3, 2, 2]), zeros(&[6])]);
    let group = ("group", Attribute::Int(2));
    conv().accepts(&[group.clone(), ("strides", list(&[2, 2])), ("output_padding", list(&[1, 0]))]);
    conv().accepts(&[group.clone(), ("output_shape", list(&[16, 16]))]);
    for (name, value) in [
        ("kernel_shape", list(&[3, 3])),
        ("output_padding", list(&[1])),
        ("output_padding", list(&[-1, 0])),
        ("output_shape", list(&[16])),
        ("output_shape", list(&[0, 16])),
        ("pads", list(&[0; 3])),
        ("strides", list(&[0, 0])),
    ] {
        conv().refuses_all(&format!("`{name}`"), &[group.clone(), (name, value)]);
    }
    conv().refuses_all("6 biases for 3 output channels", &[]);
    conv().refuses("group", numbers([3, 0]));
    let other = One::new("ConvTranspose", &[5, 8, 8], [zeros(&[4, 3, 2, 2])]);
    other.refuses_all("the weights are for 4 input channels", &[]);
}

#[test]
fn windows_of_poolings() {
    for op in ["MaxPool", "AveragePool", "LpPool"] {
        let pool = One::new(op, &[4, 8, 8], []);
        pool.accepts(&[("kernel_shape", list(&[3, 3])), ("pads", list(&[1; 4])), ("strides", list(&[2, 2]))]);
        pool.refuses_all("`kernel_shape`", &[]);
        pool.refuses("kernel_shape", lists([&[3], &[0, 3], &[-1, 3], &[2, 2, 2]]));
        let with = |name, value| [("kernel_shape", list(&[3, 3])), (name, value)];
        pool.refuses_all("`pads`", &with("pads", list(&[3, 0, 0, 0])));
        pool.refuses_all("`pads`", &with("pads", list(&[HUGE; 4])));
        pool.refuses_all("`pads`", &with("pads", list(&[0, 0])));
        pool.refuses_all("`strides`", &with("strides", list(&[0, 1])));
        pool.refuses_all("`ceil_mode`", &with("ceil_mode", text("yes")));
    }
    let large = [("kernel_shape", list(&[9, 9]))];
    One::new("MaxPool", &[4, 8, 8], []).refuses_all("a window of 9 over 8", &large);
    // Rounded up, a step that begins within the input is one place.
    let rounded_up =
        |stride| [large[0].clone(), ("strides", list(&[stride; 2])), ("ceil_mode", Attribute::Int(1))];
    One::new("MaxPool", &[4, 8, 8], []).accepts(&rounded_up(2));
    One::new("MaxPool", &[4, 8, 8], []).refuses_all("a window of 9 over 8", &rounded_up(1));
}

#[test]
fn products() {
    let gemm = |bias: &[usize]| One::new("Gemm", &[8], [zeros(&[4, 8]), zeros(bias)]);
    let turned = ("transB", Attribute::Int(1));
    for bias in [&[4][..], &[1], &[1, 4], &[]] {
        gemm(bias).accepts(std::slice::from_ref(&turned));
    }
    gemm(&[5]).refuses_all(
        "[5] for a product of ? × 4; `transA` is 0 and `transB` 1",
        std::slice::from_ref(&turned),
    );
    gemm(&[1, 1, 4]).refuses_all("`transB`", std::slice::from_ref(&turned));
    gemm(&[4]).refuses_all("`transB` 0", &[]);
    gemm(&[4]).refuses("transB", [text("yes"), Attribute::Float(1.0)]);
    One::new("Gemm", &[8, 1], [zeros(&[4, 8])]).refuses_all("operand 1 has 3 dimensions", &[]);
}

#[test]
fn numbers_by_channel() {
    let norm = |sizes: [usize; 4]| One::new("BatchNormalization", &[3, 2], sizes.map(|size| zeros(&[size])));
    norm([3; 4]).accepts(&[]);
    norm([3, 3, 2, 3]).refuses_all("operand 4 has 2 elements for 3 channels", &[]);
    norm([3; 4]).refuses("epsilon", numbers([1]));
    let groups = One::new("GroupNormalization", &[6, 2], [zeros(&[6]), zeros(&[6])]);
    groups.accepts(&[("num_groups", Attribute::Int(3))]);
    groups.refuses("num_groups", numbers([0, -3, 4, HUGE]));
    let quantize = |scales: usize| One::new("QuantizeLinear", &[3, 2], [zeros(&[scales])]);
    quantize(3).accepts(&[]);
    quantize(2).accepts(&[("axis", Attribute::Int(-1))]);
    quantize(1).accepts(&[("axis", Attribute::Int(7))]);
    quantize(3).refuses("axis", numbers([2, 3, -4, HUGE, i64::MIN]));
    let space = One::new("DepthToSpace", &[8, 3, 3], []);
    space.accepts(&[("blocksize", Attribute::Int(2))]);
    space.refuses("blocksize", numbers([0, -2, 3, HUGE]));
    space.refuses_all("it has no `blocksize`", &[]);
    One::new("SpaceToDepth", &[8, 4, 3], []).refuses("blocksize", numbers([2]));
    One::new("PRelu", &[3, 2, 2], [zeros(&[3, 1, 1])]).accepts(&[]);
    One::new("PRelu", &[3, 2, 2], [zeros(&[4, 1, 1])])
        .refuses_all("operand 2 has 4 elements in a dimension of 3", &[]);
    let norm = |sizes: &[usize]| One::new("LayerNormalization", &[3, 2], [zeros(sizes)]);
    norm(&[2]).accepts(&[("axis", Attribute::Int(-1))]);
    norm(&[3]).refuses_all("operand 2 has 3 elements in a dimension of 2", &[]);
    norm(&[2]).refuses("axis", numbers([3]));
    let lstm =
        |units: usize| One::new("LSTM", &[3, 2], [zeros(&[1, 4 * units, 2]), zeros(&[1, 4 * units, units])]);
    lstm(5).accepts(&[("hidden_size", Attribute::Int(5))]);
    lstm(5).refuses("hidden_size", numbers([0, 4, HUGE]));
    lstm(5).refuses("direction", [text("backwards")]);
    lstm(5).refuses_all(
        "directions: 2",
        &[("hidden_size", Attribute::Int(5)), ("direction", text("bidirectional"))],
    );
    One::new("LRN", &[3, 2], []).refuses("size", numbers([0]));
}

#[test]
fn axes() {
    for op in ["Softmax", "LogSoftmax", "ArgMax", "Hardmax"] {
        One::new(op, &[3, 2], []).accepts(&[("axis", Attribute::Int(-3))]);
        One::new(op, &[3, 2], []).refuses("axis", numbers([3, -4, HUGE, i64::MIN]));
    }
    One::new("Flatten", &[3, 2], []).accepts(&[("axis", Attribute::Int(3))]);
    One::new("Flatten", &[3, 2], []).refuses("axis", numbers([4, -4, HUGE, i64::MIN]));
    One::new("Softmax", &[3], []).refuses("axis", [text("1")]);
    One::new("Transpose", &[3, 2], []).accepts(&[("perm", list(&[0, 2, 1]))]);
    One::new("Transpose", &[3, 2], [])
        .refuses("perm", lists([&[0, 1], &[0, 1, 1], &[0, 1, 3], &[0, 1, -1], &[]]));
    let concat = |shape: &[usize]| One::new("Concat", &[3, 2], [zeros(shape)]);
    concat(&[1, 5, 2]).accepts(&[("axis", Attribute::Int(1))]);
    concat(&[1, 5, 2]).refuses("axis", numbers([2, 3, -4, HUGE]));
    concat(&[1, 5, 2]).refuses_all("it has no `axis`", &[]);
    concat(&[5, 2]).refuses_all("operands of 3 and 2 dimensions", &[("axis", Attribute::Int(1))]);
    One::new("ReduceMean", &[3, 2], [ints(&[-1])]).accepts(&[]);
    One::new("ReduceMean", &[3, 2], [ints(&[3])]).refuses_all("`axes` is 3 for 3 dimensions", &[]);
    let gather = |index: i64| One::new("Gather", &[3, 2], [ints(&[index])]);
    gather(-3).accepts(&[("axis", Attribute::Int(1))]);
    gather(3).refuses_all("it picks element 3 of 3", &[("axis", Attribute::Int(1))]);
    gather(0).refuses("axis", numbers([3]));
    let squeeze = |axes: &[i64]| One::new("Squeeze", &[1, 2], [ints(axes)]);
    squeeze(&[1]).accepts(&[]);
    squeeze(&[2]).refuses_all("`axes` is [2], but dimension 2 has 2 elements", &[]);
    squeeze(&[HUGE]).refuses_all("`axes`", &[]);
    One::new("Unsqueeze", &[1, 2], [ints(&[0, -1])]).accepts(&[]);
    One::new("Unsqueeze", &[1, 2], [ints(&[1, 1])]).refuses_all("twice", &[]);
    One::new("Unsqueeze", &[1, 2], [ints(&[9])]).refuses_all("`axes` is 9 for 4 dimensions", &[]);
}

#[test]
fn parts_and_borders() {
    let split = |parts: &[i64]| One { outputs: 2, ..One::new("Split", &[5], [ints(parts)]) };
    let axis = ("axis", Attribute::Int(1));
    split(&[2, 3]).accepts(std::slice::from_ref(&axis));
    for parts in [&[2, 2][..], &[5], &[-1, 6], &[HUGE, HUGE], &[1, 2, 2]] {
        split(parts).refuses_all("`split`", std::slice::from_ref(&axis));
    }
    let counted = One { outputs: 2, ..One::new("Split", &[5], []) };
    counted.refuses_all("`num_outputs` is 3, but it has 2", &[axis, ("num_outputs", Attribute::Int(3))]);
    let pad = |pads: &[i64]| One::new("Pad", &[3, 2], [ints(pads)]);
    pad(&[0, 1, 1, 0, -2, 0]).accepts(&[]);
    for pads in [&[0, 1, 1][..], &[0, -2, 0, 0, -2, 0], &[0, HUGE, 0, 0, HUGE, 0]] {
        pad(pads).refuses_all("`pads`", &[]);
    }
    pad(&[0; 6]).refuses("mode", [text("mirror")]);
    let slice = |starts: &[i64], axes: &[i64], steps: &[i64]| {
        One::new("Slice", &[3, 2], [starts, starts, axes, steps].map(ints))
    };
    slice(&[0], &[1], &[-1]).accepts(&[]);
    slice(&[0], &[1, 2], &[1]).refuses_all("`starts` has 1 elements and `axes` 2", &[]);
    slice(&[0], &[3], &[1]).refuses_all("`axes` is 3", &[]);
    slice(&[0, 0], &[1, -2], &[1, 1]).refuses_all("twice", &[]);
    slice(&[0], &[1], &[0]).refuses_all("`steps` is [0]", &[]);
    One::new("Tile", &[3, 2], [ints(&[1, 2, 1])]).accepts(&[]);
    One::new("Tile", &[3, 2], [ints(&[1, 2])]).refuses_all("`repeats`", &[]);
    One::new("Tile", &[3, 2], [ints(&[1, 2, -1])]).refuses_all("`repeats`", &[]);
}

#[test]
fn sizes() {
    let resize = |scales: Option<&[f32]>, sizes: Option<&[i64]>| One {
        operands: vec![None, scales.map(floats), sizes.map(ints)],
        ..One::new("Resize", &[3, 2], [])
    };
    resize(Some(&[1.0, 1.0, 2.0]), None).accepts(&[("mode", text("linear"))]);
    resize(None, Some(&[1, 3, 4])).accepts(&[]);
    resize(Some(&[1.0, 2.0]), None).refuses_all("2 `scales` for 3 dimensions", &[]);
    resize(Some(&[1.0, 1.0, 0.0]), None).refuses_all("one of its `scales` is 0", &[]);
    resize(Some(&[1.0, 1.0, f32::NAN]), None).refuses_all("one of its `scales` is NaN", &[]);
    resize(None, Some(&[3, 4])).refuses_all("2 `sizes` for 3 dimensions", &[]);
    resize(None, Some(&[1, 3, -4])).refuses_all("`sizes`", &[]);
    resize(Some(&[1.0; 3]), Some(&[1, 3, 4])).refuses_all("both `scales` and `sizes`", &[]);
    resize(Some(&[1.0; 3]), None).refuses("mode", [text("lanczos")]);
    let reshape = |sizes: &[i64]| One::new("Reshape", &[3, 2], [ints(sizes)]);
    reshape(&[0, -1]).accepts(&[]);
    reshape(&[-1, 6]).accepts(&[]);
    for sizes in [&[-1, -1][..], &[0, -2], &[1, 1, 1, 0], &[i64::MIN]] {
        reshape(sizes).refuses_all("`shape`", &[]);
    }
    reshape(&[0, -1]).refuses_all("`shape`", &[("allowzero", Attribute::Int(1))]);
    reshape(&[0, 4]).accepts(&[]);
    One::new("Cast", &[3], []).refuses("to", numbers([0, -1, 999]));
    One::new("Cast", &[3], []).refuses_all("it has no `to`", &[]);
}

#[test]
fn a_shape_that_holds_another_number_of_elements() {
    let mut graph = Graph { nodes: vec![Node::new("Reshape", ["x", "s"], ["y"])], ..Graph::default() };
    graph.initializers = [("x".into(), zeros(&[2, 3])), ("s".into(), ints(&[2, 4]))].into();
    let said = Shapes::infer(&graph).unwrap_err().to_string();
    assert!(said.contains("6 elements for a shape of 8"), "{said}");
}
