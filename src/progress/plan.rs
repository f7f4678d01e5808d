//! What a run would do, why, and how long it would take, as text: `pipe run --dry-run` and `pipe status`. Pure.

use std::time::Duration;

use console::{measure_text_width, truncate_str};
use pipeline::spec::Pipeline;
use record::Change;
use record::event::{Expectation, PlannedStage};
use record::words::change_of;
use schemars::JsonSchema;
use serde::Serialize;
use text::format;
use text::printable::clean_line;

use super::live::pad;
use super::{Origin, Paint};

/// Changes of a stage that are listed; `pipe why` lists all.
const MAX_CHANGES: usize = 6;
/// Where there are more stages than this, those that stay as they are are counted and not listed.
pub(super) const MANY: usize = 40;

/// One line a stage: what is expected, why, and how long it usually takes; further changes on lines of their own. What
/// would run comes first, what depends on its outcome next, what stays as it is last; within each the order given is
/// kept. At the end what it comes to.
#[must_use]
pub fn plan(pipeline: &Pipeline, stages: &[PlannedStage], color: bool) -> String {
    Text { pipeline, width: super::stdout_width(), paint: Paint::new(color) }.of(stages)
}

/// What a plan comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Total {
    /// Stages that will be executed.
    pub run: Price,
    /// Stages that will be executed unless what they read from yields the same bytes as before.
    pub maybe: Price,
    /// How many can be copied from the cache.
    pub restorable: usize,
    /// How many stay as they are.
    pub fresh: usize,
}

/// How long some stages will take, one after another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Price {
    /// How many they are.
    pub stages: usize,
    /// Sum over those that were executed before, milliseconds.
    pub known_ms: u64,
    /// How many were not, and are not in that sum.
    pub unknown: usize,
}

impl Price {
    fn add(&mut self, stage: &PlannedStage) {
        self.stages += 1;
        match stage.usual_ms {
            Some(usual) => self.known_ms = self.known_ms.saturating_add(usual),
            None => self.unknown += 1,
        }
    }

    /// ` ≈ 36 min`, with how many are not known.
    pub(super) fn words(&self) -> String {
        let known =
            if self.unknown < self.stages { format!(" {}", about(self.known_ms)) } else { String::new() };
        match self.unknown {
            0 => known,
            unknown if unknown == self.stages => ", time not known".into(),
            unknown => format!("{known} and {unknown} not known"),
        }
    }
}

impl Total {
    /// Adds a plan up.
    #[must_use]
    pub fn of(stages: &[PlannedStage]) -> Self {
        let mut total = Self::default();
        for stage in stages {
            match stage.expectation {
                Expectation::Run { .. } => total.run.add(stage),
                Expectation::Maybe { .. } => total.maybe.add(stage),
                Expectation::Restorable { .. } => total.restorable += 1,
                Expectation::Fresh => total.fresh += 1,
            }
        }
        total
    }

    fn words(&self) -> String {
        let mut parts = vec![];
        for (price, word) in [(&self.run, "to run"), (&self.maybe, "maybe")] {
            if price.stages > 0 {
                let stages = format::number(price.stages as f64, 0);
                parts.push(format!("{stages} {word}{}", price.words()));
            }
        }
        if parts.is_empty() {
            parts.push("nothing to run".into());
        }
        let rest = [(self.restorable, "to restore"), (self.fresh, "fresh")];
        parts.extend(
            rest.iter()
                .filter(|(n, _)| *n > 0)
                .map(|(n, word)| format!("{} {word}", format::number(*n as f64, 0))),
        );
        if self.run.stages + self.maybe.stages > 1 && (self.run.known_ms > 0 || self.maybe.known_ms > 0) {
            parts.push("one after another".into());
        }
        parts.join(" · ")
    }
}

struct Text<'a> {
    pipeline: &'a Pipeline,
    width: usize,
    paint: Paint,
}

