//! A made-up run as pages want it: with the runs before it. For tests.

use std::ops::{Deref, DerefMut};

use super::sample_past::past;
use super::{Input, PastRun};

pub(crate) use record::sample::name;

/// A run with all that belongs to it, and those before it.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) base: record::sample::Sample,
    pub(crate) past: Vec<PastRun>,
}

impl Sample {
    pub(crate) fn input(&self) -> Input<'_> {
        Input {
            definition: &self.definition,
            undefined: None,
            run: &self.run,
            records: &self.records,
            previous: Some((&self.previous.0, &self.previous.1)),
            logs: &self.logs,
            past: &self.past,
            unfinished: &self.unfinished,
        }
    }
}

impl Deref for Sample {
    type Target = record::sample::Sample;

    fn deref(&self) -> &Self::Target {
        &self.base
    }
}

impl DerefMut for Sample {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.base
    }
}

/// A run in which all went well.
pub(crate) fn tinynet() -> Sample {
    with_past(record::sample::tinynet())
}

/// The same run, in which a gate fails.
pub(crate) fn gate_fails() -> Sample {
    with_past(record::sample::gate_fails())
}

/// The same run with narrower gates, of which two are inconclusive: one is not satisfied by what was measured.
pub(crate) fn gate_inconclusive() -> Sample {
    with_past(record::sample::gate_inconclusive())
}

/// The same run, in which training fails.
pub(crate) fn train_fails() -> Sample {
    with_past(record::sample::train_fails())
}

fn with_past(base: record::sample::Sample) -> Sample {
    let whole = record::sample::tinynet();
    let past = past(&whole.previous.0, &whole.previous.1, &whole.run, &whole.records);
    Sample { base, past }
}
