//! The trade-off over all runs that the cache still knows: every row of every run as a point in the columns that say
//! which numbers are better, and those points that no other beats. Pure; knows no metric by name.

use std::collections::{BTreeMap, BTreeSet};

use history::{History, RunName, known_record};
use pipeline::StageName;
use pipeline::gate::Better;
use pipeline::spec::{ReportColumn, ReportSpec};
use record::{ActionRecord, RunRecord};
use store::Store;
use text::format;

use super::results::Results;

/// Runs that are looked at, the last ones.
const MOST_RUNS: usize = 500;

/// A run with the records that the result table reads.
#[derive(Debug, Clone, PartialEq)]
pub struct PastRun {
    /// Its name.
    pub name: RunName,
    /// Its record.
    pub run: RunRecord,
    /// What is still known of the stages that the table names.
    pub records: BTreeMap<StageName, ActionRecord>,
}

/// The recorded runs of the pipeline that `now` is a run of, with the records that a result table reads; of those after it only
/// where that is said. None where the table has no trade-off.
#[must_use]
pub fn past_runs(
    store: &Store,
    history: &History,
    spec: &ReportSpec,
    now: &RunRecord,
    is_until_now: bool,
) -> Vec<PastRun> {
    if !has_tradeoff(spec) {
        return vec![];
    }
    let stages = stages(spec);
    let named = |stage: &StageName| stages.contains(stage.as_str());
    let own = history.runs_of(&now.pipeline);
    let mut last: Vec<_> =
        own.rev().filter(|past| !is_until_now || past.record.id <= now.id).take(MOST_RUNS).collect();
    last.reverse();
    last.into_iter()
        .map(|past| {
            let stages = past.record.stages.iter();
            let read = stages.filter(|stage| stage.outcome.is_done() && named(&stage.stage));
            let records = read
                .filter_map(|stage| Some((stage.stage.clone(), known_record(store, &past.record, stage)?)));
            PastRun { name: past.name.clone(), records: records.collect(), run: past.record.clone() }
        })
        .collect()
}

/// Every stage whose metrics the table may read.
fn stages(spec: &ReportSpec) -> BTreeSet<String> {
    let metrics = || spec.columns.iter().flat_map(|column| &column.metrics);
    let of = |row: &String, metric: &String| Some(spec.metric_of(row, metric)?.0);
    spec.rows.keys().flat_map(|row| metrics().filter_map(move |metric| of(row, metric))).collect()
}

/// Whether a table has two columns at least that say which numbers are better.
pub(super) fn has_tradeoff(spec: &ReportSpec) -> bool {
    dimensions(spec).len() >= 2
}

/// The columns that say which numbers are better.
pub(crate) fn dimensions(spec: &ReportSpec) -> Vec<(&ReportColumn, Better)> {
    spec.columns.iter().filter_map(|column| Some((column, column.better?))).collect()
}

/// The trade-off.
#[derive(Debug)]
pub struct Front<'a> {
    /// What is traded.
    pub dimensions: Vec<(&'a ReportColumn, Better)>,
    /// Points, those of the last run last.
    pub points: Vec<Point<'a>>,
    /// How many more were measured on another CPU.
    pub elsewhere: usize,
}

/// A row of a run. Rows of several runs with the same numbers are one point.
#[derive(Debug)]
pub struct Point<'a> {
    /// The last run that has it.
    pub run: &'a PastRun,
    /// How many earlier runs have it too.
    pub earlier: usize,
    /// Label of the row.
    pub row: &'a str,
    /// Place of the row in the table, for its colour.
    pub index: usize,
    /// As many numbers as there are dimensions.
    pub values: Vec<f64>,
    /// Whether no other point beats it.
    pub best: bool,
}

impl<'a> Front<'a> {
    /// The trade-off of `runs` on the CPU of that name; `None` where there is none to draw.
    #[must_use]
    pub fn new(spec: &'a ReportSpec, runs: &'a [PastRun], cpu: &str) -> Option<Self> {
        let dimensions = dimensions(spec);
        if dimensions.len() < 2 {
            return None;
        }
        let mut points: Vec<Point<'a>> = vec![];
        let mut elsewhere = 0;
        for run in runs {
            for (index, row) in Results::new(spec, &run.records).rows.into_iter().enumerate() {
                let columns =
                    spec.columns.iter().zip(&row.cells).filter(|(column, _)| column.better.is_some());
                let found: Option<Vec<_>> = columns.map(|(_, cell)| cell.found).collect();
                let Some(found) =
                    found.filter(|found| found.iter().all(|(_, metric)| metric.value.is_finite()))
                else {
                    continue;
                };
                if found.iter().any(|(stage, _)| {
                    run.records.get(*stage).is_some_and(|record| record.is_of_other_cpu(cpu))
                }) {
                    elsewhere += 1;
                    continue;
                }
                let values: Vec<f64> = found.iter().map(|(_, metric)| metric.value).collect();
                let same = points.iter().position(|point| point.row == row.label && point.values == values);
                let earlier = same.map_or(0, |same| points.remove(same).earlier + 1);
                points.push(Point { run, earlier, row: row.label, index, values, best: false });
            }
        }
        let betters: Vec<Better> = dimensions.iter().map(|(_, better)| *better).collect();
        let all: Vec<Vec<f64>> = points.iter().map(|point| point.values.clone()).collect();
        for point in &mut points {
            point.best = !all.iter().any(|other| beats(other, &point.values, &betters));
        }
        (!points.is_empty()).then_some(Self { dimensions, points, elsewhere })
    }

