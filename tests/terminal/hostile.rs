//! Plugins that nobody would write by mistake: whatever one says or does, `pipe` ends, says which plugin it was, keeps
//! nothing of a failure, and works again once the plugin does.

use std::fs;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process_group};

use crate::project::{Outcome, Project, pid};
use crate::soak;

const MANIFEST: &str = r#"{"protocol":1,"plugin":"odd","version":"1","ops":{"make":{"description":"Makes.","version":1,"params":{"type":"object","properties":{},"additionalProperties":false},"outputs":{"out":{"description":"o","file":"out.txt"}}}}}"#;

/// What a plugin of the right kind says, with its output in `$out`.
const LISTEN: &str = "say() { printf '%s\\n' \"$1\"; }\nsay '{\"type\":\"hello\",\"version\":1}'\nread hello; read run\nout=$(echo \"$run\" | sed 's/.*\"out\":\"\\([^\"]*\\)\".*/\\1/')\n";

const DONE: &str = "echo fine > \"$out\"; say '{\"type\":\"done\"}'\n";

/// Nothing takes this long that does not hang.
const LONG: Duration = Duration::from_secs(60);

/// How `pipe run` is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With the plugin's output: what it did besides harms nobody.
    Works,
    /// The stage fails, exit code 1.
    Fails,
    /// The pipeline is refused before anything runs, exit code 2.
    Refused,
}

use End::*;

