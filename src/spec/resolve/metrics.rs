//! Metrics that gates and columns name: whether the stages that they name them of report any such, as far as their ops
//! say. What an op does not say is not known, and nothing is told.

use indexmap::IndexMap;
use serde_json::Value;

use super::super::suggest::did_you_mean_or_list;
use super::super::tree::{Data, Node, Problem, Span, shortened};
use super::super::{Action, ReportSpec, Stage, StageName};
use super::Resolver;
use crate::gate::Gate;

/// Most names that one of an op's patterns stands for.
const MOST_NAMES: usize = 1_000;

/// A metric that a stage does not report, in words.
struct Absent {
    message: String,
    help: String,
}

impl Resolver<'_> {
    /// Tells of the first metric in gates, which `written` became, that its stage does not report.
    pub(super) fn check_metrics_of_gates(
        &mut self,
        gates: &[Gate],
        written: &Node,
        stages: &IndexMap<StageName, Stage>,
    ) {
        for gate in gates {
            for (stage, metric) in gate.metrics().into_iter().chain(gate.baseline_metrics()) {
                if let Some(absent) = self.absent(stage, metric, stages, true) {
                    // A variant goes by the name of its family in the text.
                    let family = stage.split('[').next().unwrap_or(stage);
                    let span = self.place_of(written, family, metric);
                    let message = format!("gate {}", absent.message);
                    self.tell(
                        Problem { span: Some(span), ..Problem::at(written, message) }.help(absent.help),
                    );
                    return;
                }
            }
        }
    }

    /// Tells of each metric in `columns`, which became those of `report`, that the stages of no row report. A column that stays
    /// empty because a run measures less than others (`--set batches=[1]`) is none of these.
    pub(super) fn check_metrics_of_columns(
        &mut self,
        report: &ReportSpec,
        columns: &[Node],
        stages: &IndexMap<StageName, Stage>,
    ) {
        for (column, node) in report.columns.iter().zip(columns) {
            let Some(node) = node.get("metric") else { continue };
            let nodes = match &node.data {
                Data::List(items) => items.iter().collect(),
                _ => vec![node],
            };
            for (metric, node) in column.metrics.iter().zip(nodes) {
                let mut first = None;
                let is_absent = |row: &String| match report.metric_of(row, metric) {
                    Some((stage, name)) => match self.absent(&stage, &name, stages, false) {
                        Some(absent) => {
                            first.get_or_insert(absent);
                            true
                        }
                        // Nothing is wrong elsewhere: a stage that is not there is one that the row does not name.
                        None => !is_stage(&stage, stages),
                    },
                    None => true,
                };
                // Other metrics may serve the other rows.
                if report.rows.keys().all(is_absent)
                    && let Some(absent) = first
                {
                    let message = format!("column `{}` {}", shortened(&column.label), absent.message);
                    self.tell(Problem::at(node, message).help(absent.help));
                }
            }
        }
    }

    /// What to say where a stage is known not to report a metric: with its params, or else with any.
    fn absent(
        &mut self,
        stage: &str,
        metric: &str,
        stages: &IndexMap<StageName, Stage>,
        with_its_params: bool,
    ) -> Option<Absent> {
        let stage = find(stage, stages)?;
        let (name, metric) = (&stage.name, metric);
        let action = match &stage.action {
            Action::Op(action) => action,
            Action::Command(_) => {
                return Some(Absent {
                    message: format!(
                        "names metric `{}` of stage `{name}`, but a command reports none",
                        shortened(metric)
                    ),
                    help: "ops of plugins report metrics; a plugin is a page of code: docs/plugins.md".into(),
                });
            }
        };
        let manifest = self.manifest(&action.plugin).ok()?;
        let op = manifest.ops.get(&action.op)?;
        let patterns = op.metrics.as_ref()?;
        let inputs: Vec<&str> =
            stage.inputs.keys().filter(|name| !op.inputs.contains_key(*name)).map(String::as_str).collect();
        let params = if with_its_params { &action.params } else { &Value::Null };
        let names: Vec<String> =
            patterns.iter().flat_map(|pattern| filled(pattern, &inputs, params)).collect();
        if names.iter().any(|name| matches(name, metric)) {
            return None;
        }
        Some(Absent {
            message: format!("names metric `{}`, which stage `{name}` does not report", shortened(metric)),
            help: did_you_mean_or_list(
                metric,
                &format!("metrics of {}/{} are", action.plugin, action.op),
                names.iter().map(String::as_str),
            ),
        })
    }

    /// The place of a metric within the text of a gate, or that of the text where it is written otherwise.
    fn place_of(&self, node: &Node, stage: &str, metric: &str) -> Span {
        let whole = self.sources.find(node.span, &format!("{stage}.{metric}"));
        if whole != node.span { whole } else { self.sources.find(node.span, &format!(".{metric}")) }
    }
}

