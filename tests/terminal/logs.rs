//! `PIPE_LOG`, `-v`, `--log-format` and `--profile-to`: what a run says of what it does, and how long that took.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::project::{Outcome, Project};

const STAGES: &str = "
one:
  uses: fake/count
  with: { to: 3 }
two:
  run: cat ${inputs.text} > ${outputs.text}
  inputs: { text: one.out }
  outputs: { text: two.txt }
  resources: { exclusive: true }
three:
  run: cat ${inputs.text} > ${outputs.text}
  inputs: { text: one.out }
  outputs: { text: three.txt }
";

fn events(project: &Project, file: &str) -> Vec<Value> {
    let whole: Value = serde_json::from_str(&project.read(file)).unwrap();
    whole["traceEvents"].as_array().unwrap().clone()
}

fn of<'e>(events: &'e [Value], phase: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["ph"] == phase).collect()
}

/// Names of complete events, and of what they lie in, which has the same thread.
fn nested(events: &[Value]) -> Vec<(String, Option<String>)> {
    let mut open: BTreeMap<u64, Vec<(String, u64)>> = BTreeMap::new();
    let mut found = vec![];
    for event in of(events, "X") {
        let number = |name: &str| event[name].as_u64().unwrap();
        let (name, begin, end) =
            (event["name"].as_str().unwrap().to_owned(), number("ts"), number("ts") + number("dur"));
        let open = open.entry(number("tid")).or_default();
        while open.last().is_some_and(|(_, ends)| *ends <= begin && *ends < end) {
            open.pop();
        }
        if let Some((outer, ends)) = open.last() {
            assert!(end <= *ends, "`{name}` ends after `{outer}`, in which it began");
        }
        found.push((name.clone(), open.last().map(|(outer, _)| outer.clone())));
        open.push((name, end));
    }
    found
}

#[test]
fn a_recording_has_what_the_run_did_one_within_the_other() {
    let project = Project::new(STAGES);
    project.pipe_ok(&["run", "--profile-to", "trace.json"]);
    let recorded = events(&project, "trace.json");
    let linked = project
        .read("artifacts/report.html")
        .contains(r#"<a href="../trace.json"><code>trace.json</code></a>"#);
    assert!(linked, "the report's timeline links to it");
    let nested = nested(&recorded);
    let is_within = |name: &str, outer: Option<&str>| {
        let found = nested.iter().any(|(found, within)| found == name && within.as_deref() == outer);
        assert!(found, "no `{name}` in {outer:?}: {nested:?}");
    };
    is_within("load", None);
    is_within("resolve", Some("load"));
    is_within("lookup one", Some("plan"));
    for stage in ["execute one", "execute two", "execute three"] {
        is_within(stage, None);
    }
    is_within("op fake", Some("execute one"));
    is_within("phase number", Some("op fake"));
    is_within("command", Some("execute two"));
    is_within("publish", Some("execute three"));
    is_within("conclude", Some("run"));
    assert!(nested.iter().any(|(name, _)| name == "hash"));
    let waits = |phase| -> Vec<(&Value, &Value)> {
        of(&recorded, phase).iter().map(|event| (&event["name"], &event["id"])).collect()
    };
    assert_eq!(waits("b").len(), 3);
    assert_eq!(waits("b"), waits("e"));
    assert!(waits("b").iter().any(|(name, _)| **name == "wait two"));

    // Its own recording is replaced; what is restored, and what a null run does, is recorded as well.
    std::fs::remove_dir_all(project.path("artifacts")).unwrap();
    project.pipe_ok(&["run", "--profile-to", "trace.json"]);
    let recorded = events(&project, "trace.json");
    let names: Vec<&Value> = of(&recorded, "X").iter().map(|event| &event["name"]).collect();
    assert!(names.iter().any(|name| **name == "restore two"), "{names:?}");
    assert!(!names.iter().any(|name| **name == "execute two"), "{names:?}");
    project.pipe_ok(&["run", "--profile-to", "trace.json"]);
    assert!(of(&events(&project, "trace.json"), "X").iter().any(|event| event["name"] == "recall"));
}

#[test]
fn a_recording_that_cannot_be_written_ends_the_run_before_it_begins() {
    let project = Project::new(STAGES);
    project.write("notes.json", "{}");
    for (file, said) in [
        ("notes.json", "`notes.json` is there already, and is no recording of `pipe`"),
        ("gone/trace.json", "cannot write `gone/trace.json`: No such file or directory"),
        (".", "is not the name of a file"),
    ] {
        let outcome = project.pipe(&["run", "--profile-to", file]);
        assert_eq!((outcome.code, project.executed()), (Some(2), vec![]), "{file}");
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    }
    assert_eq!(project.read("notes.json"), "{}");
    project.set_stages("one:\n  uses: fake/fail\n  with: { how: politely }\n");
    assert_eq!(project.pipe(&["run", "--profile-to", "trace.json"]).code, Some(1));
    assert!(of(&events(&project, "trace.json"), "X").iter().any(|event| event["name"] == "execute one"));
}

#[test]
fn a_log_has_what_was_asked_for_and_changes_nothing_else() {
    let said = |logged: &str| -> Outcome {
        let project = Project::new(STAGES);
        let output = project.command(&["run"]).env("PIPE_LOG", logged).output().unwrap();
        let outcome = Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        // What was logged enters no key.
        let again = project.pipe_ok(&["run"]);
        assert!(again.stdout.contains("3 fresh"), "{}", again.stdout);
        outcome
    };
    let spans = |text: &str| text.lines().filter(|line| line.contains(" took ")).count();
    for quiet in ["", "off"] {
        let stderr = said(quiet).stderr;
        assert_eq!((spans(&stderr), stderr.contains("pipe::")), (0, false), "{stderr}");
    }
    let debug = said("debug").stderr;
    for span in
        ["load", "resolve", "plan", "lookup", "hash", "wait", "execute", "op", "phase", "publish", "run"]
    {
        let has = |line: &str| {
            let mut words = line.split(' ').filter(|word| !word.is_empty()).skip(3);
            words.next() == Some(span) && line.contains(" took ")
        };
        assert!(debug.lines().any(has), "no `{span}`:\n{debug}");
    }
    assert!(debug.contains(" stage=one") && debug.contains(" run="), "{debug}");
    assert!(debug.contains(" one  "), "events are printed as before:\n{debug}");
    let store = said("store=debug").stderr;
    assert!(spans(&store) > 0 && !store.contains("pipe::"), "{store}");
    assert!(said("plugin=trace").stderr.contains("TRACE plugin"), "messages of plugins");
}

#[test]
fn a_log_can_be_json_and_what_asks_for_none_is_refused() {
    let project = Project::new(STAGES);
    let outcome = project.pipe_ok(&["-vv", "--log-format", "json", "run"]);
    let lines: Vec<Value> =
        outcome.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let execute = lines.iter().find(|line| line["span"] == "execute").unwrap();
    assert_eq!((&execute["version"], &execute["level"]), (&1.into(), &"info".into()));
    assert_eq!(execute["fields"]["stage"], "one");
    assert!(execute["fields"]["run"].is_string() && execute["took_us"].is_u64(), "{execute}");
    for (variable, value, said) in [
        ("PIPE_LOG", "debgu", "did you mean `debug`?"),
        ("PIPE_LOG_FORMAT", "xml", "there is no format `xml`"),
    ] {
        let output = project.command(&["status"]).env(variable, value).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr.contains(variable) && stderr.contains(said), "{stderr}");
    }
}

