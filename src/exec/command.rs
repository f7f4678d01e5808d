//! Executes a command stage: fills in params and the paths of inputs and outputs, runs it, keeps what it prints as the
//! log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::log::Log;
use super::op::describe_exit;
use super::setting::Setting;
use super::{Failure, Yield};
use crate::plugin::process::{Output, Process, Stdout, clean_environment};
use crate::spec::{CommandAction, CommandLine};

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
    let fill = |text: &str, quote: bool| fill(text, action, &setting.inputs, &setting.outputs, quote);
    let trace = setting.trace.as_ref();
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
    setting.show_gpus(&mut command);
    command.envs(&action.env).current_dir(root);
    log.line(&format!("$ {shown}"));
    let program = shown.split_whitespace().next().unwrap_or_default();
    let mut process =
        Process::start(command, Stdio::null(), Stdout::Log, &setting.stopper).map_err(|error| {
            let failure = Failure::new(format!("cannot start `{program}`: {error}"));
            match error.kind() {
                std::io::ErrorKind::NotFound => failure.hint(NOT_FOUND),
                _ => failure,
            }
        })?;
    let status = loop {
        match process.next(setting.deadline()) {
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

/// Puts paths in place of `${inputs.NAME}` and `${outputs.NAME}`, and values in place of `${params.NAME}`, for the
/// shell in single quotes. `$${` stands for `${`.
fn fill(
    text: &str,
    action: &CommandAction,
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
        let path = |paths: &BTreeMap<String, PathBuf>, name| {
            paths.get(name).map(|path: &PathBuf| path.to_string_lossy().into_owned())
        };
        let value = reference.and_then(|(name, _)| match name.split_once('.') {
            Some(("inputs", name)) => path(inputs, name),
            Some(("outputs", name)) => path(outputs, name),
            Some(("params", name)) => action.param(name),
            _ => None,
        });
        match (value, reference) {
            (Some(value), Some((_, after))) => {
                if quote {
                    filled.push('\'');
                    filled.push_str(&value.replace('\'', r"'\''"));
                    filled.push('\'');
                } else {
                    filled.push_str(&value);
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
    use serde_json::json;

    #[test]
    fn values_are_filled_in_and_quoted_for_the_shell() {
        let inputs = BTreeMap::from([("model".to_owned(), PathBuf::from("/a b/it's"))]);
        let outputs = BTreeMap::from([("out".to_owned(), PathBuf::from("/o"))]);
        let action = CommandAction {
            command: CommandLine::Args(vec![]),
            params: json!({ "lr": 0.1, "opt": { "name": "it's" }, "fast": true, "sizes": [1] }),
            param_locations: BTreeMap::new(),
            env: BTreeMap::new(),
        };
        let fill = |text, quote| fill(text, &action, &inputs, &outputs, quote);
        assert_eq!(fill("cp ${inputs.model} ${outputs.out}", true), r"cp '/a b/it'\''s' '/o'");
        assert_eq!(fill("${inputs.model}", false), "/a b/it's");
        assert_eq!(
            fill("f --lr ${params.lr} ${params.opt.name} ${params.fast}", true),
            r"f --lr '0.1' 'it'\''s' 'true'"
        );
        assert_eq!(
            fill("--lr=${params.lr} ${params.sizes} ${params.x}", false),
            "--lr=0.1 ${params.sizes} ${params.x}"
        );
        assert_eq!(
            fill("echo $HOME ${HOME} $${inputs.model} $", true),
            "echo $HOME ${HOME} ${inputs.model} $"
        );
    }
}
