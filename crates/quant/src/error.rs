//! What can be wrong with calibration or quantization.

use onnx::Node;

/// What can be wrong.
#[derive(Debug, thiserror::Error)]
pub enum QuantError {
    /// The model itself.
    #[error(transparent)]
    Onnx(#[from] onnx::Error),
    /// A tensor has no calibrated range.
    #[error("the ranges have none for the tensor `{tensor}`; calibrate this very model again")]
    MissingRange {
        /// The tensor.
        tensor: String,
    },
    /// A calibrated range is not one.
    #[error("the range of the tensor `{tensor}`, {min} to {max}, is not one of finite numbers in order")]
    BadRange {
        /// The tensor.
        tensor: String,
        /// Its lower end.
        min: f32,
        /// Its upper end.
        max: f32,
    },
    /// A model gave infinity or not-a-number while calibrating.
    #[error(
        "the tensor `{tensor}` took the value {value} while calibrating; the model or its input is broken"
    )]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// The value.
        value: f32,
    },
    /// Values for a tensor that is not observed.
    #[error("the tensor `{tensor}` is not among those observed")]
    NotObserved {
        /// The tensor.
        tensor: String,
    },
    /// A weight is infinite or not a number.
    #[error("the weight `{tensor}` holds {value}; train again with a lower learning rate")]
    BadWeight {
        /// The tensor.
        tensor: String,
        /// The value.
        value: f32,
    },
    /// The model holds quantized operators already.
    #[error("the model is quantized already: it has a {op} (`{node}`); start from the float model")]
    AlreadyQuantized {
        /// The operator.
        op: String,
        /// The node.
        node: String,
    },
    /// Nothing in the model can be quantized.
    #[error(
        "the model has nothing to quantize: no convolution or matrix product with constant weights, none outside of what \
         `If`, `Loop` and `Scan` execute, or all of them are to stay in floating point"
    )]
    NothingToQuantize,
    /// The model's operators are of a version that cannot be quantized or raised.
    #[error("opset {opset} cannot hold this quantized model: {reason}")]
    Opset {
        /// The version.
        opset: i64,
        /// Why not.
        reason: String,
    },
    /// An option names a node that the model lacks.
    #[error("`{node}` is to stay in floating point, but the model has no such node")]
    UnknownNode {
        /// The name.
        node: String,
    },
    /// Two parts of this crate contradict each other: a fault here, whatever the model is like.
    #[error("internal error: {0}; please report it together with the model")]
    Internal(String),
    /// A file of what was calibrated or measured cannot be read or written.
    #[error("{0}")]
    File(String),
}

impl QuantError {
    /// A node of the graph lacks what the plan counts on.
    pub(crate) fn unplanned(node: &Node, what: &str) -> Self {
        Self::Internal(format!("`{}` ({}) is to be rewritten and has no {what}", node.label(), node.op))
    }

    /// A constant has fewer or more numbers than its shape says.
    pub(crate) fn unfilled(name: &str) -> Self {
        onnx::Error::Invalid(format!("`{name}` does not fill its shape")).into()
    }
}
