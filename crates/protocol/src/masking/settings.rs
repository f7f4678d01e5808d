//! Passwords and keys in connection strings (`Server=h;Password=…`, `AccountKey=…`).

use std::ops::Range;

use super::ahead::Ahead;
use super::{MASK, is_reference};

/// Names of settings whose values are secret wherever they stand, in lowercase.
const KEYS: [&str; 4] = ["accountkey", "sharedaccesskey", "sharedaccesssignature", "sharedsecretvalue"];

/// Names of settings whose values are secret beside other settings.
const PASSWORDS: [&str; 4] = ["password", "pwd", "clientsecret", "client secret"];

/// What stands beside a password where blanks are between settings, as libpq has them.
const BESIDE: [&str; 7] = ["host", "hostaddr", "port", "dbname", "user", "sslmode", "server"];

/// More bytes than this before a setting are not looked at.
const LOOK_BACK: usize = 64;

/// Values of settings that are secret.
pub(super) fn settings(text: &str) -> Vec<Range<usize>> {
    let mut values = Values::new(text);
    let mut parts: Vec<Range<usize>> = Vec::new();
    for (at, _) in text.match_indices('=') {
        if parts.last().is_some_and(|last| at < last.end) {
            continue;
        }
        let Some((before, is_key)) = setting_before(text.get(..at).unwrap_or_default()) else { continue };
        let mut value = values.at(at + 1);
        let shown = text.get(value.clone()).unwrap_or_default();
        if shown.trim().is_empty()
            || shown.starts_with(MASK)
            || is_reference(shown)
            || shown.starts_with("$(")
            || shown.starts_with('`')
        {
            continue;
        }
        let behind = text.get(value.end..).unwrap_or_default().trim_start_matches(['"', '\'', '}', '\\']);
        if is_key || before.ends_with(';') || behind.starts_with(';') {
            parts.push(value);
            continue;
        }
        // Between blanks, a value ends at the next one, unless it is in quotes.
        let is_quoted = text.get(at + 1..value.start).is_some_and(|before| before.ends_with(['"', '\'']));
        if !is_quoted {
            value.end = values.blanks.at(value.start).map_or(value.end, |blank| blank.min(value.end));
        }
        let behind = text.get(value.end..).unwrap_or_default().trim_start_matches(['"', '\'']);
        let last = before.rsplit(|c: char| c.is_whitespace()).next().unwrap_or_default();
        if is_beside(last) || is_beside(behind.trim_start_matches(' ')) {
            parts.push(value);
        }
    }
    parts
}

/// What stands before the name of a secret setting at the end of a text, without blanks behind it, and whether that name is enough.
fn setting_before(text: &str) -> Option<(&str, bool)> {
    let start = (text.len().saturating_sub(LOOK_BACK)..=text.len()).find(|at| text.is_char_boundary(*at))?;
    let near = text.get(start..)?;
    let name_end = near.trim_end_matches(' ');
    let lower = name_end.to_ascii_lowercase();
    let of =
        |names: &[&str]| names.iter().filter(|name| lower.ends_with(**name)).map(|name| name.len()).max();
    let (length, is_key) = match of(&KEYS) {
        Some(length) => (length, true),
        None => (of(&PASSWORDS)?, false),
    };
    let before = name_end.get(..name_end.len() - length)?;
    let is_whole = !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$'));
    is_whole.then(|| (before.trim_end_matches(' '), is_key))
}

/// Finds where values of settings end, first to last.
struct Values<'t> {
    text: &'t str,
    ends: Ahead<'t>,
    blanks: Ahead<'t>,
    line_ends: Ahead<'t>,
    /// What a value may be put in, with where the next one closes.
    closings: [(char, Ahead<'t>); 3],
    /// The first that may be around the whole of it, or another line.
    first_around: Option<usize>,
    has_several: bool,
}

impl<'t> Values<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            ends: Ahead::new(text, end_of_setting),
            blanks: Ahead::new(text, |text| text.find(char::is_whitespace)),
            line_ends: Ahead::new(text, |text| text.find(['\n', '\r'])),
            closings: [
                ('"', Ahead::new(text, |text| text.find('"'))),
                ('\'', Ahead::new(text, |text| text.find('\''))),
                ('{', Ahead::new(text, |text| text.find('}'))),
            ],
            first_around: text.find(['"', '\'', '\n']),
            has_several: text.contains(';'),
        }
    }

    /// The value that begins at `start`: within its quotes, or up to the next setting, quote or end of line; where no setting
    /// follows, up to a blank.
    fn at(&mut self, start: usize) -> Range<usize> {
        let rest = self.text.get(start..).unwrap_or_default();
        let start = start + rest.len() - rest.trim_start_matches(' ').len();
        let rest = self.text.get(start..).unwrap_or_default();
        if let Some((open, closing)) = self.closings.iter_mut().find(|(open, _)| rest.starts_with(*open)) {
            let inner = start + open.len_utf8();
            let line_end = self.line_ends.at(inner);
            if let Some(end) = closing.at(inner).filter(|end| line_end.is_none_or(|line| *end < line)) {
                return inner..end;
            }
        }
        let end = self.ends.at(start).unwrap_or(self.text.len());
        let behind = self.text.get(end..).unwrap_or_default();
        let goes_on = match behind.strip_prefix(';') {
            Some(behind) => is_setting_or_end(behind),
            None => {
                let is_whole = self.first_around.is_none_or(|at| at >= start);
                behind.is_empty() && is_whole && self.has_several
            }
        };
        let blank = self.blanks.at(start).filter(|blank| *blank < end && !goes_on);
        start..blank.unwrap_or(end)
    }
}

