//! What quantization did, layer by layer.

use serde::{Deserialize, Serialize};

use crate::versions::Runtime;

/// What quantization did to a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// One entry a node of the float model, in its order; after constants were folded, batch normalisation went
    /// into convolutions, and hard-sigmoid gates became clips.
    pub layers: Vec<Layer>,
    /// Bytes of the float model's file.
    pub bytes_before: usize,
    /// Bytes of the quantized model's file.
    pub bytes_after: usize,
    /// The oldest ONNX Runtime that computes in the integers that the model is written for, where its ranges are fixed.
    pub integers_from: Option<Runtime>,
}

/// What became of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The node's name in the float model, or its first output where it has none.
    pub name: String,
    /// Its operator.
    pub op: String,
    /// What became of it.
    pub form: Form,
    /// Its weights, where it has any that were quantized.
    pub weight: Option<Weight>,
    /// Its outcome's quantization, where that is fixed beforehand.
    pub output: Option<Output>,
}

/// What became of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Form {
    /// It computes in integers.
    Integer,
    /// Its weights are stored as INT8 and become floats when the model is loaded.
    WeightOnly,
    /// The rounding to the quantized range of the node before it does its work.
    Merged {
        /// The node before it.
        into: String,
    },
    /// It computes in floating point.
    Float {
        /// Why.
        reason: String,
    },
    /// It computes sizes, of which there are few, and nothing that an image holds.
    Sizes,
}

impl Form {
    /// The form of a node that nothing is quantized of: with a reason, unless it computes sizes alone.
    pub(crate) fn left(reason: String, computes_sizes: bool) -> Self {
        if computes_sizes { Self::Sizes } else { Self::Float { reason } }
    }
}

/// Quantized weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weight {
    /// Their shape.
    pub shape: Vec<usize>,
    /// How many scales they have: 1, or one a channel.
    pub scales: usize,
    /// Signal to quantization noise, 10·log₁₀(Σw² / Σ(w−ŵ)²), in decibels; absent where there is no noise.
    pub sqnr_db: Option<f64>,
    /// Channels whose scale had to be raised so that the bias fits 32 bits.
    pub raised_scales: usize,
}

/// Quantization of an activation: `real = scale · (integer − zero_point)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The tensor's name in the float model.
    pub tensor: String,
    /// The scale.
    pub scale: f32,
    /// The zero point.
    pub zero_point: i32,
    /// The smallest representable value.
    pub min: f32,
    /// The largest representable value.
    pub max: f32,
}

impl Summary {
    /// Number of layers that compute in integers.
    #[must_use]
    pub fn integer_layers(&self) -> usize {
        self.layers.iter().filter(|layer| layer.form == Form::Integer).count()
    }

    /// Number of layers that compute on images: all but those that went into others, and those that compute sizes.
    #[must_use]
    pub fn computing_layers(&self) -> usize {
        let computes = |layer: &&Layer| !matches!(layer.form, Form::Merged { .. } | Form::Sizes);
        self.layers.iter().filter(computes).count()
    }

    /// Layers that compute in floating point, with the reason.
    pub fn float_layers(&self) -> impl Iterator<Item = (&Layer, &str)> {
        self.layers.iter().filter_map(|layer| match &layer.form {
            Form::Float { reason } => Some((layer, reason.as_str())),
            _ => None,
        })
    }
}
