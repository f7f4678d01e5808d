//! Where the secrets of a URL are, in any text: user and password, the query, and what stands behind `#` unless that is a
//! checksum or words; also in a URL that is percent-encoded, signatures in a query without its URL, logins without a scheme, and
//! passwords in connection strings. A text is rarely
//! nothing but a URL, and what is typed is rarely a valid one, so that rather too much is taken for secret than too little.
//!
//! Runner and plugins say the same of a URL, so that this is here.

mod ahead;
mod bracketed;
mod logins;
mod settings;
mod url;

use std::borrow::Cow;
use std::ops::Range;

use percent_encoding::percent_decode_str;

use ahead::Ahead;
use url::Reader;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Names in the queries of signed URLs, in lowercase, whose values are secret wherever the query stands.
const SIGNING_NAMES: [&str; 14] = [
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
    "x-goog-signature",
    "x-goog-credential",
    "x-oss-signature",
    "signature",
    "awsaccesskeyid",
    "googleaccessid",
    "ossaccesskeyid",
    "key-pair-id",
    "sig",
    "token",
    "access_token",
];

/// The byte ranges of a text in which secrets of URLs stand, first to last. Where a URL is quoted it goes on to the quote, else
/// to the next blank; one that ends within a password is none, so that the password is looked for behind the blank.
#[must_use]
pub fn secret_parts(text: &str) -> Vec<Range<usize>> {
    parts(text, 0)
}

/// [`secret_parts`] of a text that is one value, such as a param: if it begins as a URL it is one, blanks and quotes included, up to
/// another URL behind a blank.
#[must_use]
pub fn secret_parts_of_value(text: &str) -> Vec<Range<usize>> {
    parts(text, url::end_of_value(text))
}

/// Of a text that is one URL up to `value_end`.
fn parts(text: &str, value_end: usize) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    // Most texts have nothing of it.
    if text.contains(":/") || text.contains(r":\/") {
        let mut from = 0;
        let mut reader = Reader::new(text, value_end);
        while let Some(url) = reader.next_url(from) {
            let secrets = reader.secrets(&url);
            // A URL within the path of another one is looked at by itself.
            from = secrets.last().map_or(url.start, |last| last.end);
            parts.extend(secrets);
        }
    }
    if text.contains('%') {
        parts.extend(encoded_parts(text));
    }
    if text.contains('=') {
        parts.extend(signatures(text));
        parts.extend(settings::settings(text));
    }
    if text.contains('@') {
        parts.extend(logins::logins(text));
        parts.extend(bracketed::logins(text));
    }
    apart(parts)
}

/// Ranges in their order, those that overlap as one.
#[must_use]
pub fn apart(mut parts: Vec<Range<usize>>) -> Vec<Range<usize>> {
    parts.sort_by_key(|part| (part.start, part.end));
    let mut apart: Vec<Range<usize>> = Vec::with_capacity(parts.len());
    for part in parts {
        match apart.last_mut() {
            Some(last) if part.start < last.end => last.end = last.end.max(part.end),
            _ => apart.push(part),
        }
    }
    apart
}

/// A text without what is secret in its URLs: `https://***@host/path?***`.
#[must_use]
pub fn hidden(text: &str) -> Cow<'_, str> {
    without(text, secret_parts(text))
}

/// [`hidden`] of a text that is one value, such as a param: if it begins as a URL it is one, blanks included.
#[must_use]
pub fn hidden_value(text: &str) -> Cow<'_, str> {
    without(text, secret_parts_of_value(text))
}

fn without(text: &str, parts: Vec<Range<usize>>) -> Cow<'_, str> {
    if parts.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut end = 0;
    for part in parts {
        shown.push_str(text.get(end..part.start).unwrap_or_default());
        shown.push_str(MASK);
        end = part.end;
    }
    shown.push_str(text.get(end..).unwrap_or_default());
    Cow::Owned(shown)
}

