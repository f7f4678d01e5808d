//! `pipe ui`: pages and events as a browser gets them, over real connections.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::project::{Project, pid};

/// Longer than anything that is waited for here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that ends with the test.
pub(crate) struct Ui {
    child: Child,
    port: u16,
    token: String,
    cookie: String,
}

/// What a server answered.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Ui {
    pub(crate) fn start(project: &Project) -> Self {
        let mut command = project.command(&["ui"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let rest = address.trim_end().strip_prefix("http://127.0.0.1:").unwrap();
        let (port, token) = rest.split_once("/?token=").unwrap();
        let mut ui = Self { child, port: port.parse().unwrap(), token: token.into(), cookie: String::new() };
        let first = ui.send(ui.request("GET", &format!("/?token={token}")).as_bytes());
        let (_, cookie) = first.head.split_once("\r\nSet-Cookie: ").unwrap();
        cookie.split(';').next().unwrap().clone_into(&mut ui.cookie);
        ui
    }

    /// The address that it printed.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}/?token={}", self.port, self.token)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn send(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.into(), body: body.into() }
    }

    fn request(&self, method: &str, target: &str) -> String {
        let Self { port, cookie, .. } = self;
        format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\n\r\n")
    }

    fn get(&self, target: &str) -> Answer {
        self.send(self.request("GET", target).as_bytes())
    }

    fn page(&self, target: &str) -> String {
        let answer = self.get(target);
        assert_eq!(answer.status, 200, "{target}: {}", answer.body);
        answer.body
    }

    fn events(&self, target: &str) -> Events {
        let mut stream = self.connect();
        stream.write_all(self.request("GET", target).as_bytes()).unwrap();
        Events { stream: BufReader::new(stream), seen: vec![], last_id: String::new() }
    }

    /// Asks for the same events again, as a browser does whose connection broke.
    fn events_again(&self, target: &str, before: &Events) -> Events {
        let mut stream = self.connect();
        let id = format!("\r\nLast-Event-ID: {}\r\n\r\n", before.last_id);
        stream.write_all(self.request("GET", target).replace("\r\n\r\n", &id).as_bytes()).unwrap();
        Events { stream: BufReader::new(stream), seen: vec![], last_id: before.last_id.clone() }
    }

    fn interrupt(mut self) -> ExitStatus {
        kill_process(pid(&self.child), Signal::INT).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Events as they come.
struct Events {
    stream: BufReader<TcpStream>,
    seen: Vec<String>,
    last_id: String,
}

impl Events {
    /// Waits for an event whose data holds all of these.
    fn wait(&mut self, wanted: &[&str]) -> serde_json::Value {
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line);
            assert!(read.as_ref().is_ok_and(|read| *read > 0), "{wanted:?}, {read:?} after {:#?}", self.seen);
            if let Some(id) = line.strip_prefix("id: ") {
                id.trim_end().clone_into(&mut self.last_id);
            }
            let Some(data) = line.strip_prefix("data: ") else { continue };
            self.seen.push(line.clone());
            if wanted.iter().all(|wanted| data.contains(wanted)) {
                return serde_json::from_str(data).unwrap();
            }
        }
    }
}

const STAGES: &str = "
one:
  uses: fake/write
  inputs: { data: data.txt }
  with: { text: one }
two:
  uses: fake/write
  inputs: { a: one.out }
";

/// Two runs, the second with another param.
fn two_runs() -> Project {
    let project = Project::new(STAGES);
    project.write("data.txt", "data");
    let gate = "gates:\n  - one.bytes < 9\n";
    project.write("pipeline.yaml", &(project.read("pipeline.yaml") + gate));
    project.pipe_ok(&["run"]);
    project.write("pipeline.yaml", &project.read("pipeline.yaml").replace("text: one", "text: longer"));
    assert_eq!(project.pipe(&["run"]).code, Some(3));
    project
}

