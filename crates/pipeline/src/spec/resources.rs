//! What a stage needs of the machine, and how long and how often it may try. Knows units; knows no machine.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::Threads;
use serde::{Deserialize, Serialize};

/// What a stage needs while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Threads.
    pub cpus: Cpus,
    /// GPUs of its own.
    pub gpus: u32,
    /// Bytes of memory; 0 where it does not say.
    pub memory: u64,
    /// Locks that it holds: two stages that name the same one never run at the same time.
    pub mutexes: BTreeSet<String>,
    /// Whether nothing else may run meanwhile, as a measurement wants.
    pub exclusive: bool,
}

/// Share of the run's threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cpus {
    /// So many; at least 1.
    Count(u32),
    /// All of them.
    All,
}

impl Default for Cpus {
    fn default() -> Self {
        Self::Count(1)
    }
}

impl Resources {
    /// How many threads the stage gets in a run that has `threads`. The same whatever else runs: the number of
    /// threads changes the order of floating-point sums.
    #[must_use]
    pub fn threads(&self, threads: usize) -> usize {
        match self.cpus {
            Cpus::All => threads,
            Cpus::Count(count) => usize::try_from(count).unwrap_or(usize::MAX).min(threads),
        }
        .max(1)
    }
}

impl From<&protocol::Resources> for Resources {
    fn from(declared: &protocol::Resources) -> Self {
        let cpus = match declared.threads {
            Threads::One => Cpus::Count(1),
            Threads::All => Cpus::All,
        };
        Self { cpus, exclusive: declared.exclusive, ..Self::default() }
    }
}

/// How often a stage that fails is tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// How often, after the first try.
    pub times: u32,
    /// Wait before the first of them; each later one waits twice as long as the one before.
    pub backoff: Duration,
}

/// Bytes in a unit of memory.
pub(super) const MEMORY_UNITS: &[(&str, f64)] =
    &[("B", 1.0), ("KB", 1024.0), ("MB", 1_048_576.0), ("GB", 1_073_741_824.0), ("TB", 1_099_511_627_776.0)];

/// A size such as `20 GB`, or a number of bytes; in bytes.
///
/// # Errors
/// When it is none; says what one looks like.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let number = || text.trim().parse::<u64>().ok();
    with_unit(text, MEMORY_UNITS)
        .filter(|bytes| *bytes >= 0.0)
        .map(|bytes| bytes as u64)
        .or_else(number)
        .ok_or_else(|| format!("`{text}` is not a size such as `20 GB` or `500 MB`, or a number of bytes"))
}

/// Seconds in a unit of time.
pub(super) const TIME_UNITS: &[(&str, f64)] =
    &[("ms", 0.001), ("s", 1.0), ("min", 60.0), ("h", 3600.0), ("d", 86_400.0)];

/// A number with one of `units`, such as `1.5 GB`, in the smallest unit.
pub(super) fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let number: f64 = number.trim_end().parse().ok()?;
    Some(number * factor).filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        assert_eq!(with_unit("4 GB", MEMORY_UNITS), Some(4_294_967_296.0));
        assert_eq!(with_unit(" 1.5KB ", MEMORY_UNITS), Some(1536.0));
        assert_eq!(with_unit("90 s", TIME_UNITS), Some(90.0));
        assert_eq!(with_unit("10 min", TIME_UNITS), Some(600.0));
        assert_eq!(with_unit("2h", TIME_UNITS), Some(7200.0));
        for wrong in ["4", "GB", "4 gb", "four GB", "4 GB GB", "", "1e400 GB", "4 Gé", "inf s", "nan s"] {
            assert_eq!(with_unit(wrong, MEMORY_UNITS), None, "{wrong}");
            assert_eq!(with_unit(wrong, TIME_UNITS), None, "{wrong}");
        }
    }

    #[test]
    fn threads_depend_on_the_budget_alone() {
        let threads = |cpus, budget| Resources { cpus, ..Resources::default() }.threads(budget);
        assert_eq!(threads(Cpus::All, 8), 8);
        assert_eq!(threads(Cpus::Count(3), 8), 3);
        assert_eq!(threads(Cpus::Count(12), 8), 8);
        assert_eq!(threads(Cpus::Count(1), 0), 1);
    }
}
