//! Executes a command stage: runs its command line and keeps what it prints as the log.

use std::path::Path;
use std::process::Stdio;

use super::line::Line;
use super::log::Log;
use super::op::describe_exit;
use super::setting::{Setting, next_within};
use super::{Failure, Yield};
use crate::plugin::process::{Output, Process, Stdout, clean_environment};
use crate::spec::CommandAction;

/// Comes before the last lines of what a command printed, in the message of its failure.
pub(super) const PRINTED: &str = "; the end of what it printed:\n";

/// What may be done about a program that is not there.
const NOT_FOUND: &str = "is it installed, and on PATH?";

/// Runs a command in `root`, the pipeline's folder, to its end.
///
/// # Errors
/// When it cannot be started, or ends with anything but exit code 0.
pub(super) fn run(
    action: &CommandAction,
    setting: &Setting,
    root: &Path,
    log: &mut Log,
) -> Result<Yield, Failure> {
    let Some(line) = Line::fill(action, setting) else {
        return Err(Failure::new("the command is an empty list"));
    };
    let trace = setting.trace.as_ref();
    let command = line.command(action, root);
    let mut command = match trace {
        Some(trace) => trace.wrap(&command),
        None => command,
    };
    clean_environment(&mut command, []);
    setting.show_gpus(&mut command);
    // `PWD` as a shell would set it.
    command.env("PWD", root).envs(&action.env).current_dir(root);
    log.line(&format!("$ {}", line.shown));
    let program = line.shown.split_whitespace().next().unwrap_or_default();
    let mut process =
        Process::start(command, Stdio::null(), Stdout::Log, &setting.stopper).map_err(|error| {
            let failure = Failure::new(format!("cannot start `{program}`: {error}"));
            match error.kind() {
                std::io::ErrorKind::NotFound => failure.hint(NOT_FOUND),
                _ => failure,
            }
        })?;
    let status = loop {
        match next_within(&mut process, setting.timeout) {
            Ok(Some(Output::Out(line) | Output::Err(line))) => log.line(&line),
            Ok(Some(Output::OutClosed(_))) => {}
            Ok(None) => return Err(setting.stop(&mut process, log)),
            Ok(Some(Output::Ended(status))) => break status,
            Err(error) => return Err(Failure::new(format!("the command was lost: {error}"))),
        }
    };
    let tail = process.tail();
    if let Some(trace) = trace
        && !trace.has_started()
    {
        let why = tail.trim().trim_start_matches("strace: ");
        return Err(Failure::new(format!("cannot start `{program}`: {why}")).hint(NOT_FOUND));
    }
    if status.success() {
        return Ok(Yield::default());
    }
    let mut message = format!("the command failed with {}", describe_exit(status));
    if !tail.is_empty() {
        message.push_str(PRINTED);
        message.push_str(&tail);
    }
    Err(Failure::new(message))
}
