//! Where a training stands between two epochs: what a checkpoint keeps. Knows numbers; knows no files.

use serde::{Deserialize, Serialize};

use crate::backend::TrainState;
use crate::net::parameters::Parameters;
use crate::net::score::Score;
use crate::params::SelectOn;

/// Everything that the rest of a training depends on, between two epochs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    /// Epochs behind it.
    pub(crate) epochs_done: u32,
    /// Numbers and velocity.
    pub(crate) train_state: TrainState,
    /// The best epoch so far, where one is selected.
    pub(crate) best: Option<Best>,
    /// What each epoch came to.
    pub(crate) history: Vec<EpochRecord>,
    /// The epoch up to which it is an earlier training with fewer epochs, if it continues one.
    pub(crate) continued: Option<u32>,
}

/// The best epoch so far.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Best {
    /// Which, counted from 1.
    pub(crate) epoch: u32,
    /// Right answers on the selecting images.
    pub(crate) correct: u64,
    /// Its numbers.
    pub(crate) parameters: Parameters,
}

/// What an epoch came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EpochRecord {
    /// Which, counted from 1.
    pub(crate) epoch: u32,
    /// Learning rate of its first step.
    pub(crate) lr: f64,
    /// On augmented training images, while learning.
    pub(crate) train: Score,
    /// On the images held out.
    pub(crate) validation: Option<Score>,
    /// On the test images, where they select.
    pub(crate) test: Option<Score>,
}

impl Snapshot {
    /// The chosen epoch, from 1, and its numbers.
    pub(crate) fn chosen(&self) -> (u32, &Parameters) {
        self.best
            .as_ref()
            .map_or((self.epochs_done, self.train_state.kept()), |best| (best.epoch, &best.parameters))
    }

    /// What the best epoch so far came to on the selecting images.
    pub(crate) fn best_score(&self, select_on: SelectOn) -> Option<Score> {
        let best = self.best.as_ref()?.epoch;
        let record = self.history.iter().rfind(|record| record.epoch == best)?;
        select_on.of(record.validation, record.test)
    }

    /// Whether no epoch was better for `patience` epochs.
    pub(crate) fn exhausted(&self, patience: Option<u32>) -> bool {
        let best = self.best.as_ref().map(|best| best.epoch);
        patience.zip(best).is_some_and(|(patience, best)| self.epochs_done >= best.saturating_add(patience))
    }
}
