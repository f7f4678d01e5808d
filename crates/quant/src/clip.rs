//! Which part of the values that a tensor took its 256 integers are spent on: all of it, or less, where rare values far out
//! would cost the others their precision. Knows histograms, and no graph.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::observe::Observed;
use crate::ranges::Range;

/// How a range is chosen from the values that a tensor took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
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

impl Method {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Minmax, Self::MovingAverage, Self::Percentile, Self::Entropy, Self::Mse];

    /// As written in params.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minmax => "minmax",
            Self::MovingAverage => "moving_average",
            Self::Percentile => "percentile",
            Self::Entropy => "entropy",
            Self::Mse => "mse",
        }
    }

    /// Whether it needs more than the ends of each image's values.
    #[must_use]
    pub fn wants_histogram(self) -> bool {
        matches!(self, Self::Percentile | Self::Entropy | Self::Mse)
    }

    /// The range of what was observed. `percentile` is the share that [`Method::Percentile`] keeps, in percent.
    pub(crate) fn choose(self, observed: &Observed, percentile: f64) -> Range {
        let whole = observed.range;
        match self {
            Self::Minmax => whole,
            Self::MovingAverage => observed.average(),
            Self::Percentile => inside(whole, keep(&observed.histogram, percentile / 100.0)),
            Self::Entropy => inside(whole, shrunk(whole, most_informative(&observed.histogram, whole))),
            Self::Mse => inside(whole, least_squares(&observed.histogram, whole)),
        }
    }
}

/// How many integers a tensor's values are rounded to.
const LEVELS: usize = 256;

/// How many ranges are tried at each end.
const STEPS: u32 = 128;

/// `chosen` cut to what was seen.
#[expect(clippy::cast_possible_truncation, reason = "what was seen fits")]
fn inside(whole: Range, (min, max): (f64, f64)) -> Range {
    let (low, high) = (f64::from(whole.min), f64::from(whole.max));
    Range { min: min.clamp(low, high) as f32, max: max.clamp(low, high) as f32 }
}

/// Both ends drawn towards zero by the same factor: zero is kept, whatever the range is.
fn shrunk(whole: Range, factor: f64) -> (f64, f64) {
    (f64::from(whole.min) * factor, f64::from(whole.max) * factor)
}

/// The ends between which the share `kept` lies, with as much cut off below as above. As ONNX Runtime's
/// `PercentileCalibrater` for asymmetric ranges (`calibrate.py`, `HistogramCollector.compute_percentile`).
fn keep(histogram: &Histogram, kept: f64) -> (f64, f64) {
    let total = histogram.total() as f64;
    let cut = total * (1.0 - kept) / 2.0;
    let (mut seen, mut low, mut high) = (0.0, None, 0.0);
    for (from, to, count) in histogram.bins() {
        seen += count as f64;
        if low.is_none() && seen > cut {
            low = Some(from);
        }
        high = to;
        if seen >= total - cut {
            break;
        }
    }
    (low.unwrap_or(0.0), high)
}

/// The factor by which both ends are to be drawn towards zero for the least divergence between the values and what 256
/// integers make of them.
fn most_informative(histogram: &Histogram, whole: Range) -> f64 {
    // Zero is represented exactly, whatever the range: what a ReLU makes of half of the values tells nothing.
    let bins: Vec<(f64, f64)> = histogram
        .bins()
        .filter(|(low, high, _)| *low > 0.0 || *high <= 0.0)
        .map(|(low, high, count)| (f64::midpoint(low, high), count as f64))
        .collect();
    let total: f64 = bins.iter().map(|(_, count)| count).sum();
    let width = histogram.bins().next().map_or(0.0, |(low, high, _)| high - low);
    let span = (f64::from(whole.max).max(0.0) - f64::from(whole.min).min(0.0)).max(f64::MIN_POSITIVE);
    let mut best = (f64::INFINITY, 1.0);
    for step in (1..=STEPS).rev() {
        let factor = f64::from(step) / f64::from(STEPS);
        // With fewer bins than integers nothing would be lost.
        if span * factor < width * LEVELS as f64 {
            break;
        }
        let divergence = divergence(&bins, total, shrunk(whole, factor));
        // Of ranges that are equally good, the widest.
        if divergence < best.0 {
            best = (divergence, factor);
        }
    }
    best.1
}

