//! Who is in a process group beside its leader. The kernel tells neither when a group is empty nor whom it holds, but it
//! tells the group of each process, and the end of each that is held by a descriptor.
//!
//! The leader is to be a zombie meanwhile: until it is reaped, the group's number cannot become another's.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How often the processes are looked at again at once because one of them, whose group nobody saw, ended meanwhile: it may
/// have left a child behind.
const LOOKS: usize = 16;

/// A process that is still running.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) pid: Pid,
    /// Readable once it has ended with all its threads.
    pub(super) end: OwnedFd,
}

/// What is left running of a group, as people are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its number.
    pub pid: i32,
    /// Its program, as the kernel has it: at most 15 bytes.
    pub name: String,
    /// Whether it sleeps until somebody wakes it, as after Ctrl-Z.
    pub is_stopped: bool,
}

impl Member {
    pub(super) fn has_ended(&self) -> bool {
        let mut ends = [PollFd::new(&self.end, PollFlags::IN)];
        poll(&mut ends, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    pub(super) fn describe(&self) -> Left {
        let pid = self.pid.as_raw_pid();
        let (name, state) = name_and_state(pid);
        Left { pid, name, is_stopped: matches!(state, Some('T' | 't')) }
    }
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stopped = if self.is_stopped { ", stopped" } else { "" };
        write!(f, "`{}` (process {}{stopped})", self.name, self.pid)
    }
}

/// The name of a process's program and what it does, where that can be read.
fn name_and_state(pid: i32) -> (String, Option<char>) {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat);
    // A name may hold anything, parentheses too.
    let parts = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
    let Some((name, rest)) = parts else { return ("?".into(), None) };
    (name.chars().map(|c| if c.is_control() { '?' } else { c }).collect(), rest.trim_start().chars().next())
}

/// Processes of `group` that run, but for its leader and for a bystander: one that has the path given among its arguments.
/// `None` where none was seen and yet one may be left: so many processes end that it has to be looked for again.
///
/// # Errors
/// When the processes of this machine cannot be listed.
pub(super) fn members(group: Pid, bystander: Option<&Path>) -> io::Result<Option<Vec<Member>>> {
    let mut members = Vec::new();
    let mut ended = HashSet::new();
    for _ in 0..LOOKS {
        let is_certain = look(group, bystander, &mut members, &mut ended)?;
        if is_certain || !members.is_empty() {
            return Ok(Some(members));
        }
    }
    Ok(None)
}

/// Adds the members that are seen. Says whether all processes were seen that were there when it began: one that has ended
/// since `ended` was told, and is not reaped, may have left a child behind, too.
fn look(
    group: Pid,
    bystander: Option<&Path>,
    members: &mut Vec<Member>,
    ended: &mut HashSet<i32>,
) -> io::Result<bool> {
    let mut is_certain = true;
    let listed = fs::read_dir("/proc")
        .map_err(|error| io::Error::new(error.kind(), format!("`/proc`, which lists processes: {error}")))?;
    for entry in listed {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|pid| *pid != group) else { continue };
        match group_of(pid) {
            Some(its) if its == group.as_raw_pid() => {}
            Some(_) => continue,
            None => {
                is_certain = false;
                continue;
            }
        }
        let Ok(end) = pidfd_open(pid, PidfdFlags::empty()) else {
            is_certain = false;
            continue;
        };
        // Asked again: the number may have become another's before there was a descriptor.
        let member = Member { pid, end };
        if group_of(pid) != Some(group.as_raw_pid()) {
            continue;
        }
        if member.has_ended() {
            is_certain &= !ended.insert(pid.as_raw_pid());
        } else if !is_bystander(pid, bystander) {
            members.push(member);
        }
    }
    Ok(is_certain)
}

/// The group of a process, unless it has ended and is reaped. That of the kernel's own is 0, for which rustix has no number.
fn group_of(pid: Pid) -> Option<i32> {
    // SAFETY: it takes a number and touches no memory of this process.
    let group = unsafe { libc::getpgid(pid.as_raw_pid()) };
    (group >= 0).then_some(group)
}

fn is_bystander(pid: Pid, path: Option<&Path>) -> bool {
    let Some(path) = path else { return false };
    let arguments = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).unwrap_or_default();
    arguments.split(|byte| *byte == 0).any(|argument| OsStr::from_bytes(argument) == path.as_os_str())
}
