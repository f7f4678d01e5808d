//! Logins before a host without a scheme: `user:password@host/path`, and Oracle's `user/password@host:port/service`. What else has a
//! colon or a slash and an `@`, such as addresses of mail, images of containers and versions of packages, is none.

use std::net::Ipv4Addr;
use std::ops::Range;

use super::is_reference;

/// What stands before the colon of something else than a login.
const NO_USERS: [&str; 24] = [
    "mailto", "mail", "email", "e-mail", "from", "to", "cc", "bcc", "reply-to", "sender", "author", "sip",
    "sips", "xmpp", "acct", "file", "npm", "jsr", "pkg", "gh", "github", "gitlab", "docker", "oci",
];

/// What stands behind the `@` of a version, and is no host.
const NO_HOSTS: [&str; 8] = ["latest", "next", "main", "master", "head", "sha1", "sha256", "sha512"];

/// Users and passwords before a host that has no scheme before it.
pub(super) fn logins(text: &str) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for piece in text.split_inclusive(is_end_of_word) {
        let word = piece.trim_end_matches(is_end_of_word);
        let login = login(word).or_else(|| login_with_slash(word));
        parts.extend(login.map(|login| start + login.start..start + login.end));
        start += piece.len();
    }
    parts.extend(broken_logins(text));
    parts.sort_by_key(|part| part.start);
    parts.dedup_by(|next, before| next.start < before.end);
    parts
}

fn is_end_of_word(c: char) -> bool {
    is_outer_end(c) || is_inner_end(c)
}

/// What no login has in it.
pub(super) fn is_outer_end(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '<' | '>')
}

/// What separates words as well as it may be part of a password.
fn is_inner_end(c: char) -> bool {
    matches!(c, '(' | '[' | '|' | ',' | ';')
}

/// Logins with something in the password that ends words elsewhere: from the last such place before a user and a colon to the host.
fn broken_logins(text: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    for piece in text.split_inclusive(is_outer_end) {
        let word = piece.trim_end_matches(is_outer_end);
        // Where a user stands right before the last part, that is a login by itself.
        let is_broken = |at: &usize| {
            let before = word.get(..*at).unwrap_or_default();
            before.rfind(is_inner_end) > before.rfind(':')
        };
        if let Some(at) = word.rfind('@').filter(is_broken) {
            let user = word.get(..at).and_then(|before| before.get(..before.rfind(':')?)).unwrap_or_default();
            let from = user.rfind(is_inner_end).map_or(0, |end| end + 1);
            let host = word.get(at..).unwrap_or_default();
            let to = at + host.find(is_inner_end).unwrap_or(host.len());
            let inner = word.get(from..to).unwrap_or_default();
            parts.extend(login(inner).map(|login| start + from + login.start..start + from + login.end));
        }
        start += piece.len();
    }
    parts
}