/// Jensen–Shannon divergence between the values and what rounding to 256 integers between `low` and `high` makes of them:
/// each integer's values spread evenly over its bins that hold any, those outside at the ends (J. Lin, 1991).
///
/// S. Migacz (“8-bit inference with TensorRT”, 2017) takes the Kullback–Leibler divergence and counts what is cut off as if it
/// had been at the end. That costs too little: of a depthwise convolution's outcomes it cuts off whole channels.
fn divergence(bins: &[(f64, f64)], total: f64, (low, high): (f64, f64)) -> f64 {
    let (low, high) = (low.min(0.0), high.max(0.0));
    let scale = (high - low) / (LEVELS - 1) as f64;
    let first = bins.partition_point(|(centre, _)| *centre < low);
    let last = bins.partition_point(|(centre, _)| *centre <= high);
    let (Some(within), true) = (bins.get(first..last), first < last) else { return f64::INFINITY };
    let sum = |bins: &[(f64, f64)]| bins.iter().map(|(_, count)| count).sum::<f64>() / total;
    let below = sum(&bins[..first]);
    let above = sum(&bins[last..]);
    let integer = |centre: f64| ((centre - low) / scale).round_ties_even();
    // Nothing is left where the values outside were.
    let mut divergence = (below + above) * std::f64::consts::LN_2;
    let mut place = 0;
    for level in within.chunk_by(|one, other| integer(one.0) == integer(other.0)) {
        let from_below = if place == 0 { below } else { 0.0 };
        place += level.len();
        let from_above = if place == within.len() { above } else { 0.0 };
        let rounded = (sum(level) + from_below + from_above) / level.len() as f64;
        for (_, count) in level {
            let real = count / total;
            let middle = f64::midpoint(real, rounded);
            divergence += real * (real / middle).ln() + rounded * (rounded / middle).ln();
        }
    }
    divergence / 2.0
}

/// The ends that give the least squared error, found by trying both in turn: the loss is nearly convex in each.
fn least_squares(histogram: &Histogram, whole: Range) -> (f64, f64) {
    let bins: Vec<(f64, f64)> =
        histogram.coarse(1024).bins().map(|(low, high, n)| (f64::midpoint(low, high), n as f64)).collect();
    let (min, max) = (f64::from(whole.min).min(0.0), f64::from(whole.max).max(0.0));
    let mut best = (squared_error(&bins, min, max), 1.0, 1.0);
    for _ in 0..2 {
        for step in 1..=STEPS {
            let factor = f64::from(step) / f64::from(STEPS);
            for (low, high) in [(factor, best.2), (best.1, factor)] {
                let error = squared_error(&bins, min * low, max * high);
                if error < best.0 {
                    best = (error, low, high);
                }
            }
        }
    }
    (min * best.1, max * best.2)
}

