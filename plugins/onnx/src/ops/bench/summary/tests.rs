use std::io::BufRead;

use protocol::{Cell, Content, Figure, FromPlugin, TimeResult};

use super::*;
use crate::ops::bench::machine::Business;
use crate::ops::bench::outcome::{estimate, speedup};
use crate::ops::bench::watch::Surroundings;

fn measurement(ms: f64) -> Measurement {
    Measurement {
        result: TimeResult {
            batch: 1,
            warmup_calls: 20,
            times_ms: vec![ms * 0.9, ms, ms * 1.5],
            load_ms: 5.0,
            first_result_ms: 5.0 + 10.0 * ms,
            peak_memory_kb: Some(1000),
            switches: Some(3),
        },
        around: Surroundings {
            business: Some(Business { others: 0.5, others_ticks: 50, stolen: 0.125, cpus: 2 }),
            clock_mhz: Some([800.0, 3000.0]),
        },
        disturbed: false,
        again: 0,
    }
}

fn rounds(medians: &[f64]) -> Vec<Measurement> {
    medians.iter().map(|&ms| measurement(ms)).collect()
}

fn case(variant: &str, threads: usize) -> Case {
    Case { threads, batch: 1, variant: variant.into() }
}

/// What was reported.
#[derive(Default)]
struct Reported {
    /// Why it is no answer yet.
    refusal: String,
    metrics: BTreeMap<String, Metric>,
    figures: BTreeMap<String, Figure>,
    logs: String,
}

impl Reported {
    /// By a stage with two threads.
    fn of(measured: &Measured) -> Self {
        Self::of_rounds(measured.values().map(Vec::len).max().unwrap(), measured, None)
    }

    /// By one that was to make so many rounds.
    fn of_rounds(rounds: usize, measured: &Measured, gave_up: Option<GaveUp>) -> Self {
        let params = Params { rounds, baseline: Some("fp32".into()), ..Params::default() };
        let (mut out, mut reported) = (Vec::new(), Self::default());
        let (_, refusal) = report(&params, 2, measured, gave_up, "images", &mut Reporter::new(&mut out));
        reported.refusal = refusal.unwrap_or_default();
        for line in out.lines() {
            match serde_json::from_str(&line.unwrap()).unwrap() {
                FromPlugin::Metric { name, metric } => drop(reported.metrics.insert(name, metric)),
                FromPlugin::Figure(figure) => drop(reported.figures.insert(figure.id.clone(), figure)),
                FromPlugin::Log { message, .. } => reported.logs += &(message + "\n"),
                other => panic!("{other:?}"),
            }
        }
        reported
    }

    fn rows(&self, figure: &str) -> Vec<BTreeMap<&str, &Cell>> {
        let Content::Table { columns, rows } = &self.figures[figure].content else { panic!("no table") };
        assert!(rows.iter().all(|row| row.len() == columns.len()));
        rows.iter().map(|row| columns.iter().map(|column| column.label.as_str()).zip(row).collect()).collect()
    }
}

/// A baseline and a variant by the medians of their rounds.
fn two(fp32: &[f64], int8: &[f64]) -> Measured {
    [(case("fp32", 2), rounds(fp32)), (case("int8", 2), rounds(int8))].into()
}

#[test]
fn the_latency_is_the_median_of_round_medians() {
    let rounds = rounds(&[2.0, 1.0, 3.0, 2.5, 1.5, 2.0]);
    let estimate = estimate(&round_medians(&rounds)).unwrap();
    assert_eq!((estimate.value, estimate.interval), (2.0, Some([1.0, 3.0])));
}

/// A round that is slow for both leaves the ratio alone.
#[test]
fn a_speedup_is_paired_by_round() {
    let Estimate { value, interval } =
        speedup(&rounds(&[2.0, 20.0, 4.0, 2.0, 8.0, 6.0]), &rounds(&[1.0, 10.0, 2.0, 1.0, 4.0, 3.0]))
            .unwrap();
    let [low, high] = interval.unwrap();
    assert!([value, low, high].iter().all(|ratio| (ratio - 2.0).abs() < 1e-12), "{value} [{low}, {high}]");
}

