//! A training from its start, or from where an earlier attempt or a shorter training ended, to its outputs: weights, reference images,
//! curves and metrics. Knows files and the runner; knows no steps.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Context;
use dataset::{Normalization, wilson_interval};
use model::{HeldOut, Weights, WeightsMetadata};
use protocol::{Failure, Metric, Progress, Reporter, RunRequest, grouped};
use tensors::{Data, Tensor};

use super::checkpoint::Checkpoint;
use super::observer::{Observer, StepReport};
use super::snapshot::Snapshot;
use super::warm_start::WarmStart;
use super::{Trainer, curves};
use crate::device;
use crate::error::TrainError;
use crate::net::Net;
use crate::net::parameters::Parameters;
use crate::net::score::{Inference, Score};
use crate::params::{SelectOn, TrainParams};

/// Images in the reference set.
const REFERENCE_IMAGES: usize = 8;

/// Trains, from the checkpoint where there is one, writes weights and reference images, and reports.
pub(crate) fn fit(
    training: &Trainer<'_>,
    request: &RunRequest,
    reporter: &mut Reporter<'_>,
) -> Result<(), Failure> {
    let Trainer { params, dataset, graph, normalization, train, validation, .. } = *training;
    std::fs::create_dir_all(&request.resume_dir).context("cannot create the folder for checkpoints")?;
    let checkpoint = Checkpoint::new(&request.resume_dir, params, training.setting())?;
    let warm_start =
        request.continue_dir.as_deref().map(|folder| WarmStart::new(folder, training)).transpose()?;
    let start = resume(training, &checkpoint, reporter)
        .or_else(|| warm_start.as_ref()?.go_on(training, reporter))
        .unwrap_or_else(|| training.start());
    let threads = if training.threads == 1 { "thread" } else { "threads" };
    let place = format!("{} with {} {threads}", device::name(training.device), training.threads);
    let mut observer = Report::new(params, &checkpoint, place, reporter);
    observer.note_scores(&start);
    let outcome = training.run(start, &mut observer);
    let images_per_second = observer.mean_speed();
    observer.failed_checkpoint?;
    let last = outcome.map_err(failure)?;
    if let Some(warm_start) = warm_start
        && let Err(error) = warm_start.keep(&last, params)
    {
        reporter.warn(format!("a longer training will not know of this one: {error:#}"));
    }

    let (epoch, parameters) = last.chosen();
    let steps = u64::from(epoch) * training.steps() as u64;
    let metadata = WeightsMetadata {
        network: params.network.clone(),
        classes: dataset.classes.clone(),
        normalization: normalization.clone(),
        held_out: Some(HeldOut {
            seed: params.seed,
            images: validation.len(),
            of: train.len() + validation.len(),
        }),
    };
    Weights::new(parameters.to_tensors(graph, steps), metadata)?.write(request.output("weights")?)?;
    let shown = if validation.is_empty() { train } else { validation };
    write_reference(training, parameters, shown, normalization, request.output("reference")?)?;
    reporter.figure(curves::figure(&last, params));
    if last.epochs_done < params.epochs {
        reporter.info(format!(
            "stopped after epoch {} of {}: none was better than epoch {epoch} for `patience` epochs",
            last.epochs_done, params.epochs
        ));
    }
    report_outcome(&last, images_per_second, reporter);
    Ok(())
}

/// The snapshot of the checkpoint, where there is a good one.
fn resume(training: &Trainer<'_>, checkpoint: &Checkpoint, reporter: &mut Reporter<'_>) -> Option<Snapshot> {
    match checkpoint.read() {
        Ok(Some(snapshot)) if training.fits(&snapshot) => {
            let epochs = training.params.epochs;
            reporter.info(format!("continuing after epoch {} of {epochs}", snapshot.epochs_done));
            Some(snapshot)
        }
        Ok(Some(_)) => {
            reporter.warn("the checkpoint is of another network; starting from the first epoch");
            None
        }
        Ok(None) => None,
        Err(error) => {
            reporter.warn(format!(
                "cannot continue from the checkpoint, starting from the first epoch: {error:#}"
            ));
            None
        }
    }
}

fn failure(error: TrainError) -> Failure {
    let diverged = matches!(error, TrainError::Diverged { .. });
    let failure = Failure::from(error);
    if diverged { failure.hint("lower `lr` or set `clip_grad`") } else { failure }
}

/// Tells the runner, and writes checkpoints.
struct Report<'a, 'b> {
    params: &'a TrainParams,
    checkpoint: &'a Checkpoint,
    /// Where it is computed, in words.
    place: String,
    reporter: &'a mut Reporter<'b>,
    last_validation: Option<Score>,
    speeds: Vec<f64>,
    failed_checkpoint: anyhow::Result<()>,
}

