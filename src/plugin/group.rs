//! Who is in a process group beside its leader. The kernel tells neither when a group is empty nor whom it holds, but it
//! tells the group of each process, and the end of each that is held by a descriptor.
//!
//! The leader is to be a zombie meanwhile: until it is reaped, the group's number cannot become another's.
//!
//! A process that ends before its group was asked for may have been a member and have left a child behind. On a machine where
//! some process ends at any time, looking at all of them never comes to an end by itself. But numbers are given in turn, and
//! the kernel tells the last one: whatever was started since is among the few that follow.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{fs, io};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::children::{self, Moment};
use super::left::Left;

/// How often the processes are looked at again at once because one of them, whose group nobody saw, ended meanwhile: it may
/// have left a child behind. And how often those are that were started since.
const LOOKS: usize = 16;

/// The last number that was given to a process, or to a thread.
const LAST_NUMBER: &str = "/proc/sys/kernel/ns_last_pid";

/// So many processes may have a number and not be there yet.
const UNBORN: i32 = 1024;

/// A process that is still running.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) pid: Pid,
    /// Readable once it has ended with all its threads.
    pub(super) end: OwnedFd,
    /// Whether it can be nobody else's.
    is_certain: bool,
}

/// A group, and how to know what it started that has left it: a shell with `set -m` and `timeout` start what they start in groups
/// of its own. It is in the same session still. Whoever begins a session of its own, as daemons do, does not want to be waited
/// for.
#[derive(Debug)]
pub(super) struct Kin<'m> {
    group: Pid,
    /// What its leader was given in its environment and no other process, as `NAME=VALUE`.
    mark: Option<&'m [u8]>,
    /// Those that became children of this process since the leader was started, and run. `None` where that cannot be known.
    orphans: Option<HashMap<Pid, Option<Pid>>>,
}

/// How sure it is that a group has started a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Certain,
    /// It, or another one that was there as well.
    Possible,
    None,
}

impl<'m> Kin<'m> {
    /// `born` is from before the leader was started.
    pub(super) fn of(group: Pid, mark: Option<&'m [u8]>, born: Option<Moment>) -> Self {
        Self { group, mark, orphans: born.and_then(children::orphans) }
    }

    /// Whether nothing at all that it has started is left but its leader, which has ended: its children would be orphans.
    fn is_extinct(&self) -> bool {
        self.orphans.as_ref().is_some_and(HashMap::is_empty)
    }

    /// Whether a process that is not of the group was started by it, in the same session.
    fn has_left(&self, pid: Pid) -> bool {
        self.mark.is_some() && is_in_own_session(pid) && self.claim(pid) != Claim::None
    }

    /// Whether a process was started by it, wherever that is now. Its number may be a smaller one: numbers begin anew. The environment
    /// of another user's process cannot be read, and some start others with an empty one: such a process is known as an orphan.
    fn claim(&self, pid: Pid) -> Claim {
        if group_of(pid) == Some(self.group.as_raw_pid()) {
            return Claim::Certain;
        }
        let Some(mark) = self.mark else { return Claim::None };
        let name = mark.iter().position(|byte| *byte == b'=').map_or(mark, |end| &mark[..=end]);
        let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_pid())).unwrap_or_default();
        match environment.split(|byte| *byte == 0).find(|variable| variable.starts_with(name)) {
            Some(its) if its == mark => return Claim::Certain,
            Some(_) => return Claim::None,
            None => {}
        }
        let is_in_workers_group = || group_of(pid).and_then(Pid::from_raw).is_some_and(children::is_worker);
        match self.orphans.as_ref().and_then(|orphans| orphans.get(&pid)) {
            None => Claim::None,
            Some(_) if is_in_workers_group() => Claim::None,
            Some(None) => Claim::Possible,
            Some(Some(worker)) if *worker == self.group => Claim::Certain,
            Some(Some(_)) => Claim::None,
        }
    }
}

/// What a group has started that has begun a session of its own and runs.
pub(super) fn detached(kin: &Kin<'_>) -> Vec<Left> {
    if kin.is_extinct() {
        return Vec::new();
    }
    let listed = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = listed.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    let detached = pids.filter(|pid| is_in_other_session(*pid) && kin.claim(*pid) != Claim::None);
    detached.map(Left::of).collect()
}

/// Whether a process is in the session that this one is in.
fn is_in_own_session(pid: Pid) -> bool {
    // SAFETY: it takes a number and touches no memory of this process.
    let session = |pid: i32| unsafe { libc::getsid(pid) };
    let own = session(0);
    own >= 0 && session(pid.as_raw_pid()) == own
}

