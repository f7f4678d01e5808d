//! What params are made of: each choice, and the names that it has in a pipeline. Knows what each means by itself; not what
//! they mean together.

use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Learning-rate schedule, applied at every step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Schedule {
    /// Half a cosine down to zero after the last epoch, or before a restart.
    #[default]
    Cosine,
    /// A straight line down to zero, there as well.
    Linear,
    /// It stays.
    Constant,
}

impl Schedule {
    /// Share of the highest learning rate after `share` of the way from the warm-up, or a restart, to the end or the next one.
    pub(super) fn factor(self, share: f64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - share,
            Self::Cosine => (1.0 + (std::f64::consts::PI * share).cos()) / 2.0,
        }
    }
}

/// Convolutions that a normalisation follows learn by Muon.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MuonParams {
    /// By which share of its norm a step turns a weight, where the learning rate is highest.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub(crate) lr: f64,
    /// Momentum of these weights, which is Nesterov's; below 1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub(crate) momentum: f64,
}

impl Default for MuonParams {
    fn default() -> Self {
        Self { lr: 0.02, momentum: 0.9 }
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

/// In what numbers a step is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Precision {
    /// 32 bits.
    #[default]
    Float32,
    /// 16 bits, eight of them an exponent: what GPUs are made for. libtorch computes it.
    Bfloat16,
}

/// How much a teacher counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Distill {
    /// Share of the loss that the teacher's logits make; labels, with their `class_weights`, make the rest.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(crate) weight: f64,
    /// What logits of both are divided by: the higher, the more the teacher's lesser answers count.
    #[schemars(range(max = 100.0), extend("exclusiveMinimum" = 0))]
    pub(crate) temperature: f64,
}

impl Default for Distill {
    fn default() -> Self {
        Self { weight: 0.9, temperature: 4.0 }
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

/// Which images choose the epoch whose weights are kept: the one with the most right answers, of several with as many the
/// one with the lowest loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SelectOn {
    /// Those held out of the training set.
    #[default]
    Validation,
    /// The test images; the reported test accuracy is then optimistic.
    Test,
    /// None: the last epoch's weights are kept.
    Last,
}

impl SelectOn {
    /// Which of an epoch's scores chooses.
    pub(crate) fn of<T>(self, validation: Option<T>, test: Option<T>) -> Option<T> {
        match self {
            Self::Validation => validation,
            Self::Test => test,
            Self::Last => None,
        }
    }
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
