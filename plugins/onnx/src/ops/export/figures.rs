//! The exported network as a graph, and where the bytes of its file are. Knows ONNX graphs, not files.

use onnx::Shapes;
use protocol::{Cell, Column, Content, Figure};

use crate::network;

/// Nodes and edges of a model.
pub(crate) fn network(model: &onnx::Model) -> Figure {
    // A picture without shapes is still a picture.
    let shapes = Shapes::infer(&model.graph).unwrap_or_default();
    Figure {
        id: "network".into(),
        title: "The network as ONNX".into(),
        caption: format!(
            "{} operators at opset {}; batch normalisation is folded into the convolutions.",
            model.graph.nodes.len(),
            model.opset()
        ),
        content: network::content(&model.graph, &shapes, &|_, node| node.op.clone()),
    }
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
    Figure {
        id: "sizes".into(),
        title: "Where the bytes are".into(),
        caption: format!("The file's {:.1} KB by weight tensor.", total as f64 / 1024.0),
        content: Content::Table {
            columns: vec![
                Column::new("tensor", "", 0),
                Column::new("shape", "", 0),
                Column::new("size", "KB", 2),
                Column::new("share", "%", 1),
            ],
            rows,
        },
    }
}
