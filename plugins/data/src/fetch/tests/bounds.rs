use super::*;

/// What is left in the folder of partial work.
fn left(session: &Session) -> Vec<String> {
    let entries = std::fs::read_dir(session.folder.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_body_without_an_end_is_given_up_and_deleted() {
    let server = Server::start(&content(), &[Answer::Endless]);
    let mut session = Session { most: Some(1_000_000), ..Session::new() };
    let message = session.fetch(&server, None).unwrap_err();
    snapshots::assert_message!(message);
    assert_eq!(left(&session), [""; 0]);
    let message = session.fetch(&server, Some(300_001)).unwrap_err();
    snapshots::assert_message!(message);
    assert_eq!(left(&session), [""; 0]);
    assert_eq!(server.requests().len(), 2, "nobody is asked again");
}

#[test]
fn a_body_of_unknown_length_may_have_as_many_bytes_as_allowed() {
    for answer in [Answer::Unannounced, Answer::Ranged] {
        let server = Server::start(&content(), &[answer]);
        let mut session = Session { most: Some(300_000), ..Session::new() };
        assert_eq!(session.fetch(&server, None).unwrap(), content());
        let mut session = Session { most: Some(299_999), ..Session::new() };
        let message = session.fetch(&server, None).unwrap_err();
        assert!(message.contains("more than the 299999") && message.contains("`max_download`"), "{message}");
    }
}

#[test]
fn what_the_disk_has_no_room_for_is_not_begun() {
    let server = Server::start(&content(), &[Answer::Ranged]);
    let mut session = Session { fetcher: fetcher_with_free(299_999), ..Session::new() };
    let message = session.fetch(&server, None).unwrap_err();
    snapshots::assert_message!(message);
    assert_eq!(server.requests().len(), 1);
    let mut session = Session { fetcher: fetcher_with_free(300_000), ..Session::new() };
    assert_eq!(session.fetch(&server, None).unwrap(), content());
}

#[test]
fn what_was_begun_stays_where_the_disk_has_become_too_small() {
    let server = Server::start(&content(), &[Answer::Cut(1000)]);
    let mut session = Session::new();
    session.fetch(&server, None).unwrap_err();
    server.replace(&content(), Some("\"v1\""), &[Answer::Ranged]);
    session.fetcher = fetcher_with_free(10);
    let message = session.fetch(&server, None).unwrap_err();
    snapshots::assert_message!(message);
    session.fetcher = fetcher();
    assert_eq!(session.fetch(&server, None).unwrap(), content());
    assert_eq!(server.requests()[1].sent, 295_000);
}

#[test]
fn a_body_of_unknown_length_leaves_others_their_room() {
    let server = Server::start(&content(), &[Answer::Endless]);
    let mut session = Session { fetcher: fetcher_with_free(1 << 30), ..Session::new() };
    let message = session.fetch(&server, None).unwrap_err();
    snapshots::assert_message!(message);
    assert_eq!(left(&session), [""; 0]);
}
