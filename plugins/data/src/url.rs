//! URLs, and what of them may be shown: neither a login nor a query, in which servers put signatures and tokens.
//! Knows no network.

use std::fmt;

use protocol::masking::hidden_value;
use sha2::{Digest, Sha256};

use crate::checks::hex;

/// An `http://` or `https://` URL without a fragment. Shown, it has no login and no query.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url(String);

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// The reason, where it has no host or a port that no server can have.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let url = Self(text.to_owned());
        let (host, port) = host_and_port(url.authority());
        if host.is_empty() {
            return Err(format!("`{url}` names no server"));
        }
        match port {
            None | Some("") => Ok(url),
            Some(port) => match port.parse::<u16>() {
                Ok(1..) if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok(url),
                _ if url.to_string().contains(&format!(":{port}")) => {
                    Err(format!("`{url}` has the port `{port}`, but ports go from 1 to 65535"))
                }
                _ => Err(format!(
                    "`{url}` has a login that ends in the middle: in it `/`, `?` and `#` must be written as `%2F`, `%3F` and \
                     `%23`"
                )),
            },
        }
    }

    /// All of it, secrets included: for requests alone.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }

    /// Whether what travels is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.scheme().eq_ignore_ascii_case("https")
    }

    /// What a reference on the way from this URL names, by RFC 3986, section 5.2. A login goes along to where it was meant
    /// for alone: the same server, by the same scheme or by HTTPS instead of HTTP, both at their own ports.
    ///
    /// # Errors
    /// The reason, where that is nothing that can be fetched.
    pub(crate) fn resolve(&self, reference: &str) -> Result<Self, String> {
        let reference = reference.split('#').next().unwrap_or_default();
        let (path_of, query_of) = (|text: &str| text.find('?').unwrap_or(text.len()), self.0.find('?'));
        let scheme_end = reference.find(|c: char| !c.is_ascii_alphanumeric() && !"+.-".contains(c));
        let begins_with_scheme = reference.starts_with(|c: char| c.is_ascii_alphabetic());
        let (scheme, rest) =
            match scheme_end.filter(|_| begins_with_scheme).map(|end| reference.split_at(end)) {
                Some((scheme, rest)) if rest.starts_with(':') => (Some(scheme), &rest[1..]),
                _ => (None, reference),
            };
        if let Some(scheme) = scheme
            && !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
        {
            return Err(format!(
                "only `https://` and `http://` are fetched over the network, not `{scheme}:`"
            ));
        }
        if let Some(rest) = rest.strip_prefix("//") {
            let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let (path, query) = path.split_at(path_of(path));
            let scheme = scheme.unwrap_or(self.scheme());
            let next = Self::parse(&format!("{scheme}://{authority}{}{query}", without_dots(path)))?;
            return Ok(self.with_login(next));
        }
        if scheme.is_some() {
            return Err("it names no server".into());
        }
        let (path, query) = rest.split_at(path_of(rest));
        let (root, base) = {
            let all = &self.0[..query_of.unwrap_or(self.0.len())];
            all.split_at(self.scheme().len() + "://".len() + self.authority().len())
        };
        let path = match path {
            "" => base.to_owned(),
            path if path.starts_with('/') => without_dots(path),
            path => {
                without_dots(&format!("{}/{path}", base.rsplit_once('/').map_or("", |(folder, _)| folder)))
            }
        };
        let own_query = query_of.map_or("", |at| &self.0[at..]);
        let query = if rest.is_empty() { own_query } else { query };
        Self::parse(&format!("{root}{path}{query}"))
    }

    /// `next` with the login of this URL, where that is meant for it.
    fn with_login(&self, next: Self) -> Self {
        let Some((login, _)) = self.authority().rsplit_once('@') else { return next };
        if next.authority().contains('@') || !(next.origin() == self.origin() || self.is_encrypted_as(&next))
        {
            return next;
        }
        let rest = next.after_scheme();
        Self(format!("{}://{login}@{rest}", next.scheme()))
    }

    /// Whether `next` is the same server by HTTPS instead of HTTP.
    fn is_encrypted_as(&self, next: &Self) -> bool {
        let (mine, other) = (self.origin(), next.origin());
        mine.0 == other.0 && (mine.1, other.1) == (80, 443) && !self.is_encrypted() && next.is_encrypted()
    }

    /// The server: host, port and whether what travels is encrypted.
    fn origin(&self) -> (String, u16, bool) {
        let (host, port) = host_and_port(self.authority());
        let own = if self.is_encrypted() { 443 } else { 80 };
        let port = port.and_then(|port| port.parse().ok()).unwrap_or(own);
        (host.to_ascii_lowercase(), port, self.is_encrypted())
    }

    fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// The URL of a file in the folder that this one names.
    pub(crate) fn join(&self, name: &str) -> Self {
        let (path, query) = self.0.split_at(self.0.find('?').unwrap_or(self.0.len()));
        Self(format!("{}/{name}{query}", path.trim_end_matches('/')))
    }

    /// Its path, as the part after the last `/` or whole.
    pub(crate) fn file_name(&self) -> &str {
        self.without_query().rsplit('/').next().unwrap_or_default()
    }

    /// It without its query.
    pub(crate) fn without_query(&self) -> &str {
        self.0.split('?').next().unwrap_or_default()
    }

    /// A digest of what it names, which tells nothing of its secrets. A query is a part of that unless it is said not
    /// to matter: one that only signs the request is another each time.
    pub(crate) fn identity(&self, with_query: bool) -> String {
        let authority = self.authority();
        let login = authority.rsplit_once('@').map_or(0, |(login, _)| login.len() + 1);
        let start = self.0.len() - self.after_scheme().len();
        let text = if with_query { &self.0 } else { self.without_query() };
        let (scheme, rest) = text.split_at(start.min(text.len()));
        let mut hasher = Sha256::new();
        hasher.update(scheme.to_ascii_lowercase());
        hasher.update(rest.get(login..).unwrap_or(rest));
        hex(&hasher.finalize())
    }

    fn after_scheme(&self) -> &str {
        self.0.split_once("://").map_or(self.0.as_str(), |(_, rest)| rest)
    }

    fn authority(&self) -> &str {
        self.after_scheme().split(['/', '?', '#']).next().unwrap_or_default()
    }
}

