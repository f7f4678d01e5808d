mod bounds;
mod redirects;

use super::*;
use crate::testing::{Answer, Server, fetcher, fetcher_in_time, fetcher_with_free};
use crate::validator::Validator;

struct Session {
    fetcher: Fetcher,
    folder: tempfile::TempDir,
    notes: Vec<String>,
    most: Option<u64>,
    is_one_of_many: bool,
}

impl Session {
    fn new() -> Self {
        Self {
            fetcher: fetcher(),
            folder: tempfile::tempdir().unwrap(),
            notes: Vec::new(),
            most: None,
            is_one_of_many: false,
        }
    }

    /// Leaves a part of `url` as an earlier run does.
    fn begin(&self, url: &str, total: Option<u64>, bytes: &[u8]) {
        let url = Url::parse(url).unwrap();
        let validator = Some(Validator::ETag("\"v1\"".into()));
        let remote = Remote { place: url.identity(false), validator, encoding: None, total };
        let partial = Partial::new(self.folder.path(), "archive", url.identity(true));
        partial.open(&remote, false).unwrap().write_all(bytes).unwrap();
    }

    fn fetch(&mut self, server: &Server, size: Option<u64>) -> Result<Vec<u8>, String> {
        self.fetch_url(&server.url("set.zip"), size, false)
    }

    fn fetch_url(&mut self, url: &str, size: Option<u64>, has_digest: bool) -> Result<Vec<u8>, String> {
        let url = Url::parse(url).unwrap();
        let notes = &mut self.notes;
        let mut on_event = |event: Event<'_>| {
            if let Event::Note(note) = event {
                notes.push(note.to_owned());
            }
        };
        let (folder, most) = (self.folder.path(), self.most);
        let wanted = Wanted {
            url: &url,
            folder,
            name: "archive",
            size,
            most,
            has_digest,
            is_one_of_many: self.is_one_of_many,
        };
        self.fetcher
            .fetch(&wanted, &mut on_event)
            .map(|path| std::fs::read(path).unwrap())
            .map_err(|error| format!("{error:?}"))
    }
}

