//! Made-up earlier runs, for tests.

use std::collections::BTreeMap;

use history::History;
use pipeline::StageName;
use record::{ActionRecord, RunRecord};
use serde_json::json;

use crate::PastRun;

type Records = BTreeMap<StageName, ActionRecord>;

/// The run before, runs of networks of other widths, and the run itself, in that order.
pub(super) fn past(
    previous: &RunRecord,
    previous_records: &Records,
    run: &RunRecord,
    records: &Records,
) -> Vec<PastRun> {
    let mut runs = vec![(previous.clone(), previous_records.clone())];
    for (index, width) in [0.25, 0.5, 0.75, 1.5, 2.0].into_iter().enumerate() {
        let started_ms = run.started_ms - 60_000_000 + index as u64 * 3_600_000;
        let mut run = RunRecord { id: format!("{started_ms}-1"), started_ms, ..run.clone() };
        run.vars.insert("width".into(), json!(width));
        let mut records = records.clone();
        for (name, metric) in records.values_mut().flat_map(|record| &mut record.metrics) {
            match name.rsplit('.').next() {
                Some("size_kb" | "median_ms") => metric.value *= width * (1.0 + f64::from(index == 2)),
                Some("accuracy") => metric.value -= 1.2 / width - 0.9,
                _ => {}
            }
        }
        runs.push((run, records));
    }
    runs.push((run.clone(), records.clone()));
    let history = History::new(runs.iter().map(|(run, _)| run.clone()).collect());
    let named = history.runs().iter().zip(runs);
    named.map(|(past, (run, records))| PastRun { name: past.name.clone(), run, records }).collect()
}
