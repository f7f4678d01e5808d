//! One execution of one stage, on a thread of its own: prepares paths, runs the op or the command, and looks at
//! what it left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use protocol::RunRequest;

use super::log::Log;
use super::{Failure, Notice, Yield, command, op};
use crate::hardware;
use crate::spec::{Action, Stage};

/// All that an execution needs.
pub(super) struct Job {
    pub(super) stage: Stage,
    /// The pipeline's folder, where commands run.
    pub(super) root: PathBuf,
    /// Input paths by name.
    pub(super) inputs: BTreeMap<String, PathBuf>,
    /// Where outputs are to be written, by name. Their folder exists and is empty.
    pub(super) outputs: BTreeMap<String, PathBuf>,
    pub(super) resume_dir: PathBuf,
    pub(super) log: PathBuf,
    pub(super) threads: usize,
    /// The GPUs that are its own; none where it did not ask for any.
    pub(super) gpus: Vec<String>,
    /// Executables by plugin name: the op's own and its companions'. Empty for a command.
    pub(super) executables: BTreeMap<String, PathBuf>,
    /// Environment variables that the op's plugins declared.
    pub(super) env: Vec<String>,
}

/// Runs the stage; afterwards every output is there.
pub(super) fn run(job: &Job, notify: &dyn Fn(Notice)) -> Result<Yield, Failure> {
    let mut log = Log::create(&job.log)
        .map_err(|error| Failure::new(format!("cannot write `{}`: {error}", job.log.display())))?;
    let result = execute(job, &mut log, notify).and_then(|result| check_outputs(job).map(|()| result));
    if let Err(failure) = &result {
        log.line(&format!("failed: {}", failure.message));
        if let Some(hint) = &failure.hint {
            log.line(&format!("help: {hint}"));
        }
    }
    let closed = log.close().map_err(|error| {
        Failure::new(format!("cannot write the log `{}`: {error}", job.log.display()))
            .hint("is the disk full? `pipe doctor` shows how much is free")
    });
    result.and_then(|result| closed.map(|()| result))
}

fn execute(job: &Job, log: &mut Log, notify: &dyn Fn(Notice)) -> Result<Yield, Failure> {
    match &job.stage.action {
        Action::Command(action) => command::run(action, job, log, notify),
        Action::Op(action) => {
            let Some(executable) = job.executables.get(&action.plugin) else {
                return Err(Failure::new(format!("plugin `{}` was not found", action.plugin)));
            };
            let program = op::Program { plugin: &action.plugin, executable, env: &job.env, gpus: &job.gpus };
            let companions = job.executables.iter().filter(|(name, _)| **name != action.plugin);
            let request = RunRequest {
                op: action.op.clone(),
                params: action.params.clone(),
                inputs: job.inputs.clone(),
                outputs: job.outputs.clone(),
                threads: job.threads,
                resume_dir: job.resume_dir.clone(),
                companions: companions.map(|(name, path)| (name.clone(), path.clone())).collect(),
            };
            op::run(&program, request, log, notify)
        }
    }
}

/// Lets a child see the GPUs that are its own, and where it asked for none, those that `pipe` sees.
pub(super) fn show_gpus(command: &mut Command, gpus: &[String]) {
    if !gpus.is_empty() {
        command.env(hardware::VISIBLE_GPUS, gpus.join(","));
    }
}

fn check_outputs(job: &Job) -> Result<(), Failure> {
    for (name, path) in &job.outputs {
        if let Err(error) = std::fs::symlink_metadata(path) {
            let file = job.stage.outputs.get(name).map_or("", String::as_str);
            return Err(Failure::new(format!(
                "it ended without writing its output `{name}` (`{file}`): {error}"
            ))
            .hint(match job.stage.action {
                Action::Command(_) => format!("write it to the path that `${{outputs.{name}}}` stands for"),
                Action::Op(_) => "the plugin said `done` too early: please tell its authors".into(),
            }));
        }
    }
    Ok(())
}
