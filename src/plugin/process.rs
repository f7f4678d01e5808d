//! Child processes of a stage: started in a process group of their own with a clean environment, stopped whole.
//! Knows nothing of stages or of the protocol.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getppid, kill_process_group, set_parent_process_death_signal,
    waitid,
};

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
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// How long a child may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// How many of the last lines of standard error are kept for an error message.
const TAIL_LINES: usize = 12;

/// Longest line of a conversation: a figure is far smaller.
const MAX_MESSAGE: u64 = 64 << 20;

/// Longest line of a log; a longer one becomes several.
const MAX_LOG_LINE: u64 = 1 << 20;

/// How many lines may wait to be read: beyond that a child that talks faster than it is listened to has to wait.
const WAITING_LINES: usize = 1024;

/// Clears the environment of `command` but for the usual variables and `declared` ones that are set.
pub fn clean_environment<'a>(command: &mut Command, declared: impl IntoIterator<Item = &'a str>) {
    command.env_clear();
    for name in USUAL_ENVIRONMENT.iter().copied().chain(declared) {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

/// A handle that stops a running child from another thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    /// The process group; `None` once the child has been reaped, when its number may be another's.
    group: Arc<Mutex<Option<Pid>>>,
}

impl Stopper {
    /// Sends `signal` to the child's whole process group, unless the child has ended.
    pub fn signal(&self, signal: Signal) {
        let group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *group {
            // A group that is gone already is what was wanted.
            let _ = kill_process_group(pid, signal);
        }
    }
}

/// What a child does, as it happens.
#[derive(Debug)]
pub enum Output {
    /// A line on standard output.
    Out(String),
    /// A line on standard error.
    Err(String),
    /// Standard output was closed, or broke for the reason given.
    OutClosed(Option<String>),
    /// The child has ended and all it wrote was read. Always last.
    Ended(ExitStatus),
}

enum Message {
    Output(Output),
    ReaderDone,
    Exit(io::Result<ExitStatus>),
}

/// What standard output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// A conversation: a line beyond all measure breaks it.
    Messages,
    /// A log: a line beyond all measure becomes several.
    Log,
}

/// A running child. Dropped, it is killed with all that it started.
pub struct Process {
    messages: Receiver<Message>,
    stopper: Stopper,
    stdin: Option<ChildStdin>,
    readers: usize,
    /// How it ended, and until when its output is waited for.
    exit: Option<(ExitStatus, Instant)>,
    tail: VecDeque<String>,
}

impl Process {
    /// Starts `command` in a process group of its own; its output is read line by line.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(mut command: Command, stdin: Stdio, stdout: Stdout) -> io::Result<Self> {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let runner = getpid();
        // SAFETY: between fork and exec only two system calls are made, which are async-signal-safe. The thread that
        // starts the child also listens to it, so the death signal fires only when the runner dies.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // A runner that died before this line sends no signal any more.
                if getppid() == Some(runner) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
            });
        }
        let mut child = command.spawn()?;
        let (sender, messages) = mpsc::sync_channel(WAITING_LINES);
        let readers = usize::from(child.stdout.is_some()) + usize::from(child.stderr.is_some());
        if let Some(stream) = child.stdout.take() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let broken =
                    forward(stream, Output::Out, stdout, &sender).err().map(|error| error.to_string());
                // Sending fails only when nobody listens any more.
                let _ = sender.send(Message::Output(Output::OutClosed(broken)));
                let _ = sender.send(Message::ReaderDone);
            });
        }
        if let Some(stderr) = child.stderr.take() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                // What breaks standard error costs only the rest of the log.
                let _ = forward(stderr, Output::Err, Stdout::Log, &sender);
                let _ = sender.send(Message::ReaderDone);
            });
        }
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let stopper = Stopper { group: Arc::new(Mutex::new(pid)) };
        let stdin = child.stdin.take();
        let group = Arc::clone(&stopper.group);
        std::thread::spawn(move || {
            // Sending fails only when nobody listens any more.
            let _ = sender.send(Message::Exit(reap(child, &group)));
        });
        Ok(Self { messages, stopper, stdin, readers, exit: None, tail: VecDeque::new() })
    }

    /// A handle to stop it from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Its standard input, once.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Keeps standard input open until [`Process::finish`].
    pub fn return_stdin(&mut self, stdin: ChildStdin) {
        self.stdin = Some(stdin);
    }

    /// What it does next, or `None` when `deadline` passed first. Once the child has ended, what it left behind may
    /// hold its output open; that is waited for no longer than a grace period.
    ///
    /// # Errors
    /// When the operating system cannot say how the child ended.
    pub fn next(&mut self, deadline: Option<Instant>) -> io::Result<Option<Output>> {
        loop {
            if let (0, Some((status, _))) = (self.readers, self.exit) {
                return Ok(Some(Output::Ended(status)));
            }
            let patience = self.exit.map(|(_, until)| until);
            let until = match (deadline, patience) {
                (Some(deadline), Some(patience)) => Some(deadline.min(patience)),
                (deadline, patience) => deadline.or(patience),
            };
            let message = match until {
                None => self.messages.recv().ok(),
                Some(until) => {
                    match self.messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
                        Ok(message) => Some(message),
                        Err(RecvTimeoutError::Timeout) if Some(until) == patience => {
                            self.readers = 0;
                            continue;
                        }
                        Err(RecvTimeoutError::Timeout) => return Ok(None),
                        Err(RecvTimeoutError::Disconnected) => None,
                    }
                }
            };
            match message {
                Some(Message::Output(output)) => {
                    if let Output::Err(line) = &output {
                        self.remember(line);
                    }
                    return Ok(Some(output));
                }
                Some(Message::ReaderDone) => self.readers = self.readers.saturating_sub(1),
                Some(Message::Exit(status)) => self.exit = Some((status?, Instant::now() + GRACE)),
                None => return Err(io::Error::other("lost track of a child process")),
            }
        }
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

    /// The last lines of standard error so far, indented.
    #[must_use]
    pub fn tail(&self) -> String {
        self.tail.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
    }

    fn remember(&mut self, line: &str) {
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stopper.signal(Signal::KILL);
    }
}

