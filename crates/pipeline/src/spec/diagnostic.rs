//! Problems found in `pipeline.yaml`: what, where, and what to do; and how they are printed. Knows no YAML.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use text::printable::{excerpt, excerpt_char, indented};
use text::secret::{MASK, hidden_line, secret_parts_of_line};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Most problems that are looked for: beyond them a file is not worth reading on.
pub(super) const MOST_PROBLEMS: usize = 500;
/// Widest excerpt of a line that is printed, in columns.
const WIDEST: usize = 120;
/// How many problems are printed in full.
const MOST: usize = 50;

/// A place in `pipeline.yaml`, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Location {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// Everything that is wrong, in the order of the file. At least one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong: a lowercase fragment, names in backticks.
    pub message: String,
    /// The file, as named on the command line, or `command line`.
    pub file: String,
    /// Where in the file.
    pub location: Option<Location>,
    /// The text at fault.
    pub snippet: Option<Snippet>,
    /// What to do about it.
    pub help: Vec<String>,
}

/// A line of text with an underlined part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// The line.
    pub line: String,
    /// First underlined character, from 0.
    pub start: usize,
    /// How many characters are underlined.
    pub length: usize,
    /// What is written beside the underline.
    pub label: Option<String>,
}

impl Diagnostics {
    pub(super) fn new(problems: Vec<Diagnostic>) -> Self {
        Self(problems)
    }

    /// The problems.
    #[must_use]
    pub fn problems(&self) -> &[Diagnostic] {
        &self.0
    }

    /// All problems as text, an empty line between them, with ANSI colours where `color`.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let mut blocks: Vec<String> = self.0.iter().take(MOST).map(|problem| problem.render(color)).collect();
        if let Some(more) = self.0.len().checked_sub(MOST).filter(|more| *more > 0) {
            // The search ends at some point: the number would not be the whole truth.
            let all_found = self.0.len() <= MOST_PROBLEMS;
            let others =
                if all_found { more.to_string() } else { format!("more than {}", MOST_PROBLEMS - MOST) };
            blocks.push(format!("… and {others} more\n"));
        }
        blocks.join("\n")
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// ANSI sequences, or nothing.
struct Style {
    error: &'static str,
    bold: &'static str,
    frame: &'static str,
    help: &'static str,
    reset: &'static str,
}

const PLAIN: Style = Style { error: "", bold: "", frame: "", help: "", reset: "" };
const COLORED: Style =
    Style { error: "\x1b[1;31m", bold: "\x1b[1m", frame: "\x1b[34m", help: "\x1b[36m", reset: "\x1b[0m" };

impl Diagnostic {
    /// The problem as text that ends in a newline, with ANSI colours where `color`.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let style = if color { COLORED } else { PLAIN };
        let Style { error, bold, help, reset, .. } = style;
        let message = indented(&self.message, "error: ".len());
        let (mut text, width) = self.frame(style);
        text.insert_str(0, &format!("{error}error{reset}{bold}: {message}{reset}\n"));
        for line in &self.help {
            text +=
                &format!("{:width$}{help}= help:{reset} {}\n", "", indented(line, width + "= help: ".len()));
        }
        text
    }

    /// The problem with its place and the text at fault, for where something else is said before it and what helps is said
    /// behind it.
    #[must_use]
    pub fn framed(&self) -> String {
        format!("{}\n{}", self.message, self.frame(PLAIN).0).trim_end().to_owned()
    }

    /// The problem in a line: where, what, and what to do.
    #[must_use]
    pub fn line(&self) -> String {
        let place = self.place();
        let place = if place.is_empty() { place } else { format!("{}: ", excerpt(&place)) };
        let parts = std::iter::once(&self.message).chain(&self.help);
        format!("{place}{}", parts.map(String::as_str).collect::<Vec<_>>().join("; "))
    }

    /// Place and text, and how wide the column of line numbers is.
    fn frame(&self, style: Style) -> (String, usize) {
        let Style { error, frame, reset, .. } = style;
        let number = self.location.map(|location| location.line.to_string()).unwrap_or_default();
        let width = number.len().max(2);
        let mut text = String::new();
        let place = self.place();
        if !place.is_empty() {
            text += &format!("{:width$}{frame}┌─{reset} {}\n", "", excerpt(&place));
        }
        if let Some(snippet) = &self.snippet {
            let (line, indent, underline) = snippet.cut();
            text += &format!("{frame}{number:>width$}│{reset} {line}\n");
            let label = snippet.label.as_deref().map(|label| format!(" {}", excerpt(label)));
            let carets = "^".repeat(underline);
            text += &format!(
                "{:width$}{frame}│{reset} {:indent$}{error}{carets}{}{reset}\n",
                "",
                "",
                label.unwrap_or_default()
            );
        }
        (text, width)
    }

    /// `file:line:column`, or as much of it as is known.
    #[must_use]
    pub fn place(&self) -> String {
        match self.location {
            Some(Location { line, column }) => format!("{}:{line}:{column}", self.file),
            None => self.file.clone(),
        }
    }
}

impl Snippet {
    /// The line without secrets, and which of its characters are underlined.
    fn hidden(&self) -> (String, Range<usize>) {
        let mut marked = self.start..self.start.saturating_add(self.length);
        for part in secret_parts_of_line(&self.line).into_iter().rev() {
            let count = |range: Range<usize>| self.line.get(range).map_or(0, |text| text.chars().count());
            let (start, length) = (count(0..part.start), count(part));
            let moved = |place: usize| match place {
                before if before <= start => before,
                after if after >= start + length => after - length + MASK.len(),
                within => within.min(start + MASK.len()),
            };
            marked = moved(marked.start)..moved(marked.end);
        }
        (hidden_line(&self.line), marked)
    }

