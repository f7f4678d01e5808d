//! What the result table shows.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::super::parse::unknown_or_missing;
use super::super::suggest::did_you_mean_or_list;
use super::super::tree::{Data, Node, Problem, shortened};
use super::super::vars::Also;
use super::super::{ReportColumn, ReportSpec, Stage, keys};
use super::Resolver;
use super::fan_out::Instance;
use crate::StageName;
use crate::gate::Better;
use crate::name::{Selector, split_reference};

/// Decimals of a column that does not say.
const DIGITS: usize = 2;
/// Most decimals.
const MOST_DIGITS: u64 = 10;

impl Resolver<'_> {
    /// The report's table, as far as it is right.
    pub(super) fn report(&mut self, written: &Node, stages: &IndexMap<StageName, Stage>) -> ReportSpec {
        let node = self.fill(written, Also::Row);
        let told = self.problems.len();
        let mut report = ReportSpec::default();
        let entries = match &node.data {
            Data::Map(entries) => entries,
            Data::Null | Data::Broken => return report,
            _ => {
                self.tell(Problem::at(&node, format!("`report` is a map, not {}", node.describe())));
                return report;
            }
        };
        self.problems.extend(unknown_or_missing(entries, keys::REPORT, "`report`", node.span));
        report.title = self.text_of(node.get("title"), "title");
        report.description = self.text_of(node.get("description"), "description");
        report.reference_name = self.text_of(node.get("reference_name"), "reference_name");
        report.rows = self.rows(node.get("rows"));
        let columns = match node.get("columns").map(|node| (node, &node.data)) {
            Some((_, Data::List(columns))) => columns.as_slice(),
            None | Some((_, Data::Null | Data::Broken)) => &[],
            Some((node, _)) => {
                self.tell(Problem::at(
                    node,
                    format!("`columns` is a list of columns, not {}", node.describe()),
                ));
                &[]
            }
        };
        report.columns = columns.iter().filter_map(|column| self.column(column, &report.rows)).collect();
        self.fan_out_rows(&mut report, &node);
        // Columns that were left out would leave the others without their places.
        if report.columns.len() == columns.len() {
            self.check_metrics_of_columns(&report, columns, stages);
        }
        // What is wrong with the table as a whole is told once.
        if let Some(Data::Map(rows)) = node.get("rows").map(|rows| &rows.data)
            && self.problems.len() == told
        {
            self.warn_of_empty_rows(&report, rows, stages);
        }
        report
    }

    /// Makes a row for each variant of the stages whose metrics it shows.
    fn fan_out_rows(&mut self, report: &mut ReportSpec, node: &Node) {
        if self.matrices.is_empty() {
            return;
        }
        for (label, text) in std::mem::take(&mut report.rows) {
            let metrics = report.columns.iter().flat_map(|column| &column.metrics);
            let paths = metrics.map(|metric| metric.replace("${row}", &text));
            let stages: BTreeSet<String> =
                paths.filter_map(|path| Some(split_reference(&path)?.0.to_owned())).collect();
            let instances = match self.instances(&stages) {
                Ok(instances) => instances,
                Err((message, help)) => {
                    self.tell(
                        Problem::at(node, format!("row `{}`: {message}", shortened(&label))).help(help),
                    );
                    continue;
                }
            };
            for Instance { bracket, names } in instances {
                let own = if bracket.is_empty() { label.clone() } else { format!("{label} {bracket}") };
                for column in &mut report.columns {
                    let reference = column.reference.get(&label).copied();
                    column.reference.extend(reference.map(|value| (own.clone(), value)));
                }
                report.variants.insert(own.clone(), names);
                report.rows.insert(own, text.clone());
            }
        }
    }

    fn rows(&mut self, node: Option<&Node>) -> IndexMap<String, String> {
        let entries = match node.map(|node| (node, &node.data)) {
            Some((_, Data::Map(entries))) => entries.as_slice(),
            None | Some((_, Data::Null | Data::Broken)) => &[],
            Some((node, _)) => {
                let message = format!(
                    "`rows` is a map of labels to what `${{row}}` stands for, not {}",
                    node.describe()
                );
                self.tell(Problem::at(node, message));
                &[]
            }
        };
        entries
            .iter()
            .filter_map(|(key, value)| Some((key.name.clone(), self.text_of(Some(value), &key.name)?)))
            .collect()
    }

    fn column(&mut self, node: &Node, rows: &IndexMap<String, String>) -> Option<ReportColumn> {
        let Data::Map(entries) = &node.data else {
            if !node.is_broken() {
                let message =
                    format!("a column is a map of `label`, `metric` and more, not {}", node.describe());
                self.tell(Problem::at(node, message));
            }
            return None;
        };
        self.problems.extend(unknown_or_missing(entries, keys::COLUMN, "a column", node.span));
        let label = self.text_of(node.get("label"), "label")?;
        let metrics = self.metrics(node.get("metric")?, rows);
        let digits = self.digits(node.get("digits"));
        let prefix = self.text_of(node.get("prefix"), "prefix").unwrap_or_default();
        let better = self.better(node.get("better"));
        let reference = self.reference(node.get("reference"), rows);
        Some(ReportColumn { label, metrics, digits, prefix, better, reference })
    }

    fn better(&mut self, node: Option<&Node>) -> Option<Better> {
        let node = node.filter(|node| !matches!(node.data, Data::Null | Data::Broken))?;
        match &node.data {
            Data::Text(text) if text == "higher" => Some(Better::Higher),
            Data::Text(text) if text == "lower" => Some(Better::Lower),
            _ => {
                self.tell(Problem::at(
                    node,
                    format!("`better` is `higher` or `lower`, not {}", node.describe()),
                ));
                None
            }
        }
    }

    fn metrics(&mut self, node: &Node, rows: &IndexMap<String, String>) -> Vec<String> {
        let nodes = match &node.data {
            Data::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        if nodes.is_empty() {
            self.tell(Problem::at(node, "a column needs a metric"));
        }
        let mut metrics = Vec::with_capacity(nodes.len());
        for node in nodes {
            let text = match &node.data {
                Data::Text(text) => text,
                Data::Broken => continue,
                _ => {
                    self.tell(Problem::at(
                        node,
                        format!("a metric is `stage.metric`, not {}", node.describe()),
                    ));
                    continue;
                }
            };
            let Some((stage, _)) = split_reference(text).filter(|(_, metric)| !metric.is_empty()) else {
                self.tell(Problem::at(
                    node,
                    format!("a metric is `stage.metric`, not `{}`", shortened(text)),
                ));
                continue;
            };
            let named: Vec<String> = if stage.contains("${row}") {
                rows.values().map(|row| stage.replace("${row}", row)).collect()
            } else {
                vec![stage.into()]
            };
            // A stage that depends on the row must exist for one row at least: other metrics may serve the others.
            if let Some(first) = named.first().filter(|_| !named.iter().any(|name| self.is_stage(name))) {
                self.check_stage_of_metric(first, node, "column");
            }
            metrics.push(text.clone());
        }
        metrics
    }

    fn is_stage(&self, text: &str) -> bool {
        self.outlines.contains_key(Selector::new(text).family())
    }

    fn digits(&mut self, node: Option<&Node>) -> usize {
        let Some(node) = node.filter(|node| !matches!(node.data, Data::Null | Data::Broken)) else {
            return DIGITS;
        };
        let digits = node.to_json().as_u64().filter(|digits| *digits <= MOST_DIGITS);
        match digits.and_then(|digits| usize::try_from(digits).ok()) {
            Some(digits) => digits,
            None => {
                let message =
                    format!("`digits` is a whole number from 0 to {MOST_DIGITS}, not {}", node.describe());
                self.tell(Problem::at(node, message));
                DIGITS
            }
        }
    }

    fn reference(&mut self, node: Option<&Node>, rows: &IndexMap<String, String>) -> IndexMap<String, f64> {
        let mut reference = IndexMap::new();
        let entries = match node.map(|node| (node, &node.data)) {
            Some((_, Data::Map(entries))) => entries.as_slice(),
            None | Some((_, Data::Null | Data::Broken)) => &[],
            Some((node, _)) => {
                let message =
                    format!("`reference` is a map of row labels to numbers, not {}", node.describe());
                self.tell(Problem::at(node, message));
                &[]
            }
        };
        for (key, value) in entries {
            if !rows.contains_key(&key.name) {
                let help = did_you_mean_or_list(&key.name, "rows are", rows.keys().map(String::as_str));
                let message = format!("unknown row `{}`", shortened(&key.name));
                self.tell(Problem::new(key.span, message).help(help));
            }
            match &value.data {
                Data::Number(number) => {
                    reference.insert(key.name.clone(), number.as_f64().unwrap_or_default());
                }
                Data::Broken => {}
                _ => self
                    .tell(Problem::at(value, format!("a reference is a number, not {}", value.describe()))),
            }
        }
        reference
    }
}
