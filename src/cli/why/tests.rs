//! The answers of `pipe why`, word for word.

use super::*;

use std::sync::Arc;

use pipeline::spec::{Action, Location, OpAction};
use record::event::PlannedStage;
use record::key::Key;
use record::{ActionRecord, Machine};
use store::{Lookup, Store};

use crate::prospect::Decision;

fn ingredients(lr: &str) -> Vec<Ingredient> {
    let list = [
        ("op", "torch/train"),
        ("op.version", "3"),
        ("natives.libtorch", "2.11.0"),
        ("with.epochs", "150"),
        ("with.lr", lr),
        ("inputs.dataset", &"ab".repeat(32)),
    ];
    list.map(|(name, value)| Ingredient { name: name.into(), value: value.into() }).into()
}

fn record(lr: &str, day: u64) -> ActionRecord {
    let ingredients = ingredients(lr);
    ActionRecord {
        key: digest_of(&ingredients),
        ingredients,
        stage: name("train"),
        outputs: BTreeMap::new(),
        metrics: BTreeMap::new(),
        figures: vec![],
        log: pipeline::digest::Digest::of_bytes(b""),
        started_ms: day * 86_400_000,
        duration_ms: 60_000,
        machine: Machine::default(),
        run: "r".into(),
        provisional: None,
        pace: None,
    }
}

fn name(text: &str) -> StageName {
    StageName::try_from(text.to_owned()).unwrap()
}

fn stage() -> Stage {
    let line = |line| Location { line, column: 7 };
    let action = Action::Op(OpAction {
        plugin: "torch".into(),
        op: "train".into(),
        params: serde_json::json!({}),
        param_locations: BTreeMap::from([("lr".into(), line(31))]),
        sources: BTreeMap::new(),
        filtered: BTreeSet::new(),
        continues: vec![],
    });
    Stage { location: line(20), ..Stage::doing(name("train"), action) }
}

fn prospect(expectation: Expectation, lr: &str, hit: Option<ActionRecord>) -> Prospect {
    let decision = match hit {
        Some(record) => Decision::Fresh(Arc::new(record)),
        None => {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path()).unwrap();
            let Lookup::Miss(miss) = store.lookup(&name("train"), Key::new(ingredients(lr))) else {
                panic!("a hit in an empty store")
            };
            Decision::Run { miss, changes: vec![], reason: None }
        }
    };
    Prospect {
        planned: PlannedStage {
            stage: name("train"),
            expectation,
            usual_ms: None,
            last_ms: None,
            variants_ms: None,
        },
        decision: Some(decision),
        last: Some(Arc::new(record("0.05", 1))),
        unknown: vec![],
    }
}

fn text(prospect: &Prospect, all: bool) -> String {
    let stage = stage();
    let pipeline = record::sample::tinynet().pipeline;
    let view = View {
        prospect,
        pipeline: &pipeline,
        stage: &stage,
        changes: all_changes(prospect),
        sources: BTreeSet::new(),
    };
    view.text(all, 80, Paint::new(false))
}

#[test]
fn a_change_is_told_with_its_place() {
    let run = Expectation::Run { changes: vec![], reason: None };
    assert_eq!(
        text(&prospect(run, "0.08", None), false),
        concat!(
            " train would run: its key differs from that of its artifacts (1970-01-02 00:00 UTC) in one place\n",
            "   with.lr  0.05  →  0.08  pipeline.yaml:31\n",
            " no cached result for this key\n",
            " unchanged: op torch/train v3 · libtorch 2.11.0 · dataset abababababab… · 1 param\n",
        )
    );
}

#[test]
fn a_cached_run_is_pointed_out() {
    let text =
        text(&prospect(Expectation::Restorable { changes: vec![] }, "0.08", Some(record("0.08", 9))), false);
    snapshots::assert_message!(text);
}

#[test]
fn a_fresh_stage_says_where_its_outputs_are_from() {
    let text = text(&prospect(Expectation::Fresh, "0.05", Some(record("0.05", 1))), false);
    assert_eq!(text, " train is fresh: its outputs are those of 1970-01-02 00:00 UTC, when it took 1 min\n");
}

#[test]
fn the_whole_key_is_printed_when_asked_for() {
    let run = Expectation::Run { changes: vec![], reason: None };
    let text = text(&prospect(run, "0.08", None), true);
    assert!(text.contains(&format!(" key {}\n", digest_of(&ingredients("0.08")))), "{text}");
    snapshots::assert_message!(text);
    assert!(text.contains(&format!("   inputs.dataset    {}\n", "ab".repeat(32))), "{text}");
}

#[test]
fn what_depends_on_another_stage_says_on_which_input() {
    let maybe = Expectation::Maybe { after: vec![name("download")] };
    let prospect =
        Prospect { unknown: vec!["dataset".into()], ..prospect(maybe, "0.05", Some(record("0.05", 1))) };
    let text = text(&prospect, false);
    assert_eq!(
        text,
        " train is unchanged if its input `dataset` has the same bytes again: `download` would run first\n"
    );
}

#[test]
fn a_stage_that_never_ran_has_nothing_to_compare_with() {
    let run = Expectation::Run { changes: vec![], reason: Some("never ran".into()) };
    let prospect = Prospect { last: None, ..prospect(run, "0.05", None) };
    assert_eq!(text(&prospect, false), " train would run: never ran\n");
}
