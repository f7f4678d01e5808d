//! Where typed errors become what a user sees: a message, hints, and an exit status. Modules below have error
//! types of their own; commands return this one.

use std::fmt;
use std::process::ExitCode;

use history::FindError;
use store::StoreError;
use text::printable::indented;

use crate::plugin::PluginError;

/// How the process ends. The numbers are part of the contract with scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: everything asked for is done.
    Done,
    /// 1: a stage failed, or something outside the pipeline did.
    Failed,
    /// 2: the pipeline or the command line is wrong; nothing ran.
    Usage,
    /// 3: all stages are done, but a gate is not satisfied.
    GateFailed,
    /// 130: interrupted.
    Interrupted,
}

impl ExitStatus {
    /// The process's exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::GateFailed => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

/// What ends a command, in words for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    status: ExitStatus,
    text: Text,
    hints: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    /// A lowercase fragment.
    Message(String),
    /// Finished text with places and code frames, printed as it is.
    Rendered(String),
}

impl Error {
    /// Something outside the pipeline failed: exit status 1.
    #[must_use]
    pub fn failed(message: impl fmt::Display) -> Self {
        Self { status: ExitStatus::Failed, text: Text::Message(format!("{message:#}")), hints: vec![] }
    }

    /// The command line or the pipeline is wrong: exit status 2.
    #[must_use]
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { status: ExitStatus::Usage, text: Text::Message(format!("{message:#}")), hints: vec![] }
    }

    /// The pipeline is wrong, and `rendered` says so in full, with places.
    #[must_use]
    pub fn pipeline(rendered: String) -> Self {
        Self { status: ExitStatus::Usage, text: Text::Rendered(rendered), hints: vec![] }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// [`Error::hint`], where there is one.
    #[must_use]
    pub(crate) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hints.extend(hint);
        self
    }

    /// What happened and what to do next, in words.
    #[must_use]
    pub fn into_parts(self) -> (String, Option<String>) {
        let message = match self.text {
            Text::Message(text) | Text::Rendered(text) => text,
        };
        let hint = (!self.hints.is_empty()).then(|| self.hints.join("; "));
        (message, hint)
    }

    /// How the process should end.
    #[must_use]
    pub fn status(&self) -> ExitStatus {
        self.status
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let hint = error.hint();
        Self::failed(error).maybe_hint(hint)
    }
}

impl From<FindError> for Error {
    fn from(error: FindError) -> Self {
        let hint = error.hint();
        let wrong = match error {
            FindError::NoRuns | FindError::NoneOf { .. } => Self::failed(error),
            _ => Self::usage(error),
        };
        wrong.hint(hint)
    }
}

impl From<PluginError> for Error {
    fn from(error: PluginError) -> Self {
        let hint = error.hint();
        Self::failed(error).maybe_hint(hint)
    }
}

/// Where messages begin, and hints.
const MESSAGE: usize = "error: ".len();
const HINT: usize = "  = help: ".len();

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            // Names that others chose are in it.
            Text::Message(message) => writeln!(f, "error: {}", indented(message, MESSAGE))?,
            Text::Rendered(text) => writeln!(f, "{}", text.trim_end())?,
        }
        for hint in &self.hints {
            writeln!(f, "  = help: {}", indented(hint, HINT))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_and_hints_print_on_lines_of_their_own() {
        let error = Error::failed("cannot read `x`").hint("make it readable").hint("or remove it");
        assert_eq!(
            error.to_string(),
            "error: cannot read `x`\n  = help: make it readable\n  = help: or remove it\n"
        );
        assert_eq!(error.status().code(), 1);
    }

    #[test]
    fn what_is_named_by_others_neither_steers_the_terminal_nor_passes_for_a_message() {
        let error = Error::usage("there is no stage `\u{1b}[2Jx\nerror: y\u{7}`").hint("a\nb");
        assert_eq!(
            error.to_string(),
            "error: there is no stage `x\n       error: y `\n  = help: a\n          b\n"
        );
    }
}
