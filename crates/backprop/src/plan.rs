//! In which order a network is computed so that what an image needs stays in the cache.
//!
//! Only batch normalisation looks at more than one image. Between two of them everything is computed image by image: the
//! nodes are divided into *levels*, a node's level being the largest number of normalisations on a way to it, and a level is
//! computed for all images before the next one. What a normalisation reads is stored for all images; its output, and an
//! activation behind it, are computed anew wherever they are read, which is cheaper than reading them from memory.
//!
//! Where a convolution of single pixels makes many channels of few, even its output is not stored ([`Widening`]): it is
//! computed once for its mean and variance, and recomputed where it is read. Memory, not arithmetic, is what training waits for.

mod nodes;
mod steps;

use model::{Activation, Graph, Pool};

use crate::depthwise::Depthwise;
use crate::patches::Patches;
use crate::pointwise::Limits;
use crate::simd::LANES;

/// Why a network cannot be computed here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{node}`: {reason}")]
pub struct Unsupported {
    /// The node's name.
    pub node: String,
    /// What of it.
    pub reason: &'static str,
}

/// Shape of a value: `[height · width, padded channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Those that are not padding.
    pub(crate) channels: usize,
}

impl Shape {
    pub(crate) fn pixels(self) -> usize {
        self.height * self.width
    }

    pub(crate) fn padded(self) -> usize {
        self.channels.next_multiple_of(LANES)
    }

    pub(crate) fn len(self) -> usize {
        self.pixels() * self.padded()
    }
}

/// Where a value or a gradient lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// With the thread, until the next image.
    Scratch(usize),
    /// With the batch.
    Stored(usize),
}

/// How a node is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kernel {
    Image,
    /// The output of a normalisation and its activation, from what it reads.
    Affine {
        norm: usize,
    },
    /// A convolution of single pixels, or a fully connected layer.
    Product {
        layer: usize,
    },
    Depthwise {
        layer: usize,
        size: Depthwise,
    },
    /// Any other convolution without groups.
    Dense {
        layer: usize,
        size: Patches,
    },
    Activation(Activation),
    Add,
    Multiply,
    GlobalAverage,
    MaxPool(Pool),
    AveragePool(Pool),
    Flatten,
    Dropout {
        p: f64,
    },
}

/// One computation forwards.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) node: usize,
    pub(crate) kernel: Kernel,
    pub(crate) inputs: Vec<(usize, Place)>,
    pub(crate) output: Place,
    /// The normalisation that wants to know mean and variance of the output.
    pub(crate) norm: Option<usize>,
}

/// One computation backwards.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Gradient {
    /// With respect to what went into a normalisation, from that with respect to its output.
    NormIn { norm: usize, into: usize },
    /// With respect to the operands of a node.
    Node {
        node: usize,
        kernel: Kernel,
        /// The operands' values, where they are needed.
        inputs: Vec<(usize, Option<Place>)>,
        output: Option<Place>,
        gradient: Place,
        /// Where each operand's gradient goes, if anybody wants it, and whether it is added to what is there.
        into: Vec<Option<(Place, bool)>>,
    },
    /// With respect to the output of a normalisation, from that with respect to the output of the activation behind
    /// it. The last one of a normalisation knows its sums.
    NormOut { norm: usize, from: Place, accumulate: bool, last: bool },
    /// As [`Gradient::NormOut`] where `output`, which the normalisation reads, is not stored: by the operand of its
    /// convolution as far as one image tells, into the widening's place for it.
    Widened { norm: usize, widening: Widening, from: Place, output: Place, input: Place, scratch: usize },
    /// The rest of it, which all images tell.
    Corrected { norm: usize, widening: Widening, input: Place, into: Place, accumulate: bool },
}

/// What is computed image by image.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Level {
    pub(crate) forward: Vec<Step>,
    /// Values stored by this level: needed until it was computed backwards.
    pub(crate) stores: Vec<usize>,
    /// What of the forward pass is recomputed before the backward one.
    pub(crate) again: Vec<Step>,
    pub(crate) backward: Vec<Gradient>,
    /// Stored gradients of which this level is the first to write.
    pub(crate) first_written: Vec<usize>,
    /// Layers whose weights' gradients this level computes.
    pub(crate) layers: Vec<usize>,
    /// Normalisations whose mean and variance it computes forwards.
    pub(crate) norms: Vec<usize>,
    /// Normalisations whose sums it completes backwards.
    pub(crate) completes: Vec<usize>,
    /// Gradients of widenings that nobody needs once this level was computed backwards.
    pub(crate) spent: Vec<usize>,
}

/// Weights of a convolution or a fully connected layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Where its weights begin among the trained values: `[outputs, inputs, kernel, kernel]`, or depthwise
    /// `[channels, 1, kernel, kernel]`.
    pub(crate) weight: usize,
    pub(crate) bias: Option<usize>,
    pub(crate) outputs: usize,
    /// 1 where depthwise.
    pub(crate) inputs: usize,
    pub(crate) kernel: usize,
    pub(crate) depthwise: bool,
}

/// A convolution of single pixels with a normalisation behind it, whose output is not stored.
///
/// Normalisation makes the gradient of an image depend on sums over all of them. With x the operand, W the weights,
/// y = W·x, dz the gradient with respect to the normalisation's output, and per output n the sums S = Σdz and Q = Σdz·ŷ over N
/// pixels, dy = γ/σ·(dz - S/N - ŷ·Q/N). As ŷ is linear in x, so is what the sums contribute to dx = Wᵀ·dy, and their contribution to
/// the gradient with respect to W needs of x only its sums and those of its products: dz is read once, before the sums are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Widening {
    pub(crate) layer: usize,
    /// Where the part of the operand's gradient that one image tells is stored.
    pub(crate) deferred: usize,
    /// Shape of the operand.
    pub(crate) from: Shape,
}

/// A batch normalisation and the activation behind it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Norm {
    /// The stored value that it normalises, unless its output is not stored.
    pub(crate) stored: usize,
    pub(crate) widening: Option<Widening>,
    pub(crate) shape: Shape,
    pub(crate) limits: Limits,
    /// Where factor and summand begin among the trained values.
    pub(crate) values: [usize; 2],
    /// Where running mean and variance begin among the statistics.
    pub(crate) stats: [usize; 2],
    pub(crate) eps: f64,
}

/// A network in the order of its computation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// By node.
    pub(crate) shapes: Vec<Shape>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norms: Vec<Norm>,
    /// Floats of each stored value, for one image.
    pub(crate) stored: Vec<usize>,
    pub(crate) levels: Vec<Level>,
    /// Where the logits are stored.
    pub(crate) logits: usize,
    pub(crate) values: usize,
    pub(crate) stats: usize,
}

impl Plan {
    pub(crate) fn new(graph: &Graph) -> Result<Self, Unsupported> {
        Ok(nodes::Nodes::new(graph)?.plan())
    }
}
