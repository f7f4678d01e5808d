//! Programs that a task starts: one that has to succeed before the next, and the last one. Knows no task.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

/// Runs a step that has to succeed before the next one.
pub(crate) fn finish(step: &mut Command) -> Result<()> {
    let status = step.status().with_context(|| format!("cannot start {}", name_of(step)))?;
    if !status.success() {
        bail!("{} failed ({status}); its messages are above", name_of(step));
    }
    Ok(())
}

/// Replaces this process, so it comes back only when the program cannot be started.
pub(crate) fn become_command(last: &mut Command) -> Result<ExitCode> {
    let error = last.exec();
    Err(error).with_context(|| format!("cannot start {}", name_of(last)))
}

fn name_of(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words: Vec<_> =
        std::iter::once(name).chain(command.get_args()).map(|word| word.to_string_lossy()).collect();
    format!("`{}`", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_names_the_command_without_its_folder() {
        let mut step = Command::new("/bin/sh");
        step.args(["-c", "exit 7"]);
        let error = finish(&mut step).unwrap_err().to_string();
        assert!(error.starts_with("`sh -c exit 7` failed (exit status: 7)"), "{error}");
    }
}
