//! What verifying finds, as programs read it. Plain data.

use std::collections::BTreeSet;
use std::path::PathBuf;

use pipeline::StageName;
use schemars::JsonSchema;
use serde::Serialize;

/// What verifying found.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Verification {
    /// How many objects were read.
    pub objects: usize,
    /// How many action records.
    pub records: usize,
    /// How many records of runs.
    pub runs: usize,
    /// Bytes of the objects.
    pub bytes: u64,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// Artifacts that are not what their stage made. Not damage: the next run replaces them.
    pub edited: Vec<Edited>,
    /// How many files were read that stages read and no stage makes.
    pub inputs: usize,
    /// Those that hold something else than they were taken for.
    pub misremembered: Vec<Misremembered>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// A file that changed in a way that the file system did not tell of.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Misremembered {
    /// Its path.
    pub path: PathBuf,
    /// The stages that read it: what they made lately may have been made of another content than their keys say.
    pub stages: Vec<StageName>,
}

/// Something that is damaged.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Damage {
    /// What kind of file.
    pub kind: Kind,
    /// Digest of the object, key of the record, or name of the file.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
    /// What names it.
    pub of: BTreeSet<Origin>,
    /// What was done about it.
    pub remedy: Remedy,
}

impl Damage {
    /// Of something that nothing names.
    pub(super) fn alone(kind: Kind, name: String, problem: impl Into<String>, remedy: Remedy) -> Self {
        Self { kind, name, problem: problem.into(), of: BTreeSet::new(), remedy }
    }
}

/// What kind of file is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "DamageKind")]
pub enum Kind {
    /// The content of a file, the manifest of a folder, or a log.
    Object,
    /// The record of an outcome.
    Record,
    /// The record of a run.
    Run,
    /// What a pipeline said when it was run.
    Definition,
    /// The record of an outcome that another execution of the same key took the place of.
    Superseded,
    /// What can be lost without losing more than time.
    Memory,
    /// Any place in the cache that cannot be read, so that it is not known what is there.
    Place,
}

/// What was done about damage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Remedy {
    /// Nothing.
    None,
    /// It was moved out of the way.
    Aside {
        /// Where to.
        to: PathBuf,
    },
    /// It was removed.
    Removed,
    /// A run has made it anew meanwhile.
    Replaced,
    /// It is whole again.
    Renewed {
        /// The artifact that has its content.
        from: PathBuf,
    },
}

/// Whose something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(rename = "DamageOrigin")]
pub struct Origin {
    /// The stage that executed it.
    pub stage: StageName,
    /// The output; `null` for the log.
    pub output: Option<String>,
    /// Id of the run that did.
    pub run: String,
}

/// An artifact that was edited.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Edited {
    /// The stage.
    pub stage: StageName,
    /// The output.
    pub output: String,
    /// Its path.
    pub path: PathBuf,
}
