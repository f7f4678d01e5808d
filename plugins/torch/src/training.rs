//! The training loop: from one snapshot to the next, epoch by epoch. Knows no files and no runner; what happens is
//! told to an [`Observer`], who may stop it.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use dataset::{Dataset, Normalization};
use model::Graph;
use serde::{Deserialize, Serialize};
use tch::{Device, Reduction, Tensor};

use crate::batches::{Batch, Feed};
use crate::net::{MemoryFormat, Net, TorchError, to_images};
use crate::params::{SelectOn, TrainParams};
use crate::random::{Purpose, generator, seed_libtorch};
use crate::rounding::NodeRounding;
use crate::score::{Inference, Score, rounded};
use crate::sgd::Sgd;
use crate::state::State;

/// Batches that wait ready for the next step.
const PREPARED: usize = 4;
/// Images at a time when validating.
const EVALUATION_BATCH: usize = 256;

/// What to train, on what, how and where.
pub(crate) struct Training<'a> {
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
    /// What to go on from instead of random numbers, and by node how its INT8 model rounds.
    pub(crate) tuning: Option<Tuning<'a>>,
}

/// A training that goes on from another one, on the grid of the network's INT8 model.
#[derive(Clone, Copy)]
pub(crate) struct Tuning<'a> {
    /// The numbers to start from.
    pub(crate) state: &'a State,
    /// How each node is rounded.
    pub(crate) roundings: &'a [NodeRounding],
}

/// Everything that the rest of a training depends on, between two epochs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    /// Epochs behind it.
    pub(crate) epochs_done: u32,
    /// The network's numbers.
    pub(crate) state: State,
    /// The optimiser's velocity.
    pub(crate) velocity: Vec<f32>,
    /// The best epoch so far, where one is selected.
    pub(crate) best: Option<Best>,
    /// What each epoch came to.
    pub(crate) history: Vec<EpochRecord>,
}

/// The best epoch so far.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Best {
    /// Which, counted from 1.
    pub(crate) epoch: u32,
    /// Right answers on the selecting images.
    pub(crate) correct: u64,
    /// Its numbers.
    pub(crate) state: State,
}

/// What an epoch came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EpochRecord {
    /// Which, counted from 1.
    pub(crate) epoch: u32,
    /// On augmented training images, while learning.
    pub(crate) train: Score,
    /// On the images held out.
    pub(crate) validation: Option<Score>,
    /// On the test images, where they select.
    pub(crate) test: Option<Score>,
}

/// How far an epoch is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepReport {
    /// Whole epochs behind it.
    pub(crate) epochs_done: u32,
    /// Steps of this epoch that are done, and of how many.
    pub(crate) steps: (usize, usize),
    /// Mean loss of this epoch so far.
    pub(crate) loss: f64,
    /// Training images a second in this epoch so far.
    pub(crate) speed: f64,
}

/// Who is told what happens.
pub(crate) trait Observer {
    /// After a step.
    fn step(&mut self, report: &StepReport);
    /// After an epoch and its validation; `speed` in training images a second. A break stops the training.
    fn epoch(&mut self, snapshot: &Snapshot, speed: f64) -> ControlFlow<()>;
}

