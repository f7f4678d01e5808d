//! From executions of known size to how long another one takes: a fixed part (start, loading, writing) and one in proportion
//! to the work. Knows numbers only.
//!
//! In proportion alone would be wrong both ways: a short trial that mostly loaded would make a long training look longer than
//! it is, and a long one would make a trial look like nothing. The fixed part is taken from what each execution reported of
//! its progress; without that, from executions of different sizes; without that, too, all of the time counts as work, so that
//! what is larger is rather said to take too long, but what is smaller not to take less than a start does.

use std::time::Duration;

use record::Pace;
use text::clock::millis;

/// Sizes that are so many times apart tell the fixed part from the rest.
const APART: f64 = 2.0;
/// An execution that took longer took as much for its start, as far as is known: a process, its libraries, its data.
const START_MS: f64 = 2_000.0;

/// An execution, and how many times as much work as its whole work the new one is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    pub(super) duration_ms: u64,
    pub(super) pace: Option<Pace>,
    pub(super) ratio: f64,
}

/// How long it takes, in whole milliseconds, where all but a share of the work is done already: the median of what the
/// samples say.
pub(super) fn predict(samples: &[Sample], done: f64) -> Option<u64> {
    let left = (1.0 - done).clamp(0.0, 1.0);
    let paced: Vec<f64> = samples.iter().filter_map(|sample| paced(sample, left)).collect();
    let predicted = match (paced.is_empty(), fit(samples)) {
        (false, _) => median(&paced)?,
        (true, Some((fixed, work))) => fixed + work * left,
        (true, None) => median(&samples.iter().map(|sample| scaled(sample, left)).collect::<Vec<_>>())?,
    };
    Duration::try_from_secs_f64(predicted / 1e3).ok().map(millis)
}

/// By the part of a sample's time that was work.
fn paced(sample: &Sample, left: f64) -> Option<f64> {
    let Pace { work_ms, share } = sample.pace?;
    let fixed = sample.duration_ms.saturating_sub(work_ms) as f64;
    let whole = work_ms as f64 / share * sample.ratio;
    Some(fixed + whole * left).filter(|predicted| predicted.is_finite())
}

/// Where all of its time counts as work.
fn scaled(sample: &Sample, left: f64) -> f64 {
    let took = sample.duration_ms as f64;
    (took * sample.ratio * left).max(took.min(START_MS).min(took * sample.ratio.max(1.0)))
}

/// The fixed part and that of the whole new work, where sizes are far enough apart: the line whose slope is the median of
/// those through two samples each (Theil and Sen), so that one that was disturbed does not turn it. Neither part is negative.
fn fit(samples: &[Sample]) -> Option<(f64, f64)> {
    let points: Vec<(f64, f64)> = samples
        .iter()
        .filter(|sample| sample.ratio > 0.0)
        .map(|sample| (1.0 / sample.ratio, sample.duration_ms as f64))
        .collect();
    let mut slopes = Vec::new();
    for (index, (size, took)) in points.iter().enumerate() {
        for (other, also) in points.iter().skip(index + 1) {
            if size.max(*other) >= APART * size.min(*other) {
                slopes.push((also - took) / (other - size));
            }
        }
    }
    let slope = median(&slopes)?.max(0.0);
    let fixed = median(&points.iter().map(|(size, took)| took - slope * size).collect::<Vec<_>>())?;
    if fixed >= 0.0 {
        return Some((fixed, slope));
    }
    let per_size = median(&points.iter().map(|(size, took)| took / size).collect::<Vec<_>>())?;
    Some((0.0, per_size))
}

