//! A histogram of values whose range is not known beforehand: in one pass, in constant memory, exact at every time.
//!
//! Bins are as wide as a power of two and begin at its multiples. When values fall outside, the width doubles and
//! neighbours merge. So the same values give the same histogram, in whatever order and in however many portions they come,
//! and no second pass is needed to learn the range first.

use serde::{Deserialize, Serialize};

use crate::vectors::for_widest_vectors;

/// Most bins: at least half of them are used once values differ enough.
const BINS: usize = 2048;

/// How many values are looked at at a time.
const BLOCK: usize = 256;

/// How many tables counts go to in turn.
const TABLES: usize = 4;

/// Bins are no narrower than 2 to this power, so that its inverse is a float.
const NARROWEST: i32 = -126;

/// Counts of values in bins of equal width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// The width is 2 to this power.
    exponent: i32,
    /// The first bin begins at this multiple of the width.
    first: i32,
    /// Empty, or with counts in the first and the last bin.
    counts: Vec<u64>,
}

/// A histogram as it is stored: bin `i` is `[low + i·width, low + (i + 1)·width)`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bins {
    /// Where the first bin begins.
    pub low: f64,
    /// The width of a bin.
    pub width: f64,
    /// How many values each holds.
    pub counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { exponent: NARROWEST, first: 0, counts: Vec::new() }
    }
}

impl Histogram {
    /// Counts `values`, which are finite and lie between `min` and `max`, the smallest and the largest of them.
    pub(crate) fn add(&mut self, values: &[f32], min: f32, max: f32) {
        self.cover(min, max);
        let (scale, first) = (self.scale(), self.first);
        let length = self.counts.len();
        // Of few values the counting takes less time than several tables would.
        let number = if values.len() < TABLES * length { 1 } else { TABLES };
        let mut tables = vec![0; number * length];
        count(values, scale, first, number, &mut tables);
        for table in tables.chunks(length) {
            self.counts.iter_mut().zip(table).for_each(|(sum, count)| *sum += u64::from(*count));
        }
    }

    /// Makes room for values between `min` and `max`.
    fn cover(&mut self, min: f32, max: f32) {
        // A float has 24 binary digits: narrower bins tell nothing apart, and places would not be exact.
        let finest = exponent(min.abs().max(max.abs())) - 23;
        while self.exponent < finest {
            self.widen();
        }
        loop {
            let (low, high) = (place(min, self.scale()), place(max, self.scale()));
            let is_new = self.counts.is_empty();
            let (low, high) =
                if is_new { (low, high) } else { (low.min(self.first), high.max(self.end() - 1)) };
            let bins = usize::try_from(i64::from(high) - i64::from(low) + 1).unwrap_or(usize::MAX);
            if bins > BINS {
                self.widen();
                continue;
            }
            let before = if is_new { 0 } else { self.first.abs_diff(low) as usize };
            self.counts.splice(0..0, std::iter::repeat_n(0, before));
            self.counts.resize(bins, 0);
            self.first = low;
            return;
        }
    }

    /// Adds the counts of another histogram.
    pub(crate) fn merge(&mut self, other: &Self) {
        if other.counts.is_empty() {
            return;
        }
        let mut other = other.clone();
        loop {
            while other.exponent < self.exponent {
                other.widen();
            }
            while self.exponent < other.exponent {
                self.widen();
            }
            let (first, end) = match self.counts.is_empty() {
                true => (other.first, other.end()),
                false => (self.first.min(other.first), self.end().max(other.end())),
            };
            let bins = usize::try_from(i64::from(end) - i64::from(first)).unwrap_or(usize::MAX);
            if bins > BINS {
                self.widen();
                continue;
            }
            let mut counts = vec![0; bins];
            for part in [&*self, &other] {
                let offset = part.first.abs_diff(first) as usize;
                counts.iter_mut().skip(offset).zip(&part.counts).for_each(|(sum, count)| *sum += count);
            }
            (self.first, self.counts) = (first, counts);
            return;
        }
    }

    /// Behind the last bin.
    fn end(&self) -> i32 {
        self.first + i32::try_from(self.counts.len()).unwrap_or(i32::MAX)
    }

