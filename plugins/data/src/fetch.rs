//! Fetching a file over HTTP: continues where an earlier attempt stopped, and tries again when the line breaks.
//!
//! Knows bytes and servers; whether the bytes are the right ones is for [`crate::checks`].

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::Failure;
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::partial::{Partial, Remote};

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may send nothing.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Waits between attempts; one more attempt than waits.
const WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
/// An attempt that brought this much was a good one: the count starts again.
const GOOD_PROGRESS: u64 = 1 << 20;

/// Fetches files.
pub(crate) struct Fetcher {
    agent: Agent,
    wait: Box<dyn Fn(Duration)>,
}

/// Why a file could not be fetched.
pub(crate) struct FetchError {
    /// The server's last answer, where it was a refusal.
    pub(crate) status: Option<u16>,
    pub(crate) failure: Failure,
}

/// What happens during a fetch.
pub(crate) enum Event<'a> {
    /// So many bytes of so many are there.
    Bytes(u64, Option<u64>),
    /// Something worth a line in the log.
    Note(&'a str),
}

/// How an attempt ended, short of the whole file.
enum Stop {
    /// Another attempt may succeed.
    Broken(String),
    /// None will.
    Refused(FetchError),
}

impl Default for Fetcher {
    fn default() -> Self {
        Self::new(ureq::Proxy::try_from_env(), Box::new(std::thread::sleep))
    }
}

impl Fetcher {
    /// `wait` is called between attempts.
    pub(crate) fn new(proxy: Option<ureq::Proxy>, wait: Box<dyn Fn(Duration)>) -> Self {
        let config = Agent::config_builder()
            .proxy(proxy)
            .user_agent(concat!("pipe-data/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .accept_encoding("identity")
            .http_status_as_error(false)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(STALL_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .build();
        Self { agent: config.new_agent(), wait }
    }

    /// Fetches `url` into the file `name` in `folder`, or finds it there. `size` is what it should have, where that
    /// is known: another size is refused before any byte travels.
    pub(crate) fn fetch(
        &self,
        url: &str,
        folder: &Path,
        name: &str,
        size: Option<u64>,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<PathBuf, FetchError> {
        let partial = Partial::new(folder, name);
        if let Some(finished) = partial.finished() {
            return Ok(finished.into());
        }
        let mut failures = 0;
        loop {
            let (_, before) = partial.resume(url);
            let reason = match self.attempt(url, &partial, size, on_event) {
                Ok(path) => return Ok(path),
                Err(Stop::Refused(error)) => return Err(error),
                Err(Stop::Broken(reason)) => reason,
            };
            let (remote, have) = partial.resume(url);
            if have.saturating_sub(before) >= GOOD_PROGRESS {
                failures = 0;
            }
            let Some(&wait) = WAITS.get(failures) else {
                return Err(gave_up(url, &reason, failures + 1, have, remote.total));
            };
            failures += 1;
            on_event(Event::Note(&format!(
                "{reason}; trying again in {} s, from byte {have}",
                wait.as_secs()
            )));
            (self.wait)(wait);
        }
    }

    fn attempt(
        &self,
        url: &str,
        partial: &Partial,
        size: Option<u64>,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<PathBuf, Stop> {
        let on_disk = |error: io::Error| {
            let failure = Failure::new(format!("cannot write the download of `{url}`: {error}"));
            Stop::Refused(FetchError { status: None, failure })
        };
        let (known, have) = partial.resume(url);
        if have > 0 && known.total == Some(have) {
            return partial.finish().map_err(on_disk);
        }
        let mut request = self.agent.get(url);
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
            if let Some(validator) = &known.validator {
                request = request.header(header::IF_RANGE, validator);
            }
        }
        let response = request.call().map_err(|error| no_answer(url, error))?;
        let status = response.status();
        let range = content_range(response.headers());
        let resume = match (status, range) {
            (StatusCode::PARTIAL_CONTENT, Some(Range { start: Some(start), total }))
                if start == have && (known.total.is_none() || total.is_none() || total == known.total) =>
            {
                true
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(Range { total, .. }))
                if have > 0 && total == Some(have) =>
            {
                return partial.finish().map_err(on_disk);
            }
            (StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _) if have > 0 => {
                partial.discard().map_err(on_disk)?;
                return Err(Stop::Broken(format!("the file at `{url}` is not the one that was begun")));
            }
            (StatusCode::OK, _) => {
                if have > 0 {
                    on_event(Event::Note(&format!(
                        "the file has changed or `{url}` cannot continue a download: starting again"
                    )));
                }
                false
            }
            _ => return Err(refused(url, status)),
        };
        let remote = if resume { known } else { describe(url, &response) };
        check_size(url, remote.total, size)?;
        let mut file = partial.open(&remote, resume).map_err(on_disk)?;
        let mut have = if resume { have } else { 0 };
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 16];
        on_event(Event::Bytes(have, remote.total));
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Stop::Broken(format!("the connection to `{url}` broke: {error}"))),
            };
            file.write_all(&buffer[..count]).map_err(on_disk)?;
            have += count as u64;
            on_event(Event::Bytes(have, remote.total));
        }
        match remote.total {
            Some(total) if have < total => {
                Err(Stop::Broken(format!("`{url}` ended after {have} of {total} bytes")))
            }
            Some(total) if have > total => {
                partial.discard().map_err(on_disk)?;
                Err(Stop::Broken(format!("`{url}` sent {have} bytes, but announced {total}")))
            }
            _ => {
                file.sync_all().map_err(on_disk)?;
                partial.finish().map_err(on_disk)
            }
        }
    }
}

