use super::*;
use crate::testing::{Answer, Server, fetcher};

struct Session {
    folder: tempfile::TempDir,
    notes: Vec<String>,
}

impl Session {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), notes: Vec::new() }
    }

    fn fetch(&mut self, server: &Server, size: Option<u64>) -> Result<Vec<u8>, String> {
        let notes = &mut self.notes;
        let mut on_event = |event: Event<'_>| {
            if let Event::Note(note) = event {
                notes.push(note.to_owned());
            }
        };
        fetcher()
            .fetch(&server.url("set.zip"), self.folder.path(), "archive", size, &mut on_event)
            .map(|path| std::fs::read(path).unwrap())
            .map_err(|error| format!("{error:?}"))
    }
}

fn content() -> Vec<u8> {
    (0..300_000_u32).map(|value| (value.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
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
    assert!(session.notes[0].contains("trying again in 1 s, from byte 100000"), "{:?}", session.notes);
}

#[test]
fn the_next_run_continues_where_this_one_gave_up() {
    let server = Server::start(&content(), &[Answer::Cut(1000)]);
    let mut session = Session::new();
    let message = session.fetch(&server, None).unwrap_err();
    assert!(message.contains("in 5 attempts"), "{message}");
    assert!(
        message.contains("5000 of 300000 bytes are there: the next run continues from them"),
        "{message}"
    );
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
    assert!(session.notes[1].contains("starting again"), "{:?}", session.notes);
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

#[test]
fn without_a_validator_a_file_of_another_size_is_not_continued() {
    let server = Server::start(&content(), &[Answer::Cut(1000)]);
    server.replace(&content(), None, &[Answer::Cut(1000)]);
    let mut session = Session::new();
    session.fetch(&server, None).unwrap_err();
    let other = vec![9; 200_000];
    server.replace(&other, None, &[Answer::Ranged]);
    assert_eq!(session.fetch(&server, None).unwrap(), other);
    // Even one shorter than what is there.
    let mut session = Session::new();
    server.replace(&content(), None, &[Answer::Cut(1000)]);
    session.fetch(&server, None).unwrap_err();
    server.replace(&other[..10], None, &[Answer::Ranged]);
    assert_eq!(session.fetch(&server, None).unwrap(), &other[..10]);
}

#[test]
fn a_whole_part_of_unknown_size_is_finished_by_416() {
    let server = Server::start(&content(), &[Answer::Ranged]);
    let mut session = Session::new();
    let remote = Remote { url: server.url("set.zip"), validator: None, total: None };
    let mut file = Partial::new(session.folder.path(), "archive").open(&remote, false).unwrap();
    file.write_all(&content()).unwrap();
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
    assert!(message.contains("set.zip` answered 404"), "{message}");
    assert!(message.contains("there is no such file") && message.contains("Some(404)"), "{message}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    let server = Server::start(&content(), &[Answer::Status(503), Answer::Status(429), Answer::Ranged]);
    assert_eq!(Session::new().fetch(&server, None).unwrap(), content());
    let server = Server::start(&content(), &[Answer::Status(500)]);
    let message = Session::new().fetch(&server, None).unwrap_err();
    assert!(message.contains("in 5 attempts") && message.contains("answered 500"), "{message}");
}

#[test]
fn another_size_than_expected_is_refused_before_it_travels() {
    let server = Server::start(&content(), &[Answer::Ranged]);
    let message = Session::new().fetch(&server, Some(5)).unwrap_err();
    assert!(message.contains("has 300000 bytes, but `size` says 5"), "{message}");
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
    let folder = tempfile::tempdir().unwrap();
    let outcome = fetcher().fetch(&url, folder.path(), "archive", None, &mut |_| ());
    let message = format!("{:?}", outcome.unwrap_err());
    assert!(message.contains("no answer from") && message.contains("check the network"), "{message}");
}

#[test]
fn what_is_no_url_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = fetcher().fetch("http://[::bad/x", folder.path(), "archive", None, &mut |_| ());
    assert!(format!("{:?}", outcome.unwrap_err()).contains("check the URL"));
}

#[test]
fn a_part_of_another_url_is_not_used() {
    let server = Server::start(&content(), &[Answer::Ranged]);
    let mut session = Session::new();
    let remote = Remote { url: "http://elsewhere/x".into(), validator: None, total: Some(300_000) };
    let mut file = Partial::new(session.folder.path(), "archive").open(&remote, false).unwrap();
    file.write_all(b"other bytes").unwrap();
    assert_eq!(session.fetch(&server, None).unwrap(), content());
    assert_eq!(server.requests()[0].range, None);
}