impl<'a, 'b> Report<'a, 'b> {
    fn new(
        params: &'a TrainParams,
        checkpoint: &'a Checkpoint,
        place: String,
        reporter: &'a mut Reporter<'b>,
    ) -> Self {
        Self {
            params,
            checkpoint,
            place,
            reporter,
            last_validation: None,
            speeds: Vec::new(),
            failed_checkpoint: Ok(()),
        }
    }

    fn note_scores(&mut self, snapshot: &Snapshot) {
        self.last_validation = snapshot.history.last().and_then(|record| record.test.or(record.validation));
    }

    fn progress(&mut self, done: f64, loss: f64, speed: f64, milestone: bool) {
        let mut text = format!("loss {loss:.3}");
        if let Some(score) = self.last_validation {
            let name = if self.params.select_on == SelectOn::Test { "test" } else { "val" };
            text.push_str(&format!("  {name} {:.2} %", score.accuracy()));
        }
        text.push_str(&format!("  {} img/s", grouped(speed.round() as u64)));
        let total = f64::from(self.params.epochs);
        self.reporter.progress(Progress { done, total, unit: "epoch".into(), text, milestone });
    }

    /// Harmonic mean of the epochs' speeds: images by time.
    fn mean_speed(&self) -> Option<f64> {
        let time: f64 = self.speeds.iter().map(|speed| 1.0 / speed).sum();
        (!self.speeds.is_empty()).then(|| self.speeds.len() as f64 / time)
    }
}

impl Observer for Report<'_, '_> {
    fn starts(&mut self, engine: &str) {
        self.reporter.info(format!("computed by {engine}, on {}", self.place));
    }

    fn step(&mut self, report: &StepReport) {
        let (step, steps) = report.steps;
        let done = f64::from(report.epochs_done) + step as f64 / steps.max(1) as f64;
        self.progress(done, report.loss, report.speed, false);
    }

    fn epoch(&mut self, snapshot: &Snapshot, speed: f64) -> ControlFlow<()> {
        self.speeds.push(speed);
        let Some(record) = snapshot.history.last() else { return ControlFlow::Continue(()) };
        // First, so that what is told as done survives a kill.
        let due = snapshot.epochs_done.is_multiple_of(self.params.checkpoint_every);
        if due && let Err(error) = self.checkpoint.write(snapshot) {
            self.failed_checkpoint = Err(error.context("cannot write a checkpoint"));
            return ControlFlow::Break(());
        }
        self.note_scores(snapshot);
        self.progress(f64::from(snapshot.epochs_done), record.train.loss, speed, true);
        self.reporter.figure(curves::figure(snapshot, self.params));
        ControlFlow::Continue(())
    }
}

fn report_outcome(last: &Snapshot, images_per_second: Option<f64>, reporter: &mut Reporter<'_>) {
    let (epoch, _) = last.chosen();
    reporter.metric("best_epoch", Metric::new(f64::from(epoch), ""));
    if let Some(speed) = images_per_second {
        reporter
            .metric("images_per_second", Metric::new(speed, "img/s").basis("training, without validation"));
    }
    if let Some(record) = last.history.last() {
        let basis = format!("epoch {}, augmented training images", record.epoch);
        reporter.metric("train_loss", Metric::new(record.train.loss, "").basis(basis));
    }
    let Some(record) = last.history.iter().find(|record| record.epoch == epoch) else { return };
    for (name, score, images) in [
        ("val_accuracy", record.validation, "validation images"),
        ("test_accuracy", record.test, "test images, which chose the epoch"),
    ] {
        if let Some(score) = score {
            let [low, high] = wilson_interval(score.correct, score.total);
            let basis = format!("{} {images}", grouped(score.total));
            reporter.metric(name, Metric::new(score.accuracy(), "%").interval(low, high).basis(basis));
        }
    }
}

/// A few images and what the network says of them, computed on the CPU, for others to compare with.
fn write_reference(
    training: &Trainer<'_>,
    parameters: &Parameters,
    indices: &[usize],
    normalization: &Normalization,
    path: &Path,
) -> anyhow::Result<()> {
    let indices: Vec<_> = indices.iter().copied().take(REFERENCE_IMAGES).collect();
    let split = &training.dataset.train;
    let net = Net::new(training.graph, parameters, tch::Device::Cpu, false, None)?;
    let inference = Inference { normalization, device: tch::Device::Cpu, batch_size: REFERENCE_IMAGES };
    let logits = inference.logits(&net, split, &indices, |_| {})?;
    let mut input = Vec::new();
    normalization.apply(split, &indices, &mut input);
    let [channels, height, width] = split.shape();
    let tensor = |shape: Vec<usize>, values| {
        Tensor::new(shape, Data::F32(values)).context("reference images do not fill their shape")
    };
    let tensors = BTreeMap::from([
        ("input".to_owned(), tensor(vec![indices.len(), channels, height, width], input)?),
        ("logits".to_owned(), tensor(vec![indices.len(), training.graph.classes()], logits)?),
    ]);
    Ok(tensors::write(path, &tensors, &())?)
}
