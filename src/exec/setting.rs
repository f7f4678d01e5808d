//! One try of a stage: where it reads and writes, what it may use, and until when. Common to ops and commands.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use protocol::LogLevel;
use rustix::process::Signal;
use text::clock::Stopwatch;
use text::format;
use text::secret::Masks;

use super::log::Log;
use super::trace::Trace;
use super::{Failure, Notice};
use crate::env;
use crate::plugin::process::{End, Left, MARK, Output, Process, Stopper, detached, escaped};

/// What a try is given.
pub(super) struct Setting {
    /// The folder of the outputs, and nothing else.
    pub(super) folder: PathBuf,
    /// Input paths by name.
    pub(super) inputs: BTreeMap<String, PathBuf>,
    /// Where outputs are to be written, by name.
    pub(super) outputs: BTreeMap<String, PathBuf>,
    /// The GPUs that are its own; none where it did not ask for any.
    pub(super) gpus: Vec<String>,
    pub(super) trace: Option<Trace>,
    pub(super) timeout: Option<Timeout>,
    pub(super) stopper: Stopper,
    /// Variables that hold secrets.
    pub(super) secrets: BTreeSet<String>,
    /// What is to be taken out of all that is said.
    pub(super) masks: Masks,
    /// Where figures are kept until the execution ends.
    pub(super) figures: PathBuf,
    /// What tells its processes from all others.
    pub(super) mark: String,
}

/// How long something may take, not counting the time that this process is asleep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeout {
    allowed: Duration,
    watch: Stopwatch,
}

impl Timeout {
    /// A time-out that begins now.
    pub(super) fn starting_now(allowed: Duration) -> Self {
        Self { allowed, watch: Stopwatch::start() }
    }

    fn left(&self) -> Duration {
        self.allowed.saturating_sub(self.watch.elapsed())
    }
}

/// What a child does next, or `None` when its time is over.
///
/// # Errors
/// When the operating system cannot say how the child ended.
pub(super) fn next_within(process: &mut Process, timeout: Option<Timeout>) -> io::Result<Option<Output>> {
    loop {
        // None where it would be beyond all clocks.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout.left()));
        let next = process.next(deadline)?;
        // The deadline may have passed while this process was asleep.
        if next.is_some() || timeout.is_some_and(|timeout| timeout.left().is_zero()) {
            return Ok(next);
        }
    }
}

impl Setting {
    /// Marks a child and all that it will start as this stage's.
    pub(super) fn mark(&self, command: &mut Command) {
        command.env(MARK, &self.mark);
    }

    /// Lets a child see the GPUs that are its own, and where it asked for none, those that `pipe` sees.
    pub(super) fn show_gpus(&self, command: &mut Command) {
        if !self.gpus.is_empty() {
            command.env(env::VISIBLE_GPUS.name, self.gpus.join(","));
        }
    }

    /// Waits until a child has ended with all that it started in its group. What is left running is told after a second; it
    /// may take as long as the stage may.
    ///
    /// # Errors
    /// When that took too long.
    pub(super) fn follow(
        &self,
        process: &mut Process,
        log: &mut Log,
        notify: &dyn Fn(Notice),
    ) -> Result<End, Failure> {
        let mut since = None;
        loop {
            match next_within(process, self.timeout) {
                Ok(Some(Output::Err(line))) => log.line(&line),
                Ok(Some(Output::Out(_) | Output::OutClosed(_))) => {}
                Ok(Some(Output::Left(left))) => {
                    let line = waiting_for(&left, since, self.timeout.is_some());
                    since.get_or_insert_with(Stopwatch::start);
                    log.line(&line);
                    notify(Notice::Log(LogLevel::Warn, line));
                }
                Ok(Some(Output::Escaped(left))) => {
                    let line = escaped(&left);
                    log.line(&line);
                    notify(Notice::Log(LogLevel::Warn, line));
                }
                Ok(Some(Output::Detached(left))) => warn_of_detached(&left, log, notify),
                Ok(Some(Output::Ended(end))) => return Ok(end),
                Ok(None) => return Err(self.stop(process, log)),
                Err(error) => return Err(Failure::new(format!("lost contact with the process: {error}"))),
            }
        }
    }

    /// Stops a child whose time is over: it is asked to end, and killed with all that it started if it does not.
    pub(super) fn stop(&self, process: &mut Process, log: &mut Log) -> Failure {
        self.stopper.signal(Signal::TERM);
        // How it ends is no news: it was told to.
        let _ = process.finish(|line| log.line(line));
        let allowed = self.timeout.map(|timeout| format::duration(timeout.allowed)).unwrap_or_default();
        Failure::new(format!("it was stopped because it took longer than its `timeout` of {allowed}"))
            .hint("the log may say what it was waiting for; if it is merely slow, raise `timeout`")
    }
}

/// Tells who was left in a session of its own.
pub(super) fn warn_of_detached(left: &[Left], log: &mut Log, notify: &dyn Fn(Notice)) {
    let line = detached(left);
    log.line(&line);
    notify(Notice::Log(LogLevel::Warn, line));
}

/// Why nothing is kept of what was stopped, or part of which was: what it wrote may be half of what it would have written.
pub(super) fn stopped() -> Failure {
    Failure::new("the stage or one of its processes was stopped early; its result was discarded")
}

/// Who is left running of a stage, and what may be done about it; `since` is when that was told first.
fn waiting_for(left: &[Left], since: Option<Stopwatch>, has_timeout: bool) -> String {
    /// Processes that are named.
    const NAMED: usize = 3;
    let mut named: Vec<String> = left.iter().take(NAMED).map(Left::to_string).collect();
    if left.len() > NAMED {
        named.push(format!("{} more", left.len() - NAMED));
    }
    let who = named.join(", ");
    let Some(since) = since else {
        return format!("it has ended, but what it started has not: waiting for {who}");
    };
    let remedy = if has_timeout { "its `timeout` ends that" } else { "a `timeout` would end that" };
    let for_how_long = format::duration(since.elapsed());
    format!("still waiting for {who} after {for_how_long}; {remedy}; start servers outside the pipeline")
}
