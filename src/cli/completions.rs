//! `pipe completions SHELL`, and the answers to what shells ask while someone types: commands and options from the
//! command line's own definition; stages, vars, profiles and runs from the project at hand.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{CommandFactory, ValueEnum};
use clap_complete::env::Shells;
use clap_complete::{ArgValueCompleter, CompleteEnv, CompletionCandidate};
use history::History;
use pipeline::spec::{self, Overrides};
use record::words::change;
use store::Store;
use text::format;
use text::printable::clean_line;

use super::output::print;
use super::{Cli, Context};
use crate::env::COMPLETE;
use crate::error::{Error, ExitStatus};
use crate::project::Project;

/// Print what makes a shell complete commands, options, stages and runs
///
/// For bash, add the line `source <(pipe completions bash)` to ~/.bashrc; for other shells see below.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// A shell that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// source <(pipe completions bash)
    Bash,
    /// source <(pipe completions zsh), after compinit
    Zsh,
    /// pipe completions fish | source
    Fish,
    /// eval (pipe completions elvish | slurp)
    Elvish,
    /// pipe completions powershell | Out-String | Invoke-Expression
    Powershell,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Elvish => "elvish",
            Self::Powershell => "powershell",
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When standard output cannot be written to.
pub fn run(args: Args, _context: &Context) -> Result<ExitStatus, Error> {
    let shells = Shells::builtins();
    let name = args.shell.name();
    let shell = shells.completer(name).ok_or_else(|| Error::failed(format!("no completions for {name}")))?;
    let mut script = Vec::new();
    shell
        .write_registration(COMPLETE.name, "pipe", "pipe", &program(), &mut script)
        .map_err(Error::failed)?;
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitStatus::Done)
}

/// How to call this program: as it was called, with its path made absolute where it was called by one.
fn program() -> String {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_else(|| PathBuf::from("pipe"));
    let called =
        if called.components().count() > 1 { std::path::absolute(&called).unwrap_or(called) } else { called };
    called.to_string_lossy().into_owned()
}

/// Answers a shell, if one asks.
///
/// # Errors
/// When the shell is not known or its answer cannot be written.
pub(super) fn answer(args: &[OsString]) -> clap::error::Result<bool> {
    let here = std::env::current_dir().ok();
    CompleteEnv::with_factory(Cli::command).var(COMPLETE.name).try_complete(args, here.as_deref())
}

/// Completes stages.
pub(super) fn stages() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let Some(project) = project() else { return vec![] };
        let stages = project.pipeline.stages.values();
        let candidates = stages.map(|stage| (stage.name.to_string(), stage.description.clone()));
        beginning_with(current, candidates)
    })
}

/// Completes runs: names of those in the history, and `latest`.
pub(super) fn runs() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let root = pipeline_file().parent().map(PathBuf::from).unwrap_or_default();
        let store = Store::open(&root.join("."));
        let Some(history) = store.ok().and_then(|store| History::load(&store).ok()) else { return vec![] };
        let told = |run: &history::Past| {
            let changes = history.digest(run, &|_| None).changes;
            let changes: Vec<String> = changes.iter().take(2).map(change).collect();
            format!("{} UTC {}", format::date_time(run.record.started_ms), changes.join(", "))
        };
        let named = history.runs().iter().rev().map(|run| (run.name.to_string(), Some(told(run))));
        let latest = [("latest", "the last run"), ("latest~", "the run before it")];
        let latest = latest.map(|(name, help)| (name.to_owned(), Some(help.to_owned())));
        beginning_with(current, latest.into_iter().chain(named))
    })
}

/// Completes `VAR=` with the vars of the pipeline.
pub(super) fn vars() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let Some(project) = project() else { return vec![] };
        let vars = project.pipeline.vars.iter();
        beginning_with(current, vars.map(|(name, value)| (format!("{name}="), Some(value.to_string()))))
    })
}

/// Completes profiles of the pipeline.
pub(super) fn profiles() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let Ok(parsed) = spec::parse(&pipeline_file()) else { return vec![] };
        beginning_with(current, parsed.profiles().map(|name| (name.to_owned(), None)))
    })
}

fn beginning_with(
    current: &OsStr,
    candidates: impl Iterator<Item = (String, Option<String>)>,
) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let wanted = candidates.filter(|(name, _)| name.starts_with(&*current));
    wanted
        .map(|(name, help)| CompletionCandidate::new(name).help(help.map(|help| clean_line(&help).into())))
        .collect()
}

/// The project, as far as it is valid: who types does not want to read errors.
fn project() -> Option<Project> {
    Project::load(&pipeline_file(), None, &Overrides::default(), None, false).ok()
}

/// The pipeline that the words typed so far name with `--file`.
fn pipeline_file() -> PathBuf {
    file_in(std::env::args_os().map(|word| word.to_string_lossy().into_owned()))
}

fn file_in(words: impl Iterator<Item = String>) -> PathBuf {
    let mut words = words.skip_while(|word| word != "--").skip(1);
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--file") {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('=').map(ToOwned::to_owned),
            None if word == "-f" => words.next(),
            None => word.strip_prefix("-f").filter(|_| !word.starts_with("--")).map(ToOwned::to_owned),
        };
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            return value.into();
        }
    }
    "pipeline.yaml".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pipeline_is_the_one_that_the_words_name() {
        for (words, file) in [
            ("pipe -- pipe run", "pipeline.yaml"),
            ("pipe -- pipe -f a.yaml run", "a.yaml"),
            ("pipe -- pipe run -fa.yaml --json", "a.yaml"),
            ("pipe -- pipe run --file a.yaml", "a.yaml"),
            ("pipe -- pipe run --file=a.yaml", "a.yaml"),
            ("pipe -- pipe run --file", "pipeline.yaml"),
            ("pipe -f ours.yaml -- pipe run", "pipeline.yaml"),
        ] {
            assert_eq!(file_in(words.split(' ').map(str::to_owned)), PathBuf::from(file), "{words}");
        }
    }

    #[test]
    fn every_shell_has_a_script() {
        for shell in Shell::value_variants() {
            assert!(Shells::builtins().completer(shell.name()).is_some(), "{shell:?}");
        }
    }
}
