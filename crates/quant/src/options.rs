//! What a user chooses about quantization.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::versions::{NEWEST_RUN, Runtime};

/// The 8-bit type of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActivationType {
    /// Unsigned, 0 to 255: right for x86-64, whose integer kernels multiply unsigned by signed bytes.
    #[default]
    U8,
    /// Signed, −128 to 127: right for Arm; several times slower on x86-64.
    S8,
}

/// The processor that the model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Every `x86-64`: unsigned activations, and weights that cannot saturate where products are added in 16 bits, on
    /// processors without VNNI.
    #[default]
    #[serde(rename = "x86_64")]
    X86_64,
    /// `x86-64` with VNNI: unsigned activations, and no such care for weights.
    #[serde(rename = "x86_64-vnni")]
    X86_64Vnni,
    /// 64-bit Arm: signed activations.
    Aarch64,
    /// A browser, whatever the processor: as `x86_64` where that is faster there than floats, and otherwise floats with weights of 8
    /// bits.
    Wasm,
}

impl Target {
    /// Whether one of its processors adds the products of neighbours in 16 bits, which saturate.
    #[must_use]
    pub fn adds_in_pairs(self) -> bool {
        matches!(self, Self::X86_64 | Self::Wasm)
    }
}

/// The type that biases are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BiasType {
    /// 32-bit floats, 4 bytes a channel; the runtime quantizes them when it loads the model. A last layer that
    /// gives floats has integers all the same, because there the runtime would not.
    #[default]
    Float,
    /// 32-bit integers, 4 bytes a channel and an operator that computes their scales when the model is loaded: for runtimes that
    /// insist on them.
    Int32,
}

/// How weights are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// Each to the nearest integer.
    Nearest,
    /// Together, so that their errors cancel on what the calibration images gave; to the nearest where there are no
    /// moments.
    #[default]
    Search,
}

/// Options of static quantization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StaticOptions {
    /// The processor that the model is for: `x86_64` (every one gives the same integers), `x86_64-vnni` or `aarch64`; or `wasm`, a
    /// browser.
    pub target: Target,
    /// 8-bit type of activations: `u8` or `s8`; by default what is fast on the target. Weights are always signed and
    /// symmetric.
    pub activations: Option<ActivationType>,
    /// A weight scale for each output channel instead of one a layer: more accurate, equally fast, 4 bytes a
    /// channel larger.
    pub per_channel: bool,
    /// How weights are rounded: `search` (for the moments of the calibration images) or `nearest`.
    pub rounding: Rounding,
    /// Add to each bias what rounding weights takes from the mean, where there are moments.
    pub bias_correction: bool,
    /// Type that biases are stored in: `float` (smallest) or `int32`, which `runtime` may ask for.
    pub bias: BiasType,
    /// The oldest ONNX Runtime that is to run the model, and in integers, such as "1.15": below "1.21" biases are `int32`, and the
    /// opset and the file format are those that it knows. By default biases are what `bias` says and the opset is the model's.
    pub runtime: Option<Runtime>,
    /// Quantize the logits too. Without it the last layer gives floats, which costs nothing and keeps ties apart.
    pub quantize_output: bool,
    /// Names of nodes to leave in floating point.
    pub exclude: Vec<String>,
    /// Version of ONNX's operators to write, at least 13; by default the model's own, raised to 13 if older.
    #[schemars(range(min = 13))]
    pub opset: Option<i64>,
    /// Make the file small without changing its outputs: short tensor names, no node names, equal constants
    /// shared, no attributes that say the default.
    pub compact: bool,
}

impl Default for StaticOptions {
    fn default() -> Self {
        Self {
            target: Target::X86_64,
            activations: None,
            per_channel: true,
            rounding: Rounding::Search,
            bias_correction: true,
            bias: BiasType::Float,
            runtime: None,
            quantize_output: false,
            exclude: Vec::new(),
            opset: None,
            compact: true,
        }
    }
}

impl StaticOptions {
    /// The 8-bit type of activations.
    #[must_use]
    pub fn activation_type(&self) -> ActivationType {
        self.activations.unwrap_or(match self.target {
            Target::X86_64 | Target::X86_64Vnni | Target::Wasm => ActivationType::U8,
            Target::Aarch64 => ActivationType::S8,
        })
    }

