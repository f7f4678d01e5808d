//! What can be known before anything runs is said before anything runs.

use crate::project::Project;

/// A stage that takes its time, and one whose params contradict each other.
const CONTRADICTION: &str = "
one: { uses: fake/write, with: { text: first } }
two:
  uses: fake/pick
  inputs: { text: one.out }
  with:
    batches: [1, 2]
    calls: [7]
";

#[test]
fn params_that_contradict_each_other_end_the_run_before_anything_is_executed() {
    let project = Project::new(CONTRADICTION);
    for args in
        [&["run"][..], &["run", "--dry-run"], &["run", "two"], &["run", "--json"], &["run", "--force"]]
    {
        let outcome = project.pipe(args);
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
        let expected = "error: stage `two`: `batches` has 2 values and `calls` 1
  ┌─ pipeline.yaml:12:14
12│       calls: [7]
  │              ^
  = help: give one number of calls for each batch size
";
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
        assert_eq!(project.executed(), ["check"], "{args:?}");
    }
    assert!(!project.path("artifacts").exists());
    // A stage that is not asked for may be wrong.
    project.pipe_ok(&["run", "one"]);
    project.executed();
    // Who looks is told the same, after what would run; of what needs not run nobody is asked.
    for args in [&["status"][..], &["why", "two"]] {
        let outcome = project.pipe(args);
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
        assert!(outcome.stdout.contains("never ran"), "{}", outcome.stdout);
        assert!(outcome.stderr.contains("stage `two`: `batches` has 2 values"), "{}", outcome.stderr);
        assert_eq!(project.executed(), ["check"], "{args:?}");
    }
    project.pipe_ok(&["status", "one"]);
    project.pipe_ok(&["why", "one"]);
    assert!(project.executed().is_empty());
}

#[test]
fn what_is_in_place_or_in_the_cache_is_not_asked_about() {
    let project = Project::new(&CONTRADICTION.replace("[7]", "[7, 8]"));
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed(), ["check", "write first", "pick"]);
    project.pipe_ok(&["run"]);
    project.pipe_ok(&["run", "--dry-run"]);
    std::fs::remove_dir_all(project.path("artifacts")).unwrap();
    project.pipe_ok(&["run"]);
    assert_eq!(project.started(), 0);
}

#[test]
fn a_value_of_the_command_line_and_a_variant_are_named() {
    let project = Project::new(
        "
two:
  uses: fake/pick
  matrix: { n: [1, 2, 3] }
  with: { batches: [1], calls: '${vars.calls}', lines: '${matrix.n}' }
",
    );
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &pipeline.replace("stages:", "vars: { calls: [7] }\nstages:"));
    project.pipe_ok(&["run", "--dry-run"]);
    let outcome = project.pipe(&["run", "--set", "calls=[7, 8]"]);
    assert_eq!(outcome.code, Some(2));
    let told = &outcome.stderr;
    snapshots::assert_printed!(told);
}

