//! What a run would do, as text: `pipe run --dry-run`. Pure.

use super::live::pad;
use super::{Paint, words};
use crate::event::{Expectation, PlannedStage};
use crate::format;
use std::time::Duration;

use console::{measure_text_width, truncate_str};

/// One line a stage: what is expected, why, and how long it usually takes. What would run comes first, what
/// depends on its outcome next, what stays as it is last; within each the order given is kept.
#[must_use]
pub fn plan(stages: &[PlannedStage], color: bool) -> String {
    lines(stages, super::stdout_width(), Paint::new(color))
}

fn lines(stages: &[PlannedStage], width: usize, paint: Paint) -> String {
    let name_width = stages.iter().map(|stage| stage.stage.as_str().len()).max().unwrap_or(0).clamp(4, 40);
    let mut sorted: Vec<&PlannedStage> = stages.iter().collect();
    sorted.sort_by_key(|stage| rank(&stage.expectation));
    let mut text = String::new();
    for stage in sorted {
        let word = format!("{:<9}", word(&stage.expectation));
        let word = match stage.expectation {
            Expectation::Run { .. } => paint.live(&word),
            Expectation::Maybe { .. } => paint.warn(&word),
            Expectation::Fresh | Expectation::Restorable => paint.faint(&word),
        };
        let head = format!(" {}  {word}", paint.strong(&pad(stage.stage.as_str(), name_width)));
        let time = usual(stage).unwrap_or_default();
        let room = width.saturating_sub(measure_text_width(&head) + 2);
        let why_room = if time.is_empty() { room } else { room.saturating_sub(time.len() + 3) };
        let why = truncate_str(&why(stage), why_room, "…").into_owned();
        let gap =
            if time.is_empty() { 0 } else { why_room.min(56).saturating_sub(measure_text_width(&why)) + 3 };
        let line = format!("{head}  {why}{}{}", " ".repeat(gap), paint.faint(&time));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn rank(expectation: &Expectation) -> u8 {
    match expectation {
        Expectation::Run { .. } => 0,
        Expectation::Maybe { .. } => 1,
        Expectation::Restorable => 2,
        Expectation::Fresh => 3,
    }
}

fn word(expectation: &Expectation) -> &'static str {
    match expectation {
        Expectation::Run { .. } => "run",
        Expectation::Maybe { .. } => "maybe",
        Expectation::Restorable => "restore",
        Expectation::Fresh => "fresh",
    }
}

fn why(stage: &PlannedStage) -> String {
    match &stage.expectation {
        Expectation::Fresh => String::new(),
        Expectation::Restorable => "from the cache".into(),
        Expectation::Run { changes, reason } => match (changes.is_empty(), reason) {
            (true, reason) => words::clean_line(reason.as_deref().unwrap_or("asked to")),
            (false, None) => words::changes(changes),
            (false, Some(reason)) => format!("{} ({})", words::clean_line(reason), words::changes(changes)),
        },
        Expectation::Maybe { after } => {
            let after: Vec<String> = after.iter().map(ToString::to_string).collect();
            let yields = if after.len() == 1 { "yields" } else { "yield" };
            format!("stays as it is if {} {yields} the same bytes", format::list(&after))
        }
    }
}

fn usual(stage: &PlannedStage) -> Option<String> {
    let runs = matches!(stage.expectation, Expectation::Run { .. } | Expectation::Maybe { .. });
    let usual = stage.usual_ms.filter(|_| runs)?;
    Some(format!("≈ {}", format::duration_rough(Duration::from_millis(usual))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Change;
    use crate::spec::StageName;

    fn name(text: &str) -> StageName {
        StageName::try_from(text.to_owned()).unwrap()
    }

    fn planned(text: &str, usual_ms: u64, expectation: Expectation) -> PlannedStage {
        PlannedStage { stage: name(text), expectation, usual_ms: Some(usual_ms) }
    }

    #[test]
    fn what_runs_comes_first_with_its_reason() {
        let smoothing =
            Change { name: "with.label_smoothing".into(), old: Some("0.1".into()), new: Some("0.05".into()) };
        let stages = [
            planned("download", 60_000, Expectation::Fresh),
            planned("train", 2_040_000, Expectation::Run { changes: vec![smoothing], reason: None }),
            planned("export", 1_000, Expectation::Maybe { after: vec![name("train")] }),
            planned("bench", 50_000, Expectation::Run { changes: vec![], reason: Some("never ran".into()) }),
            planned("teacher", 1, Expectation::Restorable),
        ];
        let expected =
            " train     run        with.label_smoothing 0.1 → 0.05                            ≈ 34 min
 bench     run        never ran                                                  ≈ 50 s
 export    maybe      stays as it is if train yields the same bytes              ≈ 1 s
 teacher   restore    from the cache
 download  fresh
";
        assert_eq!(lines(&stages, 100, Paint::new(false)), expected);
        for line in lines(&stages, 40, Paint::new(true)).lines() {
            assert!(measure_text_width(line) <= 40, "{line}");
        }
    }
}
