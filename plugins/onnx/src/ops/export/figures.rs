//! The exported network as a graph, and where the bytes of its file are. Knows ONNX graphs, not files.

use onnx::{Attribute, Dim, Shapes};
use protocol::{Cell, Column, Content, Edge, Figure, Node};

/// Nodes and edges of a model; constants are told in their node's detail.
pub(crate) fn network(model: &onnx::Model) -> Figure {
    let graph = &model.graph;
    let producers = graph.producers();
    // A picture without shapes is still a picture.
    let shapes = Shapes::infer(graph).unwrap_or_default();
    let inputs = graph.inputs.iter().map(|value| Node {
        id: value.name.clone(),
        label: value.name.clone(),
        group: "input".into(),
        detail: String::new(),
    });
    let nodes = graph.nodes.iter().enumerate().map(|(index, node)| Node {
        id: index.to_string(),
        label: node.op.clone(),
        group: node.op.clone(),
        detail: detail(model, node),
    });
    let edges = graph.nodes.iter().enumerate().flat_map(|(index, node)| {
        let variable = node.inputs.iter().filter(|name| !graph.initializers.contains_key(*name));
        variable.filter(|name| !name.is_empty()).map(move |name| (index, name))
    });
    let edges = edges.map(|(index, name)| Edge {
        from: producers.get(name.as_str()).map_or_else(|| name.clone(), ToString::to_string),
        to: index.to_string(),
        label: shapes.dims(name).map(image_shape).unwrap_or_default(),
    });
    Figure {
        id: "network".into(),
        title: "The network as ONNX".into(),
        caption: format!(
            "{} operators at opset {}; batch normalisation is folded into the convolutions.",
            graph.nodes.len(),
            model.opset()
        ),
        content: Content::Graph { nodes: inputs.chain(nodes).collect(), edges: edges.collect() },
    }
}

/// Dimensions after the batch, such as `16×32×32`.
fn image_shape(dims: &[Dim]) -> String {
    let text = |dim: &Dim| dim.known().map_or_else(|| "?".into(), |size| size.to_string());
    dims.iter().skip(1).map(text).collect::<Vec<String>>().join("×")
}

fn detail(model: &onnx::Model, node: &onnx::Node) -> String {
    let mut lines = vec![format!("name: {}", node.label())];
    for (name, value) in &node.attributes {
        match value {
            Attribute::Int(value) => lines.push(format!("{name}: {value}")),
            Attribute::Float(value) => lines.push(format!("{name}: {value}")),
            Attribute::Text(value) => lines.push(format!("{name}: {value}")),
            Attribute::Ints(values) => lines.push(format!("{name}: {values:?}")),
            Attribute::Floats(values) => lines.push(format!("{name}: {values:?}")),
            Attribute::Tensor(_) | Attribute::Texts(_) => {}
        }
    }
    for name in &node.inputs {
        if let Some(tensor) = model.graph.initializers.get(name) {
            lines.push(format!("{name}: {:?}", tensor.shape()));
        }
    }
    lines.join("\n")
}

/// Bytes by initializer, largest first, and what is left for the graph; `total` is the size of the file.
pub(crate) fn sizes(model: &onnx::Model, total: usize) -> Figure {
    let mut tensors: Vec<_> = model
        .graph
        .initializers
        .iter()
        .map(|(name, tensor)| (name, tensor.shape(), tensor.data().to_bytes().len()))
        .collect();
    tensors.sort_by_key(|(name, _, bytes)| (std::cmp::Reverse(*bytes), *name));
    let rest = total.saturating_sub(tensors.iter().map(|(_, _, bytes)| bytes).sum());
    let row = |name: &str, shape: Cell, bytes: usize| {
        let share = 100.0 * bytes as f64 / total.max(1) as f64;
        vec![Cell::Text(name.into()), shape, Cell::Number(bytes as f64 / 1024.0), Cell::Number(share)]
    };
    let mut rows: Vec<_> = tensors
        .into_iter()
        .map(|(name, shape, bytes)| row(name, Cell::Text(format!("{shape:?}")), bytes))
        .collect();
    rows.push(row("operators, names and metadata", Cell::Empty, rest));
    let column = |label: &str, unit: &str, digits| Column { label: label.into(), unit: unit.into(), digits };
    Figure {
        id: "sizes".into(),
        title: "Where the bytes are".into(),
        caption: format!("The file's {:.1} KB by weight tensor.", total as f64 / 1024.0),
        content: Content::Table {
            columns: vec![
                column("tensor", "", 0),
                column("shape", "", 0),
                column("size", "KB", 2),
                column("share", "%", 1),
            ],
            rows,
        },
    }
}