    /// A number of a dimension as the table writes it.
    #[must_use]
    pub fn text(&self, dimension: usize, value: f64) -> String {
        self.dimensions.get(dimension).map_or_else(String::new, |(column, _)| {
            format!("{}{}", column.prefix, format::number(value, column.digits))
        })
    }
}

/// Whether `a` is at least as good as `b` in all dimensions, and better in one.
pub(crate) fn beats(a: &[f64], b: &[f64], betters: &[Better]) -> bool {
    let mut better_somewhere = false;
    for ((a, b), better) in a.iter().zip(b).zip(betters) {
        let (good, bad) = match better {
            Better::Higher => (a, b),
            Better::Lower => (b, a),
        };
        if good < bad {
            return false;
        }
        better_somewhere |= good > bad;
    }
    better_somewhere
}

/// Which numbers are better of every metric that the table's columns name, by `stage.metric`.
#[must_use]
pub fn directions(spec: &ReportSpec) -> BTreeMap<String, Better> {
    let mut directions = BTreeMap::new();
    for (column, better) in dimensions(spec) {
        for row in spec.rows.values() {
            directions.extend(column.metrics.iter().map(|metric| (metric.replace("${row}", row), better)));
        }
    }
    directions
}

/// Vars whose values differ between the runs of some points, by path; and the value in a run.
pub(crate) fn varying(runs: &[&PastRun]) -> Vec<String> {
    let Some((first, rest)) = runs.split_first() else { return vec![] };
    let differ = rest.iter().flat_map(|run| history::changed_vars(&first.run, &run.run));
    differ.map(|change| change.name).collect::<BTreeSet<String>>().into_iter().collect()
}

/// Value of a var in a run, by the path that [`varying`] gives.
pub(crate) fn var(run: &RunRecord, path: &str) -> String {
    let mut steps = path.split('.').skip(1);
    let value = steps.next().and_then(|name| run.vars.get(name));
    let value = steps.try_fold(value, |value, step| Some(value.and_then(|value| value.get(step))));
    value.flatten().map_or_else(
        || "–".into(),
        |value| match value.as_str() {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        },
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample;

    const MIXED: [Better; 3] = [Better::Lower, Better::Higher, Better::Lower];

    #[test]
    fn the_best_are_those_that_no_other_beats() {
        let sample = sample::tinynet();
        let front = Front::new(&sample.definition.report, &sample.past, &sample.run.machine.cpu).unwrap();
        assert_eq!(front.points.len(), 28, "seven runs of four rows");
        let now = |row: &str| {
            let of_row = |point: &&Point| point.row == row && point.run.run.id == sample.run.id;
            front.points.iter().find(of_row).unwrap()
        };
        assert!(now("INT8 static").best);
        assert!(!now("torch FP32").best, "ONNX is as accurate and faster, INT8 of a wider network smaller");
        assert_eq!(front.text(0, now("INT8 static").values[0]), "104.8");
    }

    #[test]
    fn the_same_numbers_are_one_point_of_the_last_run_that_has_them() {
        let mut sample = sample::tinynet();
        let mut again = sample.past.last().unwrap().clone();
        again.run.id = "again".into();
        sample.past.push(again);
        let front = Front::new(&sample.definition.report, &sample.past, &sample.run.machine.cpu).unwrap();
        assert_eq!(front.points.len(), 28);
        let last = front.points.iter().rev().take(4);
        assert!(last.into_iter().all(|point| point.run.run.id == "again" && point.earlier == 1));
    }

    #[test]
    fn measurements_of_another_cpu_do_not_count() {
        let mut sample = sample::tinynet();
        let bench = sample.past[0].records.get_mut(&sample::name("bench")).unwrap();
        let cpu = record::Ingredient { name: "machine.cpu".into(), value: "another".into() };
        bench.ingredients.push(cpu);
        let front = Front::new(&sample.definition.report, &sample.past, &sample.run.machine.cpu).unwrap();
        assert_eq!((front.points.len(), front.elsewhere), (24, 4));
    }

    #[test]
    fn without_two_directions_there_is_no_trade_off() {
        let mut sample = sample::tinynet();
        let mut columns = sample.definition.report.columns.iter_mut();
        columns.by_ref().take(3).for_each(|column| column.better = None);
        assert!(Front::new(&sample.definition.report, &sample.past, "x").is_none());
    }

    #[test]
    fn vars_that_differ_are_found_with_their_values() {
        let sample = sample::tinynet();
        let runs: Vec<&PastRun> = sample.past.iter().collect();
        assert_eq!(varying(&runs), ["vars.label_smoothing", "vars.width"]);
        assert_eq!(var(&sample.past[1].run, "vars.width"), "0.25");
        assert_eq!(var(&sample.run, "vars.width"), "–");
        assert_eq!(var(&sample.run, "vars.source.deeper"), "–");
    }

    fn points() -> impl Strategy<Value = Vec<Vec<f64>>> {
        let number = (0..6_i32).prop_map(f64::from);
        prop::collection::vec(prop::collection::vec(number, 3), 1..20)
    }

    proptest! {
        #[test]
        fn beating_is_an_order_and_something_is_always_unbeaten(all in points()) {
            for a in &all {
                prop_assert!(!beats(a, a, &MIXED));
                for b in &all {
                    prop_assert!(!(beats(a, b, &MIXED) && beats(b, a, &MIXED)));
                }
                // Whoever is beaten is beaten by one that nobody beats.
                let unbeaten = |point: &&Vec<f64>| !all.iter().any(|other| beats(other, point, &MIXED));
                let beaten = all.iter().any(|other| beats(other, a, &MIXED));
                prop_assert_eq!(beaten, all.iter().filter(unbeaten).any(|best| beats(best, a, &MIXED)));
            }
        }
    }
}