fn find<'s>(stage: &str, stages: &'s IndexMap<StageName, Stage>) -> Option<&'s Stage> {
    stages.get(&StageName::try_from(stage.to_owned()).ok()?)
}

fn is_stage(stage: &str, stages: &IndexMap<StageName, Stage>) -> bool {
    find(stage, stages).is_some()
}

/// The names that a pattern stands for: braces around something that is known are filled in, one after the other.
fn filled(pattern: &str, inputs: &[&str], params: &Value) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, what, after)) = braces(rest) {
        let known = match what.strip_prefix("with.") {
            Some(param) => params.get(param).and_then(items),
            None if what == "input" => Some(inputs.iter().map(ToString::to_string).collect()),
            None => None,
        };
        let known = known.unwrap_or_else(|| vec![format!("{{{what}}}")]);
        let longer =
            |name: &String| known.iter().map(|known| format!("{name}{before}{known}")).collect::<Vec<_>>();
        names = names.iter().flat_map(longer).take(MOST_NAMES + 1).collect();
        if names.len() > MOST_NAMES {
            // Any text: what cannot be listed is not told to be wrong.
            return vec!["{any}".into()];
        }
        rest = after;
    }
    names.into_iter().map(|name| name + rest).collect()
}

/// The text before the first pair of braces, what is in it and the text behind it.
fn braces(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (what, after) = rest.split_once('}')?;
    Some((before, what, after))
}

/// The items of a list, or the one that a number or a text is.
fn items(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        other => text(other).map(|one| vec![one]),
    }
}

/// Whether `name` is one that a pattern stands for, in which braces stand for any text but none.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, _, after)) = braces(pattern) else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    let mut starts = rest.char_indices().map(|(at, _)| at).skip(1).chain([rest.len()]);
    !rest.is_empty() && starts.any(|at| rest.get(at..).is_some_and(|rest| matches(after, rest)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn braces_are_filled_by_inputs_and_items_and_else_stand_for_any_text() {
        let params = json!({"batches": [1, 128], "one": 7, "none": null});
        let filled = |pattern: &str| filled(pattern, &["fp32", "int8"], &params);
        assert_eq!(filled("accuracy"), ["accuracy"]);
        assert_eq!(
            filled("{input}.batch{with.batches}.ms"),
            ["fp32.batch1.ms", "fp32.batch128.ms", "int8.batch1.ms", "int8.batch128.ms"]
        );
        assert_eq!(filled("a{with.one}"), ["a7"]);
        assert_eq!(filled("a{with.none}.{else}"), ["a{with.none}.{else}"]);
        assert_eq!(filled("a{"), ["a{"]);
        assert_eq!(filled(&"{input}".repeat(40)), ["{any}"]);
    }

    #[test]
    fn names_match_whole() {
        assert!(matches("accuracy", "accuracy"));
        assert!(!matches("accuracy", "accuracy.top1"));
        assert!(matches("{a}.top{k}", "fp32.top5"));
        assert!(!matches("{a}.top{k}", "fp32.top"));
        assert!(!matches("{a}.top", ".top"));
        assert!(matches("{any}", "é.x"));
    }
}
