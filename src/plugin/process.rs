//! Child processes of a stage: started in a process group of their own with a clean environment, listened to and
//! stopped whole. One has ended when all of its group has. The thread that started a child waits for it with one `poll`:
//! no threads of its own. Knows nothing of stages or of the protocol.

mod waiting;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};
use text::secret::Masks;

use self::waiting::Waiting;
use super::children::{self, Moment, Role};
use super::group::{self, Kin, Member};
use super::left;
use super::lines::Lines;
use super::stopper::Told;
use super::warden;

pub use super::inherited::{PROXIES, clean_environment};
pub use super::left::Left;
pub use super::lines::Stdout;
pub use super::stopper::Stopper;

/// Environment variable of what a stage starts, and of nothing else: which stage of which pipeline that is.
pub const MARK: &str = "PIPE_STAGE_MARK";

/// How long a child may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// How long output is waited for that something holds open which has left the child's group.
const LINGER: Duration = Duration::from_millis(500);

/// How much longer each time until it is told again, and how long at most.
const QUIETER: u32 = 8;
const QUIETEST: Duration = Duration::from_secs(600);

/// How often a group is looked at that nobody can end: what was killed by another thread, and does not die, is given up.
const GLANCE: Duration = Duration::from_secs(1);

/// How often orphans that have ended are reaped while a child runs.
const SWEEP: Duration = Duration::from_millis(250);

/// How soon a group is looked at again in which none was seen while many processes ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How many of the last lines of standard error, or of a log, are kept for an error message.
const TAIL_LINES: usize = 12;

/// How many characters of each.
const TAIL_WIDTH: usize = 400;

/// What a child does, as it happens.
#[derive(Debug)]
pub enum Output {
    /// A line on standard output.
    Out(String),
    /// A line on standard error, or on either stream where both are a log.
    Err(String),
    /// Standard output was closed, or broke for the reason given.
    OutClosed(Option<String>),
    /// The child itself has ended, and others of its group go on. Told after a second, and then ever less often.
    Left(Vec<Left>),
    /// All have ended but for what has left the group and holds an output open, which is not waited for. These are they, as
    /// far as they may be seen.
    Escaped(Vec<Left>),
    /// What the child has started in a session of its own, which is not waited for.
    Detached(Vec<Left>),
    /// The child and all of its group have ended, and all they wrote was read. Always last.
    Ended(End),
}

/// How a child ended.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// How the child itself did.
    pub status: ExitStatus,
    /// Whether it, or something of its group, was told to end or killed by this process instead of coming to its end.
    pub was_stopped: bool,
}

/// How far a child is.
enum Phase {
    /// It runs.
    Running,
    /// It has ended, and is not reaped. Members of its group go on.
    Group(Waiting),
    /// All have ended. Its output is waited for until then.
    Over { end: End, until: Instant },
}

/// A running child. Dropped, it is killed with all that it started.
pub struct Process {
    child: Child,
    stopper: Stopper,
    stdin: Option<ChildStdin>,
    out: Lines,
    err: Lines,
    /// Readable once the child has ended.
    end: OwnedFd,
    /// Its number, which is also that of its group.
    pid: Pid,
    /// What tells what it starts from all others, as it stands in their environments.
    mark: Option<Vec<u8>>,
    /// From before it was started; `None` where orphans cannot be known.
    born: Option<Moment>,
    /// When orphans that have ended were reaped last.
    swept: Instant,
    phase: Phase,
    /// Whether what is left of the group when the child ends is killed, because nothing depends on it any more.
    kills_rest: bool,
    /// See [`Process::stand_by`].
    bystander: Option<PathBuf>,
    /// Read and not yet told.
    heard: VecDeque<Output>,
    tail: VecDeque<String>,
}

