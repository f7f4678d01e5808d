//! Which earlier run a gate compares with. Pure: records in, metrics out.
//!
//! Unless one is named it is the last run in which all metrics behind `baseline.` are known, and which measured something
//! else than the run at hand: one whose stages had the same keys is this run once more, and comparing with it would let
//! any loss pass the second time. What the gate did not let pass is passed over for the same reason: the next run would
//! only have to be as bad. A run for which an earlier one was named, and which passed, was accepted, and is compared with
//! even by a run that measured the same. A measurement from another CPU is not compared with, nor is one that is provisional:
//! a number that is no answer to its own key is none to a gate's question. Runs of other pipelines in the same folder are no
//! earlier runs of this one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pipeline::digest::Digest;
use pipeline::gate::{Baseline, BaselineRun, Earlier, Gate, GateResult};
use protocol::Metric;
use record::{ActionRecord, RunRecord, StageRun};

use super::{History, Past, is_outcome_of};

/// The run at hand, as far as others are compared with it.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    /// Name of its pipeline, as it is on record.
    pub pipeline: &'a str,
    /// Its stages.
    pub stages: &'a [StageRun],
    /// The CPU that it ran on.
    pub cpu: &'a str,
}

/// What is still known of the outcomes of stages. Each is looked up once, however many gates and runs ask for it.
pub struct Outcomes<'a> {
    find: &'a dyn Fn(&Digest) -> Vec<ActionRecord>,
    known: RefCell<BTreeMap<Digest, Rc<Vec<ActionRecord>>>>,
}

/// The metrics of an outcome.
struct Measured {
    metrics: BTreeMap<String, Metric>,
    /// Whether it is the outcome that its key has now.
    is_latest: bool,
    /// The CPU that they belong to, where they belong to one.
    cpu: Option<String>,
    is_provisional: bool,
}

impl<'a> Outcomes<'a> {
    /// `find` finds all outcomes that a key has had, the latest first.
    #[must_use]
    pub fn new(find: &'a dyn Fn(&Digest) -> Vec<ActionRecord>) -> Self {
        Self { find, known: RefCell::default() }
    }

    fn of(&self, run: &RunRecord, stage: &StageRun) -> Option<Measured> {
        let key = stage.key?;
        let known = self.known.borrow().get(&key).cloned();
        let all = known.unwrap_or_else(|| {
            let all = Rc::new((self.find)(&key));
            self.known.borrow_mut().insert(key, all.clone());
            all
        });
        let place = all.iter().position(|record| is_outcome_of(record, run, stage))?;
        let record = all.get(place)?;
        let cpu = record.cpu().map(str::to_owned);
        let is_provisional = record.provisional.is_some() || stage.provisional.is_some();
        Some(Measured { metrics: record.metrics.clone(), is_latest: place == 0, cpu, is_provisional })
    }
}

/// The keys of the stages that a gate names behind `baseline.`.
type Keys = Vec<Digest>;

impl History {
    /// What `baseline.` stands for in a gate, where no run is named.
    #[must_use]
    pub fn baseline(&self, gate: &Gate, now: Now<'_>, outcomes: &Outcomes<'_>) -> Option<Baseline> {
        let metrics = gate.baseline_metrics();
        let own = keys(gate, now.stages);
        let refused = self.refused(gate, now.pipeline);
        self.runs_of(now.pipeline).rev().find_map(|past| {
            let keys = keys(gate, &past.record.stages)?;
            let judged = judged(gate, &past.record);
            if own.as_ref() == Some(&keys) && judged != Some(Judged::Accepted)
                || judged == Some(Judged::Refused)
                || judged.is_none() && refused.contains(&keys)
            {
                return None;
            }
            let baseline = past.baseline(gate, now, outcomes);
            let is_whole = metrics.iter().all(|(stage, metric)| {
                baseline.metrics.contains_key(&((*stage).to_owned(), (*metric).to_owned()))
            });
            let is_settled = baseline.other_cpu.is_none() && baseline.provisional.is_empty();
            (is_whole && is_settled).then_some(baseline)
        })
    }

