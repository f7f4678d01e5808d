//! Records of executions and of runs, as they are kept: plain data, and what can be said of it without looking elsewhere.

use std::collections::BTreeMap;

use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::gate::{GateResult, Judgement};
use protocol::{Figure, Metric};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One named ingredient of a key, such as `with.lr` = `0.05` or `inputs.dataset` = a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ingredient {
    /// What it is.
    pub name: String,
    /// Its value, printable: compact JSON for params, hex for digests.
    pub value: String,
}

/// An ingredient that differs between two keys. `None` where it is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Name of the ingredient.
    pub name: String,
    /// Its value in the earlier key.
    pub old: Option<String>,
    /// Its value in the later key.
    pub new: Option<String>,
}

/// What executing a key gave. Complete by construction: written after all outputs are in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ActionRecord {
    /// Digest of the key.
    pub key: Digest,
    /// The key itself.
    pub ingredients: Vec<Ingredient>,
    /// The stage that first executed it.
    pub stage: StageName,
    /// Outputs by name.
    pub outputs: BTreeMap<String, OutputRecord>,
    /// Metrics by dotted name.
    pub metrics: BTreeMap<String, Metric>,
    /// Figures in the order sent.
    pub figures: Vec<Figure>,
    /// Object that holds the log.
    pub log: Digest,
    /// When it started, milliseconds since 1970 (UTC).
    pub started_ms: u64,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// Where it ran.
    pub machine: Machine,
    /// Id of the run that executed it.
    pub run: String,
    /// Set where it is shown but no answer to the key, so that the next run executes that again: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisional: Option<String>,
    /// What of its duration was work; absent where it reported nothing from which that could be told, and in records of
    /// versions that did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
}

/// How long the work took of which an execution reported progress. The rest of its duration went into what comes before and
/// after, such as loading.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pace {
    /// Milliseconds.
    pub work_ms: u64,
    /// How much of the whole work that was: above 0, and less than 1 where it went on from partial work.
    pub share: f64,
}

impl ActionRecord {
    /// Where it is a measurement that belongs to a CPU: the name of that.
    #[must_use]
    pub fn cpu(&self) -> Option<&str> {
        self.ingredients.iter().find(|it| it.name == "machine.cpu").map(|it| it.value.as_str())
    }

    /// Whether it is a measurement, and was taken on another CPU than the one of that name.
    #[must_use]
    pub fn is_of_other_cpu(&self, cpu: &str) -> bool {
        self.cpu().is_some_and(|own| own != cpu)
    }
}

/// An output in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutputRecord {
    /// File or folder name below the stage's folder.
    pub file: String,
    /// Digest of the file's content, or of the folder's manifest.
    pub digest: Digest,
    /// Bytes in all.
    pub bytes: u64,
    /// Whether it is a folder.
    pub folder: bool,
    /// Whether it is a file that its owner may execute. In a folder, each file's bit is part of the manifest.
    #[serde(default)]
    pub executable: bool,
}

/// A machine, as far as it matters to a measurement.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// CPU model name.
    pub cpu: String,
    /// Instruction sets that matter to kernels, such as `avx512f avx512_vnni`.
    pub features: String,
    /// Logical cores that this process may use.
    pub cores: usize,
    /// Operating system and architecture.
    pub system: String,
}

/// One run of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunRecord {
    /// Unique and sortable by start.
    pub id: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Version of `pipe`.
    pub version: String,
    /// The profile chosen.
    pub profile: Option<String>,
    /// Vars after profile and `--set`.
    pub vars: BTreeMap<String, Value>,
    /// When it started, milliseconds since 1970 (UTC).
    pub started_ms: u64,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// Where it ran.
    pub machine: Machine,
    /// Thread budget.
    pub threads: usize,
    /// Stages in the order of the file.
    pub stages: Vec<StageRun>,
    /// Gates in the order of the file.
    pub gates: Vec<GateResult>,
    /// Whether certainty was asked for, so that an inconclusive gate fails.
    #[serde(default)]
    pub certain: bool,
    /// What the pipeline said, by the digest of that; absent where it could not be kept, and in records of versions that
    /// did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Digest>,
    /// Where `--profile-to` wrote the recording of it, from the pipeline's folder; absent where that is elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
}

impl RunRecord {
    /// What the gates came to, in the order of the file.
    #[must_use]
    pub fn judgements(&self) -> Vec<Judgement> {
        self.gates.iter().map(|gate| gate.judgement(self.certain)).collect()
    }
}

/// One stage in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageRun {
    /// The stage.
    pub stage: StageName,
    /// How it ended.
    pub outcome: Outcome,
    /// Digest of its key, where all its inputs were known.
    pub key: Option<Digest>,
    /// Why it did not simply stay: differences to the stage's previous key. Empty for a first run.
    pub changes: Vec<Change>,
    /// When it started, milliseconds after the run's start.
    pub offset_ms: u64,
    /// How long it took in this run, milliseconds.
    pub duration_ms: u64,
    /// Why its outcome is no answer yet, where it is provisional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisional: Option<String>,
}

/// How a stage ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Its outputs were in place already.
    Fresh,
    /// Its outputs were copied from the cache.
    Restored,
    /// It was executed.
    Ran,
    /// It was executed and failed.
    Failed {
        /// What happened.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// It was not reached because a stage it depends on failed.
    Blocked {
        /// That stage.
        by: StageName,
    },
    /// The run was interrupted before or while it ran.
    Interrupted,
}

impl Outcome {
    /// Whether its outputs are in place now.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Fresh | Self::Restored | Self::Ran)
    }

    /// One word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Restored => "restored",
            Self::Ran => "ran",
            Self::Failed { .. } => "failed",
            Self::Blocked { .. } => "blocked",
            Self::Interrupted => "interrupted",
        }
    }
}
