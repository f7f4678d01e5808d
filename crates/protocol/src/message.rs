//! The messages, in both directions. A conversation: the runner says `hello` and `run`, the plugin answers
//! `hello`, any number of `progress`, `metric`, `figure` and `log`, then exactly one of `done` or `failed`. Or, before
//! anything runs: the runner says `hello` and any number of `check`, the plugin answers `hello` and a `checked` for each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Figure;

/// From runner to plugin. Standard input stays open while the op runs; its end means that the runner is gone and
/// the plugin must stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToPlugin {
    /// First message.
    Hello {
        /// [`crate::PROTOCOL_VERSION`] of the runner.
        version: u32,
    },
    /// Second and last message.
    Run(Box<RunRequest>),
    /// Is anything wrong with what a stage asks for? Instead of `run`, and as often as there are stages that ask for an op
    /// with [`OpManifest::checks`]; after the last one the runner closes standard input.
    ///
    /// [`OpManifest::checks`]: crate::OpManifest::checks
    Check(Box<CheckRequest>),
}

/// What a stage will ask for. Answered by what is known to be wrong with it, without doing any of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// Name of the op.
    pub op: String,
    /// Params as in [`RunRequest::params`].
    pub params: Value,
    /// Names of all inputs that the stage has.
    pub inputs: BTreeSet<String>,
    /// Those inputs that are there already and will be as they are, by name; absolute. A name says nothing of what kind of
    /// file it is: an outcome in the cache is called otherwise. Never write to them.
    pub present: BTreeMap<String, PathBuf>,
    /// How many threads the stage will have, as in [`RunRequest::threads`].
    pub threads: usize,
}

/// Something that is wrong with what a stage asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What it is about.
    #[serde(default)]
    pub place: Place,
    /// What is wrong: a lowercase fragment, names in backticks.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether the stage can be executed all the same: then it is said as a warning.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub harmless: bool,
}

/// What a problem is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The stage as a whole.
    #[default]
    Stage,
    /// A param, as a JSON Pointer (RFC 6901) into the params: `/validation`, `/network/layers/3`.
    Param(String),
    /// An input, by name.
    Input(String),
}

impl Problem {
    /// A problem of the stage as a whole, without a hint.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { place: Place::Stage, message: message.into(), hint: None, harmless: false }
    }

    /// It is about the param of this name.
    #[must_use]
    pub fn param(mut self, name: &str) -> Self {
        self.place = Place::Param(format!("/{name}"));
        self
    }

    /// It is about the first of `params` that its message names in backticks, if any is.
    #[must_use]
    pub fn about(self, params: &Value) -> Self {
        let named = self.message.split('`').skip(1).step_by(2).find(|name| params.get(name).is_some());
        match named.map(str::to_owned) {
            Some(name) => self.param(&name),
            None => self,
        }
    }

    /// The stage can be executed all the same.
    #[must_use]
    pub fn harmless(mut self) -> Self {
        self.harmless = true;
        self
    }

    /// It is about the input of this name.
    #[must_use]
    pub fn input(mut self, name: &str) -> Self {
        self.place = Place::Input(name.into());
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What to run, on what, and where to put the outcome. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunRequest {
    /// Name of the op.
    pub op: String,
    /// Params with defaults filled in; valid against the op's schema.
    pub params: Value,
    /// Files and folders to read, by input name. Never write to them.
    pub inputs: BTreeMap<String, PathBuf>,
    /// Files and folders to write, by output name. Their parent exists and is empty.
    pub outputs: BTreeMap<String, PathBuf>,
    /// How many threads to use.
    pub threads: usize,
    /// A folder for partial work (a download, a checkpoint). It outlives a failure or a kill, is handed again to
    /// the next attempt at the same key, and is deleted after success.
    pub resume_dir: PathBuf,
    /// A folder in which an op with [`OpManifest::continues`] leaves what a later execution can go on from.
    ///
    /// [`OpManifest::continues`]: crate::OpManifest::continues
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continue_dir: Option<PathBuf>,
    /// Executables of the op's companions by plugin name.
    #[serde(default)]
    pub companions: BTreeMap<String, PathBuf>,
    /// What counts for nothing in folders that are local sources; only where a param is marked [`IGNORE_KEYWORD`].
    ///
    /// [`IGNORE_KEYWORD`]: crate::IGNORE_KEYWORD
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<Ignored>,
}

/// Patterns in the syntax of `.gitignore`, all that there are: the last one that fits decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ignored {
    /// Where patterns with a slash start, or else, for a folder that lies elsewhere, that folder.
    pub root: PathBuf,
    /// The patterns.
    pub patterns: Vec<String>,
}

/// From plugin to runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromPlugin {
    /// First message.
    Hello {
        /// [`crate::PROTOCOL_VERSION`] of the plugin.
        version: u32,
    },
    /// How far it is. Not kept.
    Progress(Progress),
    /// A number that the record of the stage keeps; gates and tables name it `stage.NAME`.
    Metric {
        /// Dotted name, such as `int8_static.accuracy`.
        name: String,
        /// The number.
        metric: Metric,
    },
    /// A figure that the record of the stage keeps. One with an id already sent replaces that one.
    Figure(Figure),
    /// A line for the stage's log.
    Log {
        /// How loud.
        level: LogLevel,
        /// One or more lines.
        message: String,
    },
    /// All outputs are written. Last message.
    Done {
        /// Set where that is no answer yet, as with a measurement on a machine that was busy: why. The outcome is kept and
        /// shown with this mark, and the next run executes the stage again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provisional: Option<String>,
    },
    /// It did not work. Last message.
    Failed {
        /// What happened, where.
        message: String,
        /// What to do next.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// The answer to a `check`: all that is wrong, or nothing.
    Checked {
        /// What is wrong.
        problems: Vec<Problem>,
    },
}

/// How far an op is. The runner computes the remaining time itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Units done; fractions are welcome.
    pub done: f64,
    /// Units in all.
    pub total: f64,
    /// What a unit is, in the singular: `epoch`, `image`, `MB`.
    pub unit: String,
    /// A few words beside the bar, such as `loss 0.912  val 86.41 %  1,630 img/s`.
    #[serde(default)]
    pub text: String,
    /// Whether this is a milestone (an epoch's end) that plain output should print as a line.
    #[serde(default)]
    pub milestone: bool,
}

/// A measured or computed number. Always finite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metric {
    /// The number.
    pub value: f64,
    /// Its unit as printed (`KB`, `%`, `ms`), or empty.
    #[serde(default)]
    pub unit: String,
    /// Lower and upper end of its 95 % interval, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// What it is based on, such as `10,000 test images` or `7 rounds of 20 calls`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub basis: String,
}

impl Metric {
    /// A number with a unit.
    #[must_use]
    pub fn new(value: f64, unit: &str) -> Self {
        Self { value, unit: unit.into(), interval: None, basis: String::new() }
    }

    /// Adds the 95 % interval.
    #[must_use]
    pub fn interval(mut self, low: f64, high: f64) -> Self {
        self.interval = Some([low, high]);
        self
    }

    /// Adds what it is based on.
    #[must_use]
    pub fn basis(mut self, basis: impl Into<String>) -> Self {
        self.basis = basis.into();
        self
    }
}

/// How loud a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For the curious.
    Debug,
    /// Normal.
    Info,
    /// Worth a look: shown on the terminal too.
    Warn,
}