fn content() -> Vec<u8> {
    (0..300_000_u32).map(|value| (value.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn a_file_of_many_is_asked_for_again_and_kept_as_long_as_it_is_the_same() {
    let other: Vec<u8> = content().into_iter().rev().collect();
    let server = Server::start(&content(), &[Answer::Ranged]);
    let mut session = Session { is_one_of_many: true, ..Session::new() };
    for _ in 0..2 {
        assert_eq!(session.fetch(&server, None).unwrap(), content());
    }
    let sent: Vec<_> = server.requests().into_iter().map(|request| (request.unless, request.sent)).collect();
    assert_eq!(sent, [(None, 300_000), (Some("\"v1\"".into()), 0)]);
    server.replace(&other, Some("\"v2\""), &[Answer::Cut(1000), Answer::Ranged]);
    assert_eq!(session.fetch(&server, None).unwrap(), other);
    assert_eq!(server.requests()[1].range.as_deref(), Some("bytes=1000-"));
    // Nothing tells one state from another.
    server.replace(&content(), None, &[Answer::Ranged]);
    for _ in 0..2 {
        assert_eq!(session.fetch(&server, None).unwrap(), content());
    }
    assert_eq!(server.requests().iter().map(|request| request.sent).collect::<Vec<_>>(), [300_000; 2]);
    // Neither is an answer believed that it is what it was, with another state's name.
    server.replace(&content(), Some("\"v3\""), &[Answer::Ranged]);
    session.fetch(&server, None).unwrap();
    let unchanged = b"HTTP/1.1 304 Not Modified\r\nETag: \"v4\"\r\nConnection: close\r\n\r\n".to_vec();
    server.replace(&other, Some("\"v4\""), &[Answer::Raw(unchanged), Answer::Ranged]);
    assert_eq!(session.fetch(&server, None).unwrap(), other);
}

#[test]
fn a_file_is_fetched_once() {
    let server = Server::start(&content(), &[Answer::Ranged]);
    let mut session = Session::new();
    assert_eq!(session.fetch(&server, Some(300_000)).unwrap(), content());
    assert_eq!(session.fetch(&server, None).unwrap(), content());
    let requests = server.requests();
    assert_eq!((requests.len(), requests[0].path.as_str(), &requests[0].range), (1, "/set.zip", &None));
}

#[test]
fn a_cut_connection_is_continued_and_only_the_rest_travels() {
    let server = Server::start(&content(), &[Answer::Cut(100_000), Answer::Ranged]);
    let mut session = Session::new();
    assert_eq!(session.fetch(&server, None).unwrap(), content());
    let [first, second] = &*server.requests() else { panic!("{:?}", server.requests()) };
    assert_eq!((first.sent, &first.range), (100_000, &None));
    assert_eq!(second.range.as_deref(), Some("bytes=100000-"));
    assert_eq!(second.if_range.as_deref(), Some("\"v1\""));
    assert_eq!(second.sent, 200_000);
    snapshots::assert_message!(session.notes[0]);
}

#[test]
fn the_next_run_continues_where_this_one_gave_up() {
    let server = Server::start(&content(), &[Answer::Cut(1000)]);
    let mut session = Session::new();
    let message = session.fetch(&server, None).unwrap_err();
    snapshots::assert_message!(message);
    server.replace(&content(), Some("\"v1\""), &[Answer::Ranged]);
    assert_eq!(session.fetch(&server, None).unwrap(), content());
    assert_eq!(server.requests()[0].range.as_deref(), Some("bytes=5000-"));
    assert_eq!(server.requests()[0].sent, 295_000);
}

#[test]
fn attempts_that_bring_much_do_not_count() {
    let content = vec![7; 9 << 20];
    let server = Server::start(&content, &[Answer::Cut(1 << 20)]);
    assert_eq!(Session::new().fetch(&server, None).unwrap(), content);
    assert_eq!(server.requests().len(), 9);
}

#[test]
fn a_server_that_ignores_ranges_starts_again() {
    let server = Server::start(&content(), &[Answer::Cut(100_000), Answer::Whole]);
    let mut session = Session::new();
    assert_eq!(session.fetch(&server, None).unwrap(), content());
    assert_eq!(server.requests()[1].sent, 300_000);
    snapshots::assert_message!(session.notes[1]);
}

#[test]
fn a_file_that_changed_meanwhile_starts_again() {
    let server = Server::start(&content(), &[Answer::Cut(1000)]);
    let mut session = Session::new();
    session.fetch(&server, None).unwrap_err();
    let other = vec![9; 2000];
    server.replace(&other, Some("\"v2\""), &[Answer::Ranged]);
    assert_eq!(session.fetch(&server, None).unwrap(), other);
}

/// An answer of a part: its headers beside the length, and where its body starts in `body`.
fn part(headers: &str, from: usize, body: &[u8]) -> Answer {
    let body = &body[from..];
    let head = format!("HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\n{headers}\r\n\r\n", body.len());
    Answer::Raw([head.as_bytes(), body].concat())
}

/// What comes of a download of which 100,000 bytes are there, when the rest is answered so, and the whole after that.
fn continued(answer: Answer) -> (Session, Server) {
    let server = Server::start(&content(), &[Answer::Cut(100_000), answer, Answer::Ranged]);
    let mut session = Session::new();
    assert_eq!(session.fetch(&server, None).unwrap(), content());
    (session, server)
}

#[test]
fn parts_are_put_together_under_one_strong_validator_only() {
    let other = vec![9; 300_000];
    let of_range = "Content-Range: bytes 100000-299999/300000";
    for (headers, reason) in [
        (format!("ETag: \"v2\"\r\n{of_range}"), "not said to be of `\"v1\"`, too"),
        (format!("ETag: W/\"v1\"\r\n{of_range}"), "not said to be of `\"v1\"`, too"),
        (of_range.to_owned(), "not said to be of `\"v1\"`, too"),
        (format!("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n{of_range}"), "not said to be of"),
        (format!("ETag: \"v1\"\r\nContent-Encoding: gzip\r\n{of_range}"), "in another encoding"),
        ("ETag: \"v1\"".into(), "does not say which bytes come"),
        (
            "ETag: \"v1\"\r\nContent-Type: multipart/byteranges; boundary=x".into(),
            "does not say which bytes come (`Content-Range` is none)",
        ),
        ("ETag: \"v1\"\r\nContent-Range: items 100000-299999/300000".into(), "does not say which bytes come"),
        (
            "ETag: \"v1\"\r\nContent-Range: bytes 0-199999/300000".into(),
            "bytes from 0 on come, not from 100000",
        ),
        (
            "ETag: \"v1\"\r\nContent-Range: bytes 100000-299999/300001".into(),
            "it has 300001 bytes now, not 300000",
        ),
        ("ETag: \"v1\"\r\nContent-Range: bytes 100000-299998/300000".into(), "contradict each other"),
    ] {
        let (session, server) = continued(part(&headers, 100_000, &other));
        assert!(session.notes[1].contains(reason), "{headers}: {:?}", session.notes);
        assert!(session.notes[1].ends_with("from its start"), "{:?}", session.notes);
        let ranges: Vec<_> = server.requests().into_iter().map(|request| request.range).collect();
        assert_eq!(ranges, [None, Some("bytes=100000-".into()), None], "{headers}");
    }
}

#[test]
fn a_part_that_ends_early_is_gone_on_from() {
    let answer =
        part("ETag: \"v1\"\r\nContent-Range: bytes 100000-149999/300000", 100_000, &content()[..150_000]);
    let (session, server) = continued(answer);
    snapshots::assert_message!(session.notes[1]);
    assert_eq!(server.requests()[2].range.as_deref(), Some("bytes=150000-"));
}

#[test]
fn without_a_strong_validator_a_download_starts_again_and_says_so() {
    let server = Server::start(&content(), &[]);
    for etag in [None, Some("W/\"v1\"")] {
        server.replace(&content(), etag, &[Answer::Cut(1000), Answer::Ranged]);
        let mut session = Session::new();
        assert_eq!(session.fetch(&server, None).unwrap(), content());
        assert!(
            session.notes[0].contains("from its start, as the server tells no state of the file"),
            "{:?}",
            session.notes
        );
        assert_eq!(server.requests()[1].range, None);
        // Nor does the next run go on, which finds what this one has left.
        server.replace(&content(), etag, &[Answer::Cut(1000)]);
        let mut session = Session::new();
        let message = session.fetch(&server, None).unwrap_err();
        assert!(message.contains("the next run starts again: the server tells no state"), "{message}");
        let other = vec![9; 300_000];
        server.replace(&other, etag, &[Answer::Ranged]);
        session.notes.clear();
        assert_eq!(session.fetch(&server, None).unwrap(), other);
        assert!(session.notes[0].contains("starting the download of"), "{:?}", session.notes);
    }
}

#[test]
fn a_download_that_always_starts_again_ends() {
    let content = vec![7; 9 << 20];
    let server = Server::start(&content, &[]);
    server.replace(&content, None, &[Answer::Cut(5 << 20)]);
    let message = Session::new().fetch(&server, None).unwrap_err();
    snapshots::assert_message!(message);
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn a_time_of_change_holds_parts_together_once_it_is_past() {
    let modified = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    for (date, range) in [("08:50:37", Some("bytes=5-")), ("08:49:38", None)] {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{modified}Date: Sun, 06 Nov 1994 {date} GMT\r\n\r\n01234"
        );
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789".to_vec();
        let rest = match range {
            Some(_) => part(&format!("{modified}Content-Range: bytes 5-9/10"), 5, b"0123456789"),
            None => Answer::Raw(whole),
        };
        let server = Server::start(b"", &[Answer::Raw(head.into()), rest]);
        assert_eq!(Session::new().fetch(&server, None).unwrap(), b"0123456789");
        assert_eq!(server.requests()[1].range.as_deref(), range);
    }
}

#[test]
fn a_part_that_nobody_asked_for_is_refused() {
    let answer = part("Content-Range: bytes 0-9/300000", 0, &[7; 10]);
    let server = Server::start(&content(), &[answer]);
    let message = Session::new().fetch(&server, None).unwrap_err();
    snapshots::assert_message!(message);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_length_that_contradicts_the_known_one_starts_again() {
    let answer = "HTTP/1.1 416 No\r\nContent-Length: 0\r\nContent-Range: bytes */100000\r\n\r\n";
    let (session, server) = continued(Answer::Raw(answer.into()));
    snapshots::assert_message!(session.notes[1]);
    assert_eq!(server.requests()[2].range, None);
}

#[test]
fn another_server_behind_the_same_url_starts_again() {
    let other = Server::start(&vec![9; 300_000], &[Answer::Ranged]);
    let server = Server::start(
        &content(),
        &[Answer::Cut(100_000), Answer::Redirect(302, other.url("set.zip")), Answer::Ranged],
    );
    let mut session = Session::new();
    assert_eq!(session.fetch(&server, None).unwrap(), content());
    snapshots::assert_message!(session.notes[1]);
}

#[test]
fn a_server_that_sends_next_to_nothing_is_given_up() {
    // What comes at once would do for a moment, and a minute passes at each look at the clock.
    let mut begun = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nETag: \"v1\"\r\n\r\n".to_vec();
    begun.extend([7; 2000]);
    let server = Server::start(&content(), &[Answer::Raw(begun)]);
    let mut session = Session { fetcher: fetcher_in_time(Duration::from_secs(60)), ..Session::new() };
    let message = session.fetch(&server, None).unwrap_err();
    snapshots::assert_message!(message);
}

#[test]
fn what_does_not_speak_http_is_asked_once() {
    for head in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/1.1 two hundred\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nab",
    ] {
        let server = Server::start(&content(), &[Answer::Raw(head.into())]);
        let message = Session::new().fetch(&server, None).unwrap_err();
        assert!(!message.contains("attempts"), "{head}: {message}");
        assert_eq!(server.requests().len(), 1, "{head}");
    }
}

#[test]
fn a_line_that_breaks_within_the_head_is_tried_again() {
    for head in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        let server = Server::start(&content(), &[Answer::Raw(head.into()), Answer::Ranged]);
        assert_eq!(Session::new().fetch(&server, None).unwrap(), content());
    }
}

#[test]
fn a_url_that_is_signed_anew_goes_on_where_a_digest_is_checked() {
    for (has_digest, range) in [(true, Some("bytes=5000-")), (false, None)] {
        let server = Server::start(&content(), &[Answer::Cut(1000)]);
        let mut session = Session::new();
        let message =
            session.fetch_url(&server.url("set.zip?signature=secret"), None, has_digest).unwrap_err();
        assert!(
            !format!("{message} {:?}", session.notes).contains("secret"),
            "{message} {:?}",
            session.notes
        );
        for file in std::fs::read_dir(session.folder.path()).unwrap() {
            let kept = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!String::from_utf8_lossy(&kept).contains("secret"));
        }
        server.replace(&content(), Some("\"v1\""), &[Answer::Ranged]);
        let fetched = session.fetch_url(&server.url("set.zip?signature=other"), None, has_digest).unwrap();
        assert_eq!(fetched, content());
        assert_eq!(server.requests()[0].range.as_deref(), range);
    }
}

#[test]
fn a_whole_part_of_unknown_size_is_finished_by_416() {
    let server = Server::start(&content(), &[Answer::Ranged]);
    let mut session = Session::new();
    session.begin(&server.url("set.zip"), None, &content());
    assert_eq!(session.fetch(&server, None).unwrap(), content());
    let [request] = &*server.requests() else { panic!() };
    assert_eq!(request.range.as_deref(), Some("bytes=300000-"));
}

#[test]
fn a_file_of_unannounced_length_is_fetched() {
    let server = Server::start(&content(), &[Answer::Unannounced]);
    assert_eq!(Session::new().fetch(&server, None).unwrap(), content());
}

#[test]
fn a_missing_file_is_refused_at_once() {
    let server = Server::start(&content(), &[Answer::Status(404)]);
    let message = Session::new().fetch(&server, None).unwrap_err();
    snapshots::assert_message!(message);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    let server = Server::start(&content(), &[Answer::Status(503), Answer::Status(429), Answer::Ranged]);
    assert_eq!(Session::new().fetch(&server, None).unwrap(), content());
    let server = Server::start(&content(), &[Answer::Status(500)]);
    let message = Session::new().fetch(&server, None).unwrap_err();
    snapshots::assert_message!(message);
}

#[test]
fn another_size_than_expected_is_refused_before_it_travels() {
    let server = Server::start(&content(), &[Answer::Ranged]);
    let message = Session::new().fetch(&server, Some(5)).unwrap_err();
    snapshots::assert_message!(message);
}

#[test]
fn bytes_after_the_announced_length_are_left_unread() {
    let server = Server::start(&content(), &[Answer::TooLong]);
    assert_eq!(Session::new().fetch(&server, None).unwrap(), content());
}

#[test]
fn nobody_listening_is_an_error_with_advice() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    drop(listener);
    let message = Session::new().fetch_url(&url, None, false).unwrap_err();
    snapshots::assert_message!(message);
}

#[test]
fn what_is_no_url_is_refused_at_once() {
    let message = Session::new().fetch_url("http://h h/x", None, false).unwrap_err();
    snapshots::assert_message!(message);
}

#[test]
fn a_part_of_another_url_is_not_used() {
    let server = Server::start(&content(), &[Answer::Ranged]);
    let mut session = Session::new();
    session.begin("http://elsewhere/x", Some(300_000), b"other bytes");
    assert_eq!(session.fetch(&server, None).unwrap(), content());
    assert_eq!(server.requests()[0].range, None);
}
