//! The words that terminal and plain output have in common. Pure text; knows no colours and no widths.

use std::collections::BTreeMap;
use std::time::Duration;

use pipeline::StageName;
use protocol::Progress;
use record::event::PlannedStage;
use record::words::change;
use record::{Change, Outcome};
use text::format;
use text::printable::{clean, clean_line};

/// Changes in a few words: the first two, and how many more.
pub(super) fn changes(changes: &[Change]) -> String {
    let shown: Vec<String> = changes.iter().take(2).map(change).collect();
    let more = changes.len().saturating_sub(shown.len());
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    format!("{}{more}", shown.join(", "))
}

/// How long each stage that may be executed will take, milliseconds, as far as that is known.
pub(super) fn foretold(stages: &[PlannedStage]) -> BTreeMap<StageName, u64> {
    let known = stages.iter().filter(|stage| stage.expectation.may_execute());
    known.filter_map(|stage| Some((stage.stage.clone(), stage.usual_ms?))).collect()
}

/// How far: `epoch 37/150`, `34.2/162.2 MB`, `image 12,345/50,000`. A unit in capitals is a measure, others are
/// counted: of a fraction, the one being worked on is named.
pub(crate) fn step(progress: &Progress) -> String {
    let unit = clean_line(&progress.unit);
    if unit.starts_with(|first: char| first.is_uppercase()) {
        format!("{}/{} {unit}", format::number(progress.done, 1), format::number(progress.total, 1))
    } else {
        let done = progress.done.ceil().min(progress.total);
        format!("{unit} {}/{}", format::number(done, 0), format::number(progress.total, 0))
    }
}

/// Share done, between 0 and 1.
pub(crate) fn share(progress: &Progress) -> f64 {
    let share = progress.done / progress.total;
    if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
}

/// How a stage ended, in a few words.
pub(super) fn outcome(outcome: &Outcome, duration: Duration) -> String {
    let time = format::duration(duration);
    match outcome {
        Outcome::Fresh => "fresh".into(),
        Outcome::Restored => format!("restored from cache in {time}"),
        Outcome::Ran => format!("ran in {time}"),
        Outcome::Failed { .. } => format!("failed after {time}"),
        Outcome::Blocked { by } => format!("not reached: {by} failed"),
        Outcome::Interrupted if duration.is_zero() => "not reached: interrupted".into(),
        Outcome::Interrupted => format!("interrupted after {time}"),
    }
}

/// What a failed stage leaves the reader with: the message, the hint and where the log of stage `log_of` is.
pub(super) fn failure(log_of: Option<&str>, message: &str, hint: Option<&str>) -> Vec<String> {
    let mut lines: Vec<String> = clean(message).lines().map(|line| line.trim_end().to_owned()).collect();
    if let Some(hint) = hint {
        lines.push(format!("help: {}", clean_line(hint)));
    }
    lines.extend(log_of.map(|stage| format!("log: pipe log {stage}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: f64, total: f64, unit: &str) -> Progress {
        Progress { done, total, unit: unit.into(), text: String::new(), milestone: false }
    }

    #[test]
    fn changes_are_few() {
        let lr = Change { name: "with.lr".into(), old: Some("0.05".into()), new: Some("0.08".into()) };
        assert_eq!(
            changes(&[lr.clone(), lr.clone(), lr]),
            "with.lr 0.05 → 0.08, with.lr 0.05 → 0.08, and 1 more"
        );
    }

    #[test]
    fn steps() {
        assert_eq!(step(&progress(36.2, 150.0, "epoch")), "epoch 37/150");
        assert_eq!(step(&progress(34.21, 162.17, "MB")), "34.2/162.2 MB");
        assert_eq!(step(&progress(12345.0, 50000.0, "image")), "image 12,345/50,000");
        assert_eq!(share(&progress(1.0, 0.0, "x")), 0.0);
        assert_eq!(share(&progress(9.0, 3.0, "x")), 1.0);
    }
}
