//! YAML values that remember where they stand. Knows positions and kinds; knows no keys of `pipeline.yaml`.

use serde_json::Value;

use super::Location;
use super::diagnostic::{Diagnostic, Diagnostics, Snippet};

/// Which text a span is in: 0 is the file, n the n-th `--set`.
pub(super) type Origin = usize;

/// A part of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Span {
    pub(super) origin: Origin,
    pub(super) start: Location,
    /// In characters; what goes beyond the first line is not counted.
    pub(super) length: usize,
}

/// A YAML value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) span: Span,
    /// For a value that stands in a var: where the stage, gate or other var names it.
    pub(super) used_at: Option<Span>,
    pub(super) data: Data,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
    /// Something that is wrong and has been told: whoever meets it says nothing more.
    Broken,
}

/// The key of an entry of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) span: Span,
}

impl Node {
    pub(super) fn new(span: Span, data: Data) -> Self {
        Self { span, used_at: None, data }
    }

    /// A node without content at the same place.
    pub(super) fn clone_place(&self) -> Self {
        Self { span: self.span, used_at: self.used_at, data: Data::Null }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Data::Text(text) = &self.data { Some(text) } else { None }
    }

    pub(super) fn entries(&self) -> Option<&[(Key, Node)]> {
        if let Data::Map(entries) = &self.data { Some(entries) } else { None }
    }

    pub(super) fn items(&self) -> Option<&[Node]> {
        if let Data::List(items) = &self.data { Some(items) } else { None }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.data == Data::Broken
    }

    /// The value of `key` in a map.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?.iter().find(|(name, _)| name.name == key).map(|(_, node)| node)
    }

    /// What it is, for a sentence: `a map`, `the text `abc``.
    pub(super) fn describe(&self) -> String {
        match &self.data {
            Data::Null | Data::Broken => "nothing".into(),
            Data::Bool(value) => value.to_string(),
            Data::Number(value) => value.to_string(),
            Data::Text(text) => format!("the text `{}`", shortened(text)),
            Data::List(_) => "a list".into(),
            Data::Map(_) => "a map".into(),
        }
    }

    /// A text, a number or a boolean as it stands within a text.
    pub(super) fn scalar_text(&self) -> Option<String> {
        match &self.data {
            Data::Text(text) => Some(text.clone()),
            Data::Number(number) => Some(number.to_string()),
            Data::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }

    /// The value as JSON. A number without a fraction becomes an integer, so that `1`, `1.0` and `1e0` are one.
    pub(super) fn to_json(&self) -> Value {
        match &self.data {
            Data::Null | Data::Broken => Value::Null,
            Data::Bool(value) => Value::Bool(*value),
            Data::Number(number) => Value::Number(canonical(number)),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Data::Map(entries) => {
                Value::Object(entries.iter().map(|(key, node)| (key.name.clone(), node.to_json())).collect())
            }
        }
    }

    /// Levels of lists and maps in it.
    pub(super) fn depth(&self) -> usize {
        match &self.data {
            Data::List(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Data::Map(entries) => 1 + entries.iter().map(|(_, node)| node.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// About how many bytes it takes in memory.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>()
            + match &self.data {
                Data::Text(text) => text.len(),
                Data::List(items) => items.iter().map(Node::size).sum(),
                Data::Map(entries) => entries.iter().map(|(key, node)| key.name.len() + node.size()).sum(),
                _ => 0,
            }
    }
}

/// JSON with every number in the form that [`Node::to_json`] gives it.
pub(super) fn canonical_json(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(canonical(number)),
        Value::Array(items) => Value::Array(items.iter().map(canonical_json).collect()),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), canonical_json(value))).collect())
        }
        other => other.clone(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only values that are exact are kept")]
fn canonical(number: &serde_json::Number) -> serde_json::Number {
    // Beyond 2^53 neighbouring integers share a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(value) if number.is_f64() && value.fract() == 0.0 && value.abs() <= EXACT => {
            (value as i64).into()
        }
        _ => number.clone(),
    }
}

/// The first characters of a text that may be long.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST {
        return text.into();
    }
    text.chars().take(MOST).chain(['…']).collect()
}

/// A problem before its place is turned into a line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) span: Option<Span>,
    pub(super) message: String,
    pub(super) label: Option<String>,
    pub(super) help: Vec<String>,
}

