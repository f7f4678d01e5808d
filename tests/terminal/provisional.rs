//! What an op calls provisional: it is shown everywhere with that mark, and is not done.

use std::fs;

use serde_json::Value;

use crate::project::Project;

const MEASURE: &str = "
time:
  uses: fake/measure
  with: { busy: BUSY }
after:
  uses: fake/write
  inputs: { time: time.out }
";

const WHY: &str = "the cached result is provisional: others were at work";

fn project() -> Project {
    let project = Project::new("unused:\n  run: 'true'\n");
    project.write("busy", "");
    project.set_stages(&MEASURE.replace("BUSY", &project.path("busy").to_string_lossy()));
    project
}

#[test]
fn what_was_not_measured_is_measured_by_the_next_run() {
    let project = project();
    let first = project.pipe_ok(&["run"]);
    assert_eq!(project.executed(), ["measure", "write hello"], "what follows has something to go on");
    let said = "others were at work; the result is provisional: the next run will execute the stage again";
    assert!(first.stderr.contains(said), "{}", first.stderr);
    for command in [&["status"][..], &["why", "time"], &["run", "-n"]] {
        let outcome = project.pipe(command);
        assert!(outcome.stdout.contains(WHY), "{command:?}: {}", outcome.stdout);
    }
    // Neither what the last run came to nor a restored artifact is an answer.
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed(), ["measure"]);
    fs::remove_dir_all(project.path("artifacts")).unwrap();
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed(), ["measure"], "the other one is restored");

    fs::remove_file(project.path("busy")).unwrap();
    let last = project.pipe_ok(&["run"]);
    assert_eq!(project.executed(), ["measure"]);
    assert!(!last.stderr.contains("provisional"), "{}", last.stderr);
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty(), "now it is done");
}

#[test]
fn a_shared_cache_holds_no_answer_either() {
    let (one, two) = (project(), project());
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path().to_str().unwrap();
    // The same key: both watch for the same file.
    two.set_stages(&MEASURE.replace("BUSY", &one.path("busy").to_string_lossy()));
    one.pipe_ok(&["--cache", cache, "run"]);
    two.pipe_ok(&["--cache", cache, "run"]);
    assert_eq!(two.executed(), ["measure"]);
    fs::remove_file(one.path("busy")).unwrap();
    two.pipe_ok(&["--cache", cache, "run"]);
    assert_eq!(two.executed(), ["measure"]);
    one.pipe_ok(&["--cache", cache, "run"]);
    assert_eq!(one.executed(), ["measure", "write hello"], "only at first: now the other's answers");
}

#[test]
fn report_history_and_comparison_show_the_mark() {
    let project = project();
    project.pipe_ok(&["run"]);
    let report = project.read("artifacts/report.html");
    assert!(report.contains("<strong>Provisional: </strong>others were at work"), "{report}");
    let history = project.pipe_ok(&["history"]).stdout;
    assert!(history.contains("time provisional"), "{history}");
    fs::remove_file(project.path("busy")).unwrap();
    project.pipe_ok(&["run"]);
    assert!(!project.read("artifacts/report.html").contains("Provisional"));
    let compared = project.pipe_ok(&["compare"]).stdout;
    assert!(compared.lines().any(|line| line.contains("time") && line.contains("provisional")), "{compared}");
    // The page of the first run tells of what it had itself.
    project.pipe_ok(&["report", "latest~", "-o", "first.html"]);
    assert!(project.read("first.html").contains("<strong>Provisional: </strong>others were at work"));
    let json: Value = serde_json::from_str(&project.pipe_ok(&["history", "--json"]).stdout).unwrap();
    assert_eq!(json["runs"][1]["provisional"], serde_json::json!(["time"]));
    assert_eq!(json["runs"][0]["provisional"], serde_json::json!([]));
}

/// What `time.others` was in two runs, by `pipe compare`, and in each of them by its report.
fn others(project: &Project, old: &str, new: &str) -> (Vec<Value>, [Option<f64>; 2]) {
    let json = |args: &[&str]| -> Value { serde_json::from_str(&project.pipe_ok(args).stdout).unwrap() };
    let compared = json(&["compare", old, new, "--json"])["comparison"]["metrics"].clone();
    let differ = compared.as_array().unwrap().iter().filter(|it| it["difference"] != 0.0).cloned();
    let of = |run: &str| {
        json(&["report", run, "--json"])["results"]["rows"][0]["cells"][0]["number"]["value"].as_f64()
    };
    (differ.collect(), [of(old), of(new)])
}

#[test]
fn what_is_made_again_of_the_same_key_is_told_of_the_run_that_made_it_alone() {
    let project = project();
    project.write("busy", "12345678");
    let table = "report: { rows: { it: time }, columns: [{ label: others, metric: '${row}.others' }] }";
    let gate = "gates: [time.others <= baseline.time.others]";
    let stages = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &format!("{stages}{table}\n{gate}\n"));
    project.pipe_ok(&["run"]);
    project.write("busy", "123");
    project.pipe_ok(&["run"]);
    fs::remove_file(project.path("busy")).unwrap();
    project.pipe_ok(&["run"]);
    let (differ, values) = others(&project, "latest~2", "latest");
    assert_eq!(values, [Some(8.0), Some(0.0)]);
    assert_eq!((differ.len(), &differ[0]["difference"]), (1, &serde_json::json!(-8.0)), "{differ:?}");
    assert_eq!(others(&project, "latest~", "latest").1, [Some(3.0), Some(0.0)]);
    // And so do gates that compare with it.
    project.write("busy", "1234");
    assert_eq!(project.pipe(&["run", "--force", "--baseline", "latest~2"]).code, Some(0), "4 of 8");
    assert_eq!(project.pipe(&["run", "--force", "--baseline", "latest~2"]).code, Some(3), "4 of 3");
}
