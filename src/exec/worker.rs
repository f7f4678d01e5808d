//! One execution of one stage, on a thread of its own: prepares paths, runs the op or the command, looks at what it left
//! and takes that into the store.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::spec::{Action, Ignore, Stage};
use protocol::{Ignored, LogLevel, RunRequest};
use record::ActionRecord;
use store::{Finished, Miss};
use text::clock::{Stopwatch, millis, now_ms};
use text::format;
use text::secret::Masks;
use tracing::{debug_span, info_span};

use super::command::PRINTED;
use super::log::Log;
use super::setting::{Setting, Timeout};
use super::trace::Trace;
use super::{Failure, Notice, Yield, command, inputs, op, outputs, secrets};
use crate::error::Error;
use crate::plugin::process::Stopper;
use crate::project::Project;

/// Whether a run is to end: what has not begun does not begin any more.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    is_stopping: Mutex<bool>,
    changed: Condvar,
}

impl Stopping {
    pub(super) fn stop(&self) {
        *self.is_stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.is_stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, unless the run is to end before that.
    fn wait(&self, duration: Duration) {
        let guard = self.is_stopping.lock().unwrap_or_else(PoisonError::into_inner);
        // Whatever woke it up, who calls looks again.
        drop(self.changed.wait_timeout_while(guard, duration, |is_stopping| !*is_stopping));
    }
}

/// A stage to be executed.
pub(super) struct Job<'a> {
    pub(super) project: &'a Project,
    pub(super) stage: &'a Stage,
    pub(super) miss: Miss,
    pub(super) threads: usize,
    /// The GPUs that are its own; none where it did not ask for any.
    pub(super) gpus: Vec<String>,
    /// Id of the run.
    pub(super) run: &'a str,
    /// Whether to trace it. Only commands are.
    pub(super) trace: bool,
    pub(super) stopping: &'a Stopping,
    /// Stops what is being executed.
    pub(super) stopper: Stopper,
}

/// Executes the stage, as often as it takes and may be tried, and commits what it gave.
pub(super) fn run(job: Job<'_>, notify: &dyn Fn(Notice)) -> Result<ActionRecord, Failure> {
    let name = &job.stage.name;
    let _execute =
        info_span!("execute", run = job.run, stage = %name, key = %job.miss.key().digest()).entered();
    let masks = secrets::masks(job.stage)?;
    let notify = |notice| notify(secrets::hide_notice(notice, &masks));
    job.execute_and_keep(&masks, &notify).map_err(|failure| failure.hidden(&masks))
}

impl Job<'_> {
    fn execute_and_keep(self, masks: &Masks, notify: &dyn Fn(Notice)) -> Result<ActionRecord, Failure> {
        let (path, mut log) = start_log(self.project, self.stage)?;
        self.tell_of_secrets(&mut log, notify)?;
        let mut done = self.attempt(&path, masks, &mut log, notify);
        let mut wait = self.stage.retries.backoff;
        for again in 1..=self.stage.retries.times {
            let Err(failure) = &done else { break };
            if self.stopping.is_stopping() {
                break;
            }
            let pause =
                if wait.is_zero() { String::new() } else { format!(" in {}", format::duration(wait)) };
            let line = format!(
                "{}; trying again{pause} ({again} of {})",
                failure.message.split(PRINTED).next().unwrap_or_default(),
                self.stage.retries.times,
            );
            log.line(&line);
            notify(Notice::Log(LogLevel::Warn, line));
            self.stopping.wait(wait);
            wait = wait.saturating_mul(2);
            done = self.attempt(&path, masks, &mut log, notify);
        }
        let closed = log.close().map_err(|error| {
            Failure::new(format!("cannot write the log `{}`: {error}", path.display()))
                .hint("is the disk full? `pipe doctor` shows how much is free")
        });
        let done = done.and_then(|done| closed.map(|()| done))?;
        let _publish = info_span!("publish").entered();
        Ok(self.project.store.commit(self.miss, done)?)
    }

    /// Says which secrets are not there, and which cannot be hidden.
    fn tell_of_secrets(&self, log: &mut Log, notify: &dyn Fn(Notice)) -> Result<(), Failure> {
        if let [name, ..] = secrets::missing_secrets(self.stage).as_slice() {
            let failure = Failure::new(format!("its secret `{name}` is not set in the environment"));
            log.failure(&failure);
            return Err(failure);
        }
        for name in secrets::too_short(self.stage) {
            let line = format!("the value of `{name}` is too short to be hidden where it is printed");
            log.line(&format!("warning: {line}"));
            notify(Notice::Log(LogLevel::Warn, line));
        }
        Ok(())
    }
}

/// Starts the log of an execution, and says where.
pub(super) fn start_log(project: &Project, stage: &Stage) -> Result<(PathBuf, Log), Failure> {
    let path = project.store.log_path(&stage.name)?;
    let _ = std::fs::remove_file(project.store.figures_path(&stage.name));
    let log = Log::create(&path, secrets::masks(stage)?)
        .map_err(|error| Failure::new(format!("cannot write `{}`: {error}", path.display())))?;
    Ok((path, log))
}

