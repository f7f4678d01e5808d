//! What the rounds of a case come to: medians over rounds, their intervals, speedups, and what is too noisy to be stated. Knows
//! measurements; knows no report.

use std::fmt;

use protocol::{Metric, counted};

use super::Params;
use super::measurement::{Case, Measurement, is_disturbed};
use crate::request;
use crate::statistics::{median, median_interval, quantile};

/// A number with its 95 % interval, where there are rounds enough for one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) interval: Option<[f64; 2]>,
}

impl Estimate {
    /// Width of the interval as a share of the number.
    fn width(&self) -> Option<f64> {
        self.interval.map(|[low, high]| (high - low) / self.value)
    }

    pub(super) fn metric(&self, unit: &str, basis: &str) -> Metric {
        let metric = Metric::new(self.value, unit).basis(basis);
        self.interval.map_or(metric.clone(), |[low, high]| metric.interval(low, high))
    }
}

/// Why a latency is not stated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Noise {
    /// The interval is as wide as this share of the median.
    Wide(f64),
    /// Most rounds were disturbed, and so were those measured in their place.
    Disturbed {
        /// So many.
        rounds: usize,
        /// Of so many.
        of: usize,
    },
    /// The bench gave up before its last round.
    Unfinished {
        /// So many rounds were made.
        rounds: usize,
        /// Of so many.
        of: usize,
    },
}

impl Noise {
    /// The mark beside what was seen.
    pub(super) fn mark(&self) -> &'static str {
        match self {
            Self::Wide(_) => "too noisy",
            Self::Disturbed { .. } => "disturbed",
            Self::Unfinished { .. } => "unfinished",
        }
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wide(share) => write!(f, "its 95 % interval is {:.0} % of the median", 100.0 * share),
            Self::Disturbed { rounds, of } => {
                write!(f, "{rounds} of {} disturbed", counted(*of, "round", "rounds"))
            }
            Self::Unfinished { rounds, of } => {
                write!(f, "{rounds} of {} made", counted(*of, "round", "rounds"))
            }
        }
    }
}

/// What the rounds of a case come to.
pub(super) struct Outcome<'a> {
    pub(super) case: &'a Case,
    pub(super) rounds: &'a [Measurement],
    /// Median of round medians.
    pub(super) median_ms: Estimate,
    /// 95th percentile of all calls.
    pub(super) p95_ms: f64,
    /// Median over the processes.
    pub(super) first_result_ms: Estimate,
    /// How many times faster than the baseline; none where either is too noisy.
    pub(super) speedup: Option<Estimate>,
    pub(super) noise: Option<Noise>,
}

/// Batch size and, where they are not the stage's, threads, as in the names of metrics.
pub(super) fn place(case: &Case, own_threads: usize) -> String {
    let Case { threads, batch, .. } = case;
    if *threads == own_threads { format!("batch{batch}") } else { format!("batch{batch}.threads{threads}") }
}

/// What a latency is based on, in words.
pub(super) fn basis(outcome: &Outcome<'_>, cpu: &str) -> String {
    let calls = outcome.rounds.first().map_or(0, |round| round.result.times_ms.len());
    format!(
        "{} of {}, {}, {cpu}",
        counted(outcome.rounds.len(), "round", "rounds"),
        counted(calls, "call", "calls"),
        request::threads(outcome.case.threads)
    )
}

/// What cases of one batch size and number of threads come to, each beside the baseline.
pub(super) fn outcomes_of<'a>(params: &Params, group: &[(&'a Case, &'a [Measurement])]) -> Vec<Outcome<'a>> {
    let baseline = group.iter().find(|(case, _)| Some(&case.variant) == params.baseline.as_ref());
    // Where the baseline is too noisy, nothing is faster than it.
    let baseline = baseline.filter(|(_, rounds)| noise(params, rounds).is_none());
    let outcome = |&(case, rounds): &(&'a Case, &'a [Measurement])| {
        let calls: Vec<f64> = rounds.iter().flat_map(|round| &round.result.times_ms).copied().collect();
        let noise = noise(params, rounds);
        let speedup = baseline
            .filter(|(other, _)| other.variant != case.variant && noise.is_none())
            .and_then(|(_, reference)| speedup(reference, rounds));
        let first: Vec<f64> = rounds.iter().map(|round| round.result.first_result_ms).collect();
        Some(Outcome {
            case,
            rounds,
            median_ms: estimate(&round_medians(rounds))?,
            p95_ms: quantile(&calls, 0.95)?,
            first_result_ms: estimate(&first)?,
            speedup,
            noise,
        })
    };
    group.iter().filter_map(outcome).collect()
}

/// A case in words: `fp32` at batch 1, and with how many threads where they are not the stage's.
pub(super) fn label(case: &Case, own_threads: usize) -> String {
    let Case { threads, batch, variant } = case;
    let threads =
        if *threads == own_threads { String::new() } else { format!(", {}", request::threads(*threads)) };
    format!("`{variant}` at batch {batch}{threads}")
}

/// Medians of each round's calls.
pub(super) fn round_medians(rounds: &[Measurement]) -> Vec<f64> {
    rounds.iter().filter_map(|round| median(&round.result.times_ms)).collect()
}

/// The median with its interval.
pub(super) fn estimate(values: &[f64]) -> Option<Estimate> {
    Some(Estimate { value: median(values)?, interval: median_interval(values) })
}

/// How many times faster `rounds` are than `reference`: the median over rounds of the ratio within a round, so that what slows
/// a whole round cancels.
pub(super) fn speedup(reference: &[Measurement], rounds: &[Measurement]) -> Option<Estimate> {
    let pairs = round_medians(reference).into_iter().zip(round_medians(rounds));
    estimate(&pairs.map(|(reference, own)| reference / own).collect::<Vec<_>>())
}

/// Why the median of these rounds is not stated: more than half of them disturbed, so that it is one of disturbed rounds,
/// fewer than asked for, or an interval that says too little.
pub(super) fn noise(params: &Params, rounds: &[Measurement]) -> Option<Noise> {
    if is_disturbed(rounds) {
        let disturbed = rounds.iter().filter(|round| round.disturbed).count();
        return Some(Noise::Disturbed { rounds: disturbed, of: rounds.len() });
    }
    if rounds.len() < params.rounds {
        return Some(Noise::Unfinished { rounds: rounds.len(), of: params.rounds });
    }
    let width = estimate(&round_medians(rounds))?.width()?;
    (width > params.max_interval).then_some(Noise::Wide(width))
}