/// The middle one; of an even number the mean of the middle two.
pub(super) fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(lower.midpoint(*upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An execution that took so long, and how many times its work the new one is.
    fn sample(duration_ms: u64, ratio: f64) -> Sample {
        Sample { duration_ms, pace: None, ratio }
    }

    fn paced(duration_ms: u64, work_ms: u64, share: f64, ratio: f64) -> Sample {
        Sample { duration_ms, pace: Some(Pace { work_ms, share }), ratio }
    }

    #[test]
    fn the_middle_counts() {
        assert_eq!(predict(&[], 0.0), None);
        assert_eq!(predict(&[sample(7, 1.0)], 0.0), Some(7));
        assert_eq!(predict(&[30, 1, 2].map(|took| sample(took, 1.0)), 0.0), Some(2));
        assert_eq!(predict(&[4, 1, 100, 2].map(|took| sample(took, 1.0)), 0.0), Some(3));
    }

    #[test]
    fn what_was_no_work_stays_as_it_is() {
        // 5 s of loading and 5 s of work: twelve times the work takes 65 s, a fifth of it 6 s.
        assert_eq!(predict(&[paced(10_000, 5_000, 1.0, 12.0)], 0.0), Some(65_000));
        assert_eq!(predict(&[paced(10_000, 5_000, 1.0, 0.2)], 0.0), Some(6_000));
        // One that went on in the middle did half of the work in 5 s.
        assert_eq!(predict(&[paced(10_000, 5_000, 0.5, 1.0)], 0.0), Some(15_000));
        // Where others say what was work, those that do not are left out.
        assert_eq!(predict(&[sample(9_000, 12.0), paced(10_000, 5_000, 1.0, 12.0)], 0.0), Some(65_000));
    }

    #[test]
    fn what_is_done_takes_no_time_again() {
        assert_eq!(predict(&[paced(10_000, 5_000, 1.0, 12.0)], 0.5), Some(35_000));
        assert_eq!(predict(&[paced(10_000, 5_000, 1.0, 12.0)], 1.0), Some(5_000));
        assert_eq!(predict(&[sample(100_000, 1.0)], 0.75), Some(25_000));
        assert_eq!(predict(&[sample(11_000, 0.1), sample(20_000, 0.05)], 1.0), Some(2_000));
    }

    #[test]
    fn two_sizes_tell_the_fixed_part_from_the_rest() {
        // 2 s and a second for each of 1, 5 and 10: 2 + 100 s for 100.
        let samples = [sample(3_000, 100.0), sample(7_000, 20.0), sample(12_000, 10.0)];
        assert_eq!(predict(&samples, 0.0), Some(102_000));
        let disturbed = [samples.as_slice(), &[sample(60_000, 20.0)]].concat();
        assert!((102_000..112_000).contains(&predict(&disturbed, 0.0).unwrap()));
        // Sizes that hardly differ say nothing of it.
        assert_eq!(predict(&[sample(10_000, 10.0), sample(10_500, 9.0)], 0.0), Some(97_250));
        // A larger one that took less: of the time nothing is known to be work.
        assert_eq!(predict(&[sample(10_000, 1.0), sample(8_000, 0.1)], 0.0), Some(9_000));
        // More than in proportion: none of it is known to be fixed.
        assert_eq!(predict(&[sample(120_000, 1.0), sample(1_800_000, 6.0 / 75.0)], 0.0), Some(132_000));
    }

    #[test]
    fn what_is_smaller_takes_no_less_than_a_start() {
        assert_eq!(predict(&[sample(1_800_000, 1.0 / 75.0)], 0.0), Some(24_000));
        assert_eq!(predict(&[sample(60_000, 0.01)], 0.0), Some(2_000));
        assert_eq!(predict(&[sample(900, 0.01)], 0.0), Some(900));
        assert_eq!(predict(&[sample(900, 0.0)], 0.0), Some(900));
    }

    #[test]
    fn what_is_beyond_all_clocks_is_not_known() {
        assert_eq!(predict(&[sample(u64::MAX, 1e300)], 0.0), None);
        assert_eq!(predict(&[paced(u64::MAX, u64::MAX, 1e-300, 1e300)], 0.0), None);
    }
}
