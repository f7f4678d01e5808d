//! The words that terminal and plain output have in common. Pure text; knows no colours and no widths.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::Progress;
use text::format;
use text::printable::{clean, clean_line};

use crate::event::PlannedStage;
use crate::record::{Change, Outcome};
use crate::spec::StageName;

/// A changed ingredient: `with.lr 0.05 → 0.08`. Digests and long values are shortened.
#[must_use]
pub fn change(change: &Change) -> String {
    change_of(change, None)
}

/// [`change`] with what the ingredient is: `inputs.data (data/raw.txt) 7f50268a4ac6… → cbeb7950aa32…`.
pub(super) fn change_of(change: &Change, from: Option<&str>) -> String {
    let from = from.map(|from| format!(" ({})", clean_line(from))).unwrap_or_default();
    let (old, new) = values(change);
    format!("{}{from} {old} → {new}", clean_line(&change.name))
}

/// Both values of a change, shortened; `(none)` where there is none.
#[must_use]
pub fn values(change: &Change) -> (String, String) {
    let value = |value: &Option<String>| value.as_deref().map_or_else(|| "(none)".into(), short_value);
    (value(&change.old), value(&change.new))
}

/// A value on one line: of digests the first digits, of long values the beginning.
#[must_use]
pub fn short_value(value: &str) -> String {
    let value = clean_line(value);
    let digest = value.strip_prefix("content ").unwrap_or(&value);
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (value, limit) = if is_digest { (digest, 12) } else { (value.as_str(), 40) };
    match value.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", value.get(..end).unwrap_or(value)),
        None => value.to_owned(),
    }
}

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
    fn changes_are_short() {
        let lr = Change { name: "with.lr".into(), old: Some("0.05".into()), new: Some("0.08".into()) };
        let input = Change { name: "inputs.model".into(), old: None, new: Some("ab".repeat(32)) };
        assert_eq!(change(&lr), "with.lr 0.05 → 0.08");
        assert_eq!(change(&input), "inputs.model (none) → abababababab…");
        assert_eq!(
            changes(&[lr.clone(), lr.clone(), input]),
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
