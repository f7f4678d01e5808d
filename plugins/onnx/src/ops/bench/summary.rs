//! From raw times to metrics and figures: medians over rounds, bootstrap intervals, speedups. Knows no process.

use std::collections::BTreeMap;

use protocol::{Axis, Cell, Column, Content, Figure, Group, Metric, Reporter, TimeResult};

use super::{Params, Rounds, machine};
use crate::request::{self, counted};
use crate::statistics::{FEWEST_ROUNDS, bootstrap, median, quantile};

/// Most times of one variant that a figure carries.
const SHOWN: usize = 200;

/// Spread of the round medians, relative to their median, above which a measurement is called noisy.
const NOISY: f64 = 0.10;

/// What one variant's rounds at one batch size come to.
struct Latency {
    median_ms: f64,
    interval: Option<[f64; 2]>,
    p95_ms: f64,
}

/// Sends the metrics and figures of all variants.
pub(crate) fn report(
    params: &Params,
    threads: usize,
    measured: &BTreeMap<(String, usize), Rounds>,
    reporter: &mut Reporter<'_>,
) {
    let cpu = machine::cpu_model();
    let (mut rows, mut noisy) = (Vec::new(), Vec::new());
    for (&batch, &calls) in params.batches.iter().zip(&params.calls) {
        let basis = format!(
            "{} of {}, {}, {cpu}",
            counted(params.rounds, "round", "rounds"),
            counted(calls, "call", "calls"),
            request::threads(threads)
        );
        let metric = |value, unit: &str, interval: Option<[f64; 2]>| {
            let metric = Metric::new(value, unit).basis(&basis);
            interval.map_or(metric.clone(), |[low, high]| metric.interval(low, high))
        };
        let of_batch: Vec<(&str, &Rounds)> = measured
            .iter()
            .filter(|((_, size), _)| *size == batch)
            .map(|((name, _), rounds)| (name.as_str(), rounds))
            .collect();
        let baseline = of_batch.iter().find(|(name, _)| Some(*name) == params.baseline.as_deref());
        for (name, rounds) in &of_batch {
            let Some(latency) = latency(rounds, params.seed) else { continue };
            noisy.extend(noise(name, batch, rounds, reporter));
            let key = |what: &str| format!("{name}.batch{batch}.{what}");
            let per_second = |ms: f64| batch as f64 * 1e3 / ms;
            reporter.metric(&key("median_ms"), metric(latency.median_ms, "ms", latency.interval));
            reporter.metric(&key("p95_ms"), metric(latency.p95_ms, "ms", None));
            let interval = latency.interval.map(|[low, high]| [per_second(high), per_second(low)]);
            let throughput = metric(per_second(latency.median_ms), "images/s", interval);
            reporter.metric(&key("images_per_second"), throughput);
            let speedup = baseline
                .filter(|(other, _)| other != name)
                .and_then(|(_, reference)| speedup(reference, rounds, params.seed));
            if let Some((ratio, interval)) = speedup {
                reporter.metric(&key("speedup"), metric(ratio, "×", interval));
            }
            rows.push(row(name, batch, &latency, speedup.map(|(ratio, _)| ratio)));
        }
        reporter.figure(distribution(batch, &of_batch, &basis));
    }
    let too_few = params.rounds < FEWEST_ROUNDS;
    if too_few {
        let rounds = counted(params.rounds, "round", "rounds");
        reporter.info(format!("no 95 % intervals: {rounds} measured, they take at least {FEWEST_ROUNDS}"));
    }
    if !noisy.is_empty() {
        let advice = if too_few { "measure more of them" } else { "trust the intervals only" };
        reporter.warn(format!("the rounds differ, so {advice}: {}", noisy.join(", ")));
    }
    report_loading(measured, reporter);
    reporter.figure(table(rows, params, threads, &cpu));
}

/// Medians of each round's calls.
fn round_medians(rounds: &[TimeResult]) -> Vec<f64> {
    rounds.iter().filter_map(|round| median(&round.times_ms)).collect()
}

fn drawn(values: &[f64], draw: &[usize]) -> Option<f64> {
    median(&draw.iter().filter_map(|&round| values.get(round).copied()).collect::<Vec<_>>())
}

/// Median of round medians with its bootstrap interval over rounds where they are enough, and the 95th percentile
/// of all calls.
fn latency(rounds: &[TimeResult], seed: u64) -> Option<Latency> {
    let medians = round_medians(rounds);
    let calls: Vec<f64> = rounds.iter().flat_map(|round| &round.times_ms).copied().collect();
    Some(Latency {
        median_ms: median(&medians)?,
        interval: bootstrap(medians.len(), seed, |draw| drawn(&medians, draw)),
        p95_ms: quantile(&calls, 0.95)?,
    })
}

