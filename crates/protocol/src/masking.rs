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

/// Pairs of a query that are looked at one by one. What has more is hidden.
const MOST_PAIRS: usize = 1_000;

/// A URL in a text, by byte positions.
struct Found<'t> {
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
        let mut reader = Reader::new(text);
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

/// What could be a scheme at the end of a text.
fn scheme_at_end(text: &str) -> &str {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    text.get(text.trim_end_matches(is_scheme).len()..).unwrap_or_default()
}

/// Secrets of URLs that are percent-encoded as a whole, as in `next=https%3A%2F%2Fuser%3Apassword%40host`.
fn encoded_parts(text: &str) -> Vec<Range<usize>> {
    const COLON: &str = "%3a%2f%2f";
    // As many bytes as before.
    let lower = text.to_ascii_lowercase();
    let mut ends = Ahead::new(&lower, |text| text.find(is_end_of_value));
    let mut slash = Ahead::new(&lower, |text| text.find("%2f"));
    let mut queries = [
        Ahead::new(&lower, |text| text.find("%3f")),
        Ahead::new(&lower, |text| text.find("%23")),
        Ahead::new(&lower, |text| text.find('?')),
        Ahead::new(&lower, |text| text.find('#')),
    ];
    let mut parts = Vec::new();
    let mut hidden_to = 0;
    for (at, _) in lower.match_indices(COLON) {
        if at < hidden_to {
            continue;
        }
        let start = at + COLON.len();
        let end = ends.at(start).unwrap_or(lower.len());
        let lengths = [3, 3, 1, 1];
        let query =
            queries.iter_mut().zip(lengths).filter_map(|(sign, length)| Some((sign.at(start)?, length)));
        let query = query.filter(|(at, _)| *at < end).min();
        let authority =
            [slash.at(start), query.map(|(at, _)| at), Some(end)].into_iter().flatten().min().unwrap_or(end);
        let user = lower.get(start..authority).unwrap_or_default();
        let user = user.get(..user.find('/').unwrap_or(user.len())).unwrap_or_default();
        let login = user.rfind("%40").into_iter().chain(user.rfind('@')).max();
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

/// The first place of something in a text, asked for at places that mostly grow: then each byte is looked at once, however
/// many URLs there are.
struct Ahead<'t> {
    text: &'t str,
    find: fn(&str) -> Option<usize>,
    /// From where the last search went, and what it found.
    known: Option<(usize, Option<usize>)>,
}

impl<'t> Ahead<'t> {
    fn new(text: &'t str, find: fn(&str) -> Option<usize>) -> Self {
        Self { text, find, known: None }
    }

    /// The first place at `from` or behind it.
    fn at(&mut self, from: usize) -> Option<usize> {
        if let Some((since, found)) = self.known
            && since <= from
            && found.is_none_or(|found| found >= from)
        {
            return found;
        }
        let found = self.text.get(from..).and_then(self.find).map(|at| from + at);
        self.known = Some((from, found));
        found
    }
}

/// Reads URLs in a text, first to last.
struct Reader<'t> {
    text: &'t str,
    colon: Ahead<'t>,
    /// As JSON may escape it.
    escaped_colon: Ahead<'t>,
    whole_colon: Ahead<'t>,
    blank: Ahead<'t>,
    /// What ends a URL that is not all of the text.
    end: Ahead<'t>,
    question: Ahead<'t>,
    hash: Ahead<'t>,
    /// Where what ends at the first goes to without its punctuation marks.
    trimmed: Option<(usize, usize)>,
    /// The last `@` before a blank, which is named.
    last_at: Option<(usize, Option<usize>)>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            colon: Ahead::new(text, |text| text.find(":/")),
            escaped_colon: Ahead::new(text, |text| text.find(r":\/\/")),
            whole_colon: Ahead::new(text, |text| text.find("://")),
            blank: Ahead::new(text, |text| text.find(char::is_whitespace)),
            end: Ahead::new(text, end_of_token),
            question: Ahead::new(text, |text| text.find('?')),
            hash: Ahead::new(text, |text| text.find('#')),
            trimmed: None,
            last_at: None,
        }
    }

    fn slice(&self, range: Range<usize>) -> &'t str {
        self.text.get(range).unwrap_or_default()
    }

    /// The next URL whose `://` stands at `from` or later.
    fn next_url(&mut self, mut from: usize) -> Option<Found<'t>> {
        loop {
            let plain = self.colon.at(from).map(|at| (at, 2));
            let escaped = self.escaped_colon.at(from).map(|at| (at, 5));
            let (at, length) = plain.into_iter().chain(escaped).min()?;
            let scheme = scheme_at_end(self.slice(0..at));
            let is = |name: &str| scheme.eq_ignore_ascii_case(name);
            let mut start = at + length;
            let mut is_url = scheme.chars().any(|c| c.is_ascii_alphabetic());
            if length == 2 {
                let after = self.slice(start..self.text.len());
                let slashes = after.len() - after.trim_start_matches('/').len();
                // One slash too few is a path, but for the schemes that are typed by hand; one too many is none of the host.
                is_url &= slashes > 0 || is("http") || is("https");
                start += if is("file") { slashes.min(1) } else { slashes };
            }
            if is_url {
                return Some(Found { scheme, start, end: self.end_of_url(start, at == scheme.len()) });
            }
            from = start;
        }
    }

    /// Where the URL ends whose host begins at `start`. In what is nothing but a URL quotes are a part of it.
    fn end_of_url(&mut self, start: usize, begins_text: bool) -> usize {
        if begins_text && self.blank.at(start).is_none() {
            let rest = self.slice(start..self.text.len());
            return start + rest.find(char::is_control).unwrap_or(rest.len());
        }
        let end = self.end.at(start).unwrap_or(self.text.len());
        let trimmed = match self.trimmed {
            Some((of, trimmed)) if of == end => trimmed,
            _ => self.slice(0..end).trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}']).len(),
        };
        self.trimmed = Some((end, trimmed));
        trimmed.max(start)
    }

    fn secrets(&mut self, url: &Found<'_>) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let (mut host, mut url_end) = (url.start, url.end);
        if let Some(user) = self.user(url) {
            host = user.end;
            if host > url_end {
                url_end = self.end_of_url(host, false);
            }
            if is_secret_user(url.scheme, self.slice(user.clone())) {
                parts.push(user);
            }
        }
        let fragment = self.hash.at(host).map_or(url_end, |at| at.min(url_end));
        let query = self.question.at(host).filter(|at| *at < fragment);
        // Another URL in the path is looked at next; its query is its own.
        let another = self.whole_colon.at(host).filter(|at| *at < fragment);
        if another.is_some_and(|another| query.is_some_and(|query| another < query)) {
            return parts;
        }
        if let Some(at) = query {
            let pairs = self.slice(at + 1..fragment).split('&');
            if !pairs.enumerate().all(|(place, pair)| place < MOST_PAIRS && is_harmless_pair(pair)) {
                parts.push(at + 1..fragment);
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
    fn user(&mut self, url: &Found<'_>) -> Option<Range<usize>> {
        let authority = self.slice(url.start..url.end).split(AFTER_AUTHORITY).next().unwrap_or_default();
        let length = match authority.rfind('@') {
            Some(at) => at,
            None => {
                // What is no port is a password in which `/`, `?`, `#` or a quote should have been encoded.
                let (name, port) = authority.split_once(':').filter(|_| !authority.starts_with('['))?;
                let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                let blank = self.blank.at(url.start).unwrap_or(self.text.len());
                if is_port {
                    let end = self.whole_colon.at(url.start).map_or(blank, |at| at.min(blank));
                    password_like_a_port(name, self.slice(url.start..end), authority.len())?
                } else {
                    let at = self.last_at(blank).filter(|at| *at >= url.start && !is_reference(port))?;
                    at - url.start
                }
            }
        };
        Some(url.start..url.start + length)
    }

    /// The last `@` before a blank, in what has none.
    fn last_at(&mut self, blank: usize) -> Option<usize> {
        match self.last_at {
            Some((of, at)) if of == blank => at,
            _ => {
                let before = self.slice(0..blank);
                let at = before.rfind(|c: char| c == '@' || c.is_whitespace());
                let at = at.filter(|at| before.as_bytes().get(*at) == Some(&b'@'));
                self.last_at = Some((blank, at));
                at
            }
        }
    }
}

/// What ends a URL in a text, such as quotes. An escape ends a text within a text, unless it is that of a slash.
fn end_of_token(text: &str) -> Option<usize> {
    let ends = text.char_indices().find(|&(at, c)| match c {
        '\\' => text.as_bytes().get(at + 1) != Some(&b'/'),
        '"' | '\'' | '`' | '<' | '>' => true,
        c => c.is_whitespace() || c.is_control(),
    });
    ends.map(|(at, _)| at)
}

fn is_secret_user(scheme: &str, user: &str) -> bool {
    let is_known = !user.contains(':') && SHELLS.iter().any(|shell| shell.eq_ignore_ascii_case(scheme));
    !is_known && !user.split(':').all(|part| part.is_empty() || is_reference(part))
}

/// Where a login ends that begins as a host and a port do: `me:12/34@host`. `rest` begins with it and goes on to the next
/// blank or URL; `length` is that of what looks like host and port.
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
    let end = [quote, escape].into_iter().flatten().min().unwrap_or(rest.len());
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
