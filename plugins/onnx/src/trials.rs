//! Runs a model on samples with inputs set to one value after another, on several threads, and adds up what comes of it. Knows
//! sessions and samples; what is tried and what it means is the business of `quant`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, anyhow};
use protocol::{Progress, Reporter};
use quant::{Outcomes, Trials};

use crate::runtime::{NamedValues, Scalar};

/// How many settings are tried where the float model is run once.
const SETTINGS: usize = 16;

/// A session that runs samples with some inputs set.
pub(crate) trait Setter {
    /// Runs some samples in one call.
    ///
    /// # Errors
    /// Where the data cannot be read, or the model fails.
    fn run_set(
        &mut self,
        samples: Range<usize>,
        set: &[Scalar],
        take: &mut dyn FnMut(&[NamedValues<'_>]) -> Result<()>,
    ) -> Result<()>;
}

/// What is run: trials, on calls of so many samples, of the outputs with these names, in order of [`quant::Setting::model`] with the
/// models in these files, of which the first is the one that others are held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work<'a> {
    pub(crate) trials: &'a Trials,
    pub(crate) batch: usize,
    pub(crate) outputs: &'a [String],
    pub(crate) files: &'a [Vec<u8>],
}

/// Runs all of it on `threads` threads: each has sessions of its own with one thread, which `open` makes of the files. Sums are added up in one order, so that the result does not depend on how many there are.
pub(crate) fn run<S: Setter>(
    work: Work<'_>,
    open: &(dyn Fn(&[u8]) -> Result<S> + Sync),
    threads: usize,
    reporter: &mut Reporter<'_>,
) -> Result<Outcomes> {
    let settings = work.trials.settings.len();
    let parts: Vec<(usize, Range<usize>)> = (0..settings)
        .step_by(SETTINGS)
        .flat_map(|from| {
            let part = from..settings.min(from + SETTINGS);
            work.trials.samples.iter().map(move |sample| (*sample, part.clone()))
        })
        .collect();
    let sessions = || work.files.iter().map(|file| open(file)).collect::<Result<Vec<S>>>();
    let turns = Turns { next: AtomicUsize::new(0), sums: Mutex::default() };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(parts.len()))
            .map(|_| scope.spawn(|| turns.take(work, &parts, sessions()?, &mut |_| {})))
            .collect();
        turns.take(work, &parts, sessions()?, &mut |done| {
            reporter.progress(Progress {
                done: done as f64,
                total: parts.len() as f64,
                unit: "trial".into(),
                text: String::new(),
                milestone: false,
            });
        })?;
        for other in others {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })
    .map(|()| turns.sums.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).outcomes)
}

/// Who runs what next, and what came of it.
struct Turns {
    next: AtomicUsize,
    sums: Mutex<Sums>,
}

/// Outcomes of the first parts, and of others that are done before their turn has come.
#[derive(Default)]
struct Sums {
    added: usize,
    outcomes: Outcomes,
    early: BTreeMap<usize, Outcomes>,
}

impl Sums {
    fn add(&mut self, place: usize, outcomes: Outcomes) {
        self.early.insert(place, outcomes);
        while let Some(next) = self.early.remove(&self.added) {
            self.outcomes.merge(&next);
            self.added += 1;
        }
    }
}

impl Turns {
    fn take(
        &self,
        work: Work<'_>,
        parts: &[(usize, Range<usize>)],
        mut sessions: Vec<impl Setter>,
        tell: &mut dyn FnMut(usize),
    ) -> Result<()> {
        loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((sample, settings)) = parts.get(place) else { return Ok(()) };
            let outcomes = part(work, *sample, settings.clone(), &mut sessions).inspect_err(|_| {
                // Nobody need begin another one.
                self.next.store(parts.len(), Ordering::Relaxed);
            })?;
            self.sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(place, outcomes);
            tell(place);
        }
    }
}

/// Runs some settings on a sample. Its signal is counted with the first of them alone.
fn part(
    work: Work<'_>,
    sample: usize,
    settings: Range<usize>,
    sessions: &mut [impl Setter],
) -> Result<Outcomes> {
    let samples = sample * work.batch..(sample + 1) * work.batch;
    let mut outcomes = Outcomes::default();
    let mut exact: Vec<Vec<f32>> = Vec::new();
    session(sessions, 0)?.run_set(samples.clone(), &[], &mut |outputs| {
        exact = wanted(outputs, work.outputs)?.iter().map(|values| values.to_vec()).collect();
        Ok(())
    })?;
    let exact: Vec<&[f32]> = exact.iter().map(Vec::as_slice).collect();
    if settings.start == 0 {
        outcomes.add_exact(&exact, work.batch);
    }
    for setting in settings {
        let Some(set) = work.trials.settings.get(setting) else { continue };
        session(sessions, set.model)?.run_set(samples.clone(), &set.inputs, &mut |outputs| {
            outcomes.add_rounded(setting, &exact, &wanted(outputs, work.outputs)?, work.batch);
            Ok(())
        })?;
    }
    Ok(outcomes)
}

fn session<S>(sessions: &mut [S], model: usize) -> Result<&mut S> {
    sessions.get_mut(model).ok_or_else(|| anyhow!("there is no model {model} to be tried"))
}

/// The outputs with these names, in their order.
fn wanted<'v>(outputs: &[NamedValues<'v>], names: &[String]) -> Result<Vec<&'v [f32]>> {
    let find = |name: &String| {
        let found = outputs.iter().find(|(output, _)| output == name).map(|(_, values)| *values);
        found.ok_or_else(|| anyhow!("the model gives no output `{name}` of 32-bit floats"))
    };
    names.iter().map(find).collect()
}
