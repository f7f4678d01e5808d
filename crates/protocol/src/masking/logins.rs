//! Secrets in what is no URL: passwords and keys in connection strings (`Server=h;Password=…`, `AccountKey=…`), and logins before a
//! host without a scheme (`user:password@host/path`). What else has a colon and an `@`, such as addresses of mail, images of
//! containers and versions of packages, is none.

use std::net::Ipv4Addr;
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

/// What stands before the colon of something else than a login.
const NO_USERS: [&str; 24] = [
    "mailto", "mail", "email", "e-mail", "from", "to", "cc", "bcc", "reply-to", "sender", "author", "sip",
    "sips", "xmpp", "acct", "file", "npm", "jsr", "pkg", "gh", "github", "gitlab", "docker", "oci",
];

/// What stands behind the `@` of a version, and is no host.
const NO_HOSTS: [&str; 8] = ["latest", "next", "main", "master", "head", "sha1", "sha256", "sha512"];

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
        // Between blanks, a value ends at the next one.
        value.end = values.blanks.at(value.start).map_or(value.end, |blank| blank.min(value.end));
        let behind = text.get(value.end..).unwrap_or_default();
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

/// Users and passwords before a host that has no scheme before it.
pub(super) fn logins(text: &str) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for piece in text.split_inclusive(is_end_of_word) {
        let word = piece.trim_end_matches(is_end_of_word);
        parts.extend(login(word).map(|login| start + login.start..start + login.end));
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
        Some(port) => !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()),
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
        for text in [
            "AccountKey=",
            "AccountKey=a ",
            ";password=",
            ";password=a ",
            "password=\"",
            "a:b@",
            "a:b@c.d/ ",
            ";pwd={",
        ] {
            let line = text.repeat(400_000 / text.len());
            assert!(!hidden(&line).is_empty());
        }
    }
}
