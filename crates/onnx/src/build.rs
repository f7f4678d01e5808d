//! A model from a network description and its trained weights.
//!
//! Batch normalisation is folded into the convolution before it, in double precision; what has no effect at
//! inference is left out. Knows how each operation of a network is said in ONNX; knows no file.

use std::collections::BTreeMap;

use model::{Activation, BatchNorm, Conv, NodeId, Op, Pool, Weights};

use crate::error::Error;
use crate::fold;
use crate::graph::{Attribute, Model, Node, Value};
use crate::tensor::{Data, Dim, ElementType, Tensor};

/// How to write a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildOptions {
    /// Version of ONNX's operators: 11 to 21.
    pub opset: i64,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self { opset: 13 }
    }
}

/// Name of the built model's input: float `[batch, C, H, W]`, normalised.
pub const INPUT: &str = "input";
/// Name of the built model's output: float `[batch, classes]`, logits.
pub const OUTPUT: &str = "output";
/// Name of the dimension that the caller chooses.
pub const BATCH: &str = "batch";

/// Writes `graph` filled with `weights` as ONNX. Class names, normalisation and the network description go into
/// the metadata as JSON, under `classes`, `normalization` and `network`.
///
/// # Errors
/// [`Error::Build`] where a parameter is missing or has another shape; [`Error::Unsupported`] for other opsets.
pub fn from_network(graph: &model::Graph, weights: &Weights, options: &BuildOptions) -> Result<Model, Error> {
    if !(11..=21).contains(&options.opset) {
        return Err(Error::Unsupported(format!("opset {} (11 to 21 are)", options.opset)));
    }
    let mut model = Model::new(options.opset);
    model.producer = "pipe".into();
    model.producer_version = env!("CARGO_PKG_VERSION").into();
    model.metadata = metadata(weights)?;
    model.graph.name = "network".into();
    let batch = || Dim::Named(BATCH.into());
    let value = |name: &str, dims: &[usize]| Value {
        name: name.into(),
        element: ElementType::F32,
        shape: Some(std::iter::once(batch()).chain(dims.iter().map(|&dim| Dim::Known(dim))).collect()),
    };
    model.graph.inputs.push(value(INPUT, &graph.input_shape()));
    let built = Builder::new(graph, weights).build()?;
    model.graph.nodes = built.nodes;
    model.graph.initializers = built.initializers;
    let last = graph.nodes().last().map_or(&[][..], |node| &node.shape);
    model.graph.outputs.push(value(OUTPUT, last));
    model.graph.check()?;
    Ok(model)
}

/// By node of `graph`, the tensor of the model made by [`from_network`] that holds its outcome. Nodes that leave nothing
/// behind, such as a batch normalisation that goes into a convolution, share that of their operand.
///
/// # Errors
/// As [`from_network`].
pub fn tensor_names(graph: &model::Graph, weights: &Weights) -> Result<Vec<String>, Error> {
    Builder::new(graph, weights).build().map(|built| built.tensors)
}

fn metadata(weights: &Weights) -> Result<BTreeMap<String, String>, Error> {
    let json = |text: Result<String, serde_json::Error>| {
        text.map_err(|error| Error::Build(format!("the weights' metadata: {error}")))
    };
    Ok(BTreeMap::from([
        ("classes".into(), json(serde_json::to_string(&weights.metadata.classes))?),
        ("normalization".into(), json(serde_json::to_string(&weights.metadata.normalization))?),
        ("network".into(), json(serde_json::to_string(&weights.metadata.network))?),
    ]))
}

struct Builder<'a> {
    graph: &'a model::Graph,
    weights: &'a Weights,
    consumers: Vec<Vec<NodeId>>,
    /// Tensor that each node's outcome has; nodes without effect share that of their operand.
    tensors: Vec<String>,
    nodes: Vec<Node>,
    initializers: BTreeMap<String, Tensor>,
}

