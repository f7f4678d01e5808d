//! One try of a stage: where it reads and writes, what it may use, and until when. Common to ops and commands.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Failure;
use super::log::Log;
use super::trace::Trace;
use crate::clock::Stopwatch;
use crate::plugin::process::{Output, Process, Stopper};
use crate::secret::Masks;
use crate::{format, hardware};

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
    /// Lets a child see the GPUs that are its own, and where it asked for none, those that `pipe` sees.
    pub(super) fn show_gpus(&self, command: &mut Command) {
        if !self.gpus.is_empty() {
            command.env(hardware::VISIBLE_GPUS, self.gpus.join(","));
        }
    }

    /// Stops a child whose time is over: it is asked to end, and killed with all that it started if it does not.
    pub(super) fn stop(&self, process: &mut Process, log: &mut Log) -> Failure {
        self.stopper.signal(Signal::TERM);
        // How it ends is no news: it was told to.
        let _ = process.finish(|line| log.line(line));
        let allowed = self.timeout.map(|timeout| format::duration(timeout.allowed)).unwrap_or_default();
        Failure::new(format!("it was stopped because it took longer than its `timeout` of {allowed}"))
            .hint("the log may say what it was waiting for; if it only takes long, raise `timeout`")
    }
}
