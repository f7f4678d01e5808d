//! Executes a command stage: runs its command line and keeps what it prints as the log.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use pipeline::spec::CommandAction;
use rustix::io::Errno;

use super::line::{Line, as_script};
use super::log::Log;
use super::op::describe_exit;
use super::setting::{Setting, stopped};
use super::{Failure, Notice, Yield};
use crate::plugin::process::{Process, Stdout, clean_environment};

/// Comes before the last lines of what a command printed, in the message of its failure.
pub(super) const PRINTED: &str = "; the end of what it printed:\n";

/// What may be done about a program that is not there.
const NOT_FOUND: &str = "is it installed, and on PATH?";

/// Runs a command in `root`, the pipeline's folder, to its end and to that of all that it starts.
///
/// # Errors
/// When it cannot be started, ends with anything but exit code 0, or had to be stopped.
pub(super) fn run(
    action: &CommandAction,
    setting: &Setting,
    root: &Path,
    log: &mut Log,
    notify: &dyn Fn(Notice),
) -> Result<Yield, Failure> {
    let Some(line) = Line::fill(action, setting) else {
        return Err(Failure::new("the command is an empty list"));
    };
    let trace = setting.trace.as_ref();
    let start = |command: Command| {
        let mut command = match trace {
            Some(trace) => trace.wrap(&command),
            None => command,
        };
        clean_environment(&mut command, setting.secrets.iter().map(String::as_str));
        setting.show_gpus(&mut command);
        // `PWD` as a shell would set it.
        command.env("PWD", root).envs(&action.env).current_dir(root);
        setting.mark(&mut command);
        Process::start(command, Stdio::null(), Stdout::Log, &setting.stopper)
    };
    log.line(&format!("$ {}", line.shown));
    let program = line.program();
    // strace cannot start a script that names no interpreter: a shell can.
    let command = || trace.and_then(|_| line.with_shell()).unwrap_or_else(|| line.command(action, root));
    let started = match start(command()) {
        Err(error) if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => {
            start(as_script(&command()))
        }
        started => started,
    };
    let mut process = started.map_err(|error| {
        let failure = Failure::new(format!("cannot start `{program}`: {error}"));
        match error.kind() {
            ErrorKind::NotFound if line.finds(action, root) => failure.hint(
                "it is there: is the interpreter that its first line names, and does that end without a CR?",
            ),
            ErrorKind::NotFound => failure.hint(NOT_FOUND),
            ErrorKind::PermissionDenied => failure.hint(format!("may it be executed? `chmod +x {program}`")),
            _ => failure,
        }
    })?;
    process.hide(&setting.masks);
    if let Some(trace) = trace {
        process.stand_by(trace.file.clone());
    }
    let end = setting.follow(&mut process, log, notify)?;
    let tail = process.tail();
    if let Some(trace) = trace
        && !trace.has_started()
    {
        let why = tail.trim().trim_start_matches("strace: ");
        return Err(Failure::new(format!("cannot start `{program}`: {why}")).hint(NOT_FOUND));
    }
    if end.status.success() {
        return if end.was_stopped { Err(stopped()) } else { Ok(Yield::default()) };
    }
    let mut message = format!("the command failed with {}", describe_exit(end.status));
    if !tail.is_empty() {
        message.push_str(PRINTED);
        message.push_str(&tail);
    }
    Err(Failure::new(message))
}
