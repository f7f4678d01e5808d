//! Shapes checked against those that ONNX's specification gives.

use super::*;
use crate::graph::{Attribute, Value};
use crate::tensor::{Data, Tensor};

fn graph(input: &[usize], nodes: Vec<Node>, initializers: &[(&str, Tensor)]) -> Graph {
    let dims = std::iter::once(Dim::Named("batch".into())).chain(input.iter().map(|&size| Dim::Known(size)));
    Graph {
        nodes,
        initializers: initializers
            .iter()
            .map(|(name, tensor)| ((*name).to_owned(), tensor.clone()))
            .collect(),
        inputs: vec![Value { name: "x".into(), element: ElementType::F32, shape: Some(dims.collect()) }],
        ..Graph::default()
    }
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::new(shape.to_vec(), Data::F32(vec![0.0; shape.iter().product()])).unwrap()
}

fn ints(values: &[i64]) -> Tensor {
    Tensor::vector(Data::I64(values.to_vec()))
}

/// The dimensions of `y`, the batch as -1 and unknown ones as -2.
fn shape_of_y(graph: &Graph) -> Option<Vec<i64>> {
    let shapes = Shapes::infer(graph).unwrap();
    let number = |dim: &Dim| match dim {
        Dim::Known(size) => *size as i64,
        Dim::Named(_) => -1,
        Dim::Unknown => -2,
    };
    shapes.dims("y").map(|dims| dims.iter().map(number).collect())
}

fn one(input: &[usize], node: Node, initializers: &[(&str, Tensor)]) -> Option<Vec<i64>> {
    shape_of_y(&graph(input, vec![node], initializers))
}

#[test]
fn convolutions_slide() {
    let node = Node::new("Conv", ["x", "w"], ["y"])
        .with("pads", Attribute::Ints(vec![1; 4]))
        .with("strides", Attribute::Ints(vec![2, 2]));
    let weight = [("w", zeros(&[16, 3, 3, 3]))];
    assert_eq!(one(&[3, 32, 31], node.clone(), &weight), Some(vec![-1, 16, 16, 16]));
    let dilated = node.with("dilations", Attribute::Ints(vec![2, 2]));
    assert_eq!(one(&[3, 32, 31], dilated, &weight), Some(vec![-1, 16, 15, 15]));
    let same = Node::new("Conv", ["x", "w"], ["y"])
        .with("auto_pad", Attribute::Text("SAME_UPPER".into()))
        .with("strides", Attribute::Ints(vec![2, 2]));
    assert_eq!(one(&[3, 31, 32], same, &weight), Some(vec![-1, 16, 16, 16]));
}

#[test]
fn contradictions_name_the_node() {
    let node = Node::new("Conv", ["x", "w"], ["y"]);
    for (input, weight) in [(vec![4, 8, 8], [2, 3, 3, 3]), (vec![3, 2, 2], [2, 3, 3, 3])] {
        let graph = graph(&input, vec![node.clone()], &[("w", zeros(&weight))]);
        let message = Shapes::infer(&graph).unwrap_err().to_string();
        assert!(message.contains("shapes at node `y` (Conv)"), "{message}");
    }
}

#[test]
fn pools_round_as_told() {
    let node = Node::new("MaxPool", ["x"], ["y"])
        .with("kernel_shape", Attribute::Ints(vec![3, 3]))
        .with("strides", Attribute::Ints(vec![2, 2]));
    assert_eq!(one(&[4, 8, 7], node.clone(), &[]), Some(vec![-1, 4, 3, 3]));
    let up = node.with("ceil_mode", Attribute::Int(1));
    assert_eq!(one(&[4, 8, 7], up, &[]), Some(vec![-1, 4, 4, 3]));
    assert_eq!(one(&[4, 8, 7], Node::new("GlobalAveragePool", ["x"], ["y"]), &[]), Some(vec![-1, 4, 1, 1]));
}

#[test]
fn operands_broadcast() {
    let node = Node::new("Mul", ["x", "w"], ["y"]);
    assert_eq!(one(&[4, 8, 7], node.clone(), &[("w", zeros(&[4, 1, 1]))]), Some(vec![-1, 4, 8, 7]));
    assert_eq!(one(&[4, 1, 1], node, &[("w", zeros(&[1, 1, 8, 7]))]), Some(vec![-1, 4, 8, 7]));
}

#[test]
fn paddings_add_and_repeats_multiply() {
    let pad = Node::new("Pad", ["x", "w"], ["y"]);
    let pads = [("w", ints(&[0, 0, 1, 2, 0, 1, 3, 0]))];
    assert_eq!(one(&[3, 8, 7], pad.clone(), &pads), Some(vec![-1, 4, 12, 9]));
    assert_eq!(one(&[3, 8, 7], pad, &[("w", ints(&[1, 0, -7, 0, 0, 0, 0, 0]))]), Some(vec![-2, 3, 1, 7]));
    let tile = Node::new("Tile", ["x", "w"], ["y"]);
    assert_eq!(one(&[3, 1, 1], tile.clone(), &[("w", ints(&[1, 1, 1, 8]))]), Some(vec![-1, 3, 1, 8]));
    assert_eq!(one(&[3, 1, 1], tile, &[("w", ints(&[2, 1, 1, i64::MAX]))]), Some(vec![-2, 3, 1, i64::MAX]));
}

