//! Where the secrets of a URL are, in any text: user and password, the query, and what stands behind `#` unless that is a
//! checksum or words; also in a URL that is percent-encoded, and signatures in a query without its URL. A text is rarely
//! nothing but a URL, and what is typed is rarely a valid one, so that rather too much is taken for secret than too little.
//!
//! Runner and plugins say the same of a URL, so that this is here.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::ops::Range;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Ends of the part of a URL that names a host.
const AFTER_AUTHORITY: [char; 3] = ['/', '?', '#'];

/// Names behind `#` whose values say nothing secret: checks of a source (see the docs of pipelines), and what pip knows.
const PLAIN_NAMES: [&str; 8] = ["md5", "sha1", "sha256", "sha384", "sha512", "size", "egg", "subdirectory"];

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

/// Schemes whose user is a name that everyone knows, such as `git`.
const SHELLS: [&str; 4] = ["ssh", "git+ssh", "ssh+git", "sftp"];

/// A URL in a text, by byte positions.
struct Found<'t> {
    text: &'t str,
    scheme: &'t str,
    /// Behind `://`.
    start: usize,
    end: usize,
}

/// The byte ranges of a text in which secrets of URLs stand, first to last.
#[must_use]
pub fn secret_parts(text: &str) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    // Most texts have nothing of it.
    if text.contains(":/") || text.contains(r":\/") {
        let mut from = 0;
        while let Some(url) = next_url(text, from) {
            let secrets = url.secrets();
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
    }
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
    let parts = secret_parts(text);
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
    for part in secret_parts(url).into_iter().rev() {
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

/// What is secret in the URLs of a text, each by itself and as programs may print it: decoded, joined, and in parts.
#[must_use]
pub fn secrets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in secret_parts(text) {
        let Some(secret) = text.get(part.clone()) else { continue };
        let is_user = text.get(part.end..).is_some_and(|after| after.starts_with('@'));
        if is_user || secret.contains('=') || secret.len() >= LONG {
            found.push(secret.to_owned());
        }
        if is_user {
            // A user's name alone is printed by programs that print nothing secret.
            found.extend(secret.split_once(':').map(|(_, password)| password.to_owned()));
        } else {
            let values = secret.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value);
            found.extend(values.filter(|value| value.len() >= LONG).map(str::to_owned));
        }
    }
    let decoded: Vec<String> = found.iter().filter_map(|secret| decoded(secret)).collect();
    found.extend(decoded);
    found
}

/// What is shorter in a query, such as `1` or `main`, is no secret by itself.
const LONG: usize = 8;

/// A text without `%41`; none where there is none in it or it is not UTF-8 then.
fn decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return None;
    }
    let digit =
        |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (*byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high * 16 + low);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

/// The next URL whose `://` stands at `from` or later.
fn next_url(text: &str, mut from: usize) -> Option<Found<'_>> {
    loop {
        let rest = text.get(from..)?;
        // JSON may escape slashes.
        let plain = rest.find(":/").map(|at| (at, 2));
        let escaped = rest.find(r":\/\/").map(|at| (at, 5));
        let (at, length) = plain.into_iter().chain(escaped).min()?;
        let scheme = scheme_at_end(text.get(..from + at).unwrap_or_default());
        let is = |name: &str| scheme.eq_ignore_ascii_case(name);
        let mut start = from + at + length;
        let mut is_url = scheme.chars().any(|c| c.is_ascii_alphabetic());
        if length == 2 {
            let after = text.get(start..).unwrap_or_default();
            let slashes = after.len() - after.trim_start_matches('/').len();
            // One slash too few is a path, but for the schemes that are typed by hand; one too many is none of the host.
            is_url &= slashes > 0 || is("http") || is("https");
            start += if is("file") { slashes.min(1) } else { slashes };
        }
        if is_url {
            let begins_text = from + at == scheme.len();
            return Some(Found { text, scheme, start, end: end_of_url(text, start, begins_text) });
        }
        from = start;
    }
}

/// What could be a scheme at the end of a text.
fn scheme_at_end(text: &str) -> &str {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    text.get(text.trim_end_matches(is_scheme).len()..).unwrap_or_default()
}

