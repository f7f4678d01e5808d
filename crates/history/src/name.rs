//! Names of runs, short enough to type: the first hex digits of a digest of the run's id, as many as tell it from all
//! others, four at least. Ids themselves begin alike, because they begin with the time.

use std::collections::BTreeSet;
use std::fmt;

use pipeline::digest::Digest;
use schemars::JsonSchema;
use serde::Serialize;
use text::format;

use super::Past;

/// Digits of a name where fewer would do.
const SHORTEST: usize = 4;
/// As many runs that a text could mean are listed.
const MOST_LISTED: usize = 5;

/// Short name of a run, such as `7f3a`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct RunName(String);

impl RunName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A text does not name one run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// There is no run at all.
    #[error("there is no run yet")]
    NoRuns,
    /// There are runs, but none of the pipeline whose last one is meant.
    #[error("there is no run of `{pipeline}` yet, only of {}", .others.join(", "))]
    NoneOf {
        /// The pipeline.
        pipeline: String,
        /// Pipelines that there are runs of, or some of them.
        others: Vec<String>,
    },
    /// It names none.
    #[error("there is no run `{0}`")]
    Unknown(String),
    /// It names several.
    #[error("`{text}` could be any of {}", .names.join(", "))]
    Ambiguous {
        /// The text.
        text: String,
        /// Names of the runs it could mean, or of some.
        names: Vec<String>,
    },
    /// It goes back further than there are runs.
    #[error("`{text}` goes back further than the {} on record{}", format::count(*.runs, "run"), .of.as_ref().map(|of| format!(" of `{of}`")).unwrap_or_default())]
    TooFar {
        /// The text.
        text: String,
        /// How many there are.
        runs: usize,
        /// Of which pipeline, where there are runs of others, too.
        of: Option<String>,
    },
}

impl FindError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoRuns => "`pipe run` makes the first",
            Self::NoneOf { .. } => {
                "`pipe run` makes the first; `pipe history` lists the others, and `--file` says which pipeline is meant"
            }
            Self::Ambiguous { .. } => "write more of its name",
            Self::Unknown(_) | Self::TooFar { .. } => "`pipe history` lists the runs",
        }
    }
}

fn digits(id: &str) -> String {
    Digest::of_bytes(id.as_bytes()).to_string()
}

/// The names of all runs, in the order of their ids here.
pub(super) fn names<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<RunName> {
    let all: Vec<String> = ids.map(digits).collect();
    let mut sorted: Vec<&str> = all.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let common = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let length = |digits: &str| {
        let at = sorted.partition_point(|other| *other < digits);
        let beside = [at.checked_sub(1), Some(at + 1)];
        let beside = beside.into_iter().flatten().filter_map(|index| sorted.get(index));
        beside.map(|other| common(digits, other) + 1).max().unwrap_or(0).max(SHORTEST)
    };
    all.iter().map(|digits| RunName(digits.chars().take(length(digits)).collect())).collect()
}

/// `pipeline` is the one whose last run `latest` is.
pub(super) fn find<'a>(runs: &'a [Past], pipeline: Option<&str>, text: &str) -> Result<&'a Past, FindError> {
    let text = text.trim();
    let unknown = || FindError::Unknown(text.chars().take(80).collect());
    let (named, back) = match text.split_once('~') {
        None => (text, 0),
        Some((named, "")) => (named, 1),
        Some((named, back)) => (named, back.parse().map_err(|_| unknown())?),
    };
    let index = match named {
        "" => return Err(unknown()),
        "latest" => latest(runs, pipeline)?,
        prefix => index_of(runs, prefix)?,
    };
    let own = |past: &&Past| runs.get(index).is_some_and(|run| run.record.pipeline == past.record.pipeline);
    let before = runs.iter().take(index.saturating_add(1)).rev().filter(own).nth(back);
    before.ok_or_else(|| {
        let all: Vec<&Past> = runs.iter().filter(own).collect();
        let of = all.first().filter(|_| all.len() < runs.len()).map(|past| past.record.pipeline.clone());
        FindError::TooFar { text: text.into(), runs: all.len(), of }
    })
}

/// The place of the last run of a pipeline, or of all where none is said.
fn latest(runs: &[Past], pipeline: Option<&str>) -> Result<usize, FindError> {
    let is_own = |past: &Past| pipeline.is_none_or(|pipeline| past.record.pipeline == pipeline);
    if let Some(index) = runs.iter().rposition(is_own) {
        return Ok(index);
    }
    let Some(pipeline) = pipeline.filter(|_| !runs.is_empty()) else { return Err(FindError::NoRuns) };
    let others: BTreeSet<&str> = runs.iter().map(|past| past.record.pipeline.as_str()).collect();
    let mut names: Vec<String> = others.iter().take(MOST_LISTED).map(|name| format!("`{name}`")).collect();
    if others.len() > MOST_LISTED {
        names.push("…".into());
    }
    Err(FindError::NoneOf { pipeline: pipeline.into(), others: names })
}

/// Which run's name begins like this, or whose id where no name does.
fn index_of(runs: &[Past], prefix: &str) -> Result<usize, FindError> {
    let lower = prefix.to_ascii_lowercase();
    let indices = |begins: &dyn Fn(&str) -> bool| -> Vec<usize> {
        runs.iter().enumerate().filter(|(_, run)| begins(&run.record.id)).map(|(index, _)| index).collect()
    };
    let mut found = indices(&|id| digits(id).starts_with(&lower));
    if found.is_empty() {
        found = indices(&|id| id.starts_with(prefix));
    }
    match found.as_slice() {
        [] => Err(FindError::Unknown(prefix.chars().take(80).collect())),
        [one] => Ok(*one),
        several => {
            let several_runs = several.iter().filter_map(|index| runs.get(*index));
            let mut names: Vec<String> =
                several_runs.take(MOST_LISTED).map(|run| format!("`{}`", run.name)).collect();
            if several.len() > MOST_LISTED {
                names.push("…".into());
            }
            Err(FindError::Ambiguous { text: prefix.into(), names })
        }
    }
}
