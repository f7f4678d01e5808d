//! Constants: as initializers, and in the shape in which they are used.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::graph::{Attribute, Dim, Graph, Node};
use crate::shape::Shapes;
use crate::tensor::{Data, Tensor};

/// Turns `Constant` nodes into initializers.
pub(super) fn to_initializers(graph: &mut Graph) {
    let mut constants = BTreeMap::new();
    graph.nodes.retain(|node| {
        let value = node.is("Constant").then(|| constant_value(node)).flatten();
        match (value, node.output(0)) {
            (Some(value), Some(name)) => {
                constants.insert(name.to_owned(), value);
                false
            }
            _ => true,
        }
    });
    graph.initializers.append(&mut constants);
}

fn constant_value(node: &Node) -> Option<Tensor> {
    let (name, value) = node.attributes.first_key_value()?;
    Some(match (name.as_str(), value) {
        ("value", Attribute::Tensor(tensor)) => tensor.clone(),
        ("value_float", Attribute::Float(value)) => Tensor::scalar_f32(*value),
        ("value_floats", Attribute::Floats(values)) => Tensor::vector(Data::F32(values.clone())),
        ("value_int", Attribute::Int(value)) => Tensor::new(Vec::new(), Data::I64(vec![*value]))?,
        ("value_ints", Attribute::Ints(values)) => Tensor::vector(Data::I64(values.clone())),
        _ => return None,
    })
}

/// Gives constants the shape that nodes would give them.
///
/// # Errors
/// [`Error::Invalid`] where shapes contradict each other.
pub(super) fn reshape(graph: &mut Graph) -> Result<(), Error> {
    let shapes = Shapes::infer(graph)?;
    let mut kept = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        match reshaped(graph, &shapes, &node).zip(node.output(0)) {
            Some((tensor, output)) if !graph.is_output(output) => {
                graph.initializers.insert(output.to_owned(), tensor);
            }
            _ => kept.push(node),
        }
    }
    graph.nodes = kept;
    Ok(())
}

fn reshaped(graph: &Graph, shapes: &Shapes, node: &Node) -> Option<Tensor> {
    let only_reshapes = ["Reshape", "Squeeze", "Unsqueeze", "Flatten"].iter().any(|op| node.is(op));
    let tensor = graph.constant(node, 0).filter(|_| only_reshapes)?;
    let dims = shapes.dims(node.output(0)?)?;
    tensor.reshaped(dims.iter().map(Dim::known).collect::<Option<_>>()?)
}
