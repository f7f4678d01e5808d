//! Shape inference for convolutional networks, with a caller-chosen batch dimension carried along by name.
//!
//! An operator or an attribute that is not known yields unknown shapes, never a guess; a contradiction is an
//! error. Small integer tensors (shapes being computed) are followed by value, so that exported idioms such as
//! `Reshape(x, Concat(Shape(x)[0], -1))` are understood.

mod check;
mod rules;
mod values;
mod window;

use std::collections::BTreeMap;

use crate::error::Error;
use crate::graph::{Dim, Graph, Node};
use crate::tensor::ElementType;

/// What is known of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorType {
    /// Its element type.
    pub element: ElementType,
    /// Its dimensions; `None` where not even their number is known.
    pub shape: Option<Vec<Dim>>,
}

/// An element of a shape being computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A number, which may be negative.
    Int(i64),
    /// A dimension of some tensor.
    Dim(Dim),
}

/// What is known of all tensors of a graph.
#[derive(Debug, Clone, Default)]
pub struct Shapes {
    types: BTreeMap<String, TensorType>,
    values: BTreeMap<String, Vec<Item>>,
}

/// Longest integer tensor that is followed by value.
const MAX_ITEMS: usize = 64;

impl Shapes {
    /// Infers what it can.
    ///
    /// # Errors
    /// [`Error::Invalid`] names a node whose operands contradict each other, or an attribute that contradicts them.
    pub fn infer(graph: &Graph) -> Result<Self, Error> {
        let mut shapes = Self::default();
        for value in &graph.inputs {
            let known = TensorType { element: value.element, shape: value.shape.clone() };
            shapes.types.insert(value.name.clone(), known);
        }
        for (name, tensor) in &graph.initializers {
            let shape = tensor.shape().iter().map(|&size| Dim::Known(size)).collect();
            let known = TensorType { element: tensor.element(), shape: Some(shape) };
            shapes.types.insert(name.clone(), known);
            if let Some(values) = tensor.as_i64().filter(|values| values.len() <= MAX_ITEMS) {
                shapes.values.insert(name.clone(), values.iter().map(|&value| Item::Int(value)).collect());
            }
        }
        for node in &graph.nodes {
            if !node.is_onnx() {
                continue;
            }
            let known = check::node(graph, &shapes, node).and_then(|()| rules::infer(&shapes, node));
            let known = known.map_err(|reason| {
                Error::Invalid(format!("shapes at node `{}` ({}): {reason}", node.label(), node.op))
            })?;
            for (name, known) in node.outputs.iter().zip(known) {
                shapes.types.insert(name.clone(), known);
            }
            if let (Some(output), Some(items)) = (node.output(0), values::items(&shapes, node)) {
                shapes.values.insert(output.to_owned(), items);
            }
        }
        Ok(shapes)
    }

    /// What is known of `tensor`, if anything.
    #[must_use]
    pub fn get(&self, tensor: &str) -> Option<&TensorType> {
        self.types.get(tensor)
    }

    /// The dimensions of `tensor`, if their number is known.
    #[must_use]
    pub fn dims(&self, tensor: &str) -> Option<&[Dim]> {
        self.get(tensor)?.shape.as_deref()
    }

    /// The element type of `tensor`, if known.
    #[must_use]
    pub fn element(&self, tensor: &str) -> Option<ElementType> {
        self.get(tensor).map(|known| known.element)
    }

    /// The elements of `tensor`, where it is a small integer tensor whose computation is understood.
    #[must_use]
    pub fn items(&self, tensor: &str) -> Option<&[Item]> {
        self.values.get(tensor).map(Vec::as_slice)
    }

    fn input(&self, node: &Node, index: usize) -> Option<&TensorType> {
        self.get(node.input(index)?)
    }
}

#[cfg(test)]
mod tests;
