//! What a run came to, as text: the result table, the gates, where the report is. Pure: records in, text out.

use std::collections::BTreeMap;
use std::path::Path;

use console::{Alignment, measure_text_width, pad_str};
use pipeline::StageName;
use pipeline::gate::{GateResult, Judgement, sorted};
use pipeline::spec::ReportSpec;
use record::{ActionRecord, Outcome, RunRecord};
use report::results::{Results, Row, interval};
use text::format;
use text::printable::clean_line;

use super::Paint;

/// Metrics that are named where a row asks for none of them.
const MOST_METRICS: usize = 5;

/// What a run came to, as far as it is told at its end.
#[derive(Debug, Clone, Copy)]
pub struct Closing<'a> {
    /// The pipeline's folder.
    pub root: &'a Path,
    /// What the table shows.
    pub table: &'a ReportSpec,
    /// Where its values come from.
    pub records: &'a BTreeMap<StageName, ActionRecord>,
    /// The gates that were checked.
    pub gates: &'a [GateResult],
    /// Whether an inconclusive gate fails.
    pub certain: bool,
    /// How many stages came out how.
    pub tally: Tally,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// Where the report is.
    pub report: Option<&'a Path>,
}

/// How many stages of a run came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Executed.
    pub ran: usize,
    /// Executed in vain.
    pub failed: usize,
    /// Not reached because another one failed.
    pub blocked: usize,
    /// Not reached or not finished because the run was interrupted.
    pub interrupted: usize,
    /// Copied from the cache.
    pub restored: usize,
    /// In place already.
    pub fresh: usize,
}

impl Tally {
    /// The tally of a run.
    #[must_use]
    pub fn of(run: &RunRecord) -> Self {
        let mut tally = Self::default();
        for stage in &run.stages {
            *match &stage.outcome {
                Outcome::Ran => &mut tally.ran,
                Outcome::Failed { .. } => &mut tally.failed,
                Outcome::Blocked { .. } => &mut tally.blocked,
                Outcome::Interrupted => &mut tally.interrupted,
                Outcome::Restored => &mut tally.restored,
                Outcome::Fresh => &mut tally.fresh,
            } += 1;
        }
        tally
    }
}

/// The result table, the gates and the last line, for standard output.
#[must_use]
pub fn summary(closing: &Closing<'_>, color: bool) -> String {
    text(closing, super::stdout_width(), Paint::new(color))
}

/// The table holds the rows with a value and is left out where there is none, so that it does not push what failed
/// out of sight. It leaves its intervals out where `width` columns do not hold it, and comes as a list where even that is
/// too wide.
fn text(closing: &Closing<'_>, width: usize, paint: Paint) -> String {
    let mut results = Results::new(closing.table, closing.records);
    let is_empty = |row: &Row| row.cells.iter().all(|cell| cell.found.is_none());
    let empty: Vec<&str> = results.rows.iter().filter(|row| is_empty(row)).map(|row| row.label).collect();
    results.rows.retain(|row| !is_empty(row));
    let mut parts = vec![];
    if !results.is_empty() {
        parts.push(table(&results, width, paint));
    }
    let unasked: Vec<String> = empty.iter().filter_map(|label| unasked(closing, label, paint)).collect();
    parts.extend((!unasked.is_empty()).then(|| unasked.concat()));
    if !closing.gates.is_empty() {
        parts.push(gates(closing.gates, closing.certain, width, paint));
    }
    let ending = ending(&closing.tally, closing.duration_ms);
    let last = match closing.report {
        Some(report) => {
            let shown = report.strip_prefix(closing.root).unwrap_or(report).display().to_string();
            format!(" report {}   {}\n", paint.strong(&shown), paint.faint(&format!("({ending})")))
        }
        None => format!(" {ending}\n"),
    };
    match parts.last_mut() {
        Some(part) => part.push_str(&last),
        None => parts.push(last),
    }
    parts.join("\n")
}

/// A line for a row that has no value although the stages of all columns are done: what one of them reported instead.
fn unasked(closing: &Closing<'_>, label: &str, paint: Paint) -> Option<String> {
    let record_of = |metric: &String| {
        let (stage, _) = closing.table.metric_of(label, metric)?;
        closing.records.values().find(|record| record.stage.as_str() == stage)
    };
    // A column whose stage did not run may have a value yet.
    let records: Option<Vec<&ActionRecord>> =
        closing.table.columns.iter().map(|column| column.metrics.iter().find_map(record_of)).collect();
    let record = records?.into_iter().next()?;
    let mut named: Vec<String> =
        record.metrics.keys().take(MOST_METRICS).map(|name| format!("`{name}`")).collect();
    if record.metrics.len() > MOST_METRICS {
        named.push(format::count(record.metrics.len() - MOST_METRICS, "more metric"));
    }
    let reported = if named.is_empty() { "no metric".to_owned() } else { format::list(&named) };
    let line = format!("row `{label}` stays empty: `{}` reported {reported}", record.stage);
    Some(format!(" {} {}\n", paint.warn("!"), clean_line(&line)))
}

