//! Gates: the language, verdicts with and without intervals, and comparisons with an earlier run.

use super::*;
use proptest::prelude::*;

fn metrics(stage: &str, metric: &str) -> Option<Metric> {
    let value = match (stage, metric) {
        ("export", "size_kb") => 325.2,
        ("evaluate", "onnx_fp32.accuracy") => 91.82,
        ("evaluate", "int8-static.accuracy") => 79.291,
        ("bench", "batch128.median_ms") => 84.999_9,
        ("a-b", "x") => 2.0,
        ("bad", "infinite") => f64::INFINITY,
        _ => return None,
    };
    Some(Metric::new(value, ""))
}

fn outcome(text: &str) -> (Verdict, String) {
    let result = Gate::parse(text).unwrap().evaluate(&metrics, None);
    (result.verdict, result.message)
}

#[test]
fn verdicts_in_words() {
    assert_eq!(outcome("export.size_kb < 500"), (Verdict::Pass, "325.2 < 500".into()));
    assert_eq!(outcome("evaluate.int8-static.accuracy >= 85"), (Verdict::Fail, "79.29 is not >= 85".into()));
    assert_eq!(
        outcome("evaluate.onnx_fp32.accuracy - evaluate.int8-static.accuracy < 5"),
        (Verdict::Fail, "12.53 is not < 5".into())
    );
    assert_eq!(outcome("a-b.x == 2").0, Verdict::Pass);
    assert_eq!(outcome("a-b.x != 2"), (Verdict::Fail, "2 is not != 2".into()));
}

#[test]
fn rounding_never_hides_a_difference() {
    assert_eq!(outcome("bench.batch128.median_ms >= 85"), (Verdict::Fail, "84.9999 is not >= 85".into()));
}

#[test]
fn arithmetic() {
    assert_eq!(outcome("1 + 2 * 3 - 4 == 3").0, Verdict::Pass);
    assert_eq!(outcome("(1 + 2) * -(3 - 4) == 3").0, Verdict::Pass);
    assert_eq!(outcome("1e3 <= 2.5e+2 * 4").0, Verdict::Pass);
    assert_eq!(outcome("10 - 4 - 3 == 3").0, Verdict::Pass);
    assert_eq!(outcome("a-b.x - a-b.x ≥ 0").0, Verdict::Pass);
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(
        outcome("evaluate.int9.accuracy > 1"),
        (Verdict::Unknown, "metric `evaluate.int9.accuracy` is not there".into())
    );
    assert_eq!(
        outcome("a.x + b.y < c.z * 2"),
        (Verdict::Unknown, "metrics `a.x`, `b.y`, `c.z` are not there".into())
    );
    assert_eq!(outcome("bad.infinite > 1").0, Verdict::Unknown);
}

