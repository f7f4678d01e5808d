//! The tasks: what the command line asks for, and the steps of each.
//!
//! Knows the order of the steps. How a step is done, the other modules know.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;

use crate::soak::Soak;
use crate::step::{become_command, finish};
use crate::workspace::{Workspace, say};
use crate::{habits, layers, peers, setup, usage};

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Setup,
    Demo(Vec<OsString>),
    Test(Vec<OsString>),
    Fmt,
    Lint,
    Bless,
    Bench(Vec<OsString>),
    Layers,
    Soak(Soak),
    Help,
}

impl Task {
    /// Reads the command line, without the name of the program; the error says what is wrong with it.
    pub(crate) fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let Some(name) = words.next() else { return Err("no task given".to_owned()) };
        let rest: Vec<OsString> = words.collect();
        let alone = |task: Self| match rest.first() {
            None => Ok(task),
            Some(word) => {
                Err(format!("`{}` takes no argument, but got `{}`", name.display(), word.display()))
            }
        };
        match name.to_str() {
            Some("setup") => alone(Self::Setup),
            Some("fmt") => alone(Self::Fmt),
            Some("lint") => alone(Self::Lint),
            Some("bless") => alone(Self::Bless),
            Some("bench") => Ok(Self::Bench(rest)),
            Some("help" | "--help" | "-h") => alone(Self::Help),
            Some("layers") => alone(Self::Layers),
            Some("demo") => Ok(Self::Demo(rest)),
            Some("test") => Ok(Self::Test(rest)),
            Some("soak") => Ok(Self::Soak(Soak::parse(&rest)?)),
            _ => Err(format!("there is no task `{}`", name.display())),
        }
    }

    /// Runs the task. `demo`, `test` and `bench` end by becoming their last command, so that its exit code, and a
    /// Ctrl-C, are its own; they return only when a step before it failed.
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self {
            Self::Help => {
                std::io::stdout().write_all(usage().as_bytes())?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Setup => {
                setup::run(&Workspace::find()?)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Demo(args) => demo(&Workspace::find()?, &args),
            Self::Test(args) => test(&Workspace::find()?, &args),
            Self::Fmt => habits::fmt(&Workspace::find()?),
            Self::Lint => habits::lint(&Workspace::find()?),
            Self::Bless => habits::bless(&Workspace::find()?),
            Self::Bench(args) => {
                become_command(Workspace::find()?.command("python3").arg("bench/run.py").args(args))
            }
            Self::Layers => {
                layers::draw(&Workspace::find()?)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Soak(soak) => soak.run(&Workspace::find()?),
        }
    }
}

fn demo(workspace: &Workspace, args: &[OsString]) -> Result<ExitCode> {
    say("demo 1/3: native libraries");
    setup::run(workspace)?;
    say("demo 2/3: building in release mode (some minutes the first time)");
    finish(workspace.cargo().args(["build", "--release", "--workspace"]))?;
    say("demo 3/3: pipe run --profile demo");
    let mut pipe = workspace.command("target/release/pipe");
    become_command(pipe.args(["run", "--profile", "demo"]).args(args))
}

/// Documentation tests go first, so that the run ends with the largest part; with `args` there is one run of all.
fn test(workspace: &Workspace, args: &[OsString]) -> Result<ExitCode> {
    say("test 1/4: native libraries");
    setup::run(workspace)?;
    say("test 2/4: Python packages to compare with");
    let mut tests = workspace.cargo();
    tests.args(["test", "--workspace"]);
    match peers::prepare(workspace) {
        Ok(python) => {
            tests.env(peers::VARIABLE, python);
        }
        Err(error) if in_ci() => {
            return Err(
                error.context("the tests that compare with Python packages must run when `CI` is set")
            );
        }
        Err(error) => {
            tests.env_remove(peers::VARIABLE);
            say(&format!("the tests that compare with Python packages will be skipped: {error:#}"));
        }
    }
    say("test 3/4: building (some minutes the first time)");
    // Tests start the programs of other packages, which `cargo test` alone would not build. Building the tests in the
    // same go settles on one set of features, so that nothing large is built twice.
    finish(workspace.cargo().args(["build", "--workspace", "--all-targets"]))?;
    say("test 4/4: tests");
    if args.is_empty() {
        finish(workspace.cargo().args(["test", "--workspace", "--doc"]))?;
        tests.args(["--no-fail-fast", "--lib", "--bins", "--tests"]);
    }
    become_command(tests.args(args))
}

fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false" && value != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Task, String> {
        Task::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn arguments_of_demo_and_test_are_passed_on_untouched() {
        assert_eq!(
            parse(&["demo", "--set", "epochs=1"]),
            Ok(Task::Demo(vec!["--set".into(), "epochs=1".into()]))
        );
        assert_eq!(parse(&["test", "--help"]), Ok(Task::Test(vec!["--help".into()])));
        assert_eq!(parse(&["bench", "null-run"]), Ok(Task::Bench(vec!["null-run".into()])));
    }

    #[test]
    fn wrong_command_lines_name_the_word() {
        assert_eq!(parse(&["setpu"]), Err("there is no task `setpu`".to_owned()));
        assert_eq!(parse(&["setup", "-v"]), Err("`setup` takes no argument, but got `-v`".to_owned()));
        assert_eq!(parse(&[]), Err("no task given".to_owned()));
    }
}
