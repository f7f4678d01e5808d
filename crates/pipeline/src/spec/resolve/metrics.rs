//! Metrics that gates and columns name: whether the stages that they name them of report any such, as far as their ops
//! say. What an op does not say is not known, and nothing is told.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::Value;

use super::super::suggest::did_you_mean_or_list;
use super::super::tree::{Data, Key, Node, Problem, Span, shortened};
use super::super::{Action, ReportSpec, Stage};
use super::Resolver;
use crate::StageName;
use crate::gate::Gate;
use crate::name::Selector;

/// A metric that a stage does not report, in words.
struct Absent {
    message: String,
    help: String,
}

impl Resolver<'_> {
    /// Tells of each metric in gates, which `written` became, that its stage does not report. Of variants the first is told.
    pub(super) fn check_metrics_of_gates(
        &mut self,
        gates: &[Gate],
        written: &Node,
        stages: &IndexMap<StageName, Stage>,
    ) {
        let mut told = BTreeSet::new();
        for gate in gates {
            for (stage, metric) in gate.metrics().into_iter().chain(gate.baseline_metrics()) {
                if let Some(absent) = self.absent(stage, metric, stages, true) {
                    // A variant goes by the name of its family in the text.
                    let family = stage.split('[').next().unwrap_or(stage);
                    if !told.insert((family.to_owned(), metric.to_owned())) {
                        continue;
                    }
                    let span = self.place_of(written, family, metric);
                    let message = format!("gate {}", absent.message);
                    self.tell(
                        Problem { span: Some(span), ..Problem::at(written, message) }.help(absent.help),
                    );
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
                        // Of a stage with which something is wrong nothing is known. One that is not written is one that the
                        // row does not name.
                        None => !self.outlines.contains_key(Selector::new(&stage).family()),
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

    /// Warns of each row for which no column can have a value: what it names is no stage, or that reports nothing of what the
    /// columns ask for. Of the variants of a row the first is told.
    pub(super) fn warn_of_empty_rows(
        &mut self,
        report: &ReportSpec,
        written: &[(Key, Node)],
        stages: &IndexMap<StageName, Stage>,
    ) {
        for (key, node) in written {
            let is_variant = |row: &&String| {
                row.strip_prefix(&key.name).is_some_and(|rest| rest.is_empty() || rest.starts_with(" ["))
            };
            let absent: Option<Vec<Absent>> = report
                .rows
                .keys()
                .filter(is_variant)
                .map(|row| self.why_empty(report, row, stages))
                .collect();
            let Some(absent) = absent.and_then(|absent| absent.into_iter().next()) else { continue };
            let message = format!("row `{}` stays empty: it {}", shortened(&key.name), absent.message);
            self.warnings.push(Problem::at(node, message).help(absent.help));
        }
    }

    /// Why no column has a value for a row, if none has: what is wrong with the first of its metrics whose stage is there, or else
    /// with the first.
    fn why_empty(
        &mut self,
        report: &ReportSpec,
        row: &str,
        stages: &IndexMap<StageName, Stage>,
    ) -> Option<Absent> {
        let (mut absent, mut unknown) = (None, None);
        for metric in report.columns.iter().flat_map(|column| &column.metrics) {
            let Some((stage, name)) = report.metric_of(row, metric) else { continue };
            let family = Selector::new(&stage).family();
            if !self.outlines.contains_key(family) {
                let help = did_you_mean_or_list(family, "stages are", self.stage_names());
                let message = format!("names unknown stage `{}`", shortened(family));
                unknown.get_or_insert(Absent { message, help });
                continue;
            }
            // Of a stage of which nothing is known it may have one.
            let why = self.absent(&stage, &name, stages, false)?;
            absent.get_or_insert(why);
        }
        absent.or(unknown)
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
        let inputs = || stage.inputs.keys().map(String::as_str);
        let params = if with_its_params { &action.params } else { &Value::Null };
        if op.metric_names(inputs(), params)?.contain(metric) {
            return None;
        }
        let message = format!("names metric `{}`, but stage `{name}` has no such metric", shortened(metric));
        if let Some(missing) = op.missing_for_metric(inputs(), &action.params, metric) {
            return Some(Absent { message, help: missing });
        }
        let names = op.metric_names(inputs(), &action.params)?;
        let help = did_you_mean_or_list(
            metric,
            &format!("metrics of {}/{} are", action.plugin, action.op),
            names.iter(),
        );
        Some(Absent { message, help })
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
