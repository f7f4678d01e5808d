//! What tells one state of a file on a server from another, so that parts of it may be put together: RFC 9110,
//! sections 8.8.1 (strong and weak) and 15.3.7.3 (combining parts). Knows headers only.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use ureq::http::{HeaderMap, HeaderName, header};

/// How much older than the answer a time of change must be to count as strong: two changes within a second have one
/// time, and clocks differ (section 8.8.2.2).
const OLD_ENOUGH: Duration = Duration::from_secs(60);

/// A strong validator: it changes whenever a byte does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Validator {
    /// An entity tag that is not marked as weak.
    ETag(String),
    /// A time of change that lay some time back when it was told.
    LastModified(String),
}

impl Validator {
    /// The strong validator of an answer with the whole file, where it has one.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        if let Some(tag) = text(headers, header::ETAG) {
            let is_strong = tag.len() >= 2 && tag.starts_with('"') && tag.ends_with('"');
            return is_strong.then(|| Self::ETag(tag.to_owned()));
        }
        let modified = text(headers, header::LAST_MODIFIED)?;
        let changed = httpdate::parse_http_date(modified).ok()?;
        let told = httpdate::parse_http_date(text(headers, header::DATE)?).ok()?;
        let age = told.duration_since(changed).ok()?;
        (age >= OLD_ENOUGH).then(|| Self::LastModified(modified.to_owned()))
    }

    /// Whether an answer says that it is of the same state.
    pub(crate) fn is_that_of(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::ETag(tag) => text(headers, header::ETAG) == Some(tag),
            Self::LastModified(time) => text(headers, header::LAST_MODIFIED) == Some(time),
        }
    }

    /// The header that asks for the file unless it is in this state.
    pub(crate) fn unless(&self) -> HeaderName {
        match self {
            Self::ETag(_) => header::IF_NONE_MATCH,
            Self::LastModified(_) => header::IF_MODIFIED_SINCE,
        }
    }

    /// As `If-Range` takes it, and the header of [`Validator::unless`].
    pub(crate) fn as_str(&self) -> &str {
        let (Self::ETag(text) | Self::LastModified(text)) = self;
        text
    }
}

/// The value of a header that is there once.
pub(crate) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(HeaderName, &str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn of(list: &[(HeaderName, &str)]) -> Option<Validator> {
        Validator::of(&headers(list))
    }

    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    #[test]
    fn only_strong_tags_count() {
        assert_eq!(of(&[(header::ETAG, "\"v1\"")]), Some(Validator::ETag("\"v1\"".into())));
        for weak in ["W/\"v1\"", "v1", "\"", ""] {
            assert_eq!(of(&[(header::ETAG, weak)]), None, "{weak}");
        }
        assert_eq!(of(&[]), None);
        // A weak tag says that the time of change is no better.
        let old = (header::DATE, "Sun, 06 Nov 1994 09:49:37 GMT");
        assert_eq!(of(&[(header::ETAG, "W/\"v1\""), (header::LAST_MODIFIED, MODIFIED), old]), None);
    }

    #[test]
    fn a_time_of_change_counts_once_it_is_past() {
        let of = |date| of(&[(header::LAST_MODIFIED, MODIFIED), (header::DATE, date)]);
        assert_eq!(of("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Validator::LastModified(MODIFIED.into())));
        assert_eq!(of("Sun, 06 Nov 1994 08:50:36 GMT"), None);
        assert_eq!(of("Sun, 06 Nov 1994 08:00:00 GMT"), None);
        assert_eq!(of("some day"), None);
        assert_eq!(Validator::of(&headers(&[(header::LAST_MODIFIED, MODIFIED)])), None);
    }

    #[test]
    fn the_same_state_says_so_itself() {
        let tag = Validator::ETag("\"v1\"".into());
        assert!(tag.is_that_of(&headers(&[(header::ETAG, "\"v1\"")])));
        assert!(!tag.is_that_of(&headers(&[(header::ETAG, "W/\"v1\"")])));
        assert!(!tag.is_that_of(&headers(&[(header::ETAG, "\"v2\"")])));
        assert!(!tag.is_that_of(&headers(&[(header::LAST_MODIFIED, MODIFIED)])));
        assert!(!tag.is_that_of(&headers(&[(header::ETAG, "\"v1\""), (header::ETAG, "\"v2\"")])));
    }
}
