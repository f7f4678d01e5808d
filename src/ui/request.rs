//! From the bytes of a request to what it asks for. Whatever else a client may say is refused or passed over. Knows no
//! page and no file.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::response::Status;

/// Bytes that the head of a request may have.
pub(super) const LONGEST_HEAD: usize = 16 * 1024;
/// Headers that it may have.
const MOST_HEADERS: usize = 64;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// Whether only the answer's head is wanted.
    pub(super) head_only: bool,
    /// The path, its segments decoded. None of the root.
    pub(super) path: Vec<String>,
    /// Names and values behind the `?`, decoded, in order.
    pub(super) query: Vec<(String, String)>,
    /// Names and values of cookies as sent.
    pub(super) cookies: Vec<(String, String)>,
    /// The id of the last event that was heard, where a stream of them broke.
    pub(super) last_event: Option<String>,
}

impl Request {
    /// The path alone. It leads nowhere but to this server.
    pub(super) fn clean_path(&self) -> String {
        format!("/{}", self.path.iter().map(|segment| encode(segment)).collect::<Vec<_>>().join("/"))
    }

    /// The first value of a name behind the `?`.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Why a request is not answered as it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is no request.
    Malformed,
    /// Its head is too long.
    TooLong,
    /// It wants to do something else than to read.
    Method,
    /// It was sent to another host: some page lets a browser take this address for its own.
    Host,
    /// Another page, of another address or port, made the browser send it.
    Elsewhere,
}

impl Refusal {
    /// Status of the answer.
    pub(super) fn status(self) -> Status {
        match self {
            Self::Malformed => Status::BadRequest,
            Self::TooLong => Status::HeadTooLong,
            Self::Method => Status::MethodNotAllowed,
            Self::Host | Self::Elsewhere => Status::Forbidden,
        }
    }

    /// In words.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Malformed => "This is not a request that `pipe ui` understands.",
            Self::TooLong => "This request is too long.",
            Self::Method => "These pages can only be read: GET and HEAD.",
            Self::Host => {
                "These pages are shown under `127.0.0.1` and `localhost` only, with the port that was printed."
            }
            Self::Elsewhere => {
                "A page of another address or port led here, which is not followed. Type or paste the address that `pipe ui` \
                 printed into the browser's own address line."
            }
        }
    }
}

/// Whether bytes hold the blank line that ends a head, of which the first `known` are known not to. What follows it is not
/// read.
pub(super) fn holds_end(bytes: &[u8], known: usize) -> bool {
    // It may have begun in what is known.
    let new = bytes.get(known.saturating_sub(2)..).unwrap_or_default();
    new.windows(2).any(|pair| pair == b"\n\n") || new.windows(3).any(|line| line == b"\n\r\n")
}

/// Reads the head of a request to a server on `port`.
///
/// # Errors
/// When it is refused, and why.
pub(super) fn parse(bytes: &[u8], port: u16) -> Result<Request, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() >= LONGEST_HEAD => return Err(Refusal::TooLong),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLong),
        Ok(httparse::Status::Partial) | Err(_) => return Err(Refusal::Malformed),
    }
    check_host(parsed.headers, port)?;
    check_site(parsed.headers)?;
    let head_only = match parsed.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Refusal::Method),
    };
    let target = parsed.path.filter(|path| path.starts_with('/')).ok_or(Refusal::Malformed)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(name, true)?, decode(value, true)?))
    });
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    Ok(Request {
        head_only,
        path: segments.map(|part| decode(part, false)).collect::<Option<_>>().ok_or(Refusal::Malformed)?,
        query: pairs.collect::<Option<_>>().ok_or(Refusal::Malformed)?,
        cookies: cookies(parsed.headers),
        last_event: values(parsed.headers, "last-event-id").next().map(str::to_owned),
    })
}

