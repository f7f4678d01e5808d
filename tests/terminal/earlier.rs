//! The cache of an earlier version, as it lies in `earlier/`: today's `pipe` says of it what that version said, takes its
//! outcomes instead of executing anything, and goes on from its partial work. `earlier/write.py` wrote it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::project::{Outcome, Project, built};

/// The version that wrote it, and what an answer of it was asked with.
const VERSION: &str = "0.1.0";

/// Stages whose outcomes are not taken, each with what it leaves when it is executed, and the words of the changelog that say
/// why.
const RUN_AGAIN: [(&str, &str, &str); 2] = [
    ("signed", "write hello", "Stages with a URL that has a user, a password, a query"),
    ("lines", "lines", "Commands of several lines (`run: |`)"),
];

/// A stage that measured another CPU than this one, whatever this one is.
const MEASURED: &str = "measured";

/// One of the pipelines of then, in a folder beside the others and the cache that some of them share.
struct Earlier {
    all: Project,
    name: &'static str,
}

impl Earlier {
    fn unpack(name: &'static str) -> Self {
        let all = Project::new("");
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(folder().join(format!("{VERSION}.tar.gz"))).arg("-C").arg(all.path(""));
        assert!(tar.status().unwrap().success());
        for pipeline in ["own", "sharing", "neighbour"] {
            fs::create_dir(all.path(pipeline).join("bin")).unwrap();
            fs::copy(built("examples/pipe-fake"), all.path(pipeline).join("bin/pipe-fake")).unwrap();
        }
        Self { all, name }
    }

    fn pipe(&self, args: &[&str]) -> Outcome {
        let folder = self.all.path(self.name);
        let mut command = self.all.command(args);
        command.current_dir(&folder).env("FAKE_TRACE", folder.join("trace")).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn ok(&self, args: &[&str]) -> Outcome {
        let outcome = self.pipe(args);
        assert_eq!(outcome.code, Some(0), "pipe {args:?}\n{}\n{}", outcome.stdout, outcome.stderr);
        outcome
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args).stdout).unwrap()
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    fn read(&self, name: &str) -> String {
        self.all.read(&self.path(name))
    }

    /// What was executed since this was asked last, beside what must be.
    fn executed(&self) -> Vec<String> {
        let trace = self.all.path(&self.path("trace"));
        let text = fs::read_to_string(&trace).unwrap_or_default();
        let _ = fs::remove_file(trace);
        let lines = text.lines().filter(|line| !["describe", "measure"].contains(line));
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        for (_, left, _) in RUN_AGAIN {
            // Others may leave the same, and are not to.
            if let Some(at) = lines.iter().position(|line| line == left) {
                lines.remove(at);
            }
        }
        lines
    }

