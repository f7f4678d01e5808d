//! When, where and with what: said beside figures, so that nobody takes them for those of another machine.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::workspace::Workspace;

/// The time in UTC, to the second.
pub(super) fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    date(now)
}

/// Seconds since 1970 as a date. The calendar repeats every 400 years; counted from March, a leap day comes last.
fn date(seconds: u64) -> String {
    const ERA: u64 = 146_097;
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = year + era * 400 + u64::from(month >= 10);
    let month = if month < 10 { month + 3 } else { month - 9 };
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Processor, memory, kernel and file system: what kind of machine it is, and not which.
pub(super) fn describe(workspace: &Workspace) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory, mounts) = (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/self/mounts"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kb: u64 = field(&memory, "MemTotal").trim_end_matches(" kB").trim().parse().unwrap_or_default();
    format!(
        "{}, {cores} cores, {} GB · Linux {} · {}",
        field(&cpu, "model name"),
        (kb + (1 << 19)) >> 20,
        read("/proc/sys/kernel/osrelease").trim(),
        file_system(&mounts, &workspace.path("target"))
    )
}

/// The first value of that name.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map_or("unknown", |(_, value)| value.trim())
}

/// The kind of the innermost mount that holds a folder.
fn file_system(mounts: &str, folder: &Path) -> String {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((Path::new(words.next()?), words.next()?))
    });
    let within = mounts.filter(|(place, _)| folder.starts_with(place));
    within
        .max_by_key(|(place, _)| place.components().count())
        .map_or_else(|| "unknown file system".into(), |(_, kind)| kind.to_owned())
}

/// The version of what was run.
pub(super) fn commit(workspace: &Workspace) -> String {
    let git = workspace.command("git").args(["rev-parse", "--short=7", "HEAD"]).output();
    let said = git.ok().filter(|output| output.status.success());
    said.map_or_else(|| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        assert_eq!(date(0), "1970-01-01 00:00:00");
        assert_eq!(date(951_782_399), "2000-02-28 23:59:59");
        assert_eq!(date(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(date(1_709_251_200), "2024-03-01 00:00:00");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00:00");
        assert_eq!(date(1_796_028_834), "2026-11-30 08:53:54");
    }

    #[test]
    fn the_innermost_mount_tells_the_file_system() {
        let mounts = "/dev/a / ext4 rw 0 0\nnone /tmp tmpfs rw 0 0\nnone /tm xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/x/target")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/home")), "ext4");
    }
}