/// How many times faster `rounds` are than `reference`: the ratio of medians. Rounds are drawn in pairs, so that
/// what slows a whole round cancels.
fn speedup(reference: &[TimeResult], rounds: &[TimeResult], seed: u64) -> Option<(f64, Option<[f64; 2]>)> {
    let (reference, variant) = (round_medians(reference), round_medians(rounds));
    let ratio = |draw: &[usize]| Some(drawn(&reference, draw)? / drawn(&variant, draw)?);
    let estimate = median(&reference)? / median(&variant)?;
    Some((estimate, bootstrap(reference.len().min(variant.len()), seed, ratio)))
}

/// Logs how far the medians of the rounds lie apart. Some text where that is too far for a claim.
fn noise(name: &str, batch: usize, rounds: &[TimeResult], reporter: &mut Reporter<'_>) -> Option<String> {
    let medians = round_medians(rounds);
    let (low, middle, high) = (quantile(&medians, 0.0)?, median(&medians)?, quantile(&medians, 1.0)?);
    let spread = (high - low) / middle;
    reporter.info(format!("`{name}` at batch {batch}: round medians from {low:.3} to {high:.3} ms"));
    (spread > NOISY).then(|| format!("`{name}` at batch {batch} by {:.0} %", 100.0 * spread))
}

/// Load time and peak memory by variant, over all its processes.
fn report_loading(measured: &BTreeMap<(String, usize), Rounds>, reporter: &mut Reporter<'_>) {
    let mut by_name: BTreeMap<&str, Vec<&TimeResult>> = BTreeMap::new();
    for ((name, _), rounds) in measured {
        by_name.entry(name).or_default().extend(rounds);
    }
    for (name, results) in by_name {
        let basis = counted(results.len(), "process", "processes");
        let loads: Vec<f64> = results.iter().map(|result| result.load_ms).collect();
        if let Some(load) = median(&loads) {
            reporter.metric(&format!("{name}.load_ms"), Metric::new(load, "ms").basis(&basis));
        }
        if let Some(peak) = results.iter().filter_map(|result| result.peak_memory_kb).max() {
            let metric = Metric::new(peak as f64, "KB").basis(format!("largest of {basis}"));
            reporter.metric(&format!("{name}.peak_memory_kb"), metric);
        }
    }
}

fn distribution(batch: usize, variants: &[(&str, &Rounds)], basis: &str) -> Figure {
    let group = |(name, rounds): &(&str, &Rounds)| {
        let calls: Vec<f64> = rounds.iter().flat_map(|round| &round.times_ms).copied().collect();
        Group { name: (*name).into(), values: thinned(&calls, SHOWN) }
    };
    Figure {
        id: format!("latency.batch{batch}"),
        title: format!("Latency at batch {batch}"),
        caption: format!(
            "Time of one call in the order taken, at most {SHOWN} evenly spaced calls a variant. {basis}."
        ),
        content: Content::Distribution {
            x: Axis { log: true, ..Axis::new("time of a call", "ms") },
            groups: variants.iter().map(group).collect(),
        },
    }
}

/// At most `most` values, evenly spaced.
fn thinned(values: &[f64], most: usize) -> Vec<f64> {
    if values.len() <= most {
        return values.to_vec();
    }
    (0..most).filter_map(|place| values.get(place * values.len() / most).copied()).collect()
}

fn row(name: &str, batch: usize, latency: &Latency, speedup: Option<f64>) -> Vec<Cell> {
    let end = |end: fn([f64; 2]) -> f64| latency.interval.map_or(Cell::Empty, |ends| Cell::Number(end(ends)));
    vec![
        Cell::Text(name.into()),
        Cell::Number(batch as f64),
        Cell::Number(latency.median_ms),
        end(|[low, _]| low),
        end(|[_, high]| high),
        Cell::Number(latency.p95_ms),
        Cell::Number(batch as f64 * 1e3 / latency.median_ms),
        speedup.map_or(Cell::Empty, Cell::Number),
    ]
}