#[test]
fn a_number_above_what_is_there_is_told_as_soon_as_it_is_there() {
    let project = Project::new(
        "
one: { uses: fake/write, with: { text: \"1\\n2\\n3\\n\" } }
two: { uses: fake/pick, inputs: { text: one.out }, with: { lines: 3 } }
three: { uses: fake/pick, inputs: { text: words.txt }, with: { lines: 2 } }
",
    );
    project.write("words.txt", "a\nb\n");
    project.pipe_ok(&["run"]);
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &pipeline.replace("lines: 3", "lines: 4").replace("lines: 2", "lines: 9"));
    let told = || {
        project.executed();
        let outcome = project.pipe(&["run"]);
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
        assert_eq!(project.executed(), ["check"; 2]);
        for args in [&["status", "--json"][..], &["run", "--dry-run", "--json"], &["why", "two", "--json"]] {
            let outcome = project.pipe(args);
            assert_eq!(outcome.code, Some(2));
            let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
            let problem = &json["problems"][0];
            assert_eq!(problem["message"], "stage `two`: `lines` asks for 4, but there are 3");
            assert_eq!(
                (&problem["file"], &problem["line"]),
                (&"pipeline.yaml".into(), &7.into()),
                "{problem}"
            );
        }
        project.executed();
        assert!(
            outcome.stderr.contains("stage `two`: `lines` asks for 4, but there are 3"),
            "{}",
            outcome.stderr
        );
        assert!(
            outcome.stderr.contains("stage `three`: `lines` asks for 9, but there are 2"),
            "{}",
            outcome.stderr
        );
    };
    told();
    // In the cache is there, too.
    std::fs::remove_dir_all(project.path("artifacts")).unwrap();
    told();
}

/// The input of `late` that its number is about is made first; then the one that takes its time would be.
const LATE: &str = "
data: { uses: fake/write, with: { text: \"1\\n2\\n3\\n\" } }
train: { uses: fake/write, inputs: { data: data.out }, with: { text: trained } }
late: { uses: fake/pick, inputs: { text: data.out, model: train.out }, with: { lines: 4 } }
after: { uses: fake/write, inputs: { it: late.out } }
";

#[test]
fn a_number_above_what_the_run_itself_makes_is_told_before_anything_else_is_started() {
    let project = Project::new(LATE);
    for args in [&["run"][..], &["run", "--force", "--keep-going"]] {
        let outcome = project.pipe(args);
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        let told = &outcome.stderr;
        assert!(told.contains("`lines` asks for 4, but there are 3\n"), "{told}");
        assert!(told.contains("┌─ pipeline.yaml:8:89\n") && told.contains(" 8│   late: {"), "{told}");
        assert!(told.lines().any(|line| line.ends_with("^") && line.contains('│')), "{told}");
        let mut expected = vec!["check", "write 1", "2", "3", "", "check"];
        if args.contains(&"--keep-going") {
            expected.push("write trained");
        }
        assert_eq!(project.executed(), expected, "{args:?}");
        std::fs::remove_dir_all(project.path("cache")).unwrap();
    }
    project.set_stages(&LATE.replace("lines: 4", "lines: 3"));
    project.pipe_ok(&["run"]);
    assert!(project.path("artifacts/after/out.txt").exists());
}

#[test]
fn a_plugin_that_cannot_be_asked_is_warned_of_and_its_stage_runs() {
    for (how, expected) in
        [("crash", "ended without an answer (signal: 6 (SIGABRT)"), ("hang", "took longer than 1 s")]
    {
        let project = Project::new(&format!("two: {{ uses: fake/pick, with: {{ check: {how} }} }}\n"));
        let output = project.command(&["run"]).env("PIPE_CHECK_TIMEOUT", "1").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        assert!(
            stderr.contains("plugin `fake` did not complete the check of its stages")
                && stderr.contains(expected),
            "{stderr}"
        );
        assert_eq!(project.read("artifacts/two/out.txt"), "picked");
    }
}

#[test]
fn what_is_odd_is_a_warning_and_the_run_goes_on() {
    let project = Project::new(
        "
one: { uses: fake/write, with: { text: '${vars.txet}' } }
two: { uses: fake/pick, matrix: { n: [1, 2] }, with: { check: remark, lines: '${matrix.n}' } }
",
    );
    let pipeline = project.read("pipeline.yaml");
    project.write(
        "pipeline.yaml",
        &pipeline.replace("stages:", "vars: { txet: a, text: b, other: 1 }\nstages:"),
    );
    let unused = "warning: pipeline.yaml:5:18: var `text` is used by nothing; did you mean `txet`?";
    let other = "warning: pipeline.yaml:5:27: var `other` is used by nothing; write `${vars.other}` where it is to stand";
    let remark = "warning: stage `two[n=1]`: pipeline.yaml:8:65: `check` changes nothing; leave it out; the same applies \
                  to 1 other variant";
    for args in [&["status"][..], &["run", "--dry-run"], &["why", "two[n=1]"], &["run"], &["run"]] {
        let is_done = project.path("artifacts/one").exists();
        let outcome = project.pipe_ok(args);
        for said in [unused, other] {
            assert!(outcome.stderr.contains(said), "{args:?}: {}", outcome.stderr);
        }
        let remark = if args[0] == "why" { remark.split("; the same").next().unwrap() } else { remark };
        assert_eq!(outcome.stderr.contains(remark), !is_done, "{args:?}: {}", outcome.stderr);
    }
    let json = project.pipe_ok(&["status", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["warnings"].as_array().unwrap().len(), 2, "{json}");
    assert_eq!(json["problems"], serde_json::json!([]));
}

#[test]
fn a_gate_on_a_metric_that_no_stage_reports_ends_the_run_before_anything_is_executed() {
    let project = Project::new("two: { uses: fake/pick }\n");
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &format!("{pipeline}gates:\n  - two.piked == 1\n"));
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(2));
    snapshots::assert_printed!(outcome.stderr);
    assert!(project.executed().is_empty());
    project.write("pipeline.yaml", &format!("{pipeline}gates:\n  - two.picked == 1\n"));
    project.pipe_ok(&["run"]);
}

#[test]
fn an_input_that_holds_what_the_run_writes_is_refused() {
    let project = Project::new("one: { run: 'ls ${inputs.all}', inputs: { all: . } }\n");
    let refused = |expected: &str| {
        let outcome = project.pipe(&["run"]);
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("pipeline.yaml:"), "{}", outcome.stderr);
    };
    refused("input `all` is the folder `$PROJECT`, which holds the cache");
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &pipeline.replace("stages:", "ignore: [/cache/, /artifacts/]\nstages:"));
    project.pipe_ok(&["run"]);
    std::fs::create_dir_all(project.path("artifacts")).unwrap();
    std::os::unix::fs::symlink(project.path("artifacts"), project.path("link")).unwrap();
    project.set_stages("one: { run: 'ls ${inputs.all}', inputs: { all: link } }\n");
    refused("which holds the artifacts");
    project.write("artifacts/one/o.txt", "");
    project.set_stages(
        "
one: { run: 'date > ${outputs.o}', outputs: { o: o.txt } }
two: { run: 'cat ${inputs.o}', inputs: { o: artifacts/one/o.txt } }
",
    );
    refused("input `o` is what stage `one` writes");
    project.set_stages("one: { uses: fake/write, with: { source: . } }\n");
    refused("`source` is the folder `$PROJECT`, which holds the cache");
    let pipeline = project.read("pipeline.yaml");
    let pipeline = pipeline.replace("ignore: [/cache/, /artifacts/]\n", "");
    project.write("pipeline.yaml", &pipeline.replace("stages:", "ignore: [/cache/, /artifacts/]\nstages:"));
    refused("`source` is the folder `$PROJECT`, which holds the cache");
    project.write("data/x", "");
    project.set_stages("one: { run: 'ls ${inputs.all}', inputs: { all: data } }\n");
    project.pipe_ok(&["run"]);
}

