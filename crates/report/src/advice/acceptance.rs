//! Which rows of the result table gates accept. Knows gates and which metrics a row shows; knows no stage by name.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::StageName;
use pipeline::gate::{Better, Demand, Gate, GateResult};
use pipeline::spec::ReportSpec;
use record::{ActionRecord, RunRecord};

use crate::results::find;
use crate::split::{Split, split_of};

/// What gates say of a row.
#[derive(Debug, Default)]
pub(super) struct Looked<'a> {
    /// Gates that it fails, or of which it cannot be said that it does not.
    pub(super) fails: Vec<&'a GateResult>,
    /// How many it satisfies.
    pub(super) satisfies: usize,
    /// Whether one of those that it fails looks at test images.
    pub(super) fails_on_test: bool,
}

impl Looked<'_> {
    pub(super) fn is_accepted(&self) -> bool {
        self.fails.is_empty() && self.satisfies > 0
    }

    pub(super) fn is_unseen(&self) -> bool {
        self.fails.is_empty() && self.satisfies == 0
    }
}

/// What gates say of all rows.
#[derive(Debug)]
pub(super) struct Acceptance<'a> {
    /// By place of the row.
    pub(super) rows: Vec<Looked<'a>>,
    /// Gates that are not satisfied and judge no row more than another: they stand against each.
    pub(super) general: Vec<&'a GateResult>,
    /// Gates that had no earlier run to compare with: they say nothing of any row.
    pub(super) first: Vec<&'a GateResult>,
}

impl<'a> Acceptance<'a> {
    pub(super) fn new(
        spec: &ReportSpec,
        records: &BTreeMap<StageName, ActionRecord>,
        run: &'a RunRecord,
    ) -> Self {
        let shown: Vec<ShownRow> = spec.rows.keys().map(|row| ShownRow::new(spec, row, records)).collect();
        let mut rows: Vec<Looked<'a>> = shown.iter().map(|_| Looked::default()).collect();
        let (mut general, mut first) = (vec![], vec![]);
        for result in &run.gates {
            let passes = result.judgement(run.certain).lets_pass();
            if passes && result.is_first() {
                first.push(result);
                continue;
            }
            let gate = Gate::parse(&result.expression);
            let on_test = gate.as_ref().is_ok_and(|gate| looks_at_test_images(gate, records));
            let judged = gate.map(|gate| judged(&gate, &shown)).unwrap_or_default();
            if !passes && judged.is_empty() {
                general.push(result);
            }
            for row in judged {
                let Some(looked) = rows.get_mut(row) else { continue };
                match passes {
                    false => {
                        looked.fails.push(result);
                        looked.fails_on_test |= on_test;
                    }
                    true => looked.satisfies += 1,
                }
            }
        }
        Self { rows, general, first }
    }

    /// Whether any gate looks at any row.
    pub(super) fn is_any_seen(&self) -> bool {
        self.rows.iter().any(|row| !row.is_unseen())
    }
}

fn looks_at_test_images(gate: &Gate, records: &BTreeMap<StageName, ActionRecord>) -> bool {
    gate.demands().iter().any(|demand| {
        find(records, demand.stage, demand.metric)
            .is_some_and(|(stage, metric)| split_of(stage, demand.metric, metric) == Some(Split::Test))
    })
}

/// What a row shows, and which numbers of it are better.
struct ShownRow<'a> {
    /// The row's text.
    text: &'a str,
    metrics: BTreeMap<(String, String), Option<Better>>,
    stages: BTreeSet<String>,
}

impl<'a> ShownRow<'a> {
    fn new(spec: &'a ReportSpec, row: &'a str, records: &BTreeMap<StageName, ActionRecord>) -> Self {
        let mut metrics = BTreeMap::new();
        for column in &spec.columns {
            let named: Vec<_> =
                column.metrics.iter().filter_map(|metric| spec.metric_of(row, metric)).collect();
            let found = named.iter().find(|(stage, metric)| find(records, stage, metric).is_some());
            // Where none is there, any of them may be what a gate misses.
            let shown = found.map_or(named.as_slice(), std::slice::from_ref);
            metrics.extend(shown.iter().map(|name| (name.clone(), column.better)));
        }
        let stages = metrics.keys().map(|(stage, _)| stage.clone()).collect();
        Self { text: spec.rows.get(row).map_or("", String::as_str), metrics, stages }
    }

    /// Whether a metric is the row's: one that it shows, or one that has its text, of a stage that it shows.
    fn has(&self, demand: &Demand<'_>) -> bool {
        let named = (demand.stage.to_owned(), demand.metric.to_owned());
        self.metrics.contains_key(&named)
            || self.stages.contains(demand.stage) && demand.metric.split('.').any(|part| part == self.text)
    }

    /// Whether a gate asks of a metric of this row what is better anyway: that the row be good, and not that another one be.
    fn is_asked_to_be_good(&self, demand: &Demand<'_>) -> bool {
        let named = (demand.stage.to_owned(), demand.metric.to_owned());
        let better = self.metrics.get(&named).copied().flatten();
        better.is_some() && better == demand.wanted
    }
}

/// The rows that a gate judges, by place. Of several that it names, those that it asks to be good; the others are what they
/// are compared with. Where it does not say, those that it names first.
fn judged(gate: &Gate, shown: &[ShownRow<'_>]) -> Vec<usize> {
    let demands = gate.demands();
    let rows_of = |wanted: &dyn Fn(&ShownRow<'_>, &Demand<'_>) -> bool| -> Vec<usize> {
        let rows = shown.iter().enumerate();
        rows.filter(|(_, row)| demands.iter().any(|it| wanted(row, it))).map(|(place, _)| place).collect()
    };
    let named = rows_of(&|row, demand| row.has(demand));
    if named.len() < 2 {
        return named;
    }
    let asked = rows_of(&|row, demand| row.is_asked_to_be_good(demand));
    if !asked.is_empty() {
        return asked;
    }
    let first = demands.iter().find(|demand| shown.iter().any(|row| row.has(demand)));
    first.map(|first| rows_of(&|row, demand| demand == first && row.has(demand))).unwrap_or_default()
}
