//! What a fetch fails of, in words: what another attempt may mend, and what it will not.

use protocol::Failure;
use protocol::masking::hidden;
use ureq::http::StatusCode;

use super::way::Way;
use super::{FetchError, NO_VALIDATOR, Stop};
use crate::partial::Remote;
use crate::url::Url;

pub(super) fn check_size(way: &Way<'_>, announced: Option<u64>, expected: Option<u64>) -> Result<(), Stop> {
    match (announced, expected) {
        (Some(announced), Some(expected)) if announced != expected => {
            let failure = Failure::new(format!("{way} has {announced} bytes, but `size` says {expected}"))
                .hint("check `source` and `size`: the file on the server may be another one now");
            Err(Stop::Refused(FetchError { status: None, failure }))
        }
        _ => Ok(()),
    }
}

/// A body that goes on behind the file's `size`.
pub(super) fn too_long(way: &Way<'_>, size: u64) -> Failure {
    Failure::new(format!("{way} sent more than the {size} bytes that `size` says"))
        .hint("check `source` and `size`: the file on the server may be another one now")
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Refused(FetchError { status: None, failure })
    }
}

/// An answer that makes no sense, now or later.
pub(super) fn refuse(status: Option<StatusCode>, reason: String) -> Stop {
    let failure = Failure::new(reason)
        .hint("check the URL in `source`, or download the file by hand and give its path");
    Stop::Refused(FetchError { status: status.map(|status| status.as_u16()), failure })
}

pub(super) fn no_answer(way: &Way<'_>, error: ureq::Error) -> Stop {
    let reason = format!("no answer from {way}: {}", hidden(&error.to_string()));
    let hint = match error {
        ureq::Error::BadUri(_)
        | ureq::Error::Http(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::TlsRequired => "check the URL in `source`",
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            "what answers there does not speak HTTP as it should: check server and port in `source`, and the proxy"
        }
        _ => return Stop::Broken(reason),
    };
    Stop::Refused(FetchError { status: None, failure: Failure::new(reason).hint(hint) })
}

pub(super) fn refused(way: &Way<'_>, status: StatusCode) -> Stop {
    let reason = format!("{way} answered {status}");
    let passing = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if passing {
        return Stop::Broken(reason);
    }
    let hint = match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => "check the URL in `source`: there is no such file",
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "the file needs a login: download it by hand and give its path as `source`"
        }
        _ => "check the URL in `source`, or download the file by hand and give its path",
    };
    Stop::Refused(FetchError { status: Some(status.as_u16()), failure: Failure::new(reason).hint(hint) })
}

pub(super) fn gave_up(url: &Url, reason: &str, attempts: usize, have: u64, remote: &Remote) -> FetchError {
    let of = remote.total.map(|total| format!(" of {total}")).unwrap_or_default();
    let failure = Failure::new(format!("cannot fetch `{url}` in {attempts} attempts: {reason}"));
    let failure = failure.hint(match have {
        0 => "check the network, the proxy, the CA certificates and the URL in `source`".to_owned(),
        _ if remote.validator.is_none() => format!("the next run starts again: {NO_VALIDATOR}"),
        _ => format!("{have}{of} bytes are there: the next run continues from them"),
    });
    FetchError { status: None, failure }
}
