//! What a server's answer says of the file: its size and state, and where a part of it belongs. RFC 9110, section 14.4.

use ureq::Body;
use ureq::http::{HeaderMap, Response, header};

use crate::partial::Remote;
use crate::validator::{Validator, text};

/// `Content-Range: bytes FIRST-LAST/TOTAL`, where FIRST-LAST or TOTAL may be `*`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// First and last byte.
    range: Option<(u64, u64)>,
    total: Option<u64>,
}

/// A part of a file that fits to what is there.
pub(super) struct Part {
    /// The length that the file has with it.
    pub(super) end: u64,
    /// That of the whole, where it is known.
    pub(super) total: Option<u64>,
}

impl ContentRange {
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let (unit, rest) = text(headers, header::CONTENT_RANGE)?.split_once(' ')?;
        let (range, total) = rest.trim().split_once('/')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let number = |text: &str| -> Option<u64> {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits)
        };
        let total = if total == "*" { None } else { Some(number(total)?) };
        let range = match range {
            "*" => None,
            range => {
                let (first, last) = range.split_once('-')?;
                Some((number(first)?, number(last)?))
            }
        };
        let fits = range.is_none_or(|(first, last)| first <= last && total.is_none_or(|total| last < total));
        fits.then_some(Self { range, total })
    }
}

/// What the server says of the whole file. `place` is where the answer came from in the end.
pub(super) fn describe(response: &Response<Body>, place: String) -> Remote {
    let headers = response.headers();
    Remote {
        place,
        validator: Validator::of(headers),
        encoding: text(headers, header::CONTENT_ENCODING).map(str::to_owned),
        total: text(headers, header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
    }
}

/// Where an answer to a request for the bytes from `have` on belongs.
///
/// # Errors
/// The reason, where it is not sure that it belongs to what is there.
pub(super) fn next_part(
    response: &Response<Body>,
    known: &Remote,
    validator: &Validator,
    have: u64,
    place: &str,
) -> Result<Part, String> {
    let headers = response.headers();
    if known.place != place {
        return Err("it comes from elsewhere now".into());
    }
    if !validator.is_that_of(headers) {
        return Err(format!("what comes is not said to be of `{}`, too", validator.as_str()));
    }
    if text(headers, header::CONTENT_ENCODING) != known.encoding.as_deref() {
        return Err("it comes in another encoding".into());
    }
    let shown = || headers.get(header::CONTENT_RANGE).map_or("none".into(), |value| format!("{value:?}"));
    let Some(ContentRange { range: Some((first, last)), total }) = ContentRange::of(headers) else {
        return Err(format!("it does not say which bytes come (`Content-Range` is {})", shown()));
    };
    if first != have {
        return Err(format!("bytes from {first} on come, not from {have}"));
    }
    if let (Some(known), Some(total)) = (known.total, total)
        && known != total
    {
        return Err(format!("it has {total} bytes now, not {known}"));
    }
    let length = text(headers, header::CONTENT_LENGTH).map(|length| length.parse().ok());
    if length.is_some_and(|length: Option<u64>| length != Some(last - first + 1)) {
        return Err("its `Content-Length` and `Content-Range` contradict each other".into());
    }
    Ok(Part { end: last + 1, total: total.or(known.total) })
}

/// Whether an answer that there are no bytes from `have` on means that the file is whole.
pub(super) fn is_complete(
    response: &Response<Body>,
    known: &Remote,
    validator: &Validator,
    have: u64,
) -> bool {
    let headers = response.headers();
    let same = !headers.contains_key(header::ETAG) || validator.is_that_of(headers);
    let total = ContentRange::of(headers).and_then(|range| range.total);
    same && total == Some(have) && known.total.is_none_or(|known| known == have)
}

/// Whether an answer that a file is not modified does not say something else itself.
pub(super) fn is_still(response: &Response<Body>, validator: &Validator) -> bool {
    let headers = response.headers();
    let says = headers.contains_key(match validator {
        Validator::ETag(_) => header::ETAG,
        Validator::LastModified(_) => header::LAST_MODIFIED,
    });
    !says || validator.is_that_of(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(value: &str) -> Option<ContentRange> {
        let headers = std::iter::once((header::CONTENT_RANGE, value.parse().unwrap())).collect();
        ContentRange::of(&headers)
    }

    #[test]
    fn ranges_are_read_as_the_standard_writes_them() {
        assert_eq!(range("bytes 5-9/10"), Some(ContentRange { range: Some((5, 9)), total: Some(10) }));
        assert_eq!(range("Bytes 5-9/*"), Some(ContentRange { range: Some((5, 9)), total: None }));
        assert_eq!(range("bytes */10"), Some(ContentRange { range: None, total: Some(10) }));
    }

    #[test]
    fn what_cannot_be_is_no_range() {
        for value in [
            "bytes 5-9",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "items 5-9/10",
            "bytes +5-9/10",
            "bytes 5-9/x",
            "5-9/10",
            "bytes -9/10",
            "bytes 5-/10",
            "bytes 99999999999999999999-5/10",
        ] {
            assert_eq!(range(value), None, "{value}");
        }
    }
}
