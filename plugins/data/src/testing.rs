//! A small HTTP server that misbehaves as told, and archives to serve.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::fetch::{Clock, Fetcher, Free, free_bytes};

/// How a server answers one request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// As asked: the range, where one is asked for.
    Ranged,
    /// The whole file, whatever range is asked for.
    Whole,
    /// As asked, but the connection closes after so many bytes of the body.
    Cut(usize),
    /// The whole file without saying how long it is.
    Unannounced,
    /// This status and a short page.
    Status(u16),
    /// The whole file, with more bytes than it says.
    TooLong,
    /// These bytes, head and all.
    Raw(Vec<u8>),
    /// Elsewhere: with this status to this URL.
    Redirect(u16, String),
    /// The whole file over and over, in chunks and without an end.
    Endless,
}

/// A request as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
    pub(crate) authorization: Option<String>,
    /// `If-None-Match`.
    pub(crate) unless: Option<String>,
    /// Bytes of the body that were sent.
    pub(crate) sent: usize,
}

/// A server of one file under every path.
pub(crate) struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

struct State {
    content: Vec<u8>,
    etag: Option<String>,
    answers: Vec<Answer>,
    requests: Vec<Request>,
}

impl Server {
    /// Answers requests with `answers` in turn, and all later ones with the last. It serves until the test ends.
    pub(crate) fn start(content: &[u8], answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = State {
            content: content.to_vec(),
            etag: Some("\"v1\"".into()),
            answers: answers.to_vec(),
            requests: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that goes away is part of the game.
                drop(answer(stream.unwrap(), &mut shared.lock().unwrap()));
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Another file from now on.
    pub(crate) fn replace(&self, content: &[u8], etag: Option<&str>, answers: &[Answer]) {
        let mut state = self.state.lock().unwrap();
        state.content = content.to_vec();
        state.etag = etag.map(Into::into);
        state.answers = answers.to_vec();
        state.requests.clear();
    }
}

fn answer(mut stream: TcpStream, state: &mut State) -> std::io::Result<()> {
    let mut request = Request::default();
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    request.path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.into()),
            "if-range" => request.if_range = Some(value.into()),
            "if-none-match" => request.unless = Some(value.into()),
            "authorization" => request.authorization = Some(value.into()),
            _ => {}
        }
    }
    let answer = state.answers[state.requests.len().min(state.answers.len() - 1)].clone();
    if let Answer::Raw(bytes) = &answer {
        state.requests.push(request);
        return stream.write_all(bytes);
    }
    if matches!(answer, Answer::Endless) {
        state.requests.push(request);
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        loop {
            write!(stream, "{:x}\r\n", state.content.len())?;
            stream.write_all(&state.content)?;
            stream.write_all(b"\r\n")?;
        }
    }
    if request.unless.is_some() && request.unless == state.etag && matches!(answer, Answer::Ranged) {
        state.requests.push(request);
        return stream.write_all(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n");
    }
    let total = state.content.len();
    let same = request.if_range.is_none() || request.if_range == state.etag;
    let asked = request.range.as_ref().filter(|_| same).map(|range| {
        range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse::<usize>().unwrap()
    });
    let start = match answer {
        Answer::Ranged | Answer::Cut(_) => asked.unwrap_or(0),
        _ => 0,
    };
    let (mut status, mut body) = ("200 OK".to_owned(), state.content[start.min(total)..].to_vec());
    let mut headers = format!("Content-Length: {}\r\n", body.len());
    if let Some(etag) = &state.etag {
        headers += &format!("ETag: {etag}\r\n");
    }
    match &answer {
        Answer::Ranged | Answer::Cut(_) if start > total || (asked.is_some() && start == total) => {
            status = "416 Range Not Satisfiable".into();
            headers += &format!("Content-Range: bytes */{total}\r\n");
        }
        Answer::Ranged | Answer::Cut(_) if asked.is_some() => {
            status = "206 Partial Content".into();
            headers += &format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1);
        }
        Answer::Unannounced => headers.clear(),
        Answer::Redirect(code, url) => {
            (status, body) = (format!("{code} Elsewhere"), Vec::new());
            headers = format!("Content-Length: 0\r\nLocation: {url}\r\n");
        }
        Answer::Status(code) => {
            (status, body) = (format!("{code} Because"), b"<html>no</html>".to_vec());
            headers = format!("Content-Length: {}\r\n", body.len());
        }
        Answer::TooLong => body.push(b'!'),
        _ => {}
    }
    if let Answer::Cut(most) = answer {
        body.truncate(most);
    }
    request.sent = body.len();
    state.requests.push(request);
    write!(stream, "HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n")?;
    stream.write_all(&body)
}

/// A fetcher that uses no proxy and does not wait.
pub(crate) fn fetcher() -> Fetcher {
    fetcher_in_time(Duration::ZERO)
}

/// As [`fetcher`]; so much time passes whenever it looks at the clock.
pub(crate) fn fetcher_in_time(step: Duration) -> Fetcher {
    fetcher_with(step, Box::new(free_bytes))
}

/// As [`fetcher`], where every folder has so many bytes free.
pub(crate) fn fetcher_with_free(bytes: u64) -> Fetcher {
    fetcher_with(Duration::ZERO, Box::new(move |_| Some(bytes)))
}

fn fetcher_with(step: Duration, free: Free) -> Fetcher {
    let time = Cell::new(Duration::ZERO);
    let now = move || time.replace(time.get() + step);
    let clock = Clock { wait: Box::new(|_| ()), now: Box::new(now) };
    Fetcher::new(None, clock, free)
}

/// A tar.gz archive of files by path.
pub(crate) fn tar_gz(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    gz(&builder.into_inner().unwrap())
}

pub(crate) fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