/// A URL without its secrets, and nothing in their place: what names a thing whose checksum is known.
#[must_use]
pub fn without_secrets(url: &str) -> String {
    let mut rest = url.to_owned();
    for part in secret_parts_of_value(url).into_iter().rev() {
        // With the sign that begins or ends it.
        let ends_user = rest.get(part.end..).is_some_and(|after| after.starts_with('@'));
        let begins = rest.get(..part.start).is_some_and(|before| before.ends_with(['?', '#', '=', '&']));
        let range = match (ends_user, begins) {
            (true, _) => part.start..part.end + 1,
            (false, true) => part.start - 1..part.end,
            (false, false) => part,
        };
        if rest.is_char_boundary(range.start) && rest.is_char_boundary(range.end) {
            rest.replace_range(range, "");
        }
    }
    rest
}

/// The address of a proxy without user and password. It may be a host and a port alone.
#[must_use]
pub fn without_credentials(address: &str) -> Cow<'_, str> {
    let (scheme, rest) = address.split_at(address.find("://").map_or(0, |at| at + 3));
    match rest.rsplit_once('@') {
        Some((_, host)) => Cow::Owned(format!("{scheme}{host}")),
        None => Cow::Borrowed(address),
    }
}

/// What is secret in the URLs of a text that is one value, each by itself and as programs may print it: decoded, joined, and in
/// parts.
#[must_use]
pub fn secrets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    // A command that begins with a URL is looked at as any other text, too.
    let mut parts = secret_parts_of_value(text);
    parts.extend(secret_parts(text));
    parts.sort_by_key(|part| (part.start, part.end));
    parts.dedup();
    for part in parts {
        let Some(secret) = text.get(part.clone()) else { continue };
        let is_user = text.get(part.end..).is_some_and(|after| after.starts_with('@'));
        if is_user || secret.contains('=') || secret.len() >= LONG {
            found.push(secret.to_owned());
        }
        if is_user {
            // A user's name alone is printed by programs that print nothing secret.
            let password = secret.split_once(':').map_or(secret, |(_, password)| password);
            found.extend((password.len() < secret.len()).then(|| password.to_owned()));
            // Who takes a blank for the end of a URL names what is left of it.
            let is_cut = password.contains(char::is_whitespace);
            found.extend(password.split_whitespace().filter(|_| is_cut).map(str::to_owned));
        } else {
            let values = secret.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value);
            found.extend(values.filter(|value| value.len() >= LONG).map(str::to_owned));
        }
    }
    let settings = settings::settings(text).into_iter();
    found.extend(settings.filter_map(|part| text.get(part)).map(str::to_owned));
    let decoded: Vec<String> = found.iter().filter_map(|secret| decoded(secret)).collect();
    found.extend(decoded);
    found
}

/// What is shorter in a query, such as `1` or `main`, is no secret by itself.
const LONG: usize = 8;

/// A text without `%41`; none where there is none in it or it is not UTF-8 then.
fn decoded(text: &str) -> Option<String> {
    let is_encoded = text.contains('%');
    is_encoded.then(|| percent_decode_str(text).decode_utf8().ok().map(Into::into)).flatten()
}

/// Secrets of URLs that are percent-encoded as a whole, as in `next=https%3A%2F%2Fuser%3Apassword%40host`, also in a URL that is
/// itself, and where only a part of `://` is.
fn encoded_parts(text: &str) -> Vec<Range<usize>> {
    // As many bytes as before.
    let lower = text.to_ascii_lowercase();
    let mut parts = Vec::new();
    for sign in PERCENT {
        parts.extend(encoded_parts_after(&lower, sign, &format!("{sign}3a{sign}2f{sign}2f")));
    }
    for colon in ["%3a//", ":%2f%2f"] {
        parts.extend(encoded_parts_after(&lower, "%", colon));
    }
    parts
}

/// `%`, as it stands in a text that was encoded once, twice and three times.
const PERCENT: [&str; 3] = ["%", "%25", "%2525"];

