//! Which row of the result table to ship: the one that is best, or as good as the best, in most of the columns that
//! say which numbers are better, of those rows that fail no gate. Pure; knows no stage by name.

use protocol::Metric;

use super::Input;
use super::results::{Results, Row};
use crate::format;
use crate::gate::{Gate, GateResult, Judgement};
use crate::history::within_intervals;
use crate::spec::{Better, ReportColumn, ReportSpec};

/// The advice in words; `None` where there are not two rows to choose from.
pub(super) fn advice(input: &Input) -> Option<String> {
    let spec = &input.pipeline.report;
    let results = Results::new(spec, input.records);
    let fails = |gate: &&GateResult| {
        matches!(gate.judgement(input.run.certain), Judgement::Fails | Judgement::Missed)
    };
    let failed: Vec<&GateResult> = input.run.gates.iter().filter(fails).collect();
    let known: Vec<&Row> = results.rows.iter().filter(|row| is_known(spec, row)).collect();
    let places: Vec<usize> = compared(spec)
        .map(|(index, ..)| index)
        .filter(|index| known.iter().all(|row| metric(row, *index).is_some()))
        .collect();
    let (out, contenders): (Vec<&Row>, Vec<&Row>) =
        known.iter().partition(|row| failed.iter().any(|gate| is_about_alone(spec, row.label, gate)));
    if known.len() < 2 || places.is_empty() {
        return None;
    }
    let excluded = match out.as_slice() {
        [] => String::new(),
        [one] => format!(" {} fails a gate.", one.label),
        several => {
            let labels: Vec<String> = several.iter().map(|row| row.label.to_owned()).collect();
            format!(" {} fail a gate.", format::list(&labels))
        }
    };
    let Some(choice) = choose(spec, &places, &contenders) else {
        return Some("None of them: each fails a gate.".into());
    };
    if contenders.len() == 1 {
        return Some(format!("{}, the only one left.{excluded}", choice.row.label));
    }
    let row = choice.row.label;
    let mut text = match choice.best.as_slice() {
        [] => format!("{row}."),
        best => format!("{row}: the best in {}.", labels(spec, best)),
    };
    for (column, best) in &choice.level {
        if let Some(sentence) = against(spec, "In", choice.row, *column, best) {
            text.push_str(&format!(" {sentence}, each within the other's 95 % interval."));
        }
    }
    for (column, best) in &choice.behind {
        if let Some(sentence) = against(spec, "Behind in", choice.row, *column, best) {
            text.push_str(&format!(" {sentence}."));
        }
    }
    let unknown: Vec<usize> =
        compared(spec).map(|(index, ..)| index).filter(|index| !places.contains(index)).collect();
    if !unknown.is_empty() {
        text.push_str(&format!(" Not known of every row, and so left out: {}.", labels(spec, &unknown)));
    }
    Some(text + &excluded)
}

/// A row with the columns in which it is the best, in which it and the best lie in each other's intervals, and in which it
/// is worse, with the row that is the best there.
struct Choice<'a> {
    row: &'a Row<'a>,
    best: Vec<usize>,
    level: Vec<(usize, &'a Row<'a>)>,
    behind: Vec<(usize, &'a Row<'a>)>,
}

/// The contender with the most good columns of those at `places`; of several the one that is strictly best in more.
fn choose<'a>(spec: &ReportSpec, places: &[usize], contenders: &[&'a Row<'a>]) -> Option<Choice<'a>> {
    let judged = contenders.iter().map(|row| {
        let mut choice = Choice { row, best: vec![], level: vec![], behind: vec![] };
        for (index, column, better) in compared(spec).filter(|(index, ..)| places.contains(index)) {
            let Some((own, (best, best_row))) = metric(row, index).zip(best(contenders, index, better))
            else {
                continue;
            };
            if shown(column, own) == shown(column, best) {
                choice.best.push(index);
            } else if within_intervals(own, best) == Some(true) {
                choice.level.push((index, best_row));
            } else {
                choice.behind.push((index, best_row));
            }
        }
        choice
    });
    // The first of equals.
    judged.rev().max_by_key(|choice| (choice.best.len() + choice.level.len(), choice.best.len()))
}

/// Columns that say which numbers are better, with their places.
fn compared(spec: &ReportSpec) -> impl Iterator<Item = (usize, &ReportColumn, Better)> {
    spec.columns.iter().enumerate().filter_map(|(index, column)| Some((index, column, column.better?)))
}

fn metric<'a>(row: &Row<'a>, column: usize) -> Option<&'a Metric> {
    row.cells.get(column)?.found.map(|(_, metric)| metric).filter(|metric| metric.value.is_finite())
}

