//! How one plugin asks another to time a model: `pipe-NAME time` reads one [`TimeRequest`] as a line of JSON on
//! standard input, prints one [`TimeResult`] as a line of JSON for each batch size, in the order asked, and exits.
//! [`time_calls`] is the loop that both plugins time with.
//!
//! A process of its own for each model, so that no other runtime's threads spin meanwhile. An error ends it with
//! a non-zero exit code and one line on standard error. Standard output holds nothing but results. What the
//! numbers are compared with, and how often, is the caller's business.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Fewest calls that a window of the warm-up has.
const WINDOW_CALLS: usize = 5;

/// Shortest time that a window of the warm-up takes, in milliseconds.
const WINDOW_MS: f64 = 25.0;

/// Calls that are a window, too, where each takes at least so many milliseconds.
const SLOW_CALLS: usize = 2;
const SLOW_MS: f64 = 250.0;

/// Share by which a window's median must be below that of the one before to count as lower.
const LOWER: f64 = 0.01;

/// Windows after which a warm-up ends where calls still become faster.
const MOST_WINDOWS: usize = 10;

/// What to time and how. The input is random: normal values from `seed`, made anew for each batch size; or it is arrays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeRequest {
    /// The model's file: `.onnx`, or `.safetensors` weights with their network in the metadata.
    pub model: PathBuf,
    /// Files that hold weights of the model, by the location that it names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, PathBuf>,
    /// Where given, the arrays that the model is timed on, by the names of its inputs, and over again where they have fewer samples
    /// than a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrays: Option<PathBuf>,
    /// Where given, height and width of the images where the model leaves them open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[usize; 2]>,
    /// Images (or samples of arrays) per call; at least one batch size, none of them 0.
    pub batches: Vec<usize>,
    /// Threads that one call may use; at least 1.
    pub threads: usize,
    /// Fewest calls before the first timed one, for each batch size; see [`time_calls`].
    pub warmup_calls: usize,
    /// Timed calls for each batch size; at least 1.
    pub calls: usize,
    /// Seed of the random input.
    pub seed: u64,
}

/// The times of one batch size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeResult {
    /// Images (or samples of arrays) per call.
    pub batch: usize,
    /// Calls before the first timed one.
    pub warmup_calls: usize,
    /// Wall time of each timed call in milliseconds, in the order taken.
    pub times_ms: Vec<f64>,
    /// Wall time in milliseconds from the start of reading the file to a model ready for its first call.
    pub load_ms: f64,
    /// `load_ms` and the wall time of the first call with this batch size: how long the first result takes.
    pub first_result_ms: f64,
    /// Largest resident memory of the process so far in KB (1,024 bytes), where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_kb: Option<u64>,
    /// How often a thread of the process was made to wait during the timed calls so that another could run, where the
    /// system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switches: Option<u64>,
}

impl TimeResult {
    /// The times of a batch size, of a model that took `load_ms` to load, and what the process has used until now.
    #[must_use]
    pub fn new(batch: usize, load_ms: f64, calls: CallTimes) -> Self {
        let CallTimes { first_ms, warmup_calls, times_ms, switches } = calls;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            batch,
            warmup_calls,
            times_ms,
            load_ms,
            first_result_ms: load_ms + first_ms,
            peak_memory_kb: field(&status, "VmHWM"),
            switches,
        }
    }
}

/// How long calls took, the first one, those of the warm-up and those after it.
#[derive(Debug, Clone, PartialEq)]
pub struct CallTimes {
    /// The first call of all, in milliseconds.
    pub first_ms: f64,
    /// Calls before the first timed one, the first of all included.
    pub warmup_calls: usize,
    /// The timed calls in milliseconds, in the order taken.
    pub times_ms: Vec<f64>,
    /// Involuntary context switches of all threads during the timed calls, where the system tells.
    pub switches: Option<u64>,
}

/// Calls until it is warm, at least `warmup_calls` times, then times `calls` calls.
///
/// Calls of the warm-up are gathered in windows of at least 5 calls and 25 ms, or of two where each takes a quarter of a
/// second. It is warm when the median of a window is no more than 1 % below that of the window before, and taken for
/// warm after ten windows, for calls that never settle.
///
/// # Errors
/// The first error of a call.
pub fn time_calls<E>(
    warmup_calls: usize,
    calls: usize,
    mut call: impl FnMut() -> Result<(), E>,
) -> Result<CallTimes, E> {
    let mut timed = || -> Result<f64, E> {
        let start = Instant::now();
        call()?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let mut warmup = Warmup::new(warmup_calls);
    let first_ms = timed()?;
    warmup.add(first_ms);
    while !warmup.is_over() {
        warmup.add(timed()?);
    }
    let before = switches();
    let times_ms = (0..calls).map(|_| timed()).collect::<Result<_, E>>()?;
    let switches = before.zip(switches()).map(|(before, after)| after.saturating_sub(before));
    Ok(CallTimes { first_ms, warmup_calls: warmup.calls, times_ms, switches })
}

/// Involuntary context switches of the threads of this process that are alive.
fn switches() -> Option<u64> {
    let threads = fs::read_dir("/proc/self/task").ok()?.flatten();
    let of_thread = |folder: fs::DirEntry| {
        let status = fs::read_to_string(folder.path().join("status")).ok()?;
        field(&status, "nonvoluntary_ctxt_switches")
    };
    threads.filter_map(of_thread).reduce(|sum, next| sum + next)
}

/// A number in the text of a `/proc/PID/status`; its unit, if it has one, is `kB`.
fn field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.trim();
    value.strip_suffix("kB").unwrap_or(value).trim().parse().ok()
}