/// Waits for the child, then kills what it left behind in its group, which would hold files and cores, and only
/// then reaps it: until that its number cannot become another's.
fn reap(mut child: Child, group: &Mutex<Option<Pid>>) -> io::Result<ExitStatus> {
    let pid = *group.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pid) = pid {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(error) = waitid(WaitId::Pid(pid), options) {
            if error != rustix::io::Errno::INTR {
                break;
            }
        }
    }
    let mut group = group.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pid) = group.take() {
        // Usually nothing is left of the group but the child itself.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    child.wait()
}

fn forward(
    stream: impl Read,
    wrap: impl Fn(String) -> Output,
    kind: Stdout,
    sender: &mpsc::SyncSender<Message>,
) -> io::Result<()> {
    let longest = match kind {
        Stdout::Messages => MAX_MESSAGE,
        Stdout::Log => MAX_LOG_LINE,
    };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(longest).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if kind == Stdout::Messages && line.len() as u64 == longest {
            return Err(io::Error::other(format!("a line is longer than {} MB", longest >> 20)));
        }
        if sender.send(Message::Output(wrap(String::from_utf8_lossy(&line).into_owned()))).is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start(command, Stdio::null(), Stdout::Log).unwrap()
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
        let (mut lines, status) = collect(shell("echo a; printf b; echo c >&2; exit 3"));
        lines.sort();
        assert_eq!(lines, ["err c", "out a", "out b"]);
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn what_a_child_leaves_behind_is_killed() {
        let (lines, status) = collect(shell("sleep 1000 & echo started"));
        assert_eq!(lines, ["out started"]);
        assert!(status.success());
    }

    #[test]
    fn a_line_beyond_measure_becomes_several() {
        let (lines, status) = collect(shell("head -c 3000000 /dev/zero | tr '\\0' a; echo; echo end"));
        assert!(status.success());
        assert_eq!(lines.len(), 4);
        assert_eq!(lines.iter().map(|line| line.len() - "out ".len()).sum::<usize>(), 3_000_003);
    }

    #[test]
    fn what_escapes_the_group_is_not_waited_for() {
        let (lines, status) = collect(shell("setsid sleep 100000 & echo $!"));
        assert!(status.success());
        let escaped = lines[0].strip_prefix("out ").unwrap().parse().unwrap();
        rustix::process::kill_process(Pid::from_raw(escaped).unwrap(), Signal::KILL).unwrap();
    }

    #[test]
    fn a_stopped_child_ends_with_its_children() {
        let process = shell("sleep 1000; echo never");
        process.stopper().signal(Signal::TERM);
        let (lines, status) = collect(process);
        assert!(lines.is_empty());
        assert!(!status.success());
    }

    #[test]
    fn only_usual_and_declared_variables_are_passed_on() {
        let mut command = Command::new("env");
        command.env("PIPE_TEST_SECRET", "1");
        clean_environment(&mut command, ["CARGO_MANIFEST_DIR"]);
        let (lines, _) = collect(Process::start(command, Stdio::null(), Stdout::Log).unwrap());
        assert!(lines.iter().any(|line| line.starts_with("out PATH=")));
        assert!(lines.iter().any(|line| line.starts_with("out CARGO_MANIFEST_DIR=")));
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
