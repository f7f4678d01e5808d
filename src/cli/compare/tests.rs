//! The answer of `pipe compare`, word for word, and that it fits.

use std::collections::BTreeMap;

use ::history::History;
use console::measure_text_width;
use pipeline::gate::Verdict;
use record::sample;

use super::*;

/// The made-up run, and the same where an edit made everything from training on run.
fn answer() -> Answer {
    let sample = sample::tinynet();
    let (mut before, _) = sample.previous.clone();
    before.gates[0].verdict = Verdict::Fail;
    let mut old_records: BTreeMap<_, _> = sample.records.clone();
    if let Some(train) = old_records.get_mut(&sample::name("train")) {
        train.ingredients.iter_mut().filter(|i| i.name == "with.seed").for_each(|i| i.value = "7".into());
        train.duration_ms += 60_000;
    }
    if let Some(evaluate) = old_records.get_mut(&sample::name("evaluate")) {
        let metric = evaluate.metrics.get_mut("int8_static.accuracy").unwrap();
        metric.value -= 0.4;
    }
    old_records.remove(&sample::name("export"));
    let comparison = compare(
        Side { run: &before, records: &old_records },
        Side { run: &sample.run, records: &sample.records },
    );
    let history = History::new(vec![before, sample.run]);
    let digest = |text| history.digest(history.find(text).unwrap(), &|_| None);
    Answer { version: Version, old: digest("latest~"), new: digest("latest"), comparison, front: None }
}

#[test]
fn differences_are_good_or_bad_where_the_pipeline_says_so() {
    let (answer, pipeline) = (answer(), sample::tinynet().pipeline);
    let directions = directions(&pipeline.report);
    let view = View { answer: &answer, directions, all: false, width: 100, paint: Paint::new(true) };
    assert!(view.text().contains(&view.paint.good("+0.4")), "{}", view.text());
}

#[test]
fn an_inconclusive_gate_says_what_it_needs() {
    let mut answer = answer();
    let sample = sample::gate_inconclusive();
    let run = record::RunRecord { gates: sample.run.gates, ..sample.previous.0.clone() };
    answer.comparison = compare(
        Side { run: &sample.previous.0, records: &sample.records },
        Side { run: &run, records: &sample.records },
    );
    let text = View {
        answer: &answer,
        directions: BTreeMap::new(),
        all: false,
        width: 200,
        paint: Paint::new(false),
    }
    .text();
    let line = "   evaluate.int8_static.drop < 0.05     –        →  ~ inconclusive  -0.02, 95 % interval -0.21 to 0.10, \
                is not shown to be < 0.05: evaluate more images\n";
    assert!(text.contains(line), "{text}");
}

fn shown(all: bool, width: usize) -> String {
    let answer = answer();
    View { answer: &answer, directions: BTreeMap::new(), all, width, paint: Paint::new(false) }.text()
}

#[test]
fn two_runs_side_by_side() {
    let text = shown(false, 80);
    assert_eq!(text, EXPECTED, "{text}");
}

#[test]
fn everything_fits_and_all_shows_more() {
    for line in shown(true, 80).lines().filter(|line| !line.starts_with(" !")) {
        assert!(measure_text_width(line) <= 80, "{line}");
    }
    assert!(shown(true, 120).lines().count() > shown(false, 120).lines().count());
}

const EXPECTED: &str = " old  5bbb  2026-11-17 07:43 UTC  41 min 12 s  7 ran, 1 restored, 1 fresh
 new  14fd  2026-11-20 14:03 UTC  41 min 12 s  7 ran, 1 restored, 1 fresh

 params
   vars.label_smoothing  0.1  →  0.05
   train.with.seed         7  →  42

 metrics
   export.max_logit_difference        –  →  3.10e−6
   export.size_kb                     –  →    325.2  KB
   evaluate.int8_static.accuracy  91.40  →    91.80  %   +0.4  in both intervals
   24 metrics the same

 stages
   train             ran 35 min 2 s         →  ran 34 min 2 s         −1 min
   torch_eval        ran 34 min 2 s         →  ran 34 min 2 s
   export            ran 6.0 s              →  ran 34 min 2 s
   calibrate         ran 34 min 2 s         →  ran 34 min 2 s
   quantize          ran 34 min 2 s         →  ran 34 min 2 s
   quantize_dynamic  restored (34 min 2 s)  →  restored (34 min 2 s)
   evaluate          ran 34 min 2 s         →  ran 34 min 2 s
   bench             ran 34 min 2 s         →  ran 34 min 2 s
   1 stage fresh in both

 gates
   export.size_kb < 500  ✖ fails  →  ✔ holds
   2 gates hold in both

 ! results of export in 5bbb are no longer cached: params and metrics are not compared
";
