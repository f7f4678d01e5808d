//! Runs after an edit: what cannot have been reached by it is not looked at, and what is told of the run is what it would be
//! if all of it had been.

use std::fs;
use std::os::unix::fs::symlink;

use crate::cache::damage;
use crate::project::{Outcome, Project};

/// Two chains, of which the second reads the first one's middle.
const STAGES: &str = "
count:
  run: echo count >> trace; wc -c < ${inputs.a} > ${outputs.o}
  inputs: { a: a.txt }
  outputs: { o: o.txt }
copy:
  run: echo copy >> trace; cat ${inputs.a} > ${outputs.o}
  inputs: { a: count.o }
  outputs: { o: o.txt }
other:
  run: echo other >> trace; grep -v bad ${inputs.b} > ${outputs.o}
  inputs: { b: b.txt, c: copy.o }
  outputs: { o: o.txt }
";

fn project() -> Project {
    let project = Project::on_disk(STAGES);
    project.write("a.txt", "first\n");
    project.write("b.txt", "first\n");
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed(), ["count", "copy", "other"]);
    project
}

type Edit = fn(&Project);

/// Runs, and says whether the pipeline was read for that.
fn run(project: &Project) -> (Outcome, bool) {
    let outcome = project.command(&["run"]).env("PIPE_LOG", "pipe=debug").output().unwrap();
    let [stdout, stderr] = [outcome.stdout, outcome.stderr].map(|text| String::from_utf8(text).unwrap());
    let is_read = stderr.contains(" load file=");
    (Outcome { code: outcome.status.code(), stdout, stderr }, is_read)
}

/// The stages in the last run's record.
fn stages(project: &Project) -> Vec<serde_json::Value> {
    let files = project.files("cache/v1/runs");
    let text = fs::read_to_string(files.last().unwrap()).unwrap();
    let run: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    run["stages"].as_array().unwrap().clone()
}

/// Their outcomes.
fn outcomes(project: &Project) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    stages(project).iter().map(|stage| (text(&stage["stage"]), text(&stage["outcome"]["kind"]))).collect()
}

#[test]
fn the_pipeline_is_not_read_and_no_more_is_executed_than_the_edit_reaches() {
    let project = project();
    for (file, text, executed) in [
        ("b.txt", "second\n", &["other"][..]),
        // As long as before.
        ("a.txt", "other\n", &["count"]),
        ("a.txt", "longer\n", &["count", "copy", "other"]),
        ("b.txt", "third\n", &["other"]),
    ] {
        project.write(file, text);
        let (outcome, is_read) = run(&project);
        assert_eq!((outcome.code, is_read), (Some(0), false), "{}", outcome.stderr);
        assert_eq!(project.executed(), executed, "{file}: {text}");
        let all = ["count", "copy", "other"].map(|stage| {
            let outcome = if executed.contains(&stage) { "ran" } else { "fresh" };
            (stage.to_owned(), outcome.to_owned())
        });
        assert_eq!(outcomes(&project), all, "{file}: {text}");
        assert_eq!(project.read("artifacts/copy/o.txt").trim(), project.read("a.txt").len().to_string());
        let report = project.read("artifacts/report.html");
        assert!(["count", "copy", "other"].iter().all(|stage| report.contains(stage)));
    }
    // Taken back.
    project.write("b.txt", "second\n");
    project.write("a.txt", "other\n");
    let (outcome, is_read) = run(&project);
    assert!(!is_read && project.executed().is_empty(), "{}", outcome.stderr);
    assert_eq!(project.read("artifacts/copy/o.txt").trim(), "6");
    let (_, is_read) = run(&project);
    assert!(!is_read && project.executed().is_empty());
}

#[test]
fn what_failed_is_executed_again_and_nothing_else_is_looked_at() {
    let project = project();
    project.write("b.txt", "bad\n");
    let (outcome, is_read) = run(&project);
    assert_eq!((outcome.code, is_read, project.executed()), (Some(1), false, vec!["other".to_owned()]));
    assert_eq!(outcomes(&project)[2], ("other".into(), "failed".into()));
    for text in ["bad\n", "bad\nand good\n"] {
        project.write("b.txt", text);
        let (outcome, is_read) = run(&project);
        assert!(!is_read, "{}", outcome.stderr);
        assert_eq!(
            (outcome.code, project.executed()),
            (Some(i32::from(text == "bad\n")), vec!["other".to_owned()])
        );
    }
    assert_eq!(project.read("artifacts/other/o.txt"), "and good\n");
    let (_, is_read) = run(&project);
    assert!(!is_read && project.executed().is_empty());
}