/// Whether a process is in a session that this one is not in. The kernel's own threads, of which there are many, are in none.
fn is_in_other_session(pid: Pid) -> bool {
    // SAFETY: it takes a number and touches no memory of this process.
    let session = unsafe { libc::getsid(pid.as_raw_pid()) };
    session != 0 && !is_in_own_session(pid)
}

impl Member {
    /// Sends it a signal, whatever group it is in, unless it may be another's.
    pub(super) fn signal(&self, signal: Signal) {
        if self.is_certain {
            // One that has ended is as it is wanted.
            let _ = pidfd_send_signal(&self.end, signal);
        }
    }

    /// Whether it is in a group, where it has not ended.
    pub(super) fn is_in(&self, group: Pid) -> bool {
        group_of(self.pid) == Some(group.as_raw_pid())
    }

    /// Whether it has begun a session of its own.
    pub(super) fn has_detached(&self) -> bool {
        is_in_other_session(self.pid)
    }

    pub(super) fn has_ended(&self) -> bool {
        let mut ends = [PollFd::new(&self.end, PollFlags::IN)];
        poll(&mut ends, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// What to tell of it; nothing where it has ended since it was seen.
    pub(super) fn describe(&self) -> Option<Left> {
        let left = Left::of(self.pid);
        // Asked last: what was read before that is its own.
        (!self.has_ended()).then_some(left)
    }
}

/// Processes of a group that run, and those that it has started and that have left it, but for its leader and for a bystander: one that has the path given among its arguments.
/// `None` where none was seen and yet one may be left: so many processes end that it has to be looked for again.
///
/// # Errors
/// When the processes of this machine cannot be listed.
pub(super) fn members(kin: &Kin<'_>, bystander: Option<&Path>) -> io::Result<Option<Vec<Member>>> {
    store::check_proc()?;
    if kin.is_extinct() {
        return Ok(Some(Vec::new()));
    }
    let mut members = Vec::new();
    let mut ended = HashSet::new();
    for _ in 0..LOOKS {
        let last = last_number();
        let is_certain = look(kin, bystander, &mut members, &mut ended)?;
        if is_certain || !members.is_empty() {
            return Ok(Some(members));
        }
        if last.is_some_and(|last| look_at_new(kin, bystander, last, &mut members)) {
            return Ok(Some(members));
        }
    }
    Ok(None)
}

/// Adds members among those that were started since `last` was the last number, after all that were there before were looked
/// at. Says whether it is known whether there are any. Of what a member that has ended left behind, the first was there before
/// that end and has a later number: so it is met later, unless the numbers begin anew.
fn look_at_new(kin: &Kin<'_>, bystander: Option<&Path>, last: i32, members: &mut Vec<Member>) -> bool {
    let mut from = last.saturating_sub(UNBORN).max(0);
    for _ in 0..LOOKS {
        let Some(to) = last_number().filter(|to| *to >= from) else { return false };
        if to == from {
            return true;
        }
        for pid in (from + 1..=to).filter_map(Pid::from_raw).filter(|pid| *pid != kin.group) {
            match Seen::of(pid, kin) {
                Seen::Member(member) if !is_bystander(pid, bystander) => members.push(member),
                Seen::Unknown => return false,
                _ => {}
            }
        }
        if !members.is_empty() {
            return true;
        }
        from = to;
    }
    false
}

/// `None` where the kernel does not tell.
fn last_number() -> Option<i32> {
    let last = fs::read_to_string(LAST_NUMBER).ok()?.trim().parse().ok()?;
    // It is this process's at the least.
    (last > 0).then_some(last)
}

/// What a number is to a group.
enum Seen {
    /// A process of the group that runs.
    Member(Member),
    /// One that has ended, and is not reaped.
    Ended,
    /// None of the group, or a thread, whose process has a number of its own.
    Other,
    /// Nothing any more.
    Gone,
    /// It cannot be told, as where no more files can be opened.
    Unknown,
}

impl Seen {
    fn of(pid: Pid, kin: &Kin<'_>) -> Self {
        match group_of(pid) {
            Some(its) if its == kin.group.as_raw_pid() || kin.has_left(pid) => {}
            Some(_) => return Self::Other,
            None => return Self::Gone,
        }
        let end = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(end) => end,
            Err(Errno::SRCH) => return Self::Gone,
            Err(Errno::INVAL | Errno::NOENT) => return Self::Other,
            Err(_) => return Self::Unknown,
        };
        // Asked again: the number may have become another's before there was a descriptor, or it has begun a session of its own.
        let claim = kin.claim(pid);
        if claim == Claim::None || (group_of(pid) != Some(kin.group.as_raw_pid()) && !is_in_own_session(pid))
        {
            return Self::Gone;
        }
        let member = Member { pid, end, is_certain: claim == Claim::Certain };
        if member.has_ended() { Self::Ended } else { Self::Member(member) }
    }
}

/// Adds the members that are seen. Says whether all processes were seen that were there when it began: one that has ended
/// since `ended` was told, and is not reaped, may have left a child behind, too.
fn look(
    kin: &Kin<'_>,
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
        let Some(pid) = pid.filter(|pid| *pid != kin.group) else { continue };
        match Seen::of(pid, kin) {
            Seen::Member(member) if !is_bystander(pid, bystander) => members.push(member),
            Seen::Member(_) | Seen::Other => {}
            Seen::Ended => is_certain &= !ended.insert(pid.as_raw_pid()),
            Seen::Gone | Seen::Unknown => is_certain = false,
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

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    use rustix::process::{Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

    /// A group, killed at the end of its scope.
    struct Group(Child);

    impl Group {
        fn new(program: &str, script: &str) -> Option<Self> {
            let mut command = Command::new(program);
            command.args(["-c", script]).process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
            command.spawn().ok().map(Self)
        }

        fn pid(&self) -> Pid {
            Pid::from_child(&self.0)
        }

        fn kin(&self) -> Kin<'_> {
            Kin::of(self.pid(), None, None)
        }

        /// Waits for the leader's end and leaves it a zombie.
        fn wait_for_leader(&self) {
            waitid(WaitId::Pid(self.pid()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.0.wait();
        }
    }

    #[test]
    fn that_a_group_is_empty_is_known_while_others_come_and_go() {
        let storm = "while :; do /bin/true & /bin/true; done";
        let _storms = [Group::new("sh", storm).unwrap(), Group::new("sh", storm).unwrap()];
        let group = Group::new("sh", "exit").unwrap();
        group.wait_for_leader();
        for _ in 0..50 {
            let members = members(&group.kin(), None).unwrap();
            assert!(members.is_some_and(|members| members.is_empty()), "known, and nobody");
        }
    }

    #[test]
    fn a_member_that_hands_over_to_a_child_again_and_again_is_never_missed() {
        let relay =
            "import os\nif os.fork():\n    os._exit(0)\nwhile True:\n    if os.fork():\n        os._exit(0)";
        let Some(group) = Group::new("python3", relay) else {
            println!("NOT TESTED: there is no python3");
            return;
        };
        group.wait_for_leader();
        for _ in 0..200 {
            let members = members(&group.kin(), None).unwrap();
            assert!(members.is_none_or(|members| !members.is_empty()), "somebody is left");
        }
    }

    /// As after numbers have begun anew.
    #[test]
    fn what_has_left_a_group_may_have_a_smaller_number_than_its_leader() {
        let mark = format!("PIPE_STAGE_MARK=smaller-{}", std::process::id());
        let (name, value) = mark.split_once('=').unwrap();
        let mut command = Command::new("sleep");
        let beside = Group(command.arg("1000").env(name, value).process_group(0).spawn().unwrap());
        let mut command = Command::new("setsid");
        let apart = Group(command.args(["sleep", "1000"]).env(name, value).spawn().unwrap());
        let leader = Group::new("sh", "exit").unwrap();
        leader.wait_for_leader();
        if [&beside, &apart].iter().any(|group| group.pid().as_raw_pid() > leader.pid().as_raw_pid()) {
            println!("NOT TESTED: numbers began anew just now");
            return;
        }
        let kin = Kin::of(leader.pid(), Some(mark.as_bytes()), None);
        // Until it has a session of its own.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let detached = loop {
            let detached = detached(&kin);
            if !detached.is_empty() || std::time::Instant::now() > until {
                break detached;
            }
        };
        let pids = |left: &[Left]| left.iter().map(|left| left.pid).collect::<Vec<_>>();
        assert_eq!(pids(&detached), [apart.pid().as_raw_pid()]);
        let members = members(&kin, None).unwrap().unwrap_or_default();
        assert_eq!(members.iter().map(|member| member.pid).collect::<Vec<_>>(), [beside.pid()]);
    }

    #[test]
    fn who_has_ended_since_it_was_seen_is_not_told() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let member = Member { pid, end: pidfd_open(pid, PidfdFlags::empty()).unwrap(), is_certain: true };
        let told = member.describe().unwrap();
        assert_eq!((told.pid, told.is_stopped), (pid.as_raw_pid(), false));
        child.kill().unwrap();
        // A zombie has a name still, and what is reaped has none.
        while !member.has_ended() {}
        assert_eq!(member.describe(), None);
        child.wait().unwrap();
        assert_eq!(member.describe(), None);
    }
}
