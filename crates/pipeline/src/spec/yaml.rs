//! YAML text to a tree with positions. The only user of the YAML parser; knows its limits and how to word its errors,
//! and no keys of `pipeline.yaml`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Error, MessageFormatter, Options, Spanned, UserMessageFormatter};

use super::Location;
use super::tree::{Data, Key, Node, Origin, Problem, Span, lines};

/// Largest text that is read, in bytes: 300,000 stages of a few lines each.
pub(super) const LARGEST: usize = 64 << 20;
/// Deepest nesting of lists and maps.
pub(super) const DEEPEST: usize = 64;
/// Stack of the thread that parses, in bytes: unoptimised, a level of nesting takes some 50 KB.
const STACK: usize = 16 << 20;
/// Most values, keys included.
const MOST_VALUES: usize = 4_000_000;
/// Most values that aliases and merges may add. A short text can name many.
const MOST_REPLAYED: usize = 50_000;

/// Reads one document. `shift` is how many characters of the first line stand before `text`.
pub(super) fn read(text: &str, origin: Origin, shift: usize) -> Result<Node, Problem> {
    if text.len() > LARGEST {
        let message = format!("larger than {} MB", LARGEST >> 20);
        return Err(Problem { span: None, message, label: None, help: Vec::new() });
    }
    let widths = lines(text).map(|line| line.trim_end().chars().count()).collect();
    let context = Context { text, widths, origin, shift };
    if let Some(at) = text.find('\0') {
        return Err(Problem::new(context.at_byte(at), "holds a NUL character"));
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || context.parse());
        thread.map_err(drop).and_then(|thread| thread.join().map_err(drop)).unwrap_or_else(|()| {
            let message = "the YAML parser failed on this text".into();
            Err(Problem { span: None, message, label: None, help: Vec::new() })
        })
    })
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 4 * MOST_VALUES,
            max_nodes: MOST_VALUES,
            max_depth: DEEPEST,
            max_documents: 4,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 1_000,
            max_recorded_anchor_events: MOST_REPLAYED,
            max_total_scalar_bytes: 4 * LARGEST,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MOST_REPLAYED,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Merge,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// Spans as serde hands them over: [`Context::place`] sets what the text around them decides.
impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, .. } = Spanned::<Data>::deserialize(deserializer)?;
        Ok(Self::new(unplaced(&defined), value))
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, .. } = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self { name: value, span: unplaced(&defined) })
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