/// The login of a word that is `user/password@//host…` or `user/password@host:port/service`, as Oracle's tools have it.
fn login_with_slash(word: &str) -> Option<Range<usize>> {
    let (login, host) = word.split_once('@')?;
    let begin = login.rfind('=').map_or(0, |at| at + 1);
    let (user, password) = login.get(begin..)?.split_once('/')?;
    let (address, service) = host.trim_start_matches("//").split_once('/')?;
    let is_address = match address.split_once(':') {
        Some((name, port)) => is_host(name, false) && is_port(port),
        None => host.starts_with("//") && is_host(address, false),
    };
    let is_login =
        is_user(user) && !password.is_empty() && !password.contains('/') && !password.starts_with('$');
    (is_login && is_address && !service.is_empty()).then_some(begin..login.len())
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The login of a word that is `user:password@host/path` or `user:password@host:port`, with what is assigned to before it.
fn login(word: &str) -> Option<Range<usize>> {
    let authority = word.split('/').next()?;
    let (login, host) = authority.rsplit_once('@')?;
    let (before, _) = login.split_once(':')?;
    let begin = before.rfind('=').map_or(0, |at| at + 1);
    let (user, password) = login.get(begin..)?.split_once(':')?;
    let is_time = |c: char| c.is_ascii_digit() || matches!(c, ':' | '.' | '-' | '+' | 'T' | 'Z');
    let is_other = user.is_empty()
        || password.is_empty()
        || !is_user(user)
        || password.starts_with('\\')
        || login.get(begin..)?.chars().all(is_time)
        || login.get(begin..)?.split(':').all(is_reference)
        || NO_USERS.iter().any(|known| known.eq_ignore_ascii_case(user));
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let has_path = word.len() > authority.len();
    let is_followed = match port {
        Some(port) => is_port(port),
        None => has_path,
    };
    // A port and a path say as much as a dot in the name.
    let is_host = is_host(name, port.is_some() && !has_path);
    (!is_other && is_followed && is_host).then_some(begin..login.len())
}

/// Whether a text may be the name of a user: also an address of mail, or one of a Windows domain.
pub(super) fn is_user(user: &str) -> bool {
    let is_plain =
        |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-' | '$' | '{' | '}');
    let name = match user.split_once('\\') {
        // `C:\` is a place.
        Some((domain, name)) if domain.len() > 1 && domain.chars().all(is_plain) => name,
        Some(_) => return false,
        None => user,
    };
    let (name, host) = name.split_once('@').map_or((name, None), |(name, host)| (name, Some(host)));
    !name.is_empty()
        && name.chars().all(is_plain)
        && host.is_none_or(|host| host.contains('.') && is_host(host, false))
}

/// Whether a text may be the name of a host and not that of a version. One without a dot is told by nothing from what may stand
/// before a colon as well.
fn is_host(name: &str, has_port: bool) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
    if !name.split('.').all(is_label) {
        return false;
    }
    if name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if !last.starts_with(char::is_alphabetic) {
        return false;
    }
    let is_version = name.starts_with('v')
        && name.get(1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let is_known = NO_HOSTS.iter().any(|known| known.eq_ignore_ascii_case(name));
    name.contains('.') || !(has_port || is_version || is_known)
}

#[cfg(test)]
mod tests {
    use super::super::hidden;

    #[test]
    fn a_login_needs_no_scheme() {
        for (text, shown) in [
            ("user:pw@host/path", "***@host/path"),
            ("get me:s3cr3t@db.example.org:5432/x now", "get ***@db.example.org:5432/x now"),
            ("http_proxy=me:pw@proxy.example.org:3128", "http_proxy=***@proxy.example.org:3128"),
            ("\"me:p@ss@127.0.0.1/x\"", "\"***@127.0.0.1/x\""),
            ("me:pw@localhost:80", "***@localhost:80"),
            ("--url=me:pw@h.org/x,next", "--url=***@h.org/x,next"),
            ("postgres:s3cret@db:5432/app", "***@db:5432/app"),
            ("me@corp.com:s3cret@db.example.org/x", "***@db.example.org/x"),
            (r"CORP\me:pw@h.org/x", "***@h.org/x"),
            ("me:a,b@h.org/x", "***@h.org/x"),
            ("me:a;b|c(d[e@h.org:80,next", "***@h.org:80,next"),
            ("first,me:a,b@h.org/x;y", "first,***@h.org/x;y"),
            ("sqlplus scott/t1ger@db.example.org:1521/orcl", "sqlplus ***@db.example.org:1521/orcl"),
            ("userid=scott/t1ger@//db:1521/orcl", "userid=***@//db:1521/orcl"),
            ("scott/t1ger@//db.example.org/orcl", "***@//db.example.org/orcl"),
        ] {
            assert_eq!(hidden(text), shown, "{text}");
            assert_eq!(hidden(shown), shown, "what is hidden stays as it is: {text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_login_is_none() {
        for text in [
            "me@example.org",
            "mailto:me@example.org/x",
            "From:me@example.org/x",
            "git@github.com:a/b",
            "git@github.com:a/b.git@main",
            "12:30@x/y",
            "2026-12-01T12:30:05@x.org/y",
            "alpine:3.19@sha256:0123456789abcdef",
            "docker.io/library/alpine:3@sha256:01/x",
            "npm:react@18.2.0/index.js",
            "x:react@18.2.0/index.js",
            "x:react@latest/index.js",
            "x:y@v2/z",
            "lr:0.1@epoch",
            "user:pw@host",
            "actions/checkout@v4",
            "library/alpine@sha256:01/x",
            "src/me@host:22",
            "a/b/c@h.org:80/x",
            "scott/$PW@//db/orcl",
            "$USER:$PW@h.org/x",
            "${vars.user}:${vars.pw}@h.org/x",
            "key: me@x.org/y",
            r"C:\a@b.org/c",
            "data/a:b@c.org/d",
            "a:b@c:1",
            "a: b, c@h.org/x",
            "a:1,me@h.org",
            "(key:1,mail:me@example.org)",
        ] {
            assert_eq!(hidden(text), text);
        }
    }

    /// Each takes minutes where every place is looked at up to the end of the line.
    #[test]
    fn a_line_of_many_is_read_once() {
        for text in ["a:b@", "a:b@c.d/ "] {
            let line = text.repeat(400_000 / text.len());
            assert!(!hidden(&line).is_empty());
        }
    }
}