/// Whether what stands behind a `;` is another setting, or nothing more of it.
fn is_setting_or_end(behind: &str) -> bool {
    let behind = behind.trim_start_matches(' ');
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ' ';
    let mut after = behind.chars().take(LOOK_BACK).skip_while(|c| is_name(*c));
    behind.is_empty()
        || behind.starts_with(['"', '\'', '\\', '\n', '\r'])
        || (!behind.starts_with('=') && after.next() == Some('='))
}

/// What ends the value of a setting: the next one, the end of the line, or a quote that is no part of a word.
fn end_of_setting(text: &str) -> Option<usize> {
    let is_outside = |c: Option<char>| {
        c.is_none_or(|c| {
            c.is_whitespace()
                || matches!(c, ',' | ';' | ':' | '.' | ')' | ']' | '}' | '<' | '>' | '\\' | '"' | '\'')
        })
    };
    text.char_indices().find_map(|(at, c)| {
        let behind = || text.get(at + c.len_utf8()..).and_then(|rest| rest.chars().next());
        let ends = match c {
            ';' => true,
            '\\' => matches!(behind(), Some('"' | '\'' | 'n' | 'r')),
            '"' | '\'' | '`' => is_outside(behind()),
            c => c.is_control(),
        };
        ends.then_some(at)
    })
}

/// Whether a text begins with a setting that stands beside passwords.
fn is_beside(text: &str) -> bool {
    let text = text.trim_start_matches(['"', '\'']);
    BESIDE.iter().any(|beside| {
        let name = text.get(..beside.len()).filter(|name| name.eq_ignore_ascii_case(beside));
        name.is_some() && text.get(beside.len()..).is_some_and(|behind| behind.starts_with('='))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{hidden, secrets};

    #[test]
    fn passwords_of_connection_strings_are_hidden() {
        for (text, shown) in [
            (
                "Server=h;Database=d;User Id=me;Password=s3 cret;Encrypt=yes",
                "Server=h;Database=d;User Id=me;Password=***;Encrypt=yes",
            ),
            ("Server=h;PWD=p'w", "Server=h;PWD=***"),
            ("Server=h; Pwd = 'a;b'; x=1", "Server=h; Pwd = '***'; x=1"),
            ("DRIVER={x};Pwd={a;b};x=1", "DRIVER={x};Pwd={***};x=1"),
            ("Password='a;b';Server=h", "Password='***';Server=h"),
            ("Password=pw;Server=h", "Password=***;Server=h"),
            ("load --from \"Server=h;Password=pw\" now", "load --from \"Server=h;Password=***\" now"),
            (r#"{"c":"Server=h;Password=pw","n":1}"#, r#"{"c":"Server=h;Password=***","n":1}"#),
            (r#"{\"c\":\"Server=h;Password=pw\"}"#, r#"{\"c\":\"Server=h;Password=***\"}"#),
            ("cannot open Server=h;Password=pw at once", "cannot open Server=h;Password=***"),
            (
                "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=aB3/+x==;EndpointSuffix=core",
                "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=***;EndpointSuffix=core",
            ),
            ("AccountKey=aB3/+x==", "AccountKey=***"),
            (
                "Endpoint=sb://h/;SharedAccessKeyName=root;SharedAccessKey=k3y=",
                "Endpoint=sb://h/;SharedAccessKeyName=root;SharedAccessKey=***",
            ),
            ("psql \"host=h user=me password=pw dbname=d\"", "psql \"host=h user=me password=*** dbname=d\""),
            ("psql \"host=h password='s3 cret' dbname=d\"", "psql \"host=h password='***' dbname=d\""),
            ("user=me password='s3 cret'", "user=me password='***'"),
            // None, or what a shell puts in.
            ("Server=h;Password=;x=1", "Server=h;Password=;x=1"),
            ("Server=h;Password=$PW;x=1", "Server=h;Password=$PW;x=1"),
            ("Server=h;Password=${PW}", "Server=h;Password=${PW}"),
            ("password=1", "password=1"),
            ("./make --password=x --quiet", "./make --password=x --quiet"),
            ("a;my_password=1", "a;my_password=1"),
            ("SharedAccessKeyName=root", "SharedAccessKeyName=root"),
            ("cd x; pwd=`pwd`; password=$(cat p); y", "cd x; pwd=`pwd`; password=$(cat p); y"),
        ] {
            assert_eq!(hidden(text), shown, "{text}");
            assert_eq!(hidden(&hidden(text)), hidden(text), "what is hidden stays as it is: {text}");
        }
        assert!(secrets("Server=h;Password=pw1;x=2").contains(&"pw1".to_owned()));
    }

    /// Each takes minutes where every place is looked at up to the end of the line.
    #[test]
    fn a_line_of_many_is_read_once() {
        for text in ["AccountKey=", "AccountKey=a ", ";password=", ";password=a ", "password=\"", ";pwd={"] {
            let line = text.repeat(400_000 / text.len());
            assert!(!hidden(&line).is_empty());
        }
    }
}
