//! Weights whose products a processor adds in 16 bits: on x86-64 without VNNI, ONNX Runtime multiplies bytes by `VPMADDUBSW`, which adds
//! the products of *neighbours* along the reduction and saturates. With an activation of at most 255, two neighbours whose sum is within
//! ±128 cannot saturate (255 · 128 < 2¹⁵), and the same integers give the same bits on every processor.
//!
//! The runtime computes channels last, whatever the model says: the reduction of a convolution goes by row and column of the window, and
//! within these by input channel (`QLinearConv` in `core/providers/cpu/quantization/qlinearconv.cc`, `MlasGemmQuantCopyPackB` and
//! `convsym.cpp` in MLAS). A depthwise convolution, which has a kernel of its own, adds in 32 bits.

use onnx::Node;

use crate::integers::{Channels, SymmetricWeight};
use crate::weights::Weighty;

/// What the integers of two neighbours come to at most, either way.
pub(crate) const LARGEST_SUM: i32 = 128;

/// By place of a weight in its filter, as the model stores it, its neighbour's place; `None` beside padding or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Neighbours(Vec<Option<usize>>);

impl Neighbours {
    /// Those in the filters of a node with `missing` channels of zeros behind its own. `None` where each product is added by itself.
    pub(crate) fn of(node: &Node, weighty: &Weighty<'_>, missing: usize) -> Option<Self> {
        let shape = weighty.tensor.shape();
        match (node.op.as_str(), shape) {
            ("Conv", [filters, channels, window @ ..]) => {
                let is_depthwise =
                    *channels == 1 && usize::try_from(node.int("group", 1)) == Ok(*filters) && *filters > 1;
                (!is_depthwise).then(|| Self::in_window(*channels, missing, window.iter().product()))
            }
            _ => Some(Self::in_window(weighty.values.len() / weighty.channels.count().max(1), 0, 1)),
        }
    }

    /// Of filters `[channel, place in the window]`.
    fn in_window(channels: usize, missing: usize, area: usize) -> Self {
        let wide = channels + missing;
        let term = |channel: usize, place: usize| channel * area + place;
        let neighbour = |at: usize| {
            let (channel, place) = (at / area, at % area);
            let other = (place * wide + channel) ^ 1;
            let (place, channel) = (other / wide, other % wide);
            (place < area && channel < channels).then(|| term(channel, place))
        };
        Self((0..channels * area).map(neighbour).collect())
    }

    /// The neighbour of the weight at `term` of a filter.
    pub(crate) fn get(&self, term: usize) -> Option<usize> {
        self.0.get(term).copied().flatten()
    }

    /// Every two of a filter, once.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        self.0
            .iter()
            .enumerate()
            .filter_map(|(one, other)| Some((one, (*other)?)))
            .filter(|(one, other)| one < other)
    }

    /// The least scale of each channel at which no sum is too large, but for rounding. A smaller one, with the largest weights clipped
    /// instead, has the smaller error by itself and leaves the search less room: it ends at a larger one.
    #[expect(clippy::cast_precision_loss, reason = "128")]
    pub(crate) fn floors(&self, values: &[f32], channels: Channels) -> Vec<f32> {
        let terms = self.0.len();
        let floor = |channel| {
            let value = |term| values[channels.element(channel, term, terms)];
            let sums = self.pairs().map(|(one, other)| (value(one) + value(other)).abs());
            sums.fold(0.0, f32::max) / LARGEST_SUM as f32
        };
        (0..channels.count()).map(floor).collect()
    }

    /// Moves integers so that no two neighbours come to more than [`LARGEST_SUM`]: of two that do, the one that rounding took
    /// farther beyond its value goes back towards zero.
    pub(crate) fn settle(&self, values: &[f32], channels: Channels, rounded: &mut SymmetricWeight) {
        let terms = self.0.len();
        for channel in 0..channels.count() {
            let scale = rounded.scale(channel);
            for (one, other) in self.pairs() {
                let [one, other] = [one, other].map(|term| channels.element(channel, term, terms));
                loop {
                    let sum = i32::from(rounded.integers[one]) + i32::from(rounded.integers[other]);
                    if sum.abs() <= LARGEST_SUM {
                        break;
                    }
                    // Both have the sign of the sum: each is at most 127.
                    let sign = if sum > 0 { 1 } else { -1 };
                    let beyond =
                        |at: usize| (f32::from(rounded.integers[at]) - values[at] / scale) * f32::from(sign);
                    let at = if beyond(one) >= beyond(other) { one } else { other };
                    rounded.integers[at] -= sign;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn a_window_is_read_by_place_and_then_by_channel() {
        // Three channels of two places: the runtime reads 0a 1a | 2a 0b | 1b 2b, and the model has 0a 0b 1a 1b 2a 2b.
        let three = Neighbours::in_window(3, 0, 2);
        assert_eq!(three.0, [2, 4, 0, 5, 1, 3].map(Some));
        // With a fourth one of zeros: 0a 1a | 2a - | 0b 1b | 2b -.
        let widened = Neighbours::in_window(3, 1, 2);
        assert_eq!(widened.0, [Some(2), Some(3), Some(0), Some(1), None, None]);
        // The last of an odd number has none.
        assert_eq!(Neighbours::in_window(3, 0, 1).0, [Some(1), Some(0), None]);
    }

    #[test]
    fn a_scale_grows_only_where_a_sum_is_too_large() {
        let neighbours = Neighbours::in_window(4, 0, 1);
        let scale = |values: &[f32]| {
            let rounded = SymmetricWeight::new(values, Channels::First(1), true, &[], Some(&neighbours));
            rounded.scales[0]
        };
        assert!((scale(&[1.0, -1.0, 1.0, 0.0]) - 1.0 / 127.0).abs() < 1e-6);
        assert!((scale(&[1.0, 0.5, 0.3, 0.2]) - 1.5 / 128.0).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn no_two_neighbours_saturate(
            values in prop::collection::vec(prop_oneof![-1.0_f32..1.0, Just(1.0), Just(-1.0)], 24),
            is_last in any::<bool>(),
            per_channel in any::<bool>(),
        ) {
            let channels = if is_last { Channels::Last(2) } else { Channels::First(2) };
            let neighbours = Neighbours::in_window(3, 0, 4);
            let rounded = SymmetricWeight::new(&values, channels, per_channel, &[], Some(&neighbours));
            for channel in 0..2 {
                let integer = |term| i32::from(rounded.integers[channels.element(channel, term, 12)]);
                for (one, other) in neighbours.pairs() {
                    prop_assert!((integer(one) + integer(other)).abs() <= LARGEST_SUM);
                }
            }
            let step = rounded.scales.iter().copied().fold(0.0, f32::max);
            for (value, back) in values.iter().zip(rounded.dequantize(channels)) {
                prop_assert!((value - back).abs() <= 1.51 * step, "{value} {back}");
            }
        }
    }
}
