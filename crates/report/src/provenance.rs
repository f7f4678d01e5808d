//! Where a number comes from: the stage, its key, when, on what, in which run, and the log.

use std::time::Duration;

use maud::{Markup, html};
use pipeline::StageName;
use protocol::Metric;
use record::ActionRecord;
use text::format;

use super::{Input, mention};

/// What opens over the page for a number of the result table. `id` is unique in the page.
pub(super) fn popover(input: &Input, of: &StageName, metric: &Metric, id: &str) -> Markup {
    let record = input.records.get(of);
    let run = input.run.stages.iter().find(|run| run.stage == *of);
    let number = format::number_auto(metric.value);
    html! {
        div id=(id) popover {
            h3 { "From stage " a href={ "#" (mention::anchor(of)) } { (of) } }
            p.headline { (number) " " (metric.unit) }
            dl.values {
                @if let Some([low, high]) = metric.interval {
                    dt { "95 % interval" } dd { (format::number_auto(low)) " to " (format::number_auto(high)) " " (metric.unit) }
                }
                @if !metric.basis.is_empty() { dt { "based on" } dd { (metric.basis) } }
                @if let Some(run) = run {
                    dt { "in this run" } dd { (mention::note(&run.outcome, run.duration_ms)) }
                    @for change in &run.changes {
                        dt { "because of" } dd { code { (change.name) } }
                    }
                } @else { dt { "in this run" } dd { (mention::NOT_PART) } }
                @if let Some(record) = record {
                    (executed(record))
                    @for ingredient in record.ingredients.iter().filter(|ingredient| ingredient.name.ends_with(".seed")) {
                        dt { code { (ingredient.name) } } dd { (ingredient.value) }
                    }
                    dt { "key" } dd { code.digest { (record.key.short()) } }
                }
                dt { "log" } dd { code { "pipe log " (of) } }
            }
        }
    }
}

/// All that is known of the execution that a record is of.
pub(super) fn details(record: &ActionRecord) -> Markup {
    let machine = &record.machine;
    html! {
        details {
            summary { "Provenance" }
            dl.values {
                (executed(record))
                dt { "took" } dd { (format::duration(Duration::from_millis(record.duration_ms))) }
                dt { "system" } dd { (format::count(machine.cores, "core")) ", " (machine.system) }
                @if !machine.features.is_empty() { dt { "CPU features" } dd { (machine.features) } }
                dt { "log" } dd { code.digest { (record.log) } }
            }
        }
    }
}

/// When, in which run, and on which CPU.
fn executed(record: &ActionRecord) -> Markup {
    html! {
        dt { "executed" }
        dd { time datetime=(format::rfc3339(record.started_ms)) { (format::date_time(record.started_ms)) " UTC" } }
        dt { "in run" } dd { code { (record.run) } }
        dt { "on" } dd { (record.machine.cpu) }
    }
}
