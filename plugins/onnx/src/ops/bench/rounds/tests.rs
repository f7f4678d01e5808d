use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;

use protocol::FromPlugin;

use super::*;
use crate::ops::bench::machine::Business;
use crate::ops::bench::variants::Shown;

const ALONE: Duration = Duration::from_secs(1);

/// What a bench of one variant at two batch sizes does beside others that keep so many of two CPUs busy during each
/// measurement, which then takes longer.
struct Bench {
    measured: Measured,
    gave_up: Option<GaveUp>,
    attempts: usize,
    milestones: Vec<String>,
}

fn bench(params: Params, others: &dyn Fn(usize) -> f64) -> Bench {
    let variants = [Variant {
        name: "fp32".into(),
        shown: Shown::default(),
        model: PathBuf::from("m.onnx"),
        data: BTreeMap::new(),
        timer: PathBuf::from("timer"),
    }];
    let blocks = tasks(&params, &variants, &[2]);
    let attempts = Cell::new(0);
    let time = |task: &Task<'_>| {
        let others = others(attempts.replace(attempts.get() + 1));
        let business = Business { others, others_ticks: 100, stolen: 0.0, cpus: 2 };
        let result = TimeResult {
            batch: task.case.batch,
            warmup_calls: 1,
            times_ms: vec![1.0; task.request.calls],
            load_ms: 1.0,
            first_result_ms: 2.0,
            peak_memory_kb: None,
            switches: None,
        };
        let around = Surroundings { business: Some(business), clock_mhz: None };
        Ok((result, around, ALONE.div_f64(around.left(2))))
    };
    let out = RefCell::new(Vec::new());
    let (measured, gave_up) =
        measure_with(&params, &blocks, &time, &mut Reporter::new(&mut *out.borrow_mut())).unwrap();
    let text = String::from_utf8(out.into_inner()).unwrap();
    let milestones = text.lines().filter_map(|line| match serde_json::from_str(line).unwrap() {
        FromPlugin::Progress(progress) if progress.milestone => Some(progress.text),
        _ => None,
    });
    let milestones = milestones.collect();
    Bench { measured, gave_up, attempts: attempts.get(), milestones }
}

impl Bench {
    fn rounds(&self) -> Vec<usize> {
        self.measured.values().map(Vec::len).collect()
    }

    fn disturbed(&self) -> usize {
        self.measured.values().flatten().filter(|measurement| measurement.disturbed).count()
    }
}

#[test]
fn undisturbed_every_case_is_measured_once_a_round_and_each_round_says_a_line() {
    let bench = bench(Params::default(), &|_| 0.1);
    assert_eq!((bench.gave_up, bench.attempts, bench.rounds()), (None, 14, vec![7, 7]));
    assert_eq!(bench.milestones.len(), 7);
    assert_eq!(bench.milestones[2], "round 3/7: 2 measurements");
}

#[test]
fn what_was_disturbed_for_a_while_is_measured_again() {
    let bench = bench(Params::default(), &|attempt| if attempt < 3 { 1.0 } else { 0.0 });
    assert_eq!((bench.gave_up, bench.rounds(), bench.disturbed()), (None, vec![7, 7], 0));
    // Two of the first round, one of them twice.
    assert_eq!(bench.attempts, 14 + 3);
    assert_eq!(bench.milestones[0], "round 1/7: 2 measurements, 3 times again");
}

#[test]
fn beside_a_steady_load_it_gives_up_once_that_is_known() {
    let bench = bench(Params::default(), &|_| 1.0);
    assert_eq!(bench.gave_up, Some(GaveUp::Steady { others: 1.0 }));
    assert_eq!((bench.attempts, bench.rounds()), (6, vec![1, 1]));
    assert_eq!(
        bench.milestones,
        ["round 1/7: 2 measurements, 4 times again, 2 disturbed by others on up to 1.00 CPUs"]
    );
}

#[test]
fn beside_a_steady_load_that_came_late_what_was_measured_before_counts() {
    let bench = bench(Params::default(), &|attempt| if attempt < 8 { 0.0 } else { 1.0 });
    assert_eq!((bench.gave_up, bench.rounds()), (None, vec![7, 7]));
    // Four of seven rounds of each case were undisturbed.
    assert_eq!(bench.disturbed(), 6);
}

#[test]
fn beside_a_changing_load_it_takes_no_longer_than_its_patience() {
    let changing = |attempt: usize| [0.8, 1.7, 1.2][attempt % 3];
    for patience in [1.0, 2.0, 3.0] {
        let bench = bench(Params { patience, ..Params::default() }, &changing);
        let took: f64 = (0..bench.attempts).map(|attempt| 2.0 / (2.0 - changing(attempt))).sum();
        assert!(took <= patience * 14.0, "{took} s with patience {patience}");
        assert!(matches!(bench.gave_up, Some(GaveUp::OutOfTime { .. })), "{:?}", bench.gave_up);
        assert_eq!(bench.milestones.len(), *bench.rounds().iter().max().unwrap());
    }
}

#[test]
fn rounds_to_come_go_before_measuring_again() {
    // About twice as long: seven rounds fit, and not all of them again.
    let changing = |attempt: usize| [0.6, 1.2, 0.9][attempt % 3];
    let bench = bench(Params { patience: 2.5, ..Params::default() }, &changing);
    assert_eq!((bench.gave_up, bench.rounds()), (None, vec![7, 7]));
    assert!(bench.attempts > 14 && bench.attempts < 28, "{}", bench.attempts);
}
