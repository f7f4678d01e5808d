//! A network as it is computed: nodes in order, every shape known, parameters under the names of PyTorch's state
//! dict. Made by [`crate::Network::lower`] only, so it is consistent.

/// A node of one graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) usize);

impl NodeId {
    /// Place in [`Graph::nodes`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// Nodes in an order in which each comes after its inputs. The first is [`Op::Input`], the last yields the logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
}

/// One operation and where its operands come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Which node this is.
    pub id: NodeId,
    /// Unique within the graph: the module's name in the notebook's PyTorch code, such as `blocks.0.conv.3`.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// The operands, in the op's order.
    pub inputs: Vec<NodeId>,
    /// Shape of the output for one image: `[C, H, W]` or `[features]`.
    pub shape: Vec<usize>,
}

/// What a node computes.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// The normalised image.
    Input,
    /// Two-dimensional convolution.
    Conv(Conv),
    /// Batch normalisation over channels.
    BatchNorm(BatchNorm),
    /// An activation, value by value.
    Activation(Activation),
    /// Sum of two operands of one shape.
    Add,
    /// Product of `[C, H, W]` and `[C, 1, 1]`.
    Multiply,
    /// Mean over height and width: `[C, H, W]` to `[C, 1, 1]`.
    GlobalAveragePool,
    /// Largest value of each window.
    MaxPool(Pool),
    /// Mean of each window.
    AveragePool(Pool),
    /// `[C, H, W]` to `[C·H·W]`.
    Flatten,
    /// Zeroes values at random while training; nothing otherwise.
    Dropout {
        /// Probability, at least 0 and below 1.
        p: f64,
    },
    /// Fully connected layer with a bias.
    Linear(Linear),
}

/// A convolution with a square kernel. Weight: `[out_channels, in_channels / groups, kernel, kernel]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conv {
    /// Start of its parameters' names: `PREFIX.weight`, `PREFIX.bias`.
    pub prefix: String,
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Groups of channels; divides both channel counts.
    pub groups: usize,
    /// Whether it has a bias.
    pub bias: bool,
}

/// Batch normalisation: `(x - running_mean) / sqrt(running_var + eps) · weight + bias` at inference.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// Start of its parameters' names: `PREFIX.weight`, `.bias`, `.running_mean`, `.running_var`.
    pub prefix: String,
    /// Channels.
    pub channels: usize,
    /// Added to the variance.
    pub eps: f64,
}

/// An activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// x / 6 + 1/2, clipped to 0 and 1 (PyTorch's; ONNX's `HardSigmoid` defaults to another slope).
    HardSigmoid,
}

/// A pooling window without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Height and width.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
}

/// A fully connected layer with a bias. Weight: `[out_features, in_features]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linear {
    /// Start of its parameters' names: `PREFIX.weight`, `PREFIX.bias`.
    pub prefix: String,
    /// Input features.
    pub in_features: usize,
    /// Output features.
    pub out_features: usize,
}

/// A tensor that a trained network needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Its name in the state dict, such as `stem.0.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it is.
    pub kind: ParamKind,
}

/// What a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// Weight of a convolution or a fully connected layer.
    Weight,
    /// Bias of a convolution or a fully connected layer.
    Bias,
    /// Factor of a batch normalisation.
    NormScale,
    /// Summand of a batch normalisation.
    NormShift,
    /// Mean of a batch normalisation at inference; not trained by gradient.
    RunningMean,
    /// Variance of a batch normalisation at inference; not trained by gradient.
    RunningVar,
}

impl ParamKind {
    /// Whether gradients train it.
    #[must_use]
    pub fn trainable(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVar)
    }
}

impl Param {
    /// Number of elements.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shape.iter().fold(1, |product, &dim| product.saturating_mul(dim))
    }
}

