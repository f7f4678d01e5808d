//! What a training leaves for a later one whose recipe differs in nothing but the number of epochs. Where no learning
//! rate depends on that number, it goes on where this one ended; under a rate that falls to zero by the end it cannot, and is told
//! so. Knows files and lengths; knows no steps.

use std::path::{Path, PathBuf};

use anyhow::Context;
use protocol::Reporter;

use crate::params::TrainParams;
use crate::trainer::Trainer;
use crate::trainer::checkpoint::Checkpoint;
use crate::trainer::snapshot::Snapshot;

/// The folder that all lengths of a training share.
pub(crate) struct WarmStart {
    checkpoint: Checkpoint,
    /// Says how long the last training was whose rate fell to zero.
    length: PathBuf,
}

impl WarmStart {
    pub(crate) fn new(folder: &Path, training: &Trainer<'_>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).context("cannot create the folder for later trainings")?;
        let any_length = TrainParams { epochs: 0, ..training.params.clone() };
        Ok(Self {
            checkpoint: Checkpoint::new(folder, &any_length, training.setting())?,
            length: folder.join("epochs"),
        })
    }

    /// Where an earlier training ended, if it went the same way as this one will. One that is damaged or of another network
    /// is as good as none: nobody was promised that it would be there.
    pub(crate) fn go_on(&self, training: &Trainer<'_>, reporter: &mut Reporter<'_>) -> Option<Snapshot> {
        let epochs = training.params.epochs;
        if !training.params.goes_on() {
            let done: u32 = regular::read_text(&self.length).ok()?.trim().parse().ok()?;
            if done != epochs {
                // Tuning has no restarts.
                let advice = match training.tuning {
                    None => "with `schedule: constant` or `restart_every` it could be continued",
                    Some(_) => "with `schedule: constant` it could be continued",
                };
                reporter.info(format!(
                    "an earlier training of {done} epochs cannot be continued to {epochs} epochs: its learning rate fell to \
                     zero by its own end; {advice}"
                ));
            }
            return None;
        }
        let snapshot = self.checkpoint.read().ok().flatten().filter(|snapshot| training.fits(snapshot))?;
        let done = snapshot.epochs_done;
        if done > epochs {
            reporter
                .info(format!("an earlier training went on for {done} epochs, too long for one of {epochs}"));
        }
        if done >= epochs {
            // As long as this one, it is this one: asked for again, it is done again.
            return None;
        }
        reporter.info(format!(
            "continuing after epoch {done} of an earlier training, as only `epochs` changed: the result is the same as \
             training from scratch"
        ));
        Some(Snapshot { continued: Some(done), ..snapshot })
    }

    /// Leaves `last`, the end of a training, unless there is a longer one.
    pub(crate) fn keep(&self, last: &Snapshot, params: &TrainParams) -> anyhow::Result<()> {
        if !params.goes_on() {
            return Ok(regular::write_whole(&self.length, params.epochs.to_string().as_bytes())?);
        }
        let longer = |kept: &Snapshot| kept.epochs_done > last.epochs_done;
        match self.checkpoint.read() {
            Ok(Some(kept)) if longer(&kept) => Ok(()),
            _ => self.checkpoint.write(last),
        }
    }
}
