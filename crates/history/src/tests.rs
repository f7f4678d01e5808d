//! Names, differences and comparisons of made-up runs.

use pipeline::digest::Digest;
use pipeline::gate::GateResult;
use protocol::Metric;
use record::key::digest_of;
use record::{Ingredient, Machine, OutputRecord};
use serde_json::json;

use super::*;

fn name(text: &str) -> StageName {
    StageName::try_from(text.to_owned()).unwrap()
}

pub(super) fn run(id: &str, vars: Value, stages: Vec<StageRun>) -> RunRecord {
    RunRecord {
        id: id.into(),
        pipeline: "tinynet".into(),
        version: "0.1.0".into(),
        profile: None,
        vars: serde_json::from_value(vars).unwrap(),
        started_ms: id.parse().unwrap_or_default(),
        duration_ms: 10,
        machine: Machine::default(),
        threads: 2,
        stages,
        gates: vec![],
        certain: false,
        definition: None,
        recording: None,
    }
}

fn stage(stage: &str, outcome: Outcome, changes: &[(&str, &str, &str)]) -> StageRun {
    let change = |(name, old, new): &(&str, &str, &str)| Change {
        name: (*name).into(),
        old: Some((*old).into()),
        new: Some((*new).into()),
    };
    StageRun {
        stage: name(stage),
        outcome,
        key: None,
        changes: changes.iter().map(change).collect(),
        offset_ms: 0,
        duration_ms: 5,
        provisional: None,
    }
}

pub(super) fn record(stage: &str, ingredients: &[(&str, &str)], output: &str, loss: Metric) -> ActionRecord {
    let ingredients: Vec<Ingredient> = ingredients
        .iter()
        .map(|(name, value)| Ingredient { name: (*name).into(), value: (*value).into() })
        .collect();
    let output = OutputRecord {
        file: "out".into(),
        digest: Digest::of_bytes(output.as_bytes()),
        bytes: 1,
        folder: false,
        executable: false,
    };
    ActionRecord {
        key: digest_of(&ingredients),
        ingredients,
        stage: name(stage),
        outputs: BTreeMap::from([("out".into(), output)]),
        metrics: BTreeMap::from([("loss".into(), loss)]),
        figures: vec![],
        log: Digest::of_bytes(b""),
        started_ms: 0,
        duration_ms: 60_000,
        machine: Machine::default(),
        run: "r".into(),
        provisional: None,
        pace: None,
    }
}

fn history(count: u64) -> History {
    History::new((0..count).map(|index| run(&format!("{index:013}"), json!({}), vec![])).collect())
}

#[test]
fn runs_are_called_latest_or_by_the_beginning_of_their_name_or_id() {
    let history = history(3);
    let id = |text: &str| history.find(text).map(|run| run.record.id.clone());
    assert_eq!(id("latest"), Ok("0000000000002".into()));
    assert_eq!(id("latest~"), Ok("0000000000001".into()));
    assert_eq!(id("latest~2"), Ok("0000000000000".into()));
    for run in history.runs() {
        assert_eq!(id(run.name.as_str()), Ok(run.record.id.clone()));
        assert_eq!(id(&run.record.id), Ok(run.record.id.clone()));
        assert_eq!(run.name.as_str().len(), 4);
    }
    let last = history.runs().last().unwrap().name.to_string();
    assert_eq!(id(&format!("{}~2", last.to_uppercase())), Ok("0000000000000".into()));
}

#[test]
fn the_latest_run_and_those_before_it_are_of_one_pipeline() {
    let of = |id: &str, pipeline: &str| RunRecord { pipeline: pipeline.into(), ..run(id, json!({}), vec![]) };
    let runs = vec![of("1", "small"), of("2", "large"), of("3", "small"), of("4", "large"), of("5", "small")];
    let history = History::new(runs);
    assert!(history.is_of_several());
    let found = |pipeline: Option<&str>, text: &str| {
        let history = history.clone().of(pipeline);
        history.find(text).map(|run| run.record.id.clone()).map_err(|error| error.to_string())
    };
    assert_eq!(found(Some("large"), "latest"), Ok("4".into()));
    assert_eq!(found(Some("large"), "latest~"), Ok("2".into()));
    assert_eq!(found(None, "latest"), Ok("5".into()));
    assert_eq!(found(None, "latest~2"), Ok("1".into()));
    let name = history.find("4").unwrap().name.to_string();
    assert_eq!(
        found(Some("small"), &format!("{name}~")),
        Ok("2".into()),
        "a name goes back in its own pipeline"
    );
    assert_eq!(
        found(Some("large"), "latest~2"),
        Err("`latest~2` goes back further than the 2 runs on record of `large`".into())
    );
    assert_eq!(
        found(Some("huge"), "latest"),
        Err("there is no run of `huge` yet, only of `large`, `small`".into())
    );
    let last = history.find("latest").unwrap();
    assert_eq!(history.before(last).map(|run| run.record.id.as_str()), Some("3"));
    assert!(history.is_last(last) && history.is_last(history.find("4").unwrap()));
    assert!(!history.is_last(history.find("3").unwrap()));
}

#[test]
fn a_wrong_name_says_what_is_wrong_with_it() {
    let told = |history: &History, text: &str| history.find(text).unwrap_err().to_string();
    assert_eq!(told(&History::default(), "latest"), "there is no run yet");
    assert_eq!(told(&history(3), "latest~3"), "`latest~3` goes back further than the 3 runs on record");
    for text in ["", "nope", "latest~x", "latest~-1", "latestx", "~", "latest~99999999999999999999"] {
        let told = told(&history(3), text);
        assert!(told.starts_with("there is no run `"), "{text}: {told}");
    }
    let told = told(&history(40), "0000");
    assert!(told.starts_with("`0000` could be any of `") && told.ends_with("`, …"), "{told}");
}

