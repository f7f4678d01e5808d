//! What a pipeline is: `pipeline.yaml` read and resolved, the graph of its stages, the gates that its result must pass, and
//! digests, by which contents are known. Knows nothing of what was ever executed, of caches or of processes.
//!
//! Terms are those of `docs/glossary.md`.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod digest;
pub mod gate;
pub mod graph;
mod name;
pub mod spec;

pub use name::{Selector, StageName, split_reference};