/// What the server says of the whole file.
fn describe(url: &str, response: &Response<Body>) -> Remote {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let strong = text(header::ETAG).filter(|tag| !tag.starts_with("W/"));
    Remote {
        url: url.into(),
        validator: strong.or_else(|| text(header::LAST_MODIFIED)),
        total: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
    }
}

/// `Content-Range: bytes START-END/TOTAL`, where START-END or TOTAL may be `*`.
struct Range {
    start: Option<u64>,
    total: Option<u64>,
}

fn content_range(headers: &HeaderMap) -> Option<Range> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let start = range.split_once('-').and_then(|(start, _)| start.trim().parse().ok());
    Some(Range { start, total: total.trim().parse().ok() })
}

fn check_size(url: &str, announced: Option<u64>, expected: Option<u64>) -> Result<(), Stop> {
    match (announced, expected) {
        (Some(announced), Some(expected)) if announced != expected => {
            let failure = Failure::new(format!("`{url}` has {announced} bytes, but `size` says {expected}"))
                .hint("check `source` and `size`: the file on the server may be another one now");
            Err(Stop::Refused(FetchError { status: None, failure }))
        }
        _ => Ok(()),
    }
}

fn no_answer(url: &str, error: ureq::Error) -> Stop {
    let reason = format!("no answer from `{url}`: {error}");
    match error {
        ureq::Error::BadUri(_)
        | ureq::Error::Http(_)
        | ureq::Error::TooManyRedirects
        | ureq::Error::RedirectFailed
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::TlsRequired => {
            let failure = Failure::new(reason).hint("check the URL in `source`");
            Stop::Refused(FetchError { status: None, failure })
        }
        _ => Stop::Broken(reason),
    }
}

fn refused(url: &str, status: StatusCode) -> Stop {
    let reason = format!("`{url}` answered {status}");
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

fn gave_up(url: &str, reason: &str, attempts: usize, have: u64, total: Option<u64>) -> FetchError {
    let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
    let failure = Failure::new(format!("cannot fetch `{url}` in {attempts} attempts: {reason}"));
    let failure = failure.hint(match have {
        0 => "check the network, the proxy, the CA certificates and the URL in `source`".to_owned(),
        _ => format!("{have}{of} bytes are there: the next run continues from them"),
    });
    FetchError { status: None, failure }
}

impl fmt::Debug for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} (status {:?})", self.failure, self.status)
    }
}

#[cfg(test)]
mod tests;
