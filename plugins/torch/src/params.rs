//! Params of the ops: the doc comments are what the JSON Schema says, the defaults are the recipe that TinyNet was
//! first trained with. Knows what makes sense by itself; not whether it fits a dataset.

use dataset::Normalization;
use model::Network;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::device::Device;

mod check;
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
    /// Learning-rate schedule, applied at every step.
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
    /// Weight decay (L2 penalty).
    #[schemars(range(min = 0.0))]
    pub(crate) weight_decay: f64,
    /// Whether it applies to normalisations and biases, too, as PyTorch's does.
    pub(crate) decay_norms: bool,
    /// Convolutions that a normalisation follows, but for those in groups, learn by Muon, and all else as it does without: each
    /// step turns their weights, in all directions by the same amount. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) muon: Option<MuonParams>,
    /// Decay, step by step, of a running average of all weights, which is what is validated and kept, with statistics
    /// of normalisations estimated anew: below 1, such as 0.999. None by default.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub(crate) ema: Option<f64>,
    /// Maximum global gradient norm; larger gradients are scaled down. None by default.
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
    /// Images held out of the training set: their number, or, below 1, their share. Every class gives its share. By default
    /// 5,000, but no more than a fifth of the training images.
    #[schemars(range(min = 0.0), extend("if" = { "minimum": 1 }, "then" = { "type": ["integer", "null"] }))]
    pub(crate) validation: Option<Number>,
    /// Which images choose the epoch whose weights are kept: that of the most right answers, and among several the one of the
    /// lowest loss.
    pub(crate) select_on: SelectOn,
    /// Epochs without a better one, as `select_on` has it, after which training stops early. None by default: all epochs.
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
            validation: None,
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

impl TrainParams {
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