    /// Doubles the width.
    fn widen(&mut self) {
        let first = self.first >> 1;
        let mut counts: Vec<u64> = Vec::with_capacity(self.counts.len() / 2 + 1);
        for (index, count) in (self.first..).zip(&self.counts) {
            let place = (index >> 1).abs_diff(first) as usize;
            match counts.get_mut(place) {
                Some(merged) => *merged += count,
                None => counts.push(*count),
            }
        }
        *self = Self { exponent: self.exponent + 1, first, counts };
    }

    /// The inverse of the width.
    fn scale(&self) -> f32 {
        2.0_f32.powi(-self.exponent)
    }

    /// The same in no more than `most` bins.
    #[must_use]
    pub fn coarse(&self, most: usize) -> Self {
        let mut coarse = self.clone();
        // Around zero there are always two.
        while coarse.counts.len() > most.max(2) {
            coarse.widen();
        }
        coarse
    }

    /// As it is stored.
    #[must_use]
    pub fn to_bins(&self) -> Bins {
        let width = 2.0_f64.powi(self.exponent);
        Bins { low: f64::from(self.first) * width, width, counts: self.counts.clone() }
    }

    /// Bins that hold anything, ascending: low end, high end, count. `[low, high)`.
    pub fn bins(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        let width = 2.0_f64.powi(self.exponent);
        (self.first..).zip(&self.counts).filter(|(_, count)| **count > 0).map(move |(place, &count)| {
            let low = f64::from(place) * width;
            (low, low + width, count)
        })
    }

    /// How many values were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

for_widest_vectors! {
    /// Counts `values` in `number` tables of bins whose width is the inverse of `scale`, of which the first begins at `first`
    /// times the width. Equal values follow each other, and each count would wait for the one before to reach memory: so they
    /// go to the tables in turn.
    fn count = count_in_turn(values: &[f32], scale: f32, first: i32, number: usize, tables: &mut [u32])
}

#[inline(always)]
fn count_in_turn(values: &[f32], scale: f32, first: i32, number: usize, tables: &mut [u32]) {
    let length = tables.len() / number.max(1);
    let mut places = [0_u32; BLOCK];
    let mut lanes = [0_u32; BLOCK];
    for (lane, start) in lanes.iter_mut().enumerate() {
        *start = u32::try_from(lane % number.max(1) * length).unwrap_or(0);
    }
    for block in values.chunks(BLOCK) {
        // Apart, so that it is done on many values at once.
        for ((place, &value), start) in places.iter_mut().zip(block).zip(&lanes) {
            *place = self::place(value, scale).wrapping_sub(first).cast_unsigned().wrapping_add(*start);
        }
        for &place in places.iter().take(block.len()) {
            if let Some(count) = tables.get_mut(place as usize) {
                *count += 1;
            }
        }
    }
}

/// The largest integer not above `value · scale`. Exact where that has no more than 24 binary digits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "see above; it is corrected"
)]
#[inline(always)]
fn place(value: f32, scale: f32) -> i32 {
    let scaled = value * scale;
    let towards_zero = scaled as i32;
    // What is not zero may become zero.
    let is_rounded = towards_zero == 0 || towards_zero as f32 != scaled;
    towards_zero - i32::from(value < 0.0 && is_rounded)
}

