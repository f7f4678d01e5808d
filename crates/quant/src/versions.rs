//! Which versions of ONNX Runtime take a quantized model as it is, and in integers. Knows what was tried with each of them, and which
//! operators mean the same from one opset to another; no grids.
//!
//! That a runtime loads models of an opset says little: for `QuantizeLinear` and `DequantizeLinear` of that opset it may have no
//! kernels. ONNX Runtime 1.15 knows opset 19 and rounds up to 18, 1.23 knows 23 and rounds up to 22.

use std::borrow::Cow;
use std::fmt;

use onnx::{Model, Node};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Operators that mean the same from opset 13 to 21, as far as the simplified graph uses them.
pub(crate) const STABLE: [&str; 29] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Conv",
    "Div",
    "Dropout",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Neg",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Softmax",
    "Sub",
    "Tanh",
    "Transpose",
];

/// A version of ONNX Runtime, such as `1.15`: 1.15 or newer, of which all patches behave alike here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Runtime {
    minor: u16,
}

/// From which version of ONNX Runtime on quantized models run up to which opset and version of the file format.
const TAKES: [(Runtime, i64, i64); 9] = [
    (Runtime { minor: 15 }, 18, 9),
    (Runtime { minor: 16 }, 19, 9),
    (Runtime { minor: 17 }, 20, 9),
    (Runtime { minor: 18 }, 21, 10),
    (Runtime { minor: 21 }, 22, 10),
    (Runtime { minor: 23 }, 22, 11),
    (Runtime { minor: 24 }, 25, 13),
    (Runtime { minor: 25 }, 26, 13),
    (Runtime { minor: 32 }, 27, 14),
];

/// The newest opset of which ONNX Runtime 1.32 has kernels to round.
pub(crate) const NEWEST_RUN: i64 = 27;

impl Runtime {
    /// The oldest that was tried.
    pub const OLDEST: Self = Self { minor: 15 };
    /// The first that rounds float biases itself; those before compute in floats what has them.
    pub const ROUNDS_BIASES: Self = Self { minor: 21 };

    /// The newest opset of quantized models that it runs.
    pub(crate) fn newest_opset(self) -> i64 {
        let known = TAKES.iter().rev().find(|(since, ..)| *since <= self);
        known.map_or(NEWEST_RUN, |(_, opset, _)| *opset)
    }

    /// The oldest that computes `model`, which is quantized with fixed ranges, in the integers that it is written for; `None` where that
    /// is newer than those that were tried.
    #[must_use]
    pub fn oldest_for(model: &Model) -> Option<Self> {
        let (opset, format) = (model.opset(), model.ir_version);
        let (since, ..) =
            TAKES.iter().find(|(_, newest, newest_format)| opset <= *newest && format <= *newest_format)?;
        let makers = model.graph.producers();
        let is_made_by = |name: &str, op: &str| {
            makers.get(name).and_then(|at| model.graph.nodes.get(*at)).is_some_and(|maker| maker.is(op))
        };
        let has_float_bias = |node: &Node| {
            let weighted = matches!(node.op.as_str(), "Conv" | "Gemm") && node.is_onnx();
            let integer = node.input(1).is_some_and(|weight| is_made_by(weight, "DequantizeLinear"));
            weighted && integer && node.input(2).is_some_and(|bias| !is_made_by(bias, "DequantizeLinear"))
        };
        let floats = model.graph.nodes.iter().any(has_float_bias);
        Some(if floats { Self::ROUNDS_BIASES.max(*since) } else { *since })
    }
}

impl TryFrom<String> for Runtime {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let minor = text.strip_prefix("1.").filter(|minor| minor.bytes().all(|byte| byte.is_ascii_digit()));
        match minor.and_then(|minor| minor.parse().ok()).map(|minor| Self { minor }) {
            Some(runtime) if runtime >= Self::OLDEST && text == runtime.to_string() => Ok(runtime),
            Some(runtime) if runtime < Self::OLDEST => {
                Err(format!("ONNX Runtime {text} was never tried; the oldest that was is {}", Self::OLDEST))
            }
            _ => Err(format!("`{text}` is no version of ONNX Runtime such as \"{}\"", Self::OLDEST)),
        }
    }
}

impl From<Runtime> for String {
    fn from(runtime: Runtime) -> Self {
        runtime.to_string()
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

impl JsonSchema for Runtime {
    fn schema_name() -> Cow<'static, str> {
        "Runtime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^1\.(1[5-9]|[2-9][0-9])$",
            "description": "A version of ONNX Runtime, in quotes: from \"1.15\" on."
        })
    }
}

