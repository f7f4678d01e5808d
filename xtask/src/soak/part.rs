//! The parts of `cargo xtask soak`: which tests or targets each of them runs, and how much longer than by default.
//!
//! The tests are those that `cargo xtask test` runs in their short form. They take counts from the environment and print
//! lines `figure | WHAT | VALUE`.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail};

use super::watch::watch;
use crate::workspace::Workspace;

/// How long a part may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As in every run of the tests.
    Short,
    /// As in `docs/reliability.md`.
    Long,
}

impl Form {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Short => "the short form",
            Self::Long => "the long form",
        }
    }
}

/// A part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its name on the command line and in the documentation.
    pub(crate) name: &'static str,
    /// What it does, for the list of parts.
    about: &'static str,
    work: Work,
}

#[derive(Debug, PartialEq, Eq)]
enum Work {
    /// Tests of a package whose names contain a word, and the variables that make them longer.
    Tests {
        package: &'static str,
        target: &'static [&'static str],
        filter: &'static str,
        long: &'static [(&'static str, &'static str)],
    },
    /// A target of `fuzz/`, with the bytes that an input may have and the executions of the long form.
    Fuzz { target: &'static str, bytes: u32, executions: u64 },
}

const TERMINAL: &[&str] = &["--test", "terminal"];

pub(crate) static PARTS: [Part; 10] = [
    Part {
        name: "kills",
        about: "runs killed at any moment",
        // Some moments come too late.
        work: terminal("crash::", &[("PIPE_CRASH_ROUNDS", "1500")]),
    },
    Part {
        name: "concurrency",
        about: "eight runs in each of eight folders that share a cache",
        work: terminal("company::", &[("PIPE_COMPANY_RUNS", "8"), ("PIPE_COMPANY_ROUNDS", "8")]),
    },
    Part {
        name: "damage",
        about: "every file of a cache, damaged in every way",
        work: terminal("damage::", &[("PIPE_DAMAGE_SHARE", "1")]),
    },
    Part { name: "plugins", about: "plugins that misbehave", work: terminal("hostile::", &[]) },
    Part {
        name: "servers",
        about: "servers that misbehave",
        work: Work::Tests { package: "pipe-data", target: &["--bins"], filter: "fetch::", long: &[] },
    },
    Part {
        name: "memory",
        about: "how much memory large inputs take",
        work: terminal("memory::", &[("PIPE_MEMORY_SIZES", "long")]),
    },
    fuzz("fuzz-pipeline", "pipeline", 8192, 10_000_000),
    fuzz("fuzz-plugin_message", "plugin_message", 8192, 10_000_000),
    fuzz("fuzz-cache_record", "cache_record", 8192, 10_000_000),
    fuzz("fuzz-onnx_model", "onnx_model", 65_536, 1_000_000),
];

const fn terminal(filter: &'static str, long: &'static [(&'static str, &'static str)]) -> Work {
    Work::Tests { package: "pipe", target: TERMINAL, filter, long }
}

const fn fuzz(name: &'static str, target: &'static str, bytes: u32, executions: u64) -> Part {
    Part { name, about: "random bytes to one kind of reader", work: Work::Fuzz { target, bytes, executions } }
}

/// The list of parts.
pub(crate) fn usage() -> String {
    let mut text = String::new();
    for part in &PARTS {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<20} {}", part.name, part.about);
    }
    text
}

/// Executions of a fuzz target in its short form.
const FEW: u64 = 20_000;

/// What one process of a target executes: a kill loses no more than these.
const CHUNK: u64 = 1_000_000;

impl Part {
    /// Runs it to its end, and gives its figures.
    pub(super) fn run(&self, form: Form, workspace: &Workspace) -> Result<Vec<(String, String)>> {
        match &self.work {
            Work::Tests { package, target, filter, long } => {
                self.tests(form, workspace, package, target, filter, long)
            }
            Work::Fuzz { target, bytes, executions } => {
                let executions = if form == Form::Long { *executions } else { FEW };
                self.fuzz(form, workspace, target, *bytes, executions)
            }
        }
    }

