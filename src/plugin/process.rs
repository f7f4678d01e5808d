//! Child processes of a stage: started in a process group of their own with a clean environment, listened to and
//! stopped whole. One has ended when all of its group has. The thread that started a child waits for it with one `poll`:
//! no threads of its own. Knows nothing of stages or of the protocol.

mod ending;
mod waiting;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use text::secret::Masks;

use self::ending::reap;
use self::waiting::Waiting;
use super::children::{self, Moment, Role};
use super::group::Member;
use super::left;
use super::lines::Lines;
use super::orphan_guard;
use super::stopper::Told;

pub use super::inherited::{PROXIES, clean_environment};
pub use super::left::{Left, detached, escaped};
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
        orphan_guard::wake();
        let born = children::adopt();
        let (mut child, pid) = stopper.start(|| {
            let child = children::spawn(&mut command, Role::Worker)?;
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or_else(|| io::Error::other("a child process without a number"))?;
            orphan_guard::watch(pid);
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

/// What an error message needs of a line.
fn shortened(line: &str) -> String {
    match line.char_indices().nth(TAIL_WIDTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests;