#[test]
fn stages_and_metrics() {
    let gate = Gate::parse("a.x.y - b.z > a.w").unwrap();
    assert_eq!(gate.stages().into_iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(gate.metrics(), [("a", "x.y"), ("b", "z"), ("a", "w")]);
}

#[test]
fn variants_have_metrics_and_stages_can_be_renamed() {
    let gate = Gate::parse("a[lr=1e-3,w=-1].x.y - b.z > 2*a.x").unwrap();
    assert_eq!(gate.metrics(), [("a[lr=1e-3,w=-1]", "x.y"), ("b", "z"), ("a", "x")]);
    let renamed = gate.renamed(&|stage| (stage == "a").then(|| "a[w=2]".into())).unwrap();
    assert_eq!(renamed.expression, "a[lr=1e-3,w=-1].x.y - b.z > 2*a[w=2].x");
    assert!(Gate::parse("a[lr=1.x > 3").is_err());
}

#[test]
fn mistakes_are_placed() {
    let wrong = |text: &str| {
        let error = Gate::parse(text).unwrap_err();
        (error.start, error.length, error.message)
    };
    let comparison = "expected a comparison: `<`, `<=`, `>`, `>=`, `==` or `!=`";
    let operand = "expected a metric such as `train.val_accuracy`, a number or `(`";
    assert_eq!(wrong("a.x"), (3, 1, comparison.into()));
    assert_eq!(wrong("a.x >"), (5, 1, operand.into()));
    assert_eq!(wrong(""), (0, 1, operand.into()));
    assert_eq!(wrong("a.x = 3"), (4, 1, "write `==`".into()));
    assert_eq!(wrong("accuracy > 3"), (0, 8, "a metric is `stage.metric`".into()));
    assert_eq!(wrong("1 < a.x < 3"), (8, 1, "a gate compares once: write two gates".into()));
    assert_eq!(wrong("a.x > 3 %"), (8, 1, "leave out units: metrics are plain numbers".into()));
    assert_eq!(wrong("(a.x > 3"), (5, 1, "expected `)`".into()));
    assert_eq!(wrong("a.x > 1.2.3"), (6, 5, "`1.2.3` is not a number".into()));
    assert_eq!(wrong("a.x > 3 4"), (8, 1, "expected the end, `+`, `-` or `*`".into()));
    assert_eq!(wrong("a.x / 2 > 3"), (4, 1, "`/` does not belong here".into()));
    assert!(Gate::parse(&"(".repeat(1000)).is_err());
    assert!(Gate::parse(&"-".repeat(1000)).is_err());
    assert!(Gate::parse(&"1+".repeat(10_000)).is_err());
}

/// Metrics with intervals: two accuracies, a drop, a latency, and something without an interval.
fn measured(stage: &str, metric: &str) -> Option<Metric> {
    let accuracy =
        |value: f64, low, high| Metric::new(value, "%").interval(low, high).basis("2,000 test images");
    Some(match (stage, metric) {
        ("evaluate", "fp32") => accuracy(86.2, 85.5, 86.9),
        ("evaluate", "int8") => accuracy(84.62, 83.9, 85.31),
        ("evaluate", "good") => accuracy(85.3, 84.6, 86.0),
        ("evaluate", "edge") => accuracy(85.5, 85.0, 86.0),
        ("evaluate", "beside") => accuracy(5.0, 6.0, 7.0),
        ("bench", "ms") => Metric::new(20.0, "ms").interval(18.0, 23.0).basis("7 rounds of 20 calls"),
        ("bench", "factor") => Metric::new(2.0, "").interval(1.5, 2.5),
        ("bench", "certain") => Metric::new(3.0, "").interval(3.0, 3.0),
        ("export", "kb") => Metric::new(325.2, "KB"),
        _ => return None,
    })
}

fn judged(text: &str) -> GateResult {
    Gate::parse(text).unwrap().evaluate(&measured, None)
}

#[test]
fn the_whole_interval_decides() {
    let verdict = |text: &str| judged(text).verdict;
    assert_eq!(verdict("evaluate.int8 >= 83.9"), Verdict::Pass);
    assert_eq!(verdict("evaluate.int8 > 83.9"), Verdict::Inconclusive, "the end is not above");
    assert_eq!(verdict("evaluate.int8 < 85.31"), Verdict::Inconclusive);
    assert_eq!(verdict("evaluate.int8 <= 85.31"), Verdict::Pass);
    assert_eq!(verdict("evaluate.int8 >= 85.31"), Verdict::Inconclusive);
    assert_eq!(verdict("evaluate.int8 > 85.31"), Verdict::Fail);
    assert_eq!(verdict("evaluate.int8 <= 83"), Verdict::Fail);
    assert_eq!(verdict("85 >= evaluate.int8"), Verdict::Inconclusive, "either side may be uncertain");
    assert_eq!(verdict("90 >= evaluate.int8"), Verdict::Pass);
    assert_eq!(
        verdict("evaluate.beside >= 6"),
        Verdict::Inconclusive,
        "an interval is stretched to its value"
    );
    assert_eq!(verdict("bench.certain == 3"), Verdict::Pass, "an interval without width is exact");
}

#[test]
fn the_words_name_value_interval_and_what_to_do() {
    let result = judged("evaluate.int8 >= 85");
    assert_eq!(
        result.message,
        "84.62, 95 % interval 83.90 to 85.31, is not shown to be >= 85: evaluate more images"
    );
    assert_eq!((result.value, result.limit, result.interval), (Some(84.62), Some(85.0), Some([83.9, 85.31])));
    assert_eq!(judged("evaluate.int8 >= 80").message, "84.62, 95 % interval 83.90 to 85.31, is >= 80");
    assert_eq!(judged("evaluate.int8 >= 90").message, "84.62, 95 % interval 83.90 to 85.31, is not >= 90");
    assert_eq!(
        judged("bench.ms < 22").message,
        "20, 95 % interval 18 to 23, is not shown to be < 22: measure more"
    );
    snapshots::assert_message!(judged("evaluate.int8 - 75 > 0").message);
    let mixed = judged("evaluate.int8 - bench.ms > 65");
    snapshots::assert_message!(mixed.message);
    assert_eq!(judged("evaluate.edge > 84.9999").message, "85.5, 95 % interval 85 to 86, is > 84.9999");
    assert_eq!(judged("export.kb < 500").interval, None);
}

#[test]
fn the_measured_value_lets_a_run_pass_unless_certainty_is_asked_for() {
    let passes = |text: &str| {
        let result = judged(text);
        (result.satisfied, result.judgement(false).lets_pass(), result.judgement(true).lets_pass())
    };
    assert_eq!(passes("evaluate.int8 >= 85"), (Some(false), false, false), "inconclusive, and not satisfied");
    assert_eq!(passes("evaluate.good >= 85"), (Some(true), true, false), "inconclusive, and satisfied");
    assert_eq!(passes("evaluate.good >= 80"), (Some(true), true, true));
    assert_eq!(passes("evaluate.good >= 90"), (Some(false), false, false));
    assert_eq!(passes("evaluate.nothing >= 90"), (None, false, false));
}

#[test]
fn what_ends_a_run_badly_stands_first_and_is_marked_so() {
    let gates = ["1 < 2", "evaluate.good >= 85", "a.b > 1", "evaluate.int8 >= 85", "evaluate.int8 >= 90"];
    let gates = gates.map(judged);
    let shown = |certain| -> Vec<(Judgement, &str, &str)> {
        let shown = |gate: &GateResult| {
            let judgement = gate.judgement(certain);
            (judgement, judgement.mark(), judgement.word())
        };
        sorted(&gates, certain).into_iter().map(shown).collect()
    };
    let mut expected = vec![
        (Judgement::Fails, "✖", "fails"),
        (Judgement::Missed, "✖", "inconclusive"),
        (Judgement::Unknown, "?", "not known"),
        (Judgement::Inconclusive, "~", "inconclusive"),
        (Judgement::Holds, "✔", "holds"),
    ];
    assert_eq!(shown(false), expected);
    assert!(expected.is_sorted_by_key(|(judgement, ..)| judgement.lets_pass()));
    let missed = (Judgement::Missed, "✖", "inconclusive");
    expected.remove(3);
    expected.insert(1, missed);
    assert_eq!(shown(true), expected);
}

fn assert_interval(text: &str, expected: [f64; 2]) {
    let interval = judged(text).interval.unwrap_or_else(|| panic!("`{text}` is exact"));
    let near = interval.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-9);
    assert!(near, "{text}: {interval:?} is not {expected:?}");
}

