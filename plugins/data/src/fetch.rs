//! Fetching a file over HTTP: continues where an earlier attempt stopped, as far as the server says that it is the same
//! file still, and tries again when the line breaks.
//!
//! Knows bytes and servers; whether the bytes are the right ones is for [`crate::checks`].

mod answer;
mod room;
mod trouble;
mod way;

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use protocol::Failure;
use protocol::masking::hidden;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use self::answer::{describe, is_complete, is_still, next_part};
use self::room::Room;
pub(crate) use self::room::free_bytes;
use self::trouble::{check_size, gave_up, no_answer, refuse, refused, too_long};
use self::way::Way;
use crate::partial::{Partial, Remote};
use crate::url::Url;
use crate::validator::Validator;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may send nothing.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The time over which a server must send [`LOWEST_BYTES`].
const PACE_WINDOW: Duration = Duration::from_secs(60);
/// The fewest bytes in [`PACE_WINDOW`]: 256 a second, below what any line has that a file is fetched over.
const LOWEST_BYTES: u64 = 256 * 60;
/// Waits between attempts; one more attempt than waits.
const WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
/// Attempts that got this much further than any before were good ones: the count starts again.
const GOOD_PROGRESS: u64 = 1 << 20;
/// Why a download starts again that no strong validator holds together.
const NO_VALIDATOR: &str = "the server tells no state of the file from another (by a strong `ETag`, or a `Last-Modified` of some age)";

/// Fetches files.
pub(crate) struct Fetcher {
    agent: Agent,
    clock: Clock,
    free: Free,
}

/// Bytes that are free in a folder, where that is known.
pub(crate) type Free = Box<dyn Fn(&Path) -> Option<u64>>;

/// What time is to a fetcher.
pub(crate) struct Clock {
    /// Waits between attempts.
    pub(crate) wait: Box<dyn Fn(Duration)>,
    /// Time that has passed since some moment.
    pub(crate) now: Box<dyn Fn() -> Duration>,
}

/// What to fetch, and where to.
pub(crate) struct Wanted<'a> {
    pub(crate) url: &'a Url,
    pub(crate) folder: &'a Path,
    /// The file's name in `folder`.
    pub(crate) name: &'a str,
    /// Bytes that it should have, where that is known: another size is refused before any byte travels.
    pub(crate) size: Option<u64>,
    /// Most bytes that it may have.
    pub(crate) most: Option<u64>,
    /// Whether a digest is checked afterwards, so that a URL that is signed anew leads to the same file.
    pub(crate) has_digest: bool,
    /// Whether it is one of several files that belong together: the server is asked whether one that is finished is still
    /// what it has, so that files of two states of a set are not put together.
    pub(crate) is_one_of_many: bool,
}

/// What a request is bound to.
#[derive(Clone, Copy)]
enum Condition<'a> {
    /// The whole file.
    Whole,
    /// Its bytes from a number on, if it is still in the state that a validator tells; else the whole file.
    From(u64, &'a Validator),
    /// The whole file, unless it is still in that state.
    Unless(&'a Validator),
}

impl Wanted<'_> {
    /// Its files on disk.
    pub(crate) fn partial(&self) -> Partial {
        Partial::new(self.folder, self.name, self.url.identity(!self.has_digest))
    }
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
    /// None will, as there is no end to it.
    Endless(Failure),
}

/// Between which bytes of a file a body belongs.
struct Bounds<'a> {
    /// Bytes that are there.
    have: u64,
    /// Bytes that are there after it, where that is known.
    end: Option<u64>,
    /// Bytes of the whole file, where the server tells.
    total: Option<u64>,
    room: Room<'a>,
}

impl Default for Fetcher {
    fn default() -> Self {
        let start = Instant::now();
        let clock = Clock { wait: Box::new(std::thread::sleep), now: Box::new(move || start.elapsed()) };
        Self::new(ureq::Proxy::try_from_env(), clock, Box::new(free_bytes))
    }
}

