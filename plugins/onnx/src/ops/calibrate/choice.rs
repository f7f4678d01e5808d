//! The param `method`.

use quant::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How ranges are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Method")]
pub(super) enum Choice {
    /// For each tensor as that of the others whose rounding changes the model's outputs the least on some of the images.
    #[default]
    Auto,
    /// The smallest and the largest value.
    Minmax,
    /// The average of the smallest and of the largest value of each image.
    MovingAverage,
    /// All but a small share of the values, the same number at both ends.
    Percentile,
    /// The range whose rounded values are distributed most like the values: the least Jensen–Shannon divergence.
    Entropy,
    /// The range that gives the least mean squared error of rounding and cutting off.
    Mse,
}

impl Choice {
    /// The method for all tensors, unless each has its own.
    pub(super) fn method(self) -> Option<Method> {
        match self {
            Self::Auto => None,
            Self::Minmax => Some(Method::Minmax),
            Self::MovingAverage => Some(Method::MovingAverage),
            Self::Percentile => Some(Method::Percentile),
            Self::Entropy => Some(Method::Entropy),
            Self::Mse => Some(Method::Mse),
        }
    }

    /// As written in params.
    pub(super) fn as_str(self) -> &'static str {
        self.method().map_or("auto", Method::as_str)
    }
}
