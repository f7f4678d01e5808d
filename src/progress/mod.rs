//! Events become what a person or a program reads while a run goes on: bars on a terminal, plain lines, or JSON
//! lines. Knows events and records only; decides nothing about the run.

mod grid;
mod json;
mod kept;
mod live;
mod origin;
mod paint;
mod plain;
mod plan;
mod remaining;
mod summary;
mod terminal;
mod words;

use console::Term;
use record::event::Event;

use crate::env;
use crate::logs;
use crate::streams::Steady;

pub use grid::Grid;
pub use json::{Json, Line};
pub use kept::Kept;
pub use origin::Origin;
pub use paint::Paint;
pub use plain::Plain;
pub use plan::{Total, plan, word};
pub(crate) use remaining::Remaining;
pub use summary::{Closing, Tally, summary};
pub use terminal::Terminal;
pub(crate) use words::{share, step};

/// Where events go. Never fails: what cannot be shown is not shown.
pub trait Sink: Send {
    /// Shows one event.
    fn event(&mut self, event: &Event);
}

/// The sink that fits: JSON lines on standard output where asked for, bars where standard error is a terminal that
/// can move its cursor, plain lines on standard error otherwise.
#[must_use]
pub fn choose(json: bool, color: bool) -> Box<dyn Sink> {
    let paint = Paint::new(color);
    if json {
        Box::new(Json::new(Steady::json()))
    } else if is_attended() {
        Box::new(Terminal::new(paint))
    } else {
        Box::new(Plain::new(Steady::messages(), paint))
    }
}

/// As [`choose`], for a run of which nothing is kept: what fails does not point to its log.
#[must_use]
pub fn passing(color: bool) -> Box<dyn Sink> {
    let paint = Paint::new(color);
    if is_attended() {
        Box::new(Terminal::new(paint).without_logs())
    } else {
        Box::new(Plain::new(Steady::messages(), paint).without_logs())
    }
}

fn is_attended() -> bool {
    // Bars and lines of a log would write over each other.
    !logs::is_on() && Term::stderr().features().is_attended() && !is_dumb(env::TERM.value())
}

fn is_dumb(term: Option<std::ffi::OsString>) -> bool {
    term.is_some_and(|term| term == "dumb")
}

/// Columns of standard output where it is a terminal, else enough for anything that is not read on one.
#[must_use]
pub fn stdout_width() -> usize {
    let term = Term::stdout();
    if term.is_term() { usize::from(term.size().1).max(20) } else { 160 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dumb_terminal_gets_plain_lines() {
        assert!(is_dumb(Some("dumb".into())));
        assert!(!is_dumb(Some("xterm-256color".into())));
        assert!(!is_dumb(None));
    }
}