/// Whether the request was meant for this server. Of several hosts none is believed.
fn check_host(headers: &[httparse::Header<'_>], port: u16) -> Result<(), Refusal> {
    let mut hosts = values(headers, "host");
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(Refusal::Malformed) };
    let ours = ["127.0.0.1", "localhost"].iter().any(|name| {
        let rest = host.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name));
        match rest.and_then(|_| host.get(name.len()..)) {
            // The port of `http:` goes without saying.
            Some("") => port == 80,
            Some(rest) => rest.strip_prefix(':').is_some_and(|given| given == port.to_string()),
            None => false,
        }
    });
    if ours { Ok(()) } else { Err(Refusal::Host) }
}

/// Whether the browser says that one of these pages asks, or the user. What says nothing of it is no browser, or an old one.
fn check_site(headers: &[httparse::Header<'_>]) -> Result<(), Refusal> {
    let is_ours = values(headers, "sec-fetch-site").all(|site| matches!(site, "same-origin" | "none"));
    if is_ours { Ok(()) } else { Err(Refusal::Elsewhere) }
}

fn values<'a>(headers: &'a [httparse::Header<'_>], name: &str) -> impl Iterator<Item = &'a str> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| std::str::from_utf8(header.value).unwrap_or_default().trim())
}

fn cookies(headers: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    let pairs = values(headers, "cookie").flat_map(|value| value.split(';'));
    let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Text with `%41` for `A` and, in a query, `+` for a blank. `None` where that is not text.
fn decode(text: &str, is_query: bool) -> Option<String> {
    let is_byte = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    // What is no byte would be left as it stands.
    let is_whole = text.split('%').skip(1).all(is_byte);
    let text = if is_query { &text.replace('+', " ") } else { text };
    percent_decode_str(text).decode_utf8().ok().filter(|_| is_whole).map(Cow::into_owned)
}

/// What has no meaning of its own in a path or a query.
const AS_IT_IS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Text as a segment of a path or a value in a query: whatever has a meaning there is written as `%41`.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, AS_IT_IS).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(target: &str) -> Result<Request, Refusal> {
        parse(format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n").as_bytes(), 8080)
    }

    #[test]
    fn a_request_has_a_path_a_query_and_cookies() {
        let text = b"HEAD /stages/train%5Blr=0.1%5D/log?a=b+c&d=%2B&e HTTP/1.1\r\nhost: LocalHost:8080\r\n\
                    Cookie: a=1; b=2\r\nLast-Event-ID: 7-8\r\ncookie: c=3=4\r\nX: \xff\r\n\r\nbody";
        let request = parse(text, 8080).unwrap();
        assert!(request.head_only);
        assert_eq!(request.path, ["stages", "train[lr=0.1]", "log"]);
        assert_eq!(request.clean_path(), "/stages/train%5Blr%3D0.1%5D/log");
        assert_eq!(request.query("a"), Some("b c"));
        assert_eq!((request.query("d"), request.query("e"), request.query("f")), (Some("+"), Some(""), None));
        let cookies: Vec<_> = request.cookies.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        assert_eq!(cookies, ["a:1", "b:2", "c:3=4"]);
        assert_eq!(request.last_event.as_deref(), Some("7-8"));
        assert_eq!(get("/").unwrap().path, Vec::<String>::new());
        for elsewhere in ["//evil.example", "/%2Fevil.example", "/\\evil.example/"] {
            let path = get(elsewhere).unwrap().clean_path();
            assert!(path.starts_with('/') && !path.starts_with("//") && !path.contains('\\'), "{path}");
        }
    }

    #[test]
    fn only_this_host_is_answered() {
        let with = |headers: &str, port| parse(format!("GET / HTTP/1.1\r\n{headers}\r\n").as_bytes(), port);
        for host in ["127.0.0.1:8080", "localhost:8080"] {
            assert!(with(&format!("Host: {host}\r\n"), 8080).is_ok(), "{host}");
        }
        for host in [
            "evil.example:8080",
            "127.0.0.1",
            "127.0.0.1:80801",
            "127.0.0.1:8081",
            "127.0.0.1.evil.example:8080",
            "localhost.:8080",
            "[::1]:8080",
            "",
        ] {
            assert_eq!(with(&format!("Host: {host}\r\n"), 8080), Err(Refusal::Host), "{host}");
        }
        assert!(with("Host: localhost\r\n", 80).is_ok());
        assert_eq!(with("", 8080), Err(Refusal::Malformed));
        let twice = "Host: 127.0.0.1:8080\r\nHost: 127.0.0.1:8080\r\n";
        assert_eq!(with(twice, 8080), Err(Refusal::Malformed));
    }

    #[test]
    fn what_another_page_makes_a_browser_send_is_refused() {
        let with = |headers: &str| {
            parse(format!("GET / HTTP/1.1\r\nHost: localhost:8080\r\n{headers}\r\n").as_bytes(), 8080)
        };
        for site in ["same-origin", "none"] {
            assert!(with(&format!("Sec-Fetch-Site: {site}\r\n")).is_ok(), "{site}");
        }
        for site in ["cross-site", "same-site", "", "none, cross-site"] {
            assert_eq!(with(&format!("sec-fetch-site: {site}\r\n")), Err(Refusal::Elsewhere), "{site}");
        }
        let twice = "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n";
        assert_eq!(with(twice), Err(Refusal::Elsewhere));
    }

    #[test]
    fn what_is_no_request_to_read_is_refused() {
        let to = |start: &str| parse(format!("{start}\r\nHost: 127.0.0.1:8080\r\n\r\n").as_bytes(), 8080);
        for start in
            ["", "GET", "GET /", "GET / HTTP/3", "get\0/ HTTP/1.1", "GET http://127.0.0.1:8080/ HTTP/1.1"]
        {
            assert_eq!(to(start), Err(Refusal::Malformed), "{start}");
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "get"] {
            assert_eq!(to(&format!("{method} / HTTP/1.1")), Err(Refusal::Method));
        }
        for target in ["/%", "/%4", "/%zz", "/%ff", "/?a=%ff", "x", "*"] {
            assert_eq!(get(target), Err(Refusal::Malformed), "{target}");
        }
        assert_eq!(parse(format!("GET /{}", "x".repeat(LONGEST_HEAD)).as_bytes(), 1), Err(Refusal::TooLong));
        let headers = "A: b\r\n".repeat(MOST_HEADERS + 1);
        assert_eq!(to(&format!("GET / HTTP/1.1\r\n{headers}X: y")), Err(Refusal::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_survives_a_path(text in "\\PC{0,20}") {
            prop_assume!(!text.is_empty());
            prop_assert_eq!(get(&format!("/{}", encode(&text))).unwrap().path, vec![text.clone()]);
            let request = get(&format!("/?q={}", encode(&text))).unwrap();
            prop_assert_eq!(request.query("q"), Some(text.as_str()));
        }

        #[test]
        fn any_bytes_are_a_request_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(parse(&bytes, 1).is_err());
        }

        #[test]
        fn the_end_of_a_head_is_found_where_it_is_in_whatever_pieces_it_comes(
            value in "[ -~]{0,20}",
            line in "\r?\n",
            pieces in proptest::collection::vec(1_usize..9, 1..20),
        ) {
            let head = format!("GET / HTTP/1.1{line}Host: 127.0.0.1:8080{line}X: {value}{line}{line}").into_bytes();
            let (mut known, mut sizes) = (0, pieces.iter().cycle());
            while known < head.len() {
                let here = head.len().min(known + sizes.next().unwrap());
                let found = holds_end(&head[..here], known);
                prop_assert_eq!(found, here == head.len());
                prop_assert_eq!(found, parse(&head[..here], 8080).is_ok());
                known = here;
            }
        }
    }
}
