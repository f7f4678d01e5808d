//! Tables and distributions of a bench. Knows outcomes, not how they came about.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Axis, Cell, Column, Content, Figure, Group, counted};

use super::Params;
use super::measurement::Measurement;
use super::outcome::Outcome;
use crate::request;
use crate::statistics::{FEWEST_ROUNDS, median, quantile};

/// Most times of one variant that a figure carries.
const SHOWN: usize = 200;

fn number(value: Option<f64>) -> Cell {
    value.map_or(Cell::Empty, Cell::Number)
}

/// Whether tables have a column of thread counts: where the stage's are not the only ones.
fn shows_threads(outcomes: &[Outcome<'_>], own_threads: usize) -> bool {
    outcomes.iter().any(|outcome| outcome.case.threads != own_threads)
}

/// The columns that say what is timed.
fn case_columns(with_threads: bool) -> Vec<Column> {
    let mut columns = vec![Column::new("variant", "", 0), Column::new("batch", "", 0)];
    if with_threads {
        columns.push(Column::new("threads", "", 0));
    }
    columns
}

fn case_cells(outcome: &Outcome<'_>, with_threads: bool) -> Vec<Cell> {
    let mut cells = vec![Cell::Text(outcome.case.variant.clone()), Cell::Number(outcome.case.batch as f64)];
    if with_threads {
        cells.push(Cell::Number(outcome.case.threads as f64));
    }
    cells
}

/// Times of single calls of the outcomes, which are of one batch size and number of threads.
pub(super) fn distribution(id: &str, outcomes: &[Outcome<'_>], basis: &str) -> Figure {
    let group = |outcome: &Outcome<'_>| {
        let calls: Vec<f64> =
            outcome.rounds.iter().flat_map(|round| &round.result.times_ms).copied().collect();
        let name = match &outcome.noise {
            None => outcome.case.variant.clone(),
            Some(noise) => format!("{} ({})", outcome.case.variant, noise.mark()),
        };
        Group { name, values: thinned(&calls, SHOWN) }
    };
    let batch = outcomes.first().map_or(0, |outcome| outcome.case.batch);
    let threads = outcomes.first().map_or(0, |outcome| outcome.case.threads);
    Figure {
        id: id.into(),
        title: format!("Latency at batch {batch}, {}", request::threads(threads)),
        caption: format!(
            "Time of one call in the order taken, at most {SHOWN} evenly spaced calls a variant. {basis}."
        ),
        content: Content::Distribution {
            x: Axis { log: true, ..Axis::new("time of a call", "ms") },
            groups: outcomes.iter().map(group).collect(),
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

/// What was seen, and why it is not stated.
fn marked(value: f64, digits: usize, mark: &str) -> Cell {
    Cell::Text(format!("{value:.digits$} ({mark})"))
}

/// All latencies; those that are not stated are marked.
pub(super) fn latency(
    outcomes: &[Outcome<'_>],
    params: &Params,
    threads: usize,
    cpu: &str,
    unit: &str,
) -> Figure {
    let with_threads = shows_threads(outcomes, threads);
    let row = |outcome: &Outcome<'_>| {
        let stated = |value: f64| if outcome.noise.is_none() { Cell::Number(value) } else { Cell::Empty };
        let interval = outcome.median_ms.interval;
        let mut cells = case_cells(outcome, with_threads);
        cells.extend([
            match &outcome.noise {
                Some(noise) => marked(outcome.median_ms.value, 3, noise.mark()),
                None => Cell::Number(outcome.median_ms.value),
            },
            number(interval.map(|[low, _]| low)),
            number(interval.map(|[_, high]| high)),
            stated(outcome.p95_ms),
            stated(outcome.case.batch as f64 * 1e3 / outcome.median_ms.value),
            number(outcome.speedup.map(|speedup| speedup.value)),
        ]);
        cells
    };
    let mut columns = case_columns(with_threads);
    columns.extend([
        Column::new("median", "ms", 3),
        Column::new("low", "ms", 3),
        Column::new("high", "ms", 3),
        Column::new("p95", "ms", 3),
        Column::new("throughput", &format!("{unit}/s"), 0),
        Column::new(&format!("faster than {}", params.baseline.as_deref().unwrap_or("a baseline")), "×", 2),
    ]);
    Figure {
        id: "latency".into(),
        title: "Latency".into(),
        caption: format!(
            "Median of round medians{} over {}, and the 95th percentile of all calls; every measurement in a \
             process of its own, in random order.{} {}{cpu}.",
            if most(outcomes) < FEWEST_ROUNDS { "" } else { " with its 95 % interval" },
            rounds(outcomes, params.rounds),
            refusals(outcomes, params),
            if with_threads { String::new() } else { format!("{}, ", request::threads(threads)) },
        ),
        content: Content::Table { columns, rows: outcomes.iter().map(row).collect() },
    }
}

/// The most rounds that were made of a case.
pub(super) fn most(outcomes: &[Outcome<'_>]) -> usize {
    outcomes.iter().map(|outcome| outcome.rounds.len()).max().unwrap_or(0)
}

/// How many rounds were made, and of how many where that is not all: `7 rounds`, `1 to 2 of 7 rounds`.
fn rounds(outcomes: &[Outcome<'_>], wanted: usize) -> String {
    let most = most(outcomes);
    let fewest = outcomes.iter().map(|outcome| outcome.rounds.len()).min().unwrap_or(0);
    let all = counted(wanted, "round", "rounds");
    match (fewest, most) {
        _ if fewest >= wanted => all,
        _ if fewest == most => format!("{most} of {all}"),
        _ => format!("{fewest} to {most} of {all}"),
    }
}

/// What the marks mean, where there are any.
fn refusals(outcomes: &[Outcome<'_>], params: &Params) -> String {
    if outcomes.iter().all(|outcome| outcome.noise.is_none()) {
        return String::new();
    }
    format!(
        " In brackets: what was seen and is not stated, because others disturbed most rounds (disturbed), the interval is wider \
         than {:.0} % of the median (too noisy), or the bench gave up (unfinished).",
        100.0 * params.max_interval
    )
}

/// How long each variant takes from its file to a first result, and its memory.
pub(super) fn cold_start(outcomes: &[Outcome<'_>], threads: usize) -> Figure {
    let shown = shown_threads(outcomes, threads);
    let batches: BTreeSet<usize> = outcomes.iter().map(|outcome| outcome.case.batch).collect();
    let mut by_variant: BTreeMap<&str, Vec<&Outcome<'_>>> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.case.threads == shown) {
        by_variant.entry(&outcome.case.variant).or_default().push(outcome);
    }
    let row = |(name, outcomes): (&str, Vec<&Outcome<'_>>)| {
        let results: Vec<_> =
            outcomes.iter().flat_map(|outcome| outcome.rounds).map(|round| &round.result).collect();
        let loads: Vec<f64> = results.iter().map(|result| result.load_ms).collect();
        let disturbed = outcomes.iter().flat_map(|outcome| outcome.rounds).filter(|round| round.disturbed);
        let load = match median(&loads) {
            Some(load) if 2 * disturbed.count() > loads.len() => marked(load, 1, "disturbed"),
            load => number(load),
        };
        let first = |batch: &usize| match outcomes.iter().find(|outcome| outcome.case.batch == *batch) {
            Some(Outcome { noise: Some(noise), first_result_ms, .. }) => {
                marked(first_result_ms.value, 1, noise.mark())
            }
            outcome => number(outcome.map(|outcome| outcome.first_result_ms.value)),
        };
        let peak = results.iter().filter_map(|result| result.peak_memory_kb).max();
        let mut cells = vec![Cell::Text(name.into()), load];
        cells.extend(batches.iter().map(first));
        cells.push(number(peak.map(|kb| kb as f64)));
        cells
    };
    let mut columns = vec![Column::new("variant", "", 0), Column::new("load", "ms", 1)];
    columns.extend(batches.iter().map(|batch| Column::new(&format!("first result, batch {batch}"), "ms", 1)));
    columns.push(Column::new("peak memory", "KB", 0));
    Figure {
        id: "cold_start".into(),
        title: "Cold start".into(),
        caption: format!(
            "From the start of reading the file until the model can be called, and until the first result is there; \
             medians over processes, {}. Starting the process and loading the runtime's library come before. Memory \
             is the largest resident set of a process.",
            request::threads(shown)
        ),
        content: Content::Table { columns, rows: by_variant.into_iter().map(row).collect() },
    }
}

/// The stage's number of threads, or the least where it was not timed with that.
fn shown_threads(outcomes: &[Outcome<'_>], own: usize) -> usize {
    let mut counts = outcomes.iter().map(|outcome| outcome.case.threads);
    if counts.clone().any(|threads| threads == own) { own } else { counts.next().unwrap_or(own) }
}

/// What the machine did while each case was measured.
pub(super) fn machine(outcomes: &[Outcome<'_>], threads: usize, governor: Option<&str>) -> Figure {
    let with_threads = shows_threads(outcomes, threads);
    let row = |outcome: &Outcome<'_>| {
        let rounds = outcome.rounds;
        let of = |value: &dyn Fn(&Measurement) -> Option<f64>| -> Vec<f64> {
            rounds.iter().filter_map(value).collect()
        };
        let others = of(&|round| round.around.business.map(|business| business.others));
        let stolen = of(&|round| round.around.business.map(|business| business.stolen));
        let switches = of(&|round| round.result.switches.map(|switches| switches as f64));
        let clock =
            |end: usize| median(&of(&|round| round.around.clock_mhz.and_then(|ends| ends.get(end).copied())));
        let mut cells = case_cells(outcome, with_threads);
        cells.extend([
            number(median(&of(&|round| Some(round.result.warmup_calls as f64)))),
            Cell::Number(rounds.iter().map(|round| round.again).sum::<usize>() as f64),
            Cell::Number(rounds.iter().filter(|round| round.disturbed).count() as f64),
            number(median(&others)),
            number(quantile(&others, 1.0)),
            number(quantile(&stolen, 1.0)),
            number(median(&switches)),
            number(clock(0)),
            number(clock(1)),
        ]);
        cells
    };
    let mut columns = case_columns(with_threads);
    columns.extend([
        Column::new("warm-up calls", "", 0),
        Column::new("measured again", "", 0),
        Column::new("rounds disturbed", "", 0),
        Column::new("CPUs of others", "", 2),
        Column::new("at most", "", 2),
        Column::new("CPUs stolen, at most", "", 2),
        Column::new("forced waits", "", 0),
        Column::new("clock before", "MHz", 0),
        Column::new("clock after", "MHz", 0),
    ]);
    Figure {
        id: "machine".into(),
        title: "The machine meanwhile".into(),
        caption: format!(
            "Medians over rounds where nothing else is said. CPUs of others: kept busy on average by anything but the \
             measurement, time that a hypervisor took included, which is also shown as stolen. Measured again: how many \
             measurements were thrown away because others were at work. Forced waits: how often a thread had to make \
             room for another during the timed calls. Clock: the highest of any CPU{}.",
            governor.map_or(String::new(), |governor| format!(" (governor {governor})"))
        ),
        content: Content::Table { columns, rows: outcomes.iter().map(row).collect() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_short_samples_and_spreads_over_long_ones() {
        assert_eq!(thinned(&[1.0, 2.0], 3), [1.0, 2.0]);
        let long: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(thinned(&long, 4), [0.0, 250.0, 500.0, 750.0]);
    }
}
