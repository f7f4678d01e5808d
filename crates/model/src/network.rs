//! A network as a user writes it: a list of layers, each a map with one key. The doc comments here are what the
//! JSON Schema says.
//!
//! Knows words and defaults; whether layers fit each other is decided by [`Network::lower`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A network: the size of its input and its layers in order. The last layer must yield one number per class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Channels, height and width of an image.
    #[schemars(inner(range(min = 1, max = 16384)))]
    pub input: [usize; 3],
    /// The layers, first to last.
    #[schemars(length(min = 1))]
    pub layers: Vec<Layer>,
}

/// A layer: a map with one key, the layer's kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// A convolution with its normalisation and activation.
    Conv(ConvLayer),
    /// The block of MobileNetV2 with optional squeeze-and-excite: expand (1×1), depthwise, project (1×1); a skip
    /// where the stride is 1 and the channels stay the same.
    InvertedResidual(InvertedResidualLayer),
    /// Layers whose outcome is added to their input, as in ResNet. Where shapes differ, the input goes through a
    /// 1×1 convolution of the right stride.
    Residual(ResidualLayer),
    /// The mean over height and width.
    GlobalAveragePool(GlobalAveragePoolLayer),
    /// The largest value of each window.
    MaxPool(PoolLayer),
    /// The mean of each window.
    AveragePool(PoolLayer),
    /// Zeroes values at random while training.
    Dropout(DropoutLayer),
    /// A fully connected layer; flattens its input first.
    Linear(LinearLayer),
}

/// A convolution with its normalisation and activation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConvLayer {
    /// Output channels.
    #[schemars(range(min = 1, max = 65536))]
    pub out: usize,
    /// Height and width of the kernel.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub kernel: usize,
    /// Step in both directions.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub stride: usize,
    /// Zeros added on each side; by default what keeps the size at stride 1 with an odd kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 64))]
    pub padding: Option<usize>,
    /// Groups of channels that do not mix; as many as input channels makes it depthwise.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 65536))]
    pub groups: usize,
    /// Normalisation. Without it the convolution has a bias.
    #[serde(default)]
    pub norm: Norm,
    /// Activation.
    #[serde(default)]
    pub activation: ActivationName,
    /// Start of the names of its parameters; by default `stem` for the first layer and `layers.INDEX` after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The block of MobileNetV2 with optional squeeze-and-excite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InvertedResidualLayer {
    /// Output channels.
    #[schemars(range(min = 1, max = 65536))]
    pub out: usize,
    /// Channels between the two 1×1 convolutions.
    #[schemars(range(min = 1, max = 65536))]
    pub expand: usize,
    /// Step of the depthwise convolution.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub stride: usize,
    /// Height and width of the depthwise kernel: odd.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 63))]
    pub kernel: usize,
    /// Squeeze-and-excite: the factor by which it reduces the expanded channels. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub se: Option<usize>,
    /// Gate of squeeze-and-excite.
    #[serde(default)]
    pub gate: Gate,
    /// Activation after the expanding and the depthwise convolution.
    #[serde(default)]
    pub activation: ActivationName,
    /// Start of the names of its parameters; by default `blocks.N` for the N-th such layer, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Layers whose outcome is added to their input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResidualLayer {
    /// The layers of the main path; they must yield channels, height and width, not features.
    #[schemars(length(min = 1))]
    pub layers: Vec<Layer>,
    /// Normalisation of the 1×1 convolution on the shortcut, where there is one.
    #[serde(default)]
    pub norm: Norm,
    /// Activation after the addition.
    #[serde(default)]
    pub activation: ActivationName,
    /// Start of the names of its parameters; by default `layers.INDEX`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The mean over height and width; has no settings: `{}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlobalAveragePoolLayer {}

/// A pooling window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolLayer {
    /// Height and width of the window.
    #[schemars(range(min = 1, max = 64))]
    pub kernel: usize,
    /// Step in both directions; by default as large as the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub stride: Option<usize>,
}

/// Zeroes values at random while training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DropoutLayer {
    /// Probability of zeroing a value: at least 0 and below 1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub p: f64,
}

