//! Child processes of a stage: started in a process group of their own with a clean environment, listened to and
//! stopped whole. The thread that started a child waits for it with one `poll`: no threads of its own. Knows nothing
//! of stages or of the protocol.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};

use super::lines::Lines;
use super::warden;
use crate::secret::{Masks, without_credentials};

pub use super::lines::Stdout;

/// Environment variables that every child gets: what programs need to find themselves, their files and the
/// network. Everything else is withheld, so that a result cannot depend on it unnoticed.
const USUAL_ENVIRONMENT: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "TERM",
    "LD_LIBRARY_PATH",
    "RUST_BACKTRACE",
    "CUDA_VISIBLE_DEVICES",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "no_proxy",
    "NO_PROXY",
];

/// Variables that name a proxy. Every child gets them, too, but with user and password only if it declares them.
pub const PROXIES: &[&str] =
    &["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// How long a child may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// How long output is waited for that something holds open which has left the child's group: the rest is killed when the
/// child ends.
const LINGER: Duration = Duration::from_millis(500);

/// How many of the last lines of standard error, or of a log, are kept for an error message.
const TAIL_LINES: usize = 12;

/// How many characters of each.
const TAIL_WIDTH: usize = 400;

/// Clears the environment of `command` but for the usual variables and `declared` ones that are set.
pub fn clean_environment<'a>(command: &mut Command, declared: impl IntoIterator<Item = &'a str>) {
    command.env_clear();
    for name in PROXIES {
        // What is no text cannot be told from a secret.
        if let Some(value) = std::env::var_os(name).as_ref().and_then(|value| value.to_str()) {
            command.env(name, &*without_credentials(value));
        }
    }
    for name in USUAL_ENVIRONMENT.iter().copied().chain(declared) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

/// A handle that stops a child from another thread. Held from before the child is started, so that no signal falls
/// between its start and somebody's knowing of it.
#[derive(Debug, Clone, Default)]
pub struct Stopper {
    target: Arc<Mutex<Target>>,
}

/// Whom a stopper reaches.
#[derive(Debug, Clone, Copy, Default)]
enum Target {
    /// Nobody: the child is not started, or is reaped, and its number may be another's.
    #[default]
    Nobody,
    /// The process group of this number.
    Group(Pid),
    /// Nobody, and no child may be started any more.
    Stopped,
}

impl Stopper {
    /// Sends `signal` to the child's whole process group. A child that is not running will not be started any more
    /// where the signal is one to end it.
    pub fn signal(&self, signal: Signal) {
        let mut target = self.target();
        match *target {
            Target::Group(pid) => {
                // A group that is gone already is what was wanted.
                let _ = kill_process_group(pid, signal);
            }
            Target::Nobody if signal == Signal::TERM || signal == Signal::KILL => *target = Target::Stopped,
            Target::Nobody | Target::Stopped => {}
        }
    }

    fn target(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a child does, as it happens.
#[derive(Debug)]
pub enum Output {
    /// A line on standard output.
    Out(String),
    /// A line on standard error, or on either stream where both are a log.
    Err(String),
    /// Standard output was closed, or broke for the reason given.
    OutClosed(Option<String>),
    /// The child has ended and all it wrote was read. Always last.
    Ended(ExitStatus),
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
    /// How it ended, and until when its output is waited for.
    exit: Option<(ExitStatus, Instant)>,
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
        warden::wake();
        let mut target = stopper.target();
        if let Target::Stopped = *target {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "it is not to be started any more"));
        }
        let mut child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a child process without a number"))?;
        warden::watch(pid);
        *target = Target::Group(pid);
        drop(target);
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
                Ok(Self { child, stopper, stdin, out, err, end, exit: None, heard, tail })
            }
            Err(error) => {
                stopper.signal(Signal::KILL);
                // It was killed: it ends.
                let _ = reap(&mut child, &stopper);
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

    /// What it does next, or `None` when `deadline` passed before its end. Once the child has ended, what it left behind may
    /// hold its output open; that is waited for no longer than half a second, and then told as a line.
    ///
    /// # Errors
    /// When the operating system cannot say how the child ended.
    pub fn next(&mut self, deadline: Option<Instant>) -> io::Result<Option<Output>> {
        loop {
            // Before anything that was read: a child that prints without pause would never be late.
            let now = Instant::now();
            if self.exit.is_none() && deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(None);
            }
            if self.exit.is_some_and(|(_, until)| now >= until) && (self.out.is_open() || self.err.is_open())
            {
                self.out.close();
                self.err.close();
                let line =
                    "something that it left running holds its output open; what that prints is not kept";
                self.heard.push_back(Output::Err(line.into()));
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
            match self.exit {
                Some((status, _)) if !self.out.is_open() && !self.err.is_open() => {
                    return Ok(Some(Output::Ended(status)));
                }
                Some((_, until)) => self.wait(Some(until))?,
                None => self.wait(deadline)?,
            }
        }
    }

    /// Waits until something can be read or the child has ended, and takes note of it, but not beyond `until`.
    fn wait(&mut self, until: Option<Instant>) -> io::Result<()> {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = timeout.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let streams = [self.out.fd(), self.err.fd(), self.exit.is_none().then(|| self.end.as_fd())];
        let mut fds: Vec<PollFd<'_>> =
            streams.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
            Ok(_) => {}
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
        if end {
            let status = reap(&mut self.child, &self.stopper)?;
            self.exit = Some((status, Instant::now() + LINGER));
        }
        Ok(())
    }

    /// Waits for the end, for a grace period at most; then the whole group is killed. Standard input is closed
    /// first. Lines on standard error still go to `log`.
    ///
    /// # Errors
    /// When the operating system cannot say how the child ended.
    pub fn finish(&mut self, mut log: impl FnMut(&str)) -> io::Result<ExitStatus> {
        self.stdin = None;
        let mut deadline = Some(Instant::now() + GRACE);
        loop {
            match self.next(deadline)? {
                Some(Output::Ended(status)) => return Ok(status),
                Some(Output::Err(line)) => log(&line),
                Some(Output::Out(_) | Output::OutClosed(_)) => {}
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
        if self.exit.is_none() {
            self.stopper.signal(Signal::KILL);
            // It was killed: it ends. How does not matter any more.
            let _ = reap(&mut self.child, &self.stopper);
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

/// Waits for a child that has ended or is about to, then kills what it left behind in its group, which would hold files
/// and cores, and only then reaps it: until that its number cannot become another's.
fn reap(child: &mut Child, stopper: &Stopper) -> io::Result<ExitStatus> {
    let target = *stopper.target();
    let Target::Group(pid) = target else { return child.wait() };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(error) = waitid(WaitId::Pid(pid), options) {
        if error != rustix::io::Errno::INTR {
            break;
        }
    }
    // From here on nobody else signals the group: its number may be another's once the child is reaped.
    *stopper.target() = Target::Nobody;
    // Usually nothing is left of the group but the child itself.
    let _ = kill_process_group(pid, Signal::KILL);
    let status = child.wait();
    warden::forget(pid);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start(command, Stdio::null(), Stdout::Log, &Stopper::default()).unwrap()
    }

    fn collect(mut process: Process) -> (Vec<String>, ExitStatus) {
        let mut lines = Vec::new();
        loop {
            match process.next(None).unwrap().unwrap() {
                Output::Out(line) => lines.push(format!("out {line}")),
                Output::Err(line) => lines.push(format!("err {line}")),
                Output::OutClosed(broken) => assert_eq!(broken, None),
                Output::Ended(status) => return (lines, status),
            }
        }
    }

    #[test]
    fn output_and_status_arrive() {
        let (lines, status) = collect(shell("echo a; echo b >&2; printf c; exit 3"));
        assert_eq!(lines, ["err a", "err b", "err c"], "in the order in which they were written");
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn what_a_child_leaves_behind_is_killed() {
        let (lines, status) = collect(shell("sleep 1000 & echo started"));
        assert_eq!(lines, ["err started"]);
        assert!(status.success());
    }

    #[test]
    fn a_line_beyond_measure_becomes_several() {
        let (lines, status) = collect(shell("head -c 3000000 /dev/zero | tr '\\0' a; echo; echo end"));
        assert!(status.success());
        assert_eq!(lines.len(), 4);
        assert_eq!(lines.iter().map(|line| line.len() - "err ".len()).sum::<usize>(), 3_000_003);
    }

    #[test]
    fn what_escapes_the_group_is_not_waited_for() {
        let (lines, status) = collect(shell(
            "setsid sleep 100000 & until grep -q \"^$! (sleep) \" /proc/$!/stat; do :; done; echo $!",
        ));
        assert!(status.success());
        assert!(lines[1].contains("holds its output open"), "{lines:?}");
        let escaped = lines[0].strip_prefix("err ").unwrap().parse().unwrap();
        rustix::process::kill_process(Pid::from_raw(escaped).unwrap(), Signal::KILL).unwrap();
    }

    #[test]
    fn a_child_that_prints_without_pause_is_late_all_the_same() {
        let mut process = shell("yes");
        let deadline = Some(Instant::now() + Duration::from_millis(50));
        while process.next(deadline).unwrap().is_some() {}
        process.stopper.signal(Signal::KILL);
        assert!(!process.finish(|_| {}).unwrap().success());
    }

    #[test]
    fn what_escapes_and_prints_without_pause_is_not_waited_for() {
        let (lines, status) = collect(shell(
            "setsid yes & until grep -q \"^$! (yes) \" /proc/$!/stat; do :; done; echo $! > /dev/stderr",
        ));
        assert!(status.success());
        let escaped = lines.iter().find_map(|line| line.strip_prefix("err ")?.parse().ok()).unwrap();
        rustix::process::kill_process(Pid::from_raw(escaped).unwrap(), Signal::KILL).unwrap();
    }

    #[test]
    fn a_stopped_child_ends_with_its_children() {
        let process = shell("sleep 1000; echo never");
        process.stopper.signal(Signal::TERM);
        let (lines, status) = collect(process);
        assert!(lines.is_empty());
        assert!(!status.success());
    }

    #[test]
    fn only_usual_and_declared_variables_are_passed_on() {
        let mut command = Command::new("env");
        command.env("PIPE_TEST_SECRET", "1");
        clean_environment(&mut command, ["CARGO_MANIFEST_DIR"]);
        let (lines, _) =
            collect(Process::start(command, Stdio::null(), Stdout::Log, &Stopper::default()).unwrap());
        assert!(lines.iter().any(|line| line.starts_with("err PATH=")));
        assert!(lines.iter().any(|line| line.starts_with("err CARGO_MANIFEST_DIR=")));
        assert!(!lines.iter().any(|line| line.contains("CARGO_PKG") || line.contains("SECRET")));
    }

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let mut process = shell("for i in $(seq 100); do echo $i >&2; done");
        process.finish(|_| {}).unwrap();
        assert!(process.tail().ends_with("    99\n    100"));
        assert_eq!(process.tail().lines().count(), TAIL_LINES);
    }
}
