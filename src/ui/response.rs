//! Answers and their heads: every one says what a browser may do with it, which is next to nothing. Knows no page.

use std::fmt::Write as _;

/// The status of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Here it is.
    Ok,
    /// It is elsewhere.
    SeeOther,
    /// The request is no request.
    BadRequest,
    /// It may not be seen.
    Forbidden,
    /// There is no such page.
    NotFound,
    /// Pages can only be read.
    MethodNotAllowed,
    /// The request is too long.
    HeadTooLong,
    /// The page cannot be made.
    Failed,
    /// Too many at once.
    Busy,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::SeeOther => "303 See Other",
            Self::BadRequest => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::HeadTooLong => "431 Request Header Fields Too Large",
            Self::Failed => "500 Internal Server Error",
            Self::Busy => "503 Service Unavailable",
        }
    }
}

/// An answer that is whole before it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: Status,
    /// The page, HTML.
    pub(super) body: String,
    /// What the page may load and run.
    pub(super) policy: String,
    /// Further headers.
    pub(super) headers: Vec<(&'static str, String)>,
}

impl Response {
    /// A page of this server's own.
    pub(super) fn page(status: Status, body: String) -> Self {
        Self { status, body, policy: own_policy(), headers: vec![] }
    }

    /// A page of the report, which brings a style and a script of its own.
    pub(super) fn report(body: String) -> Self {
        let policy = format!("{}; frame-ancestors 'none'", report::policy());
        Self { status: Status::Ok, body, policy, headers: vec![] }
    }

    /// To another page of this server.
    pub(super) fn redirect(to: String) -> Self {
        Self { headers: vec![("Location", to)], ..Self::page(Status::SeeOther, String::new()) }
    }

    /// As bytes, without the body where only the head is wanted.
    pub(super) fn bytes(&self, head_only: bool) -> Vec<u8> {
        let mut text = head(self.status, "text/html; charset=utf-8", &self.policy);
        // Writing to a string cannot fail.
        let _ = write!(text, "Content-Length: {}\r\n", self.body.len());
        for (name, value) in &self.headers {
            // A header ends where its line does.
            let value: String = value.chars().filter(|c| !c.is_control()).collect();
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if self.status == Status::MethodNotAllowed {
            text.push_str("Allow: GET, HEAD\r\n");
        }
        text.push_str("\r\n");
        if !head_only {
            text.push_str(&self.body);
        }
        text.into_bytes()
    }
}

/// The head of a stream of events, which goes on until one of both ends it.
pub(super) fn stream_head() -> Vec<u8> {
    let mut text = head(Status::Ok, "text/event-stream", "default-src 'none'");
    text.push_str("\r\n");
    text.into_bytes()
}

fn head(status: Status, kind: &str, policy: &str) -> String {
    format!(
        "HTTP/1.1 {}\r\nContent-Type: {kind}\r\nContent-Security-Policy: {policy}\r\n\
         X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Resource-Policy: same-origin\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n",
        status.line()
    )
}

/// The style sheet of this server's own pages.
pub(super) fn own_style() -> String {
    format!("{}{}", report::style(), include_str!("ui.css"))
}

/// Their script.
pub(super) const SCRIPT: &str = include_str!("live.js");

/// As for the report's pages, and events from here.
fn own_policy() -> String {
    let policy = report::policy_of(&own_style(), SCRIPT);
    format!("{policy}; connect-src 'self'; form-action 'self'; frame-ancestors 'none'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_forbids_what_it_does_not_need() {
        for response in [
            Response::page(Status::Ok, "page".into()),
            Response::report("page".into()),
            Response::redirect("/".into()),
        ] {
            let text = String::from_utf8(response.bytes(false)).unwrap();
            for header in [
                "\r\nContent-Security-Policy: default-src 'none'; ",
                "frame-ancestors 'none'",
                "\r\nX-Content-Type-Options: nosniff\r\n",
                "\r\nReferrer-Policy: no-referrer\r\n",
                "\r\nCache-Control: no-store\r\n",
            ] {
                assert!(text.contains(header), "{header}: {text}");
            }
            assert!(!text.contains("unsafe"), "{text}");
        }
        assert!(
            !String::from_utf8(Response::page(Status::Ok, "page".into()).bytes(true))
                .unwrap()
                .ends_with("page")
        );
    }

    #[test]
    fn a_header_cannot_be_broken_out_of() {
        let text =
            String::from_utf8(Response::redirect("/x\r\nSet-Cookie: a=b".into()).bytes(false)).unwrap();
        assert!(!text.contains("\r\nSet-Cookie"), "{text}");
    }
}