#[test]
fn sums_and_differences_add_the_squares_of_each_side() {
    let root = |a: f64, b: f64| (a * a + b * b).sqrt();
    // 84.62 −0.72 +0.69, 20 −2 +3.
    assert_interval("evaluate.int8 + bench.ms > 0", [104.62 - root(0.72, 2.0), 104.62 + root(0.69, 3.0)]);
    assert_interval("evaluate.int8 - bench.ms > 0", [64.62 - root(0.72, 3.0), 64.62 + root(0.69, 2.0)]);
    // What is uncertain on the right counts on the scale of the left.
    assert_interval("evaluate.int8 > bench.ms", [84.62 - root(0.72, 3.0), 84.62 + root(0.69, 2.0)]);
    assert_interval("-evaluate.int8 < 0", [-85.31, -83.9]);
    assert_interval("2 * evaluate.int8 - 3 > 0", [2.0 * 83.9 - 3.0, 2.0 * 85.31 - 3.0]);
    assert_interval("bench.ms * -0.5 * 2 < 0", [-23.0, -18.0]);
}

#[test]
fn a_metric_is_not_independent_of_itself() {
    let result = judged("evaluate.int8 - evaluate.int8 == 0");
    assert_eq!((result.verdict, result.interval), (Verdict::Pass, None), "it is exactly 0");
    assert_eq!(judged("evaluate.int8 >= evaluate.int8").verdict, Verdict::Pass);
    assert_eq!(judged("0 * evaluate.int8 == 0").verdict, Verdict::Pass);
    assert_interval("evaluate.int8 + evaluate.int8 > 0", [2.0 * 83.9, 2.0 * 85.31]);
    assert_interval("3 * bench.ms - (bench.ms - 1) > 0", [2.0 * 18.0 + 1.0, 2.0 * 23.0 + 1.0]);
    assert_interval("bench.ms + export.kb > bench.ms - evaluate.int8", [345.2 - 0.72, 345.2 + 0.69]);
}

#[test]
fn products_of_uncertain_numbers_take_the_corners() {
    assert_interval("bench.ms * bench.factor > 0", [18.0 * 1.5, 23.0 * 2.5]);
    assert_interval("(bench.ms - 21) * bench.factor < 9", [-3.0 * 2.5, 2.0 * 2.5]);
    // Beside something linear it is added outright.
    assert_interval("bench.ms * bench.factor + bench.ms > 0", [60.0 - 13.0 - 2.0, 60.0 + 17.5 + 3.0]);
    assert_interval("0 - bench.ms * bench.factor < 0", [-23.0 * 2.5, -18.0 * 1.5]);
}

