//! What a training tells while it goes on. Knows epochs and steps; knows neither runner nor files.

use std::ops::ControlFlow;

use super::snapshot::Snapshot;

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
    /// Before the first step: who computes.
    fn starts(&mut self, backend: &str);
    /// Now and then after a step.
    fn step(&mut self, report: &StepReport);
    /// After an epoch and its validation; `speed` in training images a second. A break stops the training.
    fn epoch(&mut self, snapshot: &Snapshot, speed: f64) -> ControlFlow<()>;
}
