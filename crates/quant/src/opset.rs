//! Opset 13, the oldest whose quantized operators know scales by channel, for graphs of 7 to 12.
//!
//! 13 gave some operators an input in place of an attribute, and the softmax family another meaning; all others it left as
//! they were, but for more types (<https://github.com/onnx/onnx/blob/main/docs/Changelog.md>).

mod older;

use onnx::{Attribute, Data, Graph, Names, Node, Shapes, Tensor};

use crate::error::QuantError;

/// The newest opset that is understood.
pub(crate) const NEWEST_READ: i64 = 28;

/// The oldest opset of a graph that can be raised.
pub(crate) const OLDEST_RAISED: i64 = older::OLDEST;

/// Rewrites a graph of an opset from 7 to 12 so that it means the same in 13.
///
/// # Errors
/// Where shapes contradict each other, or an operator means what no later opset can say.
pub(crate) fn raise_to_13(graph: &mut Graph, from: i64) -> Result<(), QuantError> {
    let mut names = graph.names();
    if from < 11 {
        older::raise(graph, &mut names, from)?;
    }
    raise(graph, &mut names)
}

/// As [`raise_to_13`], of a graph in which nothing has a name of `names`.
fn raise(graph: &mut Graph, names: &mut Names) -> Result<(), QuantError> {
    let shapes = Shapes::infer(graph)?;
    let mut raised = Vec::with_capacity(graph.nodes.len());
    for mut node in std::mem::take(&mut graph.nodes) {
        node.bodies_mut().try_for_each(|body| raise(body, names))?;
        match node.op.as_str() {
            _ if !node.is_onnx() => raised.push(node),
            "Squeeze" | "Unsqueeze" | "ReduceSum" => {
                attribute_to_input(&mut node, "axes", graph, names);
                raised.push(node);
            }
            "Split" => {
                attribute_to_input(&mut node, "split", graph, names);
                raised.push(node);
            }
            "Softmax" | "LogSoftmax" | "Hardmax" => raised.extend(softmax(node, &shapes, names)),
            _ => raised.push(node),
        }
    }
    graph.nodes = raised;
    Ok(())
}

fn attribute_to_input(node: &mut Node, attribute: &str, graph: &mut Graph, names: &mut Names) {
    if let Some(Attribute::Ints(values)) = node.attributes.remove(attribute) {
        let name = names.fresh(&format!("{}_{attribute}", node.label()));
        graph.initializers.insert(name.clone(), Tensor::vector(Data::I64(values)));
        node.inputs.truncate(1);
        node.inputs.push(name);
    }
}

/// Before 13 the tensor is taken for a matrix, whose rows go from `axis` to the end.
fn softmax(mut node: Node, shapes: &Shapes, names: &mut Names) -> Vec<Node> {
    let axis = node.int("axis", 1);
    node.attributes.insert("axis".into(), Attribute::Int(-1));
    let (Some(input), Some(output)) = (node.input(0).map(str::to_owned), node.output(0).map(str::to_owned))
    else {
        return vec![node];
    };
    let rank = shapes.dims(&input).map(<[_]>::len);
    let is_last = rank.is_some_and(|rank| usize::try_from(axis).is_ok_and(|axis| axis + 1 == rank));
    if axis == -1 || is_last {
        return vec![node];
    }
    let [matrix, rows, shape] =
        ["matrix", "rows", "shape"].map(|what| names.fresh(&format!("{output}_{what}")));
    node.inputs = vec![matrix.clone()];
    node.outputs = vec![rows.clone()];
    vec![
        Node::new("Flatten", [input.as_str()], [matrix.as_str()]).with("axis", Attribute::Int(axis)),
        node,
        Node::new("Shape", [input.as_str()], [shape.as_str()]),
        Node::new("Reshape", [rows.as_str(), shape.as_str()], [output.as_str()]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnx::{Dim, ElementType, Value};

    fn graph(node: Node, shape: Option<Vec<Dim>>) -> Graph {
        let value = |name: &str, shape| Value { name: name.into(), element: ElementType::F32, shape };
        Graph {
            inputs: vec![value("x", shape)],
            outputs: vec![value("y", None)],
            nodes: vec![node],
            ..Graph::default()
        }
    }

    fn ops(graph: &Graph) -> Vec<&str> {
        graph.nodes.iter().map(|node| node.op.as_str()).collect()
    }

    #[test]
    fn an_attribute_becomes_an_input() {
        for (op, attribute) in
            [("Squeeze", "axes"), ("Unsqueeze", "axes"), ("ReduceSum", "axes"), ("Split", "split")]
        {
            let node = Node::new(op, ["x"], ["y"]).with(attribute, Attribute::Ints(vec![2, -1]));
            let mut graph = graph(node, None);
            raise_to_13(&mut graph, 12).unwrap();
            let node = &graph.nodes[0];
            assert!(!node.attributes.contains_key(attribute));
            assert_eq!(graph.constant(node, 1).unwrap().as_i64(), Some(&[2, -1][..]), "{op}");
        }
        let mut all = graph(Node::new("Squeeze", ["x"], ["y"]), None);
        raise_to_13(&mut all, 12).unwrap();
        assert_eq!(all.nodes[0].inputs, ["x"], "without axes there is no input");
    }

    #[test]
    fn softmax_keeps_its_meaning() {
        let shape = |rank| Some(vec![Dim::Unknown; rank]);
        let raised = |axis: Option<i64>, shape| {
            let node = Node::new("Softmax", ["x"], ["y"]);
            let node = axis.map_or(node.clone(), |axis| node.with("axis", Attribute::Int(axis)));
            let mut graph = graph(node, shape);
            raise_to_13(&mut graph, 12).unwrap();
            graph
        };
        let as_matrix = ["Flatten", "Softmax", "Shape", "Reshape"];
        for (axis, shape, is_kept) in [
            (None, shape(2), true),
            (None, shape(3), false),
            (None, None, false),
            (Some(-1), None, true),
            (Some(2), shape(3), true),
            (Some(1), shape(4), false),
        ] {
            let graph = raised(axis, shape);
            assert_eq!(ops(&graph), if is_kept { &as_matrix[1..2] } else { &as_matrix[..] }, "{axis:?}");
            assert!(graph.nodes.iter().any(|node| node.is("Softmax") && node.int("axis", 1) == -1));
        }
    }
}
