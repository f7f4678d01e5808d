//! The owned graph: nodes with typed attributes, initializers, inputs and outputs.
//!
//! Knows how nodes and tensors hang together; does not know what an operator computes.

mod bodies;

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;
use crate::names::Names;
use crate::tensor::{Dim, ElementType, Tensor, TensorType};

/// A model: a graph with the versions it is written for.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Version of the file format.
    pub ir_version: i64,
    /// Imported operator sets: domain (empty for ONNX's own) → version.
    pub opsets: BTreeMap<String, i64>,
    /// What wrote the model.
    pub producer: String,
    /// Version of what wrote it.
    pub producer_version: String,
    /// Free text by key (`metadata_props`).
    pub metadata: BTreeMap<String, String>,
    /// The graph.
    pub graph: Graph,
}

impl Model {
    /// An empty model for an opset of ONNX's own operators, in the oldest format that may import it.
    #[must_use]
    pub fn new(opset: i64) -> Self {
        Self {
            ir_version: ir_version(opset),
            opsets: BTreeMap::from([(String::new(), opset)]),
            producer: String::new(),
            producer_version: String::new(),
            metadata: BTreeMap::new(),
            graph: Graph::default(),
        }
    }

    /// Version of ONNX's own operators; 0 where none is imported.
    #[must_use]
    pub fn opset(&self) -> i64 {
        self.opsets.get("").copied().unwrap_or(0)
    }

    /// Declares another version of ONNX's own operators, and a file format that may import it. Nodes stay as they
    /// are: whether they mean the same there is the caller's business.
    pub fn set_opset(&mut self, opset: i64) {
        self.opsets.insert(String::new(), opset);
        self.ir_version = self.ir_version.max(ir_version(opset));
    }

    /// Declares the oldest file format that may import the model's opset, unless it has an older one. Its operators can say nothing
    /// that this could not.
    pub fn lower_format(&mut self) {
        self.ir_version = self.ir_version.min(ir_version(self.opset()));
    }
}

/// The oldest file format that may import `opset` (the table in ONNX's `docs/Versioning.md`).
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=8 => 3,
        9 => 4,
        10 => 5,
        11 => 6,
        12..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        _ => 10,
    }
}

/// Nodes in topological order, and the tensors they start and end with.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// Nodes, each after all that produce its inputs.
    pub nodes: Vec<Node>,
    /// Constant tensors by name.
    pub initializers: BTreeMap<String, Tensor>,
    /// Inputs.
    pub inputs: Vec<Value>,
    /// Outputs.
    pub outputs: Vec<Value>,
    /// What the file says of the types of tensors that are neither (`value_info`): a hint, which is believed where no rule
    /// says more and nothing contradicts it.
    pub hints: BTreeMap<String, TensorType>,
}

/// An input or output with its type.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Name of the tensor.
    pub name: String,
    /// Its element type.
    pub element: ElementType,
    /// Its dimensions; `None` where not even their number is known.
    pub shape: Option<Vec<Dim>>,
}

/// A typed attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// An integer.
    Int(i64),
    /// A float.
    Float(f32),
    /// Text.
    Text(String),
    /// A tensor.
    Tensor(Tensor),
    /// Integers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Texts.
    Texts(Vec<String>),
    /// What an operator of control flow executes (`If`, `Loop`, `Scan`): it sees all tensors that are there before the node.
    Graph(Box<Graph>),
}

/// An operator applied to tensors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// Its name, or empty.
    pub name: String,
    /// Operator, such as `Conv`.
    pub op: String,
    /// Domain of the operator; empty for ONNX's own.
    pub domain: String,
    /// Names of input tensors; an empty name stands for an input left out.
    pub inputs: Vec<String>,
    /// Names of output tensors; an empty name stands for an output not wanted.
    pub outputs: Vec<String>,
    /// Attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
}

impl Node {
    /// A node of ONNX's own operators without name or attributes.
    pub fn new<S: Into<String>>(
        op: &str,
        inputs: impl IntoIterator<Item = S>,
        outputs: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            op: op.into(),
            inputs: inputs.into_iter().map(Into::into).collect(),
            outputs: outputs.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// The node under a name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The node with one attribute more.
    #[must_use]
    pub fn with(mut self, name: &str, value: Attribute) -> Self {
        self.attributes.insert(name.into(), value);
        self
    }

    /// Whether it is ONNX's own operator `op`.
    #[must_use]
    pub fn is(&self, op: &str) -> bool {
        self.op == op && self.is_onnx()
    }

    /// Whether the operator is one of ONNX's own.
    #[must_use]
    pub fn is_onnx(&self) -> bool {
        self.domain.is_empty() || self.domain == "ai.onnx"
    }

    /// Name of input `index`, unless it is left out.
    #[must_use]
    pub fn input(&self, index: usize) -> Option<&str> {
        self.inputs.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Name of output `index`, unless it is not wanted.
    #[must_use]
    pub fn output(&self, index: usize) -> Option<&str> {
        self.outputs.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// An integer attribute, or `default` where absent.
    #[must_use]
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.attributes.get(name) {
            Some(Attribute::Int(value)) => *value,
            _ => default,
        }
    }

    /// A float attribute, or `default` where absent.
    #[must_use]
    pub fn float(&self, name: &str, default: f32) -> f32 {
        match self.attributes.get(name) {
            Some(Attribute::Float(value)) => *value,
            _ => default,
        }
    }

    /// An attribute of integers.
    #[must_use]
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name) {
            Some(Attribute::Ints(values)) => Some(values),
            _ => None,
        }
    }

