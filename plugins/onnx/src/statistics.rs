//! Medians, quantiles and 95 % intervals. Knows numbers, not what they measure.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Binomial, Distribution};

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

/// Exact two-sided p-value of McNemar's test, not the mid-p one: how likely at least so uneven a split of the `lost + won`
/// images is on which two classifiers differ, if neither is better, which is a binomial of one half. 1 where they never
/// differ.
///
/// Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages", 1947.
pub(crate) fn mcnemar_exact(lost: u64, won: u64) -> f64 {
    let (fewer, total) = (lost.min(won), lost + won);
    // Logarithm of the probability of exactly `fewer`: sums of logarithms do not underflow.
    let log_choose: f64 = (1..=fewer).map(|k| (((total - fewer + k) as f64) / k as f64).ln()).sum();
    let mut term = (log_choose - total as f64 * std::f64::consts::LN_2).exp();
    let mut tail = term;
    for k in (1..=fewer).rev() {
        term *= k as f64 / (total - k + 1) as f64;
        tail += term;
    }
    (2.0 * tail).min(1.0)
}

/// As many draws with replacement from cells of these counts as there are in all: how often each cell was drawn. None of
/// nothing.
pub(crate) fn multinomial(counts: &[u64], rng: &mut ChaCha8Rng) -> Option<Vec<u64>> {
    let total: u64 = counts.iter().sum();
    let (mut draws, mut left) = (total, total);
    let mut draw = |&count: &u64| {
        // Of the draws that are left, those that this cell gets of the cells that are left.
        let share = if left > 0 { count as f64 / left as f64 } else { 0.0 };
        let drawn = Binomial::new(draws, share).ok()?.sample(rng);
        draws -= drawn;
        left -= count;
        Some(drawn)
    };
    if total == 0 { None } else { counts.iter().map(&mut draw).collect() }
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

    /// Small ones by hand; the last two are sums of exact fractions.
    #[test]
    fn the_exact_test_of_mcnemar() {
        let close = |got: f64, want: f64| (got - want).abs() <= 1e-9 * want;
        assert!(close(mcnemar_exact(0, 0), 1.0));
        assert!(close(mcnemar_exact(1, 0), 1.0));
        assert!(close(mcnemar_exact(0, 5), 2.0 / 32.0));
        assert!(close(mcnemar_exact(6, 2), 0.2890625), "{}", mcnemar_exact(6, 2));
        assert!(close(mcnemar_exact(2, 6), mcnemar_exact(6, 2)));
        assert!(close(mcnemar_exact(10, 10), 1.0));
        assert!(close(mcnemar_exact(60, 40), 0.05688793364098079), "{}", mcnemar_exact(60, 40));
        assert!(close(mcnemar_exact(900, 700), 6.319484959450139e-07), "{}", mcnemar_exact(900, 700));
        let certain = mcnemar_exact(10_000, 0);
        assert!((0.0..1e-300).contains(&certain));
    }

    #[test]
    fn a_multinomial_draws_as_many_as_there_are_in_the_right_shares() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let counts = [600, 0, 300, 100];
        let mut sums = [0; 4];
        for _ in 0..1000 {
            let drawn = multinomial(&counts, &mut rng).unwrap();
            assert_eq!(drawn.iter().sum::<u64>(), 1000);
            assert_eq!(drawn[1], 0);
            sums.iter_mut().zip(drawn).for_each(|(sum, drawn)| *sum += drawn);
        }
        // Means of 1,000 draws whose standard deviation is at most 15.5: four standard errors are 2.
        for (sum, count) in sums.into_iter().zip(counts) {
            assert!((sum as f64 / 1000.0 - count as f64).abs() < 2.0, "{sums:?}");
        }
        assert_eq!(multinomial(&[0, 0], &mut rng), None);
        assert_eq!(multinomial(&[7], &mut rng), Some(vec![7]));
    }
}