#[test]
fn names_grow_until_they_differ() {
    let history = history(3_000);
    let names: BTreeSet<&str> = history.runs().iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names.len(), 3_000);
    let longest = names.iter().map(|name| name.len()).max().unwrap();
    assert!((5..=8).contains(&longest), "{longest}");
    for name in names {
        assert_eq!(history.find(name).unwrap().name.as_str(), name);
    }
}

#[test]
fn vars_are_compared_leaf_by_leaf() {
    let before = run("1", json!({"lr": 0.05, "set": {"train": 1, "test": 2}, "gone": "x"}), vec![]);
    let after = run("2", json!({"lr": 0.08, "set": {"train": 1, "test": 3}}), vec![]);
    let changes: Vec<String> = changed_vars(&before, &after).iter().map(record::words::change).collect();
    assert_eq!(changes, ["vars.gone \"x\" → (none)", "vars.lr 0.05 → 0.08", "vars.set.test 2 → 3"]);
}

#[test]
fn a_run_tells_what_was_changed_by_hand_and_not_what_follows() {
    let made = Digest::of_bytes(b"weights").to_string();
    let stages = vec![
        stage(
            "train",
            Outcome::Ran,
            &[("with.lr", "0.05", "0.08"), ("with.epochs", "3", "5"), ("inputs.images", "aa", "bb")],
        ),
        stage("export", Outcome::Ran, &[("inputs.weights", "cc", &made)]),
        stage("bench", Outcome::Failed { message: "no".into(), hint: None }, &[]),
    ];
    let history =
        History::new(vec![run("1", json!({"lr": 0.05}), vec![]), run("2", json!({"lr": 0.08}), stages)]);
    let record_of =
        |stage: &StageRun| Some(record(stage.stage.as_str(), &[], "weights", Metric::new(1.0, "")));
    let digest = history.digest(history.find("latest").unwrap(), &record_of);
    let changes: Vec<String> = digest.changes.iter().map(record::words::change).collect();
    assert_eq!(changes, ["vars.lr 0.05 → 0.08", "train.with.epochs 3 → 5", "train.inputs.images aa → bb"]);
    assert_eq!((digest.stages.ran, digest.stages.failed, digest.failed), (2, 1, vec![name("bench")]));
    let first = history.digest(history.find("latest~").unwrap(), &record_of);
    assert!(first.changes.is_empty(), "there was no run before");
}

#[test]
fn a_comparison_pairs_params_metrics_stages_and_gates() {
    let gate = |verdict| GateResult {
        expression: "train.loss < 1".into(),
        verdict,
        value: Some(0.5),
        limit: None,
        interval: None,
        satisfied: None,
        baseline: None,
        message: String::new(),
    };
    let stages = |last: &str, outcome: Outcome| {
        vec![
            stage("train", Outcome::Ran, &[]),
            stage("export", outcome, &[]),
            stage(last, Outcome::Fresh, &[]),
        ]
    };
    let mut old_run = run("1", json!({}), stages("old_only", Outcome::Ran));
    let mut new_run = run("2", json!({}), stages("new_only", Outcome::Fresh));
    (old_run.gates, new_run.gates) = (vec![gate(Verdict::Pass)], vec![gate(Verdict::Fail)]);
    let made = |text: &str| Digest::of_bytes(text.as_bytes()).to_string();
    let old_records = BTreeMap::from([
        (
            name("train"),
            record("train", &[("with.lr", "1")], "a", Metric::new(2.0, "nats").interval(1.0, 3.0)),
        ),
        (name("export"), record("export", &[("inputs.w", &made("a"))], "c", Metric::new(4.0, ""))),
    ]);
    let new_records = BTreeMap::from([
        (
            name("train"),
            record("train", &[("with.lr", "2")], "b", Metric::new(2.5, "nats").interval(1.5, 3.5)),
        ),
        (name("export"), record("export", &[("inputs.w", &made("b"))], "c", Metric::new(4.0, ""))),
    ]);
    let comparison =
        compare(Side { run: &old_run, records: &old_records }, Side { run: &new_run, records: &new_records });
    let params: Vec<(&str, Option<&str>)> = comparison
        .params
        .iter()
        .map(|pair| (pair.name.as_str(), pair.from.as_ref().map(StageName::as_str)))
        .collect();
    assert_eq!(params, [("with.lr", None), ("inputs.w", Some("train"))]);
    let [loss, same] = comparison.metrics.as_slice() else { panic!("{:?}", comparison.metrics) };
    assert_eq!((loss.old_interval, same.new_interval), (Some([1.0, 3.0]), None));
    assert_eq!((loss.difference, loss.within_intervals, loss.is_same()), (Some(0.5), Some(true), false));
    assert_eq!((same.difference, same.within_intervals, same.is_same()), (Some(0.0), None, true));
    let stages: Vec<(&str, bool, bool)> = comparison
        .stages
        .iter()
        .map(|pair| {
            let evicted = |end: &Option<StageEnd>| end.as_ref().is_some_and(|end| end.evicted);
            (pair.stage.as_str(), evicted(&pair.old), evicted(&pair.new))
        })
        .collect();
    assert_eq!(
        stages,
        [
            ("train", false, false),
            ("export", false, false),
            ("new_only", false, true),
            ("old_only", true, false)
        ]
    );
    assert_eq!(comparison.gates[0].old, Some(Verdict::Pass));
    assert_eq!(comparison.gates[0].new, Some(Verdict::Fail));
    assert_eq!(comparison.gates[0].new_result.as_ref().and_then(|gate| gate.value), Some(0.5));
}
