//! Params of the ops: the doc comments are what the JSON Schema says, the defaults are the recipe that TinyNet was
//! first trained with. Knows what makes sense by itself; not whether it fits a dataset.

use anyhow::{Context, bail, ensure};
use dataset::Normalization;
use model::Network;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::device::Device;

mod parts;

pub(crate) use parts::{
    Alternating, AugmentParams, Budget, ClassWeights, Distill, EngineName, Mirror, MuonParams,
    NormalizationParams, Precision, Schedule, SelectOn,
};

/// How to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TrainParams {
    /// The network.
    pub(crate) network: Network,
    /// Passes over the training images.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) epochs: u32,
    /// Images a step.
    #[schemars(range(min = 1, max = 65_536))]
    pub(crate) batch_size: usize,
    /// Learning rate, where it is highest.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub(crate) lr: f64,
    /// What becomes of the learning rate from step to step.
    pub(crate) schedule: Schedule,
    /// Epochs after which the schedule starts anew from the highest rate (warm restarts; Loshchilov and Hutter 2017, arXiv
    /// 1608.03983). No rate depends on `epochs` then, so a longer training continues a shorter one. None by default: the rate
    /// falls to zero once, with the last epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub(crate) restart_every: Option<u32>,
    /// Epochs, or a part of one, in which the learning rate first rises from zero; at most a fifth of those in which it then
    /// falls to zero.
    #[schemars(range(min = 0.0))]
    pub(crate) warmup: f64,
    /// Momentum of gradient descent; below 1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub(crate) momentum: f64,
    /// Whether the momentum is Nesterov's.
    pub(crate) nesterov: bool,
    /// Pull of parameters towards zero.
    #[schemars(range(min = 0.0))]
    pub(crate) weight_decay: f64,
    /// Whether it pulls at normalisations and biases, too, as PyTorch's does.
    pub(crate) decay_norms: bool,
    /// Convolutions that a normalisation follows, but for those in groups, learn by Muon, and all else as it does without: each
    /// step turns their weights, in all directions by the same amount. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) muon: Option<MuonParams>,
    /// Decay, step by step, of a running average of all weights, which is what is validated and kept, with statistics
    /// of normalisations estimated anew: below 1, such as 0.999. None by default.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub(crate) ema: Option<f64>,
    /// Largest global norm of a gradient; larger ones are scaled down. None by default.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub(crate) clip_grad: Option<f64>,
    /// Share of the target spread evenly over all classes; below 1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub(crate) label_smoothing: f64,
    /// How much each class counts in the loss: all the same by default.
    pub(crate) class_weights: ClassWeights,
    /// How much the input `teacher` counts. With one, a weight of 0.9 and a temperature of 4 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) distill: Option<Distill>,
    /// Random changes to training images.
    pub(crate) augment: AugmentParams,
    /// How pixels become the network's input; stored with the weights.
    pub(crate) normalization: NormalizationParams,
    /// Images held out of the training set: their number, or, below 1, their share. Every class gives its share.
    #[schemars(range(min = 0.0), extend("if" = { "minimum": 1 }, "then" = { "type": "integer" }))]
    pub(crate) validation: Number,
    /// Which images choose the epoch whose weights are kept.
    pub(crate) select_on: SelectOn,
    /// Epochs without a better one after which training stops early. None by default: all epochs.
    #[schemars(range(min = 1))]
    pub(crate) patience: Option<u32>,
    /// Seed of everything random: first weights, held-out images, order, augmentation, dropout.
    pub(crate) seed: u64,
    /// Where to compute.
    pub(crate) device: Device,
    /// Who computes.
    pub(crate) engine: EngineName,
    /// In what numbers a step is computed. Weights, sums of a normalisation, a
    /// teacher and all that is validated or kept have 32 bits.
    pub(crate) precision: Precision,
    /// Limits that are checked before training starts.
    pub(crate) budget: Budget,
    /// Epochs between checkpoints that an interrupted training continues from.
    #[schemars(range(min = 1))]
    pub(crate) checkpoint_every: u32,
}

impl Default for TrainParams {
    fn default() -> Self {
        Self {
            network: Network::tinynet(),
            epochs: 150,
            batch_size: 128,
            lr: 0.05,
            schedule: Schedule::Cosine,
            restart_every: None,
            warmup: 0.0,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 5e-4,
            decay_norms: true,
            muon: None,
            ema: None,
            clip_grad: None,
            label_smoothing: 0.1,
            class_weights: ClassWeights::Equal,
            distill: None,
            augment: AugmentParams::default(),
            normalization: NormalizationParams::default(),
            validation: Number::from(5000),
            select_on: SelectOn::Validation,
            patience: None,
            seed: 42,
            device: Device::Auto,
            engine: EngineName::Auto,
            precision: Precision::Float32,
            budget: Budget::default(),
            checkpoint_every: 1,
        }
    }
}

/// How to evaluate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EvaluateParams {
    /// Images at a time.
    #[schemars(range(min = 1, max = 65_536))]
    pub(crate) batch_size: usize,
    /// Where to compute.
    pub(crate) device: Device,
}

impl Default for EvaluateParams {
    fn default() -> Self {
        Self { batch_size: 256, device: Device::Auto }
    }
}

/// Params from JSON. The error names the place.
pub(crate) fn parse<T: DeserializeOwned>(params: &Value) -> anyhow::Result<T> {
    serde_path_to_error::deserialize(params).map_err(|error| {
        let place = error.path().to_string();
        anyhow::anyhow!("params: `{place}`: {}", error.into_inner())
    })
}

