//! Executes a pipeline: decides for each stage as soon as its inputs are known, runs what must run within a budget
//! of threads, and records what came out. Says everything through events; knows no terminal.

mod budget;
mod command;
mod course;
mod engine;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod inputs;
mod interrupt;
mod line;
mod log;
mod op;
mod outputs;
mod secrets;
mod setting;
mod state;
mod trace;
mod worker;

use std::collections::BTreeMap;

pub use budget::lacking_gpus;
pub use engine::{Finished, Options, Order, run};
pub use interrupt::{BetweenRuns, take_over_signals};
use protocol::{Figure, LogLevel, Metric, Progress};
use record::Pace;
pub use secrets::missing_secrets;
use store::StoreError;
use text::secret::Masks;
pub use trace::check as check_trace;

use crate::error::Error;

/// Why a stage failed, in words for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same without secrets.
    fn hidden(self, masks: &Masks) -> Self {
        let hide = |text: String| masks.hide(&text).into_owned();
        Self { message: hide(self.message), hint: self.hint.map(hide) }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { hint: error.hint(), message: error.to_string() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (message, hint) = error.into_parts();
        Self { message, hint }
    }
}

/// What a running stage says.
#[derive(Debug)]
enum Notice {
    /// How far it is.
    Progress(Progress),
    /// A line for its log.
    Log(LogLevel, String),
}

/// What an execution gave beside its outputs.
#[derive(Debug, Default, PartialEq)]
struct Yield {
    metrics: BTreeMap<String, Metric>,
    figures: Vec<Figure>,
    /// Why it is no answer yet, where the op says so.
    provisional: Option<String>,
    /// What of its time was work.
    pace: Option<Pace>,
}
