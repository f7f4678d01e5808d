//! The result table: every number with its interval, the value to compare with in small print, and where it comes from
//! on demand; below it one small chart a column.

use std::collections::BTreeSet;

use maud::{Markup, html};
use pipeline::StageName;
use pipeline::spec::ReportColumn;
use text::format;

use super::chart::{Bar, bars};
use super::results::{Results, interval};
use super::{Input, mention, provenance};

/// The table with its charts, or all metrics where the pipeline says nothing of a table.
pub(super) fn results(input: &Input) -> Markup {
    let results = Results::new(&input.definition.report, input.records);
    if results.is_empty() {
        return html! { (all_metrics(input)) (earlier(input, input.others().into_iter().map(|(stage, _)| stage))) };
    }
    let stages = results.rows.iter().flat_map(|row| &row.cells).filter_map(|cell| Some(cell.found?.0));
    let reference = input.definition.report.reference_name.as_deref().unwrap_or("reference");
    html! {
        div.scroll tabindex="0" role="region" aria-label="Result table" {
            table.results {
                caption.sr { "Results" }
                thead { tr {
                    td {}
                    @for (index, column) in results.columns.iter().enumerate() {
                        th scope="col" { (column.label) }
                        @if has_interval(&results, index) { td.side {} }
                    }
                } }
                tbody {
                    @for (place, row) in results.rows.iter().enumerate() {
                        tr {
                            th scope="row" { (row.label) }
                            @for (index, (column, cell)) in results.columns.iter().zip(&row.cells).enumerate() {
                                td { (self::cell(input, cell, column, reference, &format!("from-{place}-{index}"))) }
                                @if has_interval(&results, index) { td.side { (side(cell, column)) } }
                            }
                        }
                    }
                }
            }
        }
        (notes(&results, reference))
        (earlier(input, stages))
        (charts(&results, reference))
    }
}

fn has_interval(results: &Results, column: usize) -> bool {
    let mut cells = results.rows.iter().filter_map(|row| row.cells.get(column)?.found);
    cells.any(|(_, metric)| metric.interval.is_some())
}

fn side(cell: &super::results::Cell, column: &ReportColumn) -> String {
    cell.found.and_then(|(_, metric)| interval(metric, column.digits)).unwrap_or_default()
}

/// The sign of a value to compare with, in the table and in the charts.
fn diamond() -> Markup {
    html! {
        svg.key width="9" height="12" viewBox="0 0 11 14" aria-hidden="true" {
            path.reference d="M5.5 1l4.5 6l-4.5 6l-4.5 -6z" {}
        }
        " "
    }
}

fn text(column: &ReportColumn, value: f64) -> String {
    format!("{}{}", column.prefix, format::number(value, column.digits))
}

/// A number that opens where it comes from, as `id`.
fn cell(
    input: &Input,
    cell: &super::results::Cell,
    column: &ReportColumn,
    reference: &str,
    id: &str,
) -> Markup {
    html! {
        @match cell.found {
            Some((stage, metric)) => {
                button.value type="button" popovertarget=(id) { (text(column, metric.value)) }
                (provenance::popover(input, stage, metric, id))
            }
            None => span.missing { "–" },
        }
        @if let Some(value) = cell.reference {
            span.reference { (diamond()) span.sr { (reference) " " } (text(column, value)) }
        }
    }
}