/// A fully connected layer with a bias.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinearLayer {
    /// Output features; by default the number of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub out: Option<usize>,
    /// Activation after it; by default none.
    #[serde(default = "no_activation", skip_serializing_if = "is_no_activation")]
    pub activation: ActivationName,
    /// Start of the names of its parameters; by default `fc` for the last layer and `layers.INDEX` before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Normalisation after a convolution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Batch normalisation.
    #[default]
    Batch,
    /// None; the convolution has a bias instead.
    None,
}

/// What follows a convolution or a fully connected layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivationName {
    /// The smaller of max(x, 0) and 6.
    #[default]
    Relu6,
    /// max(x, 0).
    Relu,
    /// Nothing.
    None,
}

/// What turns the outcome of squeeze-and-excite into factors between 0 and 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// 1 / (1 + e⁻ˣ).
    #[default]
    Sigmoid,
    /// x / 6 + 1/2, clipped to 0 and 1.
    HardSigmoid,
}

impl Network {
    /// TinyNet: 78,630 parameters for ten classes of 32×32 RGB images. A stem, seven inverted residuals with
    /// squeeze-and-excite, and a classifier.
    #[must_use]
    pub fn tinynet() -> Self {
        // Output channels, expanded channels, stride.
        const BLOCKS: [(usize, usize, usize); 7] =
            [(24, 48, 1), (24, 48, 1), (32, 72, 2), (32, 72, 1), (48, 96, 2), (48, 96, 1), (64, 128, 2)];
        let stem = ConvLayer {
            out: 16,
            kernel: 3,
            stride: 1,
            padding: None,
            groups: 1,
            norm: Norm::Batch,
            activation: ActivationName::Relu6,
            name: Some("stem".into()),
        };
        let blocks = BLOCKS.map(|(out, expand, stride)| {
            Layer::InvertedResidual(InvertedResidualLayer {
                out,
                expand,
                stride,
                kernel: 3,
                se: Some(4),
                gate: Gate::Sigmoid,
                activation: ActivationName::Relu6,
                name: None,
            })
        });
        let mut layers = vec![Layer::Conv(stem)];
        layers.extend(blocks);
        layers.push(Layer::GlobalAveragePool(GlobalAveragePoolLayer {}));
        layers.push(Layer::Dropout(DropoutLayer { p: 0.1 }));
        layers.push(Layer::Linear(LinearLayer { out: None, activation: ActivationName::None, name: None }));
        Self { input: [3, 32, 32], layers }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::tinynet()
    }
}

impl Layer {
    /// Its key in the description.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conv(_) => "conv",
            Self::InvertedResidual(_) => "inverted_residual",
            Self::Residual(_) => "residual",
            Self::GlobalAveragePool(_) => "global_average_pool",
            Self::MaxPool(_) => "max_pool",
            Self::AveragePool(_) => "average_pool",
            Self::Dropout(_) => "dropout",
            Self::Linear(_) => "linear",
        }
    }
}

fn one() -> usize {
    1
}

fn three() -> usize {
    3
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(value: &usize) -> bool {
    *value == 1
}

fn no_activation() -> ActivationName {
    ActivationName::None
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_no_activation(activation: &ActivationName) -> bool {
    *activation == ActivationName::None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_says_which_numbers_make_sense() {
        let schema = serde_json::to_value(schemars::schema_for!(Network)).unwrap();
        for (layer, fields) in [
            ("ConvLayer", &["out", "kernel", "stride", "groups"][..]),
            ("InvertedResidualLayer", &["out", "expand", "stride", "kernel", "se"]),
            ("PoolLayer", &["kernel", "stride"]),
            ("LinearLayer", &["out"]),
        ] {
            for field in fields {
                assert_eq!(schema["$defs"][layer]["properties"][field]["minimum"], 1, "{layer}.{field}");
            }
        }
        let p = &schema["$defs"]["DropoutLayer"]["properties"]["p"];
        assert_eq!((p["minimum"].as_f64(), p["exclusiveMaximum"].as_f64()), (Some(0.0), Some(1.0)));
    }
}
