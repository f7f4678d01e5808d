//! A build system for models: `pipeline.yaml` declares stages, `pipe run` executes the stale ones and restores the
//! others from a content-addressed cache. Knows stages, keys and processes; knows no machine learning.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod check;
pub mod cli;
pub mod digest;
pub mod error;
pub mod event;
pub mod exec;
mod forecast;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod gate;
pub mod graph;
pub mod hardware;
pub mod history;
pub mod key;
mod misplaced;
pub mod plan;
pub mod plugin;
pub mod progress;
pub mod project;
pub mod prospect;
pub mod record;
pub mod report;
pub mod spec;
pub mod standing;
pub mod store;
mod streams;
pub mod ui;
