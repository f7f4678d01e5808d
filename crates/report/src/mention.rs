//! How one part of a page speaks of a stage that has a section of its own: the link there, and how it ended.

use pipeline::StageName;
use record::Outcome;
use text::format;

/// What is said of a stage that was not part of the run.
pub(super) const NOT_PART: &str = "not part of this run";

/// The id of a stage's section.
pub(super) fn anchor(stage: &StageName) -> String {
    format!("stage-{stage}")
}

/// The class of an outcome, for colour.
#[must_use]
pub fn class(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Fresh => "st-fresh",
        Outcome::Restored => "st-restored",
        Outcome::Ran => "st-ran",
        Outcome::Failed { .. } => "st-failed",
        Outcome::Blocked { .. } => "st-blocked",
        Outcome::Interrupted => "st-interrupted",
    }
}

/// An outcome with its duration where it took time.
#[must_use]
pub fn note(outcome: &Outcome, duration_ms: u64) -> String {
    match outcome {
        Outcome::Blocked { by } => format!("waits for {by}"),
        Outcome::Fresh => outcome.word().into(),
        _ => format!("{} · {}", outcome.word(), format::millis(duration_ms)),
    }
}