/// Tells when a model is warm, as [`time_calls`] says.
struct Warmup {
    least: usize,
    calls: usize,
    windows: usize,
    window: Vec<f64>,
    window_ms: f64,
    before: Option<f64>,
    settled: bool,
}

impl Warmup {
    /// A warm-up of at least `least` calls, of which there was none yet.
    fn new(least: usize) -> Self {
        Self { least, calls: 0, windows: 0, window: Vec::new(), window_ms: 0.0, before: None, settled: false }
    }

    /// Another call took `ms` milliseconds.
    fn add(&mut self, ms: f64) {
        self.calls += 1;
        self.window.push(ms);
        self.window_ms += ms;
        let full = self.window.len() >= WINDOW_CALLS && self.window_ms >= WINDOW_MS;
        let slow = self.window.len() >= SLOW_CALLS && self.window.iter().all(|ms| *ms >= SLOW_MS);
        if !full && !slow {
            return;
        }
        self.window.sort_by(f64::total_cmp);
        let median = self.window.get(self.window.len() / 2).copied();
        self.settled = self.before.zip(median).is_some_and(|(before, now)| now >= before * (1.0 - LOWER));
        self.before = median;
        self.windows += 1;
        self.window.clear();
        self.window_ms = 0.0;
    }

    /// Whether calls may be timed now.
    fn is_over(&self) -> bool {
        self.calls >= self.least && (self.settled || self.windows >= MOST_WINDOWS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many calls are warm-up if they take these times.
    fn calls(least: usize, times: impl Iterator<Item = f64>) -> usize {
        let mut warmup = Warmup::new(least);
        let mut times = times;
        while !warmup.is_over() {
            warmup.add(times.next().unwrap());
        }
        warmup.calls
    }

    #[test]
    fn steady_calls_are_warm_after_two_windows() {
        assert_eq!(calls(0, std::iter::repeat(30.0)), 10);
        // 25 calls of 1 ms are a window.
        assert_eq!(calls(3, std::iter::repeat(1.0)), 50);
        let slower = [10.0; 5].into_iter().chain(std::iter::repeat(20.0));
        assert_eq!(calls(0, slower), 10);
    }

    #[test]
    fn slow_calls_are_not_made_often_to_warm_up() {
        assert_eq!(calls(0, std::iter::repeat(300.0)), 4);
    }

    #[test]
    fn it_goes_on_while_the_median_falls() {
        let falling = [40.0, 30.0, 20.0, 19.9, 1.0].into_iter().flat_map(|ms| [ms; 5]);
        assert_eq!(calls(0, falling), 20);
    }

    #[test]
    fn one_slow_call_in_a_window_is_nothing() {
        let times = [900.0, 10.0, 10.0, 10.0, 10.0].into_iter().cycle();
        assert_eq!(calls(0, times), 10);
    }

    #[test]
    fn it_ends_after_ten_windows_but_not_before_the_least() {
        let falling = || (1..1000).map(|place| 240.0 * 0.99_f64.powi(place));
        assert_eq!(calls(0, falling()), 50);
        assert_eq!(calls(73, falling()), 73);
    }

    #[test]
    fn numbers_are_found_by_their_whole_names() {
        let status = "VmPeak:\t 99 kB\nVmHWM:\t  1234 kB\nnonvoluntary_ctxt_switches:\t17\n";
        assert_eq!(field(status, "VmHWM"), Some(1234));
        assert_eq!(field(status, "nonvoluntary_ctxt_switches"), Some(17));
        assert_eq!(field(status, "Vm"), None);
        assert_eq!(field("VmHWM: much\n", "VmHWM"), None);
    }

    #[test]
    fn the_first_call_is_cold_and_not_among_those_timed() {
        let mut count = 0;
        let times = time_calls(70, 4, || {
            count += 1;
            std::hint::black_box((0..100_000).sum::<u64>());
            Ok::<_, ()>(())
        });
        let times = times.unwrap();
        assert_eq!(count, times.warmup_calls + 4);
        assert!(times.warmup_calls >= 70 && times.times_ms.len() == 4 && times.first_ms >= 0.0);
        assert!(cfg!(not(target_os = "linux")) || times.switches.is_some());
        assert_eq!(time_calls(1, 1, || Err("broken")), Err("broken"));
        let result = TimeResult::new(8, 5.0, CallTimes { first_ms: 2.5, ..times });
        assert_eq!((result.batch, result.load_ms, result.first_result_ms), (8, 5.0, 7.5));
        assert!(cfg!(not(target_os = "linux")) || result.peak_memory_kb.is_some_and(|kb| kb > 0));
    }
}
