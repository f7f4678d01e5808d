//! The result table as numbers: which metric stands in which cell. Both the terminal's summary and the report are
//! drawn from it. Pure; knows no stage by name.

use std::collections::BTreeMap;

use pipeline::StageName;
use pipeline::spec::{ReportColumn, ReportSpec};
use protocol::Metric;
use record::ActionRecord;
use text::format;

/// The result table.
#[derive(Debug)]
pub struct Results<'a> {
    /// Columns, left to right.
    pub columns: &'a [ReportColumn],
    /// Rows, top to bottom.
    pub rows: Vec<Row<'a>>,
}

/// A row of the result table.
#[derive(Debug)]
pub struct Row<'a> {
    /// Its heading.
    pub label: &'a str,
    /// As many as there are columns.
    pub cells: Vec<Cell<'a>>,
}

/// A cell of the result table.
#[derive(Debug)]
pub struct Cell<'a> {
    /// The metric and the stage it comes from, where it is known.
    pub found: Option<(&'a StageName, &'a Metric)>,
    /// The value to compare with, where there is one.
    pub reference: Option<f64>,
}

impl<'a> Results<'a> {
    /// Looks the spec's metrics up in the records.
    #[must_use]
    pub fn new(spec: &'a ReportSpec, records: &'a BTreeMap<StageName, ActionRecord>) -> Self {
        let rows = spec.rows.keys().map(|label| {
            let cells = spec.columns.iter().map(|column| Cell {
                found: column.metrics.iter().find_map(|metric| {
                    let (stage, metric) = spec.metric_of(label, metric)?;
                    find(records, &stage, &metric)
                }),
                reference: column.reference.get(label).copied().filter(|value| value.is_finite()),
            });
            Row { label, cells: cells.collect() }
        });
        Self { columns: &spec.columns, rows: rows.collect() }
    }

    /// Whether there is nothing to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty() || self.rows.is_empty()
    }

    /// Whether any cell has a value to compare with.
    #[must_use]
    pub fn has_reference(&self) -> bool {
        self.rows.iter().any(|row| row.cells.iter().any(|cell| cell.reference.is_some()))
    }
}

/// A stage's metric.
pub(crate) fn find<'a>(
    records: &'a BTreeMap<StageName, ActionRecord>,
    stage: &str,
    metric: &str,
) -> Option<(&'a StageName, &'a Metric)> {
    let (stage, record) = records.iter().find(|(name, _)| name.as_str() == stage)?;
    Some((stage, record.metrics.get(metric)?))
}

/// The interval beside a value: `±0.54` where both sides are alike to within a sixth, else `[−0.21, 0.15]`.
#[must_use]
pub fn interval(metric: &Metric, digits: usize) -> Option<String> {
    let [low, high] = metric.interval?;
    let (below, above) = (metric.value - low, high - metric.value);
    let (narrow, wide) = (below.min(above), below.max(above));
    if narrow > 0.0 && wide <= narrow * 7.0 / 6.0 {
        return Some(format!("±{}", format::number(wide, digits)));
    }
    Some(format!("[{}, {}]", format::number(low, digits), format::number(high, digits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_say_when_they_are_lopsided() {
        let accuracy = Metric::new(91.82, "%").interval(91.27, 92.34);
        assert_eq!(interval(&accuracy, 2).as_deref(), Some("±0.55"));
        let drop = Metric::new(-0.02, "points").interval(-0.21, 0.1);
        assert_eq!(interval(&drop, 2).as_deref(), Some("[−0.21, 0.10]"));
        let outside = Metric::new(5.0, "").interval(6.0, 7.0);
        assert_eq!(interval(&outside, 0).as_deref(), Some("[6, 7]"));
        assert_eq!(interval(&Metric::new(1.0, ""), 1), None);
    }
}