    /// What the gate did not let pass in any run. Where it was measured again without checking the gate, it is no better.
    fn refused(&self, gate: &Gate, pipeline: &str) -> BTreeSet<Keys> {
        let (mut refused, mut passed) = (BTreeSet::new(), BTreeSet::new());
        for past in self.runs_of(pipeline).filter(|past| !is_provisional(gate, &past.record)) {
            let (Some(judged), Some(keys)) = (judged(gate, &past.record), keys(gate, &past.record.stages))
            else {
                continue;
            };
            if judged == Judged::Refused { &mut refused } else { &mut passed }.insert(keys);
        }
        &refused - &passed
    }
}

impl Past {
    /// What `baseline.` stands for in a gate, where this run is named: its metrics, as far as it knows them.
    #[must_use]
    pub fn baseline(&self, gate: &Gate, now: Now<'_>, outcomes: &Outcomes<'_>) -> Baseline {
        let mut metrics = BTreeMap::new();
        let mut other_cpu = None;
        let mut provisional = BTreeSet::new();
        for (stage, metric) in gate.baseline_metrics() {
            let Some(run) = done(&self.record.stages, stage) else { continue };
            let Some(measured) = outcomes.of(&self.record, run) else { continue };
            if let Some(found) = measured.metrics.get(metric) {
                let is_same_key = run.key == done(now.stages, stage).and_then(|run| run.key);
                let is_own = measured.is_latest && is_same_key;
                let earlier = Earlier { metric: found.clone(), is_own };
                metrics.insert((stage.to_owned(), metric.to_owned()), earlier);
                if measured.is_provisional {
                    provisional.insert(stage.to_owned());
                }
                other_cpu = other_cpu.or_else(|| measured.cpu.clone().filter(|cpu| cpu != now.cpu));
            }
        }
        let run = BaselineRun { run: self.name.to_string(), id: self.record.id.clone(), named: false };
        Baseline { run, metrics, other_cpu, provisional }
    }
}

/// Whether a run's answer to a gate rests on what is none yet.
fn is_provisional(gate: &Gate, run: &RunRecord) -> bool {
    let stages = gate.stages();
    run.stages.iter().any(|stage| stage.provisional.is_some() && stages.contains(stage.stage.as_str()))
}

/// What an earlier run came to by a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    Refused,
    Passed,
    /// Passed by a run that was named to compare with.
    Accepted,
}

/// What a run came to by this gate, or else by gates on the same metrics of an earlier run: it may have been written
/// otherwise then. `None` where it was not checked.
fn judged(gate: &Gate, run: &RunRecord) -> Option<Judged> {
    let same = |result: &&GateResult| result.expression == gate.expression;
    let alike = |result: &&GateResult| {
        Gate::parse(&result.expression).is_ok_and(|other| other.baseline_metrics() == gate.baseline_metrics())
    };
    let mut results: Vec<&GateResult> = run.gates.iter().filter(same).collect();
    if results.is_empty() {
        results = run.gates.iter().filter(alike).collect();
    }
    let is_named = |result: &&GateResult| result.baseline.as_ref().is_some_and(|baseline| baseline.named);
    if results.is_empty() {
        None
    } else if !results.iter().all(|result| result.judgement(run.certain).lets_pass()) {
        Some(Judged::Refused)
    } else if results.iter().any(is_named) {
        Some(Judged::Accepted)
    } else {
        Some(Judged::Passed)
    }
}

/// `None` where one of the stages is not done.
fn keys(gate: &Gate, stages: &[StageRun]) -> Option<Keys> {
    gate.baseline_metrics().into_iter().map(|(stage, _)| done(stages, stage)?.key).collect()
}

fn done<'a>(stages: &'a [StageRun], name: &str) -> Option<&'a StageRun> {
    stages.iter().find(|run| run.stage.as_str() == name && run.outcome.is_done())
}

#[cfg(test)]
mod tests {
    use protocol::Metric;
    use serde_json::json;