/// What plugins say of themselves: a change of a fine manifest, in which `from` becomes `to`.
const MANIFESTS: [(&str, &str, &str, End); 30] = [
    ("protocol as a text", "\"protocol\":1", "\"protocol\":\"1\"", Refused),
    ("protocol of a half", "\"protocol\":1", "\"protocol\":1.5", Refused),
    ("protocol below zero", "\"protocol\":1", "\"protocol\":-1", Refused),
    ("protocol beyond any", "\"protocol\":1", "\"protocol\":18446744073709551617", Refused),
    ("no protocol", "\"protocol\":1,", "", Refused),
    ("another's name", "\"plugin\":\"odd\"", "\"plugin\":\"even\"", Refused),
    ("no version", "\"version\":\"1\",\"ops\"", "\"ops\"", Refused),
    ("ops as a list", "\"ops\":{", "\"ops\":[],\"more\":{", Refused),
    ("not the op", "\"make\":", "\"fake\":", Refused),
    ("an op without a version", "\"version\":1,\"params\"", "\"params\"", Refused),
    ("an op's version below zero", "\"version\":1,\"params\"", "\"version\":-1,\"params\"", Refused),
    ("an op's version as a text", "\"version\":1,\"params\"", "\"version\":\"1\",\"params\"", Refused),
    ("params of no type", "\"type\":\"object\"", "\"type\":5", Refused),
    ("params without end", "\"properties\":{}", "\"properties\":{\"a\":{\"$ref\":\"#\"}}", Works),
    (
        "params from the net",
        "\"properties\":{}",
        "\"properties\":{\"a\":{\"$ref\":\"http://127.0.0.1:1/a\"}}",
        Refused,
    ),
    (
        "params from a file",
        "\"properties\":{}",
        "\"properties\":{\"a\":{\"$ref\":\"file:///etc/passwd\"}}",
        Refused,
    ),
    (
        "a pattern that is none",
        "\"properties\":{}",
        "\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"(\"}}",
        Refused,
    ),
    (
        "no params allowed",
        "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}",
        "false",
        Refused,
    ),
    (
        "a default of another type",
        "\"properties\":{}",
        "\"properties\":{\"a\":{\"type\":\"integer\",\"default\":\"x\"}}",
        Works,
    ),
    ("an output above", "\"file\":\"out.txt\"", "\"file\":\"../out.txt\"", Refused),
    ("an output from the root", "\"file\":\"out.txt\"", "\"file\":\"/tmp/out.txt\"", Refused),
    ("an output in a folder", "\"file\":\"out.txt\"", "\"file\":\"a/out.txt\"", Refused),
    ("an output without a name", "\"file\":\"out.txt\"", "\"file\":\"\"", Refused),
    ("an output that is the folder", "\"file\":\"out.txt\"", "\"file\":\".\"", Refused),
    ("an output with a line break", "\"file\":\"out.txt\"", "\"file\":\"a\\\\nb\"", Refused),
    ("an output with a zero byte", "\"file\":\"out.txt\"", "\"file\":\"a\\\\u0000b\"", Refused),
    (
        "two outputs in one file",
        "\"outputs\":{",
        "\"outputs\":{\"too\":{\"description\":\"t\",\"file\":\"out.txt\"},",
        Refused,
    ),
    ("colours in a description", "\"Makes.\"", "\"\\\\u001b[31mMakes.\"", Works),
    ("a manifest and more", "\"out.txt\"}}}}}", "\"out.txt\"}}}}} more", Refused),
    ("two manifests", "\"out.txt\"}}}}}", "\"out.txt\"}}}}}{}", Refused),
];

/// What plugins do when they are to describe themselves; `$M` is a fine manifest.
const DESCRIBES: [(&str, &str, End); 19] = [
    ("nothing", "", Refused),
    ("an empty line", "echo", Refused),
    ("a list", "echo '[]'", Refused),
    ("null", "echo null", Refused),
    ("half a manifest", "echo \"$M\" | head -c 60", Refused),
    ("bytes of no text", "echo \"$M\" | sed 's/Makes/\\xff\\xfe/'", Works),
    ("a byte order mark first", "printf '\\357\\273\\277'; echo \"$M\"", Refused),
    ("brackets without end", "head -c 1000000 /dev/zero | tr '\\0' '['", Refused),
    ("20 MB of blanks first", "head -c 20000000 /dev/zero | tr '\\0' ' '; echo \"$M\"", Refused),
    ("lines without end", "yes", Refused),
    ("one line without end", "tr '\\0' x < /dev/zero", Refused),
    ("errors without end", "yes >&2", Refused),
    ("nothing, for ever", "sleep 1000", Refused),
    ("a manifest, then nothing for ever", "echo \"$M\"; sleep 1000", Refused),
    ("a closed stream, for ever", "exec >&-; sleep 1000", Refused),
    ("a manifest, and leaves a child behind", "sleep 1000 & echo \"$M\"", Works),
    ("a manifest, and fails", "echo \"$M\"; exit 1", Refused),
    ("a manifest, and is killed", "echo \"$M\"; kill -KILL $$", Refused),
    ("a manifest, and stops itself", "echo \"$M\"; kill -STOP $$", Refused),
];

/// What plugins do when they are to run, beside what [`LISTEN`] does; `$out` is the output.
const RUNS: [(&str, &str, End); 49] = [
    (
        "done, then more",
        "echo fine > \"$out\"; say '{\"type\":\"done\"}'; say '{\"type\":\"metric\",\"name\":\"m\",\"metric\":{\"value\":1}}'; say rubbish; exit 0",
        Works,
    ),
    ("done, and a crash", "echo fine > \"$out\"; say '{\"type\":\"done\"}'; kill -SEGV $$", Works),
    (
        "a link as its output",
        "echo fine > other; ln -s \"$PWD/other\" \"$out\"; say '{\"type\":\"done\"}'; exit 0",
        Works,
    ),
    (
        "hello with more",
        "say '{\"type\":\"metric\",\"name\":\"m\",\"metric\":{\"value\":1,\"colour\":\"red\"}}'",
        Works,
    ),
    (
        "a metric's name with control characters",
        "say '{\"type\":\"metric\",\"name\":\"a\\u001b[2J\\nb\",\"metric\":{\"value\":1,\"unit\":\"\\u0007\"}}'",
        Works,
    ),
    (
        "20,000 metrics",
        "seq 20000 | sed 's/.*/{\"type\":\"metric\",\"name\":\"m&\",\"metric\":{\"value\":&}}/'",
        Works,
    ),
    (
        "300 figures",
        "seq 300 | sed 's/.*/{\"type\":\"figure\",\"id\":\"f&\",\"title\":\"F\",\"content\":{\"kind\":\"answer\",\"text\":\"yes\"}}/'",
        Works,
    ),
    (
        "progress beyond any number",
        "say '{\"type\":\"progress\",\"done\":1e308,\"total\":1e-308,\"unit\":\"x\"}'",
        Works,
    ),
    ("an empty line", "say ''", Fails),
    ("a line of another program", "say 'Epoch 1/10'", Fails),
    ("half a message", "printf '{\"type\":'", Fails),
    ("a message of no kind", "say '{\"type\":\"dance\"}'", Fails),
    ("a second hello", "say '{\"type\":\"hello\",\"version\":1}'", Fails),
    ("a list", "say '[1,2]'", Fails),
    ("brackets without end", "head -c 1000000 /dev/zero | tr '\\0' '['; echo", Fails),
    ("bytes of no text", "printf '\\377\\376\\n'", Fails),
    ("a zero byte", "printf '\\0\\n'", Fails),
    ("one line without end", "tr '\\0' x < /dev/zero", Fails),
    ("done and no output", "say '{\"type\":\"done\"}'; exit 0", Fails),
    (
        "failed and an output",
        "echo fine > \"$out\"; say '{\"type\":\"failed\",\"message\":\"no\"}'; exit 0",
        Fails,
    ),
    ("failed without a reason", "say '{\"type\":\"failed\",\"message\":\"\"}'; exit 0", Fails),
    (
        "failed with colours",
        "say '{\"type\":\"failed\",\"message\":\"\\u001b[2J\\u0007bad\"}'; exit 0",
        Fails,
    ),
    (
        "a metric that is no number",
        "say '{\"type\":\"metric\",\"name\":\"m\",\"metric\":{\"value\":NaN}}'",
        Fails,
    ),
    (
        "a metric beyond any number",
        "say '{\"type\":\"metric\",\"name\":\"m\",\"metric\":{\"value\":1e999}}'",
        Fails,
    ),
    ("a metric as a text", "say '{\"type\":\"metric\",\"name\":\"m\",\"metric\":{\"value\":\"1\"}}'", Fails),
    ("a metric without a name", "say '{\"type\":\"metric\",\"name\":\"\",\"metric\":{\"value\":1}}'", Works),
    (
        "an interval the wrong way round",
        "say '{\"type\":\"metric\",\"name\":\"m\",\"metric\":{\"value\":1,\"interval\":[2,0]}}'",
        Works,
    ),
    (
        "one metric twice",
        "for v in 1 2; do say '{\"type\":\"metric\",\"name\":\"m\",\"metric\":{\"value\":1}}'; done",
        Works,
    ),
    ("progress beyond its end", "say '{\"type\":\"progress\",\"done\":5,\"total\":1,\"unit\":\"x\"}'", Works),
    ("progress below zero", "say '{\"type\":\"progress\",\"done\":-5,\"total\":-1,\"unit\":\"x\"}'", Works),
    ("progress of nothing", "say '{\"type\":\"progress\",\"done\":0,\"total\":0,\"unit\":\"x\"}'", Works),
    (
        "progress with colours",
        "say '{\"type\":\"progress\",\"done\":1,\"total\":2,\"unit\":\"\\u001b[31m\\n\"}'",
        Works,
    ),
    (
        "a thousand progresses",
        "i=0; while [ $i -lt 1000 ]; do say '{\"type\":\"progress\",\"done\":1,\"total\":2,\"unit\":\"x\",\"milestone\":true}'; i=$((i+1)); done",
        Works,
    ),
    (
        "a figure of no kind",
        "say '{\"type\":\"figure\",\"id\":\"f\",\"title\":\"F\",\"content\":{\"kind\":\"opera\"}}'",
        Fails,
    ),
    (
        "a table with rows of other lengths",
        "say '{\"type\":\"figure\",\"id\":\"f\",\"title\":\"F\",\"content\":{\"kind\":\"table\",\"columns\":[{\"label\":\"a\"}],\"rows\":[[],[{\"number\":1},{\"number\":2}]]}}'",
        Works,
    ),
    (
        "a matrix with rows of other lengths",
        "say '{\"type\":\"figure\",\"id\":\"f\",\"title\":\"F\",\"content\":{\"kind\":\"matrix\",\"row_label\":\"r\",\"column_label\":\"c\",\"rows\":[\"a\",\"b\"],\"columns\":[\"x\"],\"values\":[[1,2,3],[]]}}'",
        Works,
    ),
    (
        "a series on an axis that is not there",
        "say '{\"type\":\"figure\",\"id\":\"f\",\"title\":\"F\",\"content\":{\"kind\":\"series\",\"x\":{\"label\":\"x\"},\"y\":[],\"series\":[{\"name\":\"s\",\"axis\":7,\"points\":[[1,2],[1e308,-1e308]]}]}}'",
        Works,
    ),
    (
        "a graph whose edges lead nowhere",
        "say '{\"type\":\"figure\",\"id\":\"f\",\"title\":\"F\",\"content\":{\"kind\":\"graph\",\"nodes\":[{\"id\":\"a\",\"label\":\"a\"}],\"edges\":[{\"from\":\"a\",\"to\":\"b\"},{\"from\":\"a\",\"to\":\"a\"}]}}'",
        Works,
    ),
    (
        "a picture that is none",
        "say '{\"type\":\"figure\",\"id\":\"f\",\"title\":\"<script>\",\"content\":{\"kind\":\"images\",\"images\":[{\"caption\":\"c\",\"png\":\"\\\" onload=x\"}]}}'",
        Works,
    ),
    (
        "a log line of 5 MB",
        "printf '{\"type\":\"log\",\"level\":\"info\",\"message\":\"'; head -c 5000000 /dev/zero | tr '\\0' x; echo '\"}'",
        Works,
    ),
    ("errors with control characters", "printf '\\033[2J\\033]0;title\\007\\r' >&2", Works),
    ("a folder as its output", "mkdir \"$out\"; say '{\"type\":\"done\"}'; exit 0", Works),
    ("a fifo as its output", "mkfifo \"$out\"; say '{\"type\":\"done\"}'; exit 0", Fails),
    ("a device as its output", "ln -s /dev/zero \"$out\"; say '{\"type\":\"done\"}'; exit 0", Fails),
    ("a dangling link as its output", "ln -s /nowhere \"$out\"; say '{\"type\":\"done\"}'; exit 0", Fails),
    ("its folder taken away", "rm -rf \"$(dirname \"$out\")\"; say '{\"type\":\"done\"}'; exit 0", Fails),
    ("the end of its group", "kill -KILL 0", Fails),
    (
        "a deaf ear to being asked to end",
        "trap '' TERM INT HUP; echo fine > \"$out\"; say '{\"type\":\"done\"}'; exec >&-; sleep 2; exit 0",
        Works,
    ),
    ("a closed stream", "exec >&-; sleep 1000", Fails),
];

/// A project whose plugin `odd` does so.
fn project(describe: &str, run: &str) -> Project {
    let project = Project::new("one:\n  uses: odd/make\n");
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &pipeline.replace("plugins:\n", "plugins:\n  odd: ./pipe-odd\n"));
    set(&project, describe, run);
    project
}

