//! A network as a figure: its operators, what flows between them, and its weights on demand. Knows ONNX graphs, not
//! files.

use onnx::{Attribute, Dim, ElementType, Graph, Node, Shapes};
use protocol::{Content, Edge};

/// Nodes and edges of a graph; weights are told in their operator's detail. `group` says of what kind an operator is, by
/// its place and itself; `shapes` may be those of another graph with the same tensors.
pub(crate) fn content(graph: &Graph, shapes: &Shapes, group: &dyn Fn(usize, &Node) -> String) -> Content {
    let producers = graph.producers();
    let inputs = graph.inputs.iter().map(|value| protocol::Node {
        id: value.name.clone(),
        label: value.name.clone(),
        group: "input".into(),
        detail: String::new(),
    });
    let nodes = graph.nodes.iter().enumerate().map(|(index, node)| protocol::Node {
        id: index.to_string(),
        label: node.op.clone(),
        group: group(index, node),
        detail: detail(graph, node),
    });
    let edges = graph.nodes.iter().enumerate().flat_map(|(index, node)| {
        let variable = node.uses().filter(|name| !graph.initializers.contains_key(*name));
        variable.map(move |name| (index, name))
    });
    let edges = edges.map(|(index, name)| Edge {
        from: producers.get(name).map_or_else(|| name.to_owned(), ToString::to_string),
        to: index.to_string(),
        label: flow(shapes, name),
    });
    Content::Graph { nodes: inputs.chain(nodes).collect(), edges: edges.collect() }
}

/// Dimensions of a tensor after the batch, such as `16×32×32`, and that it is of 8 bits where it is.
fn flow(shapes: &Shapes, tensor: &str) -> String {
    let text = |dim: &Dim| dim.known().map_or_else(|| "?".into(), |size| size.to_string());
    let Some(dims) = shapes.dims(tensor) else { return String::new() };
    let dims = dims.iter().skip(1).map(text).collect::<Vec<String>>().join("×");
    match shapes.element(tensor) {
        Some(ElementType::U8 | ElementType::I8) => format!("{dims} of 8 bits"),
        _ => dims,
    }
}

fn detail(graph: &Graph, node: &Node) -> String {
    let mut lines = vec![format!("name: {}", node.label())];
    for (name, value) in &node.attributes {
        match value {
            Attribute::Int(value) => lines.push(format!("{name}: {value}")),
            Attribute::Float(value) => lines.push(format!("{name}: {value}")),
            Attribute::Text(value) => lines.push(format!("{name}: {value}")),
            Attribute::Ints(values) => lines.push(format!("{name}: {values:?}")),
            Attribute::Floats(values) => lines.push(format!("{name}: {values:?}")),
            Attribute::Tensor(_) | Attribute::Texts(_) | Attribute::Graph(_) => {}
        }
    }
    for name in &node.inputs {
        if let Some(tensor) = graph.initializers.get(name) {
            lines.push(format!("{name}: {:?}", tensor.shape()));
        }
    }
    lines.join("\n")
}
