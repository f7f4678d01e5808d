//! Where the secrets of a URL are, in any text: user and password, the query, and tokens behind `#`. A text is rarely
//! nothing but a URL, and what is typed is rarely a valid one, so that rather too much is taken for secret than too little.

use std::borrow::Cow;
use std::ops::Range;

/// Ends of the part of a URL that names a host.
const AFTER_AUTHORITY: [char; 3] = ['/', '?', '#'];

/// Names behind `#` by which a source is checked; see the docs of pipelines.
const CHECKS: [&str; 3] = ["md5", "sha256", "size"];

/// Parts of names of what is secret behind `#`.
const SECRET_NAMES: [&str; 7] = ["token", "secret", "sig", "key", "password", "auth", "credential"];

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
    // Most texts end here.
    if !text.contains(":/") && !text.contains(r":\/") {
        return parts;
    }
    let mut from = 0;
    while let Some(url) = next_url(text, from) {
        let secrets = url.secrets();
        // A URL within the path of another one is looked at by itself.
        from = secrets.last().map_or(url.start, |last| last.end);
        parts.extend(secrets);
    }
    parts
}

/// A URL without its secrets, and nothing in their place: what names a thing whose checksum is known.
#[must_use]
pub fn without_secrets(url: &str) -> String {
    let mut rest = url.to_owned();
    for part in secret_parts(url).into_iter().rev() {
        // With the sign that begins or ends it.
        let ends_user = rest.get(part.end..).is_some_and(|after| after.starts_with('@'));
        let range = if ends_user { part.start..part.end + 1 } else { part.start.saturating_sub(1)..part.end };
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
pub(super) fn secrets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in secret_parts(text) {
        let Some(secret) = text.get(part.clone()) else { continue };
        found.push(secret.to_owned());
        let is_user = text.get(part.end..).is_some_and(|after| after.starts_with('@'));
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
        let plain = rest.find("://").map(|at| (at, 3));
        let escaped = rest.find(r":\/\/").map(|at| (at, 5));
        let (at, length) = plain.into_iter().chain(escaped).min()?;
        let start = from + at + length;
        let before = text.get(..from + at).unwrap_or_default();
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
        let scheme = before.rfind(|c| !is_scheme(c)).map_or(before, |end| {
            let width = before.get(end..).and_then(|tail| tail.chars().next()).map_or(1, char::len_utf8);
            before.get(end + width..).unwrap_or_default()
        });
        if scheme.chars().any(|c| c.is_ascii_alphabetic()) {
            return Some(Found {
                text,
                scheme,
                start,
                end: end_of_url(text, start, before.len() == scheme.len()),
            });
        }
        from = start;
    }
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
            if let Some((name, value)) = pair.split_once('=').filter(|(name, value)| {
                let name = name.to_ascii_lowercase();
                !value.is_empty()
                    && !is_reference(value)
                    && !CHECKS.contains(&name.as_str())
                    && SECRET_NAMES.iter().any(|secret| name.contains(secret))
            }) {
                parts.push(at + name.len() + 1..at + name.len() + 1 + value.len());
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
            let (_, port) = authority.split_once(':').filter(|_| !authority.starts_with('['))?;
            let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let rest = self.text.get(self.start..).unwrap_or_default();
            let rest = rest.split(char::is_whitespace).next().unwrap_or_default();
            rest.rfind('@').filter(|_| !is_port && !is_reference(port))
        })?;
        Some(self.start..self.start + length)
    }

    fn is_secret_user(&self, user: &str) -> bool {
        let is_known = !user.contains(':') && SHELLS.contains(&self.scheme.to_ascii_lowercase().as_str());
        !is_known && !user.split(':').all(|part| part.is_empty() || is_reference(part))
    }
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
    if text == super::MASK {
        return true;
    }
    let Some(name) = text.strip_prefix('$') else { return false };
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::super::hidden;
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn what_is_secret_is_taken_out_and_the_rest_stays() {
        for (text, shown) in [
            ("https://h/x", "https://h/x"),
            ("https://user:pw@h:81/x", "https://***@h:81/x"),
            ("https://token@h/x", "https://***@h/x"),
            ("https://u:p@ss@h/x", "https://***@h/x"),
            ("https://u:p/a#s?s@h/x", "https://***@h/x"),
            ("https://u:p'w@h/x?a='b'&c", "https://***@h/x?***"),
            ("s3://id:secret@bucket/k", "s3://***@bucket/k"),
            (
                "git+https://t0k3n@github.com/a/b.git@main#egg=b",
                "git+https://***@github.com/a/b.git@main#egg=b",
            ),
            ("ssh://git@github.com/a/b", "ssh://git@github.com/a/b"),
            ("ssh://git:pw@github.com/a/b", "ssh://***@github.com/a/b"),
            ("curl 'https://u:p'w@h/x'", "curl 'https://***@h/x'"),
            (r#"["http://h:80","x@y"]"#, r#"["http://h:80","x@y"]"#),
            ("https://registry.org/@scope/name", "https://registry.org/@scope/name"),
            ("http://[::1]:80/@x", "http://[::1]:80/@x"),
            ("http://localhost:8888/@x", "http://localhost:8888/@x"),
            ("https://h/x?X-Amz-Signature=a/b@c#md5=1&size=2", "https://h/x?***#md5=1&size=2"),
            ("https://h/x?", "https://h/x?"),
            ("https://h#access_token=abc&state=1", "https://h#access_token=***&state=1"),
            ("curl 'https://h/x?k=v' -o \"${outputs.o}\"", "curl 'https://h/x?***' -o \"${outputs.o}\""),
            ("see http://h/x?", "see http://h/x?"),
            ("(http://h/x?a=b).", "(http://h/x?***)."),
            ("curl https://$USER:${PASS}@h/x?key=$KEY", "curl https://$USER:${PASS}@h/x?key=$KEY"),
            ("curl https://me:$PASS@h/", "curl https://***@h/"),
            (r#"{"url":"https://u:p@h/x?s=1\"","n":1}"#, r#"{"url":"https://***@h/x?***\"","n":1}"#),
            (r"https:\/\/u:p@h\/x?s=1", r"https:\/\/***@h\/x?***"),
            ("https://a/https://u:p@b/x?c=d", "https://a/https://***@b/x?***"),
            ("é://u:p@h https://ü:ö@h/?ä=ß", "é://u:p@h https://***@h/?***"),
            ("HTTPS://U:P@H/", "HTTPS://***@H/"),
            ("http://u:p@a http://u:p@b", "http://***@a http://***@b"),
            ("a://b", "a://b"),
            ("://u:p@h", "://u:p@h"),
        ] {
            assert_eq!(hidden(text), shown, "{text}");
            assert_eq!(hidden(shown), shown, "what is hidden stays as it is: {text}");
        }
    }

    #[test]
    fn a_proxy_keeps_its_host() {
        for (address, rest) in [
            ("http://u:p@proxy:3128", "http://proxy:3128"),
            ("u:p@proxy:3128", "proxy:3128"),
            ("http://proxy:3128", "http://proxy:3128"),
            ("u:p@ss@proxy", "proxy"),
        ] {
            assert_eq!(without_credentials(address), rest, "{address}");
        }
    }

    #[test]
    fn what_a_checksum_names_has_no_secrets() {
        assert_eq!(without_secrets("https://u:p@h/x?sig=1#sha256=ab&size=3"), "https://h/x#sha256=ab&size=3");
        assert_eq!(without_secrets("https://h/x#md5=ab"), "https://h/x#md5=ab");
    }

    #[test]
    fn secrets_are_found_as_programs_print_them() {
        let found = secrets("https://me:a%2Fb@h/x?sig=abcdefgh&v=1");
        for secret in ["me:a%2Fb", "a%2Fb", "a/b", "me:a/b", "sig=abcdefgh&v=1", "abcdefgh"] {
            assert!(found.iter().any(|one| one == secret), "{secret}: {found:?}");
        }
        assert!(!found.iter().any(|one| one == "1" || one == "me"), "{found:?}");
    }

    proptest! {
        // What begins as a port does and goes on with `/` is taken for one, as by whoever fetches it.
        #[test]
        fn no_secret_is_left_and_no_text_breaks_it(before in "[ -~é]{0,8}", secret in "[a-z][a-z0-9/?#@']{3,12}", after in "[ -~é]{0,8}") {
            let text = format!("{before} https://me:{secret}Z@host/x {after}");
            prop_assert!(!hidden(&text).contains(&format!("{secret}Z")), "{}", hidden(&text));
            let _ = without_secrets(&text);
            let _ = secrets(&text);
        }
    }
}
