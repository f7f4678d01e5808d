//! Time: of the wall clock, for records and names, and as it passes while this process is awake. Never part of a key.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 (UTC).
#[must_use]
pub fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A duration in whole milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long this process has slept.
struct Sleep {
    total: Duration,
    /// When it fell asleep, if it has not noticed yet that it was woken.
    since: Option<Instant>,
}

static SLEEP: Mutex<Sleep> = Mutex::new(Sleep { total: Duration::ZERO, since: None });

fn sleep() -> MutexGuard<'static, Sleep> {
    SLEEP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts this process to sleep by calling `suspend`, which returns when it is woken. No stopwatch goes on meanwhile.
pub fn while_asleep(suspend: impl FnOnce()) {
    sleep().since = Some(Instant::now());
    suspend();
    let mut sleep = sleep();
    if let Some(since) = sleep.since.take() {
        sleep.total += since.elapsed();
    }
}

/// Measures time in which this process was not asleep.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    begin: Instant,
    /// How long this process had slept when it began.
    slept: Duration,
}

impl Stopwatch {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { begin: Instant::now(), slept: sleep().total }
    }

    /// The time since it began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let sleep = sleep();
        let until = sleep.since.unwrap_or_else(Instant::now);
        until.saturating_duration_since(self.begin).saturating_sub(sleep.total.saturating_sub(self.slept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopwatch_stands_still_while_the_process_sleeps() {
        let watch = Stopwatch::start();
        let mut before = Duration::ZERO;
        let spin = |until: Duration| {
            let begin = Instant::now();
            while begin.elapsed() < until {
                std::hint::spin_loop();
            }
        };
        while_asleep(|| {
            before = watch.elapsed();
            spin(Duration::from_millis(20));
            assert_eq!(watch.elapsed(), before, "before it is noticed that the sleep is over");
        });
        let total = watch.begin.elapsed();
        assert!(total - watch.elapsed() >= Duration::from_millis(20));
        spin(Duration::from_millis(1));
        assert!(watch.elapsed() > before);
    }
}
