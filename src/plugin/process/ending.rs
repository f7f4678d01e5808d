//! How a child comes to its end: waiting for what it writes and for its group, and reaping it. Knows no deadlines but its
//! own.

use std::io;
use std::os::fd::AsFd;
use std::process::Child;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::super::children;
use super::super::group::{self, Kin, Member};
use super::super::orphan_guard;
use super::super::stopper::{Stopper, Told};
use super::waiting::Waiting;
use super::{End, GRACE, LINGER, Output, Phase, Process};

impl Process {
    /// Waits until something can be read or a process has ended, and takes note of it, but not beyond `until`.
    pub(super) fn wait(&mut self, until: Option<Instant>) -> io::Result<()> {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = timeout.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let end = match &self.phase {
            Phase::Running => Some(self.end.as_fd()),
            // All of them have to end, in whatever order.
            Phase::Group(waiting) => waiting.members.first().map(|member| member.end.as_fd()),
            Phase::Over { .. } => None,
        };
        let streams = [self.out.fd(), self.err.fd(), end];
        let mut fds: Vec<PollFd<'_>> =
            streams.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let [out, err, end] = streams.map(|stream| stream.is_some() && ready.next().unwrap_or(false));
        drop(fds);
        if out {
            self.heard.extend(self.out.read().into_iter().map(Output::Out));
            if !self.out.is_open() {
                self.heard.push_back(Output::OutClosed(self.out.broken()));
            }
        }
        if err {
            self.heard.extend(self.err.read().into_iter().map(Output::Err));
        }
        if end || matches!(self.phase, Phase::Group(_)) {
            self.look_at_group(end)?;
        }
        Ok(())
    }

    /// Takes note of who is left of the group once the child has ended; `has_changed` where one of those who were known has,
    /// too.
    pub(super) fn look_at_group(&mut self, has_changed: bool) -> io::Result<()> {
        let known = match &mut self.phase {
            Phase::Over { .. } => return Ok(()),
            Phase::Group(waiting) => Some(waiting),
            Phase::Running => None,
        };
        let mut given_up = false;
        if let Some(waiting) = known {
            let told = self.stopper.told();
            waiting.signal(told, self.pid);
            if told == Told::Killed {
                // What belongs to another user, or hangs in the kernel, need not die.
                let until = waiting.until.get_or_insert_with(|| Instant::now() + GRACE);
                given_up = Instant::now() >= *until;
            }
            let is_same = !has_changed && !waiting.members.iter().any(Member::has_detached);
            if is_same && !given_up && !waiting.members.is_empty() {
                return Ok(());
            }
        }
        let kin = Kin::of(self.pid, self.mark.as_deref(), self.born);
        let members = group::members(&kin, self.bystander.as_deref())?;
        if members.as_ref().is_some_and(Vec::is_empty) || given_up {
            let detached = group::detached(&kin);
            self.heard.extend((!detached.is_empty()).then_some(Output::Detached(detached)));
            let end = reap(&mut self.child, self.pid, &self.stopper)?;
            self.phase = Phase::Over { end, until: Instant::now() + LINGER };
            return Ok(());
        }
        // Where none was seen, it is looked again soon.
        let members = members.unwrap_or_default();
        let goes_on = !members.is_empty() && self.stopper.told() == Told::Nothing;
        if goes_on && (self.kills_rest || !has_succeeded(self.pid)) {
            self.stopper.signal(Signal::KILL);
        }
        match &mut self.phase {
            Phase::Group(waiting) => waiting.renew(members),
            _ => self.phase = Phase::Group(Waiting::of(members)),
        }
        if let Phase::Group(waiting) = &mut self.phase {
            waiting.signal(self.stopper.told(), self.pid);
        }
        Ok(())
    }
}

/// Whether a child that has ended, and is not reaped, did so with exit code 0. Who traces it is told before this process is,
/// which is waited for.
fn has_succeeded(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Err(rustix::io::Errno::INTR) => {}
            status => return matches!(status, Ok(Some(status)) if status.exit_status() == Some(0)),
        }
    }
}

/// Waits for a child that has ended or is about to, and reaps it. Until that its number cannot become another's; what is
/// still left in its group is killed before.
pub(super) fn reap(child: &mut Child, pid: Pid, stopper: &Stopper) -> io::Result<End> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(error) = waitid(WaitId::Pid(pid), options) {
        if error != rustix::io::Errno::INTR {
            break;
        }
    }
    // From here on nobody else signals the group: its number may be another's once the child is reaped.
    let told = stopper.let_go();
    // Usually nothing is left of the group but the child itself, or a bystander.
    let _ = kill_process_group(pid, Signal::KILL);
    let status = children::reap(child);
    orphan_guard::forget(pid);
    Ok(End { status: status?, was_stopped: told != Told::Nothing })
}
