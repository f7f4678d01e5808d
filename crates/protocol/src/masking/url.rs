//! Reads the URLs of a text, first to last, and finds in each of them user and password, the query, and what stands behind `#`.
//! Knows how URLs are written and mistyped; knows nothing of texts that are percent-encoded as a whole.

use std::net::Ipv4Addr;
use std::ops::Range;

use super::ahead::Ahead;
use super::{MASK, is_harmless_pair, is_reference};

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
    /// What is before is one URL; 0 where the text is not known to be one.
    value_end: usize,
    colon: Ahead<'t>,
    /// As JSON may escape it.
    escaped_colon: Ahead<'t>,
    whole_colon: Ahead<'t>,
    /// That of another URL behind a blank: asked for at other places.
    another: Ahead<'t>,
    /// Where a URL ends behind which another one begins.
    next_in_value: Ahead<'t>,
    blank: Ahead<'t>,
    /// What ends a URL that is not all of the text.
    end: Ahead<'t>,
    question: Ahead<'t>,
    hash: Ahead<'t>,
    line_end: Ahead<'t>,
    /// What ends a quoted text, by what begins it.
    quotes: [(&'static str, Ahead<'t>); 4],
    /// Where what ends at the first goes to without its punctuation marks.
    trimmed: Option<(usize, usize)>,
    /// The last `@` before a blank, which is named.
    last_at: Option<(usize, Option<usize>)>,
    /// The last `@` before what is named, from where that was asked for first.
    last_before: Option<(usize, Option<usize>)>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str, value_end: usize) -> Self {
        Self {
            text,
            value_end,
            colon: Ahead::new(text, |text| text.find(":/")),
            escaped_colon: Ahead::new(text, |text| text.find(r":\/\/")),
            whole_colon: Ahead::new(text, |text| text.find("://")),
            another: Ahead::new(text, |text| text.find("://")),
            next_in_value: Ahead::new(text, before_next_url),
            blank: Ahead::new(text, |text| text.find(char::is_whitespace)),
            end: Ahead::new(text, end_of_token),
            question: Ahead::new(text, |text| text.find('?')),
            hash: Ahead::new(text, |text| text.find('#')),
            line_end: Ahead::new(text, |text| text.find(['\n', '\r'])),
            quotes: [
                (r#"\""#, Ahead::new(text, |text| text.find(r#"\""#))),
                ("\"", Ahead::new(text, plain_quote)),
                ("'", Ahead::new(text, |text| text.find('\''))),
                ("`", Ahead::new(text, |text| text.find('`'))),
            ],
            trimmed: None,
            last_at: None,
            last_before: None,
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
                let begin = at - scheme.len();
                return Some(Found { scheme, start, end: self.end_of_url(start, Some(begin)) });
            }
            from = start;
        }
    }

    /// Where the URL ends whose host begins at `start`, and its scheme at `begin` where nothing of it is hidden yet. In what is
    /// nothing but a URL quotes are a part of it, and blanks are in what is quoted.
    fn end_of_url(&mut self, start: usize, begin: Option<usize>) -> usize {
        if start < self.value_end {
            return self.next_in_value.at(start).unwrap_or(self.value_end);
        }
        if begin == Some(0) && self.blank.at(start).is_none() {
            let rest = self.slice(start..self.text.len());
            return start + rest.find(char::is_control).unwrap_or(rest.len());
        }
        let end = self.end.at(start).unwrap_or(self.text.len());
        if let Some(quoted) = begin.and_then(|begin| self.end_of_quoted(begin, end)) {
            return quoted;
        }
        let trimmed = match self.trimmed {
            Some((of, trimmed)) if of == end => trimmed,
            _ => self.slice(0..end).trim_end_matches(['.', ',', ';', ':', '!', '?', ')', ']', '}']).len(),
        };
        self.trimmed = Some((end, trimmed));
        trimmed.max(start)
    }

    /// Where a URL ends that begins at `begin`, right behind a quote, and has a blank at `blank`: at the other quote, or before
    /// another URL.
    fn end_of_quoted(&mut self, begin: usize, blank: usize) -> Option<usize> {
        if !self.slice(blank..self.text.len()).starts_with([' ', '\t']) {
            return None;
        }
        let before = self.slice(0..begin);
        let (_, quote) = self.quotes.iter_mut().find(|(quote, _)| before.ends_with(*quote))?;
        let end = quote.at(blank)?;
        let same_line = self.line_end.at(blank).is_none_or(|line| end < line);
        same_line.then(|| self.before_another(blank, end))
    }

    /// `end`, or where another URL begins before that, at `from` or later.
    fn before_another(&mut self, from: usize, end: usize) -> usize {
        let another = self.another.at(from).filter(|at| *at < end);
        another.map_or(end, |at| at - scheme_at_end(self.slice(from..at)).len())
    }

    pub(super) fn secrets(&mut self, url: &Found<'_>) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let (mut host, mut url_end) = (url.start, url.end);
        let is_value = url.start < self.value_end;
        if let Some(user) = self.user(url) {
            host = user.end;
            if host > url_end {
                url_end = self.end_of_url(host, None);
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
        // What is hidden already may have words behind it.
        let is_masked = |text: &str| {
            let behind = text.strip_prefix(MASK).filter(|_| is_value);
            behind.is_some_and(|behind| !behind.starts_with(char::is_alphanumeric))
        };
        if let Some(at) = query.filter(|at| !is_masked(self.slice(at + 1..fragment))) {
            let pairs = self.slice(at + 1..fragment).split('&');
            if !pairs.enumerate().all(|(place, pair)| place < MOST_PAIRS && is_harmless_pair(pair)) {
                parts.push(at + 1..fragment);
            }
        }
        let mut at = fragment + 1;
        for pair in self.slice(at.min(url_end)..url_end).split('&') {
            match pair.split_once('=') {
                Some((name, value))
                    if !is_plain_check(name, value) && !is_harmless_pair(pair) && !is_masked(value) =>
                {
                    let start = at + name.len() + 1;
                    parts.push(start..start + value.len());
                }
                None if !is_harmless_pair(pair) && !is_words(pair) && !is_masked(pair) => {
                    parts.push(at..at + pair.len())
                }
                _ => {}
            }
            at += pair.len() + 1;
        }
        parts
    }

    /// User and password.
    fn user(&mut self, url: &Found<'_>) -> Option<Range<usize>> {
        let authority = self.slice(url.start..url.end).split(AFTER_AUTHORITY).next().unwrap_or_default();
        let is_value = url.start < self.value_end;
        if let Some((user, host)) = authority.rsplit_once('@') {
            // No host is empty or has a blank in it, and hardly a path has a blank and an `@` behind that.
            let behind = self.slice(url.start + user.len() + 1..url.end);
            let path = behind.split(['?', '#']).next().unwrap_or_default();
            let is_cut = is_value && (host.is_empty() || path.contains(char::is_whitespace));
            let later = is_cut.then(|| self.last_before(url.start, url.end)).flatten();
            return Some(url.start..later.unwrap_or(url.start + user.len()));
        }
        let blank = match is_value {
            true => url.end,
            false => self.blank.at(url.start).unwrap_or(self.text.len()),
        };
        let end = match authority.split_once(':').filter(|_| !authority.starts_with('[')) {
            Some((name, port)) if is_port(port) => {
                let end = self.whole_colon.at(url.start).map_or(blank, |at| at.min(blank));
                let length = password_like_a_port(name, self.slice(url.start..end), authority.len());
                length.map(|length| url.start + length)
            }
            // What is no port is a password in which `/`, `?`, `#`, a quote or a blank should have been encoded.
            Some(_) if is_value => self.last_before(url.start, blank),
            Some((_, port)) if !is_reference(port) => {
                let at = self.last_at(blank).filter(|at| *at >= url.start);
                at.or_else(|| self.last_in_line(blank))
            }
            _ => None,
        };
        end.or_else(|| self.login_before(url.start, blank)).map(|end| url.start..end)
    }

    /// Where a login ends that a blank ends too early: `https://t0k en@host`, `https://me:12 34@host`. Only the next word is
    /// looked at, and a name with a dot is taken for that of a host.
    fn login_before(&mut self, start: usize, blank: usize) -> Option<usize> {
        let before = self.slice(start..blank);
        let (name, has_colon) = before.split_once(':').map_or((before, false), |(name, _)| (name, true));
        let is_host = !has_colon && name.contains('.') || is_known_host(name) || name.starts_with('[');
        if name.is_empty() || is_host || before.contains(AFTER_AUTHORITY) || end_of_token(before).is_some() {
            return None;
        }
        let behind = self.slice(blank..self.text.len());
        let word = behind.strip_prefix([' ', '\t'])?;
        let word = word.split(|c: char| c.is_whitespace() || AFTER_AUTHORITY.contains(&c)).next()?;
        let (login, host) = word.rsplit_once('@')?;
        let is_login = host.starts_with(|c: char| c.is_alphanumeric() || c == '[') && !login.contains("://");
        is_login.then_some(blank + 1 + login.len())
    }

    /// The last `@` in the rest of a line behind a blank, before another URL.
    fn last_in_line(&mut self, blank: usize) -> Option<usize> {
        let end = self.line_end.at(blank).unwrap_or(self.text.len());
        let end = self.before_another(blank, end);
        self.last_before(blank, end)
    }

    /// The last `@` from `start` on, before `end`.
    fn last_before(&mut self, start: usize, end: usize) -> Option<usize> {
        if let Some((of, at)) = self.last_before
            && of == end
        {
            return at.filter(|at| *at >= start);
        }
        let at = self.slice(start..end).rfind('@').map(|at| start + at);
        self.last_before = Some((end, at));
        at
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

/// Where a text that is one value ends, if it begins as a URL; 0 where it does not.
pub(super) fn end_of_value(text: &str) -> usize {
    let begin = text.trim_start().split_once("://").map_or("", |(scheme, _)| scheme);
    let is_scheme = begin.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme_at_end(begin) == begin;
    if is_scheme { text.trim_end().len() } else { 0 }
}

/// The end of what stands before a blank and a URL.
fn before_next_url(text: &str) -> Option<usize> {
    text.match_indices("://").find_map(|(at, _)| {
        let before = text.get(..at)?;
        let before = before.strip_suffix(scheme_at_end(before))?;
        let trimmed = before.trim_end();
        (trimmed.len() < before.len()).then_some(trimmed.len())
    })
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether nobody is called so.
fn is_known_host(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok()
}

/// The first `"` that no backslash is before.
fn plain_quote(text: &str) -> Option<usize> {
    text.match_indices('"')
        .map(|(at, _)| at)
        .find(|at| !text.get(..*at).is_some_and(|before| before.ends_with('\\')))
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
    if is_known_host(name) {
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
