//! `pipe status`: what is stale, and the exact ingredients that changed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::output::{print, print_json};
use super::{Context, Selection, find_stages};
use crate::error::{Error, ExitStatus};
use crate::event::{Expectation, PlannedStage};
use crate::progress::{Paint, change};
use crate::spec::StageName;
use crate::{format, plan};

/// How many changes of a stage are listed; `pipe why` lists all.
const MAX_CHANGES: usize = 6;

/// Show which stages are stale, and what changed
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stages to show; all of them where none is named
    stages: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the pipeline is wrong, or an input or a plugin cannot be read.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let project = context.load(&args.selection)?;
    let mut selected: BTreeSet<StageName> = find_stages(&project, &args.stages)?;
    if selected.is_empty() {
        selected = project.pipeline.stages.keys().cloned().collect();
    }
    let planned = plan::plan(&project, &selected, &BTreeSet::new())?;
    // What could not be remembered costs the next command time, nothing else.
    let _ = project.store.flush();
    if args.json {
        print_json(&json!({ "pipeline": project.pipeline.name, "stages": planned }))?;
    } else {
        print(&table(&planned, Paint::new(context.color_stdout())))?;
    }
    Ok(ExitStatus::Done)
}

/// One stage a line, each further change on a line of its own.
fn table(stages: &[PlannedStage], paint: Paint) -> String {
    let rows: Vec<Vec<String>> = stages.iter().map(details).collect();
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let names = longest(&mut stages.iter().map(|stage| stage.stage.as_str().len()));
    let widest = longest(&mut rows.iter().flatten().map(|detail| detail.chars().count()));
    let mut text = String::new();
    for (stage, details) in stages.iter().zip(rows) {
        let mut details = details.into_iter();
        let first = details.next().unwrap_or_default();
        let name = paint.strong(&format!("{:<names$}", stage.stage.as_str()));
        let line = format!(" {name}  {}  {first:<widest$}  {}", word(stage, paint), usual(stage));
        text.push_str(line.trim_end());
        text.push('\n');
        for detail in details {
            text.push_str(&format!(" {:names$}  {:8}  {detail}\n", "", ""));
        }
    }
    text
}

fn word(stage: &PlannedStage, paint: Paint) -> String {
    match stage.expectation {
        Expectation::Fresh => paint.good("fresh   "),
        Expectation::Restorable => paint.good("in cache"),
        Expectation::Run { .. } => paint.live("stale   "),
        Expectation::Maybe { .. } => paint.warn("maybe   "),
    }
}

fn details(stage: &PlannedStage) -> Vec<String> {
    match &stage.expectation {
        Expectation::Fresh => vec![],
        Expectation::Restorable => vec!["`pipe run` restores it without running it".into()],
        Expectation::Maybe { after } => {
            let after: Vec<String> = after.iter().map(|stage| format!("`{stage}`")).collect();
            vec![format!("stays as it is if the outputs of {} do", format::list(&after))]
        }
        Expectation::Run { changes, reason } => {
            let mut details: Vec<String> = reason.iter().cloned().collect();
            details.extend(changes.iter().take(MAX_CHANGES).map(change));
            if changes.len() > MAX_CHANGES {
                let more = changes.len() - MAX_CHANGES;
                details.push(format!("and {more} more: pipe why {}", stage.stage));
            }
            details
        }
    }
}

fn usual(stage: &PlannedStage) -> String {
    let runs = matches!(stage.expectation, Expectation::Run { .. } | Expectation::Maybe { .. });
    let usual = stage.usual_ms.filter(|_| runs).map(Duration::from_millis);
    usual.map(|usual| format!("≈ {}", format::duration_rough(usual))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Change;

    fn name(text: &str) -> StageName {
        StageName::try_from(text.to_owned()).unwrap()
    }

    fn planned(stage: &str, expectation: Expectation) -> PlannedStage {
        PlannedStage { stage: name(stage), expectation, usual_ms: Some(120_000) }
    }

    fn changed(index: usize) -> Change {
        Change { name: format!("with.p{index}"), old: Some("1".into()), new: Some("2".into()) }
    }

    #[test]
    fn every_stage_has_a_line_and_every_change_too() {
        let stages = [
            planned("download", Expectation::Fresh),
            planned("train", Expectation::Run { changes: vec![changed(1), changed(2)], reason: None }),
            planned("export", Expectation::Maybe { after: vec![name("train")] }),
            planned("bench", Expectation::Restorable),
        ];
        assert_eq!(
            table(&stages, Paint::new(false)),
            concat!(
                " download  fresh\n",
                " train     stale     with.p1 1 → 2                                ≈ 2 min\n",
                "                     with.p2 1 → 2\n",
                " export    maybe     stays as it is if the outputs of `train` do  ≈ 2 min\n",
                " bench     in cache  `pipe run` restores it without running it\n",
            )
        );
    }

    #[test]
    fn many_changes_are_cut_short() {
        let run = Expectation::Run { changes: (0..9).map(changed).collect(), reason: None };
        let text = table(&[planned("train", run)], Paint::new(false));
        assert_eq!(text.lines().count(), MAX_CHANGES + 1);
        assert!(text.ends_with("and 3 more: pipe why train\n"));
    }

    #[test]
    fn no_stages_make_no_table() {
        assert_eq!(table(&[], Paint::new(true)), "");
    }
}