/// Operators, beside those that never changed since opset 13, that mean in the newest opset what they mean in 18, as far as
/// [`says_the_same`] does not object.
const SINCE_18: [&str; 40] = [
    "Abs",
    "ArgMax",
    "ArgMin",
    "Ceil",
    "Constant",
    "ConstantOfShape",
    "ConvTranspose",
    "Cos",
    "DepthToSpace",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Floor",
    "GRU",
    "Greater",
    "HardSwish",
    "InstanceNormalization",
    "LSTM",
    "LayerNormalization",
    "Less",
    "Log",
    "LogSoftmax",
    "Max",
    "Min",
    "PRelu",
    "Pad",
    "Pow",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Resize",
    "Slice",
    "Split",
    "Sqrt",
    "Squeeze",
    "TopK",
    "Unsqueeze",
];

/// Whether a node of an opset up to [`NEWEST_RUN`] may be written as of `opset`, 18 or newer.
pub(crate) fn says_the_same(node: &Node, opset: i64) -> bool {
    let lacks = |names: &[&str]| names.iter().all(|name| !node.attributes.contains_key(*name));
    let is_known = SINCE_18.contains(&&*node.op) || STABLE.contains(&&*node.op);
    is_known
        && match node.op.as_str() {
            "AveragePool" => opset >= 19 || lacks(&["dilations"]),
            "Cast" => lacks(&["saturate", "round_mode"]),
            "Pad" => node.text("mode") != Some("wrap"),
            "Resize" => node.text("coordinate_transformation_mode") != Some("half_pixel_symmetric"),
            _ => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnx::{Data, Tensor};

    fn runtime(text: &str) -> Result<Runtime, String> {
        text.to_owned().try_into()
    }

    #[test]
    fn a_version_is_that_of_a_runtime_that_was_tried() {
        let [old, new] = ["1.15", "1.32"].map(|text| runtime(text).unwrap());
        assert!(old < new && old == Runtime::OLDEST && String::from(new) == "1.32");
        assert!(runtime("1.9").unwrap_err().contains("never tried"));
        for text in ["1.15.1", "2.0", "1.", "", "1.x", "1.+20", "1.020", "1.99999999"] {
            assert!(runtime(text).unwrap_err().contains("no version"), "{text}");
        }
    }

    #[test]
    fn each_has_the_newest_opset_that_it_rounds_in() {
        let newest = ["1.15", "1.17", "1.20", "1.23", "1.31", "1.32", "1.40"]
            .map(|text| runtime(text).unwrap().newest_opset());
        assert_eq!(newest, [18, 20, 21, 22, 26, 27, 27]);
    }

    #[test]
    fn the_oldest_for_a_model_takes_its_versions_and_its_biases() {
        let mut model = Model::new(13);
        model.graph.initializers.insert("b".into(), Tensor::vector(Data::F32(vec![0.0])));
        model.graph.nodes = vec![
            Node::new("DequantizeLinear", ["w", "s"], ["wd"]),
            Node::new("DequantizeLinear", ["i", "s"], ["id"]),
            Node::new("Conv", ["x", "wd", "id"], ["c"]),
            Node::new("Conv", ["c", "floats", "b"], ["y"]),
        ];
        let oldest = |model: &Model| Runtime::oldest_for(model).map(|runtime| runtime.to_string());
        assert_eq!(oldest(&model).as_deref(), Some("1.15"), "what stays in floats may have a float bias");
        let newer = |opset| {
            let mut model = model.clone();
            model.set_opset(opset);
            oldest(&model)
        };
        assert_eq!(newer(20).as_deref(), Some("1.17"));
        assert_eq!(newer(28), None);
        model.ir_version = 13;
        assert_eq!(oldest(&model).as_deref(), Some("1.24"), "of the file format");
        model.ir_version = 7;
        model.graph.nodes[2].inputs[2] = "b".into();
        assert_eq!(oldest(&model).as_deref(), Some("1.21"));
    }

    #[test]
    fn what_older_opsets_cannot_say_is_told_apart() {
        let node = Node::new("AveragePool", ["x"], ["y"]);
        assert!(says_the_same(&node, 18));
        let dilated = node.with("dilations", onnx::Attribute::Ints(vec![2, 2]));
        assert!(!says_the_same(&dilated, 18) && says_the_same(&dilated, 19));
        assert!(!says_the_same(&Node::new("Gelu", ["x"], ["y"]), 19));
    }
}
