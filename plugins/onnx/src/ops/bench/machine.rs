//! The machine that is measured on, as Linux tells it: its CPU's name, how busy its CPUs were, their clock. What the
//! system does not tell is none.

use std::ops::RangeInclusive;
use std::{env, fs};

/// Where Linux shows its CPUs.
const CPUS: &str = "/sys/devices/system/cpu";

/// The CPU's model name; the architecture where the system does not tell.
pub(crate) fn cpu_model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| env::consts::ARCH.into(), |(_, name)| name.trim().into())
}

/// The highest clock of any CPU just now, in MHz. Idle CPUs are slow, so this is that of one at work if there is one.
pub(crate) fn clock_mhz() -> Option<f64> {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    highest_in_cpuinfo(&info).or_else(|| {
        let clocks = policies("scaling_cur_freq").into_iter().filter_map(|text| text.parse::<f64>().ok());
        clocks.map(|khz| khz / 1e3).reduce(f64::max)
    })
}

fn highest_in_cpuinfo(info: &str) -> Option<f64> {
    let clocks = info.lines().filter_map(|line| line.strip_prefix("cpu MHz")?.split_once(':'));
    clocks.filter_map(|(_, mhz)| mhz.trim().parse::<f64>().ok()).reduce(f64::max)
}

/// What decides the clock, such as `performance` or `powersave`.
pub(crate) fn governor() -> Option<String> {
    let mut names = policies("scaling_governor");
    names.sort();
    names.dedup();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The text of a file in every folder of CPUs that share a clock.
fn policies(file: &str) -> Vec<String> {
    let folders = fs::read_dir(format!("{CPUS}/cpufreq")).into_iter().flatten().flatten();
    let texts = folders.filter_map(|folder| fs::read_to_string(folder.path().join(file)).ok());
    texts.map(|text| text.trim().to_owned()).collect()
}

/// Clock ticks since boot: of the CPUs that this process may use, and of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticks {
    busy: u64,
    stolen: u64,
    idle: u64,
    cpus: usize,
    own: u64,
}

/// What CPUs did between two readings of [`Ticks`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Business {
    /// How many CPUs others kept busy on average, those included that a hypervisor gave to others.
    pub(crate) others: f64,
    /// For how many ticks they did.
    pub(crate) others_ticks: u64,
    /// How many CPUs a hypervisor gave to others on average.
    pub(crate) stolen: f64,
    /// How many CPUs there are.
    pub(crate) cpus: usize,
}

impl Ticks {
    /// Those until now.
    pub(crate) fn now() -> Option<Self> {
        let read = |path: &str| fs::read_to_string(path).ok();
        let (status, own) = (read("/proc/self/status")?, read("/proc/self/stat")?);
        Self::parse(&read("/proc/stat")?, &allowed_cpus(&status)?, own_ticks(&own)?)
    }

    /// From the text of `/proc/stat`: a line `cpuN user nice system idle iowait irq softirq steal …` for each CPU.
    fn parse(stat: &str, allowed: &[RangeInclusive<usize>], own: u64) -> Option<Self> {
        let mut sum = Self { busy: 0, stolen: 0, idle: 0, cpus: 0, own };
        for line in stat.lines().filter_map(|line| line.strip_prefix("cpu")) {
            let Some((Ok(cpu), fields)) = line.split_once(' ').map(|(cpu, rest)| (cpu.parse(), rest)) else {
                continue;
            };
            if !allowed.iter().any(|range| range.contains(&cpu)) {
                continue;
            }
            let fields: Vec<u64> =
                fields.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
            let [user, nice, system, idle, waiting, irq, soft_irq, stolen] = fields.try_into().ok()?;
            sum.busy += user + nice + system + irq + soft_irq + stolen;
            sum.stolen += stolen;
            sum.idle += idle + waiting;
            sum.cpus += 1;
        }
        (sum.cpus > 0).then_some(sum)
    }

    /// None where no time has passed, or the readings are of other CPUs.
    pub(crate) fn business_since(&self, before: &Self) -> Option<Business> {
        let busy = self.busy.checked_sub(before.busy)?;
        let stolen = self.stolen.checked_sub(before.stolen)?;
        let idle = self.idle.checked_sub(before.idle)?;
        // Ticks of a process and of a CPU are not rounded alike.
        let others_ticks = busy.saturating_sub(self.own.checked_sub(before.own)?);
        let total = busy + idle;
        let share = |ticks: u64| self.cpus as f64 * ticks as f64 / total as f64;
        (total > 0 && self.cpus == before.cpus).then(|| Business {
            others: share(others_ticks),
            others_ticks,
            stolen: share(stolen),
            cpus: self.cpus,
        })
    }
}