    /// The type that biases are stored in, which not every runtime leaves to choose.
    #[must_use]
    pub fn bias_type(&self) -> BiasType {
        match self.runtime {
            Some(runtime) if runtime < Runtime::ROUNDS_BIASES => BiasType::Int32,
            _ => self.bias,
        }
    }

    /// The opsets that the model may be written in.
    pub(crate) fn opsets(&self) -> Opsets {
        Opsets { wanted: self.opset, newest: self.runtime.map_or(NEWEST_RUN, Runtime::newest_opset) }
    }
}

/// Which layers compute in integers when activations are quantized anew for every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DynamicScheme {
    /// Matrix products compute in integers. Convolutions, for which ONNX Runtime has no fast kernel of this kind, store
    /// INT8 weights that become floats once, when the model is loaded. As fast as floating point.
    #[default]
    Fast,
    /// Every convolution and matrix product computes in integers, as Python's `quantize_dynamic` does. Several times
    /// slower than floating point, and ten times for depthwise networks.
    Everything,
    /// Only weights are INT8; they become floats once, when the model is loaded. As fast as floating point.
    WeightsOnly,
}

/// Options of dynamic quantization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DynamicOptions {
    /// Which layers compute in integers: `fast`, `everything` (as Python's tool) or `weights_only`.
    pub scheme: DynamicScheme,
    /// The processor that the model is for: `x86_64` (every one gives the same integers), `x86_64-vnni` or `aarch64`; or `wasm`, a
    /// browser.
    pub target: Target,
    /// A weight scale for each output channel instead of one a layer: more accurate, equally fast, 4 bytes a
    /// channel larger.
    pub per_channel: bool,
    /// Names of nodes to leave in floating point.
    pub exclude: Vec<String>,
    /// Make the file small without changing its outputs: short tensor names, no node names, equal constants
    /// shared, no attributes that say the default.
    pub compact: bool,
}

impl Default for DynamicOptions {
    fn default() -> Self {
        Self {
            scheme: DynamicScheme::Fast,
            target: Target::X86_64,
            per_channel: true,
            exclude: Vec::new(),
            compact: true,
        }
    }
}

/// Which opsets a model may be written in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opsets {
    /// What was asked for; where nothing was, the model's own if it can be.
    pub(crate) wanted: Option<i64>,
    /// The newest that the runtime has kernels for.
    pub(crate) newest: i64,
}

impl Default for Opsets {
    fn default() -> Self {
        StaticOptions::default().opsets()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_map_means_the_defaults() {
        assert_eq!(serde_json::from_str::<StaticOptions>("{}").unwrap(), StaticOptions::default());
        assert_eq!(serde_json::from_str::<DynamicOptions>("{}").unwrap(), DynamicOptions::default());
    }

    #[test]
    fn the_schema_refuses_an_opset_without_per_channel_scales() {
        let schema = serde_json::to_value(schemars::schema_for!(StaticOptions)).unwrap();
        assert_eq!(schema["properties"]["opset"]["minimum"], 13);
    }

    #[test]
    fn names_are_those_documented() {
        let text = r#"{"activations":"s8","per_channel":false,"bias":"int32"}"#;
        let options: StaticOptions = serde_json::from_str(text).unwrap();
        assert_eq!((options.activations, options.bias), (Some(ActivationType::S8), BiasType::Int32));
        let of = |text: &str| serde_json::from_str::<StaticOptions>(text).unwrap().activation_type();
        assert_eq!(of(r#"{"target":"aarch64"}"#), ActivationType::S8);
        assert_eq!(of(r#"{"target":"aarch64","activations":"u8"}"#), ActivationType::U8);
        assert_eq!(of(r#"{"target":"x86_64"}"#), ActivationType::U8);
        let old: StaticOptions = serde_json::from_str(r#"{"runtime":"1.20"}"#).unwrap();
        assert_eq!((old.bias, old.bias_type()), (BiasType::Float, BiasType::Int32));
        let new: StaticOptions = serde_json::from_str(r#"{"runtime":"1.21"}"#).unwrap();
        assert_eq!((new.bias_type(), new.opsets().newest), (BiasType::Float, 22));
        let options: DynamicOptions = serde_json::from_str(r#"{"scheme":"weights_only"}"#).unwrap();
        assert_eq!(options.scheme, DynamicScheme::WeightsOnly);
        assert!(serde_json::from_str::<DynamicOptions>(r#"{"schema":"fast"}"#).is_err());
    }
}
