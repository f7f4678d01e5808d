//! Writing a new graph node by node: unique names, shared small constants.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use onnx::{Graph, Model, Names, Node, Shapes, Tensor, Value};

/// A graph in the making, on the inputs, outputs and names of another.
pub(crate) struct Emitter {
    names: Names,
    graph: Graph,
    /// Constants worth sharing, by a hash of what they hold.
    large: HashMap<u64, Vec<String>>,
}

/// Constants of fewer elements are not worth looking for one like them.
const LARGE: usize = 64;

impl Emitter {
    /// An empty graph between the inputs and outputs of `source`.
    pub(crate) fn new(source: &Graph) -> Self {
        let graph = Graph {
            name: source.name.clone(),
            inputs: source.inputs.clone(),
            outputs: source.outputs.clone(),
            ..Graph::default()
        };
        Self { names: source.names(), graph, large: HashMap::new() }
    }

    /// A name like `wanted` that nothing has.
    pub(crate) fn fresh(&mut self, wanted: &str) -> String {
        self.names.fresh(wanted)
    }

    /// Adds a constant under a name like `wanted` and returns its name, or that of a large one that is the same: weights that several
    /// layers share stay one.
    pub(crate) fn constant(&mut self, wanted: &str, tensor: Tensor) -> String {
        let is_large = tensor.data().len() >= LARGE;
        let hash = if is_large { hash(&tensor) } else { 0 };
        let same = |name: &&String| self.graph.initializers.get(*name) == Some(&tensor);
        if let Some(name) = self.large.get(&hash).and_then(|names| names.iter().find(same)) {
            return name.clone();
        }
        let name = self.fresh(wanted);
        if is_large {
            self.large.entry(hash).or_default().push(name.clone());
        }
        self.graph.initializers.insert(name.clone(), tensor);
        name
    }

    /// Keeps the constants of `source` that `node` consumes.
    pub(crate) fn keep_constants(&mut self, source: &Graph, node: &Node) {
        for name in node.uses() {
            if let Some(tensor) = source.initializers.get(name) {
                self.graph.initializers.insert(name.to_owned(), tensor.clone());
            }
        }
    }

    /// Adds a node.
    pub(crate) fn node(&mut self, node: Node) {
        self.graph.nodes.push(node);
    }

    /// Adds an output, unless it is one.
    pub(crate) fn output(&mut self, value: Value) {
        if !self.graph.is_output(&value.name) {
            self.graph.outputs.push(value);
        }
    }

    /// Adds a node of one output under a name like `wanted` and returns the output's name.
    pub(crate) fn value(&mut self, op: &str, inputs: &[&str], wanted: &str) -> String {
        let output = self.fresh(wanted);
        self.node(Node::new(op, inputs.iter().copied(), [output.as_str()]));
        output
    }

    /// The model `source` with the new graph.
    pub(crate) fn finish(self, source: &Model, compact: bool) -> Result<Model, onnx::Error> {
        let mut model = Model { graph: self.graph, ..source.clone() };
        // Older runtimes refuse what is newer.
        model.lower_format();
        // A tensor may be consumed in another form only.
        model.graph.remove_unused();
        model.graph.check()?;
        // Nothing is written that could not be read again.
        Shapes::infer(&model.graph)?;
        model.producer = "pipe".into();
        model.producer_version = env!("CARGO_PKG_VERSION").into();
        Ok(if compact { model.compacted() } else { model })
    }
}

fn hash(tensor: &Tensor) -> u64 {
    let mut hasher = DefaultHasher::new();
    tensor.shape().hash(&mut hasher);
    tensor.data().to_bytes().hash(&mut hasher);
    hasher.finish()
}