fn table(rows: Vec<Vec<Cell>>, params: &Params, threads: usize, cpu: &str) -> Figure {
    let column = |label: &str, unit: &str, digits| Column { label: label.into(), unit: unit.into(), digits };
    let against = params.baseline.as_deref().unwrap_or("a baseline");
    Figure {
        id: "latency".into(),
        title: "Latency".into(),
        caption: format!(
            "Median of round medians{} over {}, and the 95th percentile of all calls; every measurement in a \
             process of its own, in random order. {}, {cpu}.",
            if params.rounds < FEWEST_ROUNDS { "" } else { " with its 95 % bootstrap interval" },
            counted(params.rounds, "round", "rounds"),
            request::threads(threads)
        ),
        content: Content::Table {
            columns: vec![
                column("variant", "", 0),
                column("batch", "", 0),
                column("median", "ms", 3),
                column("low", "ms", 3),
                column("high", "ms", 3),
                column("p95", "ms", 3),
                column("throughput", "images/s", 0),
                column(&format!("faster than {against}"), "×", 2),
            ],
            rows,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(medians: &[f64]) -> Rounds {
        let result = |&ms: &f64| TimeResult {
            batch: 1,
            times_ms: vec![ms * 0.9, ms, ms * 1.5],
            load_ms: 5.0,
            peak_memory_kb: Some(1000),
        };
        medians.iter().map(result).collect()
    }

    #[test]
    fn the_latency_is_the_median_of_round_medians() {
        let latency = latency(&rounds(&[2.0, 1.0, 3.0, 2.5, 1.5]), 1).unwrap();
        assert_eq!(latency.median_ms, 2.0);
        let [low, high] = latency.interval.unwrap();
        assert!((1.0..2.0).contains(&low) && 2.0 < high && high <= 3.0, "[{low}, {high}]");
        assert!(latency.p95_ms > 3.0 && latency.p95_ms <= 4.5);
    }

    /// A round that is slow for both leaves the ratio alone.
    #[test]
    fn a_speedup_is_paired_by_round() {
        let (ratio, interval) = speedup(&rounds(&[2.0, 20.0, 4.0]), &rounds(&[1.0, 10.0, 2.0]), 1).unwrap();
        let [low, high] = interval.unwrap();
        assert!(
            [ratio, low, high].iter().all(|value| (value - 2.0).abs() < 1e-12),
            "{ratio} [{low}, {high}]"
        );
    }

    #[test]
    fn thinning_keeps_short_samples_and_spreads_over_long_ones() {
        assert_eq!(thinned(&[1.0, 2.0], 3), [1.0, 2.0]);
        let long: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(thinned(&long, 4), [0.0, 250.0, 500.0, 750.0]);
    }

    /// What a baseline and a variant are reported as, by the medians of their rounds.
    fn reported(fp32: &[f64], int8: &[f64]) -> String {
        let params = Params {
            batches: vec![1],
            calls: vec![3],
            rounds: fp32.len(),
            baseline: Some("fp32".into()),
            ..Params::default()
        };
        let measured =
            BTreeMap::from([(("fp32".to_owned(), 1), rounds(fp32)), (("int8".to_owned(), 1), rounds(int8))]);
        let mut out = Vec::new();
        report(&params, 2, &measured, &mut Reporter::new(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn too_few_rounds_have_metrics_without_intervals() {
        let one = reported(&[2.0], &[1.0]);
        assert!(one.contains("int8.batch1.speedup") && !one.contains("\"interval\""), "{one}");
        assert!(one.contains("1 round of 3 calls, 2 threads") && one.contains("\"1 process\""), "{one}");
        assert!(one.contains("no 95 % intervals: 1 round measured, they take at least 3"), "{one}");
        assert!(one.contains("Median of round medians over 1 round, "), "{one}");
        let two = reported(&[2.0, 3.0], &[1.0, 1.0]);
        assert!(two.contains("so measure more of them: `fp32`"), "{two}");
        let three = reported(&[2.0, 2.0, 2.0], &[1.0, 1.0, 1.0]);
        assert!(three.contains("\"interval\":[") && three.contains("3 rounds of 3 calls"), "{three}");
        assert!(!three.contains("no 95 % intervals"), "{three}");
    }

    #[test]
    fn metrics_are_named_by_variant_and_batch() {
        let text = reported(&[2.0, 2.2, 2.1], &[1.0, 1.1, 1.05]);
        for name in ["fp32.batch1.median_ms", "int8.batch1.speedup", "int8.load_ms", "fp32.peak_memory_kb"] {
            assert!(text.contains(&format!("\"name\":\"{name}\"")), "{name} in {text}");
        }
        assert!(!text.contains("fp32.batch1.speedup"), "{text}");
        assert!(text.contains("\"kind\":\"distribution\"") && text.contains("\"kind\":\"table\""));
    }
}
