//! The resolved pipeline: what a valid `pipeline.yaml` means. Nothing unresolved, unchecked or misspelt gets
//! here: every reference names an existing output, every param is valid against its op's schema.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Index;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use patterns::Ignore;
use protocol::KeyScope;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::diagnostic::Location;
use super::resources::{Resources, Retries};
use super::written::{Texts, Written};
use crate::digest::Digest;
use crate::gate::{Better, Gate};
use crate::graph::{Cycle, Graph, StageId};
use crate::name::{Selector, StageName, split_reference};

/// A valid pipeline.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its `name`.
    pub name: String,
    /// The file it was read from, absolute.
    pub file: PathBuf,
    /// Digest of what was read from it.
    pub digest: Digest,
    /// The folder that relative paths start from: the file's.
    pub root: PathBuf,
    /// Vars after profile and `--set`.
    pub vars: IndexMap<String, Value>,
    /// The profile chosen.
    pub profile: Option<String>,
    /// What counts for nothing in folders that stages read.
    pub ignore: Ignore,
    /// Stages in the order of the file.
    pub stages: IndexMap<StageName, Stage>,
    /// What the result must satisfy.
    pub gates: Vec<Gate>,
    /// What the result table shows.
    pub report: ReportSpec,
    /// What is odd, but no reason to refuse it: a line each, with its place.
    pub warnings: Vec<String>,
    /// The texts that it was read from.
    pub texts: Texts,
}

impl Pipeline {
    /// The position of a stage by its name.
    #[must_use]
    pub fn id(&self, name: &StageName) -> Option<StageId> {
        self.stages.get_index_of(name).map(StageId::at)
    }

    /// All positions, in the order of the file.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = StageId> + use<> {
        (0..self.stages.len()).map(StageId::at)
    }

    /// Which of its stages read what others make.
    ///
    /// # Errors
    /// When stages wait for each other.
    pub fn graph(&self) -> Result<Graph, Cycle> {
        let reads = self.stages.values().flat_map(|stage| {
            stage.inputs.values().filter_map(|input| match input {
                Input::Output { stage: from, .. } => Some((&stage.name, from)),
                Input::Path(_) => None,
            })
        });
        Graph::new(self.stages.keys(), reads)
    }

    /// The stages that `text` names: one, all variants of one, or those with some values (`train[lr=0.1]`).
    #[must_use]
    pub fn select(&self, text: &str) -> Vec<StageName> {
        let selector = Selector::new(text);
        self.stages.keys().filter(|name| selector.matches(name)).cloned().collect()
    }
}

/// The stage at a position of this pipeline.
impl Index<StageId> for Pipeline {
    type Output = Stage;

    fn index(&self, id: StageId) -> &Stage {
        &self.stages[id.index()]
    }
}

/// A stage. Read again from what was kept of it, it is the same but for where things are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stage {
    /// Its name.
    pub name: StageName,
    /// The name of the stage as written, of which this is a variant; its own where it is none.
    pub family: StageName,
    /// For a variant of a sweep its values, by the variable's name in the order of the name; else empty.
    pub variant: Vec<(String, Value)>,
    /// What it is for, for people.
    pub description: Option<String>,
    /// Where it stands in the file.
    pub location: Location,
    /// What it does.
    pub action: Action,
    /// Inputs by name.
    pub inputs: BTreeMap<String, Input>,
    /// File or folder name of each output below `artifacts/STAGE/`.
    pub outputs: BTreeMap<String, String>,
    /// What it needs while it runs.
    pub resources: Resources,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// How often it is tried again when it fails.
    pub retries: Retries,
    /// Whether its result holds on any machine.
    pub scope: KeyScope,
    /// Environment variables that it may read and whose values are shown and kept nowhere.
    pub secrets: BTreeSet<String>,
    /// Where it and what it asks for are written.
    #[serde(skip)]
    pub written: Written,
}

#[cfg(any(test, feature = "testing"))]
impl Stage {
    /// A stage that does this and nothing else, for tests.
    #[must_use]
    pub fn doing(name: StageName, action: Action) -> Self {
        Self {
            family: name.clone(),
            name,
            variant: Vec::new(),
            description: None,
            location: Location::default(),
            action,
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            resources: Resources::default(),
            timeout: None,
            retries: Retries::default(),
            scope: KeyScope::Portable,
            secrets: BTreeSet::new(),
            written: Written::default(),
        }
    }
}

/// What a stage does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// An op of a plugin.
    Op(OpAction),
    /// A command.
    Command(CommandAction),
}

/// An op of a plugin with its params.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpAction {
    /// Name of the plugin.
    pub plugin: String,
    /// Name of the op.
    pub op: String,
    /// Params, an object, with defaults filled in and vars put in.
    pub params: Value,
    /// Where each top-level param stands in the file; absent for a default.
    pub param_locations: BTreeMap<String, Location>,
    /// Params that name a local source: param name → absolute path. Their content is part of the key, their
    /// path is not.
    pub sources: BTreeMap<String, PathBuf>,
    /// Those of them out of which the op leaves what counts for nothing; the others it reads whole.
    pub filtered: BTreeSet<String>,
    /// Params that may change while partial results stay of use; see the manifest.
    pub continues: Vec<String>,
}

