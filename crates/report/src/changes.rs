//! What is different from the run before: vars, keys, and the numbers of the result table.

use std::collections::BTreeMap;

use history::changed_vars;
use maud::{Markup, html};
use pipeline::StageName;
use pipeline::spec::{ReportColumn, ReportSpec};
use protocol::Metric;
use record::{ActionRecord, Change};
use text::format;

use super::results::Results;
use super::shown::Shown;
use super::{Input, mention};

/// The section, or nothing where there was no run before or nothing differs.
pub(super) fn section(input: &Input, shown: &Shown) -> Option<Markup> {
    let (previous, previous_records) = input.previous?;
    let vars = vars(input);
    let stages: Vec<_> = shown.runs.iter().filter(|stage| !stage.changes.is_empty()).collect();
    let numbers = moved(&input.definition.report, previous_records, input.records);
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
                            h4 { a href={ "#" (mention::anchor(&run.stage)) } { (run.stage) } }
                            (self::table(&run.changes))
                        }
                    }
                }
                @if !numbers.is_empty() {
                    div.card {
                        h3 { "What came of it" }
                        div.scroll tabindex="0" role="region" aria-label="Changed results" { table.changes {
                            thead { tr { td {} th.num scope="col" { "before" } th.num scope="col" { "now" } th.num scope="col" { "difference" } } }
                            tbody { @for number in &numbers {
                                tr {
                                    th scope="row" { a href={ "#" (mention::anchor(number.stage)) } { (number.row) ", " (number.column.label) } }
                                    td.num.old { (number.text(number.old.value)) }
                                    td.num { (number.text(number.new.value)) }
                                    td.num { (number.difference()) }
                                }
                            } }
                        } }
                    }
                }
            }
        }
    })
}

/// A number of the result table that is not what it was.
pub(super) struct Moved<'a> {
    pub(super) row: &'a str,
    pub(super) column: &'a ReportColumn,
    /// The stage that it comes from now.
    pub(super) stage: &'a StageName,
    pub(super) old: &'a Metric,
    pub(super) new: &'a Metric,
}

impl Moved<'_> {
    /// A number as the table writes it.
    pub(super) fn text(&self, value: f64) -> String {
        format!("{}{}", self.column.prefix, format::number(value, self.column.digits))
    }

    /// The difference with its sign.
    pub(super) fn difference(&self) -> String {
        let sign = if self.new.value > self.old.value { "+" } else { "" };
        format!("{sign}{}", format::number(self.new.value - self.old.value, self.column.digits))
    }
}

/// The numbers of the result table that read otherwise than before.
pub(super) fn moved<'a>(
    spec: &'a ReportSpec,
    before: &'a BTreeMap<StageName, ActionRecord>,
    now: &'a BTreeMap<StageName, ActionRecord>,
) -> Vec<Moved<'a>> {
    let (before, now) = (Results::new(spec, before), Results::new(spec, now));
    let mut moved = vec![];
    for (row, row_before) in now.rows.iter().zip(&before.rows) {
        for ((column, cell), cell_before) in now.columns.iter().zip(&row.cells).zip(&row_before.cells) {
            if let (Some((stage, new)), Some((_, old))) = (cell.found, cell_before.found)
                && format::number(new.value, column.digits) != format::number(old.value, column.digits)
            {
                moved.push(Moved { row: row.label, column, stage, old, new });
            }
        }
    }
    moved
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

/// A value on one line, the whole of it for who points at it.
pub(super) fn value(value: Option<&str>) -> Markup {
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