fn names(project: &Project) -> Vec<String> {
    let history: serde_json::Value =
        serde_json::from_str(&project.pipe_ok(&["history", "--json"]).stdout).unwrap();
    let runs = history["runs"].as_array().unwrap();
    runs.iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn runs_are_listed_shown_and_compared() {
    let project = two_runs();
    let ui = Ui::start(&project);
    let [new, old] = names(&project).try_into().unwrap();
    let list = ui.page("/");
    let (first, second) =
        (list.find(&format!("/runs/{new}")).unwrap(), list.find(&format!("/runs/{old}")).unwrap());
    assert!(first < second, "newest first");
    assert!(list.contains("one.with.text &quot;one&quot; → &quot;longer&quot;"), "{list}");
    assert!(list.contains("✕ 1 of 1 fail") && list.contains("✓ 1 hold"), "{list}");
    assert!(!list.contains("id=\"live\""), "nothing is under way");

    let report = ui.page(&format!("/runs/{new}"));
    assert!(report.contains("The gate fails.") && report.contains(&format!("/compare/{old}/{new}")));
    let report = ui.page(&format!("/runs/{old}"));
    assert!(report.contains("The gate holds."));
    assert!(report.contains("<dt><code>text</code></dt><dd><code>one</code></dd>"), "its own parameters");

    let chosen = ui.get(&format!("/compare?run={new}&run={old}"));
    assert_eq!(chosen.status, 303, "{}", chosen.body);
    assert!(chosen.head.contains(&format!("\r\nLocation: /compare/{old}/{new}")), "{}", chosen.head);
    let compared = ui.page(&format!("/compare/{old}/{new}"));
    for text in
        ["one.with.text", "&quot;longer&quot;", "one.bytes", "+3", "1 input of other stages", "✕ fails"]
    {
        assert!(compared.contains(text), "{text}: {compared}");
    }
    assert_eq!(ui.get(&format!("/compare?run={new}")).status, 400);
    assert_eq!(ui.get("/runs/nope").status, 404);
    let log = ui.page("/stages/two/log");
    assert!(log.contains("wrote 15 bytes") && log.contains("Executed "), "{log}");

    project.write("pipeline.yaml", "stages: [");
    assert!(ui.page("/").contains(&format!("/runs/{new}")));
    assert!(ui.page(&format!("/compare/{old}/{new}")).contains("one.with.text"));
    assert_eq!(ui.page(&format!("/runs/{old}")), report, "whatever the pipeline says now");
}

#[test]
fn a_stranger_is_told_nothing_and_nobody_can_do_more_than_read() {
    let project = two_runs();
    let ui = Ui::start(&project);
    let port = ui.port;
    let stranger = ui.send(format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").as_bytes());
    assert!(stranger.status == 403 && stranger.body.contains("needs the token"), "{}", stranger.body);
    let guess = format!("GET /?token={} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n", "0".repeat(32));
    assert_eq!(ui.send(guess.as_bytes()).status, 403);
    let elsewhere = ui.request("GET", "/").replace("Host: 127.0.0.1", "Host: evil.example");
    assert_eq!(ui.send(elsewhere.as_bytes()).status, 403);
    let first =
        ui.send(format!("GET /?token={} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n", ui.token).as_bytes());
    assert_eq!(first.status, 303);
    assert!(first.head.contains("HttpOnly; SameSite=Strict"), "{}", first.head);
    assert!(!first.head.contains(&ui.token), "servers on other ports get the cookie: {}", first.head);
    let led = ui.request("GET", "/").replace("\r\n\r\n", "\r\nSec-Fetch-Site: same-site\r\n\r\n");
    let led = ui.send(led.as_bytes());
    assert!(led.status == 403 && led.body.contains("another address or port"), "{}", led.body);

    assert_eq!(ui.send(ui.request("POST", "/").as_bytes()).status, 405);
    let head = ui.send(ui.request("HEAD", "/").as_bytes());
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(ui.send(b"\x16\x03\x01 no request\r\n\r\n").status, 400);
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    assert_eq!(ui.send(long.as_bytes()).status, 431);
    assert_eq!(ui.get("/").status, 200);
    assert_eq!(ui.interrupt().code(), Some(130));
}

#[test]
fn who_says_nothing_makes_room_for_who_asks() {
    let project = two_runs();
    let ui = Ui::start(&project);
    let mut silent: Vec<TcpStream> = (0..31).map(|_| ui.connect()).collect();
    let mut half = ui.connect();
    half.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    silent.extend((0..31).map(|_| ui.connect()));
    assert_eq!(ui.get("/").status, 200);
    for ended in &mut silent[..31] {
        assert_eq!(ended.read(&mut [0]).unwrap(), 0, "the oldest are ended without a word");
    }
}

#[test]
fn there_are_only_so_many_streams_and_pages_get_through() {
    let project = two_runs();
    let ui = Ui::start(&project);
    let mut streams: Vec<Events> = (0..24).map(|_| ui.events("/events?page=home")).collect();
    for events in &mut streams {
        events.wait(&["part-runs"]);
    }
    let more = ui.get("/events?page=home");
    assert!(more.status == 503 && more.body.contains("close some"), "{}", more.body);
    let silent: Vec<TcpStream> = (0..8).map(|_| ui.connect()).collect();
    assert_eq!(ui.get("/").status, 200);
    drop((streams, silent));
    project.wait_until("room", || {
        let mut status = String::new();
        ui.events("/events?page=home").stream.read_line(&mut status).unwrap();
        status.starts_with("HTTP/1.1 200 ")
    });
}

#[test]
fn a_run_is_followed_while_it_goes_on_when_it_is_killed_and_to_its_end() {
    let project = Project::new(
        "
before:
  uses: fake/write
counting:
  uses: fake/count
  inputs: { a: before.out }
  with: { to: 5, stick: 3 }
",
    );
    let ui = Ui::start(&project);
    let mut events = ui.events("/events?page=home");
    events.wait(&["part-runs", "No runs yet"]);
    let mut run = project.start(&["run"]);
    events.wait(&["part-live", "number 3/5", "before", "Under way"]);
    assert!(ui.page("/").contains("number 3/5"), "a page says the same without scripts");
    kill_process(pid(&run), Signal::KILL).unwrap();
    run.wait().unwrap();
    events.wait(&["part-live", "Did not end"]);
    assert!(ui.page("/").contains("was killed"));
    project.pipe_ok(&["run"]);
    events.wait(&["part-runs", "/runs/", "1 ran"]);
    assert!(!ui.page("/").contains("id=\"live\""));

    let live = std::fs::metadata(project.path("cache/v1/live")).unwrap().modified().unwrap();
    // On a file system in memory there is none.
    let _ = std::fs::remove_file(project.path("cache/v1/standing"));
    project.pipe_ok(&["run"]);
    let after = std::fs::metadata(project.path("cache/v1/live")).unwrap().modified().unwrap();
    assert_eq!(live, after, "a run in which nothing is executed writes nothing");
}

#[test]
fn a_log_is_followed_to_its_end_through_a_broken_connection() {
    let until = |file: &str| format!("while [ ! -e {file} ]; do sleep 0.01; done");
    let steps = format!("echo first; {}; echo second; {}; echo third", until("go"), until("on"));
    let project = Project::new(&format!("one:\n  run: '{steps}'\n"));
    let ui = Ui::start(&project);
    assert_eq!(ui.get("/stages/one/log").status, 404);
    let mut run = project.start(&["run"]);
    project.wait_until("the first line", || {
        let answer = ui.get("/stages/one/log");
        answer.status == 200 && answer.body.contains("  first\n")
    });
    let page = ui.page("/stages/one/log");
    let (_, target) = page.split_once("data-events=\"").unwrap();
    let target = target.split_once('"').unwrap().0.replace("&amp;", "&");
    let mut events = ui.events(&target);
    events.wait(&["under way"]);
    project.write("go", "");
    let lines = events.wait(&["second"]);
    assert!(!lines["text"].as_str().unwrap().contains("first"), "the page has that");

    let mut events = ui.events_again(&target, &events);
    events.wait(&["under way"]);
    project.write("on", "");
    let lines = events.wait(&["third"]);
    assert!(!lines["text"].as_str().unwrap().contains("second"), "the page has that, too");
    events.wait(&["Executed "]);
    assert!(run.wait().unwrap().success());

    let mut late = ui.events(&target);
    let lines = late.wait(&["third"]);
    assert!(lines["text"].as_str().unwrap().contains("first"), "who comes late gets what was kept");
    assert!(late.seen[0].starts_with("data: {}"), "in the place of what the page has: {:?}", late.seen);
    let mut again = ui.events_again(&target, &late);
    again.wait(&["Executed "]);
    assert_eq!(again.seen.len(), 1, "nothing is told twice: {:?}", again.seen);
}
