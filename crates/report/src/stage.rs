//! One stage: how it ended and why it ran, its figures, metrics, params, outputs and where they come from.

use maud::{Markup, html};
use pipeline::StageName;
use protocol::{Content, Figure};
use record::{ActionRecord, Outcome, Param, Source, StageDefinition, StageRun};
use serde_json::Value;
use text::format;

use super::figures::{Budget, figures};
use super::mention::{self, anchor};
use super::shown::Shown;
use super::{Input, changes, prose, provenance};

/// The section of a stage.
pub(super) fn section(input: &Input, shown: &Shown, run: &StageRun, budget: &Budget) -> Markup {
    let stage = input.definition.stages.get(&run.stage);
    let record = input.records.get(&run.stage);
    html! {
        article.stage id=(anchor(&run.stage)) {
            header {
                h3 { (run.stage) }
                @if let Some(stage) = stage { (does(stage)) }
                span.chip.(mention::class(&run.outcome)) { (mention::note(&run.outcome, run.duration_ms)) }
            }
            @if let Some(description) = stage.and_then(|stage| stage.description.as_ref()) { p.why { (description) } }
            (why(run, record))
            @if let Some(record) = record { (provisional(record)) }
            @if let Outcome::Failed { message, .. } = &run.outcome { p.message { (prose(message)) } }
            @if record.is_none() && run.outcome.is_done() {
                p.why { "Its result is no longer cached, so its figures, metrics and outputs are not shown." }
            }
            @if let Some(record) = record { (results(record, budget)) }
            div.folds {
                @if let Some(stage) = stage { (params(stage)) (inputs(shown, stage)) }
                @if let Some(record) = record { (outputs(record)) (provenance::details(record)) (key(record)) }
            }
        }
    }
}

/// The section of a stage that was not part of the run. What the pipeline said of its parameters and inputs says nothing of
/// the run that the record is of, so they are not shown.
pub(super) fn other(input: &Input, name: &StageName, record: &ActionRecord, budget: &Budget) -> Markup {
    let stage = input.definition.stages.get(name);
    html! {
        article.stage id=(anchor(name)) {
            header {
                h3 { (name) }
                @if let Some(stage) = stage { (does(stage)) }
                span.chip.st-none { (mention::NOT_PART) }
            }
            @if let Some(description) = stage.and_then(|stage| stage.description.as_ref()) { p.why { (description) } }
            p.why { "From an earlier run: executed on " (executed(record)) "." }
            (provisional(record))
            (results(record, budget))
            div.folds { (outputs(record)) (provenance::details(record)) (key(record)) }
        }
    }
}

/// Figures and metrics; answers stand above all stages.
fn results(record: &ActionRecord, budget: &Budget) -> Markup {
    let drawn: Vec<&Figure> =
        record.figures.iter().filter(|figure| !matches!(figure.content, Content::Answer { .. })).collect();
    html! {
        @if !drawn.is_empty() || !record.metrics.is_empty() {
            div.figures {
                (figures(drawn, budget))
                (metrics(record))
            }
        }
    }
}

/// What is said above results that are no answer yet.
fn provisional(record: &ActionRecord) -> Markup {
    html! {
        @if let Some(why) = &record.provisional {
            p.provisional role="note" { strong { "Provisional: " } (prose(why)) ". The next run executes this stage again." }
        }
    }
}

fn executed(record: &ActionRecord) -> String {
    format!("{} UTC in {}", format::date_time(record.started_ms), format::millis(record.duration_ms))
}

fn why(run: &StageRun, record: Option<&ActionRecord>) -> Markup {
    let executed = record.map(executed);
    html! {
        @match &run.outcome {
            Outcome::Fresh => { @if let Some(executed) = &executed { p.why { "Unchanged since it was executed on " (executed) "." } } }
            Outcome::Restored => { @if let Some(executed) = &executed { p.why { "Restored: the same key was executed on " (executed) "." } } }
            _ => {}
        }
        @if !run.changes.is_empty() {
            p.why { @if run.outcome == Outcome::Restored { "Differs from its previous key in:" } @else { "It ran because its key changed:" } }
            (changes::table(&run.changes))
        }
    }
}