impl TrainParams {
    /// Checks what the schema says, for those who did not ask it, and what it cannot say.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let share = |value: f64| (0.0..1.0).contains(&value);
        ensure!(self.epochs >= 1, "`epochs` is 0, but must be at least 1");
        ensure!(
            (1..=65_536).contains(&self.batch_size),
            "`batch_size` is {}, but must be 1 to 65536",
            self.batch_size
        );
        ensure!(positive(self.lr), "`lr` is {}, but must be above 0", self.lr);
        ensure!(share(self.momentum), "`momentum` is {}, but must be at least 0 and below 1", self.momentum);
        ensure!(
            !self.nesterov || self.momentum > 0.0,
            "`nesterov` wants a `momentum` above 0; set one or the other"
        );
        ensure!(
            self.weight_decay.is_finite() && self.weight_decay >= 0.0,
            "`weight_decay` is {}, but must be at least 0",
            self.weight_decay
        );
        ensure!(
            self.warmup.is_finite() && self.warmup >= 0.0,
            "`warmup` is {}, but must be at least 0",
            self.warmup
        );
        ensure!(
            self.restart_every != Some(0),
            "`restart_every` is 0, but must be at least 1; leave it out for a rate that falls once"
        );
        ensure!(
            self.restart_every.is_none() || self.schedule != Schedule::Constant,
            "`restart_every` wants a learning rate that falls: set `schedule: cosine` or `linear`, or leave it out"
        );
        if let Some(Distill { weight, temperature }) = self.distill {
            ensure!((0.0..=1.0).contains(&weight), "`distill.weight` is {weight}, but must be 0 to 1");
            ensure!(
                temperature > 0.0 && temperature <= 100.0,
                "`distill.temperature` is {temperature}, but must be above 0 and at most 100"
            );
        }
        if let Some(MuonParams { lr, momentum }) = self.muon {
            ensure!(lr > 0.0 && lr <= 1.0, "`muon.lr` is {lr}, but must be above 0 and at most 1");
            ensure!(share(momentum), "`muon.momentum` is {momentum}, but must be at least 0 and below 1");
        }
        if let Some(decay) = self.ema {
            ensure!(share(decay), "`ema` is {decay}, but must be at least 0 and below 1");
        }
        ensure!(
            self.patience != Some(0),
            "`patience` is 0, but must be at least 1; leave it out for all epochs"
        );
        ensure!(
            self.patience.is_none() || self.select_on != SelectOn::Last,
            "`patience` wants images to tell which epoch is better: set `select_on: validation`, or leave it out"
        );
        if let Some(limit) = self.clip_grad {
            ensure!(
                positive(limit),
                "`clip_grad` is {limit}, but must be above 0; leave it out for no clipping"
            );
        }
        ensure!(
            share(self.label_smoothing),
            "`label_smoothing` is {}, but must be at least 0 and below 1",
            self.label_smoothing
        );
        ensure!(
            self.augment.crop_padding <= 1024,
            "`augment.crop_padding` is {}, but must be at most 1024",
            self.augment.crop_padding
        );
        ensure!(self.checkpoint_every >= 1, "`checkpoint_every` is 0, but must be at least 1");
        Ok(())
    }

    /// How many of `images` training images are held out.
    pub(crate) fn validation_count(&self, images: usize) -> anyhow::Result<usize> {
        let asked = self.validation.as_f64().context("`validation` is not a number")?;
        let count = if (0.0..1.0).contains(&asked) { (asked * images as f64).round() } else { asked };
        if !(count >= 0.0 && count.fract() == 0.0) {
            bail!(
                "`validation` is {}, but must be a number of images, or a share of the training images below 1",
                self.validation
            );
        }
        if count >= images as f64 {
            bail!(
                "`validation` holds out {count} images, but the training set has only {images}; lower it, or give \
                 a share such as 0.1"
            );
        }
        let count = count as usize;
        if count == 0 && self.select_on == SelectOn::Validation {
            bail!(
                "`validation` holds out no images to select the best epoch on; raise it, or set `select_on: last`"
            );
        }
        Ok(count)
    }

    /// Normalisation for the dataset's types.
    pub(crate) fn normalization(&self) -> Normalization {
        let single = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        Normalization { mean: single(&self.normalization.mean), std: single(&self.normalization.std) }
    }

    /// Whether no learning rate depends on the number of epochs, so that a longer training goes the way of a shorter one.
    pub(crate) fn goes_on(&self) -> bool {
        self.schedule == Schedule::Constant || self.restart_every.is_some()
    }

    /// Learning rate of the step after which `epochs` are behind the training, whole ones and the begun one's part, and
    /// before which it was `step` less.
    pub(crate) fn learning_rate(&self, epochs: f64, step: f64) -> f64 {
        let fall = f64::from(self.restart_every.unwrap_or(self.epochs));
        let warmup = match self.schedule {
            Schedule::Constant => self.warmup,
            Schedule::Cosine | Schedule::Linear => self.warmup.min(fall / 5.0),
        };
        if epochs <= warmup {
            return self.lr * epochs / warmup;
        }
        let begun = (epochs - step).max(0.0);
        // Half a step is more than rounding makes of a sum of steps.
        let start = ((begun + step / 2.0) / fall).floor() * fall;
        let warm = if start == 0.0 { warmup } else { start };
        self.lr * self.schedule.factor((begun - warm).max(0.0) / (start + fall - warm))
    }
}

#[cfg(test)]
mod tests;
