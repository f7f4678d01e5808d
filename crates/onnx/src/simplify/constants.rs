//! Constants: as initializers, and in the shape in which they are used.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::graph::{Attribute, Graph, Node};
use crate::shape::{Item, Shapes};
use crate::tensor::{Data, Dim, Tensor};

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

/// Makes the shape of each `Reshape` a constant that is computed of sizes alone: with it, a runtime knows how many dimensions there are.
///
/// # Errors
/// [`Error::Invalid`] where shapes contradict each other.
pub(super) fn target_shapes(graph: &mut Graph) -> Result<(), Error> {
    let shapes = Shapes::infer(graph)?;
    let mut names = graph.names();
    for index in 0..graph.nodes.len() {
        let Some(node) = graph.nodes.get(index).filter(|node| node.is("Reshape")) else { continue };
        if graph.constant(node, 1).is_some() {
            continue;
        }
        let Some(target) = target(&shapes, node) else { continue };
        let name = names.fresh(&format!("{}_shape", node.label()));
        if let Some(input) = graph.nodes.get_mut(index).and_then(|node| node.inputs.get_mut(1)) {
            input.clone_from(&name);
            graph.initializers.insert(name, Tensor::vector(Data::I64(target)));
        }
    }
    Ok(())
}

/// The shape that a `Reshape` is given, in numbers: 0 for a size that stays, −1 for one that is left open.
fn target(shapes: &Shapes, node: &Node) -> Option<Vec<i64>> {
    let dims = shapes.dims(node.input(0)?)?;
    let items = shapes.items(node.input(1)?)?;
    if node.int("allowzero", 0) != 0 {
        return None;
    }
    let mut target = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        target.push(match item {
            Item::Int(size) => *size,
            Item::Dim(dim @ Dim::Named(_)) if dims.get(place) == Some(dim) => 0,
            Item::Dim(_) => -1,
        });
    }
    (target.iter().filter(|size| **size == -1).count() <= 1).then_some(target)
}

fn reshaped(graph: &Graph, shapes: &Shapes, node: &Node) -> Option<Tensor> {
    let only_reshapes = ["Reshape", "Squeeze", "Unsqueeze", "Flatten"].iter().any(|op| node.is(op));
    let tensor = graph.constant(node, 0).filter(|_| only_reshapes)?;
    let dims = shapes.dims(node.output(0)?)?;
    tensor.reshaped(dims.iter().map(Dim::known).collect::<Option<_>>()?)
}
