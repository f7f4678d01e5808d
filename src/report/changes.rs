//! What is different from the run before: vars, keys, and the numbers of the result table.

use maud::{Markup, html};

use super::results::Results;
use super::shown::Shown;
use super::{Input, stage};
use crate::format;
use crate::history::changed_vars;
use crate::record::Change;

/// The section, or nothing where there was no run before or nothing differs.
pub(super) fn section(input: &Input, shown: &Shown) -> Option<Markup> {
    let (previous, previous_records) = input.previous?;
    let vars = vars(input);
    let stages: Vec<_> = shown.runs.iter().filter(|stage| !stage.changes.is_empty()).collect();
    let now = Results::new(&input.pipeline.report, input.records);
    let before = Results::new(&input.pipeline.report, previous_records);
    let mut numbers = vec![];
    for (row, row_before) in now.rows.iter().zip(&before.rows) {
        for ((column, cell), cell_before) in now.columns.iter().zip(&row.cells).zip(&row_before.cells) {
            if let (Some((stage, new)), Some((_, old))) = (cell.found, cell_before.found)
                && format::number(new.value, column.digits) != format::number(old.value, column.digits)
            {
                numbers.push((row.label, column, stage, old.value, new.value));
            }
        }
    }
    if vars.is_empty() && stages.is_empty() && numbers.is_empty() {
        return None;
    }
    Some(html! {
        section #changes {
            h2 { "Since the run before" }
            p.small { "Compared with run " code { (previous.id) } " of " (format::date_time(previous.started_ms)) " UTC." }
            div.pair {
                @if !vars.is_empty() || !stages.is_empty() {
                    div.card {
                        h3 { "What was changed" }
                        @if !vars.is_empty() { (self::table(&vars)) }
                        @for run in stages {
                            h4 { a href={ "#" (stage::anchor(&run.stage)) } { (run.stage) } }
                            (self::table(&run.changes))
                        }
                    }
                }
                @if !numbers.is_empty() {
                    div.card {
                        h3 { "What came of it" }
                        div.scroll tabindex="0" role="region" aria-label="Changed results" { table.changes {
                            thead { tr { td {} th.num scope="col" { "before" } th.num scope="col" { "now" } th.num scope="col" { "difference" } } }
                            tbody { @for (row, column, stage, old, new) in &numbers {
                                tr {
                                    th scope="row" { a href={ "#" (stage::anchor(stage)) } { (row) ", " (column.label) } }
                                    td.num.old { (column.prefix) (format::number(*old, column.digits)) }
                                    td.num { (column.prefix) (format::number(*new, column.digits)) }
                                    td.num { @if new > old { "+" } (format::number(new - old, column.digits)) }
                                }
                            } }
                        } }
                    }
                }
            }
        }
    })
}

/// Changed ingredients as a table: what, old, new.
pub(super) fn table(changes: &[Change]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Changes" { table.changes {
            thead.sr { tr { th scope="col" { "what" } th scope="col" { "old" } th scope="col" { "new" } } }
            tbody { @for change in changes {
                tr {
                    th scope="row" { code { (change.name) } }
                    td.old { (value(change.old.as_deref())) }
                    td.arrow aria-hidden="true" { "→" }
                    td { (value(change.new.as_deref())) }
                }
            } }
        } }
    }
}

fn value(value: Option<&str>) -> Markup {
    let Some(value) = value else { return html! { span.missing { "–" } } };
    let is_digest = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let limit = if is_digest { 12 } else { 120 };
    let short: String = value.chars().take(limit).collect();
    let cut = short.len() < value.len();
    html! { code title=[cut.then_some(value.chars().take(2000).collect::<String>())] { (short) @if cut { "…" } } }
}

fn vars(input: &Input) -> Vec<Change> {
    let Some((previous, _)) = input.previous else { return vec![] };
    changed_vars(previous, input.run)
}
