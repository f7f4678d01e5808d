//! The way to a file: from the URL that was asked for to where its server, and the next, send on. RFC 9110, section 15.4.
//!
//! Servers are followed here and not by `ureq`, so that where they lead is looked at as the first URL is: `ureq` takes a
//! port above 65535 for the scheme's own, and asks for `file://` over the network.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use protocol::masking::{MASK, hidden_value};
use ureq::Body;
use ureq::http::{Response, StatusCode, header};

use crate::url::Url;

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 10;

/// The URLs that led to an answer.
pub(super) struct Way<'a> {
    first: &'a Url,
    then: Vec<Url>,
}

impl<'a> Way<'a> {
    pub(super) fn from(first: &'a Url) -> Self {
        Self { first, then: Vec::new() }
    }

    /// Where it has got to.
    pub(super) fn last(&self) -> &Url {
        self.then.last().unwrap_or(self.first)
    }

    /// Goes on where an answer sends to, if it sends anywhere: true where it does.
    ///
    /// # Errors
    /// The rest of a sentence on this way, where it sends to what cannot be or on and on.
    pub(super) fn follow(&mut self, response: &Response<Body>) -> Result<bool, String> {
        let status = response.status();
        let mut places = response.headers().get_all(header::LOCATION).iter();
        let place = match (places.next(), places.next()) {
            // Of several choices one may be named as the preferred one.
            (None, _) if status == StatusCode::MULTIPLE_CHOICES => return Ok(false),
            _ if !is_redirect(status) => return Ok(false),
            (None, _) => return Err(format!("answered {status}, but does not say where to (no `Location`)")),
            (Some(_), Some(_)) => return Err(format!("answered {status} with more than one `Location`")),
            (Some(place), None) => place,
        };
        let place = encoded(place.as_bytes());
        if place.is_empty() {
            return Err(format!("answered {status}, but does not say where to (`Location` is empty)"));
        }
        if self.then.len() == MAX_REDIRECTS {
            return Err(format!("was redirected {MAX_REDIRECTS} times, and is to be once more"));
        }
        let next = self.last().resolve(&place).map_err(|reason| {
            // The end of a relative one is no URL of which anything would be hidden.
            let mut shown = hidden_value(&place).into_owned();
            if let Some(at) = shown.find(['?', '#']) {
                shown.replace_range(at + 1.., MASK);
            }
            format!("answered {status} with the `Location` `{shown}`, which cannot be followed: {reason}")
        })?;
        self.then.push(next);
        Ok(true)
    }

    /// Whether it begins where nobody can change what travels, and ends where anyone on the line can.
    pub(super) fn loses_encryption(&self) -> bool {
        self.first.is_encrypted() && !(self.then.iter().all(Url::is_encrypted))
    }
}

/// As the subject of a sentence: `` `https://a/x` (which leads to `https://b/y`) ``.
impl fmt::Display for Way<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`", self.first)?;
        for (index, url) in self.then.iter().enumerate() {
            write!(formatter, "{}`{url}`", if index == 0 { " (which leads to " } else { ", then " })?;
        }
        formatter.write_str(if self.then.is_empty() { "" } else { ")" })
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MULTIPLE_CHOICES
            | StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

/// A header's value as a part of a URL: blanks and letters beyond ASCII, which many servers send as they are, are
/// percent-encoded, as browsers do.
fn encoded(value: &[u8]) -> String {
    percent_encode(value.trim_ascii(), UNWRITTEN).to_string()
}

/// What no server should have sent as it is; `%` is taken for the beginning of something that is encoded already. What lies beyond
/// ASCII is encoded anyway.
const UNWRITTEN: &AsciiSet = &CONTROLS.add(b' ');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_other_letters_are_encoded() {
        assert_eq!(encoded(" /a b/ü.zip\t".as_bytes()), "/a%20b/%C3%BC.zip");
        assert_eq!(encoded(b"/a\xff%20"), "/a%FF%20");
    }

    #[test]
    fn a_way_is_told_without_secrets() {
        let first = Url::parse("https://u:p@a/x?s=1").unwrap();
        let mut way = Way::from(&first);
        assert_eq!(way.to_string(), "`https://***@a/x?***`");
        way.then = ["https://b/y?t=2", "http://c/z"].map(|url| Url::parse(url).unwrap()).into();
        assert_eq!(
            way.to_string(),
            "`https://***@a/x?***` (which leads to `https://b/y?***`, then `http://c/z`)"
        );
        assert!(way.loses_encryption());
        way.then.truncate(1);
        assert!(!way.loses_encryption());
    }
}
