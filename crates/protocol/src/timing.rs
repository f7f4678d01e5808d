//! How one plugin asks another to time a model: `pipe-NAME time` reads one [`TimeRequest`] as a line of JSON on
//! standard input, prints one [`TimeResult`] as a line of JSON for each batch size, in the order asked, and exits.
//!
//! A process of its own for each model, so that no other runtime's threads spin meanwhile. An error ends it with
//! a non-zero exit code and one line on standard error. Standard output holds nothing but results. What the
//! numbers are compared with, and how often, is the caller's business.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to time and how. The input is random: normal values from `seed`, made anew for each batch size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeRequest {
    /// The model's file: `.onnx`, or `.safetensors` weights with their network in the metadata.
    pub model: PathBuf,
    /// Images per call; at least one batch size, none of them 0.
    pub batches: Vec<usize>,
    /// Threads that one call may use; at least 1.
    pub threads: usize,
    /// Calls before the first timed one, for each batch size.
    pub warmup_calls: usize,
    /// Timed calls for each batch size; at least 1.
    pub calls: usize,
    /// Seed of the random input.
    pub seed: u64,
}

/// The times of one batch size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeResult {
    /// Images per call.
    pub batch: usize,
    /// Wall time of each timed call in milliseconds, in the order taken.
    pub times_ms: Vec<f64>,
    /// Wall time in milliseconds from the start of reading the file to a model ready for its first call.
    pub load_ms: f64,
    /// Largest resident memory of the process so far in KB (1,024 bytes), where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_kb: Option<u64>,
}