    fn remove(&self, name: &str) {
        fs::remove_dir_all(self.all.path(&self.path(name))).unwrap();
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terminal/earlier")
}

/// What that version said.
fn said(name: &str) -> Value {
    let path = folder().join(VERSION).join(format!("{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Where what is said now lacks or contradicts what was said then. More may be said.
fn contradictions(then: &Value, now: &Value, at: &str) -> Vec<String> {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => {
            let missing = Value::Null;
            let fields = then.iter().map(|(name, value)| (name, value, now.get(name).unwrap_or(&missing)));
            fields.flat_map(|(name, then, now)| contradictions(then, now, &format!("{at}.{name}"))).collect()
        }
        (Value::Array(then), Value::Array(now)) if then.len() == now.len() => {
            let items = then.iter().zip(now).enumerate();
            items
                .flat_map(|(index, (then, now))| contradictions(then, now, &format!("{at}[{index}]")))
                .collect()
        }
        _ if then == now => vec![],
        _ => vec![format!("{at}: then {then}, now {now}")],
    }
}

/// Asks what was asked then, and compares the answers but for what is at `but`.
fn still_says(project: &Earlier, name: &str, args: &[&str], but: &[&str]) {
    let mut found = contradictions(&said(name), &project.json(args), "");
    found.retain(|line| !but.iter().any(|but| line.starts_with(but)));
    assert!(found.is_empty(), "pipe {args:?}: {found:#?}");
}

#[test]
fn what_is_executed_again_is_in_the_changelog() {
    let changelog = Path::new(env!("CARGO_MANIFEST_DIR")).join("CHANGELOG.md");
    let changelog = fs::read_to_string(changelog).unwrap();
    for (stage, _, why) in RUN_AGAIN {
        assert!(changelog.contains(why), "`{stage}`: {why:?}");
    }
}

#[test]
fn an_earlier_cache_is_whole() {
    let project = Earlier::unpack("own");
    still_says(&project, "verify", &["verify", "--json"], &[]);
    let shared = Earlier::unpack("neighbour");
    let told = shared.ok(&["verify", "--cache", "../shared"]).stdout;
    assert!(told.contains("all is whole: ") && told.contains(" 3 cached results and 2 runs read"), "{told}");
}

#[test]
fn earlier_runs_are_told_as_they_were_then() {
    let project = Earlier::unpack("own");
    still_says(&project, "history", &["history", "--json", "-n", "100"], &[]);
    // What the pipeline said was not recorded then, so that neither its table nor what it trades is told of these runs.
    still_says(&project, "compare", &["compare", "latest~4", "latest", "--json"], &[".front"]);
    let said_by_the_pipeline = [".title", ".results", ".metrics", ".since.numbers"];
    still_says(&project, "report", &["report", "--json"], &said_by_the_pipeline);
    assert_eq!(project.json(&["report", "--json"])["results"], Value::Null);
    // Of `signed`, `lines`, which are executed again, and `measured`.
    let not_fresh = [3, 6, 12].map(|stage| format!(".stages[{stage}].expectation"));
    still_says(&project, "graph", &["graph", "--json"], &not_fresh.each_ref().map(String::as_str));
    for stage in ["words", "tool", "shown"] {
        still_says(&project, &format!("why-{stage}"), &["why", stage, "--json"], &[]);
    }
    let history = project.ok(&["history"]).stdout;
    assert!(history.contains("text \"first\" → \"second\"") && history.contains("risky failed"), "{history}");
    let compared = project.ok(&["compare", "latest~5", "latest"]).stdout;
    assert!(compared.contains("scored.accuracy  83.1") && compared.contains("84.62"), "{compared}");
}

#[test]
fn the_next_run_records_what_earlier_ones_did_not() {
    let project = Earlier::unpack("own");
    project.ok(&["run"]);
    assert!(project.executed().is_empty());
    let now = project.json(&["report", "--json"]);
    let found = contradictions(&said("report")["results"], &now["results"], "");
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!(now["title"], "What was kept");
}

#[test]
fn the_report_shows_every_figure_of_an_earlier_run() {
    let project = Earlier::unpack("own");
    project.remove("artifacts");
    project.ok(&["report"]);
    let html = project.read("artifacts/report.html");
    for kind in ["series", "table", "matrix", "histograms", "distribution", "images", "graph"] {
        assert!(html.contains(&format!("A {kind} of then")), "{kind}");
        assert!(html.contains(&format!("What a {kind} shows")), "{kind}");
    }
    for text in [
        "all of it is kept",
        "91.25",
        "312.5",
        "data:image/png;base64,",
        "conv &lt;1&gt;",
        "rate=0.05,deep=2",
    ] {
        assert!(html.contains(text), "{text}");
    }
    let markdown = project.ok(&["report", "--markdown"]).stdout;
    assert!(markdown.contains("scored.accuracy >= 84.5") && markdown.contains("91.25"), "{markdown}");
}

#[test]
fn a_run_takes_every_outcome_of_an_earlier_cache() {
    let project = Earlier::unpack("own");
    let text = |name: &str| project.read(&format!("artifacts/{name}"));
    let files = ["words/out.txt", "pages/pages/inner/two", "lines/o.txt", "after[rate=0.05,deep=2]/o.txt"];
    let then = files.map(text);
    let now = project.json(&["status", "--json"]);
    for (then, now) in
        said("status")["stages"].as_array().unwrap().iter().zip(now["stages"].as_array().unwrap())
    {
        let stage = then["stage"].as_str().unwrap();
        if RUN_AGAIN.iter().any(|(again, ..)| *again == stage) {
            continue;
        }
        if stage == MEASURED {
            let changes = now["expectation"]["changes"].as_array().unwrap();
            assert!(changes.iter().any(|it| it["old"] == "A CPU of then"), "{now}");
            assert!(changes.iter().all(|it| it["name"].as_str().unwrap().starts_with("machine.")), "{now}");
        } else {
            assert_eq!(now["expectation"]["kind"], "fresh", "{now}");
        }
    }
    project.ok(&["run"]);
    assert!(project.executed().is_empty());
    project.remove("artifacts");
    project.ok(&["run"]);
    assert!(project.executed().is_empty());
    assert_eq!(files.map(text), then);
    let tool = project.all.path(&project.path("artifacts/tool/tool.sh"));
    let said = Command::new(tool).env("WORD", "").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "hello of old\n", "it can still be executed");
    project.ok(&["run", "--set", "text=second", "words", "lines"]);
    assert_eq!(text("words/out.txt"), "secondthe first a\n");
    assert!(project.executed().is_empty());
    fs::write(project.all.path(&project.path("a.txt")), "another a\n").unwrap();
    project.ok(&["run", "--profile", "short", "words", "lines", "counted", "grown"]);
    assert_eq!((text("words/out.txt"), text("counted/out.txt")), ("firstanother a\n".into(), "2".into()));
    assert!(project.executed().is_empty(), "what earlier runs made is taken");
}

#[test]
fn why_names_the_ingredient_that_differs_from_an_earlier_key() {
    let project = Earlier::unpack("own");
    for (set, stage, name, old, new) in [
        ("text=third", "words", "with.text", "\"first\"", "\"third\""),
        ("code=1", "risky", "params.code", "0", "1"),
        ("score=90", "scored", "with.value", "84.62", "90"),
    ] {
        let why = project.json(&["why", stage, "--set", set, "--json"]);
        let change = serde_json::json!([{ "name": name, "old": old, "new": new }]);
        assert_eq!(why["changes"], change, "{why}");
        assert_eq!(why["expectation"]["kind"], "run", "{why}");
    }
}

#[test]
fn partial_work_of_an_earlier_version_is_gone_on_from() {
    let project = Earlier::unpack("own");
    project.ok(&["run", "--set", "to=5", "--set", "stick=4", "counted", "grown"]);
    // Side by side.
    let executed: std::collections::BTreeSet<String> = project.executed().into_iter().collect();
    assert_eq!(executed.iter().map(String::as_str).collect::<Vec<_>>(), ["count", "grow"]);
    assert_eq!(project.read("artifacts/counted/out.txt"), "5");
    assert_eq!(project.read("artifacts/grown/out.txt"), "1\n2\n3\n4\n5\n");
    assert!(project.ok(&["log", "counted"]).stdout.contains("resumed at 4"));
    let compared = project.json(&["compare", "--json"]);
    let metrics = compared["comparison"]["metrics"].as_array().unwrap();
    let new = |stage: &str, name: &str| {
        let found = metrics.iter().find(|it| it["stage"] == stage && it["name"] == name);
        found.map(|it| it["new"].clone()).unwrap_or_else(|| panic!("{compared:#}"))
    };
    assert_eq!(new("counted", "resumed_at"), 4.0);
    assert_eq!(new("grown", "went_on_from"), 2.0);
}

#[test]
fn logs_of_earlier_runs_are_shown() {
    let project = Earlier::unpack("own");
    assert!(project.ok(&["log", "lines"]).stdout.contains("a line on standard output"));
    let project = Earlier::unpack("neighbour");
    let log = project.ok(&["log", "risky", "--cache", "../shared"]).stdout;
    assert!(log.contains("about to end with 7") && log.contains("exit code 7"), "{log}");
}

#[test]
fn collecting_an_earlier_cache_keeps_what_is_needed() {
    let project = Earlier::unpack("own");
    let evicted = project.json(&["gc", "--max-size", "0", "--json"]);
    let stages = |answer: &Value| -> Vec<String> {
        let evicted = answer["collection"]["evicted"].as_array().unwrap();
        let mut stages: Vec<String> =
            evicted.iter().map(|it| it["stage"].as_str().unwrap().to_owned()).collect();
        stages.sort();
        stages.dedup();
        stages
    };
    assert_eq!(stages(&evicted), ["copied", "counted", "grown", "lines", "scored", "words"], "{evicted:#}");
    project.ok(&["run"]);
    assert!(project.executed().is_empty());
    assert_eq!(project.json(&["verify", "--json"])["whole"], true);
    project.ok(&["run", "--set", "text=second", "words"]);
    assert_eq!(project.executed(), ["write second"], "what went is executed");
}

#[test]
fn a_cache_that_was_shared_is_shared_still() {
    let project = Earlier::unpack("sharing");
    project.remove("artifacts");
    project.remove("cache");
    project.ok(&["run", "--cache", "../shared"]);
    assert!(project.executed().is_empty());
    assert_eq!(project.read("artifacts/second/d/all"), "sharedthe first a\n");
    let neighbour = Earlier { name: "neighbour", ..project };
    let gone = neighbour.json(&["gc", "--cache", "../shared", "--max-size", "0", "--json"]);
    assert_eq!(gone["collection"]["evicted"], serde_json::json!([]), "what any of both needs stays");
    neighbour.ok(&["run", "--cache", "../shared"]);
    assert!(neighbour.executed().is_empty());
}
