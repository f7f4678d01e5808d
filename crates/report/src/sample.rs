//! A made-up run as pages want it: with the runs before it. For tests.

mod past;

use std::ops::{Deref, DerefMut};

use self::past::past;
use crate::{Input, PastRun};

pub use record::sample::name;

/// A run with all that belongs to it, and those before it.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The run.
    pub base: record::sample::Sample,
    /// Runs up to it.
    pub past: Vec<PastRun>,
}

impl Sample {
    /// What its report is made from.
    #[must_use]
    pub fn input(&self) -> Input<'_> {
        Input {
            definition: &self.definition,
            undefined: None,
            run: &self.run,
            records: &self.records,
            previous: Some((&self.previous.0, &self.previous.1)),
            logs: &self.logs,
            past: &self.past,
            unfinished: &self.unfinished,
            depth: None,
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
#[must_use]
pub fn tinynet() -> Sample {
    with_past(record::sample::tinynet())
}

/// The same run, in which a gate fails.
#[must_use]
pub fn gate_fails() -> Sample {
    with_past(record::sample::gate_fails())
}

/// The same run with narrower gates, of which two are inconclusive: one is not satisfied by what was measured.
#[must_use]
pub fn gate_inconclusive() -> Sample {
    with_past(record::sample::gate_inconclusive())
}

/// The same run, in which training fails.
#[must_use]
pub fn train_fails() -> Sample {
    with_past(record::sample::train_fails())
}

fn with_past(base: record::sample::Sample) -> Sample {
    let whole = record::sample::tinynet();
    let past = past(&whole.previous.0, &whole.previous.1, &whole.run, &whole.records);
    Sample { base, past }
}