/// What a cell says: number, then interval.
type Texts = Vec<Vec<(String, String)>>;

fn table(results: &Results, width: usize, paint: Paint) -> String {
    let texts = |with_interval: bool| -> Texts {
        let row = |row: &Row| {
            let cells = results.columns.iter().zip(&row.cells);
            cells
                .map(|(column, cell)| match cell.found {
                    None => ("–".to_owned(), String::new()),
                    Some((_, metric)) => (
                        format!(
                            "{}{}",
                            clean_line(&column.prefix),
                            format::number(metric.value, column.digits)
                        ),
                        interval(metric, column.digits).filter(|_| with_interval).unwrap_or_default(),
                    ),
                })
                .collect()
        };
        results.rows.iter().map(row).collect()
    };
    [true, false]
        .into_iter()
        .map(|with_interval| grid(results, &texts(with_interval), paint))
        .find(|grid| grid.lines().all(|line| measure_text_width(line) <= width))
        .unwrap_or_else(|| listing(results, &texts(true), paint))
}

fn grid(results: &Results, texts: &Texts, paint: Paint) -> String {
    let label_width =
        results.rows.iter().map(|row| measure_text_width(&clean_line(row.label))).max().unwrap_or(0);
    let mut lines = vec![format!(" {:label_width$}", "")];
    lines.extend(results.rows.iter().map(|row| {
        let label = pad_str(&clean_line(row.label), label_width, Alignment::Left, None).into_owned();
        format!(" {}", paint.strong(&label))
    }));
    for (index, column) in results.columns.iter().enumerate() {
        let cells: Vec<(&str, &str)> = texts
            .iter()
            .map(|row| {
                row.get(index).map_or(("", ""), |(number, interval)| (number.as_str(), interval.as_str()))
            })
            .collect();
        let widest = |side: fn(&(&str, &str)) -> usize| cells.iter().map(side).max().unwrap_or(0);
        let interval_width = widest(|cell| measure_text_width(cell.1));
        let interval_width = if interval_width == 0 { 0 } else { interval_width + 1 };
        let heading = clean_line(&column.label);
        let number_width = widest(|cell| measure_text_width(cell.0))
            .max(measure_text_width(&heading).saturating_sub(interval_width));
        let total = number_width + interval_width;
        let mut lines = lines.iter_mut();
        if let Some(first) = lines.next() {
            let heading = pad_str(&heading, total, Alignment::Right, None).into_owned();
            first.push_str(&format!("   {}", paint.faint(&heading)));
        }
        for (line, (number, interval)) in lines.zip(&cells) {
            let number = pad_str(number, number_width, Alignment::Right, None);
            let interval = if interval.is_empty() { String::new() } else { format!(" {interval}") };
            let interval = pad_str(&interval, interval_width, Alignment::Left, None);
            line.push_str(&format!("   {number}{}", paint.faint(&interval)));
        }
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn listing(results: &Results, texts: &Texts, paint: Paint) -> String {
    let widest = results
        .columns
        .iter()
        .map(|column| measure_text_width(&clean_line(&column.label)))
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (row, cells) in results.rows.iter().zip(texts) {
        text.push_str(&format!(" {}\n", paint.strong(&clean_line(row.label))));
        for (column, (number, interval)) in results.columns.iter().zip(cells) {
            let label = pad_str(&clean_line(&column.label), widest, Alignment::Left, None).into_owned();
            text.push_str(
                format!("   {}  {number} {}", paint.faint(&label), paint.faint(interval)).trim_end(),
            );
            text.push('\n');
        }
    }
    text
}

/// The gates that hold share lines; those that do not come first, each on its own with the reason.
fn gates(gates: &[GateResult], certain: bool, width: usize, paint: Paint) -> String {
    let mut failing = vec![];
    let mut holding = vec![];
    for gate in sorted(gates, certain) {
        let (expression, message) = (clean_line(&gate.expression), clean_line(&gate.message));
        let judgement = gate.judgement(certain);
        let mark = paint.judgement(judgement, judgement.mark());
        let strong = paint.strong(&expression);
        match judgement {
            Judgement::Holds if gate.is_first() => {
                failing.push(format!("{mark} {expression}   {}", paint.faint(&message)));
            }
            Judgement::Holds => holding.push(format!("{mark} {expression}")),
            Judgement::Fails => failing.push(format!("{mark} {strong}   {message}")),
            Judgement::Missed => failing.push(format!("{mark} {strong}   {}: {message}", judgement.word())),
            Judgement::Inconclusive => {
                failing.push(format!("{mark} {expression}   {}: {message}", judgement.word()));
            }
            Judgement::Unknown => failing.push(format!("{mark} {expression}   {message}")),
        }
    }
    let mut lines = failing;
    let mut line = String::new();
    for gate in holding {
        if !line.is_empty() && measure_text_width(&line) + measure_text_width(&gate) + 11 > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push_str("   ");
        }
        line.push_str(&gate);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    let label = |index: usize| if index == 0 { "gates " } else { "      " };
    lines.iter().enumerate().map(|(index, line)| format!(" {} {line}\n", label(index))).collect()
}

/// `6 stages ran, 1 restored, 2 fresh, 41 min 12 s`.
fn ending(tally: &Tally, duration_ms: u64) -> String {
    let mut parts = vec![];
    if tally.ran == 0 {
        parts.push("no stage ran".to_owned());
    } else {
        parts.push(format!("{} ran", format::count(tally.ran, "stage")));
    }
    let others = [
        (tally.failed, "failed"),
        (tally.blocked, "not reached"),
        (tally.interrupted, "interrupted"),
        (tally.restored, "restored"),
        (tally.fresh, "fresh"),
    ];
    let others = others.iter().filter(|(count, _)| *count > 0);
    parts.extend(others.map(|(count, word)| format!("{} {word}", format::number(*count as f64, 0))));
    parts.push(format::millis(duration_ms));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample::{self, Sample};

    fn closing<'a>(sample: &'a Sample, report: Option<&'a Path>) -> Closing<'a> {
        Closing {
            root: &sample.pipeline.root,
            table: &sample.pipeline.report,
            records: &sample.records,
            gates: &sample.run.gates,
            certain: false,
            tally: Tally::of(&sample.run),
            duration_ms: sample.run.duration_ms,
            report,
        }
    }

    #[test]
    fn a_row_whose_stage_reported_something_else_is_told_with_that() {
        let mut sample = sample::tinynet();
        let metrics: Vec<String> =
            sample.pipeline.report.columns.iter().flat_map(|column| column.metrics.clone()).collect();
        let (label, _) = sample
            .pipeline
            .report
            .rows
            .get_index(0)
            .map(|(label, row)| (label.clone(), row.clone()))
            .unwrap();
        let of_row = metrics.iter().filter_map(|metric| sample.pipeline.report.metric_of(&label, metric));
        let named: Vec<(String, String)> = of_row.collect();
        for record in sample.records.values_mut() {
            record.metrics.retain(|name, _| !named.contains(&(record.stage.to_string(), name.clone())));
        }
        let shown = text(&closing(&sample, None), 140, Paint::new(false));
        assert!(shown.contains(&format!(" ! row `{label}` stays empty: `")), "{shown}");
        assert!(!shown.contains("row `ONNX FP32` stays empty"), "{shown}");
    }

    #[test]
    fn a_table_with_its_gates() {
        let sample = sample::tinynet();
        let report = sample.pipeline.root.join("artifacts/report.html");
        let shown = |width| text(&closing(&sample, Some(&report)), width, Paint::new(false));
        let ending = "
 gates  ✔ export.size_kb < 500   ✔ evaluate.int8_static.accuracy >= 85   ✔ evaluate.int8_static.drop < 5
 report artifacts/report.html   (7 stages ran, 1 restored, 1 fresh, 41 min 12 s)
";
        let wide = "                size KB    accuracy %              Δ points   batch 1 ms   batch 128 ms   vs FP32
 torch FP32       318.3   91.82 ±0.55       –                       2.31           71.2     ×0.43
 ONNX FP32        325.2   91.82 ±0.55       –                       0.20           30.8     ×1.00
 INT8 static      104.8   91.80 ±0.55   −0.02 [−0.21, 0.10]         0.13           14.9     ×2.07
 INT8 dynamic     160.1   91.79 ±0.55   −0.03 [−0.22, 0.09]         0.21           31.0     ×0.99
";
        assert_eq!(shown(140), format!("{wide}{ending}"));
        let narrow = "                size KB   accuracy %   Δ points   batch 1 ms   batch 128 ms   vs FP32
 torch FP32       318.3        91.82          –         2.31           71.2     ×0.43
 ONNX FP32        325.2        91.82          –         0.20           30.8     ×1.00
 INT8 static      104.8        91.80      −0.02         0.13           14.9     ×2.07
 INT8 dynamic     160.1        91.79      −0.03         0.21           31.0     ×0.99
";
        assert!(shown(90).starts_with(narrow), "{}", shown(90));
        let list = " torch FP32
   size KB       318.3
   accuracy %    91.82 ±0.55
   Δ points      –
   batch 1 ms    2.31
   batch 128 ms  71.2
   vs FP32       ×0.43
 ONNX FP32
";
        assert!(shown(50).starts_with(list), "{}", shown(50));
        snapshots::assert_message!(shown(50));
    }

    #[test]
    fn a_failing_gate_stands_first_and_says_why() {
        let sample = sample::gate_fails();
        let shown = text(&closing(&sample, None), 140, Paint::new(false));
        let end = "
 gates  ✖ evaluate.int8_static.accuracy >= 85   79.29 is not >= 85
        ✔ export.size_kb < 500   ✔ evaluate.int8_static.drop < 5
 7 stages ran, 1 restored, 1 fresh, 41 min 12 s
";
        assert!(shown.ends_with(end), "{shown}");
    }

    #[test]
    fn an_inconclusive_gate_says_so_and_fails_where_certainty_is_asked_for() {
        let sample = sample::gate_inconclusive();
        let shown = |certain| text(&Closing { certain, ..closing(&sample, None) }, 140, Paint::new(false));
        let missed = "evaluate.int8_static.accuracy >= 92   inconclusive: 91.8, 95 % interval 91.25 to 92.32, \
                      is not shown to be >= 92: evaluate more images\n";
        let met = "evaluate.int8_static.drop < 0.05   inconclusive: -0.02, 95 % interval -0.21 to 0.10, is not shown to \
                   be < 0.05: evaluate more images\n";
        let end = "        ✔ export.size_kb < 500\n 7 stages ran, 1 restored, 1 fresh, 41 min 12 s\n";
        let lines = format!(" gates  ✖ {missed}        ~ {met}{end}");
        assert!(shown(false).ends_with(&lines), "{}", shown(false));
        let lines = format!(" gates  ✖ {met}        ✖ {missed}{end}");
        assert!(shown(true).ends_with(&lines), "{}", shown(true));
    }

    #[test]
    fn a_gate_that_had_nothing_to_compare_with_says_so() {
        let mut sample = sample::tinynet();
        let gate = &mut sample.run.gates[1];
        gate.limit = None;
        gate.message = "no earlier run to compare with".into();
        let shown = text(&closing(&sample, None), 140, Paint::new(false));
        let gates = " gates  ✔ evaluate.int8_static.accuracy >= 85   no earlier run to compare with\n        \
                     ✔ export.size_kb < 500   ✔ evaluate.int8_static.drop < 5\n";
        assert!(shown.contains(gates), "{shown}");
    }

    #[test]
    fn rows_without_a_value_are_left_out() {
        let mut sample = sample::tinynet();
        for stage in ["evaluate", "bench"] {
            sample.records.remove(&sample::name(stage));
        }
        if let Some(record) = sample.records.get_mut(&sample::name("torch_eval")) {
            record.metrics.clear();
        }
        sample.pipeline.report.columns[0].metrics = vec!["quantize.${row}".into()];
        let metrics = &mut sample.records.get_mut(&sample::name("quantize")).unwrap().metrics;
        metrics
            .insert(sample.pipeline.report.rows["INT8 static"].clone(), protocol::Metric::new(104.8, "KB"));
        let shown = text(&closing(&sample, None), 140, Paint::new(false));
        snapshots::assert_message!(shown);
        assert!(!shown.contains("ONNX FP32") && !shown.contains("INT8 dynamic"), "{shown}");
    }

    #[test]
    fn a_table_without_any_value_is_left_out_after_a_failure() {
        let sample = sample::train_fails();
        let shown = text(&closing(&sample, None), 140, Paint::new(false));
        assert_eq!(shown, " no stage ran, 1 failed, 7 not reached, 1 fresh, 41 min 12 s\n");
    }
}
