//! Rounding weights together instead of each to its nearest: where one is rounded up, another that multiplies similar
//! inputs is rounded down.
//!
//! What a filter `w` and its rounded form `ŵ` give differs by `(ŵ − w)·x`. Over the calibration images the mean of that goes
//! into the bias (Nagel et al. 2019, arXiv 1906.04721, bias correction), and its variance is `dᵀCd` with `d = ŵ − w` and the
//! covariance `C` of `x`. That is the aim of `AdaRound` and GPTQ; here it is lowered by greedy coordinate descent from the
//! nearest integers (`CDQuant`, Nair and Suggala 2024, arXiv 2406.17542), so it never ends above them.

use crate::integers::{Channels, LARGEST, SymmetricWeight};
use crate::moments::Moment;
use crate::neighbours::{LARGEST_SUM, Neighbours};

/// Added to the diagonal of the covariance, as a share of its mean, so that what the images did not show is not free
/// (GPTQ, arXiv 2210.17323, takes the same).
const DAMPING: f32 = 0.01;

/// Steps of the search for each weight, at most. It ends by itself much earlier.
const STEPS: usize = 8;

/// Changes the integers of `rounded` so that they stand for `values` on inputs of these moments better than the nearest do.
///
/// Where no bias will take the mean of the difference, as `mean_counts` says, that counts as well: then the aim is
/// `dᵀ(C + μμᵀ)d` with the mean `μ` of `x`.
pub(crate) fn search(
    values: &[f32],
    channels: Channels,
    rounded: &mut SymmetricWeight,
    neighbours: Option<&Neighbours>,
    moment: &Moment,
    mean_counts: bool,
) {
    let terms = moment.terms;
    let Some(area) = terms.checked_mul(terms) else { return };
    let filters = channels.count();
    let groups = moment.covariance.len().checked_div(area).unwrap_or(0);
    if groups == 0 || !filters.is_multiple_of(groups) || values.len() != filters * terms {
        return;
    }
    let mut filter = Filter::default();
    for (group, covariance) in moment.covariance.chunks(area).enumerate() {
        let mean = moment.mean.chunks(terms).nth(group).filter(|_| mean_counts);
        let covariance = damped(covariance, terms, mean.unwrap_or_default());
        for channel in group * (filters / groups)..(group + 1) * (filters / groups) {
            let scale = rounded.scale(channel);
            filter.load((0..terms).map(|term| {
                let element = channels.element(channel, term, terms);
                (values[element] / scale, rounded.integers[element])
            }));
            filter.descend(&covariance, neighbours);
            for (term, integer) in filter.integers.iter().enumerate() {
                rounded.integers[channels.element(channel, term, terms)] = *integer;
            }
        }
    }
}

/// By output channel, the mean of what the float weights give less that of what the rounded ones give: to be added to the
/// bias. Nothing where the moments are of another layer.
pub(crate) fn lost_mean(
    values: &[f32],
    channels: Channels,
    rounded: &SymmetricWeight,
    moment: &Moment,
) -> Option<Vec<f32>> {
    let (terms, filters) = (moment.terms, channels.count());
    let groups = moment.mean.len().checked_div(terms)?;
    if groups == 0 || !filters.is_multiple_of(groups) || values.len() != filters * terms {
        return None;
    }
    let lost = |channel: usize| {
        let mean = &moment.mean[channel / (filters / groups) * terms..][..terms];
        let scale = rounded.scale(channel);
        let each = mean.iter().enumerate().map(|(term, mean)| {
            let element = channels.element(channel, term, terms);
            let error = f64::from(values[element]) - f64::from(rounded.integers[element]) * f64::from(scale);
            error * f64::from(*mean)
        });
        #[expect(clippy::cast_possible_truncation, reason = "a bias has 32 bits")]
        let lost = each.sum::<f64>() as f32;
        lost
    };
    Some((0..filters).map(lost).collect())
}

/// The covariance with more on its diagonal, and the products of `mean`, which may be empty.
fn damped(covariance: &[f32], terms: usize, mean: &[f32]) -> Vec<f32> {
    let mut damped = covariance.to_vec();
    for (line, one) in damped.chunks_mut(terms).zip(mean) {
        line.iter_mut().zip(mean).for_each(|(value, other)| *value += one * other);
    }
    let trace: f32 = damped.iter().step_by(terms + 1).sum();
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let extra = (trace / terms as f32 * DAMPING).max(f32::MIN_POSITIVE);
    damped.iter_mut().step_by(terms + 1).for_each(|variance| *variance += extra);
    damped
}

