//! Reads the URLs of a text, first to last, and finds in each of them user and password, the query, and what stands behind `#`.
//! Knows how URLs are written and mistyped; knows nothing of texts that are percent-encoded as a whole.

use std::net::Ipv4Addr;
use std::ops::Range;

use super::ahead::Ahead;
use super::{is_harmless_pair, is_reference};

/// Ends of the part of a URL that names a host.
const AFTER_AUTHORITY: [char; 3] = ['/', '?', '#'];

/// Names behind `#` whose values say nothing secret: checks of a source (see the docs of pipelines), and what pip knows.
const PLAIN_NAMES: [&str; 8] = ["md5", "sha1", "sha256", "sha384", "sha512", "size", "egg", "subdirectory"];

/// Schemes whose user is a name that everyone knows, such as `git`.
const SHELLS: [&str; 4] = ["ssh", "git+ssh", "ssh+git", "sftp"];

/// Pairs of a query that are looked at one by one. What has more is hidden.
const MOST_PAIRS: usize = 1_000;

/// A URL in a text, by byte positions.
pub(super) struct Found<'t> {
    scheme: &'t str,
    /// Behind `://`.
    pub(super) start: usize,
    end: usize,
}

/// Reads URLs in a text, first to last.
pub(super) struct Reader<'t> {
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
    pub(super) fn new(text: &'t str) -> Self {
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
    pub(super) fn next_url(&mut self, mut from: usize) -> Option<Found<'t>> {
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

    pub(super) fn secrets(&mut self, url: &Found<'_>) -> Vec<Range<usize>> {
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

/// What could be a scheme at the end of a text.
fn scheme_at_end(text: &str) -> &str {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    text.get(text.trim_end_matches(is_scheme).len()..).unwrap_or_default()
}