/// Why a training ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainError {
    /// The loss or a parameter is no longer a number.
    #[error("{what} became {value} in epoch {epoch}, step {step} of {steps} (learning rate {lr:.4})")]
    Diverged { what: &'static str, value: f64, epoch: u32, step: usize, steps: usize, lr: f64 },
    /// libtorch refused an operation.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// The system gave no thread.
    #[error("cannot start a thread to prepare images: {0}")]
    Thread(#[from] std::io::Error),
    /// The thread that prepares images is gone.
    #[error("the thread that prepares images ended early")]
    Starved,
}

impl From<tch::TchError> for TrainError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

impl Snapshot {
    /// The chosen epoch, from 1, and its numbers.
    pub(crate) fn chosen(&self) -> (u32, &State) {
        self.best.as_ref().map_or((self.epochs_done, &self.state), |best| (best.epoch, &best.state))
    }
}

impl<'a> Training<'a> {
    /// The snapshot before the first epoch.
    pub(crate) fn start(&self) -> Snapshot {
        let state = match self.tuning {
            Some(Tuning { state, .. }) => state.clone(),
            None => State::initial(self.graph, &mut generator(self.params.seed, Purpose::Initialization, 0)),
        };
        let velocity = vec![0.0; state.values.len()];
        Snapshot { epochs_done: 0, state, velocity, best: None, history: Vec::new() }
    }

    /// Trains from `snapshot` to the last epoch, or until the observer stops it. Going on from a snapshot of an
    /// earlier call comes to the same numbers, bit for bit, as never having stopped.
    pub(crate) fn run(
        &self,
        mut snapshot: Snapshot,
        observer: &mut dyn Observer,
    ) -> Result<Snapshot, TrainError> {
        let roundings = self.tuning.map(|tuning| tuning.roundings);
        let mut net = Net::new(self.graph, &snapshot.state, self.device, true, roundings)?;
        let mut sgd = Sgd {
            velocity: Tensor::f_from_slice(&snapshot.velocity)?.f_to_device(self.device)?,
            momentum: self.params.momentum,
            nesterov: self.params.nesterov,
            weight_decay: self.params.weight_decay,
            clip: self.params.clip_grad,
        };
        let feed = self.feed();
        let epochs = snapshot.epochs_done..self.params.epochs;
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(PREPARED);
            let prepared = epochs.clone();
            std::thread::Builder::new()
                .name("images".into())
                .spawn_scoped(scope, move || feed.send(prepared, &sender))?;
            for epoch in epochs {
                let (train, speed) = self.epoch(epoch, &mut net, &mut sgd, &receiver, observer)?;
                self.close_epoch(epoch, train, &net, &sgd, &mut snapshot)?;
                if observer.epoch(&snapshot, speed).is_break() {
                    break;
                }
            }
            Ok(snapshot)
        })
    }

    /// Steps of an epoch.
    pub(crate) fn steps(&self) -> usize {
        self.feed().batches()
    }

    fn feed(&self) -> Feed<'a> {
        Feed {
            split: &self.dataset.train,
            indices: self.train,
            augment: self.params.augment(),
            normalization: self.normalization,
            batch_size: self.params.batch_size,
            seed: self.params.seed,
        }
    }

    fn epoch(
        &self,
        epoch: u32,
        net: &mut Net,
        sgd: &mut Sgd,
        batches: &Receiver<Batch>,
        observer: &mut dyn Observer,
    ) -> Result<(Score, f64), TrainError> {
        seed_libtorch(self.params.seed, epoch);
        let lr = self.learning_rate(epoch);
        let steps = self.steps();
        let started = Instant::now();
        let (mut total_loss, mut correct, mut total) = (0.0, 0_i64, 0_usize);
        for step in 1..=steps {
            let batch = batches.recv().map_err(|_| TrainError::Starved)?;
            let count = batch.labels.len();
            let shape = self.dataset.shape();
            let images = to_images(&batch.images, shape, self.device, MemoryFormat::ChannelsLast)?;
            let labels = Tensor::f_from_slice(&batch.labels)?.f_to_device(self.device)?;
            let logits = net.forward(&images, true)?;
            let smoothing = self.params.label_smoothing;
            let loss =
                logits.f_cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, smoothing)?;
            let value = loss.f_double_value(&[])?;
            if !value.is_finite() {
                return Err(TrainError::Diverged { what: "loss", value, epoch: epoch + 1, step, steps, lr });
            }
            let gradient = net.gradient(&loss)?;
            sgd.step(net.values_mut(), gradient, lr)?;
            let right = logits.f_argmax(-1, false)?.f_eq_tensor(&labels)?.f_sum(tch::Kind::Int64)?;
            correct += right.f_int64_value(&[])?;
            total += count;
            total_loss += value * count as f64;
            observer.step(&StepReport {
                epochs_done: epoch,
                steps: (step, steps),
                loss: total_loss / total as f64,
                speed: total as f64 / started.elapsed().as_secs_f64().max(1e-9),
            });
        }
        let loss = rounded(total_loss / (total as f64).max(1.0));
        let score = Score { loss, correct: correct.unsigned_abs(), total: total as u64 };
        Ok((score, total as f64 / started.elapsed().as_secs_f64().max(1e-9)))
    }

    /// Validates, and brings `snapshot` up to date.
    fn close_epoch(
        &self,
        epoch: u32,
        train: Score,
        net: &Net,
        sgd: &Sgd,
        snapshot: &mut Snapshot,
    ) -> Result<(), TrainError> {
        snapshot.state = net.state()?;
        snapshot.velocity = crate::net::to_host(&sgd.velocity)?;
        snapshot.epochs_done = epoch + 1;
        if !snapshot.state.is_finite() {
            let (steps, lr) = (self.steps(), self.learning_rate(epoch));
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
            indices => Some(self.score(net, &self.dataset.train, indices)?),
        };
        let test = match self.params.select_on {
            SelectOn::Test => {
                let all: Vec<_> = (0..self.dataset.test.len()).collect();
                Some(self.score(net, &self.dataset.test, &all)?)
            }
            SelectOn::Validation | SelectOn::Last => None,
        };
        let selecting = match self.params.select_on {
            SelectOn::Validation => validation,
            SelectOn::Test => test,
            SelectOn::Last => None,
        };
        if let Some(score) = selecting
            && snapshot.best.as_ref().is_none_or(|best| score.correct > best.correct)
        {
            let state = snapshot.state.clone();
            snapshot.best = Some(Best { epoch: epoch + 1, correct: score.correct, state });
        }
        snapshot.history.push(EpochRecord { epoch: epoch + 1, train, validation, test });
        Ok(())
    }

    fn learning_rate(&self, epoch: u32) -> f64 {
        self.params.schedule.learning_rate(self.params.lr, epoch, self.params.epochs)
    }

    fn score(&self, net: &Net, split: &dataset::Split, indices: &[usize]) -> Result<Score, TorchError> {
        let (normalization, device) = (self.normalization, self.device);
        let inference = Inference { normalization, device, batch_size: EVALUATION_BATCH };
        let logits = inference.logits(net, split, indices, |_| {})?;
        let labels: Vec<_> = indices.iter().map(|&index| split.label(index)).collect();
        Ok(Score::of(&logits, &labels, self.graph.classes(), self.params.label_smoothing))
    }
}