impl Job<'_> {
    fn setting(&self, masks: &Masks) -> Result<Setting, Error> {
        let folder = self.project.store.work_dir()?;
        let outputs = self.stage.outputs.iter();
        let is_traced = self.trace && matches!(self.stage.action, Action::Command(_));
        Ok(Setting {
            inputs: inputs::paths(self.project, self.stage),
            outputs: outputs.map(|(name, file)| (name.clone(), folder.join(file))).collect(),
            gpus: self.gpus.clone(),
            trace: is_traced
                .then(|| inputs::tracing(self.project, self.stage, folder.with_extension("trace"))),
            timeout: self.stage.timeout.map(Timeout::starting_now),
            stopper: self.stopper.clone(),
            secrets: self.stage.secrets.clone(),
            masks: masks.clone(),
            figures: self.project.store.figures_path(&self.stage.name),
            mark: mark(&self.project.pipeline.root, &self.stage.name),
            folder,
        })
    }

    /// Runs the stage once; afterwards every output is there, and every input as it was before.
    fn attempt(
        &self,
        path: &Path,
        masks: &Masks,
        log: &mut Log,
        notify: &dyn Fn(Notice),
    ) -> Result<Finished, Failure> {
        let (watch, started_ms) = (Stopwatch::start(), now_ms());
        let setting = self.setting(masks)?;
        let looked =
            debug_span!("inputs").in_scope(|| inputs::Before::look(self.project, self.stage, &self.miss));
        let result = looked.and_then(|before| Ok((before, self.execute(&setting, log, notify)?)));
        match &setting.trace {
            Some(trace) if self.stopping.is_stopping() => trace.forget(),
            Some(trace) => tell(trace, log, notify),
            None => {}
        }
        let result = result.and_then(|(before, result)| {
            let _outputs = debug_span!("outputs").entered();
            outputs::check(self.project, self.stage, &setting)?;
            // An input that was edited meanwhile poisons nothing.
            before.check_unchanged(self.project, self.stage, &self.miss)?;
            Ok(result)
        });
        let result = result.inspect_err(|failure| log.failure(failure))?;
        let outputs = setting.outputs.into_iter().filter_map(|(name, path)| {
            let file = self.stage.outputs.get(&name)?.clone();
            Some((name, (file, path)))
        });
        Ok(Finished {
            outputs: outputs.collect(),
            metrics: result.metrics,
            figures: result.figures,
            folder: setting.folder,
            log: path.to_owned(),
            started_ms,
            duration_ms: millis(watch.elapsed()),
            machine: self.project.machine.clone(),
            run: self.run.to_owned(),
            provisional: result.provisional,
            pace: result.pace,
        })
    }

    fn execute(&self, setting: &Setting, log: &mut Log, notify: &dyn Fn(Notice)) -> Result<Yield, Failure> {
        if self.stopping.is_stopping() {
            return Err(Failure::new("the run was interrupted before it began"));
        }
        match &self.stage.action {
            Action::Command(action) => {
                let _command = info_span!("command").entered();
                command::run(action, setting, &self.project.pipeline.root, log, notify)
            }
            Action::Op(action) => {
                let inputs::Programs { executables, env } = inputs::programs(self.project, action)?;
                let Some(executable) = executables.get(&action.plugin) else {
                    return Err(Failure::new(format!("plugin `{}` was not found", action.plugin)));
                };
                let manifest = self.project.registry.manifest(&action.plugin).map_err(Error::from)?;
                let inputs = self.stage.inputs.keys().map(String::as_str);
                let declared =
                    manifest.ops.get(&action.op).and_then(|op| op.metric_names(inputs, &action.params));
                let declared = declared.as_ref();
                let program = op::Program { plugin: &action.plugin, executable, env: &env, declared };
                let companions = executables.iter().filter(|(name, _)| **name != action.plugin);
                let request = RunRequest {
                    op: action.op.clone(),
                    params: action.params.clone(),
                    inputs: setting.inputs.clone(),
                    outputs: setting.outputs.clone(),
                    threads: self.threads,
                    resume_dir: self.project.store.resume_dir(&self.miss)?,
                    continue_dir: match action.continues.as_slice() {
                        [] => None,
                        params => Some(self.project.store.continue_dir(&self.miss, params)?),
                    },
                    companions: companions.map(|(name, path)| (name.clone(), path.clone())).collect(),
                    ignore: (!action.filtered.is_empty()).then(|| ignored(&self.project.pipeline.ignore)),
                };
                op::run(&program, request, setting, log, notify)
            }
        }
    }
}

/// Patterns as a plugin gets them.
fn ignored(ignore: &Ignore) -> Ignored {
    Ignored { root: ignore.root().to_owned(), patterns: ignore.patterns().map(str::to_owned).collect() }
}

/// Tells what a command opened without declaring it.
fn tell(trace: &Trace, log: &mut Log, notify: &dyn Fn(Notice)) {
    let lines = trace
        .findings()
        .unwrap_or_else(|error| vec![format!("cannot determine which files it opened: {error}")]);
    for line in lines {
        log.line(&format!("warning: {line}"));
        notify(Notice::Log(LogLevel::Warn, line));
    }
}

/// What tells the processes of a stage from those of all others: the same whenever it is executed here, so that a program that
/// shows its environment shows the same again.
fn mark(root: &Path, stage: &StageName) -> String {
    let named = [root.as_os_str().as_bytes(), stage.as_str().as_bytes()].join(&0);
    format!("{stage}-{}", Digest::of_bytes(&named).short())
}
