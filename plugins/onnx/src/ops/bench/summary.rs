//! From what the rounds of each case come to, to metrics, figures and words. Knows no process.

use std::collections::BTreeMap;

use protocol::{Metric, Reporter, counted};

use super::answer::Ratio;
use super::measurement::{Case, Measured, Measurement};
use super::outcome::{Estimate, Noise, Outcome, basis, label, outcomes_of, place, round_medians};
use super::patience::GaveUp;
use super::{Params, figures, machine};
use crate::request;
use crate::statistics::{FEWEST_ROUNDS, median, quantile};

/// Spread of the round medians, relative to their median, above which a measurement is called noisy.
const NOISY: f64 = 0.10;

/// Most cases that a warning names.
const LISTED: usize = 4;

/// Sends the metrics and figures of all cases; `threads` are the stage's, and `unit` is what a batch has several of. How fast each variant is against the baseline with
/// these threads, by its name; and, where latencies could not be stated, which and why.
pub(crate) fn report(
    params: &Params,
    threads: usize,
    measured: &Measured,
    gave_up: Option<GaveUp>,
    unit: &str,
    reporter: &mut Reporter<'_>,
) -> (BTreeMap<String, Vec<Ratio>>, Option<String>) {
    let cpu = machine::cpu_model();
    let entries: Vec<(&Case, &[Measurement])> =
        measured.iter().map(|(case, rounds)| (case, rounds.as_slice())).collect();
    let mut outcomes = Vec::new();
    for group in entries.chunk_by(|(one, _), (two, _)| (one.threads, one.batch) == (two.threads, two.batch)) {
        let of_group = outcomes_of(params, group);
        for outcome in &of_group {
            send(outcome, &cpu, threads, unit, reporter);
        }
        if let Some(first) = of_group.first() {
            let id = format!("latency.{}", place(first.case, threads));
            reporter.figure(figures::distribution(&id, &of_group, &basis(first, &cpu)));
        }
        outcomes.extend(of_group);
    }
    report_spread(threads, &outcomes, reporter);
    report_disturbances(measured, reporter);
    report_loading(measured, reporter);
    reporter.figure(figures::latency(&outcomes, params, threads, &cpu, unit));
    reporter.figure(figures::cold_start(&outcomes, threads));
    reporter.figure(figures::machine(&outcomes, threads, machine::governor().as_deref()));
    let mut ratios: BTreeMap<String, Vec<Ratio>> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.case.threads == threads) {
        if let Some(Estimate { value, interval }) = outcome.speedup {
            let ratio = Ratio { batch: outcome.case.batch, faster: value, interval };
            ratios.entry(outcome.case.variant.clone()).or_default().push(ratio);
        }
    }
    (ratios, refusal(params, threads, &outcomes, gave_up))
}

fn send(outcome: &Outcome<'_>, cpu: &str, threads: usize, unit: &str, reporter: &mut Reporter<'_>) {
    let Outcome { case, median_ms, .. } = outcome;
    let (low, high) =
        (quantile(&round_medians(outcome.rounds), 0.0), quantile(&round_medians(outcome.rounds), 1.0));
    if let (Some(low), Some(high)) = (low, high) {
        reporter.info(format!("{}: round medians from {low:.3} to {high:.3} ms", label(case, threads)));
    }
    if outcome.noise.is_some() {
        return;
    }
    let basis = basis(outcome, cpu);
    let key = |what: &str| format!("{}.{}.{what}", case.variant, place(case, threads));
    let per_second = |ms: f64| case.batch as f64 * 1e3 / ms;
    let throughput = Estimate {
        value: per_second(median_ms.value),
        interval: median_ms.interval.map(|[low, high]| [per_second(high), per_second(low)]),
    };
    let p95 = Estimate { value: outcome.p95_ms, interval: None };
    reporter.metric(&key("median_ms"), median_ms.metric("ms", &basis));
    reporter.metric(&key("p95_ms"), p95.metric("ms", &basis));
    reporter.metric(&key("images_per_second"), throughput.metric(&format!("{unit}/s"), &basis));
    if let Some(speedup) = &outcome.speedup {
        reporter.metric(&key("speedup"), speedup.metric("×", &basis));
    }
    let processes = format!(
        "{}, {}",
        counted(outcome.rounds.len(), "process", "processes"),
        request::threads(case.threads)
    );
    reporter.metric(&key("first_result_ms"), outcome.first_result_ms.metric("ms", &processes));
}