impl Problem {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span: Some(span), message: message.into(), label: None, help: Vec::new() }
    }

    /// At the value of `node`; where that stands in a var, the place that names the var is told too.
    pub(super) fn at(node: &Node, message: impl Into<String>) -> Self {
        let mut problem = Self::new(node.span, message);
        if let Some(used) = node.used_at.filter(|used| used.origin == 0) {
            problem.help.push(format!("used at line {}, column {}", used.start.line, used.start.column));
        }
        problem
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    pub(super) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help.extend(help);
        self
    }
}

/// Lines as YAML counts them: a carriage return ends one even where no line feed follows.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('\r'))
}

/// The texts that spans point into.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources(Vec<Source>);

#[derive(Debug, Clone)]
struct Source {
    name: String,
    text: String,
    /// Byte at which each line starts.
    lines: Vec<usize>,
    /// Whether every character is a byte.
    is_ascii: bool,
    /// Whether line and column mean something to people.
    is_file: bool,
}

impl Source {
    fn new(name: String, text: String, is_file: bool) -> Self {
        let ends = text.match_indices(['\n', '\r']).map(|(at, _)| at + 1);
        let is_end = |at: &usize| !text.get(at - 1..).is_some_and(|rest| rest.starts_with("\r\n"));
        let lines = std::iter::once(0).chain(ends.filter(is_end)).collect();
        Self { is_ascii: text.is_ascii(), name, text, lines, is_file }
    }

    /// The text from `place` on.
    fn from(&self, place: Location) -> Option<&str> {
        let line = self.text.get(*self.lines.get(place.line.checked_sub(1)?)?..)?;
        let skip = place.column.saturating_sub(1);
        // A file may be one line of many megabytes.
        if self.is_ascii {
            line.get(skip..)
        } else {
            line.char_indices().nth(skip).and_then(|(at, _)| line.get(at..))
        }
    }

    /// A line, where it is long no more than what surrounds `start` (in characters), and how much of it is left out.
    fn line(&self, line: usize, start: usize) -> Option<(String, usize)> {
        /// How many characters around a place are kept: more than are ever printed.
        const AROUND: usize = 1_000;
        let line =
            self.text.get(*self.lines.get(line.checked_sub(1)?)?..).and_then(|rest| lines(rest).next())?;
        let left_out = start.saturating_sub(AROUND);
        Some((line.chars().skip(left_out).take(2 * AROUND).collect(), left_out))
    }
}

impl Sources {
    pub(super) fn new(file: String, text: String) -> Self {
        Self(vec![Source::new(file, text, true)])
    }

    /// Adds an argument of the command line.
    pub(super) fn add_argument(&mut self, text: String) -> Origin {
        self.0.push(Source::new("command line".into(), text, false));
        self.0.len() - 1
    }

    /// The place of `needle`, where it is no part of a longer name if it is anywhere, within the text that starts at `span`, or `span` itself where it is written otherwise.
    pub(super) fn find(&self, span: Span, needle: &str) -> Span {
        /// How many bytes are searched: a needle that is written otherwise may not be there.
        const MOST: usize = 16 << 10;
        let source = self.0.get(span.origin);
        let Some(rest) = source.and_then(|source| source.from(span.start)) else { return span };
        let most = (0..=MOST.min(rest.len())).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(0);
        let Some(before) = rest.get(..most).and_then(|rest| rest.get(..find_word(rest, needle)?)) else {
            return span;
        };
        let before = before.replace("\r\n", "\n");
        let (lines, last) = before.split(['\n', '\r']).enumerate().last().unwrap_or_default();
        let width = last.chars().count();
        let start = match lines {
            0 => Location { line: span.start.line, column: span.start.column + width },
            lines => Location { line: span.start.line + lines, column: width + 1 },
        };
        Span { origin: span.origin, start, length: needle.chars().count() }
    }

    /// Problems with their places, in the order of the file, each once.
    pub(super) fn diagnose(&self, mut problems: Vec<Problem>) -> Diagnostics {
        problems.sort_by(|a, b| a.span.cmp(&b.span).then_with(|| a.message.cmp(&b.message)));
        problems.dedup();
        Diagnostics::new(problems.into_iter().map(|problem| self.diagnostic(problem)).collect())
    }

