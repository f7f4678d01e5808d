//! Gates with intervals, and gates that compare with an earlier run: verdicts, exit codes, and every place that shows them.

use serde_json::Value;

use crate::project::{Outcome, Project};

/// Rewrites the pipeline: a stage with this accuracy, one beside it, and these gates.
fn write(project: &Project, accuracy: &str, note: &str, gates: &[&str]) {
    let stages = format!(
        "eval:\n  uses: fake/score\n  with: {{ {accuracy} }}\nnote:\n  uses: fake/write\n  with: {{ text: {note} }}\n"
    );
    project.set_stages(&stages);
    let gates: String = gates.iter().map(|gate| format!("  - {gate}\n")).collect();
    project.write("pipeline.yaml", &format!("{}gates:\n{gates}", project.read("pipeline.yaml")));
}

fn project(accuracy: &str, gates: &[&str]) -> Project {
    let project = Project::new("unused:\n  run: 'true'\n");
    write(&project, accuracy, "one", gates);
    project
}

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

const MISSED: &str = "value: 84.62, interval: [83.9, 85.31]";
const MET: &str = "value: 85.2, interval: [84.5, 85.9]";

#[test]
fn what_was_measured_decides_the_exit_code_and_certainty_can_be_asked_for() {
    let missed = project(MISSED, &["eval.accuracy >= 85"]);
    let outcome = missed.pipe(&["run"]);
    assert_eq!(outcome.code, Some(3));
    let words = "✖ eval.accuracy >= 85   inconclusive: 84.62, 95 % interval 83.90 to 85.31, is not shown to be >= 85: \
                 evaluate more images\n";
    assert!(outcome.stdout.contains(words), "{}", outcome.stdout);

    let met = project(MET, &["eval.accuracy >= 85", "note.bytes < 10"]);
    for args in [&["run"][..], &["run"], &["run", "--json"]] {
        assert_eq!(met.pipe(args).code, Some(0), "{args:?}");
    }
    let outcome = met.pipe(&["run"]);
    snapshots::assert_printed!(outcome.stdout);
    for args in [&["run", "--certain"][..], &["run", "--certain", "--json"], &["run", "--certain", "--force"]]
    {
        assert_eq!(met.pipe(args).code, Some(3), "{args:?}");
    }
    let outcome = met.pipe(&["run", "--certain"]);
    snapshots::assert_printed!(outcome.stdout);

    let shown = project("value: 91, interval: [90, 92]", &["eval.accuracy >= 85"]);
    assert_eq!(shown.pipe(&["run", "--certain"]).code, Some(0));
    let exact = project("value: 85.2", &["eval.accuracy >= 85"]);
    assert_eq!(exact.pipe(&["run", "--certain"]).code, Some(0), "what has no interval is certain");
}

#[test]
fn an_inconclusive_gate_is_shown_everywhere() {
    let project = project(MET, &["note.bytes < 10", "eval.accuracy >= 85"]);
    project.pipe_ok(&["run"]);
    let html = project.read("artifacts/report.html");
    assert!(html.contains("One of 2 gates is inconclusive"), "the report's verdict");
    assert!(html.find("eval.accuracy &gt;= 85").unwrap() < html.find("note.bytes &lt; 10").unwrap());
    assert!(project.pipe_ok(&["history"]).stdout.contains("~ 1 of 2"));
    let runs = json(&project.pipe_ok(&["history", "--json"]));
    assert_eq!(runs["runs"][0]["gates"]["inconclusive"], 1);

    write(&project, "value: 91, interval: [90, 92]", "one", &["note.bytes < 10", "eval.accuracy >= 85"]);
    project.pipe_ok(&["run"]);
    let text = project.pipe_ok(&["compare"]).stdout;
    let line = "eval.accuracy >= 85  ~ inconclusive  →  ✔ holds  91, 95 % interval 90 to 92, is >= 85\n";
    assert!(text.contains(line), "{text}");
    let gate = &json(&project.pipe_ok(&["compare", "--json"]))["comparison"]["gates"][1];
    assert_eq!(gate["old"], "inconclusive");
    assert_eq!(gate["old_result"]["interval"], serde_json::json!([84.5, 85.9]));
    assert_eq!(gate["old_result"]["satisfied"], true);
}

