//! What is left running of a stage, as people are told of it.

use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::fstat;
use rustix::process::Pid;

/// What is left running of a group, as people are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its number.
    pub pid: i32,
    /// Its program, as the kernel has it: at most 15 bytes. None where that may not be read.
    pub name: Option<String>,
    /// Whether it sleeps until somebody wakes it, as after Ctrl-Z.
    pub is_stopped: bool,
}

impl Left {
    /// What is known of a process now.
    pub(super) fn of(pid: Pid) -> Self {
        let pid = pid.as_raw_pid();
        let (name, state) = name_and_state(pid).unzip();
        Self { pid, name, is_stopped: matches!(state, Some('T' | 't')) }
    }
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stopped = if self.is_stopped { ", stopped" } else { "" };
        match &self.name {
            Some(name) => write!(f, "`{name}` (process {}{stopped})", self.pid),
            None => write!(f, "process {}{stopped}", self.pid),
        }
    }
}

/// What is said of those that a child has started in a session of their own.
pub fn detached(left: &[Left]) -> String {
    format!(
        "{} left running in a session of {} own and not waited for: what is written from now on is not kept; start servers outside the \
         pipeline",
        who(left),
        if left.len() > 1 { "their" } else { "its" }
    )
}

/// What is said of those that have left a group and hold its standard output or error open.
pub fn escaped(left: &[Left]) -> String {
    format!(
        "{} left running outside of the stage's group and not waited for, with the stage's standard output or error open: what is \
         printed or written from now on is not kept",
        who(left)
    )
}

/// `NAME (process 7) was`, or that and how many more.
fn who(left: &[Left]) -> String {
    match left {
        [] => "something was".to_owned(),
        [one] => format!("{one} was"),
        [one, rest @ ..] => format!("{one} and {} more were", rest.len()),
    }
}

/// The name of a process's program and what it does, where that can be read.
fn name_and_state(pid: i32) -> Option<(String, char)> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // A name may hold anything, parentheses too.
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let name = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    Some((name, rest.trim_start().chars().next()?))
}

/// Processes beside this one that have the other end of one of these pipes open, as far as they may be looked at.
pub(super) fn holders(pipes: &[BorrowedFd<'_>]) -> Vec<Left> {
    let numbers: Vec<(u64, u64)> =
        pipes.iter().filter_map(|pipe| fstat(pipe).ok()).map(|pipe| (pipe.st_dev, pipe.st_ino)).collect();
    let is_held = |pid: i32| {
        let held = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        held.filter_map(|entry| fs::metadata(entry.path()).ok())
            .any(|there| numbers.contains(&(there.dev(), there.ino())))
    };
    let listed = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = listed.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    let others = pids.filter(|pid| Some(*pid) != Pid::from_raw(std::process::id().cast_signed()));
    others.filter(|pid| is_held(pid.as_raw_pid())).map(Left::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_a_name_is_told_by_its_number() {
        let left =
            |name: Option<&str>, is_stopped| Left { pid: 7, name: name.map(str::to_owned), is_stopped };
        assert_eq!(left(Some("sh"), true).to_string(), "`sh` (process 7, stopped)");
        assert_eq!(left(None, false).to_string(), "process 7");
    }
}