#[test]
fn a_link_in_an_input_to_what_the_run_writes_is_refused_by_its_name() {
    use std::os::unix::fs::symlink;
    let project = Project::new("one: { run: 'ls ${inputs.i}', inputs: { i: sub } }\n");
    let refused = |expected: &str| {
        for command in ["run", "status"] {
            let outcome = project.pipe(&[command]);
            assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
            assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
            assert!(outcome.stderr.contains("or leave the link out by a pattern under `ignore`"));
        }
    };
    project.write("sub/deep/x", "");
    project.write("elsewhere/y", "");
    std::fs::create_dir_all(project.path("cache")).unwrap();
    symlink("../../cache", project.path("sub/deep/c")).unwrap();
    refused("input `i` is the folder `$PROJECT/sub`, which contains the link `deep/c` to the cache");
    std::fs::create_dir_all(project.path("artifacts")).unwrap();
    std::fs::remove_file(project.path("sub/deep/c")).unwrap();
    symlink("../artifacts", project.path("elsewhere/a")).unwrap();
    symlink("../elsewhere", project.path("sub/e")).unwrap();
    refused("which contains the link `e/a` to the artifacts");
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &pipeline.replace("stages:", "ignore: [/sub/e/a]\nstages:"));
    // A link to a folder that it is in is not followed.
    symlink("..", project.path("sub/up")).unwrap();
    project.pipe_ok(&["run"]);
    snapshots::assert_printed!(project.pipe_ok(&["status"]).stdout);
}