#[test]
fn certainty_that_was_asked_for_is_recorded_and_told_everywhere() {
    let project = project(MET, &["note.bytes < 10", "eval.accuracy >= 85"]);
    let says = |history: &str, word: &str, state: &str| {
        assert!(project.pipe_ok(&["history", "-n", "1"]).stdout.contains(history), "{history}");
        let text = project.pipe_ok(&["report", "--markdown"]).stdout;
        assert!(text.contains(&format!("| {word} | `eval.accuracy >= 85` | **inconclusive**")), "{text}");
        assert_eq!(json(&project.pipe_ok(&["report", "--json"]))["verdict"]["state"], state);
    };
    project.pipe_ok(&["run"]);
    says("~ 1 of 2", "~", "inconclusive");
    for _ in 0..2 {
        assert_eq!(project.pipe(&["run", "--certain"]).code, Some(3));
        says("✖ 1 of 2", "✖", "gate_failed");
    }
    let html = project.read("artifacts/report.html");
    assert!(
        html.contains("One of 2 gates is inconclusive, and certainty was asked for."),
        "the report's verdict"
    );
    let text = project.pipe_ok(&["compare"]).stdout;
    assert!(text.contains("eval.accuracy >= 85  ~ inconclusive  →  ✖ inconclusive"), "{text}");
    let runs = &json(&project.pipe_ok(&["history", "--json"]))["runs"];
    assert_eq!(runs.as_array().unwrap().len(), 2, "the same once more is not recorded");
    let last = &runs[0];
    assert_eq!((&last["certain"], &last["gates"]["missed"]), (&Value::from(true), &Value::from(1)));
    project.pipe_ok(&["run"]);
    says("~ 1 of 2", "~", "inconclusive");
}

const NO_WORSE: &str = "eval.accuracy >= baseline.eval.accuracy - 0.5";

#[test]
fn a_first_run_passes_and_a_loss_fails_until_it_is_accepted() {
    let project = project("value: 90", &[NO_WORSE]);
    let first = project.pipe_ok(&["run"]);
    let words = "✔ eval.accuracy >= baseline.eval.accuracy - 0.5   no earlier run to compare with\n";
    assert!(first.stdout.contains(words), "{}", first.stdout);
    let history = json(&project.pipe_ok(&["history", "--json"]));
    let (first, first_id) = (history["runs"][0]["run"].as_str().unwrap(), &history["runs"][0]["id"]);

    write(&project, "value: 80", "one", &[NO_WORSE]);
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(3));
    let words = format!("80 is not >= 89.5 (compared with run {first})");
    assert!(outcome.stdout.contains(&words), "{}", outcome.stdout);
    let lines: Vec<Value> = project
        .pipe(&["run", "--json"])
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let gate = &lines.last().unwrap()["record"]["gates"][0];
    assert_eq!((&gate["verdict"], &gate["baseline"]["id"]), (&Value::from("fail"), first_id));
    assert!(project.read("artifacts/report.html").contains(&words.replace(">=", "&gt;=")));

    assert_eq!(project.pipe(&["run"]).code, Some(3), "the loss does not pass the second time");
    write(&project, "value: 80", "two", &[NO_WORSE]);
    assert_eq!(project.pipe(&["run"]).code, Some(3), "nor because another stage ran");
    assert_eq!(project.pipe(&["run", "--force"]).code, Some(3), "nor because it is measured again");

    write(&project, "value: 80.1", "two", &[NO_WORSE]);
    assert_eq!(project.pipe(&["run"]).code, Some(3), "nor because it is as bad as what failed");

    write(&project, "value: 80", "two", &[NO_WORSE]);
    assert_eq!(project.pipe(&["run"]).code, Some(3));
    project.write("cache/v1/standing", "what the run before came to");
    project.pipe_ok(&["run", "--baseline", "latest"]);
    assert!(!project.path("cache/v1/standing").exists(), "it is not what the next run comes to");
    project.pipe_ok(&["run"]);
    write(&project, "value: 79.8", "two", &[NO_WORSE]);
    project.pipe_ok(&["run"]);
    assert_eq!(project.pipe(&["run", "--baseline", first]).code, Some(3));
    write(&project, "value: 90.2", "two", &[NO_WORSE]);
    project.pipe_ok(&["run", "--baseline", first]);
    write(&project, "value: 79.6", "two", &[NO_WORSE]);
    assert_eq!(project.pipe(&["run"]).code, Some(3), "the last run before had 90.2");
}

