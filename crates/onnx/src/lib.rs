//! ONNX models: files, an owned graph to edit, shape inference, and building from a network description.
//!
//! Knows the format and enough of the operators to fold and to infer shapes; runs nothing and quantizes nothing.
//!
//! Terms are those of `docs/glossary.md`.

pub mod build;
mod compact;
mod error;
mod external;
mod fold;
mod functions;
mod graph;
mod halves;
mod names;
mod proto;
mod read;
mod shape;
mod simplify;
mod tensor;
mod write;

pub use error::Error;
pub use external::{DataFiles, MAX_FILE_BYTES};
pub use fold::Affine;
pub use graph::{Attribute, Graph, Model, Node, Value};
pub use names::Names;
pub use read::data_files;
pub use shape::{Item, Shapes};
pub use tensor::{Data, Dim, ElementType, Tensor, TensorType};
