//! What the runner and its plugins say to each other: one JSON value a line, the version first.
//!
//! Knows messages, manifests and figures, what an op is to a plugin and how its params are read, how a plugin serves them over
//! any reader and writer, and what must not be shown of a URL in any of them. Knows nothing of stages, keys or caches, and
//! nothing of machine learning.
//!
//! Terms are those of `docs/glossary.md`.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod figure;
mod manifest;
pub mod masking;
mod message;
mod metrics;
mod op;
mod params;
mod partial;
mod request;
mod serve;
mod timing;
mod words;

pub use figure::{
    Axis, Bin, Cell, Column, Content, Edge, Figure, Group, Histogram, Image, Marker, Node, Series,
};
pub use manifest::{
    CHECKSUMS, IGNORE_KEYWORD, InputSpec, KeyScope, Manifest, NativeLibrary, OpManifest, OutputSpec,
    Resources, SOURCE_KEYWORD, Threads, TimeSpec,
};
pub use message::{
    CheckRequest, FromPlugin, Ignored, LogLevel, Metric, Place, Problem, Progress, RunRequest, ToPlugin,
};
pub use metrics::MetricNames;
pub use op::{Op, Ops};
pub use params::params;
pub use partial::Partial;
pub use serve::{Failure, Plugin, Reporter, ServeError, main, say, serve};
pub use timing::{CallTimes, TimeRequest, TimeResult, time_calls};
pub use words::{counted, grouped};

/// Version of the protocol. Runner and plugin must agree exactly; both say theirs before anything else.
pub const PROTOCOL_VERSION: u32 = 1;