    fn tests(
        &self,
        form: Form,
        workspace: &Workspace,
        package: &str,
        target: &[&str],
        filter: &str,
        long: &[(&str, &str)],
    ) -> Result<Vec<(String, String)>> {
        // Tests start programs of other packages and examples, which they do not build.
        for build in [["pipe", "--examples"], ["pipe-data", "--bins"]] {
            let mut cargo = workspace.cargo();
            cargo.args(["build", "--quiet", "--package", build[0], build[1]]);
            watch(&mut cargo, "build", workspace)?;
        }
        let mut cargo = workspace.cargo();
        cargo.args(["test", "--quiet", "--package", package]).args(target);
        cargo.args(["--", "--nocapture", filter]);
        if form == Form::Long {
            cargo.envs(long.iter().copied());
        }
        let said = watch(&mut cargo, self.name, workspace)?;
        let mut figures: Vec<(String, String)> = said.iter().filter_map(|line| figure(line)).collect();
        let passed: u64 = said.iter().filter_map(|line| passed(line)).sum();
        if passed == 0 {
            bail!("no test is called `{filter}…`");
        }
        figures.push(("tests that passed".into(), thousands(passed)));
        Ok(figures)
    }

    fn fuzz(
        &self,
        form: Form,
        workspace: &Workspace,
        target: &str,
        bytes: u32,
        executions: u64,
    ) -> Result<Vec<(String, String)>> {
        let found = format!("fuzz/found/{target}");
        fs::create_dir_all(workspace.path(&found)).with_context(|| format!("cannot create `{found}`"))?;
        // How far an earlier soak that did not end has come.
        let progress = workspace.path(&format!("target/soak/{}.executions", self.name));
        let mut done: u64 = match form {
            Form::Long => fs::read_to_string(&progress).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
            Form::Short => 0,
        };
        while done < executions {
            let chunk = CHUNK.min(executions - done);
            let mut cargo = workspace.cargo();
            // The address sanitizer wants a nightly toolchain and has little to find in safe code. What comparisons compare
            // takes 40 of 100 samples of a profile to trace; the dictionaries hold most of it.
            cargo.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "run", "-s", "none", "--no-trace-compares"]);
            cargo.args([target, &found]);
            cargo.arg(format!("fuzz/corpus/{target}")).arg("--");
            cargo.arg(format!("-dict=fuzz/dictionaries/{target}.dict"));
            cargo.args([format!("-max_len={bytes}"), format!("-runs={chunk}")]);
            cargo.args(["-timeout=10", "-print_final_stats=1"]);
            let said = watch(&mut cargo, self.name, workspace).context(
                "`cargo install cargo-fuzz@0.13.2` gives what this needs; an input that was found lies in `fuzz/artifacts`",
            )?;
            let executed = said.iter().filter_map(|line| executed(line)).next_back();
            done += executed.context("the fuzzer does not say how much it executed")?;
            if form == Form::Long {
                fs::write(&progress, done.to_string())?;
            }
        }
        if form == Form::Long {
            fs::remove_file(&progress)?;
        }
        let what = "crashes, hangs of more than 10 s, more than 2 GB of memory";
        Ok(vec![("executions".into(), thousands(done)), (what.into(), "0".into())])
    }
}

/// `figure | WHAT | VALUE`, wherever on a line the test harness begins to write.
fn figure(line: &str) -> Option<(String, String)> {
    let (_, rest) = line.split_once("figure | ")?;
    let (what, value) = rest.split_once(" | ")?;
    let value = value.trim();
    let value = value.parse().map_or_else(|_| value.to_owned(), thousands);
    Some((what.trim().to_owned(), value))
}

/// How many tests passed, in the harness's last line.
fn passed(line: &str) -> Option<u64> {
    line.split_once("test result: ok. ")?.1.split_once(" passed")?.0.parse().ok()
}

/// How much was executed, in libFuzzer's last words.
fn executed(line: &str) -> Option<u64> {
    line.split_once("stat::number_of_executed_units:")?.1.trim().parse().ok()
}

/// 1500 → 1,500.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_tests_print() {
        let pair = |what: &str, value: &str| Some((what.to_owned(), value.to_owned()));
        assert_eq!(figure("figure | kills | 1500"), pair("kills", "1,500"));
        assert_eq!(figure("test a ... figure | runs | 8 × 8"), pair("runs", "8 × 8"));
        assert_eq!(figure("PIPE_CRASH_SEED=7"), None);
        assert_eq!(passed("test result: ok. 12 passed; 0 failed; 0 ignored"), Some(12));
        assert_eq!(passed("test result: FAILED. 12 passed; 1 failed"), None);
        assert_eq!(executed("stat::number_of_executed_units: 1000000"), Some(1_000_000));
        assert_eq!([0, 999, 1000, 10_000_000].map(thousands), ["0", "999", "1,000", "10,000,000"]);
    }
}
