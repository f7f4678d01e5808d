//! `pipe graph`: the stages and who reads whose outputs, with their states: as text, Mermaid, DOT, SVG or JSON.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;
use pipeline::StageName;
use pipeline::graph::StageId;
use pipeline::spec::{Input, Pipeline};
use record::action;
use record::event::{Expectation, PlannedStage};
use report::{StageState, stages_svg};
use schemars::JsonSchema;
use serde::Serialize;
use text::format;
use text::printable::clean_line;

use super::output::{Version, print, print_json, print_painted};
use super::{Context, Selection, completions, find_stages};
use crate::error::{Error, ExitStatus};
use crate::plan;
use crate::progress::{Paint, word};
use crate::project::Project;

/// Show the stages, who reads whose outputs, and what a run would do with each
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stages to show, with all that they depend on; all of them where none is named
    #[arg(add = completions::stages())]
    stages: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// What to print
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    format: Format,
    /// Print JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A list for people
    Text,
    /// A Mermaid flowchart, which GitHub and GitLab draw in Markdown
    Mermaid,
    /// For Graphviz: `pipe graph --format dot | dot -Tpng > graph.png`
    Dot,
    /// An SVG picture
    Svg,
}

/// Runs the command.
///
/// # Errors
/// When the pipeline is wrong.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let project = context.load(&args.selection)?;
    let named = find_stages(&project, &args.stages)?;
    let selected: BTreeSet<StageId> =
        if named.is_empty() { project.pipeline.ids().collect() } else { project.graph.with_upstream(named) };
    let order = project.graph.order().iter().filter(|id| selected.contains(id));
    let order: Vec<&StageName> = order.map(|id| &project.pipeline[*id].name).collect();
    let states = states(&project, &selected);
    if args.json {
        print_json(&answer(&project.pipeline, &order, &states))?;
        return Ok(ExitStatus::Done);
    }
    match args.format {
        Format::Text => {
            let paint = Paint::new(context.color_stdout());
            print_painted(&text(&project.pipeline, &order, &states, paint))?;
        }
        Format::Mermaid => print(&mermaid(&project.pipeline, &order, &states))?,
        Format::Dot => print(&dot(&project.pipeline, &order, &states))?,
        Format::Svg => print(&stages_svg(&project.pipeline, &drawn(&order, &states)))?,
    }
    Ok(ExitStatus::Done)
}

/// What is expected of each stage; of none where that cannot be said, for example because a source is missing: the
/// graph is worth showing all the same.
fn states(project: &Project, selected: &BTreeSet<StageId>) -> BTreeMap<StageName, PlannedStage> {
    let planned = plan::plan(project, selected, &BTreeSet::new()).unwrap_or_default();
    // What could not be remembered costs the next command time, nothing else.
    let _ = project.store.flush();
    planned.into_iter().map(|stage| (stage.stage.clone(), stage)).collect()
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
        // The first word may be the assignment of a variable.
        clean_line(&does).split_whitespace().next().unwrap_or_default().chars().take(32).collect::<String>()
    };
    let names = order.iter().map(|stage| stage.as_str().len()).max().unwrap_or(0);
    let ops = order.iter().map(|stage| does(stage).chars().count()).max().unwrap_or(0);
    let mut text = format!(
        " {} · {}\n\n",
        paint.strong(&clean_line(&pipeline.name)),
        format::count(order.len(), "stage")
    );
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

/// An edge as drawn: the stage that writes, its output, the stage that reads. In the order of the readers.
fn edges<'a>(
    pipeline: &'a Pipeline,
    order: &[&'a StageName],
) -> Vec<(&'a StageName, &'a str, &'a StageName)> {
    let shown: BTreeSet<&StageName> = order.iter().copied().collect();
    let mut edges = vec![];
    for to in order {
        for input in pipeline.stages.get(*to).into_iter().flat_map(|stage| stage.inputs.values()) {
            if let Input::Output { stage, output } = input
                && shown.contains(stage)
            {
                edges.push((stage, output.as_str(), *to));
            }
        }
    }
    edges
}

