//! The past: recorded runs, short names for them, and what changed from one to the next. Reads records only; needs no
//! pipeline, and tells what the cache no longer has instead of guessing.
//!
//! Terms are those of `docs/glossary.md`.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod baseline;
mod compare;
mod defined;
mod name;

use std::collections::{BTreeMap, BTreeSet};

pub use baseline::{Now, Outcomes};
pub use compare::{
    Comparison, GatePair, MetricPair, ParamPair, Side, StageEnd, StagePair, compare, within_intervals,
};
pub use defined::{Undefined, definition};
pub use name::{FindError, RunName};
use pipeline::StageName;
use pipeline::gate::{Judgement, Verdict};
use record::{ActionRecord, Change, Outcome, RunRecord, StageRun};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use store::{LostRun, Store, StoreError};
use text::secret::hidden;

/// All recorded runs, first to last.
#[derive(Debug, Clone, Default)]
pub struct History {
    runs: Vec<Past>,
    /// Whose last run `latest` is; that of all where it is not said.
    pipeline: Option<String>,
    lost: Vec<LostRun>,
}

/// A run that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// What it is called on the command line.
    pub name: RunName,
    /// Its record.
    pub record: RunRecord,
}

impl History {
    /// What the store has recorded. Of runs whose records are damaged it has nothing but their ids.
    ///
    /// # Errors
    /// When the folder of records cannot be read.
    pub fn load(store: &Store) -> Result<Self, StoreError> {
        let (runs, lost) = store.runs()?;
        Ok(Self { lost, ..Self::new(runs) })
    }

    /// The history of these runs, in any order.
    #[must_use]
    pub fn new(mut runs: Vec<RunRecord>) -> Self {
        // Not by their times: the clock may have been set back between them.
        runs.sort_by(|a, b| a.id.cmp(&b.id));
        let names = name::names(runs.iter().map(|run| run.id.as_str()));
        let runs = names.into_iter().zip(runs).map(|(name, record)| Past { name, record });
        Self { runs: runs.collect(), ..Self::default() }
    }

    /// The same where `latest` is the last run of the pipeline of this name, as people gave it: several pipelines may lie in
    /// one folder, and record their runs in one place.
    #[must_use]
    pub fn of(self, pipeline: Option<&str>) -> Self {
        Self { pipeline: pipeline.map(|name| hidden(name).into_owned()), ..self }
    }

    /// The runs that are missing here, because their records are damaged or cannot be read.
    #[must_use]
    pub fn lost(&self) -> &[LostRun] {
        &self.lost
    }

    /// The runs, first to last.
    #[must_use]
    pub fn runs(&self) -> &[Past] {
        &self.runs
    }

    /// The runs of the pipeline that has this name in their records, first to last.
    pub fn runs_of<'a>(&'a self, pipeline: &'a str) -> impl DoubleEndedIterator<Item = &'a Past> {
        self.runs.iter().filter(move |past| past.record.pipeline == pipeline)
    }

    /// Whether there are runs of more than one pipeline.
    #[must_use]
    pub fn is_of_several(&self) -> bool {
        let mut pipelines = self.runs.iter().map(|past| &past.record.pipeline);
        let first = pipelines.next();
        pipelines.any(|pipeline| Some(pipeline) != first)
    }

    /// The run that a text names: `latest`, or the beginning of a name or id; `~N` behind it goes N runs of its pipeline back, `~`
    /// one.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub fn find(&self, text: &str) -> Result<&Past, FindError> {
        name::find(&self.runs, self.pipeline.as_deref(), text)
    }

    /// The run of the same pipeline before this one.
    #[must_use]
    pub fn before<'a>(&'a self, run: &'a Past) -> Option<&'a Past> {
        self.runs_of(&run.record.pipeline).take_while(|past| past.name != run.name).last()
    }

    /// Whether it is the last run of its pipeline.
    #[must_use]
    pub fn is_last(&self, run: &Past) -> bool {
        self.runs_of(&run.record.pipeline).next_back() == Some(run)
    }

    /// A run in short, with what was changed against the run before. `record` finds the record of a stage's outcome.
    pub fn digest(&self, run: &Past, record_of: &dyn Fn(&StageRun) -> Option<ActionRecord>) -> RunDigest {
        let record = &run.record;
        let verdicts = |wanted| record.gates.iter().filter(|gate| gate.verdict == wanted).count();
        RunDigest {
            run: run.name.clone(),
            id: record.id.clone(),
            pipeline: record.pipeline.clone(),
            profile: record.profile.clone(),
            started_ms: record.started_ms,
            duration_ms: record.duration_ms,
            stages: Counts::of(record),
            failed: record
                .stages
                .iter()
                .filter(|stage| matches!(stage.outcome, Outcome::Failed { .. }))
                .map(|stage| stage.stage.clone())
                .collect(),
            provisional: record
                .stages
                .iter()
                .filter(|stage| stage.provisional.is_some())
                .map(|stage| stage.stage.clone())
                .collect(),
            gates: Gates {
                pass: verdicts(Verdict::Pass),
                fail: verdicts(Verdict::Fail),
                inconclusive: verdicts(Verdict::Inconclusive),
                missed: record.judgements().iter().filter(|it| **it == Judgement::Missed).count(),
                unknown: verdicts(Verdict::Unknown),
            },
            certain: record.certain,
            changes: self
                .before(run)
                .map(|before| changes(&before.record, record, record_of))
                .unwrap_or_default(),
        }
    }
}

