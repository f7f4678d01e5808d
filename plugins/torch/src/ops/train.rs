//! The op `train`: a dataset becomes weights, with progress, curves and checkpoints on the way.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::Context;
use dataset::{Normalization, wilson_interval};
use model::{Graph, HeldOut, Weights, WeightsMetadata};
use protocol::{Failure, Metric, Progress, Reporter, RunRequest};
use tensors::{Data, Tensor};

use crate::checkpoint::Checkpoint;
use crate::earlier::Earlier;
use crate::net::Net;
use crate::params::{SelectOn, TrainParams, parse};
use crate::plugin::{grouped, images, output};
use crate::score::{Inference, Score};
use crate::setup::Setup;
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::training::{Observer, StepReport, TrainError, Training};
use crate::{device, history};

/// Images in the reference set.
const REFERENCE_IMAGES: usize = 8;

/// Runs the op.
pub(crate) fn run(request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
    let setup = Setup::read(parse(&request.params)?, request)?;
    report_network(&setup.graph, reporter);
    reporter.info(format!(
        "training on {}, {} held out",
        images(setup.train.len()),
        grouped(setup.validation.len() as u64),
    ));
    if let Some(teacher) = &setup.teacher {
        reporter.info(format!(
            "taught by a network of {} parameters (weight {}, temperature {})",
            grouped(teacher.graph.parameter_count() as u64),
            teacher.distill.weight,
            teacher.distill.temperature
        ));
    }
    if setup.params.select_on == SelectOn::Test {
        reporter
            .warn("the epoch is chosen on the test images: their accuracy will be too good to be believed");
    }
    let training = setup.training();
    to_the_end(&training, request, reporter)
}

/// Trains, from the checkpoint where there is one, writes weights and reference images, and reports.
pub(crate) fn to_the_end(
    training: &Training<'_>,
    request: &RunRequest,
    reporter: &mut Reporter<'_>,
) -> Result<(), Failure> {
    let Training { params, dataset, graph, normalization, train, validation, .. } = *training;
    std::fs::create_dir_all(&request.resume_dir).context("cannot create the folder for checkpoints")?;
    let checkpoint = Checkpoint::new(&request.resume_dir, params, training.setting())?;
    let earlier = request.continue_dir.as_deref().map(|folder| Earlier::new(folder, training)).transpose()?;
    let start = resume(training, &checkpoint, reporter)
        .or_else(|| earlier.as_ref()?.go_on(training, reporter))
        .unwrap_or_else(|| training.start());
    let threads = if training.threads == 1 { "thread" } else { "threads" };
    let place = format!("{} with {} {threads}", device::name(training.device), training.threads);
    let mut observer = Report::new(params, &checkpoint, place, reporter);
    observer.note_scores(&start);
    let outcome = training.run(start, &mut observer);
    let images_per_second = observer.mean_speed();
    observer.failed_checkpoint?;
    let last = outcome.map_err(failure)?;
    if let Some(earlier) = earlier
        && let Err(error) = earlier.keep(&last, params)
    {
        reporter.warn(format!("a longer training will not know of this one: {error:#}"));
    }

    let (epoch, state) = last.chosen();
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
    Weights::new(state.to_tensors(graph, steps), metadata)?.write(output(request, "weights")?)?;
    let shown = if validation.is_empty() { train } else { validation };
    write_reference(training, state, shown, normalization, output(request, "reference")?)?;
    reporter.figure(history::figure(&last, params));
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
fn resume(training: &Training<'_>, checkpoint: &Checkpoint, reporter: &mut Reporter<'_>) -> Option<Snapshot> {
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
        self.reporter.figure(history::figure(snapshot, self.params));
        ControlFlow::Continue(())
    }
}

fn report_network(graph: &Graph, reporter: &mut Reporter<'_>) {
    reporter.metric("parameters", Metric::new(graph.parameter_count() as f64, ""));
    reporter.metric("size_kb", size_metric(graph));
    reporter.metric("macs", Metric::new(graph.macs() as f64, "").basis("multiply-adds for one image"));
}

/// Size of the state dict.
pub(crate) fn size_metric(graph: &Graph) -> Metric {
    Metric::new(graph.state_dict_bytes() as f64 / 1024.0, "KB")
        .basis("state dict: 32-bit parameters and running statistics, counters")
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
    training: &Training<'_>,
    state: &State,
    indices: &[usize],
    normalization: &Normalization,
    path: &Path,
) -> anyhow::Result<()> {
    let indices: Vec<_> = indices.iter().copied().take(REFERENCE_IMAGES).collect();
    let split = &training.dataset.train;
    let net = Net::new(training.graph, state, tch::Device::Cpu, false, None)?;
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

#[cfg(test)]
mod tests;