    /// A problem with its place.
    pub(super) fn diagnostic(&self, problem: Problem) -> Diagnostic {
        let Problem { span, message, label, help } = problem;
        let source = self.0.get(span.map_or(0, |span| span.origin));
        let file = source.map(|source| source.name.clone()).unwrap_or_default();
        let is_file = source.is_some_and(|source| source.is_file);
        let snippet = span.and_then(|span| {
            let start = span.start.column.saturating_sub(1);
            let (line, left_out) = source?.line(span.start.line, start)?;
            Some(Snippet { line, start: start - left_out, length: span.length.max(1), label })
        });
        let location = span.filter(|_| is_file).map(|span| span.start);
        Diagnostic { message, file, location, snippet, help }
    }
}

/// Where `needle` is in a text: the first time that it is no part of a longer name, or else the first time.
fn find_word(text: &str, needle: &str) -> Option<usize> {
    let goes_on = |other: Option<char>, end: Option<char>| {
        let is_of_name = |it: char| it.is_alphanumeric() || matches!(it, '_' | '-' | '.');
        other.is_some_and(is_of_name) && end.is_some_and(char::is_alphanumeric)
    };
    let is_whole = |(at, found): &(usize, &str)| {
        let before = text.get(..*at).and_then(|before| before.chars().next_back());
        let after = text.get(at + found.len()..).and_then(|after| after.chars().next());
        !goes_on(before, needle.chars().next()) && !goes_on(after, needle.chars().next_back())
    };
    let whole = text.match_indices(needle).find(is_whole).map(|(at, _)| at);
    whole.or_else(|| text.find(needle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_have_one_form() {
        let wide = json!([1, 1.0, -0.0, 0.5, 1e3, 18_446_744_073_709_551_615_u64, 1e300]);
        assert_eq!(canonical_json(&wide).to_string(), "[1,1,0,0.5,1000,18446744073709551615,1e+300]");
    }

    #[test]
    fn a_place_within_a_text_is_found_on_any_line() {
        let sources = Sources::new("f".into(), "a: é ${x}\nb: |\n  one\n  two ${x}\n".into());
        let at = |line, column| Span { origin: 0, start: Location { line, column }, length: 1 };
        let found = |from| sources.find(from, "${x}").start;
        assert_eq!(found(at(1, 4)), Location { line: 1, column: 6 });
        assert_eq!(found(at(3, 3)), Location { line: 4, column: 7 });
        assert_eq!(sources.find(at(2, 1), "é"), at(2, 1));
        assert_eq!(sources.find(at(9, 1), "x"), at(9, 1));
    }

    #[test]
    fn a_name_is_not_found_within_a_longer_one() {
        assert_eq!(find_word("a.size < b.size_kb + a.size_kb", "a.size_kb"), Some(21));
        assert_eq!(find_word("a.b.sizes < baseline.a.b.size", "b.size"), Some(2), "nowhere by itself");
        assert_eq!(find_word("a.bytes < a.byte", "a.byte"), Some(10));
        assert_eq!(find_word("aa.x < a.x", "a."), Some(7));
        assert_eq!(find_word("a.x", "b"), None);
    }

    #[test]
    fn of_a_long_line_only_what_surrounds_a_place_is_kept() {
        let line = format!("{}HERE{}", "a".repeat(50_000), "b".repeat(50_000));
        let at = Span { origin: 0, start: Location { line: 1, column: 50_001 }, length: 4 };
        let found = Sources::new("f".into(), line).diagnose(vec![Problem::new(at, "wrong")]);
        let snippet = found.problems()[0].snippet.clone().unwrap();
        assert!(snippet.line.len() < 3_000);
        snapshots::assert_message!(snippet.line[snippet.start..]);
        assert_eq!(found.problems()[0].location, Some(Location { line: 1, column: 50_001 }));
    }

    #[test]
    fn problems_come_in_the_order_of_the_file_and_once() {
        let at = |line, column| Span { origin: 0, start: Location { line, column }, length: 1 };
        let sources = Sources::new("f".into(), "ab\ncd\n".into());
        let found = sources.diagnose(vec![
            Problem::new(at(2, 1), "second"),
            Problem::new(at(1, 2), "first"),
            Problem::new(at(2, 1), "second"),
        ]);
        let messages: Vec<&str> = found.problems().iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(messages, ["first", "second"]);
    }
}
