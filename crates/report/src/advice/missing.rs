//! Rows of which there is no number to choose by, and why: a stage that failed or was not reached, or a measurement that is
//! provisional. Pure.

use record::Outcome;
use text::format;

use super::MOST_NAMED;
use crate::Input;

/// Which row is missing and why, where so few are known that there is nothing to choose from. `None` where nothing went wrong
/// in the run: then the table is as it is meant.
pub(super) fn too_few(input: &Input<'_>, labels: &[&str], known: &[usize]) -> Option<String> {
    let missing: Vec<usize> = (0..labels.len()).filter(|row| !known.contains(row)).collect();
    if !missing.iter().any(|row| why(input, *row).is_some()) {
        return None;
    }
    let first = match known.first().and_then(|row| labels.get(*row)) {
        Some(label) => {
            format!("Not chosen: {label} alone was measured, and there is nothing to choose from.")
        }
        None => "Not chosen: no row was measured.".into(),
    };
    Some(format!("{first} {}", unmeasured(input, labels, &missing)))
}

/// `Not measured: ONNX FP32 (bench failed).`
pub(super) fn unmeasured(input: &Input<'_>, labels: &[&str], rows: &[usize]) -> String {
    let named = rows.iter().take(MOST_NAMED).filter_map(|row| {
        let label = labels.get(*row)?;
        Some(why(input, *row).map_or_else(|| (*label).to_owned(), |why| format!("{label} ({why})")))
    });
    let mut named: Vec<String> = named.collect();
    if rows.len() > MOST_NAMED {
        named.push(format::count(rows.len() - MOST_NAMED, "more row"));
    }
    format!("Not measured: {}.", format::list(&named))
}

/// What became of the stages that a row takes its numbers from; `None` where they are done.
fn why(input: &Input<'_>, row: usize) -> Option<String> {
    let spec = &input.definition.report;
    let (label, _) = spec.rows.get_index(row)?;
    let columns = spec.columns.iter().filter(|column| column.better.is_some());
    let metrics = columns.flat_map(|column| &column.metrics);
    let mut said: Vec<String> = vec![];
    for (stage, _) in metrics.filter_map(|metric| spec.metric_of(label, metric)) {
        let run = input.run.stages.iter().find(|run| run.stage.as_str() == stage);
        let recorded = input.records.iter().find(|(name, _)| name.as_str() == stage);
        let is_provisional = recorded.is_some_and(|(_, record)| record.provisional.is_some());
        let what = match run.map(|run| &run.outcome) {
            Some(Outcome::Failed { .. }) => format!("{stage} failed"),
            Some(Outcome::Blocked { by }) => format!("{stage} was not reached: {by} failed"),
            Some(Outcome::Interrupted) => format!("{stage} was interrupted"),
            _ if is_provisional => format!("{stage} is provisional"),
            _ => continue,
        };
        if !said.contains(&what) {
            said.push(what);
        }
    }
    (!said.is_empty()).then(|| said.join("; "))
}
