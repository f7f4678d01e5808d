//! The training loop: from one snapshot to the next, epoch by epoch. Knows no files and no runner; what happens is
//! told to an [`Observer`], who may stop it.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use dataset::{Dataset, Normalization};
use model::Graph;
use rand::seq::SliceRandom;
use tch::Device;

use self::checkpoint::Setting;
use self::observer::{Observer, StepReport};
use self::snapshot::{Best, EpochRecord, Snapshot};
use crate::backend::choice::BackendKind;
use crate::backend::{At, Backend, Task, TrainState};
use crate::data::device_images::DeviceImages;
use crate::data::loader::{Batch, Loader};
use crate::error::{TorchError, TrainError};
use crate::net::fake_quant::NodeFakeQuant;
use crate::net::parameters::Parameters;
use crate::net::score::{Score, rounded};
use crate::net::teacher::Teacher;
use crate::optim::Rules;
use crate::params::{SelectOn, TrainParams};
use crate::random::{Purpose, generator};

pub(crate) mod check;
pub(crate) mod checkpoint;
pub(crate) mod curves;
pub(crate) mod fit;
pub(crate) mod observer;
pub(crate) mod setup;
pub(crate) mod snapshot;
pub(crate) mod warm_start;

/// Batches that wait ready for the next step.
const PREPARED: usize = 4;
/// Images on which statistics of averaged weights are estimated after each epoch: twenty usual batches.
const SAMPLE: usize = 2560;
/// Time between two words on steps within an epoch.
const TELLING: Duration = Duration::from_millis(250);

/// What to train, on what, how and where.
pub(crate) struct Trainer<'a> {
    /// The recipe.
    pub(crate) params: &'a TrainParams,
    /// The images.
    pub(crate) dataset: &'a Dataset,
    /// The network.
    pub(crate) graph: &'a Graph,
    /// How pixels become input.
    pub(crate) normalization: &'a Normalization,
    /// Training images to learn from.
    pub(crate) train: &'a [usize],
    /// Training images held out.
    pub(crate) validation: &'a [usize],
    /// Where.
    pub(crate) device: Device,
    /// Threads on a CPU.
    pub(crate) threads: usize,
    /// What to go on from instead of random numbers, and by node how its INT8 model rounds.
    pub(crate) tuning: Option<Tuning<'a>>,
    /// A network to learn from, beside the labels.
    pub(crate) teacher: Option<&'a Teacher>,
}

/// A training that goes on from another one, on the grid of the network's INT8 model.
#[derive(Clone, Copy)]
pub(crate) struct Tuning<'a> {
    /// The numbers to start from.
    pub(crate) parameters: &'a Parameters,
    /// How each node is rounded.
    pub(crate) fake_quants: &'a [NodeFakeQuant],
}

impl<'a> Trainer<'a> {
    /// The snapshot before the first epoch.
    pub(crate) fn start(&self) -> Snapshot {
        let parameters = match self.tuning {
            Some(Tuning { parameters, .. }) => parameters.clone(),
            None => {
                Parameters::initial(self.graph, &mut generator(self.params.seed, Purpose::Initialization, 0))
            }
        };
        let velocity = vec![0.0; parameters.values.len()];
        let average = self.params.ema.map(|_| parameters.clone());
        let train_state = TrainState { parameters, velocity, average };
        Snapshot { epochs_done: 0, train_state, best: None, history: Vec::new(), continued: None }
    }

    /// Whether a snapshot is of this network and recipe.
    pub(crate) fn fits(&self, snapshot: &Snapshot) -> bool {
        let lengths = |train_state: &TrainState| {
            let parameters = &train_state.parameters;
            (
                parameters.values.len(),
                parameters.stats.len(),
                train_state.velocity.len(),
                train_state.average.is_some(),
            )
        };
        lengths(&snapshot.train_state) == lengths(&self.start().train_state)
    }

    /// What a snapshot of it depends on, beside its params.
    pub(crate) fn setting(&self) -> Setting {
        let backend = BackendKind::of(&self.task()).map_or("", BackendKind::name);
        Setting {
            images: [self.train.len(), self.validation.len()],
            computed: [backend, crate::device::name(self.device)],
        }
    }