/// Those of an authority: `user:password@host:port`.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
    match host_and_port.rsplit_once(':') {
        // A colon in brackets belongs to an address of IPv6.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (host_and_port, None),
    }
}

/// A path that begins with `/` or is empty, without the steps `.` and `..` (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut steps: Vec<&str> = Vec::new();
    let mut ends_in_folder = false;
    for step in path.split('/').skip(1) {
        ends_in_folder = matches!(step, "." | "..");
        match step {
            "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    let mut whole: String = steps.iter().flat_map(|step| ["/", step]).collect();
    if ends_in_folder {
        whole.push('/');
    }
    whole
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hidden_value(&self.0))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", hidden_value(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn logins_and_queries_are_never_shown() {
        let secret = url("https://me:pa@ss@h.org:8443/a/set.zip?X-Amz-Signature=abc&b=1");
        assert_eq!(secret.to_string(), "https://***@h.org:8443/a/set.zip?***");
        assert_eq!(format!("{secret:?}"), "\"https://***@h.org:8443/a/set.zip?***\"");
        assert_eq!(secret.file_name(), "set.zip");
        let blanks = Url("https://me:p a@h.org/x?a b".into());
        assert_eq!(blanks.to_string(), "https://***@h.org/x?***");
        assert_eq!(url("https://h.org/a").to_string(), "https://h.org/a");
    }

    #[test]
    fn files_of_a_folder_keep_its_query() {
        assert_eq!(url("http://h/m/").join("a.gz").secret(), "http://h/m/a.gz");
        assert_eq!(url("http://h/m?t=1").join("a.gz").secret(), "http://h/m/a.gz?t=1");
    }

    #[test]
    fn what_a_url_names_does_not_depend_on_who_asks() {
        let of = |text: &str, with_query| url(text).identity(with_query);
        assert_eq!(of("HTTP://u:p@h/a?s=1", false), of("http://h/a?s=2", false));
        assert_eq!(of("http://u:p@h/a?s=1", true), of("http://h/a?s=1", true));
        assert_ne!(of("http://h/a?s=1", true), of("http://h/a?s=2", true));
        assert_ne!(of("http://h/a", false), of("http://h/b", false));
    }

    #[test]
    fn references_are_resolved_as_the_standard_says() {
        // RFC 3986, section 5.4, but for those that name no file of a server.
        let base = url("http://a/b/c/d;p?q");
        for (reference, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("HTTPS://g/../x?a:b", "HTTPS://g/x?a:b"),
            ("/a?to=http://h/", "http://a/a?to=http://h/"),
        ] {
            assert_eq!(base.resolve(reference).unwrap().secret(), expected, "{reference}");
        }
        assert_eq!(url("http://a").resolve("g").unwrap().secret(), "http://a/g");
        assert_eq!(url("http://a?q").resolve("g").unwrap().secret(), "http://a/g");
    }

    #[test]
    fn what_cannot_be_fetched_is_led_to_by_nothing() {
        for (reference, reason) in [
            ("file:///etc/passwd", "not `file:`"),
            ("ftp://h/x", "not `ftp:`"),
            ("g:h", "not `g:`"),
            ("data:,x", "not `data:`"),
            ("http:g", "names no server"),
            ("https:/g/x", "names no server"),
            ("http:///x", "names no server"),
            ("//h:99999/x", "has the port `99999`"),
            ("http://h:0/x", "has the port `0`"),
            ("http://u:secret@h:x/?secret", "`http://***@h:x/?***` has the port `x`"),
        ] {
            let message = url("http://a/b").resolve(reference).unwrap_err();
            assert!(message.contains(reason) && !message.contains("secret"), "{reference}: {message}");
        }
    }

    #[test]
    fn a_login_goes_to_its_own_server_alone() {
        for (from, to, login) in [
            ("http://u:p@a/x", "/y", true),
            ("http://u:p@a/x", "?y", true),
            ("http://u:p@a/x", "//A:80/y", true),
            ("http://u:p@a/x", "https://a/y", true),
            ("http://u:p@a:8080/x", "https://a/y", false),
            ("http://u:p@a/x", "https://a:8443/y", false),
            ("https://u:p@a/x", "http://a/y", false),
            ("https://u:p@a/x", "https://a:443/y", true),
            ("https://u:p@a/x", "https://a:444/y", false),
            ("https://u:p@a/x", "https://b/y", false),
            ("https://u:p@a/x", "https://a.b/y", false),
            ("https://u:p@a/x", "https://a@b/y", false),
        ] {
            let next = url(from).resolve(to).unwrap();
            assert_eq!(next.secret().contains("u:p@"), login, "{from} {to}: {}", next.secret());
        }
        // A server may give a login of its own.
        assert_eq!(url("https://u:p@a/").resolve("//v:q@a/").unwrap().secret(), "https://v:q@a/");
    }

    #[test]
    fn hosts_and_ports_that_cannot_be_are_refused() {
        let message = |text: &str| Url::parse(text).unwrap_err();
        assert_eq!(
            message("http://u:p@h:99999/a?b"),
            "`http://***@h:99999/a?***` has the port `99999`, but ports go from 1 to 65535"
        );
        for port in ["0", "-1", "+80", "8o", "70000"] {
            assert!(Url::parse(&format!("http://h:{port}/a")).is_err(), "{port}");
        }
        assert_eq!(message("http:///a"), "`http:///a` names no server");
        for password in ["p/a", "8o/a", "70000?a", "p#a"] {
            let text = message(&format!("http://u:{password}@h/x"));
            assert!(text.starts_with("`http://***@h/x` has a login that ends in the middle"), "{text}");
        }
        for fine in ["http://h", "http://h:80/a", "http://[::1]/a", "http://[::1]:80/a", "http://h:/a"] {
            assert!(Url::parse(fine).is_ok(), "{fine}");
        }
    }
}