fn set(project: &Project, describe: &str, run: &str) {
    let describe = format!("M='{MANIFEST}'\nif [ \"$1\" = describe ]; then\n:\n{describe}\nexit 0\nfi\n");
    project.script("pipe-odd", &(describe + LISTEN + run + "\n" + DONE));
}

/// Runs `pipe` with little patience, as it has to end by itself.
fn run(project: &Project) -> Result<Outcome, String> {
    use std::os::unix::process::CommandExt as _;
    let mut command = project.command(&["run"]);
    command.env("PIPE_HELLO_TIMEOUT", "1").env("PIPE_DESCRIBE_TIMEOUT", "1").process_group(0);
    let log = fs::File::create(project.path("said")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + LONG;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _ = kill_process_group(pid(&child), Signal::KILL);
                child.wait().unwrap();
                return Err("`pipe run` hangs".into());
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let stderr = String::from_utf8_lossy(&fs::read(project.path("said")).unwrap()).into_owned();
    Ok(Outcome { code: status.code(), stdout: String::new(), stderr })
}

fn judge(name: &str, describe: &str, does: &str, end: End) -> Result<(), String> {
    let project = project(describe, does);
    let outcome = run(&project).map_err(|what| format!("{name}: {what}"))?;
    let wrong = |what: &str| Err(format!("{name}: {what} ({:?})\n{}", outcome.code, outcome.stderr));
    let expected = match end {
        Works => 0,
        Fails => 1,
        Refused => 2,
    };
    if outcome.code != Some(expected) {
        return wrong("another end");
    }
    let is_raw = |c: char| c.is_control() && c != '\n';
    if outcome.stderr.contains(is_raw) || outcome.stderr.contains("panicked") {
        return wrong("raw control characters, or a panic");
    }
    let named = if end == Refused { "odd" } else { "one   failed" };
    if end != Works && !(outcome.stderr.contains(named) && outcome.stderr.len() < 20_000) {
        return wrong("the message does not name the plugin or the stage, or is too long");
    }
    let reason = outcome.stderr.split("one   failed").nth(1).and_then(|rest| rest.split("log: ").next());
    if end == Fails && !reason.is_some_and(|text| text.lines().skip(1).any(|line| !line.trim().is_empty())) {
        return wrong("no reason is given");
    }
    if end != Works && !project.files("cache/v1/actions").is_empty() {
        return wrong("an outcome was kept");
    }
    // Something may still be starting, and holds the script as its text.
    project.wait_until("the end of what the plugin started", || project.processes().is_empty());
    fs::remove_file(project.path("pipe-odd")).unwrap();
    set(&project, "echo \"$M\"", "");
    let mended = run(&project).map_err(|what| format!("{name}, mended: {what}"))?;
    if mended.code != Some(0) {
        return Err(format!("{name}: does not work once mended\n{}", mended.stderr));
    }
    if end != Works && project.read("artifacts/one/out.txt") != "fine\n" {
        return wrong("something else was kept");
    }
    Ok(())
}

#[test]
fn whatever_a_plugin_says_or_does_pipe_ends_and_names_it() {
    let mut cases: Vec<(String, String, &str, End)> = vec![];
    for (name, from, to, end) in MANIFESTS {
        assert!(MANIFEST.contains(from), "{name}");
        let manifest = MANIFEST.replacen(from, &to.replace("\\\\", "\\"), 1);
        cases.push((format!("a manifest with {name}"), format!("cat <<'END'\n{manifest}\nEND"), "", end));
    }
    for (name, does, end) in DESCRIBES {
        cases.push((format!("described by {name}"), does.to_owned(), "", end));
    }
    for (name, does, end) in RUNS {
        cases.push((format!("run: {name}"), "echo \"$M\"".to_owned(), does, end));
    }
    let next = AtomicUsize::new(0);
    let problems: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((name, describe, does, end)) = cases.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    if let Err(problem) = judge(name, describe, does, *end) {
                        problems.lock().unwrap().push(problem);
                    }
                }
            });
        }
    });
    let problems = problems.into_inner().unwrap();
    let count = |end| cases.iter().filter(|(.., is)| *is == end).count();
    soak::figure("plugins that misbehave", cases.len());
    soak::figure("refused before anything ran", count(Refused));
    soak::figure("a stage that failed, and nothing kept", count(Fails));
    soak::figure("harmless", count(Works));
    soak::figure("hangs, panics, another end than the one expected", problems.len());
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}