impl OpAction {
    /// What counts for nothing in a source: only what the op does not read.
    #[must_use]
    pub fn ignore<'p>(&self, source: &str, pipeline: &'p Pipeline) -> Option<&'p Ignore> {
        self.filtered.contains(source).then_some(&pipeline.ignore)
    }
}

/// A command with its params and its declared environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandAction {
    /// The command, in which only `${inputs.x}`, `${outputs.x}` and `${params.x}` are left to fill in.
    pub command: CommandLine,
    /// Params, an object with vars put in. Those that the command names are texts, numbers or booleans.
    pub params: Value,
    /// Where each top-level param stands in the file.
    pub param_locations: BTreeMap<String, Location>,
    /// Declared environment variables.
    pub env: BTreeMap<String, String>,
}

/// A command line as written: a text for the shell, or a list that no shell sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandLine {
    /// For `sh -c`, or `sh -e -c` where it [`stops_at_failure`](CommandLine::stops_at_failure). Paths and params put in are
    /// quoted.
    Shell(String),
    /// Program and arguments.
    Args(Vec<String>),
}

impl CommandLine {
    /// Whether it is a script of several lines, which ends at the first one that fails. A line that a backslash or a quote
    /// continues is one line, and a comment none.
    #[must_use]
    pub fn stops_at_failure(&self) -> bool {
        let Self::Shell(text) = self else { return false };
        let (mut lines, mut has_words, mut begins_word) = (0, false, true);
        let mut quote = None;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match (quote, c) {
                (None | Some('"'), '\\') => {
                    has_words |= chars.next() != Some('\n');
                    begins_word = false;
                }
                (Some(open), _) => quote = (c != open).then_some(open),
                (None, '\'' | '"') => (quote, has_words, begins_word) = (Some(c), true, false),
                (None, '\n' | '#') if c == '\n' || begins_word => {
                    if c == '#' {
                        // To the end of the line.
                        let _ = chars.by_ref().find(|c| *c == '\n');
                    }
                    lines += usize::from(has_words);
                    (has_words, begins_word) = (false, true);
                }
                (None, c) if c.is_whitespace() => begins_word = true,
                (None, c) => (has_words, begins_word) = (true, ";&|()".contains(c)),
            }
        }
        lines + usize::from(has_words) > 1
    }
}

impl CommandAction {
    /// The param that `${params.PATH}` stands for, as text; dots reach into maps. None for what is not declared or
    /// cannot stand in a command.
    #[must_use]
    pub fn param(&self, path: &str) -> Option<String> {
        match path.split('.').try_fold(&self.params, |value, part| value.get(part))? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }
}

/// Where an input comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// Another stage's output.
    Output {
        /// The stage.
        stage: StageName,
        /// Its output.
        output: String,
    },
    /// A file or folder, absolute.
    Path(PathBuf),
}

/// What the result table shows, on the terminal and first in the report: `report:` in `pipeline.yaml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportSpec {
    /// Heading; the pipeline's name where absent.
    pub title: Option<String>,
    /// A sentence below it.
    pub description: Option<String>,
    /// Rows: label → the text that `${row}` stands for in the columns' metrics. A row of a sweep is one for each variant,
    /// its values behind the label.
    pub rows: IndexMap<String, String>,
    /// For a row of a sweep the variant of each stage that its metrics name, by the row's label.
    pub variants: BTreeMap<String, BTreeMap<String, StageName>>,
    /// Columns, left to right.
    pub columns: Vec<ReportColumn>,
    /// What the reference values are, such as `notebook`.
    pub reference_name: Option<String>,
}

impl ReportSpec {
    /// Stage and name of the metric that `metric`, one of a column's, is for a row.
    #[must_use]
    pub fn metric_of(&self, row: &str, metric: &str) -> Option<(String, String)> {
        let text = self.rows.get(row)?;
        let path = metric.replace("${row}", text);
        let (stage, metric) = split_reference(&path)?;
        let variant = self.variants.get(row).and_then(|variants| variants.get(stage));
        Some((variant.map_or(stage, StageName::as_str).to_owned(), metric.to_owned()))
    }
}

impl ReportSpec {
    /// Names of all stages that its metrics name.
    #[must_use]
    pub fn stages(&self) -> BTreeSet<String> {
        let metrics = || self.columns.iter().flat_map(|column| &column.metrics);
        let cells = self.rows.keys().flat_map(|row| metrics().map(move |metric| (row, metric)));
        cells.filter_map(|(row, metric)| self.metric_of(row, metric)).map(|(stage, _)| stage).collect()
    }
}

/// A column of the result table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportColumn {
    /// Heading.
    pub label: String,
    /// Metric of each row, as `stage.metric` with `${row}` for the row's text. Several are tried in order.
    pub metrics: Vec<String>,
    /// Decimals.
    pub digits: usize,
    /// Written before each number, such as `×`.
    pub prefix: String,
    /// Which numbers are better, where the column takes part in the trade-off.
    pub better: Option<Better>,
    /// Values to compare with, by row label.
    pub reference: IndexMap<String, f64>,
}