#[test]
fn equality_is_never_shown_and_difference_can_be() {
    let outcome = |text: &str| {
        let result = judged(text);
        (result.verdict, result.satisfied)
    };
    assert_eq!(outcome("bench.ms == 20"), (Verdict::Inconclusive, Some(true)));
    assert_eq!(outcome("bench.ms == 21"), (Verdict::Inconclusive, Some(false)));
    assert_eq!(outcome("bench.ms == 30"), (Verdict::Fail, Some(false)));
    assert_eq!(outcome("bench.ms != 20"), (Verdict::Inconclusive, Some(false)));
    assert_eq!(outcome("bench.ms != 30"), (Verdict::Pass, Some(true)));
    let message = judged("bench.ms == 20").message;
    snapshots::assert_message!(message);
}

/// An earlier run in which accuracy was `value`.
fn earlier(value: f64, is_own: bool) -> Baseline {
    let metric = Metric::new(value, "%").interval(value - 0.7, value + 0.7).basis("2,000 test images");
    Baseline {
        run: BaselineRun { run: "7f3a".into(), id: "123-4".into(), named: false },
        other_cpu: None,
        provisional: BTreeSet::new(),
        metrics: [(("evaluate".into(), "int8".into()), Earlier { metric, is_own })].into(),
    }
}

#[test]
fn a_gate_compares_with_an_earlier_run() {
    let gate = Gate::parse("evaluate.int8 >= baseline.evaluate.int8 - 0.5").unwrap();
    assert_eq!(gate.stages().into_iter().collect::<Vec<_>>(), ["evaluate"]);
    assert_eq!(
        (gate.metrics(), gate.baseline_metrics()),
        (vec![("evaluate", "int8")], vec![("evaluate", "int8")])
    );
    let result = gate.evaluate(&measured, Some(&earlier(90.0, false)));
    assert_eq!((result.verdict, result.limit), (Verdict::Fail, Some(89.5)));
    assert_eq!(
        result.message,
        "84.62, 95 % interval 83.62 to 85.60, is not >= 89.5 (compared with run 7f3a)"
    );
    assert_eq!(result.baseline.unwrap().id, "123-4");
    let result = gate.evaluate(&measured, Some(&earlier(84.0, false)));
    assert_eq!(result.verdict, Verdict::Pass, "{}", result.message);
    let result = gate.evaluate(&measured, Some(&earlier(84.9, false)));
    assert_eq!((result.verdict, result.satisfied), (Verdict::Inconclusive, Some(true)), "{}", result.message);
}

#[test]
fn an_earlier_run_on_another_cpu_is_called_so() {
    let gate = Gate::parse("evaluate.int8 >= baseline.evaluate.int8 - 0.5").unwrap();
    let elsewhere = Baseline { other_cpu: Some("EPYC 7B13".into()), ..earlier(90.0, false) };
    let message = gate.evaluate(&measured, Some(&elsewhere)).message;
    snapshots::assert_message!(message);
}

#[test]
fn what_a_provisional_number_satisfies_is_said_and_not_certain() {
    let gate = Gate::parse("evaluate.int8 >= 80").unwrap();
    let result = |own: &[&str], baseline, certain| {
        let mut result = gate.evaluate(&measured, None);
        result.rest_on_provisional(&own.iter().copied().collect(), baseline, certain);
        result
    };
    let plain = result(&["evaluate"], false, false);
    snapshots::assert_message!(plain.message);
    assert_eq!(plain.judgement(false), Judgement::Holds);
    assert_eq!(result(&["evaluate"], false, true).judgement(true), Judgement::Missed);
    assert_eq!(
        result(&[], true, true).judgement(true),
        Judgement::Missed,
        "nor does one that it is compared with"
    );
    assert_eq!(result(&[], false, true), gate.evaluate(&measured, None));
    let named = Baseline { provisional: ["evaluate".to_owned()].into(), ..earlier(80.0, false) };
    let compared = Gate::parse("evaluate.int8 >= baseline.evaluate.int8").unwrap();
    let message = compared.evaluate(&measured, Some(&named)).message;
    snapshots::assert_message!(message);
}

#[test]
fn the_same_measurement_is_not_independent_of_itself_in_an_earlier_run_either() {
    let gate = Gate::parse("evaluate.int8 >= baseline.evaluate.int8 - 0.5").unwrap();
    let result = gate.evaluate(&measured, Some(&earlier(84.62, true)));
    assert_eq!((result.verdict, result.interval), (Verdict::Pass, None), "{}", result.message);
}

