//! One execution of one stage, on a thread of its own: prepares paths, runs the op or the command, looks at what it left
//! and takes that into the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use protocol::{LogLevel, RunRequest};

use super::log::Log;
use super::trace::Trace;
use super::{Failure, Notice, Yield, command, inputs, op};
use crate::clock::{millis, now_ms};
use crate::error::Error;
use crate::plugin::process::Stopper;
use crate::project::Project;
use crate::record::ActionRecord;
use crate::spec::{Action, Stage};
use crate::store::{Finished, Miss};

/// Whether a run is to end: what has not begun does not begin any more.
#[derive(Debug, Default)]
pub(super) struct Stopping(AtomicBool);

impl Stopping {
    pub(super) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stage to be executed.
pub(super) struct Job<'a> {
    pub(super) project: &'a Project,
    pub(super) stage: &'a Stage,
    pub(super) miss: Miss,
    pub(super) threads: usize,
    /// Id of the run.
    pub(super) run: &'a str,
    /// Whether to trace it. Only commands are.
    pub(super) trace: bool,
    pub(super) stopping: &'a Stopping,
    /// Stops what is being executed.
    pub(super) stopper: Stopper,
}

/// Where an execution reads and writes.
struct Places {
    /// The folder of the outputs, and nothing else.
    folder: PathBuf,
    inputs: BTreeMap<String, PathBuf>,
    outputs: BTreeMap<String, PathBuf>,
    log: PathBuf,
    trace: Option<Trace>,
}

/// Executes the stage and commits what it gave.
pub(super) fn run(job: Job<'_>, notify: &dyn Fn(Notice)) -> Result<ActionRecord, Failure> {
    let (begin, started_ms) = (Instant::now(), now_ms());
    let places = job.places()?;
    let result = job.run(&places, notify)?;
    // An input that was edited meanwhile poisons nothing.
    inputs::check_unchanged(job.project, job.stage, &job.miss)?;
    let outputs = places.outputs.into_iter().filter_map(|(name, path)| {
        let file = job.stage.outputs.get(&name)?.clone();
        Some((name, (file, path)))
    });
    let finished = Finished {
        outputs: outputs.collect(),
        metrics: result.metrics,
        figures: result.figures,
        folder: places.folder,
        log: places.log,
        started_ms,
        duration_ms: millis(begin.elapsed()),
        machine: job.project.machine.clone(),
        run: job.run.to_owned(),
    };
    Ok(job.project.store.commit(job.miss, finished)?)
}

impl Job<'_> {
    fn places(&self) -> Result<Places, Error> {
        let folder = self.project.store.work_dir()?;
        let outputs = self.stage.outputs.iter();
        let is_traced = self.trace && matches!(self.stage.action, Action::Command(_));
        Ok(Places {
            inputs: inputs::paths(self.project, self.stage),
            outputs: outputs.map(|(name, file)| (name.clone(), folder.join(file))).collect(),
            log: self.project.store.log_path(&self.stage.name)?,
            trace: is_traced
                .then(|| inputs::tracing(self.project, self.stage, folder.with_extension("trace"))),
            folder,
        })
    }

    /// Runs the stage; afterwards every output is there.
    fn run(&self, places: &Places, notify: &dyn Fn(Notice)) -> Result<Yield, Failure> {
        let mut log = Log::create(&places.log)
            .map_err(|error| Failure::new(format!("cannot write `{}`: {error}", places.log.display())))?;
        let result = self.execute(places, &mut log, notify);
        if let (Some(trace), false) = (&places.trace, self.stopping.is_stopping()) {
            tell(trace, &mut log, notify);
        }
        let result = result.and_then(|result| self.check_outputs(places).map(|()| result));
        if let Err(failure) = &result {
            log.line(&format!("failed: {}", failure.message));
            if let Some(hint) = &failure.hint {
                log.line(&format!("help: {hint}"));
            }
        }
        let closed = log.close().map_err(|error| {
            Failure::new(format!("cannot write the log `{}`: {error}", places.log.display()))
                .hint("is the disk full? `pipe doctor` shows how much is free")
        });
        result.and_then(|result| closed.map(|()| result))
    }

    fn execute(&self, places: &Places, log: &mut Log, notify: &dyn Fn(Notice)) -> Result<Yield, Failure> {
        if self.stopping.is_stopping() {
            return Err(Failure::new("the run was interrupted before it began"));
        }
        match &self.stage.action {
            Action::Command(action) => {
                let root: &Path = &self.project.pipeline.root;
                let trace = places.trace.as_ref();
                command::run(action, &places.inputs, &places.outputs, root, trace, log, &self.stopper)
            }
            Action::Op(action) => {
                let inputs::Programs { executables, env } = inputs::programs(self.project, action)?;
                let Some(executable) = executables.get(&action.plugin) else {
                    return Err(Failure::new(format!("plugin `{}` was not found", action.plugin)));
                };
                let program = op::Program { plugin: &action.plugin, executable, env: &env };
                let companions = executables.iter().filter(|(name, _)| **name != action.plugin);
                let request = RunRequest {
                    op: action.op.clone(),
                    params: action.params.clone(),
                    inputs: places.inputs.clone(),
                    outputs: places.outputs.clone(),
                    threads: self.threads,
                    resume_dir: self.project.store.resume_dir(&self.miss)?,
                    companions: companions.map(|(name, path)| (name.clone(), path.clone())).collect(),
                };
                op::run(&program, request, log, &self.stopper, notify)
            }
        }
    }

    fn check_outputs(&self, places: &Places) -> Result<(), Failure> {
        for (name, path) in &places.outputs {
            if let Err(error) = std::fs::symlink_metadata(path) {
                let file = self.stage.outputs.get(name).map_or("", String::as_str);
                return Err(Failure::new(format!(
                    "it ended without writing its output `{name}` (`{file}`): {error}"
                ))
                .hint(match self.stage.action {
                    Action::Command(_) => {
                        format!("write it to the path that `${{outputs.{name}}}` stands for")
                    }
                    Action::Op(_) => "the plugin said `done` too early: please tell its authors".into(),
                }));
            }
        }
        Ok(())
    }
}

/// Tells what a command opened without declaring it.
fn tell(trace: &Trace, log: &mut Log, notify: &dyn Fn(Notice)) {
    let lines =
        trace.findings().unwrap_or_else(|error| vec![format!("what it opened cannot be told: {error}")]);
    for line in lines {
        log.line(&format!("warning: {line}"));
        notify(Notice::Log(LogLevel::Warn, line));
    }
}
