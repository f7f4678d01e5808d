//! The rounds: every case is timed once in each, in an order drawn anew, and again where it was disturbed. Knows nothing
//! of what the times come to.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use protocol::{Progress, Reporter, TimeRequest, TimeResult};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::watch::{Surroundings, Watch};
use super::{Params, Variant, child};

/// How often a disturbed measurement is made again at most. All together are made again at most as often as there are
/// measurements.
const AGAIN: usize = 2;

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

/// One case with what it takes to time it.
struct Task<'a> {
    case: Case,
    variant: &'a Variant,
    request: TimeRequest,
}

/// Times all of it, with each of `threads`.
///
/// # Errors
/// Where a measurement fails; the message names the variant.
pub(crate) fn measure(
    params: &Params,
    variants: &[Variant],
    threads: &[usize],
    reporter: &mut Reporter<'_>,
) -> Result<Measured> {
    let blocks = tasks(params, variants, threads);
    let total = params.rounds * blocks.iter().map(Vec::len).sum::<usize>();
    let mut session = Session {
        params,
        reporter,
        rng: ChaCha8Rng::seed_from_u64(params.seed),
        done: 0,
        total,
        spare: total,
        warned: false,
    };
    let mut measured = Measured::new();
    for round in 1..=params.rounds {
        let mut of_round = Vec::with_capacity(total / params.rounds);
        for block in &blocks {
            let mut order: Vec<&Task<'_>> = block.iter().collect();
            order.shuffle(&mut session.rng);
            for task in order {
                session.show(round, task, "");
                of_round.push((task, session.measure(task)?));
                session.done += 1;
            }
        }
        session.repeat(round, &mut of_round)?;
        for (task, measurement) in of_round {
            measured.entry(task.case.clone()).or_default().push(measurement);
        }
    }
    Ok(measured)
}

/// A block for each number of threads and batch size, so that variants which are compared follow each other.
fn tasks<'a>(params: &Params, variants: &'a [Variant], threads: &[usize]) -> Vec<Vec<Task<'a>>> {
    let mut blocks = Vec::new();
    for &threads in threads {
        for ((&batch, &calls), &warmup_calls) in
            params.batches.iter().zip(&params.calls).zip(&params.warmup_calls)
        {
            let task = |variant: &'a Variant| Task {
                case: Case { threads, batch, variant: variant.name.clone() },
                variant,
                request: TimeRequest {
                    model: variant.model.clone(),
                    batches: vec![batch],
                    threads,
                    warmup_calls,
                    calls,
                    seed: params.seed,
                },
            };
            blocks.push(variants.iter().map(task).collect());
        }
    }
    blocks
}

struct Session<'a, 'r> {
    params: &'a Params,
    reporter: &'a mut Reporter<'r>,
    rng: ChaCha8Rng,
    done: usize,
    total: usize,
    /// How many measurements may still be made again.
    spare: usize,
    warned: bool,
}

impl Session<'_, '_> {
    fn show(&mut self, round: usize, task: &Task<'_>, more: &str) {
        let Case { threads, batch, variant } = &task.case;
        let threads =
            if self.params.threads.is_some() { format!(" · threads {threads}") } else { String::new() };
        self.reporter.progress(Progress {
            done: self.done as f64,
            total: self.total as f64,
            unit: "measurement".into(),
            text: format!("round {round}/{} · {variant} · batch {batch}{threads}{more}", self.params.rounds),
            milestone: false,
        });
    }

    fn measure(&mut self, task: &Task<'_>) -> Result<Measurement> {
        let Case { threads, batch, variant } = &task.case;
        let watch = Watch::start();
        let result = child::time(&task.variant.timer, &task.request)
            .with_context(|| format!("cannot time `{variant}` at batch {batch}"))?;
        let around = watch.finish();
        let disturbed = around.disturbed(*threads, self.params.max_others);
        if disturbed && !self.warned {
            self.warned = true;
            self.reporter.warn(format!(
                "others keep {:.2} CPUs busy beside `{variant}` at batch {batch}: what they disturb is timed again",
                around.others()
            ));
        }
        Ok(Measurement { result, around, disturbed, again: 0 })
    }

    /// Measures again, at the end of a round, what was disturbed in it, and keeps the least disturbed measurement.
    fn repeat(&mut self, round: usize, of_round: &mut [(&Task<'_>, Measurement)]) -> Result<()> {
        for _ in 0..AGAIN {
            let mut disturbed: Vec<&mut (&Task<'_>, Measurement)> =
                of_round.iter_mut().filter(|(_, measurement)| measurement.disturbed).collect();
            disturbed.shuffle(&mut self.rng);
            for (task, kept) in disturbed.into_iter().take(self.spare) {
                self.spare = self.spare.saturating_sub(1);
                self.show(round, task, " · again");
                let again = kept.again + 1;
                let next = self.measure(task)?;
                if !next.disturbed || next.around.others() < kept.around.others() {
                    *kept = next;
                }
                kept.again = again;
            }
        }
        Ok(())
    }
}
