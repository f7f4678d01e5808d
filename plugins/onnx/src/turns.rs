//! Shows a model what there is of data, a batch at a time, on several threads that take turns. Knows neither images nor
//! arrays.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use protocol::{Progress, Reporter};
use quant::{Halves, MomentsObserver, Observer};

use crate::runtime::NamedValues;

/// Whoever looks at what a model makes of data.
pub(crate) trait Watcher: Clone + Send + Sync {
    /// Takes in what tensors, the inputs among them, are in a batch of these samples.
    fn watch(&mut self, tensors: &[NamedValues<'_>], samples: Range<usize>) -> Result<()>;

    /// Takes in what another saw of other samples.
    fn merge(&mut self, other: Self);
}

impl Watcher for Observer {
    fn watch(&mut self, tensors: &[NamedValues<'_>], samples: Range<usize>) -> Result<()> {
        Ok(self.observe(tensors, samples.len())?)
    }

    fn merge(&mut self, other: Self) {
        Self::merge(self, other);
    }
}

impl Watcher for Halves {
    fn watch(&mut self, tensors: &[NamedValues<'_>], samples: Range<usize>) -> Result<()> {
        Ok(self.observe(tensors, samples.start, samples.len())?)
    }

    fn merge(&mut self, other: Self) {
        Self::merge(self, other);
    }
}

impl Watcher for MomentsObserver {
    fn watch(&mut self, tensors: &[NamedValues<'_>], samples: Range<usize>) -> Result<()> {
        self.observe(tensors, samples.len());
        Ok(())
    }

    fn merge(&mut self, other: Self) {
        Self::merge(self, &other);
    }
}

/// A session that runs a range of the samples and gives what all tensors were.
pub(crate) trait Runner {
    /// Runs one batch.
    ///
    /// # Errors
    /// Where the data cannot be read, the model fails, or `take` does.
    fn run(
        &mut self,
        samples: Range<usize>,
        take: &mut dyn FnMut(&[NamedValues<'_>]) -> Result<()>,
    ) -> Result<()>;
}

/// What there is to be shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    /// How many samples.
    pub(crate) samples: usize,
    /// How many at a time.
    pub(crate) batch: usize,
    /// What one is called.
    pub(crate) unit: &'static str,
}

/// Shows all of it to a copy of `watcher` on `threads` threads. Each has a session of its own with one thread: `first`, and
/// others like it that `more` makes. So nobody waits for anybody, and the result does not depend on how many there are.
pub(crate) fn show<W: Watcher, R: Runner>(
    work: Workload,
    first: R,
    more: &(dyn Fn() -> Result<R> + Sync),
    watcher: &W,
    threads: usize,
    reporter: &mut Reporter<'_>,
) -> Result<W> {
    let turns = Turns::default();
    let threads = threads.min(work.samples.div_ceil(work.batch.max(1))).max(1);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|_| scope.spawn(|| turns.look(work, more()?, watcher.clone(), &mut |_| {})))
            .collect();
        let mut watched = turns.look(work, first, watcher.clone(), &mut |done| {
            reporter.progress(Progress {
                done: done as f64,
                total: work.samples as f64,
                unit: work.unit.into(),
                text: String::new(),
                milestone: false,
            });
        })?;
        for other in others {
            watched.merge(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(watched)
    })
}

/// Who looks at what next.
#[derive(Default)]
struct Turns {
    /// The first sample that nobody looks at yet.
    next: AtomicUsize,
    /// How many have been looked at.
    done: AtomicUsize,
}

impl Turns {
    /// Takes batches until there are no more; tells how many samples everybody has looked at.
    fn look<W: Watcher>(
        &self,
        work: Workload,
        mut runner: impl Runner,
        mut watcher: W,
        tell: &mut dyn FnMut(usize),
    ) -> Result<W> {
        let batch = work.batch.max(1);
        let mut is_single = false;
        loop {
            let from = self.next.fetch_add(batch, Ordering::Relaxed);
            if from >= work.samples {
                return Ok(watcher);
            }
            let samples = from..work.samples.min(from + batch);
            let count = samples.len();
            if is_single {
                one_by_one(&mut runner, samples, &mut watcher)?;
            } else {
                let mut gave = false;
                let ran = runner.run(samples.clone(), &mut |tensors| {
                    gave = true;
                    watcher.watch(tensors, samples.clone())
                });
                if let Err(error) = ran {
                    // A batch may be open and a Reshape behind it take one sample and no more.
                    if gave || count == 1 || one_by_one(&mut runner, samples, &mut watcher).is_err() {
                        return Err(error);
                    }
                    is_single = true;
                }
            }
            tell(self.done.fetch_add(count, Ordering::Relaxed) + count);
        }
    }
}

fn one_by_one(runner: &mut impl Runner, samples: Range<usize>, watcher: &mut impl Watcher) -> Result<()> {
    samples
        .into_iter()
        .try_for_each(|at| runner.run(at..at + 1, &mut |tensors| watcher.watch(tensors, at..at + 1)))
}