/// Says what is stated but differs from round to round.
fn report_spread(threads: usize, outcomes: &[Outcome<'_>], reporter: &mut Reporter<'_>) {
    let made = figures::most(outcomes);
    let too_few = made < FEWEST_ROUNDS;
    if too_few {
        let rounds = counted(made, "round", "rounds");
        reporter.info(format!("no 95 % intervals: {rounds} measured, they take at least {FEWEST_ROUNDS}"));
    }
    let stated = outcomes.iter().filter(|outcome| outcome.noise.is_none());
    let differing: Vec<_> = stated.filter_map(|outcome| differs(outcome, threads)).collect();
    if !differing.is_empty() {
        let advice = if too_few { "measure more of them" } else { "trust the intervals only" };
        reporter.warn(format!("the rounds differ, so {advice}: {}", listed(&differing)));
    }
}

/// What is not stated and why, and what helps.
fn refusal(
    params: &Params,
    threads: usize,
    outcomes: &[Outcome<'_>],
    gave_up: Option<GaveUp>,
) -> Option<String> {
    let noises: Vec<Noise> = outcomes.iter().filter_map(|outcome| outcome.noise).collect();
    let refused = outcomes.iter().filter_map(|outcome| {
        outcome.noise.map(|noise| format!("{} ({noise})", label(outcome.case, threads)))
    });
    let refused: Vec<_> = refused.collect();
    if refused.is_empty() {
        return None;
    }
    let rounds = figures::most(outcomes);
    let ended = gave_up
        .map_or(String::new(), |why| format!("; gave up in round {rounds} of {}: {why}", params.rounds));
    let mut help = vec!["close what runs beside"];
    if noises.iter().any(|noise| matches!(noise, Noise::Wide(_))) {
        help.push("raise `rounds`");
    }
    if matches!(gave_up, Some(GaveUp::OutOfTime { .. })) {
        help.push("raise `patience`");
    }
    Some(format!("too noisy to state a latency: {}{ended}; {}", listed(&refused), help.join(" or ")))
}

/// The first few, and how many more there are.
fn listed(texts: &[String]) -> String {
    let shown = texts.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    match texts.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Some text where the medians of the rounds lie far apart.
fn differs(outcome: &Outcome<'_>, threads: usize) -> Option<String> {
    let medians = round_medians(outcome.rounds);
    let spread = (quantile(&medians, 1.0)? - quantile(&medians, 0.0)?) / outcome.median_ms.value;
    (spread > NOISY).then(|| format!("{} by {:.0} %", label(outcome.case, threads), 100.0 * spread))
}

/// How many measurements were disturbed, and how many were thrown away for it.
fn report_disturbances(measured: &Measured, reporter: &mut Reporter<'_>) {
    let all: Vec<&Measurement> = measured.values().flatten().collect();
    let again: usize = all.iter().map(|measurement| measurement.again).sum();
    let disturbed = all.iter().filter(|measurement| measurement.disturbed).count();
    let basis = format!("of {}", counted(all.len(), "measurement", "measurements"));
    for (name, count) in [("measured_again", again), ("disturbed", disturbed)] {
        reporter.metric(name, Metric::new(count as f64, "").basis(&basis));
    }
    if again > 0 {
        reporter.info(format!(
            "{} measured again, because others were at work; {disturbed} {basis} stayed disturbed",
            counted(again, "time", "times")
        ));
    }
}

/// Load time and peak memory by variant, over all its processes. What others do has no part in the memory.
fn report_loading(measured: &Measured, reporter: &mut Reporter<'_>) {
    let mut by_name: BTreeMap<&str, Vec<&Measurement>> = BTreeMap::new();
    for (case, rounds) in measured {
        by_name.entry(&case.variant).or_default().extend(rounds);
    }
    for (name, measurements) in by_name {
        let basis = counted(measurements.len(), "process", "processes");
        let loads: Vec<f64> = measurements.iter().map(|measurement| measurement.result.load_ms).collect();
        let disturbed = measurements.iter().filter(|measurement| measurement.disturbed).count();
        // As a latency, it is not stated where it is that of disturbed processes.
        if let Some(load) = median(&loads).filter(|_| 2 * disturbed <= measurements.len()) {
            reporter.metric(&format!("{name}.load_ms"), Metric::new(load, "ms").basis(&basis));
        }
        let peaks = measurements.iter().filter_map(|measurement| measurement.result.peak_memory_kb);
        if let Some(peak) = peaks.max() {
            let metric = Metric::new(peak as f64, "KB").basis(format!("largest of {basis}"));
            reporter.metric(&format!("{name}.peak_memory_kb"), metric);
        }
    }
}

#[cfg(test)]
mod tests;