/// The CPUs that a process may use, from its `/proc/PID/status`: `Cpus_allowed_list: 0-3,8`.
fn allowed_cpus(status: &str) -> Option<Vec<RangeInclusive<usize>>> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.trim().split(',').map(range).collect()
}

/// Ticks that a process and the children it has waited for have run, from its `/proc/PID/stat`: `utime`, `stime`,
/// `cutime` and `cstime`, the fields 14 to 17. The second is a name in brackets, in which anything may stand.
fn own_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<u64> =
        rest.split_whitespace().skip(11).take(4).map(str::parse).collect::<Result<_, _>>().ok()?;
    (fields.len() == 4).then(|| fields.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "cpu  30 0 30 300 0 0 0 0 0 0\ncpu0 10 0 10 100 0 0 0 0 0 0\ncpu1 10 0 10 100 0 0 0 0 0 0\n\
                          cpu10 10 0 10 100 0 0 0 0 0 0\nintr 5\n";
    const AFTER: &str = "cpu  99 0 99 399 0 0 0 9 0 0\ncpu0 20 0 15 120 5 0 0 0 0 0\ncpu1 10 0 10 130 0 0 0 10 0 0\n\
                         cpu10 50 0 10 100 0 0 0 0 0 0\nintr 9\n";

    #[test]
    fn business_comes_from_two_readings_of_the_cpus_that_may_be_used() {
        let of = |text, own| Ticks::parse(text, &[0..=1], own).unwrap();
        assert_eq!(of(BEFORE, 7), Ticks { busy: 40, stolen: 0, idle: 200, cpus: 2, own: 7 });
        let business = of(AFTER, 15).business_since(&of(BEFORE, 7)).unwrap();
        // 25 ticks busy, 55 idle, on 2 CPUs; 8 of them were our own.
        let expected =
            Business { others: 2.0 * 17.0 / 80.0, others_ticks: 17, stolen: 2.0 * 10.0 / 80.0, cpus: 2 };
        assert_eq!(business, expected);
        let all = |text| Ticks::parse(text, &[0..=0, 1..=64], 0).unwrap();
        assert_eq!(all(AFTER).business_since(&all(BEFORE)).unwrap().cpus, 3);
        let mostly_own = of(AFTER, 40).business_since(&of(BEFORE, 7)).unwrap();
        assert_eq!((mostly_own.others, mostly_own.others_ticks), (0.0, 0));
    }

    #[test]
    fn readings_that_do_not_fit_together_say_nothing() {
        let of = |text, own| Ticks::parse(text, &[0..=99], own).unwrap();
        let (before, after) = (of(BEFORE, 5), of(AFTER, 6));
        assert_eq!(before.business_since(&before), None);
        assert_eq!(before.business_since(&after), None);
        assert_eq!(after.business_since(&of(BEFORE, 7)), None);
        assert_eq!(after.business_since(&Ticks { cpus: 2, ..before }), None);
    }

    #[test]
    fn another_text_is_none() {
        for text in
            ["", "cpu  1 2 3 4 5 6 7 8\n", "cpu0 1 2 3\n", "cpu0 1 2 3 4 5 6 7 x\n", "cpu9 1 2 3 4 5 6 7 8\n"]
        {
            assert_eq!(Ticks::parse(text, &[0..=7], 0), None, "{text}");
        }
        assert_eq!(allowed_cpus("Cpus_allowed:\tff\n"), None);
        assert_eq!(allowed_cpus("Cpus_allowed_list:\t0-x\n"), None);
        for text in ["", "1 (a) S 1", "1 (a) S 2 3 4 5 6 7 8 9 10 11 12 13 14 x 16 17"] {
            assert_eq!(own_ticks(text), None, "{text}");
        }
    }

    #[test]
    fn what_a_process_may_use_and_has_used_is_read() {
        let status = "Name:\tx\nCpus_allowed_list:\t0-3,8,10-11\nMems_allowed:\t1\n";
        assert_eq!(allowed_cpus(status).unwrap(), [0..=3, 8..=8, 10..=11]);
        let stat = "7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 1";
        assert_eq!(own_ticks(stat), Some(127));
    }

    #[test]
    fn the_clock_is_the_highest_of_any_cpu() {
        let info =
            "model name\t: X\ncpu MHz\t\t: 800.5\nflags : cpu\nmodel name\t: X\ncpu MHz\t\t: 3400.25\n";
        assert_eq!(highest_in_cpuinfo(info), Some(3400.25));
        assert_eq!(highest_in_cpuinfo("model name : X\n"), None);
    }

    /// Whatever this machine tells, it makes sense.
    #[test]
    fn this_machine_is_read() {
        if cfg!(target_os = "linux") {
            assert!(Ticks::now().is_none_or(|ticks| ticks.cpus > 0));
        }
        assert!(clock_mhz().is_none_or(|mhz| mhz > 0.0));
        assert!(!cpu_model().is_empty());
    }
}
