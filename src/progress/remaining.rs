//! Remaining time from what was foretold, corrected by observations of progress. Knows nothing of stages; the clock is the
//! caller's.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Observations closer together than this count as one.
const SPACING: Duration = Duration::from_millis(500);
/// How many observations the pace is taken from: at least the last minute and a half.
const KEPT: usize = 180;
/// Nothing is claimed from less than this.
const ENOUGH: Duration = Duration::from_secs(2);
/// Once so much of the whole was seen to be done, what was foretold counts no more: how it goes is known better.
const KNOWN: f64 = 0.1;

/// Watches a quantity grow and says how long it has still to go. What was there at the first observation (a
/// checkpoint that the stage continued from) does not count as fast progress.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remaining {
    seen: VecDeque<(Instant, f64)>,
    total: f64,
    /// How much was done at the first observation of this total.
    first: f64,
    /// When it began and how long it was foretold to take in all.
    foretold: Option<(Instant, Duration)>,
}

impl Remaining {
    /// Something that begins at `start` and takes as long as `usual_ms`, where that is known.
    pub(crate) fn foretold(start: Instant, usual_ms: Option<u64>) -> Self {
        let foretold = usual_ms.map(|usual| (start, Duration::from_millis(usual)));
        Self { foretold, ..Self::default() }
    }

    /// Takes note that `done` of `total` are done at `now`.
    pub(crate) fn observe(&mut self, now: Instant, done: f64, total: f64) {
        let went_back = self.seen.back().is_some_and(|(_, last)| done < *last);
        if went_back || total != self.total {
            self.seen.clear();
            (self.total, self.first) = (total, done);
        }
        let previous = self.seen.len().checked_sub(2).and_then(|index| self.seen.get(index)).map(|s| s.0);
        if previous.is_some_and(|previous| now.saturating_duration_since(previous) < SPACING) {
            self.seen.pop_back();
        }
        self.seen.push_back((now, done));
        if self.seen.len() > KEPT {
            self.seen.pop_front();
        }
    }

    /// Time still to go at `now`. `None` while that is not known.
    ///
    /// Until anything is observed it is the rest of what was foretold; the more is done, the more the pace of the observations
    /// counts, and from a tenth of the whole on that alone. What takes longer than foretold has no rest to tell of.
    pub(crate) fn at(&self, now: Instant) -> Option<Duration> {
        let rest = self.foretold.and_then(|(start, whole)| {
            let rest = whole.saturating_sub(now.saturating_duration_since(start));
            (!rest.is_zero()).then_some(rest)
        });
        match (self.by_pace(now), rest) {
            (Some(left), Some(rest)) => {
                let known = (self.seen.back()?.1 - self.first) / self.total / KNOWN;
                let known = if known.is_nan() { 1.0 } else { known.clamp(0.0, 1.0) };
                Some(left.mul_f64(known).saturating_add(rest.mul_f64(1.0 - known)))
            }
            (left, rest) => left.or(rest),
        }
    }

    /// Time still to go, if the pace of the kept observations goes on.
    fn by_pace(&self, now: Instant) -> Option<Duration> {
        let ((start, before), (end, done)) = (self.seen.front()?, self.seen.back()?);
        let took = end.saturating_duration_since(*start);
        let gained = done - before;
        if took < ENOUGH || gained <= 0.0 {
            return None;
        }
        let ahead = (self.total - done).max(0.0) / gained * took.as_secs_f64();
        let ahead = Duration::try_from_secs_f64(ahead).ok()?;
        Some(ahead.saturating_sub(now.saturating_duration_since(*end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn a_steady_pace_is_extrapolated_and_counts_down() {
        let start = Instant::now();
        let mut remaining = Remaining::default();
        assert_eq!(remaining.at(start), None);
        for second in 0..=10 {
            remaining.observe(start + seconds(second), second as f64, 40.0);
        }
        assert_eq!(remaining.at(start + seconds(10)), Some(seconds(30)));
        assert_eq!(remaining.at(start + seconds(15)), Some(seconds(25)));
        assert_eq!(remaining.at(start + seconds(100)), Some(Duration::ZERO));
    }

    #[test]
    fn what_was_done_before_does_not_count() {
        let start = Instant::now();
        let mut remaining = Remaining::default();
        remaining.observe(start, 100.0, 150.0);
        remaining.observe(start + seconds(10), 101.0, 150.0);
        assert_eq!(remaining.at(start + seconds(10)), Some(seconds(490)));
    }

    #[test]
    fn another_phase_starts_anew() {
        let start = Instant::now();
        let mut remaining = Remaining::default();
        remaining.observe(start, 0.0, 10.0);
        remaining.observe(start + seconds(5), 9.0, 10.0);
        remaining.observe(start + seconds(6), 1.0, 10.0);
        assert_eq!(remaining.at(start + seconds(6)), None);
        remaining.observe(start + seconds(9), 4.0, 10.0);
        assert_eq!(remaining.at(start + seconds(9)), Some(seconds(6)));
    }

    #[test]
    fn a_pace_is_that_of_the_recent_past() {
        let start = Instant::now();
        let mut remaining = Remaining::default();
        for second in 0..1000 {
            let done = if second < 500 { second as f64 } else { 500.0 + (second - 500) as f64 * 0.1 };
            remaining.observe(start + seconds(second), done, 1000.0);
        }
        let left = remaining.at(start + seconds(999)).unwrap().as_secs();
        assert!((4490..4520).contains(&left), "{left}");
    }

    #[test]
    fn what_was_foretold_counts_down_until_the_pace_is_known() {
        let start = Instant::now();
        let mut remaining = Remaining::foretold(start, Some(100_000));
        assert_eq!(remaining.at(start + seconds(5)), Some(seconds(95)));
        assert_eq!(remaining.at(start + seconds(100)), None, "it takes longer");
        // Twice as slow as foretold: 20 s for a tenth. Half of that says half as much as what was foretold.
        remaining.observe(start, 0.0, 100.0);
        remaining.observe(start + seconds(10), 5.0, 100.0);
        assert_eq!(remaining.at(start + seconds(10)), Some(seconds((190 + 90) / 2)));
        remaining.observe(start + seconds(20), 10.0, 100.0);
        assert_eq!(remaining.at(start + seconds(20)), Some(seconds(180)));
        remaining.observe(start + seconds(120), 60.0, 100.0);
        assert_eq!(remaining.at(start + seconds(120)), Some(seconds(80)), "beyond what was foretold");
    }

    #[test]
    fn what_was_done_before_is_no_sign_that_the_pace_is_known() {
        let start = Instant::now();
        let mut remaining = Remaining::foretold(start, Some(100_000));
        remaining.observe(start, 50.0, 100.0);
        remaining.observe(start + seconds(10), 55.0, 100.0);
        assert_eq!(remaining.at(start + seconds(10)), Some(seconds(90)));
        remaining.observe(start + seconds(12), 55.5, 100.0);
        let left = remaining.at(start + seconds(12)).unwrap();
        assert!(left > seconds(87) && left < seconds(98), "{left:?}");
    }

    #[test]
    fn absurd_numbers_give_nothing() {
        let start = Instant::now();
        let mut remaining = Remaining::default();
        remaining.observe(start, 0.0, f64::MAX);
        remaining.observe(start + seconds(9), f64::MIN_POSITIVE, f64::MAX);
        assert_eq!(remaining.at(start), None);
        remaining.observe(start, f64::NAN, f64::NAN);
        assert_eq!(remaining.at(start), None);
    }
}
