//! How much of what single columns say of a choice is believed: as much as one half of the samples repeats of what the other says.
//!
//! A column's noise on a few dozen samples is known to within a decibel, and of many choices and columns the best one is then mostly
//! lucky. Knows numbers, and neither graphs nor methods.

use crate::judge::squares::{Columns, Squares};

/// Sums over both halves of the samples.
#[derive(Debug, Clone, Default)]
pub(super) struct Both(pub(super) [Squares; 2]);

impl Both {
    pub(super) fn with(self, other: &Self) -> Self {
        let Self([one, two]) = self;
        Self([one.with(&other.0[0]), two.with(&other.0[1])])
    }

    pub(super) fn without(self, other: &Self) -> Self {
        let Self([one, two]) = self;
        Self([one.without(&other.0[0]), two.without(&other.0[1])])
    }

    /// Over all samples.
    pub(super) fn all(&self) -> Squares {
        self.0[0].clone().with(&self.0[1])
    }

    /// By column what is usual among `all`: the harmonic mean, to which those that ruin a column add nothing.
    pub(super) fn usual(all: &[&Self]) -> Self {
        let usual = |half: usize| {
            let halves: Vec<&Squares> = all.iter().map(|both| &both.0[half]).collect();
            Squares::harmonic_mean(&halves)
        };
        Self([usual(0), usual(1)])
    }
}

/// The noise of each column as far as it is believed: what is `usual` times what it is mostly times, in the geometric mean over the
/// columns with a signal, and of what a column differs from that the share that is no chance. That share is the reliability of two
/// halves put together, `2r / (1 + r)` with the correlation `r` of both (Spearman 1910, Brown 1910; with it columns are drawn
/// towards their mean as James and Stein do, 1961).
pub(super) fn believed(signal: &Squares, usual: &Both, found: &Both) -> Squares {
    let outputs = signal.outputs().enumerate().map(|(place, signal)| {
        let of = |both: &Both| -> Option<[Columns; 2]> {
            let [one, two] = &both.0;
            Some([one.outputs().nth(place)?.clone(), two.outputs().nth(place)?.clone()])
        };
        let all = || found.all().outputs().nth(place).cloned().unwrap_or_default();
        let (Some(usual), Some(found)) = (of(usual), of(found)) else { return all() };
        shrunk(signal, &usual, &found).unwrap_or_else(all)
    });
    Squares::from_iter(outputs)
}

/// Nothing where columns have not the same places in both.
fn shrunk(signal: &Columns, usual: &[Columns; 2], found: &[Columns; 2]) -> Option<Columns> {
    let count = signal.sums.len();
    if usual.iter().chain(found).any(|columns| columns.sums.len() != count) {
        return None;
    }
    // What is as good as no noise is all the same.
    let floor = |sum: f64, signal: f64| sum.max(0.0) + signal * 1e-14;
    let alive = signal.alive();
    let mut ratios = Vec::with_capacity(alive.len());
    let mut usual_sums = Vec::with_capacity(alive.len());
    for &column in &alive {
        let signal = signal.sums[column];
        let ratio = |half: usize| {
            (floor(found[half].sums[column], signal) / floor(usual[half].sums[column], signal)).ln()
        };
        let sum = |both: &[Columns; 2]| floor(both[0].sums[column] + both[1].sums[column], signal);
        usual_sums.push(sum(usual));
        ratios.push(([ratio(0), ratio(1)], (sum(found) / sum(usual)).ln()));
    }
    let mean = ratios.iter().map(|(_, ratio)| ratio).sum::<f64>() / ratios.len().max(1) as f64;
    let halves: Vec<[f64; 2]> = ratios.iter().map(|(halves, _)| *halves).collect();
    let share = reliability(&halves);
    let mut sums = vec![0.0; count];
    for ((&column, usual), (_, ratio)) in alive.iter().zip(usual_sums).zip(ratios) {
        sums[column] = usual * (mean + share * (ratio - mean)).exp();
    }
    Some(Columns { sums, values: found[0].values + found[1].values })
}

/// Which share of what pairs differ by is not chance: none where they have nothing to do with each other.
fn reliability(pairs: &[[f64; 2]]) -> f64 {
    let count = pairs.len().max(1) as f64;
    let means = [0, 1].map(|half| pairs.iter().map(|pair| pair[half]).sum::<f64>() / count);
    let product = |one: usize, other: usize| {
        pairs.iter().map(|pair| (pair[one] - means[one]) * (pair[other] - means[other])).sum::<f64>()
    };
    let spread = (product(0, 0) * product(1, 1)).sqrt();
    if spread <= 0.0 {
        return 1.0;
    }
    let correlation = (product(0, 1) / spread).clamp(0.0, 1.0);
    2.0 * correlation / (1.0 + correlation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squares(sums: &[f64]) -> Squares {
        Squares::from_iter([Columns { sums: sums.to_vec(), values: sums.len() }])
    }

    fn both(one: &[f64], other: &[f64]) -> Both {
        Both([squares(one), squares(other)])
    }

    fn columns(usual: &Both, found: &Both) -> Vec<f64> {
        believed(&squares(&[100.0; 4]), usual, found).outputs().next().unwrap().sums.clone()
    }

    #[test]
    fn columns_are_believed_as_far_as_both_halves_say_the_same() {
        let usual = both(&[1.0; 4], &[1.0; 4]);
        let near = |found: &[f64], expected: [f64; 4]| {
            found
                .iter()
                .zip(expected)
                .for_each(|(one, other)| assert!((one - other).abs() < 1e-6, "{found:?}"));
        };
        // The same: as it is.
        near(&columns(&usual, &both(&[1.0, 2.0, 1.0, 4.0], &[1.0, 2.0, 1.0, 4.0])), [2.0, 4.0, 2.0, 8.0]);
        // The opposite: none of it, but that the noise is larger than usual.
        let found = columns(&usual, &both(&[1.0, 3.0, 1.0, 3.0], &[3.0, 1.0, 3.0, 1.0]));
        near(&found, [4.0; 4]);
    }

    #[test]
    fn what_ruins_a_column_is_not_usual() {
        let (one, other) = (both(&[1.0, 1.0], &[1.0, 1.0]), both(&[1.0, 1e9], &[1.0, 1e9]));
        let usual = Both::usual(&[&one, &other]).all();
        let sums = &usual.outputs().next().unwrap().sums;
        assert!((sums[0] - 2.0).abs() < 1e-6 && (sums[1] - 4.0).abs() < 1e-6, "{sums:?}");
    }
}