/// Sum of the squared errors of rounding each value to 256 integers between `low` and `high`. Inside it is taken as that of
/// values spread evenly over a step, a twelfth of its square (B. Widrow), so that it does not depend on where bins happen to lie.
fn squared_error(bins: &[(f64, f64)], low: f64, high: f64) -> f64 {
    let scale = (high - low) / (LEVELS - 1) as f64;
    let rounding = scale * scale / 12.0;
    let error = |(centre, count): &(f64, f64)| {
        let beyond = (low - centre).max(centre - high).max(0.0);
        count * (rounding + beyond * beyond)
    };
    bins.iter().map(error).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn observed(values: &[f32]) -> Observed {
        let mut observed = Observed::default();
        observed.add(values, 1, true).unwrap();
        observed
    }

    #[test]
    fn what_a_relu_gives_is_not_cut_off_for_its_zeros() {
        let values: Vec<f32> = (0_u16..40_000)
            .map(|i| if i % 2 == 0 { 0.0 } else { (f32::from(i) / 40_000.0 * 3.2).powi(2) })
            .collect();
        let range = Method::Entropy.choose(&observed(&values), 100.0);
        assert!(range.max > 8.0, "{range:?}");
    }

    /// Values as many layers give them: most near zero, one far out.
    fn with_an_outlier() -> Observed {
        let mut values: Vec<f32> = (0_u16..20_000).map(|i| f32::from(i % 100) / 100.0).collect();
        values.push(100.0);
        observed(&values)
    }

    #[test]
    fn an_outlier_costs_precision_only_where_that_was_asked_for() {
        let observed = with_an_outlier();
        assert_eq!(Method::Minmax.choose(&observed, 100.0), Range { min: 0.0, max: 100.0 });
        // 256 integers are at least as wide as 256 bins, of which there are 1,600 here.
        for (method, most) in [(Method::Percentile, 1.1), (Method::Entropy, 100.0 * 256.0 / 1_600.0 + 3.0)] {
            let range = method.choose(&observed, 99.9);
            assert!(range.min == 0.0 && range.max >= 0.98 && range.max < most, "{method:?}: {range:?}");
        }
        // One value of 100 cut off at 50 costs more than the rounding of all the others.
        assert!(Method::Mse.choose(&observed, 100.0).max > 95.0);
    }

    #[test]
    fn a_percentile_keeps_as_much_as_it_says() {
        let values: Vec<f32> = (0_u16..10_000).map(|i| f32::from(i) - 5_000.0).collect();
        let range = Method::Percentile.choose(&observed(&values), 98.0);
        assert!((range.min + 4_900.0).abs() < 8.0 && (range.max - 4_900.0).abs() < 8.0, "{range:?}");
        assert_eq!(
            Method::Percentile.choose(&observed(&values), 100.0),
            Range { min: -5_000.0, max: 4_999.0 }
        );
    }

    #[test]
    fn the_average_is_that_of_each_image_and_does_not_depend_on_batches() {
        let mut one = Observed::default();
        one.add(&[0.0, 1.0, -2.0, 3.0, 0.0, 8.0], 3, false).unwrap();
        let mut other = Observed::default();
        other.add(&[0.0, 1.0], 1, false).unwrap();
        other.add(&[-2.0, 3.0, 0.0, 8.0], 2, false).unwrap();
        let average = Method::MovingAverage.choose(&one, 100.0);
        assert_eq!(average, Method::MovingAverage.choose(&other, 100.0));
        assert_eq!(average, Range { min: -2.0 / 3.0, max: 4.0 });
    }

    #[test]
    fn heavy_tails_are_cut_for_the_least_error() {
        // A value of 1,000 to 100 of 1: cutting a little off the one costs less than it gives the others.
        let mut values = vec![0.0_f32; 0];
        for i in 0_u16..60_000 {
            values.push((f32::from(i) / 60_000.0 - 0.5) * 2.0);
        }
        values.extend([4.0; 3]);
        let range = Method::Mse.choose(&observed(&values), 100.0);
        assert!(range.max < 4.0 && range.max >= 0.9, "{range:?}");
    }

    proptest! {
        #[test]
        fn a_chosen_range_lies_within_the_seen_one(
            values in prop::collection::vec(any::<f32>().prop_filter("finite", |v| v.is_finite()), 1..200),
            percentile in 50.0_f64..=100.0,
        ) {
            let observed = observed(&values);
            for method in [Method::Minmax, Method::MovingAverage, Method::Percentile, Method::Entropy, Method::Mse] {
                let range = method.choose(&observed, percentile);
                prop_assert!(range.min <= range.max, "{:?} {:?}", method, range);
                prop_assert!(range.min >= observed.range.min && range.max <= observed.range.max, "{:?} {:?}", method, range);
            }
        }
    }
}