/// Fill and text of a state, readable on light and dark pages alike. The order is that of the legend.
const COLORS: [(&str, &str, &str); 4] = [
    ("run", "#0b5cad", "#ffffff"),
    ("maybe", "#8a6200", "#ffffff"),
    ("restore", "#0a7a52", "#ffffff"),
    ("fresh", "#d9dde3", "#16191f"),
];

/// Nodes are numbered: a stage may be called `end`, which Mermaid would take for its own.
fn mermaid(pipeline: &Pipeline, order: &[&StageName], states: &BTreeMap<StageName, PlannedStage>) -> String {
    let number: BTreeMap<&StageName, usize> =
        order.iter().enumerate().map(|(n, stage)| (*stage, n)).collect();
    let escaped = |text: &str| text.replace('"', "#quot;");
    let mut text = String::from("flowchart TD\n");
    let mut used = BTreeSet::new();
    for (n, stage) in order.iter().enumerate() {
        let label = escaped(stage.as_str());
        match states.get(*stage).map(|state| word(&state.expectation)) {
            Some(state) => {
                used.insert(state);
                text.push_str(&format!("  s{n}[\"{label}<br/>{state}\"]:::{state}\n"));
            }
            None => text.push_str(&format!("  s{n}[\"{label}\"]\n")),
        }
    }
    for (from, output, to) in edges(pipeline, order) {
        if let (Some(from), Some(to)) = (number.get(from), number.get(to)) {
            text.push_str(&format!("  s{from} -->|\"{}\"| s{to}\n", escaped(output)));
        }
    }
    for (state, fill, ink) in COLORS.iter().filter(|(state, ..)| used.contains(state)) {
        text.push_str(&format!("  classDef {state} fill:{fill},color:{ink},stroke:{fill}\n"));
    }
    text
}

/// For Graphviz.
fn dot(pipeline: &Pipeline, order: &[&StageName], states: &BTreeMap<StageName, PlannedStage>) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut text = format!("digraph {} {{\n", quoted(&pipeline.name));
    text.push_str(
        "  node [shape=box, style=\"rounded,filled\", fillcolor=\"#ffffff\", fontname=\"sans-serif\"]\n",
    );
    text.push_str("  edge [fontname=\"sans-serif\", fontsize=10, color=\"#5b6472\"]\n");
    for stage in order {
        let id = quoted(stage.as_str());
        let state = states.get(*stage).map(|state| word(&state.expectation));
        let color = COLORS.iter().find(|(name, ..)| Some(*name) == state);
        match color {
            Some((state, fill, ink)) => {
                let label = id.trim_end_matches('"');
                text.push_str(&format!(
                    "  {id} [label={label}\\n{state}\", fillcolor=\"{fill}\", color=\"{fill}\", fontcolor=\"{ink}\"]\n"
                ));
            }
            None => text.push_str(&format!("  {id}\n")),
        }
    }
    for (from, output, to) in edges(pipeline, order) {
        let (from, to) = (quoted(from.as_str()), quoted(to.as_str()));
        text.push_str(&format!("  {from} -> {to} [label={}]\n", quoted(output)));
    }
    text.push_str("}\n");
    text
}

/// What `pipe graph --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Graph", title = "pipe graph --json")]
pub(super) struct Answer {
    version: Version,
    /// Name of the pipeline.
    pipeline: String,
    /// Stages, each after those that it reads from.
    stages: Vec<Node>,
    /// Who reads whose outputs.
    edges: Vec<Edge>,
}

/// A stage.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GraphStage")]
struct Node {
    /// Its name.
    stage: StageName,
    /// What it does: an op as `PLUGIN/OP`, or a command.
    action: String,
    /// What is expected of it; `null` where that cannot be said, for example because a file is missing.
    expectation: Option<Expectation>,
}

/// A stage's input that another stage writes.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GraphEdge")]
struct Edge {
    /// The stage that writes it.
    from: StageName,
    /// Name of the output.
    output: String,
    /// The stage that reads it.
    to: StageName,
}

