//! What makes no sense about params by themselves, and what does not fit the number of training images. The same is told
//! before anything runs and by the op itself.

use protocol::Problem;

use super::{Distill, EngineName, MuonParams, Precision, Schedule, SelectOn, TrainParams};
use crate::plugin::grouped;

/// Images held out by default, and at most which share of the training images they are: one in so many.
const HELD_OUT: usize = 5_000;
const ONE_IN: usize = 5;

/// Problems of params, each told of the one that it is about.
#[derive(Default)]
pub(crate) struct Faults(pub(crate) Vec<Problem>);

impl Faults {
    /// Takes note of a problem with a param unless `holds`.
    pub(crate) fn ensure(&mut self, holds: bool, param: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Problem::new(message()).param(param));
        }
    }
}

impl TrainParams {
    /// What the schema says, for those who did not ask it, and what it cannot say: the first problem.
    ///
    /// # Errors
    /// The first of [`TrainParams::problems`].
    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.problems().into_iter().next().map_or(Ok(()), Err)
    }

    /// All that makes no sense by itself.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut faults = Faults::default();
        self.check_rates(&mut faults);
        self.check_extras(&mut faults);
        self.check_choices(&mut faults);
        faults.0
    }

    fn check_rates(&self, faults: &mut Faults) {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        faults.ensure(self.epochs >= 1, "epochs", || "`epochs` is 0, but must be at least 1".into());
        faults.ensure((1..=65_536).contains(&self.batch_size), "batch_size", || {
            format!("`batch_size` is {}, but must be 1 to 65536", self.batch_size)
        });
        faults.ensure(positive(self.lr), "lr", || format!("`lr` is {}, but must be above 0", self.lr));
        faults.ensure(share(self.momentum), "momentum", || {
            format!("`momentum` is {}, but must be at least 0 and below 1", self.momentum)
        });
        faults.ensure(!self.nesterov || self.momentum > 0.0, "nesterov", || {
            "`nesterov` wants a `momentum` above 0; set one or the other".into()
        });
        faults.ensure(self.weight_decay.is_finite() && self.weight_decay >= 0.0, "weight_decay", || {
            format!("`weight_decay` is {}, but must be at least 0", self.weight_decay)
        });
        faults.ensure(self.warmup.is_finite() && self.warmup >= 0.0, "warmup", || {
            format!("`warmup` is {}, but must be at least 0", self.warmup)
        });
        faults.ensure(self.restart_every != Some(0), "restart_every", || {
            "`restart_every` is 0, but must be at least 1; leave it out for a rate that falls once".into()
        });
        faults.ensure(
            self.restart_every.is_none() || self.schedule != Schedule::Constant,
            "restart_every",
            || {
                "`restart_every` wants a learning rate that falls: set `schedule: cosine` or `linear`, or leave it out"
                    .into()
            },
        );
    }

    fn check_extras(&self, faults: &mut Faults) {
        if let Some(Distill { weight, temperature }) = self.distill {
            faults.ensure((0.0..=1.0).contains(&weight), "distill/weight", || {
                format!("`distill.weight` is {weight}, but must be 0 to 1")
            });
            faults.ensure(temperature > 0.0 && temperature <= 100.0, "distill/temperature", || {
                format!("`distill.temperature` is {temperature}, but must be above 0 and at most 100")
            });
        }
        if let Some(MuonParams { lr, momentum }) = self.muon {
            faults.ensure(lr > 0.0 && lr <= 1.0, "muon/lr", || {
                format!("`muon.lr` is {lr}, but must be above 0 and at most 1")
            });
            faults.ensure(share(momentum), "muon/momentum", || {
                format!("`muon.momentum` is {momentum}, but must be at least 0 and below 1")
            });
        }
        faults.ensure(self.ema.is_none_or(share), "ema", || {
            format!("`ema` is {}, but must be at least 0 and below 1", self.ema.unwrap_or(f64::NAN))
        });
        if let Some(limit) = self.clip_grad {
            faults.ensure(limit.is_finite() && limit > 0.0, "clip_grad", || {
                format!("`clip_grad` is {limit}, but must be above 0; leave it out for no clipping")
            });
        }
        faults.ensure(share(self.label_smoothing), "label_smoothing", || {
            format!("`label_smoothing` is {}, but must be at least 0 and below 1", self.label_smoothing)
        });
        faults.ensure(self.augment.crop_padding <= 1024, "augment/crop_padding", || {
            format!("`augment.crop_padding` is {}, but must be at most 1024", self.augment.crop_padding)
        });
    }

    fn check_choices(&self, faults: &mut Faults) {
        faults.ensure(self.patience != Some(0), "patience", || {
            "`patience` is 0, but must be at least 1; leave it out for all epochs".into()
        });
        faults.ensure(self.patience.is_none() || self.select_on != SelectOn::Last, "patience", || {
            "`patience` wants images to tell which epoch is better: set `select_on: validation`, or leave it out".into()
        });
        faults.ensure(self.checkpoint_every >= 1, "checkpoint_every", || {
            "`checkpoint_every` is 0, but must be at least 1".into()
        });
        faults.ensure(
            self.engine != EngineName::Native || self.precision != Precision::Bfloat16,
            "precision",
            || {
                "`engine` is native, but `precision: bfloat16` is computed by libtorch alone; use `engine: auto` or `libtorch`"
                    .into()
            },
        );
        let none_held_out = self.validation.as_ref().and_then(serde_json::Number::as_f64) == Some(0.0);
        faults.ensure(!none_held_out || self.select_on != SelectOn::Validation, "validation", || {
            "`validation` holds out no images to select the best epoch on; raise it, or set `select_on: last`".into()
        });
    }

    /// How many of `images` training images are held out.
    ///
    /// # Errors
    /// When there are not as many, or none to select on.
    pub(crate) fn validation_count(&self, images: usize) -> Result<usize, Problem> {
        let wrong = |message: String| Err(Problem::new(message).param("validation"));
        let asked = match &self.validation {
            // Where there are fewer than five, an image is worth more to learn from.
            None => HELD_OUT.min(images / ONE_IN) as f64,
            Some(number) => number.as_f64().unwrap_or(f64::NAN),
        };
        let is_share = self.validation.is_some() && (0.0..1.0).contains(&asked);
        let count = if is_share { (asked * images as f64).round() } else { asked };
        if !(count >= 0.0 && count.fract() == 0.0) {
            return wrong(format!(
                "`validation` is {asked}, but must be a number of images, or a share of the training images below 1"
            ));
        }
        if count >= images as f64 {
            return wrong(format!(
                "`validation` holds out {} images, but the training set has only {}; lower it, or give a share such as 0.1",
                grouped(count as u64),
                grouped(images as u64)
            ));
        }
        if count == 0.0 && self.select_on == SelectOn::Validation {
            return wrong(format!(
                "`validation` holds out none of {} training images, and there are none to select the best epoch on; raise \
                 it, or set `select_on: last`",
                grouped(images as u64)
            ));
        }
        Ok(count as usize)
    }
}

fn share(value: f64) -> bool {
    (0.0..1.0).contains(&value)
}