    /// A text attribute.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name) {
            Some(Attribute::Text(value)) => Some(value),
            _ => None,
        }
    }

    /// What to call the node in a message: its name, else its first output.
    #[must_use]
    pub fn label(&self) -> &str {
        if self.name.is_empty() { self.output(0).unwrap_or("") } else { &self.name }
    }
}

impl Graph {
    /// Tensor name → index of the node that produces it.
    #[must_use]
    pub fn producers(&self) -> BTreeMap<&str, usize> {
        let mut map = BTreeMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for name in node.outputs.iter().filter(|name| !name.is_empty()) {
                map.insert(name.as_str(), index);
            }
        }
        map
    }

    /// Tensor name → indices of the nodes that consume it, ascending, each as often as it does so.
    #[must_use]
    pub fn consumers(&self) -> BTreeMap<&str, Vec<usize>> {
        let mut map: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for name in node.uses() {
                map.entry(name).or_default().push(index);
            }
        }
        map
    }

    /// Index of the node that makes `tensor`, where one node consumes it and the caller does not see it: what that node does
    /// may go into the one that makes it.
    #[must_use]
    pub fn sole_source(&self, tensor: &str) -> Option<usize> {
        let is_alone = self.consumers().get(tensor).is_some_and(|consumers| consumers.len() == 1);
        (is_alone && !self.is_output(tensor)).then(|| self.producers().get(tensor).copied())?
    }

    /// Whether `name` is one of the graph's outputs.
    #[must_use]
    pub fn is_output(&self, name: &str) -> bool {
        self.outputs.iter().any(|value| value.name == name)
    }

    /// The constant that input `index` of `node` is, if it is one.
    #[must_use]
    pub fn constant(&self, node: &Node, index: usize) -> Option<&Tensor> {
        self.initializers.get(node.input(index)?)
    }

    /// All names of tensors, those within bodies included, to make more that differ from them.
    #[must_use]
    pub fn names(&self) -> Names {
        let mut all = BTreeSet::new();
        self.collect_names(&mut all);
        Names::new(all.into_iter().map(str::to_owned))
    }

    /// Checks that every tensor has one origin, that nodes stand after what they consume, and that outputs
    /// exist.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the tensor and the node.
    pub fn check(&self) -> Result<(), Error> {
        self.check_within(&BTreeSet::new())
    }

    /// As [`Graph::check`], of a body around which the tensors `outer` are there.
    fn check_within(&self, outer: &BTreeSet<&str>) -> Result<(), Error> {
        let mut known: BTreeSet<&str> = self.initializers.keys().map(String::as_str).collect();
        let mut inputs = BTreeSet::new();
        for value in &self.inputs {
            if !inputs.insert(value.name.as_str()) {
                return Err(Error::Invalid(format!("input `{}` is there twice", value.name)));
            }
        }
        known.extend(inputs);
        for node in &self.nodes {
            for name in node.inputs.iter().filter(|name| !name.is_empty()) {
                if !known.contains(name.as_str()) && !outer.contains(name.as_str()) {
                    return Err(Error::Invalid(format!(
                        "node `{}` ({}) consumes `{name}`, which nothing before it produces",
                        node.label(),
                        node.op
                    )));
                }
            }
            if node.bodies().next().is_some() {
                let around: BTreeSet<&str> = known.union(outer).copied().collect();
                node.bodies().try_for_each(|body| body.check_within(&around))?;
            }
            for name in node.outputs.iter().filter(|name| !name.is_empty()) {
                if !known.insert(name) {
                    return Err(Error::Invalid(format!(
                        "node `{}` ({}) produces `{name}`, which is there already",
                        node.label(),
                        node.op
                    )));
                }
            }
        }
        let is_there = |name: &str| known.contains(name) || outer.contains(name);
        match self.outputs.iter().find(|value| !is_there(&value.name)) {
            None => Ok(()),
            Some(value) => Err(Error::Invalid(format!("nothing produces the output `{}`", value.name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> Value {
        Value { name: name.into(), element: ElementType::F32, shape: None }
    }

    fn chain() -> Graph {
        Graph {
            nodes: vec![Node::new("Relu", ["x"], ["y"]), Node::new("Add", ["y", "y"], ["z"])],
            inputs: vec![value("x")],
            outputs: vec![value("z")],
            ..Graph::default()
        }
    }

    #[test]
    fn lookups_find_both_ends() {
        let graph = chain();
        assert_eq!(graph.producers().get("y"), Some(&0));
        assert_eq!(graph.consumers().get("y"), Some(&vec![1, 1]));
        assert!(graph.is_output("z") && !graph.is_output("y"));
        assert!(graph.check().is_ok());
    }

    #[test]
    fn disorder_is_named() {
        let mut graph = chain();
        graph.nodes.reverse();
        let message = graph.check().unwrap_err().to_string();
        assert!(message.contains("`z` (Add) consumes `y`"), "{message}");
    }

    #[test]
    fn two_origins_are_named() {
        let mut graph = chain();
        graph.nodes.push(Node::new("Relu", ["x"], ["y"]));
        assert!(graph.check().unwrap_err().to_string().contains("produces `y`, which is there already"));
        let mut graph = chain();
        graph.outputs.push(value("w"));
        assert!(graph.check().unwrap_err().to_string().contains("nothing produces the output `w`"));
    }
}
