//! A build system for models: `pipeline.yaml` declares stages, `pipe run` executes the stale ones and restores the
//! others from a content-addressed cache. Knows stages, keys and processes; knows no machine learning.
//!
//! Terms are those of `docs/glossary.md`.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod check;
pub mod cli;
pub mod env;
pub mod error;
pub mod exec;
mod forecast;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod hardware;
pub mod logs;
mod misplaced;
pub mod null_run;
pub mod plan;
pub mod plugin;
pub mod progress;
pub mod project;
pub mod prospect;
mod streams;
pub mod ui;
pub mod workspace;
