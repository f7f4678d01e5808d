//! What can be wrong with an ONNX model or its file.

use std::path::PathBuf;

/// What can be wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing a file failed.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file was read, but what it holds cannot be used.
    #[error("`{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<Error>,
    },
    /// The bytes are not an ONNX model, or a damaged one.
    #[error("not an ONNX model, or a damaged one: {0}")]
    Decode(String),
    /// A valid model that uses what this crate does not support.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The file that elements of a tensor lie in is not where it would be looked for.
    #[error("the data of `{tensor}`, which lies in another file: {reason}")]
    NoData {
        /// The tensor.
        tensor: String,
        /// Why not.
        reason: String,
    },
    /// Elements of a tensor that lie in another file cannot be had, or there is no place that could be theirs.
    #[error("invalid ONNX model: the data of `{tensor}`, which lies in another file: {reason}")]
    Data {
        /// The tensor.
        tensor: String,
        /// Why not.
        reason: String,
    },
    /// A model that contradicts itself or the ONNX specification.
    #[error("invalid ONNX model: {0}")]
    Invalid(String),
    /// The network or the weights to build a model from do not fit together.
    #[error("cannot build an ONNX model: {0}")]
    Build(String),
}
