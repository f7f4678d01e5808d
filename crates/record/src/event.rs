//! The engine's only output: one enum of events. Terminals, plain lines and JSON are subscribers.

use std::path::PathBuf;
use std::time::Duration;

use pipeline::StageName;
use protocol::{LogLevel, Progress};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Change, Outcome, RunRecord};

/// Something that happened in a run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run was planned and begins.
    RunStarted {
        /// Id of the run.
        run: String,
        /// Name of the pipeline.
        pipeline: String,
        /// What is expected of each selected stage, in the order of the file.
        stages: Vec<PlannedStage>,
    },
    /// Something about the run as a whole worth a line, such as waiting for another run.
    Notice {
        /// The line.
        message: String,
    },
    /// Something is wrong but does not stop the run, such as a damaged cache entry.
    Warning {
        /// The line.
        message: String,
    },
    /// A stage is being executed.
    StageStarted {
        /// The stage.
        stage: StageName,
        /// What differs from its previous key.
        changes: Vec<Change>,
    },
    /// A stage says how far it is.
    StageProgress {
        /// The stage.
        stage: StageName,
        /// How far.
        progress: Progress,
    },
    /// A stage logged something.
    StageLog {
        /// The stage.
        stage: StageName,
        /// How loud.
        level: LogLevel,
        /// One or more lines.
        message: String,
    },
    /// A stage ended.
    StageFinished {
        /// The stage.
        stage: StageName,
        /// How.
        outcome: Outcome,
        /// How long it took in this run, milliseconds in JSON.
        #[serde(rename = "duration_ms", serialize_with = "as_millis", deserialize_with = "from_millis")]
        #[schemars(with = "u64")]
        duration: Duration,
    },
    /// The run ended. Last event.
    RunFinished {
        /// Its record.
        record: Box<RunRecord>,
        /// Where the report was written.
        report: Option<PathBuf>,
    },
}

/// What is expected of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedStage {
    /// The stage.
    pub stage: StageName,
    /// What is expected.
    pub expectation: Expectation,
    /// How long it will take if it is executed, milliseconds: the median of its last executions, scaled by what its op says
    /// its time depends on. `null` where that is not known, or it stays as it is.
    pub usual_ms: Option<u64>,
    /// How long its last execution took, milliseconds. `null` where there was none, or it stays as it is.
    #[serde(default)]
    pub last_ms: Option<u64>,
    /// How long other variants of a stage that was never executed took, milliseconds: the median of the last execution of each, on
    /// the same CPU with as many threads. `null` where it was, or none of them was.
    #[serde(default)]
    pub variants_ms: Option<u64>,
}

/// What is expected of a stage before the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Expectation {
    /// Its outputs are in place.
    Fresh,
    /// Its outputs can be copied from the cache.
    Restorable {
        /// What differs from its previous key; empty where its artifacts were edited or removed.
        changes: Vec<Change>,
    },
    /// It must be executed.
    Run {
        /// What differs from its previous key; empty for a first run, a forced one, or one whose cached outcome is gone.
        changes: Vec<Change>,
        /// Why, in a few words where `changes` does not say it, such as `never ran`.
        reason: Option<String>,
    },
    /// Not known before `after` have run: if they yield the same bytes as before it stays as it is.
    Maybe {
        /// Stages that decide.
        after: Vec<StageName>,
    },
}

impl Expectation {
    /// Whether the stage will be executed, or may have to be.
    #[must_use]
    pub fn may_execute(&self) -> bool {
        matches!(self, Self::Run { .. } | Self::Maybe { .. })
    }
}

fn as_millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn from_millis<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}