#[test]
fn intervals_of_both_runs_count() {
    let project = project("value: 90, interval: [89.3, 90.7]", &[NO_WORSE]);
    project.pipe_ok(&["run"]);
    write(&project, "value: 89.8, interval: [89.1, 90.5]", "one", &[NO_WORSE]);
    let outcome = project.pipe_ok(&["run"]);
    let words =
        "inconclusive: 89.8, 95 % interval 88.81 to 90.79, is not shown to be >= 89.5: evaluate more images";
    assert!(outcome.stdout.contains(words), "{}", outcome.stdout);
    assert_eq!(project.pipe(&["run", "--certain"]).code, Some(3));
}

#[test]
fn a_baseline_that_is_not_there_is_told() {
    let project = project("value: 90", &[NO_WORSE]);
    let outcome = project.pipe(&["run", "--baseline", "latest"]);
    assert_eq!(outcome.code, Some(1));
    snapshots::assert_printed!(outcome.stderr);
    project.pipe_ok(&["run"]);
    project.executed();
    let outcome = project.pipe(&["run", "--baseline", "nope", "--force"]);
    assert_eq!(outcome.code, Some(2));
    snapshots::assert_printed!(outcome.stderr);
    assert!(project.executed().is_empty(), "it is told before anything runs");

    write(&project, "value: 90", "one", &["eval.accuracy >= baseline.note.bites"]);
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(3));
    snapshots::assert_printed!(outcome.stdout);
    let outcome = project.pipe(&["run", "--baseline", "latest"]);
    snapshots::assert_printed!(outcome.stdout);

    write(&project, "value: 90", "one", &["eval.accuracy >= baseline.evil.accuracy"]);
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(2));
    let place = "error: gate names unknown stage `evil`\n  ┌─ pipeline.yaml:13:31\n";
    assert!(outcome.stderr.contains(place), "{}", outcome.stderr);

    write(&project, "value: 90", "one", &["eval.accuracy >= 1"]);
    let outcome = project.pipe_ok(&["run", "--baseline", "latest"]);
    snapshots::assert_printed!(outcome.stderr);
}

#[test]
fn variants_of_a_sweep_compare_with_themselves() {
    let project = Project::new(
        "eval:\n  uses: fake/score\n  matrix: { low: [89, 89.5] }\n  \
         with: { value: \"${vars.a}\", interval: [\"${matrix.low}\", 91] }\n",
    );
    let pipeline = project.read("pipeline.yaml").replace("stages:", "vars: { a: 90 }\nstages:");
    project.write("pipeline.yaml", &format!("{pipeline}gates:\n  - {NO_WORSE}\n"));
    project.pipe_ok(&["run"]);
    let worse = project.pipe(&["run", "--set", "a=80"]);
    assert_eq!(worse.code, Some(3));
    for low in ["89", "89.5"] {
        let gate = format!(
            "eval[low={low}].accuracy >= baseline.eval[low={low}].accuracy - 0.5   inconclusive: 80, "
        );
        assert!(worse.stdout.contains(&gate), "{}", worse.stdout);
    }
    assert_eq!(worse.stdout.matches("(compared with run ").count(), 2, "{}", worse.stdout);
}