#[test]
fn whatever_else_changes_the_pipeline_is_read() {
    let edits: [(&str, Edit); 4] = [
        ("the pipeline", |project| {
            project.write("pipeline.yaml", &(project.read("pipeline.yaml") + "# more\n"))
        }),
        ("an object", |project| fs::remove_file(&project.files("cache/v1/objects")[0]).unwrap()),
        ("a record", |project| fs::remove_file(&project.files("cache/v1/actions")[0]).unwrap()),
        ("what was kept", |project| fs::write(project.path("cache/v1/standing-records"), "{}").unwrap()),
    ];
    for (what, edit) in edits {
        let project = project();
        project.write("b.txt", "second\n");
        edit(&project);
        let (outcome, is_read) = run(&project);
        assert_eq!((outcome.code, is_read), (Some(0), true), "{what}: {}", outcome.stderr);
        assert!(project.executed().contains(&"other".to_owned()), "{what}");
        assert_eq!(project.read("artifacts/other/o.txt"), "second\n", "{what}");
    }
}

#[test]
fn a_source_that_becomes_a_link_to_what_a_stage_makes_is_refused_as_ever() {
    let project = project();
    fs::remove_file(project.path("b.txt")).unwrap();
    symlink(project.path("artifacts/other/o.txt"), project.path("b.txt")).unwrap();
    let (outcome, is_read) = run(&project);
    assert!(is_read && outcome.code == Some(2), "{:?} {}", outcome.code, outcome.stderr);
    assert!(outcome.stderr.contains("the stage itself writes that"), "{}", outcome.stderr);
    fs::remove_file(project.path("b.txt")).unwrap();
    let (outcome, _) = run(&project);
    assert_ne!(outcome.code, Some(0));
    assert!(outcome.stderr.contains("b.txt"), "{}", outcome.stderr);
    project.write("b.txt", "second\n");
    let (outcome, _) = run(&project);
    assert_eq!((outcome.code, project.executed()), (Some(0), vec!["other".to_owned()]), "{}", outcome.stderr);
}

/// The key of a stage in it.
fn key(project: &Project, stage: &str) -> String {
    stages(project).iter().find(|it| it["stage"] == stage).unwrap()["key"].as_str().unwrap().to_owned()
}

#[test]
fn where_two_keys_have_the_same_outputs_the_run_goes_by_the_one_that_the_inputs_make() {
    let project = Project::on_disk(
        "
count:
  run: echo count >> trace; wc -c < ${inputs.a} > ${outputs.o}
  inputs: { a: a.txt }
  outputs: { o: o.txt }
same:
  run: echo same >> trace; echo same > ${outputs.o}
  inputs: { a: count.o }
  outputs: { o: o.txt }
last:
  run: echo last >> trace; cat ${inputs.a} > ${outputs.o}
  inputs: { a: same.o }
  outputs: { o: o.txt }
",
    );
    project.write("a.txt", "first\n");
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed(), ["count", "same", "last"]);
    let first = key(&project, "same");
    project.write("a.txt", "longer\n");
    let (_, is_read) = run(&project);
    assert!(!is_read && project.executed() == ["count", "same"]);
    assert_ne!(key(&project, "same"), first);
    // Restored, and executed with the same output as before.
    for (text, executed) in [("first\n", &[][..]), ("longer\n", &[]), ("other\n", &["count"])] {
        project.write("a.txt", text);
        let (outcome, is_read) = run(&project);
        assert!(!is_read && project.executed() == executed, "{text}: {}", outcome.stderr);
        assert_eq!(key(&project, "same") == first, text != "longer\n", "{text}: {}", outcome.stderr);
        let status = project.pipe_ok(&["status"]).stdout;
        assert!(status.contains("3 fresh") && !status.contains("changed"), "{status}");
    }
}

#[test]
fn what_reads_something_that_cannot_be_restored_after_all_is_executed_again() {
    let project = Project::on_disk(
        "
made:
  run: echo made >> trace; date +%s%N > ${outputs.o}
  inputs: { a: a.txt }
  outputs: { o: o.txt }
copy:
  run: echo copy >> trace; cat ${inputs.a} > ${outputs.o}
  inputs: { a: made.o }
  outputs: { o: o.txt }
",
    );
    project.write("a.txt", "first\n");
    project.pipe_ok(&["run"]);
    let made = project.read("artifacts/made/o.txt");
    for object in project.files("cache/v1/objects") {
        if fs::read_to_string(&object).is_ok_and(|text| text == made) {
            damage(&object, |bytes| bytes[0] ^= 1);
        }
    }
    project.executed();
    project.write("artifacts/made/o.txt", "by hand\n");
    let (outcome, _) = run(&project);
    assert_eq!(project.executed(), ["made", "copy"], "{}", outcome.stderr);
    assert_eq!(project.read("artifacts/made/o.txt"), project.read("artifacts/copy/o.txt"));
}