/// A run in short.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RunDigest {
    /// What it is called on the command line. Longer once another run's name begins alike.
    pub run: RunName,
    /// Its id, for good.
    pub id: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// The profile chosen.
    pub profile: Option<String>,
    /// When it started, milliseconds since 1970 (UTC).
    pub started_ms: u64,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// How its stages ended.
    pub stages: Counts,
    /// The stages that failed, in the order of the file.
    pub failed: Vec<StageName>,
    /// The stages whose outcome is provisional, no answer yet, in the order of the file.
    pub provisional: Vec<StageName>,
    /// How its gates came out.
    pub gates: Gates,
    /// Whether it was run with `--certain`, so that an inconclusive gate fails.
    pub certain: bool,
    /// What was changed by hand since the run before: profile, vars, params, commands, files. What only follows from such a
    /// change, like an input from another stage, is left out.
    pub changes: Vec<Change>,
}

/// How many stages of a run ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Executed.
    pub ran: usize,
    /// Copied from the cache.
    pub restored: usize,
    /// In place already.
    pub fresh: usize,
    /// Executed and failed.
    pub failed: usize,
    /// Not reached because a stage failed.
    pub blocked: usize,
    /// Interrupted before or while they ran.
    pub interrupted: usize,
}

impl Counts {
    /// Counts the stages of a run.
    #[must_use]
    pub fn of(run: &RunRecord) -> Self {
        let mut counts = Self::default();
        for stage in &run.stages {
            match stage.outcome {
                Outcome::Ran => counts.ran += 1,
                Outcome::Restored => counts.restored += 1,
                Outcome::Fresh => counts.fresh += 1,
                Outcome::Failed { .. } => counts.failed += 1,
                Outcome::Blocked { .. } => counts.blocked += 1,
                Outcome::Interrupted => counts.interrupted += 1,
            }
        }
        counts
    }

    /// How many ended how, such as `1 restored`; only what there is.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let Self { ran, restored, fresh, failed, blocked, interrupted } = *self;
        let all = [
            (ran, "ran"),
            (restored, "restored"),
            (fresh, "fresh"),
            (failed, "failed"),
            (blocked, "not reached"),
            (interrupted, "interrupted"),
        ];
        all.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect()
    }
}

/// How many gates of a run came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Gates {
    /// Satisfied.
    pub pass: usize,
    /// Not satisfied.
    pub fail: usize,
    /// Satisfied or not, as far as the intervals of what was measured tell.
    pub inconclusive: usize,
    /// Of these, how many fail all the same: not satisfied as measured, or certainty was asked for.
    pub missed: usize,
    /// A metric they name is not there.
    pub unknown: usize,
}

impl Gates {
    /// How many there are.
    #[must_use]
    pub fn all(&self) -> usize {
        self.pass + self.fail + self.inconclusive + self.unknown
    }