#[test]
fn a_plugin_is_told_the_level_and_what_it_says_is_logged_without_the_stages_secrets() {
    const MANIFEST: &str = r#"{"protocol":1,"plugin":"odd","version":"1","ops":{"make":{"description":"Makes.","version":1,"params":{"type":"object","properties":{},"additionalProperties":false},"outputs":{"out":{"description":"o","file":"out.txt"}}}}}"#;
    let project = Project::new("one:\n  uses: odd/make\n  secrets: [PIPE_TEST_TOKEN]\n");
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &pipeline.replace("plugins:\n", "plugins:\n  odd: ./pipe-odd\n"));
    let talk = r#"
echo '{"type":"hello","version":1}'
read hello; read run
out=$(echo "$run" | sed 's/.*"out":"\([^"]*\)".*/\1/')
echo fine > "$out"
echo "{\"type\":\"log\",\"level\":\"debug\",\"message\":\"level is ${PIPE_LOG:-none}, token is $PIPE_TEST_TOKEN\"}"
echo "{\"type\":\"progress\",\"done\":1,\"total\":1,\"unit\":\"$PIPE_TEST_TOKEN of http://me:hunter2@h/\"}"
echo '{"type":"done"}'
"#;
    project.script(
        "pipe-odd",
        &format!("if [ \"$1\" = describe ]; then echo '{MANIFEST}'; exit 0; fi\n{talk}\n"),
    );
    let run = |logged: &str| {
        let mut command = project.command(&["run", "--force", "--profile-to", "trace.json"]);
        let output = command.env("PIPE_LOG", logged).env("PIPE_TEST_TOKEN", "t0p-s3cr3t").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        for secret in ["t0p-s3cr3t", "hunter2"] {
            assert!(!stderr.contains(secret) && !project.read("trace.json").contains(secret), "{stderr}");
        }
        stderr
    };
    let stderr = run("trace");
    let said = |line: &str| line.contains("DEBUG plugin") && line.contains("level is trace, token is ***");
    assert!(stderr.lines().any(|line| said(line) && line.contains(" stage=one")), "{stderr}");
    assert!(stderr.contains("unit=\"*** of http://***@h/\""), "{stderr}");
    assert!(project.read("trace.json").contains("phase *** of"), "{}", project.read("trace.json"));
    run("");
    assert!(project.pipe_ok(&["log", "one"]).stdout.contains("level is none, token is ***"));
}
