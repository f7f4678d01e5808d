//! Medians, quantiles and 95 % intervals. Knows numbers, not what they measure.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Two-sided 95 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

const RESAMPLES: usize = 10_000;

/// Fewest rounds that a bootstrap interval says anything of.
pub(crate) const FEWEST_ROUNDS: usize = 3;

/// The `share` quantile (0 to 1) with linear interpolation between order statistics; none of no values.
pub(crate) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, share)
}

/// The median; none of no values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

fn quantile_of_sorted(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place.floor();
    let low = sorted.get(below as usize)?;
    let high = sorted.get((below as usize + 1).min(last))?;
    Some(low + (high - low) * (place - below))
}

/// 95 % percentile-bootstrap interval of `statistic` over `rounds` rounds: it is handed round indices drawn
/// with replacement. Same seed, same interval. None of fewer than [`FEWEST_ROUNDS`], or where the statistic of some draw
/// is none.
pub(crate) fn bootstrap(
    rounds: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Option<[f64; 2]> {
    if rounds < FEWEST_ROUNDS {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = vec![0; rounds];
    let mut outcomes = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        draw.fill_with(|| rng.random_range(0..rounds));
        outcomes.push(statistic(&draw)?);
    }
    outcomes.sort_by(f64::total_cmp);
    Some([quantile_of_sorted(&outcomes, 0.025)?, quantile_of_sorted(&outcomes, 0.975)?])
}

/// Points of accuracy lost between two classifiers on the same `total` images, with a 95 % interval: Agresti and
/// Min's (2005) interval for matched pairs, half a count added to each cell of the 2×2 table. `lost` images only
/// the first gets right, `won` only the second.
pub(crate) fn paired_drop(lost: u64, won: u64, total: u64) -> (f64, [f64; 2]) {
    let (lost, won, total) = (lost as f64, won as f64, total as f64);
    let drop = if total > 0.0 { 100.0 * (lost - won) / total } else { 0.0 };
    let (lost, won, total) = (lost + 0.5, won + 0.5, total + 2.0);
    let difference = lost - won;
    let half = Z * (lost + won - difference * difference / total).sqrt();
    let end = |value: f64| (100.0 * value / total).clamp(-100.0, 100.0);
    (drop, [end(difference - half), end(difference + half)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(quantile(&[0.0, 10.0], 0.95), Some(9.5));
        assert_eq!(quantile(&[7.0], 0.95), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_bootstrap_repeats_and_holds_the_estimate() {
        let rounds = [10.0, 11.0, 9.0, 10.5, 9.5, 10.2, 9.8];
        let statistic = |draw: &[usize]| median(&draw.iter().map(|&i| rounds[i]).collect::<Vec<_>>());
        let interval = bootstrap(rounds.len(), 42, statistic).unwrap();
        assert_eq!(bootstrap(rounds.len(), 42, statistic), Some(interval));
        assert!(interval[0] < 10.0 && 10.0 < interval[1], "{interval:?}");
        assert!(interval[0] >= 9.0 && interval[1] <= 11.0, "{interval:?}");
    }

    #[test]
    fn a_bootstrap_of_equal_rounds_is_a_point_and_of_too_few_is_none() {
        assert_eq!(bootstrap(5, 1, |_| Some(2.0)), Some([2.0, 2.0]));
        assert_eq!(bootstrap(3, 1, |_| Some(2.0)), Some([2.0, 2.0]));
        for few in 0..FEWEST_ROUNDS {
            assert_eq!(bootstrap(few, 1, |_| Some(2.0)), None);
        }
        assert_eq!(bootstrap(5, 1, |_| None), None);
    }

    /// b = 6, c = 2, n = 100: (6 − 2)/102 ± z·√(9 − 16/102)/102, by hand.
    #[test]
    fn the_paired_interval_is_agresti_and_mins() {
        let (drop, [low, high]) = paired_drop(6, 2, 100);
        assert!((drop - 4.0).abs() < 1e-12);
        assert!((low + 1.792).abs() < 2e-3 && (high - 9.635).abs() < 2e-3, "[{low}, {high}]");
    }

    #[test]
    fn no_discordant_pair_leaves_doubt_and_the_ends_stay_in_range() {
        let (drop, [low, high]) = paired_drop(0, 0, 1000);
        assert_eq!(drop, 0.0);
        assert!(low < 0.0 && 0.0 < high && (low + high).abs() < 1e-12);
        let (drop, [low, high]) = paired_drop(10, 0, 10);
        assert!(drop <= high && high <= 100.0 && low > 0.0);
    }
}
