//! Which earlier run a gate compares with. Pure: records in, metrics out.
//!
//! Unless one is named it is the last run in which all metrics behind `baseline.` are known, and which measured something
//! else than the run at hand: one whose stages had the same keys is this run once more, and comparing with it would let
//! any loss pass the second time. A measurement from another CPU is not compared with either.

use std::collections::BTreeMap;

use super::{History, Past};
use crate::digest::Digest;
use crate::gate::{Baseline, BaselineRun, Earlier, Gate};
use crate::record::{ActionRecord, StageRun};

/// The run at hand, as far as others are compared with it.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    /// Its stages.
    pub stages: &'a [StageRun],
    /// The CPU that it ran on.
    pub cpu: &'a str,
}

impl Now<'_> {
    fn key(&self, stage: &str) -> Option<Digest> {
        self.stages.iter().find(|run| run.stage.as_str() == stage)?.key
    }
}

impl History {
    /// What `baseline.` stands for in a gate, where no run is named. `record_of` finds the record of a stage's outcome.
    pub fn baseline(
        &self,
        gate: &Gate,
        now: Now<'_>,
        record_of: &dyn Fn(&StageRun) -> Option<ActionRecord>,
    ) -> Option<Baseline> {
        let metrics = gate.baseline_metrics();
        self.runs.iter().rev().find_map(|past| {
            let here = |record: &ActionRecord| !record.is_of_other_cpu(now.cpu);
            let baseline = past.baseline(gate, now, &|stage| record_of(stage).filter(here));
            let is_whole = metrics.iter().all(|(stage, metric)| {
                baseline.metrics.contains_key(&((*stage).to_owned(), (*metric).to_owned()))
            });
            let is_another = baseline.metrics.values().any(|earlier| !earlier.is_own);
            (is_whole && is_another).then_some(baseline)
        })
    }
}

impl Past {
    /// What `baseline.` stands for in a gate, where this run is named: its metrics, as far as it knows them.
    pub fn baseline(
        &self,
        gate: &Gate,
        now: Now<'_>,
        record_of: &dyn Fn(&StageRun) -> Option<ActionRecord>,
    ) -> Baseline {
        let mut metrics = BTreeMap::new();
        let mut records = BTreeMap::new();
        for (stage, metric) in gate.baseline_metrics() {
            let mut runs = self.record.stages.iter();
            let Some(run) = runs.find(|run| run.stage.as_str() == stage && run.outcome.is_done()) else {
                continue;
            };
            let record = records.entry(stage).or_insert_with(|| record_of(run));
            if let Some(found) = record.as_ref().and_then(|record| record.metrics.get(metric)) {
                let is_own = run.key.is_some() && run.key == now.key(stage);
                metrics
                    .insert((stage.to_owned(), metric.to_owned()), Earlier { metric: found.clone(), is_own });
            }
        }
        let run = BaselineRun { run: self.name.to_string(), id: self.record.id.clone() };
        Baseline { run, metrics }
    }
}

#[cfg(test)]
mod tests {
    use protocol::Metric;
    use serde_json::json;

    use super::super::tests::{record, run};
    use super::*;
    use crate::record::{Ingredient, Outcome};
    use crate::spec::StageName;

    /// A run of stage `train` with this key.
    fn past(id: &str, key: &str, outcome: Outcome) -> crate::record::RunRecord {
        let stage = StageRun {
            stage: StageName::try_from("train".to_owned()).unwrap(),
            outcome,
            key: Some(Digest::of_bytes(key.as_bytes())),
            changes: vec![],
            offset_ms: 0,
            duration_ms: 1,
        };
        run(id, json!({}), vec![stage])
    }

    /// Accuracy by the first letter of the key; measured elsewhere where that is `e`, and gone where it is `g`.
    fn record_of(stage: &StageRun) -> Option<ActionRecord> {
        let keys = ["a90", "b80", "c70", "e60"];
        let key = keys.into_iter().find(|key| stage.key == Some(Digest::of_bytes(key.as_bytes())))?;
        let mut record = record("train", &[], "o", Metric::new(key[1..].parse().unwrap(), "%"));
        if key.starts_with('e') {
            record.ingredients.push(Ingredient { name: "machine.cpu".into(), value: "elsewhere".into() });
        }
        Some(record)
    }

    fn compared(runs: &[(&str, &str, Outcome)], now: &str) -> Option<(String, f64, bool)> {
        let records = runs.iter().map(|(id, key, outcome)| past(id, key, outcome.clone()));
        let history = History::new(records.collect());
        let now = past("9", now, Outcome::Ran);
        let now = Now { stages: &now.stages, cpu: "here" };
        let gate = Gate::parse("train.loss >= baseline.train.loss - 1").unwrap();
        let found = history.baseline(&gate, now, &record_of)?;
        let earlier = found.metrics.values().next()?;
        Some((found.run.id, earlier.metric.value, earlier.is_own))
    }

    #[test]
    fn the_last_run_that_knows_the_metric_is_compared_with() {
        let ran = || Outcome::Ran;
        let failed = Outcome::Failed { message: String::new(), hint: None };
        assert_eq!(compared(&[], "b80"), None);
        assert_eq!(
            compared(&[("1", "a90", ran()), ("2", "c70", ran())], "b80"),
            Some(("2".into(), 70.0, false))
        );
        assert_eq!(
            compared(&[("1", "a90", ran()), ("2", "gone", ran()), ("3", "c70", failed)], "b80"),
            Some(("1".into(), 90.0, false)),
            "what was removed from the cache or failed is not known"
        );
        assert_eq!(compared(&[("1", "e60", ran())], "b80"), None, "it was measured on another CPU");
    }

    #[test]
    fn a_run_with_the_same_outcome_is_no_earlier_run() {
        let runs = [("1", "a90", Outcome::Ran), ("2", "b80", Outcome::Ran), ("3", "b80", Outcome::Fresh)];
        assert_eq!(
            compared(&runs, "b80"),
            Some(("1".into(), 90.0, false)),
            "a loss does not pass the second time"
        );
        assert_eq!(compared(&runs[1..], "b80"), None);
    }

    #[test]
    fn a_run_that_is_named_is_taken_as_it_is() {
        let now = past("9", "b80", Outcome::Ran);
        let now = Now { stages: &now.stages, cpu: "here" };
        let gate = Gate::parse("train.loss >= baseline.train.loss - baseline.train.nothing").unwrap();
        let history = History::new(vec![past("1", "b80", Outcome::Ran)]);
        let baseline = history.find("latest").unwrap().baseline(&gate, now, &record_of);
        assert_eq!(baseline.run.id, "1");
        assert_eq!(baseline.metrics.len(), 1);
        assert!(baseline.metrics.values().all(|earlier| earlier.is_own));
    }
}
