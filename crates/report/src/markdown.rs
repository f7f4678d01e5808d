//! A run in short as GitHub-flavoured Markdown, for a comment on a pull request. Whatever names and messages hold stays
//! text: it opens no tag, ends no cell, mentions nobody and becomes no link.

use history::Counts;
use pipeline::gate::{GateResult, Judgement};
use record::words::values;
use text::format;
use text::printable::{clean, clean_line};

use super::brief::{Brief, Failed, Since, Table};
use super::gates::State;

/// Bytes of it all: a comment has at most 65,536 characters.
const MOST: usize = 65_000;
/// Bytes of a line that says how much was left out.
const MOST_LEFT_OUT: usize = 80;
/// Rows of a table.
const MOST_ROWS: usize = 60;
/// Changes and numbers since the run before.
const MOST_CHANGES: usize = 30;
/// Characters of one text.
const MOST_TEXT: usize = 300;
/// Lines of a failed stage's message.
const MOST_LINES: usize = 20;
/// Invisible, and keeps what is beside it from becoming a mention or a link.
const JOINER: char = '\u{2060}';

/// The run as Markdown.
#[must_use]
pub fn markdown(brief: &Brief) -> String {
    let mut page = Page { text: opening(brief) };
    page.add(|room| failures(&brief.failures, room));
    page.add(|room| gates(&brief.gates, brief.run.certain, room));
    page.add(|room| match &brief.results {
        Some(table) => Some(results(table, room)),
        None => metrics(brief, room),
    });
    page.add(|room| since(brief.since.as_ref()?, room));
    page.text + "\n"
}

/// What is written so far.
struct Page {
    text: String,
}

impl Page {
    /// Adds a part that keeps to the room it is given: half of what is left, so that those after it find some, too.
    fn add(&mut self, part: impl FnOnce(usize) -> Option<String>) {
        let room = MOST.saturating_sub(self.text.len()) / 2;
        if let Some(part) = part(room) {
            self.text.push_str("\n\n");
            self.text.push_str(&part);
        }
    }
}

fn opening(brief: &Brief) -> String {
    let mark = match brief.verdict.state {
        State::Done | State::Pass => "✔",
        State::GateFailed | State::Failed => "✖",
        State::Inconclusive | State::Interrupted => "~",
        State::Unknown => "?",
    };
    let run = &brief.run;
    let profile = run.profile.as_deref().map(|profile| format!(", profile {}", text(profile)));
    format!(
        "### {mark} {}\n\n**{}** Run {} of {} UTC{}: {}, {}.",
        text(&brief.title),
        text(&brief.verdict.sentence),
        code(run.run.as_str()),
        format::date_time(run.started_ms),
        profile.unwrap_or_default(),
        counts(run.stages),
        format::millis(run.duration_ms),
    )
}

fn counts(counts: Counts) -> String {
    let ran = match counts.ran {
        0 => "no stage ran".into(),
        ran => format!("{} ran", format::count(ran, "stage")),
    };
    let others = Counts { ran: 0, ..counts }.words();
    std::iter::once(ran).chain(others).collect::<Vec<_>>().join(", ")
}