#[test]
fn too_few_rounds_have_metrics_without_intervals() {
    let one = Reported::of(&two(&[2.0], &[1.0]));
    let speedup = &one.metrics["int8.batch1.speedup"];
    assert_eq!((speedup.value, speedup.interval), (2.0, None));
    assert!(speedup.basis.starts_with("1 round of 3 calls, 2 threads, "), "{}", speedup.basis);
    assert_eq!(one.metrics["int8.load_ms"].basis, "1 process");
    assert!(one.logs.contains("no 95 % intervals: 1 round measured, they take at least 6"), "{}", one.logs);
    assert!(one.figures["latency"].caption.starts_with("Median of round medians over 1 round, "));
    let two_rounds = Reported::of(&two(&[2.0, 3.0], &[1.0, 1.0]));
    assert!(two_rounds.logs.contains("so measure more of them: `fp32` at batch 1"), "{}", two_rounds.logs);
    let six = Reported::of(&two(&[2.0; 6], &[1.0; 6]));
    assert_eq!(six.metrics["int8.batch1.speedup"].interval, Some([2.0, 2.0]));
    assert!(six.metrics["fp32.batch1.median_ms"].basis.starts_with("6 rounds of 3 calls"));
    assert!(!six.logs.contains("no 95 % intervals"), "{}", six.logs);
}

#[test]
fn metrics_are_named_by_variant_and_batch() {
    let reported = Reported::of(&two(&[2.0, 2.2, 2.1], &[1.0, 1.1, 1.05]));
    let expected = [
        "disturbed",
        "fp32.batch1.first_result_ms",
        "fp32.batch1.images_per_second",
        "fp32.batch1.median_ms",
        "fp32.batch1.p95_ms",
        "fp32.load_ms",
        "fp32.peak_memory_kb",
        "int8.batch1.first_result_ms",
        "int8.batch1.images_per_second",
        "int8.batch1.median_ms",
        "int8.batch1.p95_ms",
        "int8.batch1.speedup",
        "int8.load_ms",
        "int8.peak_memory_kb",
        "measured_again",
    ];
    assert_eq!(reported.metrics.keys().collect::<Vec<_>>(), expected);
    assert_eq!(reported.metrics["int8.batch1.first_result_ms"].value, 15.5);
    assert_eq!(
        reported.figures.keys().collect::<Vec<_>>(),
        ["cold_start", "latency", "latency.batch1", "machine"]
    );
    assert!(!reported.rows("latency")[0].contains_key("threads"));
    let cold = &reported.rows("cold_start")[1];
    assert_eq!((cold["load"], cold["first result, batch 1"]), (&Cell::Number(5.0), &Cell::Number(15.5)));
}

#[test]
fn other_numbers_of_threads_are_a_part_of_the_name_and_a_column() {
    let mut measured = two(&[2.0; 3], &[1.0; 3]);
    measured.insert(case("fp32", 1), rounds(&[6.0; 3]));
    measured.insert(case("int8", 1), rounds(&[2.0; 3]));
    let reported = Reported::of(&measured);
    assert_eq!(reported.metrics["int8.batch1.speedup"].value, 2.0);
    let single = &reported.metrics["int8.batch1.threads1.speedup"];
    assert_eq!(single.value, 3.0);
    assert!(single.basis.contains("3 rounds of 3 calls, 1 thread, "), "{}", single.basis);
    let Content::Distribution { groups, .. } = &reported.figures["latency.batch1.threads1"].content else {
        panic!("no distribution")
    };
    assert_eq!(groups.len(), 2);
    for figure in ["latency", "machine"] {
        let threads: Vec<_> = reported.rows(figure).iter().map(|row| row["threads"].clone()).collect();
        assert_eq!(threads, [1.0, 1.0, 2.0, 2.0].map(Cell::Number));
    }
    assert_eq!(reported.rows("cold_start").len(), 2);
}

#[test]
fn what_is_too_noisy_is_not_stated() {
    let reported = Reported::of(&two(&[2.0; 6], &[1.0, 1.1, 2.5, 1.2, 1.3, 1.2]));
    assert!(reported.metrics.contains_key("fp32.batch1.median_ms"));
    assert!(
        !reported.metrics.keys().any(|name| name.starts_with("int8.batch1.")),
        "{:?}",
        reported.metrics.keys()
    );
    assert!(reported.metrics.contains_key("int8.load_ms"));
    assert_eq!(
        reported.refusal,
        "too noisy to state a latency: `int8` at batch 1 (its 95 % interval is 125 % of the median); close what runs beside or \
         raise `rounds`"
    );
    let rows = reported.rows("latency");
    assert_eq!(rows[0]["median"], &Cell::Number(2.0));
    assert_eq!(rows[1]["median"], &Cell::Text("1.200 (too noisy)".into()));
    assert_eq!((rows[1]["low"], rows[1]["high"]), (&Cell::Number(1.0), &Cell::Number(2.5)));
    assert!(["p95", "throughput", "faster than fp32"].iter().all(|name| rows[1][name] == &Cell::Empty));
    assert!(reported.figures["latency"].caption.contains("wider than 100 % of the median"));
}

/// Of a speedup, too, though the variant's own times are steady.
#[test]
fn nothing_is_faster_than_a_baseline_that_is_too_noisy() {
    let reported = Reported::of(&two(&[1.0, 1.1, 2.5, 1.2, 1.3, 1.2], &[1.0; 6]));
    assert!(reported.metrics.contains_key("int8.batch1.median_ms"));
    assert!(!reported.metrics.contains_key("int8.batch1.speedup"));
}

