//! From real numbers to 8-bit integers: scales, zero points, rounding.
//!
//! Rounding is to the nearest, ties to even, as ONNX's `QuantizeLinear` rounds. Knows numbers only.

use onnx::{Data, Tensor};

use crate::neighbours::Neighbours;
use crate::options::ActivationType;
use crate::plan::Bounds;
use crate::ranges::Range;

/// Quantization of an activation: `real = scale · (integer − zero_point)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Grid {
    /// Positive.
    pub(crate) scale: f32,
    /// Within the integer type.
    pub(crate) zero_point: i32,
    /// The integer type.
    pub(crate) kind: ActivationType,
}

/// The smallest and largest integer of a type.
pub(crate) fn limits(kind: ActivationType) -> (i32, i32) {
    match kind {
        ActivationType::U8 => (0, 255),
        ActivationType::S8 => (-128, 127),
    }
}

impl Grid {
    /// The grid whose 256 values span `range` cut to `bounds`, zero included and exactly representable.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the scale is stored in 32 bits; the zero point is small"
    )]
    pub(crate) fn spanning(range: Range, bounds: Option<Bounds>, kind: ActivationType) -> Self {
        let (low, high) = bounds.map_or((f32::MIN, f32::MAX), |bounds| (bounds.low, bounds.high));
        let min = f64::from(range.min.max(low).min(0.0));
        let max = f64::from(range.max.min(high).max(0.0));
        let (lowest, highest) = limits(kind);
        let scale = ((max - min) / f64::from(highest - lowest)) as f32;
        // A range of almost nothing, as dead channels have, must not give a scale that divides to infinity.
        let scale = if scale < f32::MIN_POSITIVE { 1.0 } else { scale };
        let zero_point = (f64::from(lowest) - min / f64::from(scale)).round_ties_even() as i32;
        Self { scale, zero_point: zero_point.clamp(lowest, highest), kind }
    }

    /// The integer nearest to `value`.
    #[expect(clippy::cast_possible_truncation, reason = "float to integer saturates, then it is clamped")]
    pub(crate) fn quantize(self, value: f32) -> i32 {
        let (lowest, highest) = limits(self.kind);
        let steps = (value / self.scale).round_ties_even() as i32;
        steps.saturating_add(self.zero_point).clamp(lowest, highest)
    }

    /// How many steps from zero the value nearest to `value` lies: a whole number from −255 to 255. As
    /// [`Grid::quantize`] less the zero point, and several times faster.
    #[expect(clippy::cast_precision_loss, reason = "the difference of two bytes is exact")]
    pub(crate) fn steps(self, value: f32) -> f32 {
        // Sums this large have no bits behind the point: they are rounded to the nearest, ties to even.
        const WHOLE: f32 = (3_u32 << 22) as f32;
        let (lowest, highest) = limits(self.kind);
        let (least, most) = ((lowest - self.zero_point) as f32, (highest - self.zero_point) as f32);
        (value / self.scale).clamp(least, most) + WHOLE - WHOLE
    }

    /// The integers nearest to `values`, in the grid's type.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`quantize` gives what the type holds"
    )]
    pub(crate) fn integers(self, values: &[f32]) -> Data {
        match self.kind {
            ActivationType::U8 => Data::U8(values.iter().map(|&value| self.quantize(value) as u8).collect()),
            ActivationType::S8 => Data::I8(values.iter().map(|&value| self.quantize(value) as i8).collect()),
        }
    }

    /// The zero point, in the grid's type.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a zero point lies within its type"
    )]
    pub(crate) fn zero_point(self) -> Tensor {
        match self.kind {
            ActivationType::U8 => Tensor::scalar_u8(self.zero_point as u8),
            ActivationType::S8 => Tensor::scalar_i8(self.zero_point as i8),
        }
    }

    /// The value that `integer` stands for.
    #[expect(clippy::cast_precision_loss, reason = "the difference of two bytes is exact")]
    pub(crate) fn dequantize(self, integer: i32) -> f32 {
        (integer - self.zero_point) as f32 * self.scale
    }

    /// The smallest and largest representable value.
    pub(crate) fn span(self) -> (f32, f32) {
        let (lowest, highest) = limits(self.kind);
        (self.dequantize(lowest), self.dequantize(highest))
    }
}

/// Where the output channels of a weight lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channels {
    /// Outermost: convolutions, and matrices that are transposed.
    First(usize),
    /// Innermost: matrices `[in, out]`.
    Last(usize),
}

impl Channels {
    pub(crate) fn count(self) -> usize {
        match self {
            Self::First(count) | Self::Last(count) => count,
        }
    }

    /// The axis as `DequantizeLinear` wants it, for a weight of two dimensions or more.
    pub(crate) fn axis(self) -> i64 {
        match self {
            Self::First(_) => 0,
            Self::Last(_) => 1,
        }
    }

