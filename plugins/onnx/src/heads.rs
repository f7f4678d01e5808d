//! What the end of a model's graph says of its outputs: parts that were joined to one, and whether its rows may be scores of
//! classes. Knows graphs, neither values nor runtime.

use std::collections::BTreeMap;

use onnx::{Graph, Model, Node, Shapes};

/// An output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Where several tensors become this one.
    pub(crate) joined: Option<Joined>,
    /// Whether its last axis is what a linear layer or a softmax gives, as scores of classes are.
    pub(crate) gives_scores: bool,
}

/// Several tensors become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    /// Along which axis, from the last one, which is 1.
    pub(crate) from_last: usize,
    /// Their names, and their sizes along it.
    pub(crate) parts: Vec<(String, usize)>,
}

/// What leaves values as they are, or changes each by itself.
const PASSING: [&str; 4] = ["Identity", "Cast", "DequantizeLinear", "Clip"];

/// The outputs by name, of a model with known sizes.
pub(crate) fn of(model: &Model) -> BTreeMap<String, Head> {
    let graph = &model.graph;
    let shapes = Shapes::infer(graph).unwrap_or_default();
    let head = |name: &str| match source(graph, name) {
        Some(node) => {
            Head { joined: joined(&shapes, node), gives_scores: gives_scores(graph, &shapes, node) }
        }
        None => Head::default(),
    };
    graph.outputs.iter().map(|output| (output.name.clone(), head(&output.name))).collect()
}

/// The node that computes a tensor.
fn source<'g>(graph: &'g Graph, tensor: &str) -> Option<&'g Node> {
    let producers = graph.producers();
    let mut node = graph.nodes.get(*producers.get(tensor)?)?;
    while PASSING.contains(&node.op.as_str()) {
        node = graph.nodes.get(*producers.get(node.input(0)?)?)?;
    }
    Some(node)
}

fn joined(shapes: &Shapes, node: &Node) -> Option<Joined> {
    if !node.is("Concat") {
        return None;
    }
    let rank = shapes.dims(node.input(0)?)?.len();
    let axis = node.int("axis", 0);
    let axis = usize::try_from(if axis < 0 { axis + i64::try_from(rank).ok()? } else { axis }).ok()?;
    let size = |tensor: &String| Some((tensor.clone(), shapes.dims(tensor)?.get(axis)?.known()?));
    let parts: Option<Vec<_>> = node.inputs.iter().map(size).collect();
    Some(Joined { from_last: rank.checked_sub(axis)?, parts: parts? })
}

fn gives_scores(graph: &Graph, shapes: &Shapes, node: &Node) -> bool {
    let is_linear = |node: &Node| node.is("MatMul") || node.is("Gemm");
    match node.op.as_str() {
        "Softmax" | "LogSoftmax" => {
            // Opsets before 13 flatten from axis 1 on.
            let rank = node.output(0).and_then(|name| shapes.dims(name)).map(<[_]>::len);
            match node.attributes.contains_key("axis") {
                true => {
                    let axis = node.int("axis", -1);
                    axis == -1
                        || rank.is_some_and(|rank| usize::try_from(axis + 1).is_ok_and(|axis| axis == rank))
                }
                false => true,
            }
        }
        // A bias.
        "Add" => node.inputs.iter().any(|name| source(graph, name).is_some_and(is_linear)),
        _ => is_linear(node),
    }
}

#[cfg(test)]
mod tests {
    use onnx::{Attribute, Dim, ElementType, Value};

    use super::*;

    fn head(nodes: Vec<Node>) -> Head {
        let mut model = Model::new(13);
        let value = |name: &str, sizes: [usize; 3]| Value {
            name: name.into(),
            element: ElementType::F32,
            shape: Some(sizes.map(Dim::Known).into()),
        };
        model.graph.nodes = nodes;
        model.graph.inputs = vec![value("a", [1, 4, 6]), value("b", [1, 80, 6])];
        model.graph.outputs = vec![value("y", [1, 84, 6])];
        of(&model).remove("y").unwrap_or_default()
    }

    #[test]
    fn parts_are_those_of_what_joins_them() {
        let join = |axis| Node::new("Concat", ["a", "b"], ["y"]).with("axis", Attribute::Int(axis));
        let parts = vec![("a".to_owned(), 4), ("b".to_owned(), 80)];
        for axis in [1, -2] {
            let joined = Joined { from_last: 2, parts: parts.clone() };
            assert_eq!(head(vec![join(axis)]), Head { joined: Some(joined), gives_scores: false });
        }
        assert_eq!(head(vec![Node::new("Sigmoid", ["a"], ["y"])]), Head::default());
    }

    #[test]
    fn rows_of_linear_layers_and_softmaxes_may_be_scores() {
        let softmax = |axis| Node::new("Softmax", ["a"], ["y"]).with("axis", Attribute::Int(axis));
        assert!(head(vec![softmax(-1)]).gives_scores && head(vec![softmax(2)]).gives_scores);
        assert!(!head(vec![softmax(1)]).gives_scores);
        let linear = [Node::new("MatMul", ["a", "w"], ["m"]), Node::new("Add", ["c", "m"], ["y"])];
        assert!(head(linear.into()).gives_scores);
        assert!(!head(vec![Node::new("Add", ["a", "c"], ["y"])]).gives_scores);
    }
}