fn metrics(record: &ActionRecord) -> Markup {
    let with_interval = record.metrics.values().any(|metric| metric.interval.is_some());
    html! {
        @if !record.metrics.is_empty() {
            div.card {
                strong { "Metrics" }
                div.scroll tabindex="0" role="region" aria-label="Metrics" { table.metrics {
                    thead { tr {
                        th scope="col" { "metric" } th.num scope="col" { "value" } td {}
                        @if with_interval { th scope="col" { "95 % interval" } }
                    } }
                    tbody { @for (name, metric) in &record.metrics { tr {
                        th scope="row" {
                            code { (name) }
                            @if !metric.basis.is_empty() { span.basis { (metric.basis) } }
                        }
                        td.num { (format::number_auto(metric.value)) }
                        td.unit { (metric.unit) }
                        @if with_interval { td.num.left { (range(metric.interval)) } }
                    } } }
                } }
            }
        }
    }
}

fn range(interval: Option<[f64; 2]>) -> String {
    let text =
        |[low, high]: [f64; 2]| format!("{} to {}", format::number_auto(low), format::number_auto(high));
    interval.map(text).unwrap_or_default()
}

/// What a stage did, where that is known.
fn does(stage: &StageDefinition) -> Markup {
    html! { @if !stage.action.is_empty() { code.does { (stage.action) } } }
}

fn params(stage: &StageDefinition) -> Markup {
    if stage.is_command {
        return command(stage);
    }
    html! {
        @if !stage.params.is_empty() {
            details {
                summary { "Parameters " span.count { (stage.params.len()) } }
                dl.values { @for (name, Param { value, is_default }) in &stage.params {
                    dt { code { (name) } @if *is_default { " " span.default { "default" } } }
                    dd { (self::value(value)) }
                } }
            }
        }
    }
}

fn command(stage: &StageDefinition) -> Markup {
    html! {
        details {
            summary { "Command" }
            pre { (stage.action) }
            @if !stage.params.is_empty() {
                dl.values { @for (name, param) in &stage.params { dt { code { (name) } } dd { (self::value(&param.value)) } } }
            }
            @if !stage.env.is_empty() {
                dl.values { @for (name, value) in &stage.env { dt { code { (name) } } dd { code { (value) } } } }
            }
        }
    }
}

/// A param's or var's value: short ones as they are, long ones folded.
pub(super) fn value(value: &Value) -> Markup {
    let line = match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    if line.chars().count() <= 80 {
        return html! { code { (line) } };
    }
    let (summary, whole) = match value {
        Value::Array(items) => {
            (format::count(items.len(), "item"), items.iter().map(|i| format!("{i}\n")).collect())
        }
        Value::Object(fields) => (
            format::count(fields.len(), "field"),
            fields.iter().map(|(k, v)| format!("{k}: {v}\n")).collect(),
        ),
        _ => (format!("{}…", line.chars().take(60).collect::<String>()), line),
    };
    html! { details.inner { summary { (summary) } pre { (whole) } } }
}

fn inputs(shown: &Shown, of: &StageDefinition) -> Markup {
    html! {
        @if !of.inputs.is_empty() {
            details {
                summary { "Inputs " span.count { (of.inputs.len()) } }
                dl.values { @for (name, source) in &of.inputs {
                    dt { code { (name) } }
                    dd { @match source {
                        Source::Output { stage, output } => {
                            @if shown.has(stage) {
                                a href={ "#" (anchor(stage)) } { (stage) "." (output) }
                            } @else { (stage) "." (output) }
                        }
                        Source::Path { name } => { code { (name) } }
                        Source::Content { digest } => { code.digest { (digest) } }
                    } }
                } }
            }
        }
    }
}

fn outputs(record: &ActionRecord) -> Markup {
    html! {
        @if !record.outputs.is_empty() {
            details {
                summary { "Outputs " span.count { (record.outputs.len()) } }
                div.scroll tabindex="0" role="region" aria-label="Outputs" { table.data {
                    thead { tr { th scope="col" { "output" } th scope="col" { "file" } th.num scope="col" { "size" } th scope="col" { "BLAKE3" } } }
                    tbody { @for (name, output) in &record.outputs { tr {
                        th scope="row" { code { (name) } }
                        td { (output.file) @if output.folder { "/" } }
                        td.num { (format::bytes(output.bytes)) }
                        td { code.digest { (output.digest) } }
                    } } }
                } }
            }
        }
    }
}

fn key(record: &ActionRecord) -> Markup {
    html! {
        details {
            summary { "Key " code { (record.key.short()) } }
            p.small { "The stage's identity: the same ingredients give the same key, and a key that is in the cache is never executed again." }
            dl.values.key {
                dt { "digest" } dd { code.digest { (record.key) } }
                @for ingredient in &record.ingredients {
                    dt { code { (ingredient.name) } }
                    dd { code.digest { (ingredient.value.chars().take(4000).collect::<String>()) } }
                }
            }
        }
    }
}