#[test]
fn a_link_to_what_a_stage_writes_is_refused_unless_it_has_been_written_by_then() {
    use std::os::unix::fs::symlink;
    let stages = "
one: { run: 'date > ${outputs.o}', outputs: { o: o.txt } }
two: { run: 'cat ${inputs.i}', inputs: { i: INPUT } }
";
    let project = Project::new(stages);
    project.write("sub/x", "");
    symlink("artifacts/one/o.txt", project.path("file")).unwrap();
    symlink("artifacts/one", project.path("folder")).unwrap();
    symlink("../artifacts/one", project.path("sub/made")).unwrap();
    let refused = |input: &str, expected: &str| {
        project.set_stages(&stages.replace("INPUT", input));
        for command in ["run", "status"] {
            let outcome = project.pipe(&[command]);
            assert_eq!(outcome.code, Some(2), "{input}: {}", outcome.stderr);
            assert!(outcome.stderr.contains(expected), "{input}: {}", outcome.stderr);
            assert!(outcome.stderr.contains("pipeline.yaml:7:"), "{}", outcome.stderr);
            assert!(outcome.stderr.contains("read it as an input: `one.o`"), "{}", outcome.stderr);
        }
    };
    let file = "input `i` is `$PROJECT/file`, which leads to `$PROJECT/artifacts/one/o.txt`: stage `one` writes that";
    project.set_stages("one: { run: 'date > ${outputs.o}', outputs: { o: o.txt } }\n");
    project.pipe_ok(&["run"]);
    refused("file", file);
    refused("folder", "`$PROJECT/folder`, which leads to `$PROJECT/artifacts/one`: stage `one` writes that");
    refused("sub", "which contains the link `made` to `$PROJECT/artifacts/one`: stage `one` writes that");
    project.set_stages(
        &stages.replace("i: INPUT", "o: one.o, i: sub").replace("cat ${inputs.i}", "ls ${inputs.i}"),
    );
    project.pipe_ok(&["run"]);
    project.set_stages(
        "one: { run: 'cat ${inputs.i} > ${outputs.o}', inputs: { i: file }, outputs: { o: o.txt } }\n",
    );
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    snapshots::assert_printed!(outcome.stderr);
}

#[test]
fn a_variant_that_never_ran_is_told_how_long_the_others_took() {
    let stages = "two: { run: 'sleep 0.${matrix.n}; echo > ${outputs.o}', matrix: { n: [1, 2] }, outputs: { o: o.txt } }\n";
    let project = Project::new(stages);
    let planned = || {
        let json = project.pipe_ok(&["status", "--json"]).stdout;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        json["stages"].as_array().unwrap().clone()
    };
    assert!(planned().iter().all(|stage| stage["variants_ms"].is_null()));
    project.pipe_ok(&["run"]);
    project.set_stages(&stages.replace("[1, 2]", "[1, 2, 3]"));
    let stages = planned();
    let took = stages[2]["variants_ms"].as_u64().unwrap();
    assert!((150..3_000).contains(&took), "{took}");
    assert!(stages[2]["usual_ms"].is_null() && stages[0]["variants_ms"].is_null(), "{stages:?}");
    assert!(project.pipe_ok(&["status"]).stdout.contains("other variants took"));
}
