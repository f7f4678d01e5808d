//! A run in short, as data: what `pipe report` says of it to programs, and what its Markdown is written from. Pure; knows
//! no stage, metric or figure by name.

use history::{RunDigest, RunName, Side, compare, within_intervals};
use pipeline::StageName;
use pipeline::gate::{Better, GateResult, sorted};
use pipeline::spec::ReportColumn;
use protocol::Metric;
use record::{Change, Outcome};
use schemars::JsonSchema;
use serde::Serialize;
use text::format;

use super::gates::{self, State};
use super::results::{Results, interval};
use super::{Input, changes, page};

/// A run in short.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Brief {
    /// Heading of the report.
    pub title: String,
    /// The run.
    pub run: RunDigest,
    /// What it came to.
    pub verdict: Said,
    /// The gates: those that fail first, then those that are inconclusive and fail for it, not known, inconclusive, satisfied.
    pub gates: Vec<GateResult>,
    /// The result table; `null` where the pipeline says nothing of one.
    pub results: Option<Table>,
    /// Without a result table, all metrics of the stages that are done.
    pub metrics: Vec<Named>,
    /// What is different from the run before; `null` where there was none.
    pub since: Option<Since>,
    /// The stages that failed.
    pub failures: Vec<Failed>,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "RunVerdict")]
pub struct Said {
    /// In a word.
    pub state: State,
    /// In a sentence.
    pub sentence: String,
}

/// The result table.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ResultTable")]
pub struct Table {
    /// What the reference values are, such as `notebook`.
    pub reference_name: Option<String>,
    /// Columns, left to right.
    pub columns: Vec<Heading>,
    /// Rows, top to bottom.
    pub rows: Vec<Row>,
}

/// A column of the result table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ResultColumn")]
pub struct Heading {
    /// Its heading.
    pub label: String,
    /// Whether higher numbers are better; `null` where the pipeline does not say.
    pub higher_is_better: Option<bool>,
}

/// A row of the result table.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ResultRow")]
pub struct Row {
    /// Its heading.
    pub label: String,
    /// As many as there are columns.
    pub cells: Vec<Cell>,
}

/// A cell of the result table.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "ResultCell")]
pub struct Cell {
    /// The number, where it is known.
    pub number: Option<Number>,
    /// The value to compare with, where there is one.
    pub reference: Option<f64>,
    /// That value as the table writes it.
    pub reference_text: Option<String>,
}

/// A metric with where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "MetricNumber")]
pub struct Number {
    /// The stage that measured it.
    pub stage: StageName,
    /// The number.
    pub value: f64,
    /// Its unit, or empty.
    pub unit: String,
    /// Its 95 % interval, where it has one.
    pub interval: Option<[f64; 2]>,
    /// What it is based on, or empty.
    pub basis: String,
    /// Number and interval as the table writes them.
    pub text: String,
    /// Whether the stage was not part of the run, and the number is from an earlier one.
    pub earlier: bool,
}

/// A metric with its name.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "NamedMetric")]
pub struct Named {
    /// Its name.
    pub name: String,
    /// What it is.
    pub number: Number,
}

/// What is different from the run before.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "SinceRun")]
pub struct Since {
    /// What that run is called on the command line.
    pub run: Option<RunName>,
    /// Its id, for good.
    pub id: String,
    /// When it started, milliseconds since 1970 (UTC).
    pub started_ms: u64,
    /// What was changed by hand: profile, vars, params, commands, files.
    pub changes: Vec<Change>,
    /// Numbers that differ: of the result table, or without one all metrics.
    pub numbers: Vec<Moved>,
}

/// A number that is not what it was.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "MovedNumber")]
pub struct Moved {
    /// Row and column of the result table, or stage and metric.
    pub name: String,
    /// The stage that measured it.
    pub stage: StageName,
    /// In the run before.
    pub old: f64,
    /// In this run.
    pub new: f64,
    /// New minus old.
    pub difference: f64,
    /// Whether each value lies within the other's 95 % interval, where both have one.
    pub within_intervals: Option<bool>,
    /// The three as the table writes them: old, new and difference.
    pub texts: [String; 3],
}

/// A stage that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "FailedStage")]
pub struct Failed {
    /// The stage.
    pub stage: StageName,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
}

