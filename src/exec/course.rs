//! How an execution went along, by what it reported of its progress: how long the work took of which it told, and how much of
//! it that was. Knows no clock but the moments that it is given.

use std::time::{Duration, Instant};

use protocol::Progress;
use record::Pace;
use text::clock::millis;

/// Watches one bar from its first report to its last.
#[derive(Debug)]
pub(super) struct Course {
    began: Instant,
    bar: Bar,
}

#[derive(Debug)]
enum Bar {
    /// Nothing was reported yet.
    Unseen,
    /// What is counted, how many there are, and the first and the last report.
    One { unit: String, total: f64, first: (Instant, f64), last: (Instant, f64) },
    /// Several, one after the other: what each of them would take for other params cannot be told.
    Several,
}

impl Course {
    /// An execution that begins at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, bar: Bar::Unseen }
    }

    /// Takes note of a report.
    pub(super) fn observe(&mut self, now: Instant, progress: &Progress) {
        let Progress { done, total, unit, .. } = progress;
        match &mut self.bar {
            Bar::Unseen => {
                let seen = (now, *done);
                self.bar = Bar::One { unit: unit.clone(), total: *total, first: seen, last: seen };
            }
            Bar::One { unit: known, total: of, last, .. }
                if known == unit && of == total && *done >= last.1 =>
            {
                *last = (now, *done);
            }
            Bar::One { .. } => self.bar = Bar::Several,
            Bar::Several => {}
        }
    }

    /// What it came to; `None` where nothing was reported from which that could be told.
    ///
    /// What was done before the first report is work of this execution as far as it could have done it by then, at the pace
    /// that it went on with. The rest was there before.
    pub(super) fn pace(&self) -> Option<Pace> {
        let Bar::One { total, first, last, .. } = &self.bar else { return None };
        let took = last.0.saturating_duration_since(first.0).as_secs_f64();
        let per_second = (last.1 - first.1) / took;
        if !(per_second.is_finite() && per_second > 0.0 && *total > 0.0) {
            return None;
        }
        let before = first.0.saturating_duration_since(self.began).as_secs_f64();
        let own = first.1.clamp(0.0, per_second * before);
        let work = Duration::try_from_secs_f64(took + own / per_second).ok()?;
        let share = 1.0 - (first.1 - own) / total;
        (share.is_finite() && share > 0.0).then(|| Pace { work_ms: millis(work), share: share.min(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of reports: milliseconds, done, total and unit.
    fn pace(reports: &[(u64, f64, f64, &str)]) -> Option<Pace> {
        let began = Instant::now();
        let mut course = Course::new(began);
        for (ms, done, total, unit) in reports {
            let progress = Progress {
                done: *done,
                total: *total,
                unit: (*unit).into(),
                text: String::new(),
                milestone: false,
            };
            course.observe(began + Duration::from_millis(*ms), &progress);
        }
        course.pace()
    }

    #[test]
    fn loading_is_no_work() {
        let told = [(5_000, 0.0, 4.0, "epoch"), (6_000, 1.0, 4.0, "epoch"), (9_000, 4.0, 4.0, "epoch")];
        assert_eq!(pace(&told), Some(Pace { work_ms: 4_000, share: 1.0 }));
    }

    #[test]
    fn what_was_done_before_the_first_report_is_its_own_where_it_had_the_time() {
        let told = [(2_000, 1.0, 2.0, "image"), (4_000, 2.0, 2.0, "image")];
        assert_eq!(pace(&told), Some(Pace { work_ms: 4_000, share: 1.0 }));
        let told = [(1_000, 60.0, 100.0, "epoch"), (5_000, 100.0, 100.0, "epoch")];
        assert_eq!(pace(&told), Some(Pace { work_ms: 5_000, share: 0.5 }), "50 were there");
    }

    #[test]
    fn one_that_ends_early_did_all_that_there_was_to_do() {
        let told = [(0, 0.0, 75.0, "epoch"), (20_000, 20.0, 75.0, "epoch")];
        assert_eq!(pace(&told), Some(Pace { work_ms: 20_000, share: 1.0 }));
    }

    #[test]
    fn of_several_bars_and_of_nonsense_nothing_is_told() {
        assert_eq!(pace(&[]), None);
        assert_eq!(pace(&[(0, 0.0, 9.0, "MB")]), None);
        assert_eq!(pace(&[(0, 0.0, 9.0, "MB"), (10, 9.0, 9.0, "MB"), (20, 1.0, 5.0, "image")]), None);
        assert_eq!(pace(&[(0, 5.0, 9.0, "MB"), (10, 2.0, 9.0, "MB"), (20, 9.0, 9.0, "MB")]), None);
        assert_eq!(pace(&[(0, 0.0, f64::NAN, "MB"), (9, 1.0, f64::NAN, "MB")]), None);
        assert_eq!(pace(&[(0, 0.0, 0.0, "MB"), (9, f64::INFINITY, 0.0, "MB")]), None);
        assert_eq!(pace(&[(0, 1e300, 1.0, "MB"), (9, 2e300, 1.0, "MB")]), None);
    }
}
