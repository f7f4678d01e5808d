//! Two runs side by side: params, metrics, durations, outcomes. Pure: records in, pairs out.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::StageName;
use pipeline::gate::{GateResult, Verdict};
use protocol::Metric;
use record::{ActionRecord, Outcome, RunRecord, StageRun, key};
use schemars::JsonSchema;
use serde::Serialize;
use text::format;

use super::changed_vars;

/// One of the two runs, with what the cache still has of its stages.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The run.
    pub run: &'a RunRecord,
    /// Records of its stages.
    pub records: &'a BTreeMap<StageName, ActionRecord>,
}

/// What two runs have in common and what not.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Comparison {
    /// Vars and key ingredients that differ.
    pub params: Vec<ParamPair>,
    /// All metrics of both, by stage.
    pub metrics: Vec<MetricPair>,
    /// Stages of both: those of the second run in the order of the file, then those that only the first had.
    pub stages: Vec<StagePair>,
    /// Gates of both, likewise.
    pub gates: Vec<GatePair>,
}

/// A var or an ingredient of a stage's key that differs. `null` where it is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ParamPair {
    /// The stage whose key it is in; absent for a var.
    pub stage: Option<StageName>,
    /// Path: of a var `vars.NAME`, of an ingredient as `pipe why` prints it, such as `with.lr` or `inputs.dataset`.
    pub name: String,
    /// In the first run.
    pub old: Option<String>,
    /// In the second run.
    pub new: Option<String>,
    /// For an input that another stage made: that stage. The difference follows from what that stage did.
    pub from: Option<StageName>,
}

impl ParamPair {
    /// What it is called among those of all stages: `vars.lr`, `train.with.lr`.
    #[must_use]
    pub fn path(&self) -> String {
        self.stage.as_ref().map_or_else(|| self.name.clone(), |stage| format!("{stage}.{}", self.name))
    }
}

/// A metric in both runs. `null` where it is absent.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct MetricPair {
    /// The stage that measured it.
    pub stage: StageName,
    /// Its name.
    pub name: String,
    /// Its unit, or empty.
    pub unit: String,
    /// In the first run.
    pub old: Option<f64>,
    /// In the second run.
    pub new: Option<f64>,
    /// The 95 % interval in the first run, where it has one.
    pub old_interval: Option<[f64; 2]>,
    /// The 95 % interval in the second run, where it has one.
    pub new_interval: Option<[f64; 2]>,
    /// New minus old, where both are known.
    pub difference: Option<f64>,
    /// Whether each value lies within the other's 95 % interval, where both have one.
    pub within_intervals: Option<bool>,
}

impl MetricPair {
    /// What it is called among those of all stages: `STAGE.NAME`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.stage, self.name)
    }

    /// Whether both runs have the same value.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.old == self.new
    }
}

/// A stage in both runs. `null` where a run did not have it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StagePair {
    /// The stage.
    pub stage: StageName,
    /// In the first run.
    pub old: Option<StageEnd>,
    /// In the second run.
    pub new: Option<StageEnd>,
}

/// How a stage ended in a run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StageEnd {
    /// How.
    pub outcome: Outcome,
    /// How long it took in that run, milliseconds.
    pub duration_ms: u64,
    /// How long the execution took that its outputs are from, in that run or before, milliseconds. `null` where there is
    /// no record of it.
    pub execution_ms: Option<u64>,
    /// Whether the cache no longer has the record of its outcome, so that params and metrics cannot be compared.
    pub evicted: bool,
    /// Why its outcome is no answer yet, where it is provisional.
    pub provisional: Option<String>,
}

impl StageEnd {
    /// `ran 12 min 3 s`, `fresh (12 min 3 s)`: in brackets how long the execution took that its outputs are from.
    #[must_use]
    pub fn words(&self) -> String {
        let took = format::millis(self.execution_ms.unwrap_or(self.duration_ms));
        match &self.outcome {
            Outcome::Ran if self.provisional.is_some() => format!("ran {took}, provisional"),
            Outcome::Ran => format!("ran {took}"),
            Outcome::Failed { .. } => format!("failed after {took}"),
            Outcome::Blocked { .. } => "not reached".into(),
            Outcome::Interrupted => "interrupted".into(),
            outcome if self.evicted => outcome.word().into(),
            outcome => format!("{} ({took})", outcome.word()),
        }
    }
}

/// A gate in both runs. `null` where a run did not have it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct GatePair {
    /// The gate as written.
    pub expression: String,
    /// In the first run.
    pub old: Option<Verdict>,
    /// In the second run.
    pub new: Option<Verdict>,
    /// How it came out in the first run, with values and interval.
    pub old_result: Option<GateResult>,
    /// How it came out in the second run, likewise.
    pub new_result: Option<GateResult>,
}

/// Compares two runs.
#[must_use]
pub fn compare(old: Side<'_>, new: Side<'_>) -> Comparison {
    let stages = stages(old, new);
    let vars = changed_vars(old.run, new.run).into_iter().map(|change| ParamPair {
        stage: None,
        name: change.name,
        old: change.old,
        new: change.new,
        from: None,
    });
    let makers = Makers { old: makers(old), new: makers(new) };
    let params = vars.chain(stages.iter().flat_map(|pair| params(&pair.stage, old, new, &makers))).collect();
    let metrics = stages.iter().flat_map(|pair| metrics(&pair.stage, old, new)).collect();
    Comparison { params, metrics, gates: gates(old.run, new.run), stages }
}

