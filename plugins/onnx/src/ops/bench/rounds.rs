//! The rounds: every case is timed once in each, in an order drawn anew, and again where it was disturbed and that may help.
//! Knows nothing of what the times come to.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use protocol::{Progress, Reporter, TimeRequest, TimeResult, counted};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::measurement::{Case, Measured, Measurement, is_disturbed};
use super::patience::{GaveUp, Patience};
use super::variants::Variant;
use super::watch::{Surroundings, Watch};
use super::{Params, child};

/// How often a disturbed measurement is made again at most. All together are made again at most as often as there are
/// measurements.
const AGAIN: usize = 2;

/// One case with what it takes to time it.
struct Task<'a> {
    case: Case,
    variant: &'a Variant,
    request: TimeRequest,
}

/// What timing a case once gave: the times, what went on meanwhile, and how long it took in all.
type Timed = (TimeResult, Surroundings, Duration);

/// Times all of it, with each of `threads`, and says why it gave up if it did.
///
/// # Errors
/// Where a measurement fails; the message names the variant.
pub(crate) fn measure(
    params: &Params,
    variants: &[Variant],
    threads: &[usize],
    reporter: &mut Reporter<'_>,
) -> Result<(Measured, Option<GaveUp>)> {
    let time = |task: &Task<'_>| {
        let (watch, start) = (Watch::start(), Instant::now());
        let result = child::time(&task.variant.timer, &task.request)?;
        Ok((result, watch.finish(), start.elapsed()))
    };
    measure_with(params, &tasks(params, variants, threads), &time, reporter)
}

fn measure_with(
    params: &Params,
    blocks: &[Vec<Task<'_>>],
    time: &dyn Fn(&Task<'_>) -> Result<Timed>,
    reporter: &mut Reporter<'_>,
) -> Result<(Measured, Option<GaveUp>)> {
    let cases: usize = blocks.iter().map(Vec::len).sum();
    let total = params.rounds * cases;
    let mut session = Session {
        params,
        reporter,
        time,
        rng: ChaCha8Rng::seed_from_u64(params.seed),
        patience: Patience::new(params.patience, params.rounds, cases),
        done: 0,
        total,
        spare: total,
        warned: false,
    };
    let mut measured = Measured::new();
    for round in 1..=params.rounds {
        let mut of_round = Vec::with_capacity(cases);
        let mut late = false;
        for block in blocks {
            let mut order: Vec<&Task<'_>> = block.iter().collect();
            order.shuffle(&mut session.rng);
            for task in order {
                late |= !session.patience.has_time(&task.case, 0);
                if late {
                    break;
                }
                session.show(round, task, "");
                of_round.push((task, session.measure(task)?));
                session.done += 1;
            }
        }
        if !late {
            session.repeat(round, &mut of_round)?;
        }
        if !of_round.is_empty() {
            session.tell(round, &of_round);
        }
        for (task, measurement) in of_round {
            measured.entry(task.case.clone()).or_default().push(measurement);
        }
        if late {
            let why = session.patience.out_of_time();
            return Ok((measured, Some(why)));
        }
        if round < params.rounds
            && session.patience.is_steady()
            && measured.values().all(|rounds| is_disturbed(rounds))
        {
            let why = session.patience.steady();
            return Ok((measured, Some(why)));
        }
    }
    Ok((measured, None))
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
                    data: variant.data.clone(),
                    arrays: variant.shown.arrays.clone(),
                    size: variant.shown.size,
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
    time: &'a dyn Fn(&Task<'_>) -> Result<Timed>,
    patience: Patience,
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
        let (result, around, took) =
            (self.time)(task).with_context(|| format!("cannot time `{variant}` at batch {batch}"))?;
        let disturbed = around.disturbed(*threads, self.params.max_others);
        if disturbed && !self.warned {
            self.warned = true;
            self.reporter.warn(format!(
                "others keep {:.2} CPUs busy beside `{variant}` at batch {batch}: what they disturb is timed again",
                around.others()
            ));
        }
        self.patience.note(&task.case, took, &around, disturbed);
        Ok(Measurement { result, around, disturbed, again: 0 })
    }

    /// Says what a round was like.
    fn tell(&mut self, round: usize, of_round: &[(&Task<'_>, Measurement)]) {
        let disturbed = of_round.iter().filter(|(_, measurement)| measurement.disturbed).count();
        let again: usize = of_round.iter().map(|(_, measurement)| measurement.again).sum();
        let others = of_round.iter().map(|(_, measurement)| measurement.around.others()).fold(0.0, f64::max);
        let mut text = format!(
            "round {round}/{}: {}",
            self.params.rounds,
            counted(of_round.len(), "measurement", "measurements")
        );
        if again > 0 {
            text.push_str(&format!(", {} again", counted(again, "time", "times")));
        }
        if disturbed > 0 {
            text.push_str(&format!(", {disturbed} disturbed by others on up to {others:.2} CPUs"));
        }
        self.reporter.progress(Progress {
            done: self.done as f64,
            total: self.total as f64,
            unit: "measurement".into(),
            text,
            milestone: true,
        });
    }

    /// Measures again, at the end of a round, what was disturbed in it, and keeps the least disturbed measurement. Not where
    /// the load is steady, and only as far as the rounds to come leave time for it.
    fn repeat(&mut self, round: usize, of_round: &mut [(&Task<'_>, Measurement)]) -> Result<()> {
        for _ in 0..AGAIN {
            if self.patience.is_steady() {
                break;
            }
            let mut disturbed: Vec<&mut (&Task<'_>, Measurement)> =
                of_round.iter_mut().filter(|(_, measurement)| measurement.disturbed).collect();
            disturbed.shuffle(&mut self.rng);
            for (task, kept) in disturbed.into_iter().take(self.spare) {
                if !self.patience.has_time(&task.case, self.params.rounds - round) {
                    return Ok(());
                }
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

#[cfg(test)]
mod tests;