impl Process {
    /// Starts `command` in a process group of its own; its output is read line by line. `stopper` stops it from now on.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(mut command: Command, stdin: Stdio, stdout: Stdout, stopper: &Stopper) -> io::Result<Self> {
        // A log has both streams in the order in which they were written.
        let log = match stdout {
            Stdout::Messages => None,
            Stdout::Log => Some(io::pipe()?),
        };
        command.stdin(stdin).process_group(0);
        match &log {
            None => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
            Some((_, writer)) => command.stdout(writer.try_clone()?).stderr(writer.try_clone()?),
        };
        let mark = command.get_envs().find(|(name, _)| *name == MARK).and_then(|(_, value)| value);
        let mark = mark.map(|value| [MARK.as_bytes(), b"=", value.as_bytes()].concat());
        warden::wake();
        let born = children::adopt();
        let (mut child, pid) = stopper.start(|| {
            let child = children::spawn(&mut command, Role::Worker)?;
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or_else(|| io::Error::other("a child process without a number"))?;
            warden::watch(pid);
            Ok((child, pid))
        })?;
        let stopper = stopper.clone();
        // The child holds the other end; this process must not.
        drop(command);
        let log = log.map(|(reader, _)| OwnedFd::from(reader));
        let err = Lines::new(child.stderr.take().map(OwnedFd::from).or(log), Stdout::Log);
        let out = Lines::new(child.stdout.take().map(OwnedFd::from), stdout);
        match pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from) {
            Ok(end) => {
                let stdin = child.stdin.take();
                let (heard, tail) = (VecDeque::new(), VecDeque::new());
                let phase = Phase::Running;
                let (kills_rest, bystander) = (false, None);
                Ok(Self {
                    child,
                    stopper,
                    stdin,
                    out,
                    err,
                    end,
                    pid,
                    mark,
                    born,
                    swept: Instant::now(),
                    phase,
                    kills_rest,
                    bystander,
                    heard,
                    tail,
                })
            }
            Err(error) => {
                stopper.signal(Signal::KILL);
                // It was killed: it ends.
                let _ = reap(&mut child, pid, &stopper);
                Err(error)
            }
        }
    }

    /// Takes secrets out of the lines of its log, and of what is said of them. To be called before [`Process::next`].
    pub fn hide(&mut self, masks: &Masks) {
        self.out.hide(masks);
        self.err.hide(masks);
    }

    /// Its standard input, once.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Keeps standard input open until [`Process::finish`].
    pub fn return_stdin(&mut self, stdin: ChildStdin) {
        self.stdin = Some(stdin);
    }

    /// A member of its group that has `path` among its arguments only looks on: it is not waited for, and is killed when
    /// the others have ended.
    pub fn stand_by(&mut self, path: PathBuf) {
        self.bystander = Some(path);
    }

    /// From now on, what is left of its group is killed when the child itself ends: nothing depends on it.
    pub fn kill_rest(&mut self) {
        self.kills_rest = true;
    }

    /// Whether the child itself has not ended yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    /// Sends `signal` to its whole group.
    pub fn stop(&self, signal: Signal) {
        self.stopper.signal(signal);
    }

    /// Closes its standard input: it is told nothing more.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// What it does next, or `None` when `deadline` passed before the end of the child and of all its group. Where the child
    /// fails, what is left of the group is killed. Once all have ended, something that has left the group may hold the
    /// output open; that is waited for no longer than half a second, and then told.
    ///
    /// # Errors
    /// When the operating system cannot say how the child ended, or what is left of its group.
    pub fn next(&mut self, deadline: Option<Instant>) -> io::Result<Option<Output>> {
        loop {
            // Before anything that was read: a child that prints without pause would never be late.
            let now = Instant::now();
            let until = match &self.phase {
                Phase::Running | Phase::Group(_) if deadline.is_some_and(|deadline| now >= deadline) => {
                    return Ok(None);
                }
                Phase::Running => {
                    let soonest = now + SWEEP;
                    if now >= self.swept + SWEEP && self.born.is_some() {
                        children::sweep();
                        self.swept = now;
                    }
                    Some(deadline.map_or(soonest, |deadline| deadline.min(soonest)))
                }
                Phase::Group(waiting) => {
                    let glance = if waiting.members.is_empty() { LOOK_AGAIN } else { GLANCE };
                    let soonest = waiting.tell.min(now + glance);
                    Some(deadline.map_or(soonest, |deadline| deadline.min(soonest)))
                }
                Phase::Over { until, .. } => Some(*until),
            };
            if matches!(self.phase, Phase::Over { until, .. } if now >= until)
                && (self.out.is_open() || self.err.is_open())
            {
                let open: Vec<_> = [self.out.fd(), self.err.fd()].into_iter().flatten().collect();
                let holders = left::holders(&open);
                self.out.close();
                self.err.close();
                self.heard.push_back(Output::Escaped(holders));
            }
            if let Some(output) = self.heard.pop_front() {
                if let Output::Err(line) = &output {
                    if self.tail.len() == TAIL_LINES {
                        self.tail.pop_front();
                    }
                    self.tail.push_back(shortened(line));
                }
                return Ok(Some(output));
            }
            match &mut self.phase {
                Phase::Over { end, .. } if !self.out.is_open() && !self.err.is_open() => {
                    return Ok(Some(Output::Ended(*end)));
                }
                Phase::Group(waiting) if now >= waiting.tell && !waiting.members.is_empty() => {
                    waiting.quiet = (waiting.quiet * QUIETER).min(QUIETEST);
                    waiting.tell = now + waiting.quiet;
                    let left: Vec<Left> = waiting.members.iter().filter_map(Member::describe).collect();
                    // All of them may have ended just now, which is noticed next.
                    if !left.is_empty() {
                        return Ok(Some(Output::Left(left)));
                    }
                }
                _ => self.wait(until)?,
            }
        }
    }

    /// Waits until something can be read or a process has ended, and takes note of it, but not beyond `until`.
    fn wait(&mut self, until: Option<Instant>) -> io::Result<()> {
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
    fn look_at_group(&mut self, has_changed: bool) -> io::Result<()> {
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

    /// Ends a child on which nothing depends any more: waits for a grace period at most, then the whole group is killed.
    /// Standard input is closed first. Lines on standard error still go to `log`.
    ///
    /// # Errors
    /// When the operating system cannot say how the child ended.
    pub fn finish(&mut self, mut log: impl FnMut(&str)) -> io::Result<ExitStatus> {
        self.stdin = None;
        self.kills_rest = true;
        if matches!(self.phase, Phase::Group(_)) && self.stopper.told() == Told::Nothing {
            self.stopper.signal(Signal::KILL);
        }
        let mut deadline = Some(Instant::now() + GRACE);
        loop {
            match self.next(deadline)? {
                Some(Output::Ended(end)) => return Ok(end.status),
                Some(Output::Err(line)) => log(&line),
                Some(Output::Escaped(left)) => log(&escaped(&left)),
                Some(Output::Detached(left)) => log(&detached(&left)),
                Some(Output::Out(_) | Output::OutClosed(_) | Output::Left(_)) => {}
                None => {
                    self.stopper.signal(Signal::KILL);
                    deadline = None;
                }
            }
        }
    }

    /// The last lines of standard error or of the log so far, indented.
    #[must_use]
    pub fn tail(&self) -> String {
        self.tail.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.phase, Phase::Over { .. }) {
            self.stopper.signal(Signal::KILL);
            if let Phase::Group(waiting) = &mut self.phase {
                waiting.signal(Told::Killed, self.pid);
            }
            // It was killed: it ends. How does not matter any more.
            let _ = reap(&mut self.child, self.pid, &self.stopper);
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

/// What an error message needs of a line.
fn shortened(line: &str) -> String {
    match line.char_indices().nth(TAIL_WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
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
fn reap(child: &mut Child, pid: Pid, stopper: &Stopper) -> io::Result<End> {
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
    warden::forget(pid);
    Ok(End { status: status?, was_stopped: told != Told::Nothing })
}

#[cfg(test)]
mod tests;