fn stages(old: Side<'_>, new: Side<'_>) -> Vec<StagePair> {
    let old_runs: BTreeMap<&StageName, &StageRun> =
        old.run.stages.iter().map(|stage| (&stage.stage, stage)).collect();
    let new_names: BTreeSet<&StageName> = new.run.stages.iter().map(|stage| &stage.stage).collect();
    let now = new.run.stages.iter().map(|stage| StagePair {
        stage: stage.stage.clone(),
        old: old_runs.get(&stage.stage).map(|stage| end(stage, old)),
        new: Some(end(stage, new)),
    });
    let gone = old.run.stages.iter().filter(|stage| !new_names.contains(&stage.stage));
    let gone =
        gone.map(|stage| StagePair { stage: stage.stage.clone(), old: Some(end(stage, old)), new: None });
    now.chain(gone).collect()
}

fn end(stage: &StageRun, side: Side<'_>) -> StageEnd {
    let record = side.records.get(&stage.stage);
    StageEnd {
        outcome: stage.outcome.clone(),
        duration_ms: stage.duration_ms,
        execution_ms: record.map(|record| record.duration_ms),
        evicted: stage.outcome.is_done() && record.is_none(),
        provisional: stage.provisional.clone(),
    }
}

/// For both runs, the stage that made an output, by the output's digest in hex.
struct Makers<'a> {
    old: BTreeMap<String, &'a StageName>,
    new: BTreeMap<String, &'a StageName>,
}

fn makers<'a>(side: Side<'a>) -> BTreeMap<String, &'a StageName> {
    let outputs = side.records.iter().flat_map(|(stage, record)| {
        record.outputs.values().map(move |output| (output.digest.to_string(), stage))
    });
    outputs.collect()
}

fn params(stage: &StageName, old: Side<'_>, new: Side<'_>, makers: &Makers<'_>) -> Vec<ParamPair> {
    let (Some(before), Some(after)) = (old.records.get(stage), new.records.get(stage)) else { return vec![] };
    let changes = key::changes(&before.ingredients, &after.ingredients);
    let pair = |change: record::Change| {
        let by = |makers: &BTreeMap<String, &StageName>, digest: &Option<String>| {
            digest.as_ref().and_then(|digest| makers.get(digest)).copied().cloned()
        };
        let made = || by(&makers.new, &change.new).or_else(|| by(&makers.old, &change.old));
        let from = if change.name.starts_with("inputs.") { made() } else { None };
        ParamPair { stage: Some(stage.clone()), name: change.name, old: change.old, new: change.new, from }
    };
    changes.into_iter().map(pair).collect()
}

fn metrics(stage: &StageName, old: Side<'_>, new: Side<'_>) -> Vec<MetricPair> {
    let (before, after) = (old.records.get(stage), new.records.get(stage));
    let names: BTreeSet<&String> =
        [before, after].into_iter().flatten().flat_map(|record| record.metrics.keys()).collect();
    let pair = |name: &String| {
        let (old, new) = (
            before.and_then(|record| record.metrics.get(name)),
            after.and_then(|record| record.metrics.get(name)),
        );
        let within_intervals = old.zip(new).and_then(|(old, new)| within_intervals(old, new));
        MetricPair {
            stage: stage.clone(),
            name: name.clone(),
            unit: new.or(old).map(|metric| metric.unit.clone()).unwrap_or_default(),
            old: old.map(|metric| metric.value),
            new: new.map(|metric| metric.value),
            old_interval: old.and_then(|metric| metric.interval),
            new_interval: new.and_then(|metric| metric.interval),
            difference: old.zip(new).map(|(old, new)| new.value - old.value),
            within_intervals,
        }
    };
    names.into_iter().map(pair).collect()
}

/// Whether each value lies within the other's 95 % interval, where both have one.
#[must_use]
pub fn within_intervals(old: &Metric, new: &Metric) -> Option<bool> {
    let within = |[low, high]: [f64; 2], value: f64| (low..=high).contains(&value);
    Some(within(old.interval?, new.value) && within(new.interval?, old.value))
}

fn gates(old: &RunRecord, new: &RunRecord) -> Vec<GatePair> {
    let result = |run: &RunRecord, expression: &str| {
        run.gates.iter().find(|gate| gate.expression == expression).cloned()
    };
    let all = new.gates.iter().chain(&old.gates).map(|gate| gate.expression.as_str());
    let mut seen = BTreeSet::new();
    all.filter(|expression| seen.insert(*expression))
        .map(|expression| {
            let (old, new) = (result(old, expression), result(new, expression));
            GatePair {
                expression: expression.to_owned(),
                old: old.as_ref().map(|gate| gate.verdict),
                new: new.as_ref().map(|gate| gate.verdict),
                old_result: old,
                new_result: new,
            }
        })
        .collect()
}