impl Brief {
    /// A run in short. `run` and `previous` are what history says of it and of the run before.
    #[must_use]
    pub fn new(input: &Input, run: RunDigest, previous: Option<&RunName>) -> Self {
        let (state, sentence) = gates::sentence(input);
        let results = table(input);
        let metrics = if results.is_some() { vec![] } else { metrics(input) };
        let failed = input.run.stages.iter().filter_map(|stage| match &stage.outcome {
            Outcome::Failed { message, hint } => Some(Failed {
                stage: stage.stage.clone(),
                message: message.clone(),
                hint: hint.clone(),
                duration_ms: stage.duration_ms,
            }),
            _ => None,
        });
        Self {
            title: page::title(input).to_owned(),
            since: since(input, &run, previous, results.is_some()),
            run,
            verdict: Said { state, sentence },
            gates: sorted(&input.run.gates, input.run.certain).into_iter().cloned().collect(),
            results,
            metrics,
            failures: failed.collect(),
        }
    }
}

fn table(input: &Input) -> Option<Table> {
    let spec = &input.definition.report;
    let results = Results::new(spec, input.records);
    if results.is_empty() {
        return None;
    }
    let heading = |column: &ReportColumn| Heading {
        label: column.label.clone(),
        higher_is_better: column.better.map(|better| better == Better::Higher),
    };
    let text = |column: &ReportColumn, value: f64| {
        format!("{}{}", column.prefix, format::number(value, column.digits))
    };
    let rows = results.rows.iter().map(|row| {
        let cells = results.columns.iter().zip(&row.cells).map(|(column, cell)| Cell {
            number: cell.found.map(|(stage, metric)| {
                let interval = interval(metric, column.digits).map(|text| format!(" {text}"));
                let text = text(column, metric.value) + &interval.unwrap_or_default();
                number(input, stage, metric, text)
            }),
            reference: cell.reference,
            reference_text: cell.reference.map(|value| text(column, value)),
        });
        Row { label: row.label.to_owned(), cells: cells.collect() }
    });
    Some(Table {
        reference_name: spec.reference_name.clone(),
        rows: rows.collect(),
        columns: results.columns.iter().map(heading).collect(),
    })
}

fn number(input: &Input, stage: &StageName, metric: &Metric, text: String) -> Number {
    Number {
        stage: stage.clone(),
        value: metric.value,
        unit: metric.unit.clone(),
        interval: metric.interval,
        basis: metric.basis.clone(),
        text,
        earlier: !input.parts().contains(stage),
    }
}

fn metrics(input: &Input) -> Vec<Named> {
    let of_run = input.run.stages.iter().filter_map(|run| Some((&run.stage, input.records.get(&run.stage)?)));
    let named = of_run.flat_map(|(stage, record)| {
        record.metrics.iter().map(move |(name, metric)| {
            let text = match metric.interval {
                Some(ends) => {
                    format!("{} {}", format::number_auto(metric.value), format::interval_auto(ends))
                }
                None => format::number_auto(metric.value),
            };
            Named { name: name.clone(), number: number(input, stage, metric, text) }
        })
    });
    named.collect()
}

fn since(input: &Input, run: &RunDigest, name: Option<&RunName>, has_table: bool) -> Option<Since> {
    let (previous, records) = input.previous?;
    let numbers = if has_table {
        let moved = changes::moved(&input.definition.report, records, input.records);
        let moved = moved.into_iter().map(|moved| Moved {
            name: format!("{}, {}", moved.row, moved.column.label),
            stage: moved.stage.clone(),
            old: moved.old.value,
            new: moved.new.value,
            difference: moved.new.value - moved.old.value,
            within_intervals: within_intervals(moved.old, moved.new),
            texts: [moved.text(moved.old.value), moved.text(moved.new.value), moved.difference()],
        });
        moved.collect()
    } else {
        let comparison =
            compare(Side { run: previous, records }, Side { run: input.run, records: input.records });
        let moved = comparison.metrics.into_iter().filter(|pair| !pair.is_same()).filter_map(|pair| {
            let (old, new, difference) = (pair.old?, pair.new?, pair.difference?);
            let sign = if difference > 0.0 { "+" } else { "" };
            Some(Moved {
                name: pair.path(),
                stage: pair.stage,
                old,
                new,
                difference,
                within_intervals: pair.within_intervals,
                texts: [
                    format::number_auto(old),
                    format::number_auto(new),
                    format!("{sign}{}", format::number_auto(difference)),
                ],
            })
        });
        moved.collect()
    };
    Some(Since {
        run: name.cloned(),
        id: previous.id.clone(),
        started_ms: previous.started_ms,
        changes: run.changes.clone(),
        numbers,
    })
}
