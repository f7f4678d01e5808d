//! The forms in which programs print a value: as it is, each line by itself, percent-encoded by the rules of several languages,
//! quoted for JSON, Python, HTML and the shell, and in Base64 wherever it begins and wherever lines are broken. Knows texts;
//! decides on nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// What is shorter would be found in half of all words.
pub(super) const SHORTEST: usize = 4;

/// Base64 that is shorter is like any other word.
const SHORTEST_BASE64: usize = 8;

/// Longest value of which parts of its Base64 are looked for, in bytes.
const MOST_IN_PARTS: usize = 16 << 10;

/// What is left as it is by whatever encodes for URLs, beside letters and digits: all of RFC 3986's unreserved characters;
/// also `/`, as Python's `quote`; the characters of JavaScript's `encodeURIComponent`, and of `encodeURI`.
const KEPT_IN_URLS: [&str; 4] = ["-_.~", "-_.~/", "-_.~!*'()", "-_.~/:@!$&'()*+,;="];

/// Digits of Base64 that are a form by themselves where a value is long.
#[derive(Debug, Clone, Copy)]
pub(super) enum Parts {
    /// 8 digits, for what is hidden: a word too much costs nothing.
    Small,
    /// 32 digits, where what is found is an error.
    Large,
}

impl Parts {
    fn digits(self) -> usize {
        match self {
            Self::Small => 8,
            Self::Large => 32,
        }
    }
}

/// Whether a value is too short to be looked for.
pub(super) fn is_too_short(secret: &str) -> bool {
    secret.trim().len() < SHORTEST
}

/// Adds every form of a secret that is long enough to be told from other words. One that is an object of JSON has the secrets
/// in it as well.
pub(super) fn add_forms(secret: &str, parts: Parts, forms: &mut BTreeSet<String>) {
    for text in std::iter::once(secret.to_owned()).chain(secrets_of_json(secret)) {
        let lines = text.lines().map(str::trim);
        for text in std::iter::once(text.trim()).chain(lines).filter(|text| !is_too_short(text)) {
            forms.insert(text.to_owned());
            forms.extend(quoted(text));
            forms.extend(percent_encoded_somehow(text));
            forms.extend(in_base64_somewhere(text.as_bytes(), parts));
        }
    }
    forms.retain(|form| form.len() >= SHORTEST);
}

/// The values in an object of JSON whose names say that they are secret: `private_key` of a service account.
fn secrets_of_json(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(value @ Value::Object(_)) = serde_json::from_str(text) {
        collect("", &value, &mut found);
    }
    found
}

fn collect(name: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| collect(name, value, found)),
        Value::Array(items) => items.iter().for_each(|item| collect(name, item, found)),
        Value::String(text) if sounds_secret(name) => found.push(text.clone()),
        _ => {}
    }
}

fn sounds_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    let secret = ["key", "secret", "token", "passw", "credential", "auth"];
    secret.iter().any(|word| name.contains(word))
        && !["id", "uri", "url", "type"].iter().any(|end| name.ends_with(end))
}

/// As a text of JSON, Python, HTML and the shell, without the quotes around it.
fn quoted(text: &str) -> Vec<String> {
    let whole = Value::from(text).to_string();
    let json = whole.get(1..whole.len() - 1).unwrap_or_default().to_owned();
    // `encoding/json` of Go, and with the apostrophe several frameworks, make it fit for HTML.
    let for_html = escaped(&json, |c| matches!(c, '&' | '<' | '>'));
    let with_apostrophe = escaped(&json, |c| matches!(c, '&' | '<' | '>' | '\''));
    let mut forms = vec![json.replace('/', r"\/"), ascii(&json), ascii(&for_html), ascii(&with_apostrophe)];
    forms.extend([json, for_html, with_apostrophe]);
    // JSON in a text of JSON.
    let twice: Vec<String> =
        forms.iter().map(|form| form.replace('\\', r"\\").replace('"', r#"\""#)).collect();
    forms.extend(twice);
    // Python's `repr`.
    let backslashes = text.replace('\\', r"\\");
    forms.extend([backslashes.replace('\'', r"\'"), backslashes]);
    let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    for (quote, apostrophe) in
        [("&quot;", "&#x27;"), ("&#34;", "&#39;"), ("&quot;", "&#039;"), ("&quot;", "'")]
    {
        forms.push(html.replace('"', quote).replace('\'', apostrophe));
    }
    forms.push(html);
    // The shell's, between apostrophes, between quotes, and with a backslash before whatever it obeys.
    forms.extend([text.replace('\'', r"'\''"), text.replace('\'', "'\"'\"'")]);
    for obeyed in ["\\\"$`", "\\\"$`!", " \t!\"#$&'()*;<>?[\\]^`{|}~", " \t!\"#$&'()*,;<=>?[\\]^`{|}~"] {
        forms.push(with_backslashes(text, obeyed));
    }
    forms
}

/// A text of JSON in which some characters are written by their number.
fn escaped(json: &str, which: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if which(c) { push_escape(&mut escaped, c) } else { escaped.push(c) }
    }
    escaped
}

/// A text of JSON where it is nothing but ASCII.
fn ascii(json: &str) -> String {
    escaped(json, |c| !c.is_ascii())
}

fn push_escape(text: &mut String, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\u{unit:04x}");
    }
}