impl Fetcher {
    /// A fetcher that goes through `proxy`, where there is one.
    pub(crate) fn new(proxy: Option<ureq::Proxy>, clock: Clock, free: Free) -> Self {
        let config = Agent::config_builder()
            .proxy(proxy)
            .user_agent(concat!("pipe-data/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .accept_encoding("identity")
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(STALL_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .build();
        Self { agent: config.new_agent(), clock, free }
    }

    /// Fetches a file, or finds it in its place.
    pub(crate) fn fetch(
        &self,
        wanted: &Wanted<'_>,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<PathBuf, FetchError> {
        let url = wanted.url;
        let partial = wanted.partial();
        if let Some((finished, _)) = partial.finished().filter(|_| !wanted.is_one_of_many) {
            return Ok(finished.into());
        }
        let (remote, have) = partial.resume();
        if have > 0 && remote.validator.is_none() {
            on_event(Event::Note(&format!("starting the download of `{url}` again: {NO_VALIDATOR}")));
        }
        let (mut failures, mut best) = (0, have);
        loop {
            let reason = match self.attempt(wanted, &partial, on_event) {
                Ok(path) => return Ok(path),
                Err(Stop::Refused(error)) => return Err(error),
                Err(Stop::Endless(failure)) => {
                    // What is there is of no use, and may be most of the disk.
                    let failure = match partial.discard() {
                        Ok(()) => failure,
                        Err(error) => Failure::new(format!("cannot delete the download of `{url}`: {error}")),
                    };
                    return Err(FetchError { status: None, failure });
                }
                Err(Stop::Broken(reason)) => reason,
            };
            let (remote, have) = partial.resume();
            if have >= best + GOOD_PROGRESS {
                failures = 0;
            }
            best = best.max(have);
            let Some(&wait) = WAITS.get(failures) else {
                return Err(gave_up(url, &reason, failures + 1, have, &remote));
            };
            failures += 1;
            let from = match have {
                0 => "from its start".to_owned(),
                _ if remote.validator.is_none() => format!("from its start, as {NO_VALIDATOR}"),
                _ => format!("from byte {have}"),
            };
            on_event(Event::Note(&format!("{reason}; trying again in {} s, {from}", wait.as_secs())));
            (self.clock.wait)(wait);
        }
    }

    fn attempt(
        &self,
        wanted: &Wanted<'_>,
        partial: &Partial,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<PathBuf, Stop> {
        let url = wanted.url;
        let on_disk = |error: io::Error| {
            let failure = Failure::new(format!("cannot write the download of `{url}`: {error}"));
            Stop::Refused(FetchError { status: None, failure })
        };
        let (known, have) = partial.resume();
        if have > 0 && known.total == Some(have) {
            return partial.finish().map_err(on_disk);
        }
        // Parts that no strong validator holds together may be of different files.
        let begun = known.validator.as_ref().filter(|_| have > 0);
        let finished = partial.finished();
        let kept = finished.as_ref().and_then(|(_, remote)| remote.validator.as_ref());
        let condition = match (begun, kept) {
            (Some(validator), _) => Condition::From(have, validator),
            (None, Some(validator)) => Condition::Unless(validator),
            (None, None) => Condition::Whole,
        };
        let mut way = Way::from(wanted.url);
        let response = self.ask(&mut way, condition)?;
        if way.loses_encryption() && !wanted.has_digest {
            on_event(Event::Note(&format!(
                "{way} does not come encrypted all the way, so that it may be changed on it: a `sha256` would notice"
            )));
        }
        let place = way.last().identity(false);
        let status = response.status();
        let another =
            |reason: &str| Stop::Broken(format!("{way} does not go on with the file begun: {reason}"));
        if let (StatusCode::NOT_MODIFIED, Condition::Unless(validator), Some((path, remote))) =
            (status, condition, &finished)
        {
            if remote.place == place && is_still(&response, validator) {
                return Ok((*path).into());
            }
            partial.discard().map_err(on_disk)?;
            return Err(Stop::Broken(format!("{way} does not say that the file is what it was")));
        }
        let part = match (status, begun) {
            (StatusCode::PARTIAL_CONTENT, Some(validator)) => {
                match next_part(&response, &known, validator, have, &place) {
                    Ok(part) => Some(part),
                    Err(reason) => {
                        partial.discard().map_err(on_disk)?;
                        return Err(another(&reason));
                    }
                }
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(validator)) => {
                if is_complete(&response, &known, validator, have) {
                    return partial.finish().map_err(on_disk);
                }
                partial.discard().map_err(on_disk)?;
                return Err(another("it has no bytes from there on"));
            }
            (StatusCode::PARTIAL_CONTENT, None) => {
                return Err(refuse(
                    Some(status),
                    format!("{way} sent a part of the file, and was asked for all of it"),
                ));
            }
            (StatusCode::OK, Some(_)) => {
                on_event(Event::Note(&format!(
                    "the file has changed or {way} cannot continue a download: starting again"
                )));
                None
            }
            (StatusCode::OK, None) => None,
            _ => return Err(refused(&way, status)),
        };
        let remote = match &part {
            Some(part) => Remote { total: part.total.or(known.total), ..known },
            None => describe(&response, place),
        };
        check_size(&way, remote.total, wanted.size)?;
        let room = Room { free: &self.free, folder: wanted.folder, most: wanted.most };
        let have = if part.is_some() { have } else { 0 };
        if let Some(total) = remote.total.or(wanted.size) {
            room.admit(&way, total, have)?;
        }
        let file = partial.open(&remote, part.is_some()).map_err(on_disk)?;
        let end = part.as_ref().map(|part| part.end).or(remote.total);
        let bounds = Bounds { have, end: end.or(wanted.size), total: remote.total, room };
        let reached = self.receive(&way, response, file, bounds, on_event)?;
        match (remote.total, end) {
            (None, None) if wanted.size.is_some_and(|size| reached > size) => {
                Err(Stop::Endless(too_long(&way, wanted.size.unwrap_or_default())))
            }
            (Some(total), _) if reached < total => {
                Err(Stop::Broken(format!("{way} ended after {reached} of {total} bytes")))
            }
            (_, Some(end)) if reached > end => {
                partial.discard().map_err(on_disk)?;
                Err(Stop::Broken(format!("{way} sent more bytes than the {end} that it announced")))
            }
            (None, Some(end)) => {
                Err(Stop::Broken(format!("{way} sent up to byte {end}, and does not say of how many")))
            }
            _ => partial.finish().map_err(on_disk),
        }
    }

    /// The answer to a request for a file. Goes where servers send to.
    fn ask(&self, way: &mut Way<'_>, condition: Condition<'_>) -> Result<Response<Body>, Stop> {
        loop {
            let mut request = self.agent.get(way.last().secret());
            request = match condition {
                Condition::Whole => request,
                Condition::From(from, validator) => request
                    .header(header::RANGE, format!("bytes={from}-"))
                    .header(header::IF_RANGE, validator.as_str()),
                Condition::Unless(validator) => request.header(validator.unless(), validator.as_str()),
            };
            let response = request.call().map_err(|error| no_answer(way, error))?;
            let status = response.status();
            match way.follow(&response) {
                Ok(true) => {}
                Ok(false) => return Ok(response),
                Err(reason) => return Err(refuse(Some(status), format!("{way} {reason}"))),
            }
        }
    }

    /// Appends the body to `file`, and stops behind its end; gives the length that it got to.
    fn receive(
        &self,
        way: &Way<'_>,
        response: Response<Body>,
        mut file: std::fs::File,
        bounds: Bounds<'_>,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<u64, Stop> {
        let on_disk = |error: io::Error| refuse(None, format!("cannot write the download of {way}: {error}"));
        let Bounds { mut have, end, total, room } = bounds;
        let look = |have| room.next_look(way, have).map_err(Stop::Endless);
        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 16];
        let (mut since, mut then) = ((self.clock.now)(), have);
        let mut next_look = if end.is_some() { u64::MAX } else { look(have)? };
        on_event(Event::Bytes(have, total));
        while end.is_none_or(|end| have <= end) {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let error = hidden(&error.to_string()).into_owned();
                    return Err(Stop::Broken(format!("the connection to {way} broke: {error}")));
                }
            };
            file.write_all(&buffer[..count]).map_err(on_disk)?;
            have += count as u64;
            if have > next_look {
                next_look = look(have)?;
            }
            on_event(Event::Bytes(have, total));
            let now = (self.clock.now)();
            if now.saturating_sub(since) >= PACE_WINDOW {
                let (sent, seconds) = (have - then, now.saturating_sub(since).as_secs());
                if sent < LOWEST_BYTES {
                    return Err(Stop::Broken(format!(
                        "{way} sent {sent} bytes in {seconds} s, fewer than {LOWEST_BYTES} in {} s",
                        PACE_WINDOW.as_secs()
                    )));
                }
                (since, then) = (now, have);
            }
        }
        file.sync_all().map_err(on_disk)?;
        Ok(have)
    }
}

impl fmt::Debug for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} (status {:?})", self.failure, self.status)
    }
}

#[cfg(test)]
mod tests;