    use super::super::tests::{record, run};
    use super::*;
    use pipeline::StageName;
    use pipeline::gate::Verdict;
    use record::{Ingredient, Outcome};

    /// A run of stage `train` with this key.
    fn past(id: &str, key: &str, outcome: Outcome) -> RunRecord {
        let stage = StageRun {
            stage: StageName::try_from("train".to_owned()).unwrap(),
            outcome,
            key: Some(Digest::of_bytes(key.as_bytes())),
            changes: vec![],
            offset_ms: 0,
            duration_ms: 1,
            provisional: None,
        };
        run(id, json!({}), vec![stage])
    }

    /// Accuracy behind the first letter of the key; measured elsewhere where that is `e`, provisional where it is `p`, and gone
    /// where it is `g`.
    fn records_of(key: &Digest) -> Vec<ActionRecord> {
        let keys = ["a90", "b80", "c70", "e60", "p20"];
        let Some(key) = keys.into_iter().find(|known| *key == Digest::of_bytes(known.as_bytes())) else {
            return vec![];
        };
        let mut record = record("train", &[], "o", Metric::new(key[1..].parse().unwrap(), "%"));
        record.provisional = key.starts_with('p').then(|| "too noisy".into());
        if key.starts_with('e') {
            record.ingredients.push(Ingredient { name: "machine.cpu".into(), value: "elsewhere".into() });
        }
        vec![record]
    }

    const GATE: &str = "train.loss >= baseline.train.loss - 1";

    fn compared_of(runs: Vec<RunRecord>, now: &str) -> Option<(String, f64, bool)> {
        let now = past("9", now, Outcome::Fresh);
        let now = at(&now);
        let gate = Gate::parse(GATE).unwrap();
        let found = History::new(runs).baseline(&gate, now, &Outcomes::new(&records_of))?;
        let earlier = found.metrics.values().next()?;
        Some((found.run.id, earlier.metric.value, earlier.is_own))
    }

    fn compared(runs: &[(&str, &str, Outcome)], now: &str) -> Option<(String, f64, bool)> {
        let records = runs.iter().map(|(id, key, outcome)| past(id, key, outcome.clone()));
        compared_of(records.collect(), now)
    }

    #[test]
    fn what_is_provisional_is_not_compared_with_unless_it_is_named() {
        let runs = vec![past("1", "a90", Outcome::Fresh), past("2", "p20", Outcome::Fresh)];
        assert_eq!(
            compared_of(runs.clone(), "b80"),
            Some(("1".into(), 90.0, false)),
            "the loss from 90 counts"
        );
        let (gate, history, now) =
            (Gate::parse(GATE).unwrap(), History::new(runs), past("9", "b80", Outcome::Ran));
        let named = history.find("latest").unwrap().baseline(&gate, at(&now), &Outcomes::new(&records_of));
        assert_eq!(named.provisional.into_iter().collect::<Vec<_>>(), ["train"], "it says so");
    }

    #[test]
    fn a_loss_is_not_accepted_because_a_provisional_measurement_passed() {
        let mut passed = judged_run("3", "b80", GATE, Verdict::Pass, false);
        passed.stages[0].provisional = Some("too noisy".into());
        let runs = vec![
            past("1", "a90", Outcome::Fresh),
            judged_run("2", "b80", GATE, Verdict::Fail, false),
            passed,
            past("4", "b80", Outcome::Fresh),
        ];
        assert_eq!(compared_of(runs, "c70"), Some(("1".into(), 90.0, false)));
    }