#[test]
fn products_contract() {
    let gemm = Node::new("Gemm", ["x", "w"], ["y"]).with("transB", Attribute::Int(1));
    assert_eq!(one(&[64], gemm, &[("w", zeros(&[10, 64]))]), Some(vec![-1, 10]));
    let product = Node::new("MatMul", ["x", "w"], ["y"]);
    assert_eq!(one(&[5, 64], product, &[("w", zeros(&[64, 10]))]), Some(vec![-1, 5, 10]));
}

#[test]
fn computed_reshapes_are_followed() {
    let nodes = vec![
        Node::new("Shape", ["x"], ["s"]),
        Node::new("Gather", ["s", "zero"], ["n"]),
        Node::new("Unsqueeze", ["n", "axes"], ["n1"]),
        Node::new("Concat", ["n1", "rest"], ["target"]).with("axis", Attribute::Int(0)),
        Node::new("Reshape", ["x", "target"], ["y"]),
    ];
    let zero = Tensor::new(vec![], Data::I64(vec![0])).unwrap();
    let constants = [("zero", zero), ("axes", ints(&[0])), ("rest", ints(&[-1]))];
    assert_eq!(shape_of_y(&graph(&[64, 2, 2], nodes, &constants)), Some(vec![-1, 256]));
}

#[test]
fn a_part_of_a_shape_is_followed() {
    let target = |start: i64, end: i64| {
        let shape = Node::new("Shape", ["x"], ["s"])
            .with("start", Attribute::Int(start))
            .with("end", Attribute::Int(end));
        let flat = Node::new("Concat", ["rest", "s"], ["target"]).with("axis", Attribute::Int(0));
        let nodes = vec![shape, flat, Node::new("Reshape", ["x", "target"], ["y"])];
        shape_of_y(&graph(&[6, 2, 3], nodes, &[("rest", ints(&[-1]))]))
    };
    assert_eq!(target(2, 4), Some(vec![-2, 2, 3]));
    assert_eq!(target(-1, i64::MAX), Some(vec![-2, 3]));
    assert_eq!(target(i64::MIN, -3), Some(vec![36, -1]));
    let none =
        Node::new("Shape", ["x"], ["y"]).with("start", Attribute::Int(3)).with("end", Attribute::Int(1));
    assert_eq!(one(&[6, 2, 3], none, &[]), Some(vec![0]));
    let one_of = Node::new("Shape", ["x"], ["y"]).with("start", Attribute::Int(-1));
    assert_eq!(one(&[6, 2, 3], one_of, &[]), Some(vec![1]));
}

#[test]
fn reshapes_by_constants() {
    let node = Node::new("Reshape", ["x", "w"], ["y"]);
    assert_eq!(one(&[8, 2], node.clone(), &[("w", ints(&[0, -1]))]), Some(vec![-1, 16]));
    assert_eq!(one(&[8, 2], node.clone(), &[("w", ints(&[-1, 16]))]), Some(vec![-2, 16]));
    assert_eq!(one(&[8, 2], node, &[("w", ints(&[0, 4, -1]))]), Some(vec![-1, 4, 4]));
}

#[test]
fn axes_come_and_go() {
    let node = Node::new("Unsqueeze", ["x", "w"], ["y"]);
    assert_eq!(one(&[8], node, &[("w", ints(&[1, -1]))]), Some(vec![-1, 1, 8, 1]));
    let node = Node::new("Squeeze", ["x"], ["y"]).with("axes", Attribute::Ints(vec![-1]));
    assert_eq!(one(&[8, 1], node, &[]), Some(vec![-1, 8]));
    let node = Node::new("Transpose", ["x"], ["y"]).with("perm", Attribute::Ints(vec![0, 2, 1]));
    assert_eq!(one(&[8, 3], node, &[]), Some(vec![-1, 3, 8]));
    let node = Node::new("Concat", ["x", "x"], ["y"]).with("axis", Attribute::Int(1));
    assert_eq!(one(&[8, 3], node, &[]), Some(vec![-1, 16, 3]));
    assert_eq!(one(&[8, 3, 2], Node::new("Flatten", ["x"], ["y"]), &[]), Some(vec![-1, 48]));
}

#[test]
fn quantized_types_are_known() {
    let nodes = vec![
        Node::new("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        Node::new("ConvInteger", ["q", "w", "z"], ["y"]),
        Node::new("Cast", ["y"], ["f"]).with("to", Attribute::Int(1)),
        Node::new("Unheard", ["f"], ["u"]),
    ];
    let weight = Tensor::new(vec![2, 3, 1, 1], Data::I8(vec![0; 6])).unwrap();
    let shapes = Shapes::infer(&graph(&[3, 4, 4], nodes, &[("w", weight)])).unwrap();
    assert_eq!(shapes.element("q"), Some(ElementType::U8));
    assert_eq!(shapes.element("y"), Some(ElementType::I32));
    assert_eq!(shapes.element("f"), Some(ElementType::F32));
    assert_eq!(shapes.dims("f").map(<[Dim]>::len), Some(4));
    assert_eq!(shapes.get("u"), None);
}
