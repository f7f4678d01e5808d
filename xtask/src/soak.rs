//! `cargo xtask soak`: the tests against kills, company, damage and hostile input, as long as it takes to believe them.
//!
//! Knows the order of the parts, what is kept of each, and how to go on where an earlier one ended. What a part runs,
//! [`part`] knows; how its figures are written, [`page`].

mod machine;
mod page;
mod part;
mod watch;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::workspace::Workspace;
use machine::now;
pub(crate) use part::usage;
use part::{Form, PARTS, Part};

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Soak {
    form: Form,
    /// Also what was done before.
    again: bool,
    parts: Vec<&'static Part>,
}

/// What a part came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Outcome {
    part: String,
    /// Pairs of what was counted and how many.
    figures: Vec<(String, String)>,
    /// When it began, UTC.
    date: String,
    seconds: u64,
    machine: String,
    commit: String,
}

impl Soak {
    /// Reads the words behind `soak`; the error says what is wrong with them.
    pub(crate) fn parse(words: &[OsString]) -> Result<Self, String> {
        let mut soak = Self { form: Form::Long, again: false, parts: vec![] };
        for word in words {
            match word.to_str() {
                Some("--short") => soak.form = Form::Short,
                Some("--again") => soak.again = true,
                name => {
                    let part = PARTS.iter().find(|part| name == Some(part.name));
                    let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
                    soak.parts.push(part.ok_or_else(|| {
                        format!("there is no part `{}` of `soak`, only {}", word.display(), names.join(", "))
                    })?);
                }
            }
        }
        Ok(soak)
    }

    /// Runs the parts one after the other, also where one fails.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        let folder = workspace.path("target/soak");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        // Who names a part wants it now.
        let goes_on = self.parts.is_empty() && !self.again && self.form == Form::Long;
        let parts = if self.parts.is_empty() { PARTS.iter().collect() } else { self.parts };
        let mut failed = vec![];
        for part in parts {
            let kept = folder.join(format!("{}.json", part.name));
            if goes_on && let Some(done) = read(&kept) {
                say(&format!(
                    "{}: done {}, kept in `{}`; `--again` repeats it",
                    part.name,
                    done.date,
                    kept.display()
                ));
                continue;
            }
            match run(part, self.form, workspace) {
                Ok(result) if self.form == Form::Long => {
                    let text = serde_json::to_vec_pretty(&result)?;
                    fs::write(&kept, text).with_context(|| format!("cannot write `{}`", kept.display()))?;
                    page::put(&workspace.path(page::FILE), &result)?;
                }
                Ok(_) => {}
                Err(error) => {
                    say(&format!("{}: FAILED: {error:#}", part.name));
                    failed.push(part.name);
                }
            }
        }
        if failed.is_empty() {
            say("all is well");
            return Ok(ExitCode::SUCCESS);
        }
        say(&format!("failed: {}", failed.join(", ")));
        Ok(ExitCode::FAILURE)
    }
}

/// What is kept of a part; `None` where nothing is, or nothing that can be read.
fn read(kept: &PathBuf) -> Option<Outcome> {
    serde_json::from_slice(&fs::read(kept).ok()?).ok()
}

fn run(part: &Part, form: Form, workspace: &Workspace) -> Result<Outcome> {
    let date = now();
    let begin = std::time::Instant::now();
    let machine = machine::describe(workspace);
    say(&format!("{}: begins, {}", part.name, form.word()));
    let figures = part.run(form, workspace)?;
    let seconds = begin.elapsed().as_secs();
    for (what, value) in &figures {
        say(&format!("{}: {what}: {value}", part.name));
    }
    say(&format!("{}: done, {seconds} s", part.name));
    let commit = machine::commit(workspace);
    Ok(Outcome { part: part.name.to_owned(), figures, date, seconds, machine, commit })
}

/// A line with the date, for who reads it the next day.
fn say(line: &str) {
    eprintln!("{} {line}", now());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Soak, String> {
        Soak::parse(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn parts_are_named_and_a_wrong_name_lists_them() {
        let soak = parse(&["--short", "plugins", "kills"]).unwrap();
        assert_eq!(soak.form, Form::Short);
        assert_eq!(soak.parts.iter().map(|part| part.name).collect::<Vec<_>>(), ["plugins", "kills"]);
        assert_eq!(parse(&[]).unwrap(), Soak { form: Form::Long, again: false, parts: vec![] });
        let wrong = parse(&["plugin"]).unwrap_err();
        assert!(wrong.contains("no part `plugin`") && wrong.contains("kills, "), "{wrong}");
    }
}