/// A filter being rounded.
#[derive(Default)]
struct Filter {
    integers: Vec<i8>,
    /// `d`: how far each integer is above its weight.
    errors: Vec<f32>,
    /// `C·d`: half of the gradient.
    slopes: Vec<f32>,
}

impl Filter {
    /// Takes weights in steps of their scale with their integers.
    fn load(&mut self, weights: impl Iterator<Item = (f32, i8)>) {
        self.integers.clear();
        self.errors.clear();
        for (weight, integer) in weights {
            self.integers.push(integer);
            self.errors.push(f32::from(integer) - weight);
        }
    }

    /// Moves one integer at a time, the one that lowers `dᵀCd` the most, until none does.
    fn descend(&mut self, covariance: &[f32], neighbours: Option<&Neighbours>) {
        let terms = self.integers.len();
        let product = |line: &[f32]| line.iter().zip(&self.errors).map(|(one, other)| one * other).sum();
        self.slopes = covariance.chunks(terms).map(product).collect();
        for _ in 0..STEPS * terms {
            let Some((term, step)) = self.best(covariance, neighbours) else { break };
            let line = &covariance[term * terms..][..terms];
            self.slopes.iter_mut().zip(line).for_each(|(slope, value)| *slope += step * value);
            self.errors[term] += step;
            #[expect(clippy::cast_possible_truncation, reason = "kept within what a signed byte holds")]
            let moved = (f32::from(self.integers[term]) + step) as i8;
            self.integers[term] = moved;
        }
    }

    /// The least and the largest integer that a weight may become; it is one of them or between.
    #[expect(clippy::cast_precision_loss, reason = "128")]
    fn limits(&self, term: usize, neighbours: Option<&Neighbours>) -> [f32; 2] {
        let neighbour = neighbours.and_then(|neighbours| self.integers.get(neighbours.get(term)?));
        let beside = neighbour.map_or(0.0, |integer| f32::from(*integer));
        let most = LARGEST_SUM as f32;
        [(-LARGEST).max(-most - beside), LARGEST.min(most - beside)]
    }

