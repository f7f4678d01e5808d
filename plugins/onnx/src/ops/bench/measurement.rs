//! What is timed, and what came of it. Knows neither how it is timed nor what the times come to.

use std::collections::BTreeMap;

use protocol::TimeResult;

use super::watch::Surroundings;

/// What is timed: a variant at a batch size with a number of threads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) threads: usize,
    pub(crate) batch: usize,
    pub(crate) variant: String,
}

/// What came of a case in one round.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measurement {
    pub(crate) result: TimeResult,
    pub(crate) around: Surroundings,
    /// Whether it was disturbed, like all before it.
    pub(crate) disturbed: bool,
    /// How many measurements were thrown away for it.
    pub(crate) again: usize,
}

/// The measurements of each case, in the order of the rounds.
pub(crate) type Measured = BTreeMap<Case, Vec<Measurement>>;

/// Whether more than half of the rounds were disturbed, so that their median is that of disturbed ones.
pub(crate) fn is_disturbed(rounds: &[Measurement]) -> bool {
    2 * rounds.iter().filter(|round| round.disturbed).count() > rounds.len()
}
