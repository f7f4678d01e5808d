//! `pipe graph`: the stages and who reads whose outputs, as text, Mermaid or SVG.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;

use super::output::print;
use super::{Context, Selection, find_stages};
use crate::error::{Error, ExitStatus};
use crate::event::{Expectation, PlannedStage};
use crate::progress::Paint;
use crate::project::Project;
use crate::report::{StageState, action, stages_svg};
use crate::spec::{Input, Pipeline, StageName};
use crate::{format, plan};

/// Show the stages and who reads whose outputs
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stages to show, with all that they depend on; all of them where none is named
    stages: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// What to print
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    format: Format,
}

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A list for people
    Text,
    /// A Mermaid flowchart, which GitHub and GitLab draw in Markdown
    Mermaid,
    /// An SVG picture
    Svg,
}

/// Runs the command.
///
/// # Errors
/// When the pipeline is wrong.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let project = context.load(&args.selection)?;
    let named: Vec<StageName> = find_stages(&project, &args.stages)?.into_iter().collect();
    let selected: BTreeSet<StageName> = match named.as_slice() {
        [] => project.pipeline.stages.keys().cloned().collect(),
        named => project.graph.with_upstream(named),
    };
    let order: Vec<&StageName> =
        project.graph.order().iter().filter(|stage| selected.contains(*stage)).collect();
    let states = states(&project, &selected);
    print(&match args.format {
        Format::Text => text(&project.pipeline, &order, &states, Paint::new(context.color_stdout())),
        Format::Mermaid => mermaid(&project.pipeline, &order),
        Format::Svg => stages_svg(&project.pipeline, &drawn(&order, &states)),
    })?;
    Ok(ExitStatus::Done)
}

/// What is expected of each stage; of none where that cannot be said, for example because a source is missing: the
/// graph is worth showing all the same.
fn states(project: &Project, selected: &BTreeSet<StageName>) -> BTreeMap<StageName, PlannedStage> {
    let planned = plan::plan(project, selected, &BTreeSet::new()).unwrap_or_default();
    // What could not be remembered costs the next command time, nothing else.
    let _ = project.store.flush();
    planned.into_iter().map(|stage| (stage.stage.clone(), stage)).collect()
}

fn word(expectation: &Expectation) -> &'static str {
    match expectation {
        Expectation::Fresh => "fresh",
        Expectation::Restorable => "restore",
        Expectation::Run { .. } => "run",
        Expectation::Maybe { .. } => "maybe",
    }
}

/// The stages that a stage reads from, in the order of their names.
fn sources<'a>(pipeline: &'a Pipeline, stage: &StageName) -> BTreeSet<&'a StageName> {
    let inputs = pipeline.stages.get(stage).into_iter().flat_map(|stage| stage.inputs.values());
    let from = |input: &'a Input| match input {
        Input::Output { stage, .. } => Some(stage),
        Input::Path(_) => None,
    };
    inputs.filter_map(from).collect()
}

/// One stage a line: name, what it does, state, whose outputs it reads.
fn text(
    pipeline: &Pipeline,
    order: &[&StageName],
    states: &BTreeMap<StageName, PlannedStage>,
    paint: Paint,
) -> String {
    let does = |stage: &StageName| {
        let does = pipeline.stages.get(stage).map(action).unwrap_or_default();
        does.split_whitespace().next().unwrap_or_default().chars().take(32).collect::<String>()
    };
    let names = order.iter().map(|stage| stage.as_str().len()).max().unwrap_or(0);
    let ops = order.iter().map(|stage| does(stage).chars().count()).max().unwrap_or(0);
    let mut text = format!(" {} · {}\n\n", paint.strong(&pipeline.name), format::count(order.len(), "stage"));
    for stage in order {
        let state = states.get(*stage).map_or("", |state| word(&state.expectation));
        let shown = format!("{state:<7}");
        let state = match state {
            "run" => paint.live(&shown),
            "maybe" => paint.warn(&shown),
            _ => paint.faint(&shown),
        };
        let sources: Vec<&str> = sources(pipeline, stage).into_iter().map(StageName::as_str).collect();
        let reads = if sources.is_empty() { String::new() } else { format!("← {}", sources.join(", ")) };
        let name = paint.strong(&format!("{:<names$}", stage.as_str()));
        let line = format!(" {name}  {}  {state}  {reads}", paint.faint(&format!("{:<ops$}", does(stage))));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Nodes are numbered: a stage may be called `end`, which Mermaid would take for its own.
fn mermaid(pipeline: &Pipeline, order: &[&StageName]) -> String {
    let number: BTreeMap<&StageName, usize> =
        order.iter().enumerate().map(|(n, stage)| (*stage, n)).collect();
    let mut text = String::from("flowchart TD\n");
    for (n, stage) in order.iter().enumerate() {
        text.push_str(&format!("  s{n}[\"{stage}\"]\n"));
    }
    for (to, stage) in order.iter().enumerate() {
        for input in pipeline.stages.get(*stage).into_iter().flat_map(|stage| stage.inputs.values()) {
            if let Input::Output { stage, output } = input
                && let Some(from) = number.get(stage)
            {
                text.push_str(&format!("  s{from} -->|\"{}\"| s{to}\n", output.replace('"', "#quot;")));
            }
        }
    }
    text
}

fn drawn(order: &[&StageName], states: &BTreeMap<StageName, PlannedStage>) -> Vec<StageState> {
    let state = |stage: &&StageName| {
        let (class, note) = match states.get(*stage).map(|state| &state.expectation) {
            None => ("st-none", ""),
            Some(Expectation::Fresh) => ("st-fresh", "fresh"),
            Some(Expectation::Restorable) => ("st-restored", "in the cache"),
            Some(Expectation::Run { .. }) => ("st-ran", "to run"),
            Some(Expectation::Maybe { .. }) => ("st-maybe", "maybe"),
        };
        StageState { stage: (*stage).clone(), class, note: note.into() }
    };
    order.iter().map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn order(pipeline: &Pipeline) -> Vec<&StageName> {
        pipeline
            .stages
            .keys()
            .filter(|stage| ["download", "train", "export"].contains(&stage.as_str()))
            .collect()
    }

    #[test]
    fn a_list_for_people() {
        let sample = sample::tinynet();
        let run = Expectation::Run { changes: vec![], reason: None };
        let planned = |stage: &str, expectation| {
            let stage = sample::name(stage);
            (stage.clone(), PlannedStage { stage, expectation, usual_ms: None })
        };
        let states = [planned("download", Expectation::Fresh), planned("train", run)].into();
        let shown = text(&sample.pipeline, &order(&sample.pipeline), &states, Paint::new(false));
        let expected = " tinynet · 3 stages

 download  data/download  fresh
 train     torch/train    run      ← download
 export    onnx/export             ← train
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_flowchart() {
        let sample = sample::tinynet();
        let expected = "flowchart TD
  s0[\"download\"]
  s1[\"train\"]
  s2[\"export\"]
  s0 -->|\"dataset\"| s1
  s1 -->|\"weights\"| s2
";
        assert_eq!(mermaid(&sample.pipeline, &order(&sample.pipeline)), expected);
    }

    #[test]
    fn a_picture() {
        let sample = sample::tinynet();
        let svg = stages_svg(&sample.pipeline, &drawn(&order(&sample.pipeline), &BTreeMap::new()));
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains(">train</text>"));
    }
}
