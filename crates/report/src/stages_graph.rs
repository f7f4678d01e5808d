//! The graph of a pipeline's stages with their states: in the report, and alone for `pipe graph`.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};
use pipeline::StageName;
use pipeline::spec::Pipeline;
use record::{Definition, Source};

use super::chart::{self, GraphEdge, GraphNode, graph};
use super::mention;

/// What is written on a stage's node.
#[derive(Debug, Clone)]
pub struct StageState {
    /// The stage.
    pub stage: StageName,
    /// Class of its colour: `st-` and `ran`, `restored`, `fresh`, `failed`, `blocked`, `interrupted`, `maybe` or
    /// `none`.
    pub class: &'static str,
    /// Second line; may be empty.
    pub note: String,
}

/// The graph of those stages that have a state; nodes link to their sections where `linked`.
pub(super) fn stages_graph(definition: &Definition, states: &[StageState], linked: bool) -> Markup {
    let index: BTreeMap<&StageName, usize> =
        states.iter().enumerate().map(|(index, state)| (&state.stage, index)).collect();
    let nodes: Vec<GraphNode> = states
        .iter()
        .map(|state| GraphNode {
            label: state.stage.to_string(),
            note: state.note.clone(),
            detail: definition.stages.get(&state.stage).map(|stage| stage.action.clone()).unwrap_or_default(),
            class: state.class.into(),
            link: linked.then(|| format!("#{}", mention::anchor(&state.stage))),
        })
        .collect();
    let mut edges = vec![];
    for (to, state) in states.iter().enumerate() {
        let inputs = definition.stages.get(&state.stage).into_iter().flat_map(|stage| stage.inputs.values());
        for input in inputs {
            if let Source::Output { stage, output } = input
                && let Some(from) = index.get(stage)
            {
                edges.push(GraphEdge { from: *from, to, label: format!("{stage}.{output}") });
            }
        }
    }
    graph("Stages", &nodes, &edges)
}

/// The graph as an SVG file of its own.
#[must_use]
pub fn stages_svg(pipeline: &Pipeline, states: &[StageState]) -> String {
    let drawing = stages_graph(&Definition::of(pipeline), states, false).into_string();
    let style = html! { style { (PreEscaped(chart::STYLE)) } }.into_string();
    // The style goes inside, as first child, so that the file stands alone.
    match drawing.split_once('>') {
        Some((open, rest)) => format!("{open}>{style}{rest}\n"),
        None => drawing,
    }
}