    #[test]
    fn runs_of_other_pipelines_are_no_earlier_runs() {
        let of = |pipeline: &str, run: RunRecord| RunRecord { pipeline: pipeline.into(), ..run };
        let mut runs = vec![past("1", "a90", Outcome::Fresh), of("large", past("2", "c70", Outcome::Fresh))];
        assert_eq!(compared_of(runs.clone(), "b80"), Some(("1".into(), 90.0, false)));
        assert_eq!(compared_of(runs.split_off(1), "b80"), None, "there is no run of its own");
        let runs = vec![
            past("1", "a90", Outcome::Fresh),
            of("large", judged_run("2", "b80", GATE, Verdict::Pass, true)),
            of("large", judged_run("3", "a90", GATE, Verdict::Fail, false)),
        ];
        assert_eq!(compared_of(runs, "c70"), Some(("1".into(), 90.0, false)), "nor do their gates count");
    }

    /// A run of `train` as the run at hand.
    fn at(run: &RunRecord) -> Now<'_> {
        Now { pipeline: &run.pipeline, stages: &run.stages, cpu: "here" }
    }

    /// A run by whose gate of this expression it came out so, against a run that was named or not.
    fn judged_run(id: &str, key: &str, expression: &str, verdict: Verdict, named: bool) -> RunRecord {
        let gate = GateResult {
            expression: expression.into(),
            verdict,
            value: Some(1.0),
            limit: Some(1.0),
            interval: None,
            satisfied: Some(verdict == Verdict::Pass),
            baseline: Some(BaselineRun { run: "7f3a".into(), id: "0".into(), named }),
            message: String::new(),
        };
        RunRecord { gates: vec![gate], ..past(id, key, Outcome::Fresh) }
    }

    #[test]
    fn the_last_run_that_knows_the_metric_is_compared_with() {
        let fresh = || Outcome::Fresh;
        let failed = Outcome::Failed { message: String::new(), hint: None };
        assert_eq!(compared(&[], "b80"), None);
        assert_eq!(
            compared(&[("1", "a90", fresh()), ("2", "c70", fresh())], "b80"),
            Some(("2".into(), 70.0, false))
        );
        assert_eq!(
            compared(&[("1", "a90", fresh()), ("2", "gone", fresh()), ("3", "c70", failed)], "b80"),
            Some(("1".into(), 90.0, false)),
            "what was removed from the cache or failed is not known"
        );
        assert_eq!(compared(&[("1", "e60", fresh())], "b80"), None, "it was measured on another CPU");
    }

    #[test]
    fn a_run_with_the_same_outcome_is_no_earlier_run() {
        let runs = [("1", "a90", Outcome::Fresh), ("2", "b80", Outcome::Fresh), ("3", "b80", Outcome::Fresh)];
        assert_eq!(
            compared(&runs, "b80"),
            Some(("1".into(), 90.0, false)),
            "a loss does not pass the second time"
        );
        assert_eq!(compared(&runs[1..], "b80"), None);
    }

    #[test]
    fn a_run_that_the_gate_did_not_let_pass_is_not_compared_with() {
        let first = || past("1", "a90", Outcome::Fresh);
        let loss = |expression, verdict| judged_run("2", "b80", expression, verdict, false);
        let ninety = Some(("1".into(), 90.0, false));
        for verdict in [Verdict::Fail, Verdict::Unknown] {
            assert_eq!(compared_of(vec![first(), loss(GATE, verdict)], "c70"), ninety, "{verdict:?}");
        }
        let eighty = Some(("2".into(), 80.0, false));
        assert_eq!(compared_of(vec![first(), loss(GATE, Verdict::Pass)], "c70"), eighty);
        let other = "train.loss >= baseline.train.accuracy";
        assert_eq!(compared_of(vec![first(), loss(other, Verdict::Fail)], "c70"), eighty, "another gate");
        let edited = "train.loss >= baseline.train.loss - 0.5";
        assert_eq!(
            compared_of(vec![first(), loss(edited, Verdict::Fail)], "c70"),
            ninety,
            "it was edited since"
        );
        let unchecked = past("3", "b80", Outcome::Fresh);
        assert_eq!(
            compared_of(vec![first(), loss(GATE, Verdict::Fail), unchecked], "c70"),
            ninety,
            "measured again, and the gate not checked"
        );
        let back = judged_run("3", "a90", GATE, Verdict::Pass, false);
        let runs = vec![first(), loss(GATE, Verdict::Fail), back];
        assert_eq!(compared_of(runs, "c70"), Some(("3".into(), 90.0, false)));
    }

    #[test]
    fn a_loss_that_was_accepted_is_compared_with_from_then_on() {
        let runs = |verdict| {
            vec![
                past("1", "a90", Outcome::Fresh),
                judged_run("2", "b80", GATE, Verdict::Fail, false),
                judged_run("3", "b80", GATE, verdict, true),
            ]
        };
        let accepted = |is_own| Some(("3".into(), 80.0, is_own));
        assert_eq!(compared_of(runs(Verdict::Pass), "b80"), accepted(true), "even by the same run");
        assert_eq!(compared_of(runs(Verdict::Pass), "c70"), accepted(false));
        assert_eq!(compared_of(runs(Verdict::Fail), "b80"), Some(("1".into(), 90.0, false)), "it was not");
    }

    #[test]
    fn each_outcome_is_read_once_and_that_of_the_same_run_not_at_all() {
        let mut runs: Vec<RunRecord> =
            (1..9).map(|id| past(&id.to_string(), "b80", Outcome::Fresh)).collect();
        runs.insert(0, past("0", "a90", Outcome::Fresh));
        let (history, read) = (History::new(runs), RefCell::new(vec![]));
        let counted = |key: &Digest| {
            read.borrow_mut().push(*key);
            records_of(key)
        };
        let outcomes = Outcomes::new(&counted);
        let now = past("9", "b80", Outcome::Fresh);
        let now = at(&now);
        for gate in [GATE, "train.loss >= baseline.train.loss"] {
            let found = history.baseline(&Gate::parse(gate).unwrap(), now, &outcomes);
            assert_eq!(found.map(|found| found.run.id), Some("0".into()));
        }
        assert_eq!(*read.borrow(), [Digest::of_bytes(b"a90")]);
    }

    #[test]
    fn what_a_later_run_made_of_the_same_key_is_nothing_of_an_earlier_one() {
        let gate = Gate::parse(GATE).unwrap();
        let made = |run: &str, loss: f64| {
            let record = record("train", &[], "o", Metric::new(loss, "%"));
            ActionRecord { run: run.into(), started_ms: run.parse().unwrap(), ..record }
        };
        let outcomes = |_: &Digest| vec![made("300", 70.0), made("100", 90.0)];
        let past = |id, outcome| past(id, "b80", outcome);
        let runs = vec![past("100", Outcome::Ran), past("200", Outcome::Fresh), past("300", Outcome::Ran)];
        let (history, now) = (History::new(runs), past("400", Outcome::Fresh));
        let now = at(&now);
        let known = |name: &str| {
            let baseline = history.find(name).unwrap().baseline(&gate, now, &Outcomes::new(&outcomes));
            let earlier = baseline.metrics.into_values().next().unwrap();
            (earlier.metric.value, earlier.is_own)
        };
        assert_eq!(known("latest~2"), (90.0, false));
        assert_eq!(known("latest~"), (90.0, false), "restored before it was made again");
        assert_eq!(known("latest"), (70.0, true));
    }

    #[test]
    fn a_run_that_is_named_is_taken_as_it_is() {
        let now = past("9", "b80", Outcome::Fresh);
        let now = at(&now);
        let gate = Gate::parse("train.loss >= baseline.train.loss - baseline.train.nothing").unwrap();
        let history = History::new(vec![past("1", "b80", Outcome::Fresh), past("2", "e60", Outcome::Fresh)]);
        let baseline = |name| history.find(name).unwrap().baseline(&gate, now, &Outcomes::new(&records_of));
        let own = baseline("latest~");
        assert_eq!((own.run.id.as_str(), own.other_cpu.as_deref()), ("1", None));
        assert_eq!(own.metrics.len(), 1);
        assert!(own.metrics.values().all(|earlier| earlier.is_own));
        assert_eq!(baseline("latest").other_cpu.as_deref(), Some("elsewhere"), "it says so");
    }
}
