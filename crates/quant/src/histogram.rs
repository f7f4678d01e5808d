//! A histogram of values whose range is not known beforehand, in one pass.

/// Number of bins.
const BINS: usize = 128;

/// Counts in 128 bins of equal width. When values fall outside, the width doubles and neighbours merge, so the
/// result is a little coarser than one made with the final range, and never wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    low: f64,
    width: f64,
    counts: Vec<u64>,
}

impl Histogram {
    /// Without counts, for values around `min` to `max`.
    pub(crate) fn new(min: f32, max: f32) -> Self {
        let (min, max) = (f64::from(min), f64::from(max));
        let span = (max - min).max(min.abs().max(max.abs()) * 1e-6).max(1e-30);
        Self { low: min, width: span / (BINS - 1) as f64, counts: vec![0; BINS] }
    }

    /// Counts `values`, which are finite and lie between `min` and `max`.
    pub(crate) fn add(&mut self, values: &[f32], min: f32, max: f32) {
        while f64::from(min) < self.low {
            self.grow_down();
        }
        while f64::from(max) >= self.low + self.width * BINS as f64 {
            self.grow_up();
        }
        for &value in values {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "floor is wanted, and a float too low for an index saturates to the first"
            )]
            let index = ((f64::from(value) - self.low) / self.width) as usize;
            if let Some(count) = self.counts.get_mut(index.min(BINS - 1)) {
                *count += 1;
            }
        }
    }

    /// Bins that hold anything, ascending: low end, high end, count. `[low, high)`.
    pub fn bins(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(index, &count)| {
            let low = self.low + self.width * index as f64;
            (low, low + self.width, count)
        })
    }

    /// How many values were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn merged(&self) -> impl Iterator<Item = u64> {
        self.counts.chunks(2).map(|pair| pair.iter().sum())
    }

    fn grow_up(&mut self) {
        self.counts = self.merged().chain(std::iter::repeat_n(0, BINS / 2)).collect();
        self.width *= 2.0;
    }

    fn grow_down(&mut self) {
        self.counts = std::iter::repeat_n(0, BINS / 2).chain(self.merged()).collect();
        self.low -= self.width * BINS as f64;
        self.width *= 2.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn add(histogram: &mut Histogram, values: &[f32]) {
        let (min, max) = values.iter().fold((f32::MAX, f32::MIN), |(a, b), &v| (a.min(v), b.max(v)));
        histogram.add(values, min, max);
    }

    #[test]
    fn a_constant_is_one_bin() {
        for value in [0.0, 3.5, -1e30, f32::MAX] {
            let mut histogram = Histogram::new(value, value);
            add(&mut histogram, &[value; 5]);
            let bins: Vec<_> = histogram.bins().collect();
            assert_eq!((bins.len(), bins[0].2), (1, 5));
        }
    }

    proptest! {
        #[test]
        fn every_value_is_counted_in_a_bin_that_holds_it(
            batches in prop::collection::vec(prop::collection::vec(-1e6_f32..1e6, 1..20), 1..8)
        ) {
            let first = &batches[0];
            let (min, max) = first.iter().fold((f32::MAX, f32::MIN), |(a, b), &v| (a.min(v), b.max(v)));
            let mut histogram = Histogram::new(min, max);
            for batch in &batches {
                add(&mut histogram, batch);
            }
            let mut values: Vec<f64> = batches.concat().into_iter().map(f64::from).collect();
            values.sort_by(f64::total_cmp);
            prop_assert_eq!(histogram.total(), values.len() as u64);
            let tolerance = histogram.width * 1e-6;
            let mut rest = values.as_slice();
            for (low, high, count) in histogram.bins() {
                let (here, others) = rest.split_at(count as usize);
                prop_assert!(here.iter().all(|v| *v >= low - tolerance && *v <= high + tolerance));
                rest = others;
            }
            prop_assert!(rest.is_empty());
        }
    }
}