#[test]
fn a_median_of_disturbed_rounds_is_not_stated_and_one_of_others_is() {
    let disturbed = |count: usize| {
        let mut measured = two(&[2.0; 5], &[1.0; 5]);
        let rounds = measured.get_mut(&case("int8", 2)).unwrap();
        for round in rounds.iter_mut().take(count) {
            *round = Measurement { disturbed: true, again: 2, ..round.clone() };
        }
        Reported::of(&measured)
    };
    let few = disturbed(2);
    assert_eq!(few.metrics["int8.batch1.median_ms"].value, 1.0);
    assert_eq!((few.metrics["measured_again"].value, few.metrics["disturbed"].value), (4.0, 2.0));
    assert_eq!(few.metrics["disturbed"].basis, "of 10 measurements");
    assert!(few.logs.contains("4 times measured again"), "{}", few.logs);
    assert_eq!(few.refusal, "");
    let many = disturbed(3);
    let stated: Vec<_> = many.metrics.keys().filter(|name| name.starts_with("int8.")).collect();
    assert_eq!(stated, ["int8.peak_memory_kb"]);
    assert!(many.metrics.contains_key("fp32.batch1.median_ms") && many.metrics.contains_key("fp32.load_ms"));
    assert_eq!(
        many.refusal,
        "too noisy to state a latency: `int8` at batch 1 (3 of 5 rounds disturbed); close what runs beside"
    );
    let marked = |text: &str| Cell::Text(text.into());
    assert_eq!(many.rows("latency")[1]["median"], &marked("1.000 (disturbed)"));
    let cold = &many.rows("cold_start")[1];
    assert_eq!(cold["load"], &marked("5.0 (disturbed)"));
    assert_eq!(cold["first result, batch 1"], &marked("15.0 (disturbed)"));
    let Content::Distribution { groups, .. } = &many.figures["latency.batch1"].content else { panic!() };
    assert_eq!(groups.iter().map(|group| &*group.name).collect::<Vec<_>>(), ["fp32", "int8 (disturbed)"]);
    let row = &many.rows("machine")[1];
    assert_eq!((row["measured again"], row["rounds disturbed"]), (&Cell::Number(6.0), &Cell::Number(3.0)));
    assert_eq!(
        (row["CPUs of others"], row["CPUs stolen, at most"]),
        (&Cell::Number(0.5), &Cell::Number(0.125))
    );
    assert_eq!((row["clock before"], row["clock after"]), (&Cell::Number(800.0), &Cell::Number(3000.0)));
    assert_eq!((row["warm-up calls"], row["forced waits"]), (&Cell::Number(20.0), &Cell::Number(3.0)));
}

#[test]
fn what_was_not_measured_to_its_end_is_not_stated() {
    let mut measured = two(&[2.0; 3], &[1.0; 3]);
    measured.get_mut(&case("int8", 2)).unwrap().pop();
    let seconds = std::time::Duration::from_secs;
    let gave_up = GaveUp::OutOfTime { took: seconds(30), undisturbed: seconds(10) };
    let reported = Reported::of_rounds(7, &measured, Some(gave_up));
    assert!(!reported.metrics.keys().any(|name| name.contains("batch1")), "{:?}", reported.metrics.keys());
    assert_eq!(
        reported.refusal,
        "too noisy to state a latency: `fp32` at batch 1 (3 of 7 rounds made), `int8` at batch 1 (2 of 7 rounds made); gave up in \
         round 3 of 7: after 30 s it had no time left: undisturbed it would take about 10 s; close what runs beside or raise \
         `patience`"
    );
    assert_eq!(reported.rows("latency")[1]["median"], &Cell::Text("1.000 (unfinished)".into()));
    let caption = &reported.figures["latency"].caption;
    assert!(caption.starts_with("Median of round medians over 2 to 3 of 7 rounds, "), "{caption}");
    assert!(reported.logs.contains("no 95 % intervals: 3 rounds measured"), "{}", reported.logs);
    let one = Reported::of_rounds(3, &two(&[2.0], &[1.0]), Some(gave_up));
    let caption = &one.figures["latency"].caption;
    assert!(caption.starts_with("Median of round medians over 1 of 3 rounds, "), "{caption}");
}

#[test]
fn warnings_name_a_few_cases_and_count_the_rest() {
    let texts: Vec<String> = (1..=6).map(|number| number.to_string()).collect();
    assert_eq!(listed(&texts[..4]), "1, 2, 3, 4");
    assert_eq!(listed(&texts), "1, 2, 3, 4 and 2 more");
}