impl Text<'_> {
    fn of(&self, stages: &[PlannedStage]) -> String {
        let mut shown: Vec<&PlannedStage> = stages.iter().collect();
        if stages.len() > MANY {
            shown.retain(|stage| stage.expectation != Expectation::Fresh);
        }
        shown.sort_by_key(|stage| rank(&stage.expectation));
        let widest = shown.iter().map(|stage| stage.stage.as_str().len()).max().unwrap_or(0).clamp(4, 40);
        let blocks: Vec<Vec<String>> = shown.iter().map(|stage| self.block(stage, widest)).collect();
        // Times stand in one column behind the longest reason that leaves room for them.
        let indent = widest + 12;
        let room = self.width.saturating_sub(indent);
        let times: Vec<String> = shown.iter().map(|stage| usual(stage).unwrap_or_default()).collect();
        let time_width = times.iter().map(|time| measure_text_width(time) + 2).max().unwrap_or(0);
        let longest = blocks.iter().flatten().map(|why| measure_text_width(why)).max().unwrap_or(0);
        let why_width = longest.min(room.saturating_sub(time_width));
        let mut text = String::new();
        for ((stage, whys), time) in shown.iter().zip(blocks).zip(times) {
            let name = self.paint.strong(&pad(stage.stage.as_str(), widest));
            let word = self.word(&stage.expectation);
            let mut whys = whys.into_iter();
            let why = truncate_str(&whys.next().unwrap_or_default(), why_width, "…").into_owned();
            let gap = why_width.saturating_sub(measure_text_width(&why)) + 2;
            let line = format!(" {name}  {word}  {why}{}{}", " ".repeat(gap), self.paint.faint(&time));
            text.push_str(line.trim_end());
            text.push('\n');
            for why in whys {
                let why = truncate_str(&why, room, "…").into_owned();
                text.push_str(&format!("{:indent$}{why}\n", ""));
            }
        }
        if !stages.is_empty() {
            let total =
                truncate_str(&Total::of(stages).words(), self.width.saturating_sub(1), "…").into_owned();
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap} {}\n", self.paint.faint(&total)));
        }
        text
    }

    fn word(&self, expectation: &Expectation) -> String {
        let word = format!("{:<7}", word(expectation));
        match expectation {
            Expectation::Run { .. } => self.paint.live(&word),
            Expectation::Maybe { .. } => self.paint.warn(&word),
            Expectation::Fresh | Expectation::Restorable { .. } => self.paint.good(&word),
        }
    }

    /// Why, line by line.
    fn block(&self, stage: &PlannedStage, widest: usize) -> Vec<String> {
        match &stage.expectation {
            Expectation::Fresh => vec![String::new()],
            Expectation::Restorable { changes } if changes.is_empty() => {
                vec!["from the cache: its artifacts were edited or removed".into()]
            }
            Expectation::Restorable { changes } => {
                let mut lines = self.changes(stage, changes, widest);
                if let Some(first) = lines.first_mut() {
                    *first = format!("from the cache: {first}");
                }
                lines
            }
            Expectation::Run { changes, reason } => {
                let mut lines: Vec<String> = reason.iter().map(|reason| clean_line(reason)).collect();
                lines.extend(self.changes(stage, changes, widest));
                if lines.is_empty() { vec!["asked to".into()] } else { lines }
            }
            Expectation::Maybe { after } => {
                let after: Vec<String> = after.iter().map(ToString::to_string).collect();
                let produce = if after.len() == 1 { "produces" } else { "produce" };
                vec![format!("unchanged if {} {produce} the same bytes", format::list(&after))]
            }
        }
    }

    /// Changes with what they are and, where it fits, the place in the pipeline's file.
    fn changes(&self, stage: &PlannedStage, changes: &[Change], widest: usize) -> Vec<String> {
        let known = self.pipeline.stages.get(&stage.stage);
        let line = |change: &Change| {
            let origin =
                known.map(|stage| Origin::of(self.pipeline, stage, &change.name)).unwrap_or_default();
            let told = change_of(change, origin.from.as_deref());
            match origin.place(self.pipeline) {
                Some(place) if measure_text_width(&told) + place.len() + widest + 28 < self.width => {
                    format!("{told}  {}", self.paint.faint(&place))
                }
                _ => told,
            }
        };
        let mut lines: Vec<String> = changes.iter().take(MAX_CHANGES).map(line).collect();
        if changes.len() > MAX_CHANGES {
            lines.push(format!("and {} more: pipe why {}", changes.len() - MAX_CHANGES, stage.stage));
        }
        lines
    }
}

fn rank(expectation: &Expectation) -> u8 {
    match expectation {
        Expectation::Run { .. } => 0,
        Expectation::Maybe { .. } => 1,
        Expectation::Restorable { .. } => 2,
        Expectation::Fresh => 3,
    }
}

/// One word for what is expected.
#[must_use]
pub fn word(expectation: &Expectation) -> &'static str {
    match expectation {
        Expectation::Run { .. } => "run",
        Expectation::Maybe { .. } => "maybe",
        Expectation::Restorable { .. } => "restore",
        Expectation::Fresh => "fresh",
    }
}

/// How long it will take, or where that is not known how long it, or other variants of it, took.
fn usual(stage: &PlannedStage) -> Option<String> {
    let last = || stage.last_ms.map(|last| format!("last took {}", took(last)));
    let others = || stage.variants_ms.map(|others| format!("other variants took {}", took(others)));
    stage.usual_ms.map(about).or_else(last).or_else(others).filter(|_| stage.expectation.may_execute())
}

fn took(millis: u64) -> String {
    if millis < 1000 {
        return "< 1 s".into();
    }
    format::duration_rough(Duration::from_millis(millis))
}

fn about(millis: u64) -> String {
    if millis < 1000 {
        return "< 1 s".into();
    }
    format!("≈ {}", format::duration_rough(Duration::from_millis(millis)))
}