fn unplaced(location: &serde_saphyr::Location) -> Span {
    let line = usize::try_from(location.line()).unwrap_or(0).max(1);
    let column = usize::try_from(location.column()).unwrap_or(0).max(1);
    let length = usize::try_from(location.span().len()).unwrap_or(0);
    Span { origin: 0, start: Location { line, column }, length }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_none<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Data, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Data, E> {
        Ok(Data::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Data, E> {
        Ok(Data::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Data, E> {
        Ok(Data::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Data, E> {
        serde_json::Number::from_f64(value)
            .map(Data::Number)
            .ok_or_else(|| E::custom("the number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Data, E> {
        Ok(Data::Text(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Data, E> {
        Ok(Data::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Data, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Data::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Data, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Data::Map(map))
    }
}

struct Context<'a> {
    text: &'a str,
    /// Characters of each line, without what is blank at its end.
    widths: Vec<usize>,
    origin: Origin,
    shift: usize,
}

impl Context<'_> {
    fn parse(&self) -> Result<Node, Problem> {
        match serde_saphyr::from_str_with_options::<Node>(self.text, options()) {
            Ok(mut node) => {
                self.place_all(&mut node);
                Ok(node)
            }
            Err(error) => Err(self.problem(&error)),
        }
    }

    fn place_all(&self, node: &mut Node) {
        self.place(&mut node.span);
        match &mut node.data {
            Data::List(items) => items.iter_mut().for_each(|item| self.place_all(item)),
            Data::Map(entries) => {
                for (key, value) in entries {
                    self.place(&mut key.span);
                    self.place_all(value);
                }
            }
            _ => {}
        }
    }

    /// Ends a span at the end of its line, and counts columns from the start of what people see.
    fn place(&self, span: &mut Span) {
        let Location { line, column } = span.start;
        let width = self.widths.get(line - 1).copied().unwrap_or(0);
        span.origin = self.origin;
        span.length = span.length.min((width + 1).saturating_sub(column)).max(1);
        if line == 1 {
            span.start.column += self.shift;
        }
    }

    fn at_byte(&self, byte: usize) -> Span {
        let before = self.text.get(..byte).unwrap_or_default().replace("\r\n", "\n").replace('\r', "\n");
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
        let column = if line == 1 { column + self.shift } else { column };
        Span { origin: self.origin, start: Location { line, column }, length: 1 }
    }

    fn problem(&self, error: &Error) -> Problem {
        let error = error.without_snippet();
        let (error, location) = match error {
            Error::AliasError { error: inner, .. } => (inner.without_snippet(), error.location()),
            error => (error, error.location()),
        };
        let (message, help) = describe(error);
        let span = location.map(|location| {
            let mut span = unplaced(&location);
            self.place(&mut span);
            span
        });
        Problem { span, message, label: None, help: help.into_iter().map(Into::into).collect() }
    }
}

/// What went wrong and what to do, in the words of this program where there is something to add.
fn describe(error: &Error) -> (String, Option<&'static str>) {
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            (format!("key `{key}` is given twice"), Some("remove one of the two"))
        }
        Error::DuplicateMappingKey { key: None, .. } => {
            ("a key is given twice".into(), Some("remove one of the two"))
        }
        Error::MultipleDocuments { .. } => {
            ("a second YAML document starts here".into(), Some("a pipeline is one document: remove `---`"))
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => too_much(),
        Error::Unexpected { expected: "string scalar", .. } | Error::NullIntoString { .. } => {
            ("a key must be a text".into(), None)
        }
        Error::NonFiniteFloat { value, .. } => {
            (format!("`{value}` is not a finite number"), Some("quote it if a text is meant"))
        }
        other => {
            let message = UserMessageFormatter.format_message(other);
            if message == "recursion limit exceeded" {
                return too_much();
            }
            (lowercase_start(message.trim_end_matches('.')), None)
        }
    }
}

fn too_much() -> (String, Option<&'static str>) {
    let help = "at most 64 levels and 4,000,000 values, 50,000 of them by aliases";
    ("too large, too deep or too many aliases for a pipeline".into(), Some(help))
}

fn lowercase_start(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(node: &Node, depth: usize, out: &mut String) {
        let Span { start, length, .. } = node.span;
        let place = format!("{}:{}+{length}", start.line, start.column);
        match &node.data {
            Data::List(items) => {
                *out += &format!("{place} list\n");
                for item in items {
                    *out += &"  ".repeat(depth + 1);
                    show(item, depth + 1, out);
                }
            }
            Data::Map(entries) => {
                *out += &format!("{place} map\n");
                for (key, value) in entries {
                    let Span { start, length, .. } = key.span;
                    *out += &format!(
                        "{}{} {}:{}+{length} = ",
                        "  ".repeat(depth + 1),
                        key.name,
                        start.line,
                        start.column
                    );
                    show(value, depth + 1, out);
                }
            }
            scalar => *out += &format!("{place} {scalar:?}\n"),
        }
    }

    fn places(text: &str) -> String {
        let mut out = String::new();
        show(&read(text, 0, 0).unwrap(), 0, &mut out);
        out
    }

    #[test]
    fn every_value_and_key_has_its_place() {
        let text = "a: 5\n'b c': \"x\\ty\" # c\nc:\n  - 1.5\n  - [é, {k: v}]\nd: |\n  text\n  more\ne:\n";
        assert_eq!(
            places(text),
            "\
1:1+1 map
  a 1:1+1 = 1:4+1 Number(Number(5))
  b c 2:1+5 = 2:8+6 Text(\"x\\ty\")
  c 3:1+1 = 4:3+1 list
    4:5+3 Number(Number(1.5))
    5:5+1 list
      5:6+1 Text(\"é\")
      5:9+1 map
        k 5:10+1 = 5:13+1 Text(\"v\")
  d 6:1+1 = 7:3+4 Text(\"text\\nmore\\n\")
  e 9:1+1 = 9:2+1 Null
"
        );
    }

    #[test]
    fn what_an_alias_or_a_merge_brings_stands_where_it_is_written() {
        assert_eq!(
            places("a: &x {q: 1}\nb: *x\nc: {<<: *x, s: 2}\n"),
            "\
1:1+1 map
  a 1:1+1 = 1:7+1 map
    q 1:8+1 = 1:11+1 Number(Number(1))
  b 2:1+1 = 1:7+1 map
    q 1:8+1 = 1:11+1 Number(Number(1))
  c 3:1+1 = 3:4+1 map
    s 3:13+1 = 3:16+1 Number(Number(2))
    q 1:8+1 = 1:11+1 Number(Number(1))
"
        );
    }

    #[test]
    fn kinds_are_those_of_yaml_1_2() {
        for text in ["yes", "no", "on", "0755", "1_0", "0x", "1.2.3", "2026-11-23", "''", "!!str 5", "~x"] {
            assert!(matches!(read(text, 0, 0).unwrap().data, Data::Text(_)), "{text}");
        }
        for text in ["1", "-1", "0x1f", "1e3", ".5", "1.", "18446744073709551615", "99999999999999999999"] {
            assert!(matches!(read(text, 0, 0).unwrap().data, Data::Number(_)), "{text}");
        }
        assert_eq!(read("True", 0, 0).unwrap().data, Data::Bool(true));
        assert_eq!(read("~", 0, 0).unwrap().data, Data::Null);
        assert_eq!(read("# nothing", 0, 0).unwrap().data, Data::Null);
    }

    #[test]
    fn what_is_not_yaml_is_placed_and_worded() {
        for (text, line, column, message) in [
            ("a: 1\na: 2", 2, 1, "key `a` is given twice"),
            ("1: 2\n0x1: 3", 2, 1, "key `0x1` is given twice"),
            ("a: 1\n---\nb: 2", 3, 1, "a second YAML document starts here"),
            ("a: [1, 2", 1, 4, "unclosed bracket '['"),
            ("a: *x", 1, 4, "reference to unknown value"),
            ("a: &a [*a]", 1, 8, "recursive reference not allowed here"),
            ("a: .nan", 1, 4, "`.nan` is not a finite number"),
            ("a: 1e999", 1, 4, "`1e999` is not a finite number"),
            ("? [a, b]\n: 1", 1, 3, "a key must be a text"),
            ("~: 1", 1, 1, "a key must be a text"),
            ("a: !foo 3", 1, 9, "unsupported tag `!foo`"),
            ("a: b: c", 1, 5, "mapping values are not allowed in this context"),
            ("a: 'x", 1, 4, "unclosed quote"),
            ("a: 1\nb: \0", 2, 4, "holds a NUL character"),
        ] {
            let problem = read(text, 0, 0).unwrap_err();
            assert_eq!(problem.message, message);
            assert_eq!(problem.span.unwrap().start, Location { line, column }, "{text}");
        }
    }

    #[test]
    fn the_first_line_is_shifted() {
        let problem = read("[1", 3, 10).unwrap_err();
        assert_eq!(problem.span.unwrap().start, Location { line: 1, column: 11 });
        assert_eq!(problem.span.unwrap().origin, 3);
    }
}