/// Secrets of URLs that are percent-encoded as a whole, as in `next=https%3A%2F%2Fuser%3Apassword%40host`.
fn encoded_parts(text: &str) -> Vec<Range<usize>> {
    // As many bytes as before.
    let lower = text.to_ascii_lowercase();
    let ends = |c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '&' | '\\')
    };
    let mut parts = Vec::new();
    for (at, separator) in lower.match_indices("%3a%2f%2f") {
        let start = at + separator.len();
        let url = lower.get(start..).unwrap_or_default();
        let url = url.split(ends).next().unwrap_or_default();
        let first =
            |signs: &[&str]| signs.iter().filter_map(|sign| Some((url.find(sign)?, sign.len()))).min();
        let authority = first(&["%2f", "%3f", "%23", "/", "?", "#"]).map_or(url.len(), |(at, _)| at);
        let user = url.get(..authority).unwrap_or_default();
        let user = user.rfind("%40").into_iter().chain(user.rfind('@')).max();
        parts.extend(user.filter(|&end| url.get(..end) != Some(MASK)).map(|end| start..start + end));
        if let Some((at, length)) = first(&["%3f", "%23", "?", "#"])
            && url.get(at + length..).is_some_and(|query| !query.is_empty() && query != MASK)
        {
            parts.push(start + at + length..start + url.len());
        }
    }
    parts
}

/// Values of [`SIGNING_NAMES`] in a query, whatever stands before it, such as the path alone.
fn signatures(text: &str) -> Vec<Range<usize>> {
    let ends = |c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '&' | '#' | '\\')
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let of = |at: usize| {
        let before = text.get(..at)?;
        let start = before.trim_end_matches(is_name).len();
        let (before, name) = before.split_at_checked(start)?;
        // As JSON of some programs, and HTML, write `&`.
        let escaped = name.strip_prefix("u0026").filter(|_| before.ends_with('\\'));
        let begins = escaped.is_some() || before.ends_with(['?', '&']) || before.ends_with("&amp;");
        let name = escaped.unwrap_or(name).to_ascii_lowercase();
        let value = text.get(at + 1..)?.split(ends).next()?;
        let is_secret =
            begins && SIGNING_NAMES.contains(&name.as_str()) && !value.is_empty() && !is_reference(value);
        is_secret.then(|| at + 1..at + 1 + value.len())
    };
    text.match_indices('=').filter_map(|(at, _)| of(at)).collect()
}

/// Where the URL ends whose host begins at `start`. In what is nothing but a URL quotes are a part of it.
fn end_of_url(text: &str, start: usize, begins_text: bool) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let is_all = begins_text && !rest.contains(char::is_whitespace);
    let ends = |c: char| {
        c.is_whitespace() || c.is_control() || (!is_all && matches!(c, '"' | '\'' | '`' | '<' | '>'))
    };
    let token = rest.split(ends).next().unwrap_or_default();
    // An escape ends a text within a text, unless it is that of a slash.
    let end = token.match_indices('\\').find(|(at, _)| token.as_bytes().get(at + 1) != Some(&b'/'));
    let token = end.filter(|_| !is_all).map_or(token, |(at, _)| token.get(..at).unwrap_or_default());
    let token =
        if is_all { token } else { token.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}']) };
    start + token.len()
}