/// What the small print means, and what each column is based on.
fn notes(results: &Results, reference: &str) -> Markup {
    let mut bases: Vec<(String, Vec<&str>)> = vec![];
    for (index, column) in results.columns.iter().enumerate() {
        let found: Vec<_> = results.rows.iter().filter_map(|row| row.cells.get(index)?.found).collect();
        let mut basis: Vec<&String> = found.iter().map(|(_, metric)| &metric.basis).collect();
        basis.dedup();
        if let [basis] = basis.as_slice()
            && !basis.is_empty()
        {
            match bases.iter_mut().find(|(known, _)| known == *basis) {
                Some((_, columns)) => columns.push(&column.label),
                None => bases.push(((*basis).clone(), vec![&column.label])),
            }
        }
    }
    let with_interval = (0..results.columns.len()).any(|column| has_interval(results, column));
    html! {
        ul.notes {
            @if results.has_reference() { li { (diamond()) (reference) } }
            @if with_interval { li { "± and [low, high]: 95 % intervals" } }
            @for (basis, columns) in &bases { li { (columns.join(", ")) ": " (basis) } }
        }
    }
}

/// Which of the stages that numbers come from were not part of the run.
fn earlier<'a>(input: &Input, stages: impl Iterator<Item = &'a StageName>) -> Markup {
    let parts = input.parts();
    let others: BTreeSet<&StageName> = stages.filter(|stage| !parts.contains(stage)).collect();
    html! {
        @if !others.is_empty() {
            p.small { "From an earlier run, as the stage was " (mention::NOT_PART) ": "
                @for (index, stage) in others.iter().enumerate() {
                    @if index > 0 { ", " }
                    a href={ "#" (mention::anchor(stage)) } { (stage) }
                }
            }
        }
    }
}

fn charts(results: &Results, reference: &str) -> Markup {
    let panels = results.columns.iter().enumerate().filter_map(|(index, column)| {
        let rows: Vec<Bar> = results
            .rows
            .iter()
            .filter_map(|row| Some((row, row.cells.get(index)?)))
            .map(|(row, cell)| bar(row.label, cell, column, reference))
            .collect();
        let known = rows.iter().filter(|bar| bar.value.is_some()).count();
        (known > 1).then_some((column, rows))
    });
    let panels: Vec<(&ReportColumn, Vec<Bar>)> = panels.collect();
    html! {
        div.glance {
            @for (column, rows) in &panels {
                figure {
                    figcaption { (column.label) }
                    (bars(&column.label, rows))
                }
            }
        }
        @if !panels.is_empty() {
            p.small."legend-note" {
                @if results.has_reference() { (diamond()) (reference) " · " }
                "bars start at zero; dots stand on an axis cut to their range, lines through them are 95 % intervals"
            }
        }
    }
}

fn bar(label: &str, cell: &super::results::Cell, column: &ReportColumn, reference: &str) -> Bar {
    let metric = cell.found.map(|(_, metric)| metric);
    let shown = metric.map_or_else(|| "–".into(), |metric| text(column, metric.value));
    let interval = metric.and_then(|metric| interval(metric, column.digits)).unwrap_or_default();
    let compared =
        cell.reference.map(|value| format!(", {reference} {}", text(column, value))).unwrap_or_default();
    Bar {
        label: label.into(),
        value: metric.map(|metric| metric.value),
        detail: format!("{label}: {shown} {interval}{compared}"),
        text: shown,
        interval: metric.and_then(|metric| metric.interval),
        reference: cell.reference,
    }
}

/// Every metric of every stage.
fn all_metrics(input: &Input) -> Markup {
    let metrics: Vec<_> = input
        .definition
        .stages
        .keys()
        .filter_map(|stage| input.records.get(stage).map(|record| (stage, record)))
        .flat_map(|(stage, record)| record.metrics.iter().map(move |(name, metric)| (stage, name, metric)))
        .collect();
    html! {
        @if !metrics.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Metrics" {
                table.metrics {
                    thead { tr { th scope="col" { "metric" } th.num scope="col" { "value" } th scope="col" { "unit" } } }
                    tbody {
                        @for (stage, name, metric) in metrics {
                            tr {
                                th scope="row" { a href={ "#" (mention::anchor(stage)) } { (stage) "." (name) } }
                                td.num { (format::number_auto(metric.value)) }
                                td { (metric.unit) }
                            }
                        }
                    }
                }
            }
        }
    }
}
