//! A run in short as GitHub-flavoured Markdown, for a comment on a pull request. Whatever names and messages hold stays
//! text: it opens no tag, ends no cell, mentions nobody and becomes no link.

use super::brief::{Brief, Failed, Since, Table};
use super::gates::State;
use crate::format;
use crate::gate::{GateResult, Judgement};
use crate::history::Counts;
use crate::progress::{clean, clean_line, values};

/// Rows of a table; a comment has at most 65,536 characters.
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
    let mut parts = vec![opening(brief)];
    parts.extend(brief.failures.iter().take(MOST_CHANGES).map(failure));
    parts.extend(gates(&brief.gates, brief.run.certain));
    match &brief.results {
        Some(table) => parts.push(results(table)),
        None => parts.extend(metrics(brief)),
    }
    parts.extend(brief.since.as_ref().and_then(since));
    parts.join("\n\n") + "\n"
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
    let Counts { ran, restored, fresh, failed, blocked, interrupted } = counts;
    let others = [
        (restored, "restored"),
        (fresh, "fresh"),
        (failed, "failed"),
        (blocked, "not reached"),
        (interrupted, "interrupted"),
    ];
    let mut parts =
        vec![if ran == 0 { "no stage ran".into() } else { format!("{} ran", format::count(ran, "stage")) }];
    parts.extend(others.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")));
    parts.join(", ")
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

fn gates(gates: &[GateResult], certain: bool) -> Option<String> {
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
    let (rows, more) = cut(rows, MOST_ROWS, "gate");
    Some(table(&["", "gate", ""].map(str::to_owned), "lll", &rows) + &more)
}

fn results(results: &Table) -> String {
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
    let (rows, more) = cut(rows, MOST_ROWS, "row");
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
    table(&headings, &align, &rows) + &more + &notes
}

fn metrics(brief: &Brief) -> Option<String> {
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
    let (rows, more) = cut(rows, MOST_ROWS, "metric");
    Some(table(&["metric", "", "unit", "based on"].map(str::to_owned), "lrll", &rows) + &more)
}

fn since(since: &Since) -> Option<String> {
    if since.changes.is_empty() && since.numbers.is_empty() {
        return None;
    }
    let name = since.run.as_ref().map_or(since.id.as_str(), |run| run.as_str());
    let mut parts =
        vec![format!("#### Since run {} of {} UTC", code(name), format::date_time(since.started_ms))];
    if !since.changes.is_empty() {
        let rows = since.changes.iter().map(|change| {
            let (old, new) = values(change);
            vec![code(&change.name), code(&old), code(&new)]
        });
        let (rows, more) = cut(rows, MOST_CHANGES, "change");
        parts.push(table(&["changed", "before", "now"].map(str::to_owned), "lll", &rows) + &more);
    }
    if !since.numbers.is_empty() {
        let rows = since.numbers.iter().map(|moved| {
            let mut cells = vec![text(&moved.name)];
            cells.extend(moved.texts.iter().map(|number| text(number)));
            cells.push(if moved.within_intervals == Some(true) { "in both intervals" } else { "" }.into());
            cells
        });
        let (rows, more) = cut(rows, MOST_CHANGES, "number");
        let headings = ["result", "before", "now", "difference", ""].map(str::to_owned);
        parts.push(table(&headings, "lrrrl", &rows) + &more);
    }
    Some(parts.join("\n\n"))
}

/// The first rows, and a line on how many more there are.
fn cut(
    rows: impl ExactSizeIterator<Item = Vec<String>>,
    most: usize,
    noun: &str,
) -> (Vec<Vec<String>>, String) {
    let more = rows.len().saturating_sub(most);
    let rest = if more == 0 {
        String::new()
    } else {
        format!("\n\nand {}", format::count(more, &format!("more {noun}")))
    };
    (rows.take(most).collect(), rest)
}

fn table(headings: &[String], align: &str, rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let rule: Vec<String> = align.chars().map(|c| if c == 'r' { "--:" } else { "---" }.to_owned()).collect();
    let mut lines = vec![line(headings), line(&rule)];
    lines.extend(rows.iter().map(|row| line(row)));
    lines.join("\n")
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
    while let Some(c) = rest.next() {
        if "\\`*_[]<>#|~&!$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
        // `@name`, `#12`, `https://…` and `www.…` would become mentions and links.
        let next = rest.peek().copied().unwrap_or(' ');
        let links = match c {
            '@' => true,
            '#' => next.is_ascii_digit(),
            ':' => next == '/',
            'w' | 'W' => next == '.',
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