impl Found<'_> {
    fn slice(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    fn secrets(&self) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let (mut host, mut url_end) = (self.start, self.end);
        if let Some(user) = self.user() {
            host = user.end;
            if host > url_end {
                url_end = end_of_url(self.text, host, false);
            }
            if self.is_secret_user(self.slice(user.clone())) {
                parts.push(user);
            }
        }
        let rest = self.slice(host..url_end);
        let fragment = rest.find('#').map_or(url_end, |at| host + at);
        // Another URL in the path is looked at next; its query is its own.
        let path = self.slice(host..fragment);
        if path.contains("://") && path.find("://") < path.find('?') {
            return parts;
        }
        if let Some(at) = path.find('?') {
            let query = host + at + 1..fragment;
            if !self.slice(query.clone()).split('&').all(is_harmless_pair) {
                parts.push(query);
            }
        }
        let mut at = fragment + 1;
        for pair in self.slice(at.min(url_end)..url_end).split('&') {
            match pair.split_once('=') {
                Some((name, value)) if !is_plain_check(name, value) && !is_harmless_pair(pair) => {
                    let start = at + name.len() + 1;
                    parts.push(start..start + value.len());
                }
                None if !is_harmless_pair(pair) && !is_words(pair) => parts.push(at..at + pair.len()),
                _ => {}
            }
            at += pair.len() + 1;
        }
        parts
    }

    /// User and password.
    fn user(&self) -> Option<Range<usize>> {
        let all = self.slice(self.start..self.end);
        let authority = all.split(AFTER_AUTHORITY).next().unwrap_or_default();
        let length = authority.rfind('@').or_else(|| {
            // What is no port is a password in which `/`, `?`, `#` or a quote should have been encoded.
            let (name, port) = authority.split_once(':').filter(|_| !authority.starts_with('['))?;
            let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let rest = self.text.get(self.start..).unwrap_or_default();
            let rest = rest.split(char::is_whitespace).next().unwrap_or_default();
            if is_port {
                return password_like_a_port(name, rest, authority.len());
            }
            rest.rfind('@').filter(|_| !is_reference(port))
        })?;
        Some(self.start..self.start + length)
    }

    fn is_secret_user(&self, user: &str) -> bool {
        let is_known = !user.contains(':') && SHELLS.contains(&self.scheme.to_ascii_lowercase().as_str());
        !is_known && !user.split(':').all(|part| part.is_empty() || is_reference(part))
    }
}

/// Where a login ends that begins as a host and a port do: `me:12/34@host`. `rest` begins with it and goes on to the next
/// blank; `length` is that of what looks like host and port.
fn password_like_a_port(name: &str, rest: &str, length: usize) -> Option<usize> {
    // Nobody is called so.
    if name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok() {
        return None;
    }
    // A quote ends the URL where what follows it is no part of a word.
    let closes = |(at, _): &(usize, &str)| {
        let after = rest.get(at + 1..).and_then(|after| after.chars().next());
        after.is_none_or(|next| matches!(next, ',' | ';' | ':' | '.' | ')' | ']' | '}' | '<' | '>' | '\\'))
    };
    let quote = rest.match_indices(['"', '\'', '`']).find(closes).map(|(at, _)| at);
    let escape = rest.match_indices(r#"\""#).next().map(|(at, _)| at);
    let end = [quote, escape, rest.find("://")].into_iter().flatten().min().unwrap_or(rest.len());
    let rest = rest.get(..end)?;
    // Names of packages begin with `/@`, and what stands in a query is hidden with it.
    let is_end = |at: &usize| !rest.get(..*at).is_some_and(|before| before.ends_with('/'));
    let end = rest.rmatch_indices('@').map(|(at, _)| at).find(is_end)?;
    let between = rest.get(length..end)?;
    let in_query =
        between.split_once('?').is_some_and(|(path, query)| !path.contains('@') && query.contains('='));
    (!in_query).then_some(end)
}

/// Whether these are a name and a value that are known to say nothing secret behind `#`.
fn is_plain_check(name: &str, value: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    PLAIN_NAMES.iter().any(|plain| plain.eq_ignore_ascii_case(name)) && value.chars().all(is_plain)
}

/// Whether what stands behind `#` is the name of a place in a page: words, and short numbers.
fn is_words(text: &str) -> bool {
    let is_number = |part: &str| part.len() <= 5 && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split(['-', '_', '.', '/', '!']).all(|part| {
        let after_first = part.get(1..).unwrap_or_default();
        let is_word = part.bytes().all(|byte| byte.is_ascii_alphabetic())
            && after_first.bytes().all(|byte| byte.is_ascii_lowercase())
            && part.len() <= 20;
        // Lines are called `L12`.
        is_word || is_number(part) || part.strip_prefix('L').is_some_and(is_number)
    })
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