fn answer(pipeline: &Pipeline, order: &[&StageName], states: &BTreeMap<StageName, PlannedStage>) -> Answer {
    let node = |stage: &&StageName| Node {
        stage: (*stage).clone(),
        action: pipeline.stages.get(*stage).map(action).unwrap_or_default(),
        expectation: states.get(*stage).map(|state| state.expectation.clone()),
    };
    let edge = |(from, output, to): (&StageName, &str, &StageName)| Edge {
        from: from.clone(),
        output: output.to_owned(),
        to: to.clone(),
    };
    Answer {
        version: Version,
        pipeline: pipeline.name.clone(),
        stages: order.iter().map(node).collect(),
        edges: edges(pipeline, order).into_iter().map(edge).collect(),
    }
}

fn drawn(order: &[&StageName], states: &BTreeMap<StageName, PlannedStage>) -> Vec<StageState> {
    let state = |stage: &&StageName| {
        let (class, note) = match states.get(*stage).map(|state| &state.expectation) {
            None => ("st-none", ""),
            Some(Expectation::Fresh) => ("st-fresh", "fresh"),
            Some(Expectation::Restorable { .. }) => ("st-restored", "in the cache"),
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
    use record::sample;

    fn order(pipeline: &Pipeline) -> Vec<&StageName> {
        pipeline
            .stages
            .keys()
            .filter(|stage| ["download", "train", "export"].contains(&stage.as_str()))
            .collect()
    }

    fn states() -> BTreeMap<StageName, PlannedStage> {
        let run = Expectation::Run { changes: vec![], reason: None };
        let planned = |stage: &str, expectation| {
            let stage = sample::name(stage);
            (
                stage.clone(),
                PlannedStage { stage, expectation, usual_ms: None, last_ms: None, variants_ms: None },
            )
        };
        [planned("download", Expectation::Fresh), planned("train", run)].into()
    }

    #[test]
    fn a_list_for_people() {
        let sample = sample::tinynet();
        let shown = text(&sample.pipeline, &order(&sample.pipeline), &states(), Paint::new(false));
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
  s0[\"download<br/>fresh\"]:::fresh
  s1[\"train<br/>run\"]:::run
  s2[\"export\"]
  s0 -->|\"dataset\"| s1
  s1 -->|\"weights\"| s2
  classDef run fill:#0b5cad,color:#ffffff,stroke:#0b5cad
  classDef fresh fill:#d9dde3,color:#16191f,stroke:#d9dde3
";
        assert_eq!(mermaid(&sample.pipeline, &order(&sample.pipeline), &states()), expected);
    }

    #[test]
    fn a_graph_for_graphviz() {
        let mut sample = sample::tinynet();
        sample.pipeline.name = "a \"b\" \\".into();
        let text = dot(&sample.pipeline, &order(&sample.pipeline), &states());
        let expected = [
            "digraph \"a \\\"b\\\" \\\\\" {",
            "  \"download\" [label=\"download\\nfresh\", fillcolor=\"#d9dde3\", color=\"#d9dde3\", fontcolor=\"#16191f\"]",
            "  \"export\"",
            "  \"train\" -> \"export\" [label=\"weights\"]",
        ];
        for line in expected {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        snapshots::assert_message!(text);
    }

    #[test]
    fn every_state_has_a_colour() {
        let all = [
            Expectation::Fresh,
            Expectation::Restorable { changes: vec![] },
            Expectation::Run { changes: vec![], reason: None },
            Expectation::Maybe { after: vec![] },
        ];
        for expectation in all {
            assert!(COLORS.iter().any(|(name, ..)| *name == word(&expectation)), "{expectation:?}");
        }
    }

    #[test]
    fn a_picture() {
        let sample = sample::tinynet();
        let svg = stages_svg(&sample.pipeline, &drawn(&order(&sample.pipeline), &states()));
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains(">train</text>") && svg.contains(">to run</text>") && svg.contains("st-fresh"));
    }
}
