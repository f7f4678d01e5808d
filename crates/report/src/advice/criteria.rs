//! What rows of the result table are compared by: the columns that say which numbers are better, and for the variants of a
//! sweep what their trainings measured on validation images. Knows no stage and no metric by name.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::StageName;
use pipeline::gate::Better;
use pipeline::spec::{ReportColumn, ReportSpec};
use protocol::Metric;
use record::{ActionRecord, Definition, Source};
use text::format;

use crate::results::find;
use crate::split::{Split, has_chosen, split_of};

/// Something to compare rows by.
#[derive(Debug)]
pub(super) struct Criterion<'a> {
    /// What it is called.
    pub(super) label: String,
    pub(super) better: Better,
    /// On which images it was measured, where any row says so.
    pub(super) split: Option<Split>,
    digits: usize,
    prefix: &'a str,
    /// The number of each row, by place, where it is known.
    values: Vec<Option<&'a Metric>>,
}

impl<'a> Criterion<'a> {
    /// The number of a row.
    pub(super) fn value(&self, row: usize) -> Option<&'a Metric> {
        self.values.get(row).copied().flatten()
    }

    /// A number as the table writes it.
    pub(super) fn text(&self, metric: &Metric) -> String {
        format!("{}{}", self.prefix, format::number(metric.value, self.digits))
    }

    /// The best number of some rows, with the row that has it; the first of equals.
    pub(super) fn best(&self, rows: &[usize]) -> Option<(usize, &'a Metric)> {
        let known = rows.iter().filter_map(|row| Some((*row, self.value(*row)?)));
        known.reduce(|best, next| {
            let ahead = match self.better {
                Better::Higher => next.1.value > best.1.value,
                Better::Lower => next.1.value < best.1.value,
            };
            if ahead { next } else { best }
        })
    }
}

/// The columns that say which numbers are better.
pub(super) fn of_columns<'a>(
    spec: &'a ReportSpec,
    records: &'a BTreeMap<StageName, ActionRecord>,
) -> Vec<Criterion<'a>> {
    let of = |column: &'a ReportColumn| {
        let mut split = None;
        let values = spec.rows.keys().map(|row| {
            let (stage, name, metric) = found(spec, records, row, column)?;
            if split != Some(Split::Test) {
                split = split_of(stage, &name, metric).or(split);
            }
            Some(metric).filter(|metric| metric.value.is_finite())
        });
        let values = values.collect();
        let (label, digits) = (column.label.clone(), column.digits);
        Some(Criterion { label, better: column.better?, split, digits, prefix: &column.prefix, values })
    };
    spec.columns.iter().filter_map(of).collect()
}

fn found<'a>(
    spec: &ReportSpec,
    records: &'a BTreeMap<StageName, ActionRecord>,
    row: &str,
    column: &ReportColumn,
) -> Option<(&'a StageName, String, &'a Metric)> {
    column.metrics.iter().find_map(|metric| {
        let (stage, name) = spec.metric_of(row, metric)?;
        let (stage, metric) = find(records, &stage, &name)?;
        // What is provisional decides nothing.
        records.get(stage)?.provisional.is_none().then_some((stage, name, metric))
    })
}

/// What may stand in for a criterion of test images: the one metric of validation images, in the same unit, of what the stages
/// behind each of `rows` were made from. `None` where there is none, or more than one.
pub(super) fn validated<'a>(
    spec: &'a ReportSpec,
    definition: &Definition,
    records: &'a BTreeMap<StageName, ActionRecord>,
    of: &Criterion<'a>,
    rows: &[usize],
) -> Option<Criterion<'a>> {
    let unit = rows.iter().find_map(|row| Some(of.value(*row)?.unit.as_str()))?;
    let behind: Vec<BTreeMap<String, &'a Metric>> = spec
        .rows
        .keys()
        .enumerate()
        .map(|(place, row)| {
            if !rows.contains(&place) {
                return BTreeMap::new();
            }
            let shown = spec.columns.iter().filter_map(|column| Some(found(spec, records, row, column)?.0));
            let upstream = upstream(definition, shown);
            let metrics = upstream.iter().filter_map(|stage| records.get_key_value(*stage));
            let metrics =
                metrics.flat_map(|(stage, record)| record.metrics.iter().map(move |it| (stage, it)));
            let validated = metrics.filter(|(stage, (name, metric))| {
                metric.unit == unit
                    && metric.value.is_finite()
                    && split_of(stage, name, metric) == Some(Split::Validation)
            });
            validated.map(|(stage, (name, metric))| (format!("{}.{name}", stage.family()), metric)).collect()
        })
        .collect();
    let known =
        |label: &String| rows.iter().all(|row| behind.get(*row).is_some_and(|it| it.contains_key(label)));
    let mut common = behind.get(*rows.first()?)?.keys().filter(|label| known(label));
    let (Some(label), None) = (common.next(), common.next()) else { return None };
    Some(Criterion {
        label: label.clone(),
        better: of.better,
        split: Some(Split::Validation),
        digits: of.digits,
        prefix: of.prefix,
        values: behind.iter().map(|of_row| of_row.get(label).copied()).collect(),
    })
}

/// What stages behind a row say of test images that chose something already: `\`train.test_accuracy\`: 180 test images, which
/// chose the epoch`.
pub(super) fn chosen_by_test(
    spec: &ReportSpec,
    definition: &Definition,
    records: &BTreeMap<StageName, ActionRecord>,
    row: usize,
) -> Vec<String> {
    let Some((label, _)) = spec.rows.get_index(row) else { return vec![] };
    let shown = spec.columns.iter().filter_map(|column| Some(found(spec, records, label, column)?.0));
    let upstream = upstream(definition, shown);
    let metrics = upstream.iter().filter_map(|stage| records.get_key_value(*stage));
    let metrics = metrics.flat_map(|(stage, record)| record.metrics.iter().map(move |it| (stage, it)));
    let chose = metrics.filter(|(stage, (name, metric))| has_chosen(stage, name, metric));
    chose.map(|(stage, (name, metric))| format!("`{stage}.{name}`: {}", metric.basis)).collect()
}

/// Stages with all that they read from, directly or not.
fn upstream<'a>(
    definition: &'a Definition,
    stages: impl Iterator<Item = &'a StageName>,
) -> BTreeSet<&'a StageName> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&StageName> = stages.collect();
    while let Some(stage) = open.pop() {
        if found.insert(stage) {
            let inputs = definition.stages.get(stage).into_iter().flat_map(|stage| stage.inputs.values());
            open.extend(inputs.filter_map(|input| match input {
                Source::Output { stage, .. } => Some(stage),
                Source::Path { .. } | Source::Content { .. } => None,
            }));
        }
    }
    found
}
