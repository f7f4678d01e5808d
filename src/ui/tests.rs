//! Answers to requests, from bytes to bytes, over a store with nothing in it.

use proptest::prelude::*;

use super::*;

const PORT: u16 = 8080;

fn ui(root: &std::path::Path) -> Ui {
    let (token, session) = (Token::new().unwrap(), Token::new().unwrap());
    Ui { file: root.join("pipeline.yaml"), cache: None, port: PORT, token, session }
}

fn head(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\n{headers}\r\n")
}

/// The answer in text, with the events' head in the place of a stream.
fn text(ui: &Ui, head: &[u8]) -> String {
    let bytes = match ui.answer(head) {
        Answer::Page { response, head_only } => response.bytes(head_only),
        Answer::Stream { .. } => response::stream_head(),
    };
    String::from_utf8(bytes).unwrap()
}

fn with_cookie(ui: &Ui, target: &str) -> String {
    text(ui, head(target, &format!("Cookie: {}={}\r\n", ui.cookie(), ui.session.text())).as_bytes())
}

#[test]
fn without_the_token_nothing_is_told() {
    let root = tempfile::tempdir().unwrap();
    let ui = ui(root.path());
    let other = Token::new().unwrap();
    for target in [
        "/",
        "/events?page=home",
        "/runs/latest",
        "/nothing",
        "/?token=",
        &format!("/?token={}", other.text()),
    ] {
        let answer = text(&ui, head(target, "").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 403 "), "{target}: {answer}");
        assert!(answer.contains("needs the token"));
        assert!(!answer.contains(ui.token.text()) && !answer.contains(ui.session.text()));
    }
    for cookies in [
        format!("{}={}", ui.cookie(), other.text()),
        format!("{}={}", ui.cookie(), ui.token.text()),
        format!("pipe-ui-1={}", ui.session.text()),
        ui.session.text().to_owned(),
    ] {
        let answer = text(&ui, head("/", &format!("Cookie: {cookies}\r\n")).as_bytes());
        assert!(answer.starts_with("HTTP/1.1 403 "), "{cookies}");
    }
}

#[test]
fn the_first_visit_sets_a_cookie_and_leads_to_the_clean_address() {
    let root = tempfile::tempdir().unwrap();
    let ui = ui(root.path());
    let answer = text(&ui, head(&format!("/runs/a%20b/?x=y&token={}", ui.token.text()), "").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
    assert!(answer.contains("\r\nLocation: /runs/a%20b\r\n"), "{answer}");
    let cookie =
        format!("\r\nSet-Cookie: pipe-ui-8080={}; Path=/; HttpOnly; SameSite=Strict\r\n", ui.session.text());
    assert_ne!(ui.session.text(), ui.token.text(), "every port of the host is sent it");
    assert!(answer.contains(&cookie), "{answer}");
    assert!(with_cookie(&ui, "/").starts_with("HTTP/1.1 200 "));
}

#[test]
fn what_is_not_there_is_said() {
    let root = tempfile::tempdir().unwrap();
    let ui = ui(root.path());
    assert!(with_cookie(&ui, "/").contains("No runs yet"));
    for (target, status, said) in [
        ("/nothing", 404, "There is no such page"),
        ("/stages/a/log/more", 404, "There is no such page"),
        ("/stages/train/log", 404, "it never ran here"),
        ("/stages/..%2f..%2fetc/log", 404, "is not a stage name"),
        ("/events?log=..", 404, "is not a stage name"),
        ("/compare/a/b", 404, "there is no run"),
        ("/compare", 400, "Choose two runs"),
        ("/runs/latest", 404, "there is no run yet"),
        ("/stages/a%1b%5b2J%07/log", 404, "is not a stage name"),
    ] {
        let answer = with_cookie(&ui, target).replace("<code>", "").replace("</code>", "");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(said),
            "{target}: {answer}"
        );
    }
    assert!(with_cookie(&ui, "/events?page=home").contains("text/event-stream"));
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let root = tempfile::tempdir().unwrap();
        prop_assert!(text(&ui(root.path()), &bytes).starts_with("HTTP/1.1 4"));
    }

    #[test]
    fn any_target_and_header_get_an_answer(
        target in "/(runs|compare|stages|events|)/?[ -~]{0,30}",
        header in "[ -~\\t]{0,30}",
    ) {
        let root = tempfile::tempdir().unwrap();
        let ui = ui(root.path());
        let cookie = format!("Cookie: {}={}\r\n{header}\r\n", ui.cookie(), ui.session.text());
        let answer = text(&ui, head(&target, &cookie).as_bytes());
        prop_assert!(answer.starts_with("HTTP/1.1 "), "{}", answer);
        prop_assert!(answer.contains("\r\nContent-Security-Policy: default-src 'none'"));
    }
}