/// The largest power of two that is not above a positive number; the narrowest bin's for zero and what is nearly that.
fn exponent(value: f32) -> i32 {
    i32::try_from(value.to_bits() >> 23 & 0xff).unwrap_or(0) - 127
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn add(histogram: &mut Histogram, values: &[f32]) {
        let (min, max) = values.iter().fold((f32::MAX, f32::MIN), |(a, b), &v| (a.min(v), b.max(v)));
        histogram.add(values, min, max);
    }

    /// So many values that they go to several tables, over several blocks and a part of one.
    #[test]
    fn many_values_are_counted_as_one_by_one() {
        let values: Vec<f32> =
            (0..10_007_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 23) as f32 - 100.0).collect();
        let mut histogram = Histogram::default();
        add(&mut histogram, &values);
        assert!(values.len() >= TABLES * histogram.counts.len());
        let mut total = 0;
        for (low, high, count) in histogram.bins() {
            let within = values.iter().filter(|&&value| (low..high).contains(&f64::from(value))).count();
            assert_eq!(count, within as u64, "{low} to {high}");
            total += within;
        }
        assert_eq!(total, values.len());
    }

    fn of(batches: &[Vec<f32>]) -> Histogram {
        let mut histogram = Histogram::default();
        batches.iter().for_each(|batch| add(&mut histogram, batch));
        histogram
    }

    #[test]
    fn a_constant_is_one_bin() {
        for value in [0.0, 3.5, -1e30, f32::MAX, f32::MIN_POSITIVE, 1e-45, -1e-45] {
            let bins: Vec<_> = of(&[vec![value; 5]]).bins().collect();
            assert_eq!((bins.len(), bins[0].2), (1, 5), "{value}");
            assert!(bins[0].0 <= value.into() && bins[0].1 > value.into(), "{value}: {bins:?}");
        }
    }

    #[test]
    fn the_whole_range_of_floats_fits() {
        let histogram = of(&[vec![1e-45], vec![f32::MAX], vec![f32::MIN, 0.0]]);
        assert_eq!(histogram.total(), 4);
        assert!(histogram.counts.len() <= BINS);
    }

    #[test]
    fn a_coarse_one_keeps_every_count() {
        let histogram = of(&[(0_u16..1000).map(f32::from).collect()]);
        let coarse = histogram.coarse(32);
        assert_eq!((coarse.total(), coarse.counts.len()), (1000, 32));
        let bins = coarse.to_bins();
        assert_eq!((bins.low, bins.width, bins.counts[0]), (0.0, 32.0, 32));
        assert_eq!(of(&[vec![-1.0, 1.0]]).coarse(1).counts.len(), 2);
    }

    fn batches() -> impl Strategy<Value = Vec<Vec<f32>>> {
        let value = prop_oneof![-1e6_f32..1e6, -1.0_f32..1.0, Just(0.0), any::<f32>()];
        let finite = value.prop_filter("finite", |value| value.is_finite());
        prop::collection::vec(prop::collection::vec(finite, 1..20), 1..8)
    }

    proptest! {
        #[test]
        fn every_value_is_counted_in_the_bin_that_holds_it(batches in batches()) {
            let histogram = of(&batches);
            let mut values: Vec<f64> = batches.concat().into_iter().map(f64::from).collect();
            values.sort_by(f64::total_cmp);
            prop_assert_eq!(histogram.total(), values.len() as u64);
            let mut rest = values.as_slice();
            for (low, high, count) in histogram.bins() {
                let (here, others) = rest.split_at(usize::try_from(count).unwrap());
                // Zero has two signs.
                prop_assert!(here.iter().all(|v| *v >= low && *v < high), "{} {} {:?}", low, high, here);
                rest = others;
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn neither_order_nor_portions_matter(batches in batches(), portion in 1_usize..30) {
            let mut all = batches.concat();
            all.reverse();
            let portions: Vec<Vec<f32>> = all.chunks(portion).map(<[f32]>::to_vec).collect();
            prop_assert!(of(&portions) == of(&batches));
        }

        #[test]
        fn histograms_of_parts_add_up_to_that_of_the_whole(batches in batches(), at in any::<prop::sample::Index>()) {
            let (one, other) = batches.split_at(at.index(batches.len()));
            let mut sum = of(one);
            sum.merge(&of(other));
            prop_assert!(sum == of(&batches));
        }

        #[test]
        fn no_more_bins_than_needed_are_merged(batches in batches()) {
            let histogram = of(&batches);
            let values = batches.concat();
            let (min, max) = values.iter().fold((f32::MAX, f32::MIN), |(a, b), &v| (a.min(v), b.max(v)));
            let width = 2.0_f64.powi(histogram.exponent);
            let range = f64::from(max) - f64::from(min);
            let finest = 2.0_f64.powi(exponent(min.abs().max(max.abs())) - 23).max(2.0_f64.powi(NARROWEST));
            prop_assert!(width <= finest || range >= width / 2.0 * (BINS as f64 - 1.0), "{} {}", width, range);
        }
    }
}
