//! From the command line of a stage to a process that is ready to be started: fills in paths and params, and starts a
//! shell only where there is something for it to do. Knows no log and no process that runs.
//!
//! A shell takes longer to start than many commands take to run. As `make` does, a text without quotes, variables,
//! redirections and the like, whose first word is a program and not a word of the shell, is split at its blanks and started
//! as it is. What the command sees is the same.
//!
//! A script of several lines ends at the first one that fails, and, where the shell knows of that, at a pipe in which any
//! command fails: what comes after would work on what is not there.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use pipeline::spec::{CommandAction, CommandLine};
use rustix::fs::{Access, access};

use super::setting::Setting;
use crate::env;

const SHELL: &str = "/bin/sh";

/// Where programs are looked for without a `PATH`.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a shell understands itself at the start of a command: reserved words and built-in commands of POSIX, dash and
/// bash. Those that are programs, too, are among them where the two differ.
const WORDS_OF_THE_SHELL: &[&str] = &[
    ".",
    ":",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "chdir",
    "command",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "do",
    "done",
    "echo",
    "elif",
    "else",
    "enable",
    "esac",
    "eval",
    "exec",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "help",
    "history",
    "if",
    "in",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "test",
    "then",
    "time",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "until",
    "wait",
    "while",
];

/// How a shell reads a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    /// To its end.
    OneLine,
    /// Up to the first line that fails.
    StopsAtFailure,
}

/// A command line, filled in.
pub(super) struct Line {
    /// As shown in the log; the text for the shell where it is one.
    pub(super) shown: String,
    /// The program and its arguments. `None` where only a shell can make them.
    words: Option<Vec<String>>,
    /// Whether it was written as a text, and whether that ends at a line that fails.
    text: Option<Script>,
}

impl Line {
    /// Puts the paths and params of an execution into its command line. `None` where that is an empty list.
    pub(super) fn fill(action: &CommandAction, setting: &Setting) -> Option<Self> {
        let fill = |text: &str, quote: bool| fill(text, action, &setting.inputs, &setting.outputs, quote);
        match &action.command {
            CommandLine::Shell(text) => {
                let words = plain_words(text);
                let words = words.map(|words| words.into_iter().map(|word| fill(word, false)).collect());
                let stops = action.command.stops_at_failure();
                let script = if stops { Script::StopsAtFailure } else { Script::OneLine };
                Some(Self { shown: fill(text, true), words, text: Some(script) })
            }
            CommandLine::Args(args) if args.is_empty() => None,
            CommandLine::Args(args) => {
                let args: Vec<String> = args.iter().map(|arg| fill(arg, false)).collect();
                Some(Self { shown: args.join(" "), words: Some(args), text: None })
            }
        }
    }

    /// A text as a shell gets it, whether or not it needs one.
    pub(super) fn with_shell(&self) -> Option<Command> {
        self.text.map(|script| shell(&self.shown, script))
    }

    /// Whether the program is there.
    pub(super) fn finds(&self, action: &CommandAction, root: &Path) -> bool {
        find(self.program(), root, search_path(action).as_deref()).is_some()
    }

    /// The program, or the first word for the shell.
    pub(super) fn program(&self) -> &str {
        match &self.words {
            None => self.shown.split_whitespace().next().unwrap_or_default(),
            Some(words) => words.first().map_or("", String::as_str),
        }
    }

    /// What to start in `root`, without environment; a program is looked for where the stage's `PATH` says.
    pub(super) fn command(&self, action: &CommandAction, root: &Path) -> Command {
        let Some(words) = &self.words else {
            return shell(&self.shown, self.text.unwrap_or(Script::OneLine));
        };
        let program = self.program();
        // Where there is none, who starts it is told why.
        let file = find(program, root, search_path(action).as_deref()).unwrap_or_else(|| program.into());
        let mut command = Command::new(file);
        command.arg0(program).args(words.iter().skip(1));
        command
    }
}

fn shell(text: &str, script: Script) -> Command {
    let mut command = Command::new(SHELL);
    if script == Script::StopsAtFailure {
        command.arg("-e");
        if knows_pipefail() {
            command.args(["-o", "pipefail"]);
        }
    }
    command.arg("-c").arg(text);
    command
}

/// Whether the shell can notice that a command in a pipe fails which is not the last one. Debian's has learnt it late.
fn knows_pipefail() -> bool {
    static KNOWS: OnceLock<bool> = OnceLock::new();
    *KNOWS.get_or_init(|| {
        let mut command = Command::new(SHELL);
        command
            .args(["-c", "set -o pipefail"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// Where the stage's programs are looked for.
fn search_path(action: &CommandAction) -> Option<OsString> {
    action.env.get("PATH").map(OsString::from).or_else(|| env::PATH.value())
}

/// The same for a file that the kernel does not know how to execute: a script that names no interpreter is one for the shell.
pub(super) fn as_script(command: &Command) -> Command {
    let mut script = Command::new(SHELL);
    script.arg(command.get_program()).args(command.get_args());
    script
}

/// Looks for a program as `execvp` does, and gives its path as that would: relative where the folder is. A command that is
/// given a path is started without a copy of this process.
fn find(program: &str, root: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    let is_program = |file: &PathBuf| {
        let file = root.join(file);
        file.is_file() && access(&file, Access::EXEC_OK).is_ok()
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(is_program);
    }
    if program.is_empty() {
        return None;
    }
    let path = path.unwrap_or(OsStr::new(USUAL_PATH));
    let folders = path.as_bytes().split(|byte| *byte == b':');
    let folders = folders.map(|folder| if folder.is_empty() { &b"."[..] } else { folder });
    folders.map(|folder| Path::new(OsStr::from_bytes(folder)).join(program)).find(is_program)
}

/// The words of a text in which a shell would find nothing to do but to split it. They may refer to inputs, outputs and
/// params.
fn plain_words(text: &str) -> Option<Vec<&str>> {
    let is_plain =
        |word: &str| word.chars().all(|char| char.is_alphanumeric() || "-_./:,+@%=".contains(char));
    let is_plain_but_for_references = |word: &str| {
        let mut parts = word.split("${");
        parts.next().is_some_and(is_plain)
            && parts.all(|part| match part.split_once('}') {
                Some((reference, rest)) => {
                    let is_ours =
                        ["inputs.", "outputs.", "params."].iter().any(|kind| reference.starts_with(kind));
                    is_ours && is_plain(reference) && is_plain(rest)
                }
                None => false,
            })
    };
    let words: Vec<&str> = text.trim_end().split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    let first = words.first()?;
    let is_program = is_plain(first) && !first.contains('=') && !WORDS_OF_THE_SHELL.contains(first);
    (is_program && words.iter().all(|word| is_plain_but_for_references(word))).then_some(words)
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
mod tests;
