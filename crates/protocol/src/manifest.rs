//! What a plugin says of itself when asked `pipe-NAME describe`.
//!
//! Everything the runner needs to check a pipeline, compute keys and plan, so that a stage whose key is in the
//! cache never starts its plugin.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// JSON Schema keyword (value `true`) that marks a string param naming a source: a URL, or a path to a local
/// file or folder. The runner puts the *content* of a local source into the key in place of its path, and makes
/// the path that the plugin receives absolute.
///
/// Where the fragment of a URL gives one of [`CHECKSUMS`], or the op has a param of such a name and it is given, the plugin
/// checks what it fetched against that, and the runner leaves what is secret in the URL (user, password and query) out of the
/// key: signed anew it names the same source.
pub const SOURCE_KEYWORD: &str = "x-pipe-source";

/// JSON Schema keyword (value `true`) beside [`SOURCE_KEYWORD`]: the op leaves out of a local folder what
/// [`RunRequest::ignore`] names, so that the runner leaves it out of the key. Without it a folder counts, and is read, whole.
///
/// [`RunRequest::ignore`]: crate::RunRequest::ignore
pub const IGNORE_KEYWORD: &str = "x-pipe-ignore";

/// Names in the fragment of a source's URL, as in `#sha256=…`, or of params beside it, that say what it leads to.
pub const CHECKSUMS: [&str; 2] = ["md5", "sha256"];

/// A plugin's description of itself. Printed by `pipe-NAME describe` as one JSON document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`crate::PROTOCOL_VERSION`] that the plugin speaks.
    pub protocol: u32,
    /// Name of the plugin, as in `uses: NAME/op`.
    pub plugin: String,
    /// Version of the plugin, for people.
    pub version: String,
    /// Ops by name.
    pub ops: BTreeMap<String, OpManifest>,
    /// Native libraries by name, as found on this machine.
    #[serde(default)]
    pub natives: BTreeMap<String, NativeLibrary>,
    /// Environment variables that decide which native libraries are found. A change of one makes a cached
    /// manifest stale; these and no others beside the usual ones are passed on to the plugin.
    #[serde(default)]
    pub env: Vec<String>,
}

/// One op of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpManifest {
    /// One sentence for people.
    pub description: String,
    /// Bumped whenever the op's outputs could differ for the same inputs and params.
    pub version: u32,
    /// JSON Schema (an object schema) of the params. Top-level `default`s are filled in by the runner.
    pub params: Value,
    /// Inputs by name.
    #[serde(default)]
    pub inputs: BTreeMap<String, InputSpec>,
    /// Where given, inputs of any other name are accepted too, and this describes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_inputs: Option<InputSpec>,
    /// Outputs by name.
    #[serde(default)]
    pub outputs: BTreeMap<String, OutputSpec>,
    /// What the op needs while it runs.
    #[serde(default)]
    pub resources: Resources,
    /// Whether its result holds on any machine.
    #[serde(default)]
    pub scope: KeyScope,
    /// Names in [`Manifest::natives`] whose version is part of the key.
    #[serde(default)]
    pub natives: Vec<String>,
    /// Other plugins whose executable the op starts. Their versions and natives are part of the key.
    #[serde(default)]
    pub companions: Vec<String>,
    /// Params that may change without all work being lost: what an execution leaves in [`RunRequest::continue_dir`]
    /// is handed to later ones of the stage whose key differs in these alone. The op must come to the same outputs
    /// without it.
    ///
    /// [`RunRequest::continue_dir`]: crate::RunRequest::continue_dir
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub continues: Vec<String>,
    /// Names of the metrics that it reports, so that a gate on any other is told before anything runs; absent where they
    /// are not known before. What stands in braces is filled in for each stage: `{input}` by the name of each of its
    /// [`OpManifest::extra_inputs`], `{input but with.NAME}` by each but the one that this param names, and by none where it
    /// names none, `{with.NAME}` by each item of the list that this param is. `{if with.NAME}`, `{if with.NAME=VALUE}`,
    /// `{if with.NAME!=VALUE}` and `{if inputs.NAME}` stand for nothing; where that does not hold (a param is given unless it is
    /// null or `false`), there is no such metric. Anything else in braces stands for any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<String>>,
    /// Whether the plugin answers [`ToPlugin::Check`] for it.
    ///
    /// [`ToPlugin::Check`]: crate::ToPlugin::Check
    #[serde(default, skip_serializing_if = "is_false")]
    pub checks: bool,
    /// What the time that it takes depends on; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeSpec>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

impl OpManifest {
    /// It, with the names of its metrics; see [`OpManifest::metrics`].
    #[must_use]
    pub fn with_metrics(self, names: &[&str]) -> Self {
        Self { metrics: Some(owned(names)), ..self }
    }

    /// It, with what its time is in proportion to and what it hardly depends on; see [`TimeSpec`].
    #[must_use]
    pub fn with_time(self, scales_with: &[&str], ignores: &[&str]) -> Self {
        Self { time: Some(TimeSpec { scales_with: owned(scales_with), ignores: owned(ignores) }), ..self }
    }

    /// It, on all threads of the run's budget.
    #[must_use]
    pub fn on_all_threads(mut self) -> Self {
        self.resources.threads = Threads::All;
        self
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// What the time that an op takes depends on, so that how long it took is scaled to other params and inputs. Names are
/// those of a key: `with.NAME` of a param, `inputs.NAME` of an input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeSpec {
    /// The time is in proportion to each of these: to the number that a param is, to the bytes of an input.
    #[serde(default)]
    pub scales_with: Vec<String>,
    /// What matters to the time no more than to the size of an output: next to nothing. Any other param that is changed,
    /// and any other input of another size, makes the time unknown.
    #[serde(default)]
    pub ignores: Vec<String>,
}

/// An input of an op.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// One sentence for people.
    pub description: String,
    /// Whether a stage may leave it out.
    #[serde(default)]
    pub optional: bool,
}

impl InputSpec {
    /// One that every stage has.
    #[must_use]
    pub fn required(description: &str) -> Self {
        Self { description: description.into(), optional: false }
    }

    /// One that a stage may leave out.
    #[must_use]
    pub fn optional(description: &str) -> Self {
        Self { description: description.into(), optional: true }
    }
}

/// An output of an op: a file or a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// One sentence for people.
    pub description: String,
    /// File or folder name below the stage's folder, such as `model.onnx`.
    pub file: String,
}

impl OutputSpec {
    /// One that lies in the file or folder `file`.
    #[must_use]
    pub fn new(description: &str, file: &str) -> Self {
        Self { description: description.into(), file: file.into() }
    }
}

/// What an op needs while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Share of the run's thread budget.
    #[serde(default)]
    pub threads: Threads,
    /// Whether nothing else may run meanwhile, as a measurement wants.
    #[serde(default)]
    pub exclusive: bool,
}

/// Share of the run's thread budget. Never split further at run time: the number of threads changes the order
/// of floating-point sums, so it must not depend on what else happens to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Threads {
    /// One thread.
    #[default]
    One,
    /// All of them.
    All,
}

/// Whether a result holds on any machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    /// A computation: what it yields here it yields anywhere.
    #[default]
    Portable,
    /// A measurement: CPU model, instruction sets and thread count are part of the key.
    Hardware,
}

/// A native library that a plugin loads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NativeLibrary {
    /// Version, where it was found.
    pub version: Option<String>,
    /// The file whose replacement makes a cached manifest stale.
    pub path: Option<PathBuf>,
    /// What it can do here, for `pipe doctor`, such as `CPU with AVX512`.
    #[serde(default)]
    pub detail: String,
    /// Where it was not found: what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}
