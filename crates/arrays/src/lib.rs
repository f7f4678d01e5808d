//! Arrays by name, of any shape and type, whose first axis counts samples: an `.npz`, one `.npy`, a folder of `.npy`, or safetensors. Only
//! the samples that are asked for are kept in memory, and none of those that are written. Knows files; knows no models.
//!
//! Sources: the safetensors crate; NumPy Enhancement Proposal 1, "A Simple File Format for NumPy Arrays", and `numpy/lib/_format_impl.py`.

mod error;
mod header;
mod source;
mod tensors;
mod writer;

pub use error::ArraysError;
pub use header::{Element, Header};
pub use source::Source;
pub use writer::Writer;

/// Some samples of an array: row-major, little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// Type of its elements.
    pub element: Element,
    /// Sizes of its axes, the first of which is the number of samples.
    pub shape: Vec<usize>,
    /// Its elements.
    pub bytes: Vec<u8>,
}