    /// The element that is weight `term`, of `terms`, of the filter of `channel`.
    pub(crate) fn element(self, channel: usize, term: usize, terms: usize) -> usize {
        match self {
            Self::First(_) => channel * terms + term,
            Self::Last(count) => term * count + channel,
        }
    }

    /// The channel of an element, always below the count of a weight that has elements.
    fn of(self, element: usize, elements: usize) -> usize {
        match self {
            Self::First(count) => (element / (elements / count.max(1)).max(1)).min(count.saturating_sub(1)),
            Self::Last(count) => element % count.max(1),
        }
    }
}

/// A weight in signed bytes, symmetric: `real = scale · integer`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SymmetricWeight {
    /// As many as the weight has elements, −127 to 127.
    pub(crate) integers: Vec<i8>,
    /// One, or one a channel.
    pub(crate) scales: Vec<f32>,
    /// How many scales were raised to their floor.
    pub(crate) raised: usize,
}

/// The largest integer of a weight.
pub(crate) const LARGEST: f32 = 127.0;

impl SymmetricWeight {
    /// Quantizes finite `values`. `floors` holds the least scale of each channel (all zero for none); `neighbours` are kept from
    /// saturating.
    pub(crate) fn new(
        values: &[f32],
        channels: Channels,
        per_channel: bool,
        floors: &[f32],
        neighbours: Option<&Neighbours>,
    ) -> Self {
        let mut scales = vec![0.0_f32; if per_channel { channels.count() } else { 1 }];
        let slot = |element| if per_channel { channels.of(element, values.len()) } else { 0 };
        for (element, value) in values.iter().enumerate() {
            let scale = &mut scales[slot(element)];
            *scale = scale.max(value.abs() / LARGEST);
        }
        let of_neighbours =
            neighbours.map(|neighbours| neighbours.floors(values, channels)).unwrap_or_default();
        for (channel, floor) in of_neighbours.into_iter().enumerate() {
            let scale = &mut scales[if per_channel { channel } else { 0 }];
            *scale = scale.max(floor);
        }
        let mut raised = 0;
        for (channel, scale) in scales.iter_mut().enumerate() {
            let floor = if per_channel {
                floors.get(channel).copied().unwrap_or(0.0)
            } else {
                floors.iter().copied().fold(0.0, f32::max)
            };
            raised += usize::from(floor > *scale && *scale > 0.0);
            *scale = scale.max(floor);
            if *scale < f32::MIN_POSITIVE {
                *scale = 1.0;
            }
        }
        let integers = values.iter().enumerate().map(|(element, value)| {
            #[expect(clippy::cast_possible_truncation, reason = "clamped to what a signed byte holds")]
            let integer = (value / scales[slot(element)]).round_ties_even().clamp(-LARGEST, LARGEST) as i8;
            integer
        });
        let integers = integers.collect();
        let mut rounded = Self { integers, scales, raised };
        if let Some(neighbours) = neighbours {
            neighbours.settle(values, channels, &mut rounded);
        }
        rounded
    }

    /// The scale of `channel`.
    pub(crate) fn scale(&self, channel: usize) -> f32 {
        match self.scales.as_slice() {
            [one] => *one,
            many => many[channel],
        }
    }

    /// The values that the integers stand for.
    pub(crate) fn dequantize(&self, channels: Channels) -> Vec<f32> {
        let scale = |element| self.scale(channels.of(element, self.integers.len()));
        self.integers
            .iter()
            .enumerate()
            .map(|(element, &integer)| f32::from(integer) * scale(element))
            .collect()
    }

    /// 10·log₁₀(Σw² / Σ(w−ŵ)²) in decibels; `None` where there is no noise or no signal.
    pub(crate) fn sqnr_db(&self, values: &[f32], channels: Channels) -> Option<f64> {
        let square = |value: f64| value * value;
        let signal: f64 = values.iter().map(|&value| square(f64::from(value))).sum();
        let pairs = values.iter().zip(self.dequantize(channels));
        let noise: f64 = pairs.map(|(&value, rounded)| square(f64::from(value) - f64::from(rounded))).sum();
        (signal > 0.0 && noise > 0.0).then(|| 10.0 * (signal / noise).log10())
    }
}

/// Least scale of a weight's channel so that `bias / (input_scale · scale)` leaves half of the 32-bit range to the
/// products it is added to.
pub(crate) fn bias_floor(bias: f32, input_scale: f32) -> f32 {
    const LARGEST_BIAS: f32 = (1 << 30) as f32;
    bias.abs() / LARGEST_BIAS / input_scale
}

/// `bias` in steps of `scale`.
#[expect(clippy::cast_possible_truncation, reason = "float to integer saturates")]
pub(crate) fn quantize_bias(bias: f32, scale: f32) -> i32 {
    (f64::from(bias) / f64::from(scale)).round_ties_even() as i32
}

#[cfg(test)]
mod tests;
