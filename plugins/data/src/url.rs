//! URLs, and what of them may be shown: neither a login nor a query, in which servers put signatures and tokens.
//! Knows no network.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::checks::hex;

/// What stands for a secret.
const MASK: &str = "***";

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
        let authority = url.authority();
        let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
        let (host, port) = match host_and_port.rsplit_once(':') {
            // A colon in brackets belongs to an address of IPv6.
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (host_and_port, None),
        };
        if host.is_empty() {
            return Err(format!("`{url}` names no server"));
        }
        match port {
            None | Some("") => Ok(url),
            Some(port) => match port.parse::<u16>() {
                Ok(1..) if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok(url),
                _ => Err(format!("`{url}` has the port `{port}`, but ports go from 1 to 65535")),
            },
        }
    }

    /// All of it, secrets included: for requests alone.
    pub(crate) fn secret(&self) -> &str {
        &self.0
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

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&mask(&self.0))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", mask(&self.0))
    }
}

/// A text in which the logins and queries of all URLs are masked.
pub(crate) fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        masked.push_str(before);
        // What ends a URL in a sentence.
        let ends = |letter: char| letter.is_whitespace() || matches!(letter, '`' | '"' | '\'' | '<' | '>');
        let (url, following) = after.split_at(after.find(ends).unwrap_or(after.len()));
        let (authority, path) = url.split_at(url.find(['/', '?', '#']).unwrap_or(url.len()));
        match authority.rsplit_once('@') {
            Some((_, host)) => masked.extend([MASK, "@", host]),
            None => masked.push_str(authority),
        }
        let (path, fragment) = path.split_at(path.find('#').unwrap_or(path.len()));
        match path.split_once('?') {
            Some((path, _)) => masked.extend([path, "?", MASK]),
            None => masked.push_str(path),
        }
        masked.push_str(fragment);
        rest = following;
    }
    masked.push_str(rest);
    masked
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
        assert_eq!(url("https://h.org/a").to_string(), "https://h.org/a");
    }

    #[test]
    fn a_sentence_keeps_its_words() {
        assert_eq!(
            mask("no answer from `http://u:p@h/x?t=1`: bad uri: s3://key:secret@b?q (see https://h/#md5=12)"),
            "no answer from `http://***@h/x?***`: bad uri: s3://***@b?*** (see https://h/#md5=12)"
        );
        assert_eq!(mask("nothing to hide?"), "nothing to hide?");
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
    fn hosts_and_ports_that_cannot_be_are_refused() {
        let message = |text| Url::parse(text).unwrap_err();
        assert_eq!(
            message("http://u:p@h:99999/a?b"),
            "`http://***@h:99999/a?***` has the port `99999`, but ports go from 1 to 65535"
        );
        for port in ["0", "-1", "+80", "8o", "70000"] {
            assert!(Url::parse(&format!("http://h:{port}/a")).is_err(), "{port}");
        }
        assert_eq!(message("http:///a"), "`http:///a` names no server");
        for fine in ["http://h", "http://h:80/a", "http://[::1]/a", "http://[::1]:80/a", "http://h:/a"] {
            assert!(Url::parse(fine).is_ok(), "{fine}");
        }
    }
}
