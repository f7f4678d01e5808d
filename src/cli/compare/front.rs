//! The trade-off over all runs that the cache still knows, as text and JSON: what no other beats, and the two runs.

use history::{History, Past, RunName};
use pipeline::gate::Better;
use pipeline::spec::ReportSpec;
use report::front::{Front, past_runs};
use schemars::JsonSchema;
use serde::Serialize;
use store::Store;
use text::printable::clean_line;

use crate::progress::{Grid, Paint};

/// Points that are listed.
const MOST_POINTS: usize = 30;

/// All runs in those columns of the result table that say which numbers are better.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Front")]
pub(super) struct Answer {
    /// What is traded.
    dimensions: Vec<Dimension>,
    /// Every row of every run that the cache still knows, oldest first; the same numbers only once.
    points: Vec<Point>,
    /// How many more were measured on another CPU.
    elsewhere: usize,
}

/// A column of the result table.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
struct Dimension {
    /// Its heading.
    label: String,
    /// Which numbers are better.
    better: Direction,
}

/// Which of two numbers is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Direction {
    /// The higher one.
    Higher,
    /// The lower one.
    Lower,
}

/// A row of a run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
struct Point {
    /// The last run that has it.
    run: RunName,
    /// How many earlier runs have it too.
    earlier: usize,
    /// Label of the row.
    row: String,
    /// A number for each dimension.
    values: Vec<f64>,
    /// The numbers as the result table writes them.
    texts: Vec<String>,
    /// Whether it is on the Pareto front: no other is at least as good in all dimensions and better in one.
    best: bool,
}

impl Answer {
    /// The trade-off on the CPU of `run`; none where the table names none.
    pub(super) fn new(spec: &ReportSpec, store: &Store, history: &History, run: &Past) -> Option<Self> {
        let runs = past_runs(store, history, spec, &run.record, false);
        Front::new(spec, &runs, &run.record.machine.cpu).as_ref().map(Self::of)
    }

    fn of(front: &Front<'_>) -> Self {
        let dimensions = front.dimensions.iter().map(|(column, better)| Dimension {
            label: column.label.clone(),
            better: match better {
                Better::Higher => Direction::Higher,
                Better::Lower => Direction::Lower,
            },
        });
        let points = front.points.iter().map(|point| {
            let values = point.values.iter().enumerate();
            Point {
                run: point.run.name.clone(),
                earlier: point.earlier,
                row: point.row.to_owned(),
                values: point.values.clone(),
                texts: values.map(|(index, value)| front.text(index, *value)).collect(),
                best: point.best,
            }
        });
        Self { dimensions: dimensions.collect(), points: points.collect(), elsewhere: front.elsewhere }
    }

    /// The points that no other beats and those of the two runs, the best first; and what is to be said of the rest.
    pub(super) fn grid(&self, old: &RunName, new: &RunName, paint: Paint) -> (Grid, Option<String>) {
        let is_of = |point: &Point| point.run == *old || point.run == *new;
        let mut shown: Vec<&Point> = self.points.iter().filter(|point| point.best || is_of(point)).collect();
        shown.sort_by_key(|point| !point.best);
        let others = self.points.len().saturating_sub(shown.len().min(MOST_POINTS));
        let columns = "r".repeat(self.dimensions.len());
        let mut grid = Grid::new(&format!("lll{columns}l"), 2);
        let labels = self.dimensions.iter().map(|dimension| paint.faint(&clean_line(&dimension.label)));
        grid.row(["", "", ""].map(String::from).into_iter().chain(labels));
        for point in shown.into_iter().take(MOST_POINTS) {
            let mark = if point.best { paint.good("★") } else { String::new() };
            let whose = if point.run == *new {
                paint.live("new")
            } else if point.run == *old {
                "old".into()
            } else {
                String::new()
            };
            let head = [mark, paint.strong(point.run.as_str()), clean_line(&point.row)];
            grid.row(head.into_iter().chain(point.texts.iter().map(|text| clean_line(text))).chain([whose]));
        }
        let mut rest = vec!["★ on the Pareto front".to_owned()];
        if others > 0 {
            rest.push(format!("{others} more on record"));
        }
        if self.elsewhere > 0 {
            rest.push(format!("{} measured on another CPU", self.elsewhere));
        }
        (grid, Some(rest.join(" · ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::sample;

    #[test]
    fn the_best_and_the_two_runs_are_listed() {
        let sample = sample::tinynet();
        let front = Front::new(&sample.definition.report, &sample.past, &sample.run.machine.cpu).unwrap();
        let (old, new) = (&sample.past[0].name, &sample.past[6].name);
        let (grid, rest) = Answer::of(&front).grid(old, new, Paint::new(false));
        assert_eq!(grid.lines(80).join("\n"), EXPECTED);
        assert_eq!(rest.as_deref(), Some("★ on the Pareto front · 14 more on record"));
    }

    const EXPECTED: &str = "                        size KB  accuracy %  batch 128 ms
 ★  a12b  INT8 static      26.2       87.90           3.7
 ★  9c51  INT8 static      52.4       90.30           7.5
 ★  cc1a  INT8 static     157.2       91.90          22.4
 ★  9f04  torch FP32      636.6       92.12         142.4
 ★  9f04  ONNX FP32       650.4       92.12          61.6
 ★  9f04  INT8 static     209.6       92.10          29.8
 ★  14fd  INT8 static     104.8       91.80          14.9  new
    5bbb  torch FP32      318.3       91.45          71.2  old
    5bbb  ONNX FP32       325.2       91.45          30.8  old
    5bbb  INT8 static     104.8       91.43          14.9  old
    5bbb  INT8 dynamic    160.1       91.42          31.0  old
    14fd  torch FP32      318.3       91.82          71.2  new
    14fd  ONNX FP32       325.2       91.82          30.8  new
    14fd  INT8 dynamic    160.1       91.79          31.0  new";
}