/// Whether anything that is compared is known of a row.
fn is_known(spec: &ReportSpec, row: &Row) -> bool {
    compared(spec).any(|(index, ..)| metric(row, index).is_some())
}

fn best<'a>(rows: &[&'a Row<'a>], column: usize, better: Better) -> Option<(&'a Metric, &'a Row<'a>)> {
    let known = rows.iter().filter_map(|row| Some((metric(row, column)?, *row)));
    known.reduce(|best, next| {
        let ahead = match better {
            Better::Higher => next.0.value > best.0.value,
            Better::Lower => next.0.value < best.0.value,
        };
        if ahead { next } else { best }
    })
}

fn shown(column: &ReportColumn, metric: &Metric) -> String {
    format!("{}{}", column.prefix, format::number(metric.value, column.digits))
}

fn labels(spec: &ReportSpec, columns: &[usize]) -> String {
    let labels: Vec<String> =
        columns.iter().filter_map(|index| Some(spec.columns.get(*index)?.label.clone())).collect();
    format::list(&labels)
}

/// `Behind in size KB: 104.8 against 100.2 of INT8 dynamic`
fn against(spec: &ReportSpec, word: &str, row: &Row, column: usize, best: &Row) -> Option<String> {
    let about = spec.columns.get(column)?;
    let (own, other) = (metric(row, column)?, metric(best, column)?);
    Some(format!(
        "{word} {}: {} against {} of {}",
        about.label,
        shown(about, own),
        shown(about, other),
        best.label
    ))
}

/// Whether a gate is about a row and about no other. Which of several fails it, it does not say.
fn is_about_alone(spec: &ReportSpec, row: &str, gate: &GateResult) -> bool {
    let mut rows = spec.rows.keys().filter(|row| is_about(spec, row, gate));
    rows.next().is_some_and(|first| first == row) && rows.next().is_none()
}

/// Whether a gate names a metric of a row: one of the stages that the row's numbers come from, by the row's text.
fn is_about(spec: &ReportSpec, row: &str, gate: &GateResult) -> bool {
    let (Ok(gate), Some(text)) = (Gate::parse(&gate.expression), spec.rows.get(row)) else { return false };
    let shown: Vec<(String, String)> = spec
        .columns
        .iter()
        .flat_map(|column| &column.metrics)
        .filter_map(|metric| spec.metric_of(row, metric))
        .collect();
    gate.metrics().into_iter().any(|(stage, metric)| {
        let of_row = metric.split('.').any(|part| part == text);
        shown.iter().any(|(of, name)| of == stage && (name == metric || of_row))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn what_nothing_beats_is_to_be_shipped_and_what_it_loses_is_said() {
        let sample = sample::tinynet();
        let text = advice(&sample.input()).unwrap();
        assert_eq!(
            text,
            "INT8 static: the best in size KB and batch 128 ms. In accuracy %: 91.80 against 91.82 of torch FP32, each within the other's 95 % interval."
        );
    }

    #[test]
    fn a_row_that_fails_a_gate_is_out() {
        let mut sample = sample::tinynet();
        for gate in &mut sample.run.gates {
            if gate.expression.contains("int8_static") {
                gate.verdict = crate::gate::Verdict::Fail;
            }
        }
        let text = advice(&sample.input()).unwrap();
        assert!(!text.starts_with("INT8 static") && text.ends_with("INT8 static fails a gate."), "{text}");
    }

    #[test]
    fn what_is_not_known_of_every_row_does_not_decide() {
        let mut sample = sample::tinynet();
        let bench = sample.records.get_mut(&sample::name("bench")).unwrap();
        bench.metrics.retain(|name, _| !name.starts_with("fp32"));
        let text = advice(&sample.input()).unwrap();
        assert!(text.contains("Not known of every row, and so left out: batch 128 ms."), "{text}");
    }

    #[test]
    fn a_gate_on_several_rows_puts_none_of_them_out() {
        let mut sample = sample::tinynet();
        let metrics = "evaluate.int8_static.accuracy >= evaluate.int8_dynamic.accuracy + 5";
        let mut gate = sample.run.gates[0].clone();
        (gate.expression, gate.verdict) = (metrics.into(), crate::gate::Verdict::Fail);
        sample.run.gates.push(gate);
        assert!(advice(&sample.input()).unwrap().starts_with("INT8 static: the best in "));
    }

    #[test]
    fn one_row_is_no_choice() {
        let mut sample = sample::tinynet();
        sample.pipeline.report.rows.truncate(1);
        assert_eq!(advice(&sample.input()), None);
        sample.pipeline.report = ReportSpec::default();
        assert_eq!(advice(&sample.input()), None);
    }
}
