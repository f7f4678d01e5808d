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
    /// Epochs, or a part of one, in which the learning rate first rises from zero; at most a fifth of all where it falls to
    /// zero by the end.
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
    /// Decay, step by step, of a running average of all weights, which is what is validated and kept: below 1, such as
    /// 0.999. None by default.
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
            warmup: 0.0,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 5e-4,
            decay_norms: true,
            ema: None,
            clip_grad: None,
            label_smoothing: 0.1,
            class_weights: ClassWeights::Equal,
            augment: AugmentParams::default(),
            normalization: NormalizationParams::default(),
            validation: Number::from(5000),
            select_on: SelectOn::Validation,
            patience: None,
            seed: 42,
            device: Device::Auto,
            engine: EngineName::Auto,
            budget: Budget::default(),
            checkpoint_every: 1,
        }
    }
}

/// What becomes of the learning rate from step to step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Schedule {
    /// Half a cosine down to zero after the last epoch.
    #[default]
    Cosine,
    /// A straight line down to zero after the last epoch.
    Linear,
    /// It stays.
    Constant,
}

impl Schedule {
    /// Share of the highest learning rate after `share` of the way from the warm-up to the end.
    fn factor(self, share: f64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - share,
            Self::Cosine => (1.0 + (std::f64::consts::PI * share).cos()) / 2.0,
        }
    }
}

/// Who computes a training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EngineName {
    /// On a CPU kernels of our own, which are made for small networks, if they know all of it; otherwise libtorch.
    #[default]
    Auto,
    /// Kernels of our own, on the CPU; an error where they do not know the network.
    Native,
    /// libtorch.
    Libtorch,
}

/// How much each class counts in the loss.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClassWeights {
    /// All the same.
    #[default]
    Equal,
    /// The rarer a class is among the training images, the more: images / (classes · images of the class), where classes
    /// without any image do not count.
    Balanced,
    /// As much as is said here, in the order of the classes.
    #[serde(untagged)]
    Given(Vec<f32>),
}

impl ClassWeights {
    /// By class, unless all are the same; `labels` are those of the training images.
    pub(crate) fn of(&self, labels: &[i64], classes: usize) -> anyhow::Result<Option<Vec<f32>>> {
        match self {
            Self::Equal => Ok(None),
            Self::Balanced => {
                let count = |class: usize| labels.iter().filter(|&&label| label == class as i64).count();
                let counts: Vec<_> = (0..classes).map(count).collect();
                let present = counts.iter().filter(|&&count| count > 0).count();
                let weight = |&count: &usize| match count {
                    0 => 0.0,
                    count => labels.len() as f32 / (present * count) as f32,
                };
                Ok(Some(counts.iter().map(weight).collect()))
            }
            Self::Given(weights) => {
                ensure!(
                    weights.len() == classes,
                    "`class_weights` has {} weights, but there are {classes} classes",
                    weights.len()
                );
                ensure!(
                    weights.iter().all(|weight| weight.is_finite() && *weight > 0.0),
                    "`class_weights` must be above 0"
                );
                Ok(Some(weights.clone()))
            }
        }
    }
}

/// Random changes to training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AugmentParams {
    /// Black pixels added on each side before a random crop of the original size; 0 for no crop.
    #[schemars(range(max = 1024))]
    pub(crate) crop_padding: usize,
    /// Whether images are mirrored left to right.
    pub(crate) flip: Mirror,
}

impl Default for AugmentParams {
    fn default() -> Self {
        Self { crop_padding: 4, flip: Mirror::Random(true) }
    }
}

/// Which images are mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Mirror {
    /// `true`: every other one, at random; `false`: none.
    Random(bool),
    /// Each in every other epoch.
    Named(Alternating),
}

/// Each image is mirrored in every other epoch, and at random in the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Alternating {
    /// Each image is mirrored in every other epoch, and at random in the first.
    Alternating,
}

/// Mean and standard deviation per channel, of pixels scaled to 0..1. The default is customary for CIFAR-10.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NormalizationParams {
    /// Mean of each channel.
    pub(crate) mean: Vec<f64>,
    /// Standard deviation of each channel; above zero.
    #[schemars(extend("items" = { "type": "number", "format": "double", "exclusiveMinimum": 0 }))]
    pub(crate) std: Vec<f64>,
}

impl Default for NormalizationParams {
    fn default() -> Self {
        Self { mean: vec![0.4914, 0.4822, 0.4465], std: vec![0.2023, 0.1994, 0.2010] }
    }
}

/// Which images choose the epoch whose weights are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SelectOn {
    /// Those held out of the training set.
    #[default]
    Validation,
    /// The test images, whose accuracy is then too good to be believed.
    Test,
    /// None: the last epoch's weights are kept.
    Last,
}

/// Limits that are checked before training starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Budget {
    /// Most trainable parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_parameters: Option<u64>,
    /// Largest state dict in KB (1,024 bytes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_size_kb: Option<f64>,
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

    /// Learning rate of the step after which `epochs` are behind the training, whole ones and the begun one's part, and
    /// before which it was `step` less.
    pub(crate) fn learning_rate(&self, epochs: f64, step: f64) -> f64 {
        let all = f64::from(self.epochs);
        let warmup = match self.schedule {
            Schedule::Constant => self.warmup,
            Schedule::Cosine | Schedule::Linear => self.warmup.min(all / 5.0),
        };
        if epochs <= warmup {
            return self.lr * epochs / warmup;
        }
        let begun = (epochs - step - warmup).max(0.0);
        self.lr * self.schedule.factor(begun / (all - warmup))
    }
}

#[cfg(test)]
mod tests;
