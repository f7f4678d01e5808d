//! Shape inference for convolutional networks, with a caller-chosen batch dimension carried along by name.
//!
//! An operator or an attribute that is not known yields unknown shapes, never a guess; a contradiction is an
//! error. Small integer tensors (shapes being computed) are followed by value, so that exported idioms such as
//! `Reshape(x, Concat(Shape(x)[0], -1))` are understood.

mod bodies;
mod check;
mod rules;
mod values;
mod window;

use std::collections::BTreeMap;

use crate::error::Error;
use crate::graph::{Graph, Node, Value};
use crate::tensor::{Dim, ElementType, TensorType};

/// What is said of a value.
fn type_of(value: &Value) -> TensorType {
    TensorType { element: value.element, shape: value.shape.clone() }
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
    /// Infers what it can: by the rules of operators, and where these say nothing by what the file says ([`Graph::hints`], and
    /// the outputs' types), unless that contradicts the rules somewhere.
    ///
    /// # Errors
    /// [`Error::Invalid`] names a node whose operands contradict each other, or an attribute that contradicts them.
    pub fn infer(graph: &Graph) -> Result<Self, Error> {
        let mut hints: BTreeMap<&str, TensorType> =
            graph.hints.iter().map(|(name, known)| (name.as_str(), known.clone())).collect();
        hints.extend(graph.outputs.iter().map(|value| (value.name.as_str(), type_of(value))));
        hints.retain(|_, known| *known != TensorType::NOTHING);
        let around = Self::default();
        Self::within(&around, graph, &hints).or_else(|_| Self::within(&around, graph, &BTreeMap::new()))
    }

    /// Infers a graph with the tensors of `around` around it.
    fn within(around: &Self, graph: &Graph, hints: &BTreeMap<&str, TensorType>) -> Result<Self, Error> {
        let mut shapes = around.clone();
        for value in &graph.inputs {
            let known = type_of(value);
            if known != TensorType::NOTHING {
                shapes.types.insert(value.name.clone(), known);
            }
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
            let ruled = if node.is_onnx() { shapes.ruled(graph, node)? } else { Vec::new() };
            let ruled = ruled.into_iter().chain(std::iter::repeat(None));
            for (name, ruled) in node.outputs.iter().zip(ruled).filter(|(name, _)| !name.is_empty()) {
                if let Some(known) = TensorType::filled(ruled, hints.get(name.as_str())) {
                    shapes.types.insert(name.clone(), known);
                }
            }
            if !node.is_onnx() {
                continue;
            }
            if let (Some(output), Some(items)) = (node.output(0), values::items(&shapes, node)) {
                shapes.values.insert(output.to_owned(), items);
            }
        }
        Ok(shapes)
    }

    /// What the rules say of the outputs of `node`.
    fn ruled(&mut self, graph: &Graph, node: &Node) -> Result<Vec<Option<TensorType>>, Error> {
        if node.bodies().next().is_some() {
            return bodies::infer(self, node);
        }
        self.share_type(node);
        let known = check::node(graph, self, node).and_then(|()| rules::infer(self, node));
        let known = known.map_err(|reason| {
            Error::Invalid(format!("shapes at node `{}` ({}): {reason}", node.label(), node.op))
        })?;
        Ok(known.into_iter().map(Some).collect())
    }

    /// Gives operands of which nothing is known the element type of the others, where the operator wants one for all.
    fn share_type(&mut self, node: &Node) {
        let is_shared = matches!(
            node.op.as_str(),
            "Conv"
                | "ConvTranspose"
                | "Gemm"
                | "MatMul"
                | "Add"
                | "Sub"
                | "Mul"
                | "Div"
                | "Max"
                | "Min"
                | "Sum"
                | "Mean"
                | "Concat"
        );
        if !is_shared {
            return;
        }
        let inputs = || node.inputs.iter().filter(|name| !name.is_empty());
        let Some(element) = inputs().find_map(|name| self.element(name)) else { return };
        for name in inputs() {
            self.types.entry(name.clone()).or_insert(TensorType { element, shape: None });
        }
    }

    /// The tensors that nodes of `graph` make and of which not everything is known that could be: a type, or a size that is
    /// not the caller's to choose.
    #[must_use]
    pub fn untold(&self, graph: &Graph) -> Vec<String> {
        let made = graph.nodes.iter().flat_map(|node| &node.outputs).filter(|name| !name.is_empty());
        made.filter(|name| self.dims(name).is_none_or(|dims| dims.contains(&Dim::Unknown))).cloned().collect()
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