    /// Which integer to move, and by how much, to lower `dᵀCd` the most: by `δ(2·slope + δ·variance)`.
    fn best(&self, covariance: &[f32], neighbours: Option<&Neighbours>) -> Option<(usize, f32)> {
        let variances = covariance.iter().step_by(self.integers.len() + 1);
        let mut best = (0.0, None);
        for (term, (slope, variance)) in self.slopes.iter().zip(variances).enumerate() {
            let integer = f32::from(self.integers[term]);
            let wanted = (-slope / variance).round();
            let [low, high] = self.limits(term, neighbours);
            let step = (integer + wanted).clamp(low, high) - integer;
            let change = step * (2.0 * slope + step * variance);
            // What rounding errors of the search itself could undo is not worth a step.
            if step != 0.0 && change < best.0 && change < -1e-4 * variance {
                best = (change, Some((term, step)));
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// `dᵀCd` of each filter, and the means lost.
    fn variances(values: &[f32], rounded: &SymmetricWeight, moment: &Moment) -> Vec<f64> {
        let terms = moment.terms;
        let filter = |(filter, integers): (&[f32], &[i8])| {
            let d: Vec<f64> = filter
                .iter()
                .zip(integers)
                .map(|(value, integer)| f64::from(f32::from(*integer) * rounded.scales[0] - value))
                .collect();
            let pairs = (0..terms).flat_map(|one| (0..terms).map(move |other| (one, other)));
            pairs.map(|(i, j)| d[i] * d[j] * f64::from(moment.covariance[i * terms + j])).sum()
        };
        values.chunks(terms).zip(rounded.integers.chunks(terms)).map(filter).collect()
    }

    /// Covariance and mean of rows of `terms` numbers.
    fn moment(rows: &[Vec<f32>], terms: usize) -> Moment {
        let count = rows.len() as f32;
        let mean: Vec<f32> = (0..terms).map(|i| rows.iter().map(|row| row[i]).sum::<f32>() / count).collect();
        let pair = |i: usize, j: usize| {
            rows.iter().map(|row| (row[i] - mean[i]) * (row[j] - mean[j])).sum::<f32>() / count
        };
        let covariance = (0..terms * terms).map(|at| pair(at / terms, at % terms)).collect();
        Moment { terms, mean, covariance }
    }

    #[test]
    fn equal_inputs_make_errors_cancel() {
        // Both weights lie 0.4 steps above an integer; on equal inputs one of them had better be rounded up.
        let values = [0.4, 0.4, 127.0];
        let moment = Moment {
            terms: 3,
            mean: vec![0.0; 3],
            covariance: vec![1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        };
        let mut rounded = SymmetricWeight::new(&values, Channels::First(1), true, &[], None);
        assert_eq!(rounded.integers, [0, 0, 127]);
        search(&values, Channels::First(1), &mut rounded, None, &moment, false);
        assert_eq!(rounded.integers.iter().map(|integer| i32::from(*integer)).sum::<i32>(), 128);
    }

    #[test]
    fn without_a_bias_the_mean_counts() {
        // All of it is mean: 0.4 and 0.4 on inputs of 1 give 0.8, which one step is nearer to than none.
        let values = [0.4, 0.4, 127.0];
        let moment = Moment { terms: 3, mean: vec![1.0, 1.0, 0.0], covariance: vec![0.0; 9] };
        let sum = |mean_counts| {
            let mut rounded = SymmetricWeight::new(&values, Channels::First(1), true, &[], None);
            search(&values, Channels::First(1), &mut rounded, None, &moment, mean_counts);
            rounded.integers.iter().map(|integer| i32::from(*integer)).sum::<i32>()
        };
        assert_eq!((sum(false), sum(true)), (127, 128));
    }

    #[test]
    fn the_mean_that_rounding_loses_is_found() {
        let values = [0.4, 10.0, 127.0, -3.6, 0.0, 127.0];
        let moment = Moment { terms: 3, mean: vec![2.0, 1.0, 0.5], covariance: Vec::new() };
        let rounded = SymmetricWeight::new(&values, Channels::First(2), true, &[], None);
        let lost = lost_mean(&values, Channels::First(2), &rounded, &moment).unwrap();
        assert!((lost[0] - 0.8).abs() < 1e-6 && (lost[1] - 0.8).abs() < 1e-6, "{lost:?}");
        let columns = [0.4, -3.6, 10.0, 0.0, 127.0, 127.0];
        let rounded = SymmetricWeight::new(&columns, Channels::Last(2), true, &[], None);
        assert_eq!(lost_mean(&columns, Channels::Last(2), &rounded, &moment).unwrap(), lost);
    }

    #[test]
    fn moments_of_another_layer_are_left_alone() {
        let values = [0.4, 0.4, 127.0, 1.0];
        let moment = Moment { terms: 3, mean: vec![1.0; 3], covariance: vec![1.0; 9] };
        let mut rounded = SymmetricWeight::new(&values, Channels::First(2), true, &[], None);
        let before = rounded.clone();
        search(&values, Channels::First(2), &mut rounded, None, &moment, false);
        assert_eq!(rounded, before);
        assert_eq!(lost_mean(&values, Channels::First(2), &rounded, &moment), None);
    }

    proptest! {
        #[test]
        fn the_search_never_ends_above_the_nearest(
            rows in prop::collection::vec(prop::collection::vec(-2.0_f32..2.0, 5), 3..20),
            values in prop::collection::vec(-1.0_f32..1.0, 15),
        ) {
            let moment = moment(&rows, 5);
            let nearest = SymmetricWeight::new(&values, Channels::First(3), false, &[], None);
            let mut searched = nearest.clone();
            search(&values, Channels::First(3), &mut searched, None, &moment, false);
            let trace: f64 = (0..5).map(|i| f64::from(moment.covariance[i * 6])).sum();
            let step = f64::from(nearest.scales[0]);
            let before = variances(&values, &nearest, &moment);
            for (before, after) in before.into_iter().zip(variances(&values, &searched, &moment)) {
                // The damped aim falls; its damping is at most this much.
                let damping = f64::from(DAMPING) * trace / 5.0 * 5.0 * step * step * 0.25;
                prop_assert!(after <= before + damping + 1e-9, "{before} {after}");
            }
        }
    }
}