impl Graph {
    /// The nodes, each after its inputs.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node of this graph.
    ///
    /// # Panics
    /// When `id` comes from a larger graph.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Channels, height and width of an image.
    #[must_use]
    pub fn input_shape(&self) -> [usize; 3] {
        match self.nodes.first().map(|node| node.shape.as_slice()) {
            Some(&[channels, height, width]) => [channels, height, width],
            _ => [0; 3],
        }
    }

    /// Number of logits.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.nodes.last().and_then(|node| node.shape.first().copied()).unwrap_or(0)
    }

    /// The parameters and running statistics, in the order of the nodes.
    #[must_use]
    pub fn params(&self) -> Vec<Param> {
        self.nodes.iter().flat_map(|node| node.op.params()).collect()
    }

    /// Number of values that gradients train.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.params()
            .iter()
            .filter(|param| param.kind.trainable())
            .fold(0, |sum, param| sum.saturating_add(param.count()))
    }

    /// Bytes of the trainable values as 32-bit floats.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.parameter_count().saturating_mul(4)
    }

    /// Bytes of all tensors of PyTorch's state dict: trainable values and running statistics as 32-bit floats,
    /// and the 64-bit `num_batches_tracked` of each batch normalisation. What is usually called the size of a
    /// PyTorch model; no file header is counted.
    #[must_use]
    pub fn state_dict_bytes(&self) -> usize {
        let floats = self.params().iter().fold(0_usize, |sum, param| sum.saturating_add(param.count()));
        let counters = self.nodes.iter().filter(|node| matches!(node.op, Op::BatchNorm(_))).count();
        floats.saturating_mul(4).saturating_add(counters * 8)
    }

    /// Multiply-adds of the convolutions and fully connected layers for one image.
    #[must_use]
    pub fn macs(&self) -> u64 {
        self.nodes.iter().fold(0, |sum, node| sum.saturating_add(node.macs()))
    }
}

impl Node {
    /// Multiply-adds for one image; 0 for everything but convolutions and fully connected layers.
    #[must_use]
    pub fn macs(&self) -> u64 {
        let per_value = match &self.op {
            Op::Conv(conv) => [conv.in_channels / conv.groups.max(1), conv.kernel, conv.kernel],
            Op::Linear(linear) => [linear.in_features, 1, 1],
            _ => return 0,
        };
        self.shape.iter().chain(&per_value).fold(1, |product, &dim| product.saturating_mul(dim as u64))
    }
}

impl Op {
    /// The parameters of this operation.
    #[must_use]
    pub fn params(&self) -> Vec<Param> {
        let param = |prefix: &str, name: &str, shape: Vec<usize>, kind| Param {
            name: format!("{prefix}.{name}"),
            shape,
            kind,
        };
        match self {
            Self::Conv(Conv { prefix, in_channels, out_channels, kernel, groups, bias, .. }) => {
                let shape = vec![*out_channels, in_channels / (*groups).max(1), *kernel, *kernel];
                let weight = param(prefix, "weight", shape, ParamKind::Weight);
                let bias = bias.then(|| param(prefix, "bias", vec![*out_channels], ParamKind::Bias));
                std::iter::once(weight).chain(bias).collect()
            }
            Self::BatchNorm(BatchNorm { prefix, channels, .. }) => [
                ("weight", ParamKind::NormScale),
                ("bias", ParamKind::NormShift),
                ("running_mean", ParamKind::RunningMean),
                ("running_var", ParamKind::RunningVar),
            ]
            .map(|(name, kind)| param(prefix, name, vec![*channels], kind))
            .into(),
            Self::Linear(Linear { prefix, in_features, out_features }) => vec![
                param(prefix, "weight", vec![*out_features, *in_features], ParamKind::Weight),
                param(prefix, "bias", vec![*out_features], ParamKind::Bias),
            ],
            Self::Input
            | Self::Activation(_)
            | Self::Add
            | Self::Multiply
            | Self::GlobalAveragePool
            | Self::MaxPool(_)
            | Self::AveragePool(_)
            | Self::Flatten
            | Self::Dropout { .. } => Vec::new(),
        }
    }
}
