//! Executes a command stage: fills in the paths of inputs and outputs, runs it, keeps what it prints as the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::log::Log;
use super::op::describe_exit;
use super::trace::Trace;
use super::{Failure, Yield};
use crate::plugin::process::{Output, Process, Stdout, Stopper, clean_environment};
use crate::spec::{CommandAction, CommandLine};

/// What may be done about a program that is not there.
const NOT_FOUND: &str = "is it installed, and on PATH?";

/// Runs a command in `folder` to its end.
///
/// # Errors
/// When it cannot be started, or ends with anything but exit code 0.
pub(super) fn run(
    action: &CommandAction,
    inputs: &BTreeMap<String, PathBuf>,
    outputs: &BTreeMap<String, PathBuf>,
    folder: &Path,
    trace: Option<&Trace>,
    log: &mut Log,
    stopper: &Stopper,
) -> Result<Yield, Failure> {
    let fill = |text: &str, quote: bool| fill(text, inputs, outputs, quote);
    let (command, shown) = match &action.command {
        CommandLine::Shell(text) => {
            let text = fill(text, true);
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(&text);
            (command, text)
        }
        CommandLine::Args(args) => {
            let args: Vec<String> = args.iter().map(|arg| fill(arg, false)).collect();
            let Some((program, rest)) = args.split_first() else {
                return Err(Failure::new("the command is an empty list"));
            };
            let mut command = Command::new(program);
            command.args(rest);
            (command, args.join(" "))
        }
    };
    let mut command = match trace {
        Some(trace) => trace.wrap(&command),
        None => command,
    };
    clean_environment(&mut command, []);
    command.envs(&action.env).current_dir(folder);
    log.line(&format!("$ {shown}"));
    let program = shown.split_whitespace().next().unwrap_or_default();
    let mut process = Process::start(command, Stdio::null(), Stdout::Log, stopper).map_err(|error| {
        let failure = Failure::new(format!("cannot start `{program}`: {error}"));
        match error.kind() {
            std::io::ErrorKind::NotFound => failure.hint(NOT_FOUND),
            _ => failure,
        }
    })?;
    let status = loop {
        match process.next(None) {
            Ok(Some(Output::Out(line) | Output::Err(line))) => log.line(&line),
            Ok(Some(Output::OutClosed(_)) | None) => {}
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
        message.push_str("; the end of its standard error:\n");
        message.push_str(&tail);
    }
    Err(Failure::new(message))
}

/// Puts paths in place of `${inputs.NAME}` and `${outputs.NAME}`, for the shell in single quotes. `$${` stands for
/// `${`.
fn fill(
    text: &str,
    inputs: &BTreeMap<String, PathBuf>,
    outputs: &BTreeMap<String, PathBuf>,
    quote: bool,
) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        filled.push_str(&rest[..start]);
        rest = &rest[start..];
        if let Some(after) = rest.strip_prefix("$${") {
            filled.push_str("${");
            rest = after;
            continue;
        }
        let reference = rest.strip_prefix("${").and_then(|after| after.split_once('}'));
        let path = reference.and_then(|(name, _)| match name.split_once('.') {
            Some(("inputs", name)) => inputs.get(name),
            Some(("outputs", name)) => outputs.get(name),
            _ => None,
        });
        match (path, reference) {
            (Some(path), Some((_, after))) => {
                let path = path.to_string_lossy();
                if quote {
                    filled.push('\'');
                    filled.push_str(&path.replace('\'', r"'\''"));
                    filled.push('\'');
                } else {
                    filled.push_str(&path);
                }
                rest = after;
            }
            _ => {
                filled.push('$');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_filled_in_and_quoted_for_the_shell() {
        let inputs = BTreeMap::from([("model".to_owned(), PathBuf::from("/a b/it's"))]);
        let outputs = BTreeMap::from([("out".to_owned(), PathBuf::from("/o"))]);
        let fill = |text, quote| fill(text, &inputs, &outputs, quote);
        assert_eq!(fill("cp ${inputs.model} ${outputs.out}", true), r"cp '/a b/it'\''s' '/o'");
        assert_eq!(fill("${inputs.model}", false), "/a b/it's");
        assert_eq!(
            fill("echo $HOME ${HOME} $${inputs.model} $", true),
            "echo $HOME ${HOME} ${inputs.model} $"
        );
    }
}
