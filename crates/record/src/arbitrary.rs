//! Records with whatever can be in them, for tests.

#![expect(clippy::unwrap_used, reason = "for tests")]

use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::gate::{BaselineRun, GateResult, Verdict};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use protocol::{Axis, Cell, Column, Content, Figure, Metric, Series};
use serde_json::Value;

use crate::{ActionRecord, Change, Ingredient, Machine, Outcome, OutputRecord, Pace, RunRecord, StageRun};

fn digests() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

/// With what JSON and lines have to escape.
fn texts() -> impl Strategy<Value = String> {
    "[a-z\"\\\\\n\u{1}é$]{0,6}"
}

fn numbers() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("finite", |number| number.is_finite())
}

fn stages() -> impl Strategy<Value = StageName> {
    "[a-zA-Z][a-zA-Z0-9_-]{0,8}".prop_map(|name| StageName::try_from(name).unwrap())
}

fn machines() -> impl Strategy<Value = Machine> {
    (texts(), texts(), any::<usize>(), texts()).prop_map(|(cpu, features, cores, system)| Machine {
        cpu,
        features,
        cores,
        system,
    })
}

fn outputs() -> impl Strategy<Value = OutputRecord> {
    (texts(), digests(), any::<u64>(), any::<bool>(), any::<bool>()).prop_map(
        |(file, digest, bytes, folder, executable)| OutputRecord { file, digest, bytes, folder, executable },
    )
}

fn metrics() -> impl Strategy<Value = Metric> {
    (numbers(), texts(), proptest::option::of([numbers(), numbers()]), texts())
        .prop_map(|(value, unit, interval, basis)| Metric { value, unit, interval, basis })
}

fn figures() -> impl Strategy<Value = Figure> {
    let series = (texts(), vec([numbers(), numbers()], 0..3)).prop_map(|(name, points)| Content::Series {
        x: Axis::new("x", ""),
        y: vec![Axis::new("y", "ms")],
        series: vec![Series { name, axis: 0, points }],
    });
    let cell = prop_oneof![numbers().prop_map(Cell::Number), texts().prop_map(Cell::Text), Just(Cell::Empty)];
    let table = vec(cell, 1..3).prop_map(|cells| Content::Table {
        columns: cells.iter().map(|_| Column { label: "c".into(), unit: String::new(), digits: 2 }).collect(),
        rows: vec![cells],
    });
    (texts(), texts(), prop_oneof![series, table]).prop_map(|(id, title, content)| Figure {
        id,
        title,
        caption: String::new(),
        content,
    })
}

fn paces() -> impl Strategy<Value = Pace> {
    (any::<u64>(), 0.001..1.0).prop_map(|(work_ms, share)| Pace { work_ms, share })
}

/// Records of executions.
pub fn action_records() -> impl Strategy<Value = ActionRecord> {
    let ingredients = vec((texts(), texts()), 0..4).prop_map(|pairs| {
        pairs.into_iter().map(|(name, value)| Ingredient { name, value }).collect::<Vec<_>>()
    });
    (
        (digests(), ingredients, stages(), btree_map(texts(), outputs(), 0..3)),
        (btree_map(texts(), metrics(), 0..3), vec(figures(), 0..2), digests()),
        (
            any::<u64>(),
            any::<u64>(),
            machines(),
            texts(),
            proptest::option::of(texts()),
            proptest::option::of(paces()),
        ),
    )
        .prop_map(
            |(
                (key, ingredients, stage, outputs),
                (metrics, figures, log),
                (started_ms, duration_ms, machine, run, provisional, pace),
            )| {
                ActionRecord {
                    key,
                    ingredients,
                    stage,
                    outputs,
                    metrics,
                    figures,
                    log,
                    started_ms,
                    duration_ms,
                    machine,
                    run,
                    provisional,
                    pace,
                }
            },
        )
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Fresh),
        Just(Outcome::Restored),
        Just(Outcome::Ran),
        (texts(), proptest::option::of(texts()))
            .prop_map(|(message, hint)| Outcome::Failed { message, hint }),
        stages().prop_map(|by| Outcome::Blocked { by }),
        Just(Outcome::Interrupted),
    ]
}

fn stage_runs() -> impl Strategy<Value = StageRun> {
    let change = (texts(), proptest::option::of(texts()), proptest::option::of(texts()))
        .prop_map(|(name, old, new)| Change { name, old, new });
    let key = proptest::option::of(digests());
    let provisional = proptest::option::of(texts());
    (stages(), outcomes(), key, vec(change, 0..3), any::<u64>(), any::<u64>(), provisional).prop_map(
        |(stage, outcome, key, changes, offset_ms, duration_ms, provisional)| StageRun {
            stage,
            outcome,
            key,
            changes,
            offset_ms,
            duration_ms,
            provisional,
        },
    )
}

fn gates() -> impl Strategy<Value = GateResult> {
    let verdict =
        proptest::sample::select(vec![Verdict::Pass, Verdict::Fail, Verdict::Inconclusive, Verdict::Unknown]);
    let baseline =
        (texts(), texts(), any::<bool>()).prop_map(|(run, id, named)| BaselineRun { run, id, named });
    (
        (texts(), verdict, texts()),
        (proptest::option::of(numbers()), proptest::option::of(numbers())),
        (proptest::option::of([numbers(), numbers()]), any::<Option<bool>>(), proptest::option::of(baseline)),
    )
        .prop_map(|((expression, verdict, message), (value, limit), (interval, satisfied, baseline))| {
            GateResult { expression, verdict, value, limit, interval, satisfied, baseline, message }
        })
}

/// Records of runs.
pub fn run_records() -> impl Strategy<Value = RunRecord> {
    let var = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        numbers().prop_map(Value::from),
        texts().prop_map(Value::from),
    ];
    (
        ("[a-z0-9]{1,8}", texts(), texts(), proptest::option::of(texts()), btree_map(texts(), var, 0..3)),
        (any::<u64>(), any::<u64>(), machines(), any::<usize>(), any::<bool>()),
        (
            vec(stage_runs(), 0..4),
            vec(gates(), 0..2),
            proptest::option::of(digests()),
            proptest::option::of(texts()),
        ),
    )
        .prop_map(
            |(
                (id, pipeline, version, profile, vars),
                (started_ms, duration_ms, machine, threads, certain),
                (stages, gates, definition, recording),
            )| {
                RunRecord {
                    id,
                    pipeline,
                    version,
                    profile,
                    vars,
                    started_ms,
                    duration_ms,
                    machine,
                    threads,
                    stages,
                    gates,
                    certain,
                    definition,
                    recording,
                }
            },
        )
}
