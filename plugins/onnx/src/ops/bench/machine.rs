//! The machine that is measured on, as Linux tells it: its CPU's name, and how busy others keep it.

use std::time::Duration;
use std::{env, fs, thread};

/// The CPU's model name; the architecture where the system does not tell.
pub(crate) fn cpu_model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| env::consts::ARCH.into(), |(_, name)| name.trim().into())
}

/// How many CPUs are busy while this process sleeps for `span`; none where the system does not tell. A load
/// average would still count the stages that ran before.
pub(crate) fn busy_cpus(span: Duration) -> Option<f64> {
    let before = Ticks::parse(&fs::read_to_string("/proc/stat").ok()?)?;
    thread::sleep(span);
    let after = Ticks::parse(&fs::read_to_string("/proc/stat").ok()?)?;
    after.busy_cpus_since(&before)
}

/// Clock ticks since boot, over all CPUs.
#[derive(Debug, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    idle: u64,
    cpus: usize,
}

impl Ticks {
    /// From the text of `/proc/stat`: the line `cpu user nice system idle iowait irq softirq steal …`, then one
    /// line a CPU.
    fn parse(stat: &str) -> Option<Self> {
        let mut lines = stat.lines();
        let fields = lines.next()?.strip_prefix("cpu ")?.split_whitespace();
        let fields: Vec<u64> = fields.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
        let [user, nice, system, idle, waiting, irq, soft_irq, stolen] = fields.try_into().ok()?;
        let cpus = lines.take_while(|line| line.starts_with("cpu")).count();
        let busy = user + nice + system + irq + soft_irq + stolen;
        Some(Self { busy, idle: idle + waiting, cpus })
    }

    fn busy_cpus_since(&self, before: &Self) -> Option<f64> {
        let busy = self.busy.checked_sub(before.busy)? as f64;
        let idle = self.idle.checked_sub(before.idle)? as f64;
        let total = busy + idle;
        (total > 0.0).then(|| self.cpus as f64 * busy / total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_cpus_come_from_two_readings() {
        let before = Ticks::parse("cpu  10 0 10 100 0 0 0 0 0 0\ncpu0 1\ncpu1 1\nintr 5\n").unwrap();
        let after = Ticks::parse("cpu  30 0 20 180 10 0 0 0 0 0\ncpu0 1\ncpu1 1\nintr 5\n").unwrap();
        assert_eq!(before, Ticks { busy: 20, idle: 100, cpus: 2 });
        assert_eq!(after.busy_cpus_since(&before), Some(2.0 * 30.0 / 120.0));
        assert_eq!(before.busy_cpus_since(&before), None);
        assert_eq!(before.busy_cpus_since(&after), None);
    }

    #[test]
    fn another_text_is_none() {
        assert_eq!(Ticks::parse(""), None);
        assert_eq!(Ticks::parse("cpu  1 2 3\n"), None);
    }
}