#[test]
fn a_first_run_passes_and_says_so() {
    let first = |text: &str| {
        let result = judged(text);
        assert_eq!(result.baseline, None);
        (result.verdict, result.value, result.message)
    };
    let words = "no earlier run to compare with".to_owned();
    assert_eq!(
        first("evaluate.int8 >= baseline.evaluate.int8 - 0.5"),
        (Verdict::Pass, Some(84.62), words.clone())
    );
    assert_eq!(first("evaluate.int8 - baseline.evaluate.int8 >= 0"), (Verdict::Pass, None, words));
    let missing = "metric `evaluate.int9` is not there".to_owned();
    assert_eq!(
        first("evaluate.int8 >= baseline.evaluate.int9"),
        (Verdict::Unknown, Some(84.62), missing.clone())
    );
    assert_eq!(first("evaluate.int9 >= baseline.evaluate.int8"), (Verdict::Unknown, None, missing));
}

#[test]
fn what_a_named_run_lacks_is_told() {
    let gate = Gate::parse("evaluate.fp32 >= baseline.evaluate.fp32").unwrap();
    let result = gate.evaluate(&measured, Some(&earlier(84.0, false)));
    assert_eq!(result.verdict, Verdict::Unknown);
    assert_eq!(result.message, "metric `baseline.evaluate.fp32` is not there (compared with run 7f3a)");
    assert_eq!(result.baseline.unwrap().run, "7f3a");
}

#[test]
fn what_is_behind_baseline_is_renamed_with_the_rest() {
    let gate = Gate::parse("a.x >= baseline.a.x - baseline.b[c=1.5].y").unwrap();
    let renamed = gate.renamed(&|stage| (stage == "a").then(|| "a[w=2]".into())).unwrap();
    assert_eq!(renamed.expression, "a[w=2].x >= baseline.a[w=2].x - baseline.b[c=1.5].y");
    assert_eq!(renamed.baseline_metrics(), [("a[w=2]", "x"), ("b[c=1.5]", "y")]);
    let error = Gate::parse("a.x > baseline.x").unwrap_err();
    assert_eq!((error.start, error.length), (6, 10));
    assert_eq!(error.message, "`baseline` stands for an earlier run: write `baseline.stage.metric`");
}

#[test]
fn results_recorded_before_there_were_intervals_are_read() {
    let old =
        r#"{"expression":"a.x > 1","verdict":"fail","value":0.5,"limit":1.0,"message":"0.5 is not > 1"}"#;
    let result: GateResult = serde_json::from_str(old).unwrap();
    assert_eq!((result.verdict, result.interval, result.satisfied), (Verdict::Fail, None, None));
    assert!(!result.judgement(false).lets_pass());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,60}") {
        let _ = Gate::parse(&text);
    }

    #[test]
    fn any_sequence_of_parts_is_read_or_refused(
        parts in proptest::collection::vec(
            prop_oneof!["<=?", ">=?", "[=!]=", "[-+*()]", "[a-c]\\.[x-z.-]{0,4}", "baseline\\.a\\.x", "[0-9.e]{1,6}", " "], 0..20),
    ) {
        if let Ok(gate) = Gate::parse(&parts.concat()) {
            let result = gate.evaluate(&|_, _| Some(Metric::new(1e300, "").interval(1e299, 1e308)), None);
            prop_assert!(!result.message.is_empty());
        }
    }

    /// The rules as they stand in the documentation, against what is computed.
    #[test]
    fn a_verdict_agrees_with_the_interval_and_the_value(
        [value, below, above] in [-1e3..1e3, 0.0..10.0, 0.0..10.0_f64],
        limit in -1e3..1e3_f64,
        comparison in proptest::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]),
    ) {
        let metric = Metric::new(value, "").interval(value - below, value + above);
        let gate = Gate::parse(&format!("a.x {comparison} {limit}")).unwrap();
        let result = gate.evaluate(&|_, _| Some(metric.clone()), None);
        let holds = |value: f64| gate.comparison.holds(value, limit);
        prop_assert_eq!(result.satisfied, Some(holds(value)));
        let [low, high] = metric.interval.unwrap_or_default();
        match result.verdict {
            Verdict::Pass => prop_assert!(holds(low) && holds(value) && holds(high)),
            Verdict::Fail => prop_assert!(!holds(low) && !holds(value) && !holds(high)),
            Verdict::Inconclusive => prop_assert!(low <= limit && limit <= high),
            Verdict::Unknown => prop_assert!(false, "nothing is missing"),
        }
    }
}