    /// How many came to what, those to look at first first; only what there is.
    #[must_use]
    pub fn judged(&self) -> Vec<(Judgement, usize)> {
        let counts = [
            (Judgement::Fails, self.fail),
            (Judgement::Missed, self.missed),
            (Judgement::Unknown, self.unknown),
            (Judgement::Inconclusive, self.inconclusive.saturating_sub(self.missed)),
            (Judgement::Holds, self.pass),
        ];
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

/// The record of a stage's outcome in a run, if the store still has it. What a later run made of the same key is not it.
#[must_use]
pub fn known_record(store: &Store, run: &RunRecord, stage: &StageRun) -> Option<ActionRecord> {
    let key = stage.key?;
    let is_own = |record: &ActionRecord| is_outcome_of(record, run, stage);
    // As good as always it is the one that the key has now.
    let now = store.record(&key).filter(is_own);
    now.or_else(|| store.outcomes(&key).into_iter().find(is_own))
}

/// Any record of a stage's key, of whatever run: of the key it tells the same as that of the run itself.
#[must_use]
pub fn key_record(store: &Store, stage: &StageRun) -> Option<ActionRecord> {
    store.record(&stage.key?)
}

/// Whether a record of the stage's key is of the outcome that the stage had in a run, and not of an execution after it. Of
/// several the latest is.
fn is_outcome_of(record: &ActionRecord, run: &RunRecord, stage: &StageRun) -> bool {
    // Ids of a pipeline's runs are in their order; others that share the cache go by their own clock.
    let is_before =
        || record.run < run.id || record.started_ms <= run.started_ms.saturating_add(run.duration_ms);
    record.run == run.id || stage.outcome != Outcome::Ran && is_before()
}

/// The records of a run's stages that the store still has.
#[must_use]
pub fn known_records(store: &Store, run: &RunRecord) -> BTreeMap<StageName, ActionRecord> {
    known_records_beside(store, run, &BTreeMap::new(), &|_| true)
}

/// As [`known_records`] of those stages that count, where those in `known` are in memory already. Most stages of two runs have the
/// same key.
#[must_use]
pub fn known_records_beside(
    store: &Store,
    run: &RunRecord,
    known: &BTreeMap<StageName, ActionRecord>,
    counts: &dyn Fn(&StageName) -> bool,
) -> BTreeMap<StageName, ActionRecord> {
    let in_memory = |stage: &StageRun| {
        let record = known.get(&stage.stage).filter(|record| Some(record.key) == stage.key)?;
        is_outcome_of(record, run, stage).then(|| record.clone())
    };
    let done = run.stages.iter().filter(|stage| stage.outcome.is_done() && counts(&stage.stage));
    done.filter_map(|stage| {
        let record = in_memory(stage).or_else(|| known_record(store, run, stage))?;
        Some((stage.stage.clone(), record))
    })
    .collect()
}

/// Vars that differ, by their path below `vars`.
#[must_use]
pub fn changed_vars(before: &RunRecord, after: &RunRecord) -> Vec<Change> {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    for (leaves, vars) in [(&mut old, &before.vars), (&mut new, &after.vars)] {
        vars.iter().for_each(|(name, value)| flatten(format!("vars.{name}"), value, leaves));
    }
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    differ
        .map(|name| Change { name: name.clone(), old: old.get(name).cloned(), new: new.get(name).cloned() })
        .collect()
}

fn flatten(path: String, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                flatten(format!("{path}.{name}"), field, leaves);
            }
        }
        leaf => drop(leaves.insert(path, leaf.to_string())),
    }
}

/// What was changed by hand between two runs: vars, and ingredients of keys that no changed var explains. Not inputs
/// that another stage made.
fn changes(
    before: &RunRecord,
    after: &RunRecord,
    record_of: &dyn Fn(&StageRun) -> Option<ActionRecord>,
) -> Vec<Change> {
    let mut all = vec![];
    if before.profile != after.profile {
        all.push(Change { name: "profile".into(), old: before.profile.clone(), new: after.profile.clone() });
    }
    all.extend(changed_vars(before, after));
    let explained: BTreeSet<(Option<String>, Option<String>)> =
        all.iter().map(|change| (change.old.clone(), change.new.clone())).collect();
    let is_input = |change: &Change| change.name.starts_with("inputs.");
    let mut made = BTreeSet::new();
    if after.stages.iter().flat_map(|stage| &stage.changes).any(is_input) {
        // What stayed as it was changed nobody's input.
        let moved =
            after.stages.iter().filter(|stage| matches!(stage.outcome, Outcome::Ran | Outcome::Restored));
        let outputs = moved.filter_map(record_of).flat_map(|record| record.outputs.into_values());
        made.extend(outputs.map(|output| output.digest.to_string()));
    }
    for stage in &after.stages {
        let follows = |change: &Change| {
            is_input(change) && change.new.as_ref().is_none_or(|digest| made.contains(digest))
                || explained.contains(&(change.old.clone(), change.new.clone()))
        };
        let by_hand = stage.changes.iter().filter(|change| !follows(change));
        all.extend(
            by_hand
                .map(|change| Change { name: format!("{}.{}", stage.stage, change.name), ..change.clone() }),
        );
    }
    all
}

#[cfg(test)]
mod tests;