/// What is to be done, in parts: `9 stages`, `2 fresh`, `6 to run ≈ 41 min and 1 not known`.
pub(super) fn opening(stages: &[PlannedStage]) -> Vec<String> {
    let Total { run, maybe, restorable, fresh } = Total::of(stages);
    let known = |price: &Price, word: &str| format!("{} {word}{}", price.stages, price.words());
    let parts = [
        (fresh, format!("{fresh} fresh")),
        (restorable, format!("{restorable} in the cache")),
        (run.stages, known(&run, "to run")),
        (maybe.stages, known(&maybe, "that depend on their outputs")),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0).map(|(_, part)| part);
    std::iter::once(format::count(stages.len(), "stage")).chain(parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample::{self, name};

    fn planned(text: &str, usual_ms: Option<u64>, expectation: Expectation) -> PlannedStage {
        PlannedStage { stage: name(text), expectation, usual_ms, last_ms: None, variants_ms: None }
    }

    fn changed(name: &str, old: &str, new: &str) -> Change {
        Change { name: name.into(), old: Some(old.into()), new: Some(new.into()) }
    }

    fn run(changes: Vec<Change>) -> Expectation {
        Expectation::Run { changes, reason: None }
    }

    fn shown(stages: &[PlannedStage], width: usize, color: bool) -> String {
        let pipeline = sample::tinynet().pipeline;
        Text { pipeline: &pipeline, width, paint: Paint::new(color) }.of(stages)
    }

    fn stages() -> Vec<PlannedStage> {
        let digest = |byte: &str| byte.repeat(32);
        vec![
            planned("download", None, Expectation::Fresh),
            planned("train", Some(2_040_000), run(vec![changed("with.seed", "42", "7")])),
            planned("export", Some(1_000), Expectation::Maybe { after: vec![name("train")] }),
            planned(
                "bench",
                None,
                run(vec![
                    changed("inputs.train_weights", &digest("ab"), &digest("cd")),
                    changed("machine.cpu", "EPYC 9B14", "Apple M2"),
                ]),
            ),
            planned(
                "quantize",
                Some(1),
                Expectation::Restorable { changes: vec![changed("with.seed", "1", "2")] },
            ),
        ]
    }

    #[test]
    fn what_runs_comes_first_with_its_reason_and_price() {
        let expected =
            " train     run      with.seed 42 → 7  pipeline.yaml:10                                  ≈ 34 min
 bench     run      inputs.train_weights (train.weights) abababababab… → cdcdcdcdcdcd…
                    machine.cpu EPYC 9B14 → Apple M2
 export    maybe    unchanged if train produces the same bytes                          ≈ 1 s
 quantize  restore  from the cache: with.seed 1 → 2  pipeline.yaml:10
 download  fresh

 2 to run ≈ 34 min and 1 not known · 1 maybe ≈ 1 s · 1 to restore · 1 fresh · one after another
";
        assert_eq!(shown(&stages(), 100, false), expected);
    }

    #[test]
    fn what_takes_forever_is_added_to_the_rest() {
        let maybe = Expectation::Maybe { after: vec![name("train")] };
        let stages = [planned("train", Some(u64::MAX), run(vec![])), planned("export", Some(5_000), maybe)];
        snapshots::assert_message!(shown(&stages, 100, false));
    }

    #[test]
    fn it_fits() {
        for width in [40, 60, 80] {
            for line in shown(&stages(), width, true).lines() {
                assert!(measure_text_width(line) <= width, "{line}");
            }
        }
    }

    #[test]
    fn many_changes_are_cut_short_and_many_fresh_stages_counted() {
        let changes = (0..9).map(|index| changed(&format!("with.p{index}"), "1", "2")).collect();
        let mut stages = vec![planned("train", None, run(changes))];
        let text = shown(&stages, 100, false);
        assert_eq!(text.lines().count(), MAX_CHANGES + 3);
        snapshots::assert_message!(text);
        stages.extend((0..MANY).map(|index| planned(&format!("s{index}"), None, Expectation::Fresh)));
        let text = shown(&stages, 100, false);
        snapshots::assert_message!(text);
        assert!(!text.contains("s39"), "{text}");
        assert_eq!(shown(&stages[1..], 100, false).lines().count(), MANY + 2);
    }

    #[test]
    fn nothing_to_do_is_said_and_no_stages_say_nothing() {
        let text = shown(&[planned("download", None, Expectation::Fresh)], 100, false);
        snapshots::assert_message!(text);
        assert_eq!(shown(&[], 100, true), "");
    }

    #[test]
    fn opening_estimates_only_what_is_known() {
        let run = || run(vec![]);
        let mut stages = vec![
            planned("a", None, Expectation::Fresh),
            planned("b", Some(60_000 * 40), run()),
            planned("c", Some(60_000), run()),
        ];
        assert_eq!(opening(&stages), ["3 stages", "1 fresh", "2 to run ≈ 41 min"]);
        stages.push(planned("d", None, run()));
        assert_eq!(opening(&stages), ["4 stages", "1 fresh", "3 to run ≈ 41 min and 1 not known"]);
        stages.push(planned("e", Some(60_000), Expectation::Maybe { after: vec![] }));
        assert_eq!(
            opening(&stages[3..]),
            ["2 stages", "1 to run, time not known", "1 that depend on their outputs ≈ 1 min"]
        );
    }
}
