use super::*;

fn redirect(code: u16, place: &str) -> Answer {
    Answer::Redirect(code, place.to_owned())
}

#[test]
fn every_redirect_is_followed_by_the_same_request() {
    for code in [300, 301, 302, 303, 307, 308] {
        let other = Server::start(&content(), &[Answer::Cut(100_000), Answer::Ranged]);
        let place = other.url("b/set.zip?signature=secret");
        let server = Server::start(b"", &[redirect(code, "../c?y"), redirect(code, &place)]);
        let mut session = Session::new();
        // It is asked anew where the file is when the line broke.
        let first = session.fetch_url(&server.url("a/b/set.zip"), None, false).unwrap();
        assert_eq!(first, content(), "{code}");
        let asked: Vec<_> = server.requests().into_iter().map(|request| request.path).collect();
        assert_eq!(asked, ["/a/b/set.zip", "/a/c?y", "/a/b/set.zip"], "{code}");
        let requests = other.requests();
        assert_eq!(requests[1].path, "/b/set.zip?signature=secret");
        assert_eq!(requests[1].range.as_deref(), Some("bytes=100000-"), "{code}");
        assert_eq!(requests[1].if_range.as_deref(), Some("\"v1\""), "{code}");
        assert!(session.notes[0].contains(&format!("(which leads to `{}`", server.url("a/c?***"))));
        assert!(!session.notes[0].contains("secret"), "{:?}", session.notes);
    }
}

#[test]
fn where_nothing_can_be_nobody_is_asked_twice() {
    for (place, reason) in [
        ("http://127.0.0.1:99999/x?secret", "has the port `99999`, but ports go from 1 to 65535"),
        ("file:///etc/passwd", "are fetched over the network, not `file:`"),
        ("ftp://u:secret@h/x", "are fetched over the network, not `ftp:`"),
        ("http:/x", "it names no server"),
        ("http:///x", "names no server"),
        ("", "does not say where to (`Location` is empty)"),
        ("//h:y/?secret", "has the port `y`"),
    ] {
        for code in [301, 308] {
            let server = Server::start(&content(), &[redirect(code, place)]);
            let message = Session::new().fetch(&server, None).unwrap_err();
            assert!(message.contains(&format!("set.zip` answered {code}")), "{message}");
            assert!(message.contains(reason) && !message.contains("attempts"), "{place}: {message}");
            assert!(!message.contains("secret"), "{message}");
            assert_eq!(server.requests().len(), 1, "{place}");
        }
    }
    for head in [
        "302 Found",
        "302 Found\r\nLocation: /a\r\nLocation: /b",
        "304 Not Modified\r\nLocation: /a",
        "300 Many",
    ] {
        let head = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n");
        let server = Server::start(&content(), &[Answer::Raw(head.clone().into())]);
        let message = Session::new().fetch(&server, None).unwrap_err();
        assert!(message.contains("set.zip` answered 30") && !message.contains("attempts"), "{message}");
        assert_eq!(server.requests().len(), 1, "{head}");
    }
}

#[test]
fn redirects_end() {
    let server = Server::start(&content(), &[redirect(302, "/set.zip?secret")]);
    let message = Session::new().fetch(&server, None).unwrap_err();
    snapshots::assert_message!(message);
    assert!(!message.contains("secret") && !message.contains("attempts"), "{message}");
    assert_eq!(server.requests().len(), 11);
    let ten: Vec<_> = (0..10).map(|_| redirect(302, "/y")).chain([Answer::Ranged]).collect();
    assert_eq!(Session::new().fetch(&Server::start(&content(), &ten), None).unwrap(), content());
}

#[test]
fn a_login_reaches_no_other_server() {
    let other = Server::start(&content(), &[Answer::Ranged]);
    let server = Server::start(b"", &[redirect(302, "/y"), redirect(302, &other.url("set.zip"))]);
    let url = server.url("set.zip").replace("http://", "http://me:hunter2@");
    assert_eq!(Session::new().fetch_url(&url, None, false).unwrap(), content());
    // "me:hunter2"
    let login = Some("Basic bWU6aHVudGVyMg==".to_owned());
    let logins = |server: &Server| -> Vec<_> {
        server.requests().into_iter().map(|request| request.authorization).collect()
    };
    assert_eq!(logins(&server), [login.clone(), login]);
    assert_eq!(logins(&other), [None]);
}

#[test]
fn what_a_redirect_leads_to_is_named_where_it_fails() {
    let other = Server::start(b"", &[Answer::Status(404)]);
    let server = Server::start(b"", &[redirect(302, &other.url("gone?key=secret"))]);
    let message = Session::new().fetch(&server, None).unwrap_err();
    let way =
        format!("`{}` (which leads to `{}`) answered 404", server.url("set.zip"), other.url("gone?***"));
    assert!(message.contains(&way), "{message}");
}