    /// The line as printed, the column where the underline starts, and its width. Long lines are cut on both sides
    /// of it.
    fn cut(&self) -> (String, usize, usize) {
        let (line, marked) = self.hidden();
        let chars: Vec<char> = line.chars().map(excerpt_char).collect();
        let start = marked.start.min(chars.len());
        let mut first = 0;
        if width(&chars) > WIDEST {
            first = start.saturating_sub(WIDEST / 3);
        }
        let mut used = 0;
        let shown: Vec<char> = chars
            .iter()
            .skip(first)
            .take_while(|c| {
                used += c.width().unwrap_or(0);
                used <= WIDEST
            })
            .copied()
            .collect();
        let before: Vec<char> = shown.iter().take(start - first).copied().collect();
        let marked: Vec<char> = shown.iter().skip(start - first).take(marked.len()).copied().collect();
        let (head, tail) =
            (if first > 0 { "…" } else { "" }, if first + shown.len() < chars.len() { "…" } else { "" });
        let line = format!("{head}{}{tail}", shown.into_iter().collect::<String>());
        (line, head.width() + width(&before), width(&marked).max(1))
    }
}

fn width(chars: &[char]) -> usize {
    chars.iter().map(|c| c.width().unwrap_or(0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_and_the_mark_stays_where_it_is() {
        let line = "with: { source: https://me:hunter2@h/x?sig=abc, formt: x }";
        let shown = problem(line, line.find("formt").unwrap(), 5, None).render(false);
        assert!(!shown.contains("hunter2") && !shown.contains("abc"), "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        let marked = lines.iter().position(|line| line.contains('^')).unwrap();
        let column = |line: &str, what: &str| line.find(what).map(|at| line[..at].chars().count());
        assert_eq!(column(lines[marked], "^^^^^"), column(lines[marked - 1], "formt"), "{shown}");
        let url = problem(line, line.find("https").unwrap(), line.find(", formt").unwrap() - 16, None)
            .render(false);
        assert!(
            url.contains(&"^".repeat("https://***@h/x?***".len())) && !url.contains(&"^".repeat(20)),
            "{url}"
        );
    }

    #[test]
    fn secrets_with_blanks_are_not_shown() {
        let line = "      source: https://me:hunter two@h/x?sig=abc def";
        let shown = problem(line, line.find("https").unwrap(), 42, None).render(false);
        snapshots::assert_message!(shown);
    }

    fn problem(line: &str, start: usize, length: usize, label: Option<&str>) -> Diagnostic {
        Diagnostic {
            message: "unknown parameter `lable_smoothing`".into(),
            file: "pipeline.yaml".into(),
            location: Some(Location { line: 34, column: start + 1 }),
            snippet: Some(Snippet { line: line.into(), start, length, label: label.map(Into::into) }),
            help: vec!["did you mean `label_smoothing`?".into()],
        }
    }

    #[test]
    fn a_problem_shows_place_text_and_remedy() {
        let problem = problem("      lable_smoothing: 0.1", 6, 15, Some("torch/train has no such parameter"));
        assert_eq!(
            problem.render(false),
            "error: unknown parameter `lable_smoothing`
  ┌─ pipeline.yaml:34:7
34│       lable_smoothing: 0.1
  │       ^^^^^^^^^^^^^^^ torch/train has no such parameter
  = help: did you mean `label_smoothing`?
"
        );
    }

    #[test]
    fn colour_adds_escapes_and_nothing_else() {
        let problem = problem("  a: 1", 2, 1, None);
        let colored = problem.render(true);
        snapshots::assert_message!(colored);
        let mut plain = colored;
        for code in [COLORED.error, COLORED.bold, COLORED.frame, COLORED.help, COLORED.reset] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, problem.render(false));
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let line = format!("{}HERE{}", "a".repeat(500), "b".repeat(500));
        let text = problem(&line, 500, 4, None).render(false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[2].chars().count() < 130);
        let at = lines[2].chars().position(|c| c == 'H');
        assert_eq!(lines[3].chars().position(|c| c == '^'), at);
        snapshots::assert_message!(lines[3]);
    }

    #[test]
    fn wide_characters_are_underlined_whole() {
        let text = problem("  名前: x", 2, 2, None).render(false);
        snapshots::assert_message!(text);
    }

    #[test]
    fn escape_sequences_of_the_file_do_not_reach_the_terminal() {
        let mut problem = problem("a\x1b[2Jb\u{202e}", 0, 9, Some("\x07"));
        problem.message = "unknown `\x1b]0;x`".into();
        assert!(!problem.render(false).contains(['\x1b', '\x07', '\u{202e}']));
    }

    #[test]
    fn what_takes_several_lines_stands_on_several() {
        let mut problem = problem("a", 0, 1, None);
        problem.message = "plugin `x` failed; the end of its standard error:\n    line\u{1b}[31m one".into();
        problem.help = vec!["first\nsecond".into()];
        let text = problem.render(false);
        snapshots::assert_message!(text);
    }

    #[test]
    fn a_problem_without_a_place_is_a_message_and_help() {
        let problem = Diagnostic {
            message: "cannot read `p.yaml`".into(),
            file: String::new(),
            location: None,
            snippet: None,
            help: vec!["`pipe init` writes one".into()],
        };
        assert_eq!(problem.render(false), "error: cannot read `p.yaml`\n  = help: `pipe init` writes one\n");
    }

    #[test]
    fn a_flood_is_counted() {
        let all = Diagnostics::new(vec![problem("a", 0, 1, None); MOST + 7]);
        snapshots::assert_message!(all.to_string());
    }
}
