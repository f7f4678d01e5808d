//! What makes no sense about params together, which their schema cannot say, and what does not fit the number of training
//! images. Knows params and that number; knows no request.

use protocol::{Problem, grouped};

use super::{EngineName, Precision, Schedule, SelectOn, TrainParams};

/// Images held out by default, and at most which share of the training images they are: one in so many.
const HELD_OUT: usize = 5_000;
const ONE_IN: usize = 5;

impl TrainParams {
    /// What makes no difference by itself, though it reads as if it did.
    pub(crate) fn remarks(&self) -> Vec<Problem> {
        let mut remarks = Vec::new();
        if let Some(patience) = self.patience.filter(|patience| *patience >= self.epochs && self.epochs > 0) {
            let message = format!(
                "`patience` is {patience}, and `epochs` is {}: no training can go on for so long without a better epoch, so that \
                 `patience` changes nothing",
                self.epochs
            );
            let hint = "lower `patience`, or leave it out";
            remarks.push(Problem::new(message).param("patience").hint(hint).harmless());
        }
        remarks
    }

    /// All that makes no sense together.
    pub(crate) fn check(&self) -> Vec<Problem> {
        let none_held_out = self.validation.as_ref().and_then(serde_json::Number::as_f64) == Some(0.0);
        [
            (
                self.nesterov && self.momentum <= 0.0,
                "nesterov",
                "`nesterov` wants a `momentum` above 0; set one or the other",
            ),
            (
                self.restart_every.is_some() && self.schedule == Schedule::Constant,
                "restart_every",
                "`restart_every` wants a learning rate that falls: set `schedule: cosine` or `linear`, or leave it out",
            ),
            (
                self.patience.is_some() && self.select_on == SelectOn::Last,
                "patience",
                "`patience` wants images to tell which epoch is better: set `select_on: validation`, or leave it out",
            ),
            (
                self.engine == EngineName::Native && self.precision == Precision::Bfloat16,
                "precision",
                "`engine` is native, but `precision: bfloat16` is computed by libtorch alone; use `engine: auto` or `libtorch`",
            ),
            (
                none_held_out && self.select_on == SelectOn::Validation,
                "validation",
                "`validation` holds out no images to select the best epoch on; raise it, or set `select_on: last`",
            ),
        ]
        .into_iter()
        .filter(|(is_wrong, ..)| *is_wrong)
        .map(|(_, param, message)| Problem::new(message).param(param))
        .collect()
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