fn with_backslashes(text: &str, before: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        if before.contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

/// Percent-encoded, once and twice, as several languages do it.
fn percent_encoded_somehow(text: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for upper in [true, false] {
        forms.extend(KEPT_IN_URLS.map(|kept| percent_encoded(text, upper, kept)));
        forms.push(percent_encoded(text, upper, "-_.~ ").replace(' ', "+"));
        forms.push(percent_encoded(text, upper, "-_.* ").replace(' ', "+"));
    }
    let twice: Vec<String> = forms.iter().map(|form| form.replace('%', "%25")).collect();
    forms.extend(twice);
    forms
}

fn percent_encoded(text: &str, upper: bool, kept: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || kept.contains(c) {
            encoded.push(c);
        } else {
            // Writing to a string cannot fail.
            let _ = if upper { write!(encoded, "%{byte:02X}") } else { write!(encoded, "%{byte:02x}") };
        }
    }
    encoded
}

/// The digits of Base64 that a value decides, whole, and in parts that a broken line leaves.
fn in_base64_somewhere(value: &[u8], parts: Parts) -> Vec<String> {
    let mut forms = Vec::new();
    for shift in 0..3 {
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let Some((first, digits)) = in_base64(value, shift, engine) else { continue };
            if value.len() <= MOST_IN_PARTS {
                // Lines are broken between groups of four digits.
                let whole = digits.get(first.next_multiple_of(4) - first..).unwrap_or_default().as_bytes();
                let windows = whole.windows(parts.digits()).step_by(4);
                forms.extend(windows.filter_map(|part| str::from_utf8(part).ok()).map(str::to_owned));
            }
            forms.extend((digits.len() >= SHORTEST_BASE64).then_some(digits));
        }
    }
    forms
}

/// The digits that a value alone decides, `shift` bytes behind the begin of three, in whatever stands before and behind; and
/// how many digits are before them from there.
fn in_base64(value: &[u8], shift: usize, engine: &impl base64::Engine) -> Option<(usize, String)> {
    let mut bytes = vec![0; shift];
    bytes.extend_from_slice(value);
    let digits = engine.encode(&bytes);
    let first = (shift * 8).div_ceil(6);
    let end = bytes.len() * 8 / 6;
    Some((first, digits.get(first..end)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    fn forms(secret: &str) -> BTreeSet<String> {
        let mut forms = BTreeSet::new();
        add_forms(secret, Parts::Small, &mut forms);
        forms
    }

    #[test]
    fn every_language_has_its_own_way() {
        let forms = forms("a&2'p\"w<é/b c$");
        for form in [
            "a%262%27p%22w%3C%C3%A9/b%20c%24",
            "a%262'p%22w%3C%C3%A9%2Fb%20c%24",
            "a%262%27p%22w%3C%C3%A9%2Fb+c%24",
            "a%25262%2527p%2522w%253C%25C3%25A9%252Fb%2520c%2524",
            r#"a\u00262'p\"w\u003cé/b c$"#,
            r#"a\u00262'p\"w\u003c\u00e9/b c$"#,
            r#"a\u00262\u0027p\"w\u003c\u00e9/b c$"#,
            r#"a&2'p\\\"w<é/b c$"#,
            r#"a&2\'p"w<é/b c$"#,
            "a&amp;2&#x27;p&quot;w&lt;é/b c$",
            "a&amp;2&#39;p&#34;w&lt;é/b c$",
            "a&2'\"'\"'p\"w<é/b c$",
            r#"a\&2\'p\"w\<é/b\ c\$"#,
        ] {
            assert!(forms.contains(form), "{form}");
        }
    }

    #[test]
    fn the_key_of_a_service_account_is_one_of_its_secrets() {
        let account = r#"{"type": "service_account", "private_key_id": "0123456789", "private_key": "-----BEGIN\nMIIEvQ\n", "token_uri": "https://h/token"}"#;
        let forms = forms(account);
        assert!(forms.contains("MIIEvQ") && forms.contains(r"-----BEGIN\nMIIEvQ"));
        assert!(!forms.contains("service_account") && !forms.contains("https://h/token"));
    }

    proptest! {
        #[test]
        fn broken_lines_show_next_to_nothing(
            before in "[ -~]{0,40}",
            secret in proptest::collection::vec(any::<char>().prop_filter("no white space", |c| !c.is_whitespace()), 30..120),
            width in prop_oneof![Just(64_usize), Just(76)],
        ) {
            let secret: String = secret.into_iter().collect();
            let found = crate::secret::masks::automaton(forms(&secret)).unwrap();
            let encoded = STANDARD.encode(format!("{before}{secret}"));
            for line in encoded.as_bytes().chunks(width) {
                let line = str::from_utf8(line).unwrap();
                let mut left = String::new();
                found.replace_all_with(line, &mut left, |_, _, _| true);
                // What is before it, a group of four at each end, and the padding.
                let most = if line.len() < 16 { 16 } else { before.len() * 4 / 3 + 4 + 12 };
                prop_assert!(left.len() <= most, "{line} {left}");
            }
        }
    }
}