    /// What is asked of who computes.
    fn task(&self) -> Task<'a> {
        Task {
            graph: self.graph,
            normalization: self.normalization,
            fake_quants: self.tuning.map(|tuning| tuning.fake_quants),
            engine: self.params.engine,
            precision: self.params.precision,
            teacher: self.teacher,
            device: self.device,
            threads: self.threads,
        }
    }

    /// Trains from `snapshot` to the last epoch, or until it is no longer getting better, or the observer stops it. Going on
    /// from a snapshot of an earlier call comes to the same numbers, bit for bit, as never having stopped.
    pub(crate) fn run(
        &self,
        mut snapshot: Snapshot,
        observer: &mut dyn Observer,
    ) -> Result<Snapshot, TrainError> {
        let rules = self.rules()?;
        let task = self.task();
        let kind = BackendKind::of(&task)?;
        let (device_images, crowded) = match DeviceImages::on(self.device, &self.loader(false)) {
            Ok(device_images) => (device_images, None),
            Err(error) => (None, Some(error)),
        };
        let mut backend = kind.build(task, &rules, &snapshot.train_state, device_images)?;
        observer.starts(&kind.described(&task, crowded.as_ref()));
        let loader = self.loader(!backend.makes_images());
        let epochs = snapshot.epochs_done..self.params.epochs;
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(PREPARED);
            let prepared = epochs.clone();
            std::thread::Builder::new()
                .name("images".into())
                .spawn_scoped(scope, move || loader.send(prepared, &sender))?;
            for epoch in epochs {
                if snapshot.exhausted(self.params.patience) {
                    break;
                }
                let (train, speed) = self.epoch(epoch, &mut *backend, &receiver, observer)?;
                self.close_epoch(epoch, train, &mut *backend, &mut snapshot)?;
                if observer.epoch(&snapshot, speed).is_break() {
                    break;
                }
            }
            Ok(snapshot)
        })
    }

    /// Takes `count` steps from fresh weights, each with the learning rate that `rate` says, until `each`, who is told a
    /// step and its loss, has enough.
    pub(crate) fn steps_at(
        &self,
        count: u32,
        rate: impl Fn(u32) -> f64,
        mut each: impl FnMut(u32, f64) -> bool,
    ) -> Result<(), TrainError> {
        let rules = self.rules()?;
        let task = self.task();
        let mut backend = BackendKind::of(&task)?.build(task, &rules, &self.start().train_state, None)?;
        let loader = self.loader(!backend.makes_images());
        let steps = u32::try_from(self.steps()).unwrap_or(u32::MAX);
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(PREPARED);
            std::thread::Builder::new()
                .name("images".into())
                .spawn_scoped(scope, move || loader.send(0..count.div_ceil(steps), &sender))?;
            for step in 0..count {
                let batch = receiver.recv().map_err(|_| TrainError::Starved)?;
                let at = At { epoch: step / steps, step: u64::from(step), lr: rate(step) };
                backend.step(&batch, at)?;
                if !backend.outcomes()?.iter().all(|outcome| each(step, outcome.loss)) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// What concerns a single step.
    fn rules(&self) -> Result<Rules, TrainError> {
        let labels: Vec<_> = self.train.iter().map(|&index| self.dataset.train.label(index)).collect();
        let weights = self.params.class_weights.of(&labels, self.graph.classes());
        let weights = weights.map_err(|error| TrainError::Params(error.to_string()))?;
        Ok(Rules::new(self.params, self.graph, weights))
    }

    /// Steps of an epoch.
    pub(crate) fn steps(&self) -> usize {
        self.loader(false).batches()
    }

    fn loader(&self, renders: bool) -> Loader<'a> {
        Loader {
            split: &self.dataset.train,
            indices: self.train,
            augment: self.params.augment,
            normalization: self.normalization,
            batch_size: self.params.batch_size,
            seed: self.params.seed,
            renders,
        }
    }

    fn epoch(
        &self,
        epoch: u32,
        backend: &mut dyn Backend,
        batches: &Receiver<Batch>,
        observer: &mut dyn Observer,
    ) -> Result<(Score, f64), TrainError> {
        let steps = self.steps();
        let started = Instant::now();
        let (mut total_loss, mut correct, mut total) = (0.0, 0, 0_usize);
        // Steps whose outcome is not known yet: asking makes the host wait for the device.
        let mut untold = VecDeque::new();
        let mut asked = Instant::now();
        for step in 1..=steps {
            let batch = batches.recv().map_err(|_| TrainError::Starved)?;
            let lr = self.learning_rate(epoch, step);
            let done = u64::from(epoch) * steps as u64 + step as u64;
            backend.step(&batch, At { epoch, step: done - 1, lr })?;
            untold.push_back((step, lr, batch.labels.len()));
            if step > 1 && step < steps && asked.elapsed() < TELLING {
                continue;
            }
            asked = Instant::now();
            for outcome in backend.outcomes()? {
                let Some((step, lr, count)) = untold.pop_front() else { break };
                if !outcome.loss.is_finite() {
                    let (what, value) = ("loss", outcome.loss);
                    return Err(TrainError::Diverged { what, value, epoch: epoch + 1, step, steps, lr });
                }
                correct += outcome.correct;
                total += count;
                total_loss += outcome.loss * count as f64;
            }
            observer.step(&StepReport {
                epochs_done: epoch,
                steps: (step, steps),
                loss: total_loss / total as f64,
                speed: total as f64 / started.elapsed().as_secs_f64().max(1e-9),
            });
        }
        let loss = rounded(total_loss / (total as f64).max(1.0));
        let score = Score { loss, correct, total: total as u64 };
        Ok((score, total as f64 / started.elapsed().as_secs_f64().max(1e-9)))
    }

    /// Validates, and brings `snapshot` up to date.
    fn close_epoch(
        &self,
        epoch: u32,
        train: Score,
        backend: &mut dyn Backend,
        snapshot: &mut Snapshot,
    ) -> Result<(), TrainError> {
        if self.params.ema.is_some() {
            let sample = self.sample();
            // Statistics want more than one image.
            let batches = sample.chunks(self.params.batch_size.max(2)).filter(|batch| batch.len() > 1);
            backend.estimate_statistics(&self.dataset.train, &batches.collect::<Vec<_>>())?;
        }
        snapshot.train_state = backend.train_state()?;
        snapshot.epochs_done = epoch + 1;
        if !snapshot.train_state.parameters.is_finite() {
            let steps = self.steps();
            let lr = self.learning_rate(epoch, steps);
            let epoch = epoch + 1;
            return Err(TrainError::Diverged {
                what: "a weight",
                value: f64::NAN,
                epoch,
                step: steps,
                steps,
                lr,
            });
        }
        let validation = match self.validation {
            [] => None,
            indices => Some(self.score(backend, &self.dataset.train, indices)?),
        };
        let test = match self.params.select_on {
            SelectOn::Test => {
                let all: Vec<_> = (0..self.dataset.test.len()).collect();
                Some(self.score(backend, &self.dataset.test, &all)?)
            }
            SelectOn::Validation | SelectOn::Last => None,
        };
        let selecting = self.params.select_on.of(validation, test);
        if let Some(score) = selecting
            && snapshot.best_score(self.params.select_on).is_none_or(|best| score.is_better_than(&best))
        {
            let parameters = snapshot.train_state.kept().clone();
            snapshot.best = Some(Best { epoch: epoch + 1, correct: score.correct, parameters });
        }
        let lr = self.learning_rate(epoch, 1);
        snapshot.history.push(EpochRecord { epoch: epoch + 1, lr, train, validation, test });
        Ok(())
    }

    /// Training images to estimate statistics on, always the same ones.
    fn sample(&self) -> Vec<usize> {
        let mut order = self.train.to_vec();
        order.shuffle(&mut generator(self.params.seed, Purpose::Statistics, 0));
        order.truncate(SAMPLE);
        order
    }

    /// Of a step, counted from 1, of an epoch, counted from 0.
    fn learning_rate(&self, epoch: u32, step: usize) -> f64 {
        let steps = self.steps() as f64;
        self.params.learning_rate(f64::from(epoch) + step as f64 / steps, 1.0 / steps)
    }

    fn score(
        &self,
        backend: &mut dyn Backend,
        split: &dataset::Split,
        indices: &[usize],
    ) -> Result<Score, TorchError> {
        let logits = backend.logits(split, indices)?;
        let labels: Vec<_> = indices.iter().map(|&index| split.label(index)).collect();
        Ok(Score::of(&logits, &labels, self.graph.classes(), self.params.label_smoothing))
    }
}