fn failures(failed: &[Failed], room: usize) -> Option<String> {
    let mut left = room.saturating_sub(MOST_LEFT_OUT);
    let mut parts = vec![];
    for failed in failed.iter().take(MOST_CHANGES) {
        let part = failure(failed);
        let Some(rest) = left.checked_sub(part.len() + 2) else { break };
        left = rest;
        parts.push(part);
    }
    let more = failed.len() - parts.len();
    if more > 0 {
        parts.push(format!("and {} that failed", format::count(more, "more stage")));
    }
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

fn failure(failed: &Failed) -> String {
    let message = clean(&failed.message);
    let lines: Vec<String> =
        message.lines().take(MOST_LINES).map(|line| line.chars().take(MOST_TEXT).collect()).collect();
    let lines = lines.join("\n");
    let fence = "`".repeat((longest_run(&lines) + 1).max(3));
    let hint = failed.hint.as_deref().map(|hint| format!("\n\nWhat to do: {}", text(hint)));
    format!(
        "**{} failed after {}**\n\n{fence}text\n{lines}\n{fence}{}",
        text(failed.stage.as_str()),
        format::millis(failed.duration_ms),
        hint.unwrap_or_default()
    )
}

fn gates(gates: &[GateResult], certain: bool, room: usize) -> Option<String> {
    if gates.is_empty() {
        return None;
    }
    let rows = gates.iter().map(|gate| {
        let judgement = gate.judgement(certain);
        let word = match judgement {
            Judgement::Holds => String::new(),
            judgement => format!("**{}**: ", judgement.word()),
        };
        vec![judgement.mark().to_owned(), code(&gate.expression), word + &text(&gate.message)]
    });
    let headings = ["", "gate", ""].map(str::to_owned);
    Some(table(&headings, "lll", rows, &Limit { rows: MOST_ROWS, bytes: room, noun: "gate" }))
}

fn results(results: &Table, room: usize) -> String {
    let mut headings = vec![String::new()];
    headings.extend(results.columns.iter().map(|column| text(&column.label)));
    let rows = results.rows.iter().map(|row| {
        let cells = row.cells.iter().map(|cell| {
            let (number, earlier) = cell
                .number
                .as_ref()
                .map_or(("–", ""), |number| (number.text.as_str(), if number.earlier { "*" } else { "" }));
            let reference = cell.reference_text.as_ref().map(|reference| format!(" ({})", text(reference)));
            format!("{}{}{}", text(number), text(earlier), reference.unwrap_or_default())
        });
        std::iter::once(text(&row.label)).chain(cells).collect()
    });
    let align: String =
        headings.iter().enumerate().map(|(index, _)| if index == 0 { 'l' } else { 'r' }).collect();
    let cells = || results.rows.iter().flat_map(|row| &row.cells);
    let mut notes = vec![];
    if cells().any(|cell| cell.reference.is_some()) {
        notes.push(format!(
            "In brackets: {}.",
            text(results.reference_name.as_deref().unwrap_or("reference"))
        ));
    }
    if cells().any(|cell| cell.number.as_ref().is_some_and(|number| number.interval.is_some())) {
        notes.push("± and \\[low, high\\]: 95 % intervals.".into());
    }
    if cells().any(|cell| cell.number.as_ref().is_some_and(|number| number.earlier)) {
        notes.push("\\*: from an earlier run.".into());
    }
    let notes = if notes.is_empty() { String::new() } else { format!("\n\n{}", notes.join(" ")) };
    let bytes = room.saturating_sub(notes.len());
    table(&headings, &align, rows, &Limit { rows: MOST_ROWS, bytes, noun: "row" }) + &notes
}

fn metrics(brief: &Brief, room: usize) -> Option<String> {
    if brief.metrics.is_empty() {
        return None;
    }
    let rows = brief.metrics.iter().map(|named| {
        let number = &named.number;
        vec![
            code(&format!("{}.{}", number.stage, named.name)),
            text(&number.text),
            text(&number.unit),
            text(&number.basis),
        ]
    });
    let headings = ["metric", "", "unit", "based on"].map(str::to_owned);
    Some(table(&headings, "lrll", rows, &Limit { rows: MOST_ROWS, bytes: room, noun: "metric" }))
}

fn since(since: &Since, room: usize) -> Option<String> {
    if since.changes.is_empty() && since.numbers.is_empty() {
        return None;
    }
    let name = since.run.as_ref().map_or(since.id.as_str(), |run| run.as_str());
    let heading = format!("#### Since run {} of {} UTC", code(name), format::date_time(since.started_ms));
    let bytes = room.saturating_sub(heading.len() + 4) / 2;
    let mut parts = vec![heading];
    if !since.changes.is_empty() {
        let rows = since.changes.iter().map(|change| {
            let (old, new) = values(change);
            vec![code(&change.name), code(&old), code(&new)]
        });
        let headings = ["changed", "before", "now"].map(str::to_owned);
        parts.push(table(&headings, "lll", rows, &Limit { rows: MOST_CHANGES, bytes, noun: "change" }));
    }
    if !since.numbers.is_empty() {
        let rows = since.numbers.iter().map(|moved| {
            let mut cells = vec![text(&moved.name)];
            cells.extend(moved.texts.iter().map(|number| text(number)));
            cells.push(if moved.within_intervals == Some(true) { "in both intervals" } else { "" }.into());
            cells
        });
        let headings = ["result", "before", "now", "difference", ""].map(str::to_owned);
        parts.push(table(&headings, "lrrrl", rows, &Limit { rows: MOST_CHANGES, bytes, noun: "number" }));
    }
    Some(parts.join("\n\n"))
}

/// How long a table may be.
struct Limit<'a> {
    rows: usize,
    bytes: usize,
    /// What a row is.
    noun: &'a str,
}

/// A table of the first rows, and a line on how many more there are.
fn table(
    headings: &[String],
    align: &str,
    rows: impl ExactSizeIterator<Item = Vec<String>>,
    limit: &Limit<'_>,
) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let rule: Vec<String> = align.chars().map(|c| if c == 'r' { "--:" } else { "---" }.to_owned()).collect();
    let all = rows.len();
    let mut text = format!("{}\n{}", line(headings), line(&rule));
    let most = limit.bytes.saturating_sub(MOST_LEFT_OUT);
    let mut shown = 0;
    for row in rows.take(limit.rows) {
        let row = line(&row);
        if text.len() + row.len() + 1 > most {
            break;
        }
        text.push('\n');
        text.push_str(&row);
        shown += 1;
    }
    match all - shown {
        0 => text,
        more if shown == 0 => format!("{} too long to be shown here", format::count(more, limit.noun)),
        more => format!("{text}\n\nand {}", format::count(more, &format!("more {}", limit.noun))),
    }
}

/// On one line, and not endless.
fn short(raw: &str) -> String {
    let line = clean_line(raw);
    match line.char_indices().nth(MOST_TEXT) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// Text that is nothing but text, anywhere.
fn text(raw: &str) -> String {
    let line = short(raw);
    let mut escaped = String::with_capacity(line.len() + 8);
    let mut rest = line.chars().peekable();
    let mut ws = 0;
    while let Some(c) = rest.next() {
        if "\\`*_[]<>#|~&!$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
        ws = if matches!(c, 'w' | 'W') { ws + 1 } else { 0 };
        // `@name`, `#12`, `https://…` and `www.…` would become mentions and links.
        let next = rest.peek().copied().unwrap_or(' ');
        let links = match c {
            '@' => true,
            '#' => next.is_ascii_digit(),
            ':' => next == '/',
            'w' | 'W' => ws >= 3 && next == '.',
            _ => false,
        };
        if links {
            escaped.push(JOINER);
        }
    }
    escaped
}

/// Code in a cell of a table, or text where it cannot be told apart from the end of the cell.
fn code(raw: &str) -> String {
    let line = short(raw);
    if line.is_empty() || line.contains('\\') {
        return text(&line);
    }
    let fence = "`".repeat(longest_run(&line) + 1);
    let space = if line.starts_with('`') || line.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{}{space}{fence}", line.replace('|', "\\|"))
}

/// How many backticks follow each other at most.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
