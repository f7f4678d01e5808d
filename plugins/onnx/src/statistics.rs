//! Medians, quantiles and 95 % intervals. Knows numbers, not what they measure.

/// Two-sided 95 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Fewest values whose median has a 95 % interval: of five, the smallest and the largest hold it with 93.75 %.
pub(crate) const FEWEST_ROUNDS: usize = 6;

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

/// 95 % interval of the median of what the values are drawn from, whatever its distribution: from the k-th smallest value to
/// the k-th largest, with the largest k for which it holds the median with at least 95 % (the sign test turned round; W. J.
/// Conover, "Practical nonparametric statistics", section 3.2). None of fewer than [`FEWEST_ROUNDS`].
pub(crate) fn median_interval(values: &[f64]) -> Option<[f64; 2]> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    // Logarithm of the probability that exactly `below` of the values lie below the median.
    let (mut below, mut tail) = (0, 0.0);
    let mut log_share = -(count as f64) * std::f64::consts::LN_2;
    loop {
        tail += log_share.exp();
        if 2.0 * tail > 0.05 {
            break;
        }
        log_share += ((count - below) as f64 / (below + 1) as f64).ln();
        below += 1;
    }
    let place = below.checked_sub(1)?;
    Some([*sorted.get(place)?, *sorted.get(count - 1 - place)?])
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

    /// The ranks are those of tables of the sign test.
    #[test]
    fn the_interval_of_a_median_lies_between_two_of_the_values() {
        let ends = |count: u32| median_interval(&(1..=count).map(f64::from).collect::<Vec<_>>());
        for few in 0..FEWEST_ROUNDS {
            assert_eq!(ends(u32::try_from(few).unwrap()), None);
        }
        assert_eq!(ends(6), Some([1.0, 6.0]));
        assert_eq!(ends(8), Some([1.0, 8.0]));
        assert_eq!(ends(9), Some([2.0, 8.0]));
        assert_eq!(ends(12), Some([3.0, 10.0]));
        assert_eq!(ends(25), Some([8.0, 18.0]));
        let [low, high] = ends(100_000).unwrap();
        assert!((49_600.0..49_800.0).contains(&low) && low + high == 100_001.0, "[{low}, {high}]");
    }

    /// Of a thousand samples, the interval holds the median of the distribution in at least 95 %, but for chance.
    #[test]
    fn the_interval_of_a_median_holds_it_as_often_as_it_says() {
        use rand::{Rng, SeedableRng};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for rounds in [6, 7, 9, 15] {
            let held = (0..1000).filter(|_| {
                // Skewed, as times are: its median is a quarter.
                let times: Vec<f64> = (0..rounds).map(|_| rng.random::<f64>().powi(2)).collect();
                median_interval(&times).is_some_and(|[low, high]| low <= 0.25 && 0.25 <= high)
            });
            let held = held.count();
            assert!(held >= 935, "{rounds} rounds: {held} of 1000");
        }
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
}