/// As [`encoded_parts`] of URLs with `colon` before their hosts, in which `percent` stands for `%`.
fn encoded_parts_after(lower: &str, percent: &str, colon: &str) -> Vec<Range<usize>> {
    if !lower.contains(colon) {
        return Vec::new();
    }
    let find = |code: &str| {
        let sign = format!("{percent}{code}");
        move |text: &str| text.find(&sign)
    };
    let at_sign = format!("{percent}40");
    let mut ends = Ahead::new(lower, |text| text.find(is_end_of_value));
    let mut slash = Ahead::new(lower, find("2f"));
    let mut queries = [
        Ahead::new(lower, find("3f")),
        Ahead::new(lower, find("23")),
        Ahead::new(lower, |text| text.find('?')),
        Ahead::new(lower, |text| text.find('#')),
    ];
    let mut parts = Vec::new();
    let mut hidden_to = 0;
    for (at, _) in lower.match_indices(colon) {
        if at < hidden_to {
            continue;
        }
        let start = at + colon.len();
        let end = ends.at(start).unwrap_or(lower.len());
        let lengths = [at_sign.len(), at_sign.len(), 1, 1];
        let query =
            queries.iter_mut().zip(lengths).filter_map(|(sign, length)| Some((sign.at(start)?, length)));
        let query = query.filter(|(at, _)| *at < end).min();
        let authority =
            [slash.at(start), query.map(|(at, _)| at), Some(end)].into_iter().flatten().min().unwrap_or(end);
        let user = lower.get(start..authority).unwrap_or_default();
        let user = user.get(..user.find('/').unwrap_or(user.len())).unwrap_or_default();
        let login = user.rfind(&at_sign).into_iter().chain(user.rfind('@')).max();
        parts.extend(login.filter(|&end| user.get(..end) != Some(MASK)).map(|end| start..start + end));
        if let Some((at, length)) = query
            && lower.get(at + length..end).is_some_and(|query| !query.is_empty() && query != MASK)
        {
            parts.push(at + length..end);
            hidden_to = end;
        }
    }
    parts
}

fn is_end_of_value(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '&' | '\\')
}

/// Values of [`SIGNING_NAMES`] in a query, whatever stands before it, such as the path alone.
fn signatures(text: &str) -> Vec<Range<usize>> {
    let mut ends = Ahead::new(text, |text| text.find(|c| is_end_of_value(c) || c == '#'));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut of = |at: usize| {
        let before = text.get(..at)?;
        let start = before.trim_end_matches(is_name).len();
        let (before, name) = before.split_at_checked(start)?;
        // As JSON of some programs, and HTML, write `&`.
        let escaped = name.strip_prefix("u0026").filter(|_| before.ends_with('\\'));
        let begins = escaped.is_some() || before.ends_with(['?', '&']) || before.ends_with("&amp;");
        let name = escaped.unwrap_or(name);
        if !begins || !SIGNING_NAMES.iter().any(|signing| signing.eq_ignore_ascii_case(name)) {
            return None;
        }
        let end = ends.at(at + 1).unwrap_or(text.len());
        let value = text.get(at + 1..end)?;
        (!value.is_empty() && !is_reference(value)).then_some(at + 1..end)
    };
    text.match_indices('=').filter_map(|(at, _)| of(at)).collect()
}

/// Whether there is nothing to hide in `name=value`: nothing at all, or what a shell puts in later.
fn is_harmless_pair(pair: &str) -> bool {
    match pair.split_once('=') {
        Some((_, value)) => value.is_empty() || is_reference(value),
        None => pair.is_empty() || is_reference(pair),
    }
}

/// Whether a text is `$NAME` or `${NAME}` and nothing else, or the mask of something.
fn is_reference(text: &str) -> bool {
    if text == MASK {
        return true;
    }
    let Some(name) = text.strip_prefix('$') else { return false };
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '-')
}

#[cfg(test)]
mod tests;
