//! What is kept: one record per executed key, one per run, and what the pipeline said then. What a key is made of, and what a
//! run says while it lasts, is here too, for both are told in these records' words. Plain data; knows no files.
//!
//! Terms are those of `docs/glossary.md`.

#![deny(clippy::print_stdout, clippy::print_stderr)]

#[cfg(any(test, feature = "testing"))]
pub mod arbitrary;
mod definition;
pub mod event;
pub mod key;
mod records;
#[cfg(any(test, feature = "testing"))]
pub mod sample;
pub mod words;

pub use definition::{Definition, Param, Source, StageDefinition, action};
pub use records::{
    ActionRecord, Change, Ingredient, Machine, Outcome, OutputRecord, Pace, RunRecord, StageRun,
};