impl<'a> Builder<'a> {
    fn new(graph: &'a model::Graph, weights: &'a Weights) -> Self {
        let mut consumers = vec![Vec::new(); graph.nodes().len()];
        for node in graph.nodes() {
            for input in &node.inputs {
                if let Some(list) = consumers.get_mut(input.index()) {
                    list.push(node.id);
                }
            }
        }
        Self {
            graph,
            weights,
            consumers,
            tensors: Vec::new(),
            nodes: Vec::new(),
            initializers: BTreeMap::new(),
        }
    }

    fn build(mut self) -> Result<Self, Error> {
        for node in self.graph.nodes() {
            let tensor = self.lower(node)?;
            self.tensors.push(tensor);
        }
        let Some(logits) = self.tensors.last().filter(|logits| *logits != INPUT).cloned() else {
            return Err(Error::Build("the network computes nothing".into()));
        };
        let consumed_and_made =
            self.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().chain(&mut node.outputs));
        for name in consumed_and_made.chain(&mut self.tensors).filter(|name| **name == logits) {
            OUTPUT.clone_into(name);
        }
        Ok(self)
    }

    /// Emits what `node` computes and returns the tensor that holds it.
    fn lower(&mut self, node: &model::Node) -> Result<String, Error> {
        let inputs = node.inputs.iter().map(|&id| self.tensor(id)).collect::<Result<Vec<_>, _>>()?;
        let output = format!("{}.out", node.name);
        let op = match &node.op {
            Op::Input => return Ok(INPUT.into()),
            Op::Dropout { .. } => return self.first(node, &inputs),
            Op::BatchNorm(norm) => {
                if node.inputs.first().is_some_and(|&id| self.folds_into(id).is_some()) {
                    return self.first(node, &inputs);
                }
                self.batch_norm(norm)?
            }
            Op::Conv(conv) => {
                let norm = self.folds_into(node.id).cloned();
                self.conv(conv, norm.as_ref())?
            }
            Op::Linear(linear) => {
                let weight = format!("{}.weight", linear.prefix);
                let bias = format!("{}.bias", linear.prefix);
                self.take(&weight, &[linear.out_features, linear.in_features])?;
                self.take(&bias, &[linear.out_features])?;
                Node::new("Gemm", [weight, bias], []).with("transB", Attribute::Int(1))
            }
            Op::Activation(activation) => self.activation(*activation),
            Op::Add => plain("Add"),
            Op::Multiply => plain("Mul"),
            Op::GlobalAveragePool => plain("GlobalAveragePool"),
            Op::MaxPool(pool) => pooling("MaxPool", *pool),
            Op::AveragePool(pool) => pooling("AveragePool", *pool),
            Op::Flatten => plain("Flatten").with("axis", Attribute::Int(1)),
        };
        let constants = op.inputs;
        self.nodes.push(Node {
            name: node.name.clone(),
            inputs: inputs.into_iter().chain(constants).collect(),
            outputs: vec![output.clone()],
            ..op
        });
        Ok(output)
    }

    fn tensor(&self, id: NodeId) -> Result<String, Error> {
        let missing = || Error::Build(format!("node {} comes after its consumer", id.index()));
        self.tensors.get(id.index()).cloned().ok_or_else(missing)
    }

    fn first(&self, node: &model::Node, inputs: &[String]) -> Result<String, Error> {
        inputs.first().cloned().ok_or_else(|| Error::Build(format!("node `{}` has no operand", node.name)))
    }

    /// The batch normalisation that is the only consumer of convolution `id`.
    fn folds_into(&self, id: NodeId) -> Option<&'a BatchNorm> {
        let Op::Conv(_) = self.graph.nodes().get(id.index())?.op else { return None };
        let [only] = self.consumers.get(id.index())?.as_slice() else { return None };
        match &self.graph.nodes().get(only.index())?.op {
            Op::BatchNorm(norm) => Some(norm),
            _ => None,
        }
    }

    fn conv(&mut self, conv: &Conv, norm: Option<&BatchNorm>) -> Result<Node, Error> {
        let shape = [conv.out_channels, conv.in_channels / conv.groups.max(1), conv.kernel, conv.kernel];
        let (weight_name, bias_name) = (format!("{}.weight", conv.prefix), format!("{}.bias", conv.prefix));
        let mut weight = self.param(&weight_name, &shape)?.to_vec();
        let mut bias =
            if conv.bias { Some(self.param(&bias_name, &[conv.out_channels])?.to_vec()) } else { None };
        if let Some(norm) = norm {
            let affine = fold::Affine::of_batch_norm(
                self.param(&format!("{}.weight", norm.prefix), &[conv.out_channels])?,
                self.param(&format!("{}.bias", norm.prefix), &[conv.out_channels])?,
                self.param(&format!("{}.running_mean", norm.prefix), &[conv.out_channels])?,
                self.param(&format!("{}.running_var", norm.prefix), &[conv.out_channels])?,
                norm.eps,
            );
            bias = Some(affine.fold(&mut weight, bias.as_deref()));
        }
        self.insert(&weight_name, &shape, weight)?;
        let mut inputs = vec![weight_name];
        if let Some(bias) = bias {
            self.insert(&bias_name, &[conv.out_channels], bias)?;
            inputs.push(bias_name);
        }
        Ok(Node::new("Conv", inputs, [])
            .with("dilations", Attribute::Ints(vec![1, 1]))
            .with("group", Attribute::Int(int(conv.groups)))
            .with("kernel_shape", Attribute::Ints(vec![int(conv.kernel); 2]))
            .with("pads", Attribute::Ints(vec![int(conv.padding); 4]))
            .with("strides", Attribute::Ints(vec![int(conv.stride); 2])))
    }

    fn batch_norm(&mut self, norm: &BatchNorm) -> Result<Node, Error> {
        let names =
            ["weight", "bias", "running_mean", "running_var"].map(|name| format!("{}.{name}", norm.prefix));
        for name in &names {
            self.take(name, &[norm.channels])?;
        }
        #[expect(clippy::cast_possible_truncation, reason = "ONNX holds epsilon as a 32-bit float")]
        let eps = norm.eps as f32;
        Ok(Node::new("BatchNormalization", names, []).with("epsilon", Attribute::Float(eps)))
    }

    fn activation(&mut self, activation: Activation) -> Node {
        match activation {
            Activation::Relu => plain("Relu"),
            Activation::Sigmoid => plain("Sigmoid"),
            Activation::HardSigmoid => plain("HardSigmoid")
                .with("alpha", Attribute::Float(1.0 / 6.0))
                .with("beta", Attribute::Float(0.5)),
            Activation::Relu6 => {
                let bounds = [("relu6.min", 0.0), ("relu6.max", 6.0)];
                for (name, value) in bounds {
                    self.initializers.insert(name.into(), Tensor::scalar_f32(value));
                }
                Node::new("Clip", bounds.map(|(name, _)| name), [])
            }
        }
    }

    fn param(&self, name: &str, shape: &[usize]) -> Result<&'a [f32], Error> {
        let tensor = self
            .weights
            .tensors
            .get(name)
            .ok_or_else(|| Error::Build(format!("the weights have no `{name}`")))?;
        match tensor.data() {
            tensors::Data::F32(values) if tensor.shape() == shape => Ok(values),
            tensors::Data::F32(_) => Err(Error::Build(format!(
                "`{name}` has the shape {:?} where the network wants {shape:?}",
                tensor.shape()
            ))),
            _ => Err(Error::Build(format!("`{name}` does not hold 32-bit floats"))),
        }
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<(), Error> {
        let values = self.param(name, shape)?.to_vec();
        self.insert(name, shape, values)
    }

    fn insert(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Result<(), Error> {
        let tensor = Tensor::new(shape.to_vec(), Data::F32(values))
            .ok_or_else(|| Error::Build(format!("`{name}` does not fill its shape")))?;
        match self.initializers.insert(name.into(), tensor) {
            None => Ok(()),
            Some(_) => Err(Error::Build(format!("two layers share the parameter `{name}`"))),
        }
    }
}

fn plain(op: &str) -> Node {
    Node { op: op.into(), ..Node::default() }
}

fn pooling(op: &str, pool: Pool) -> Node {
    plain(op)
        .with("kernel_shape", Attribute::Ints(vec![int(pool.kernel); 2]))
        .with("strides", Attribute::Ints(vec![int(pool.stride); 2]))
}

fn int(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
