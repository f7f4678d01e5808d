//! `pipe report` and `pipe compare` for others: Markdown, JSON, and a page of two runs.

use serde_json::Value;

use crate::project::Project;

const STAGES: &str = "
eval:
  uses: fake/score
  with: { value: 84.62, interval: [83.9, 85.31] }
other:
  uses: fake/write
  with: { text: other }
";

const MORE: &str = "gates:
  - other.bytes < 100
  - eval.accuracy >= 85
report:
  title: Of cats | dogs
  rows: { all: eval }
  columns: [{ label: accuracy %, metric: '${row}.accuracy', digits: 2, better: higher }]
";

/// Two runs; the second is worse and misses a gate.
fn two_runs() -> Project {
    let project = Project::new("unused:\n  run: 'true'\n");
    for stages in
        [STAGES.replace("84.62, interval: [83.9, 85.31]", "90, interval: [89.3, 90.7]"), STAGES.into()]
    {
        project.set_stages(&stages);
        project.write("pipeline.yaml", &format!("{}{MORE}", project.read("pipeline.yaml")));
        project.pipe(&["run"]);
    }
    project
}

#[test]
fn a_run_in_short_is_markdown() {
    let project = two_runs();
    std::fs::remove_file(project.path("artifacts/report.html")).unwrap();
    let text = project.pipe_ok(&["report", "--markdown"]).stdout;
    for line in [
        "### ✖ Of cats \\| dogs\n",
        "**One of 2 gates is inconclusive: ",
        "| ✖ | `eval.accuracy >= 85` | **inconclusive**: 84.62, 95 % interval 83.90 to 85.31, is not shown to be \\>= 85: \
         evaluate more images |\n| ✔ | `other.bytes < 100` | 5 \\< 100 |\n",
        "|  | accuracy % |\n| --- | --: |\n| all | 84.62 ±0.72 |\n",
        "| `eval.with.value` | `90` | `84.62` |\n",
        "| all, accuracy % | 90.00 | 84.62 | −5.38 |  |\n",
    ] {
        assert!(text.contains(line), "no {line}\n{text}");
    }
    assert!(!project.path("artifacts/report.html").exists(), "the file is not written");
}

#[test]
fn a_run_in_short_is_json() {
    let project = two_runs();
    std::fs::remove_file(project.path("artifacts/report.html")).unwrap();
    let answer: Value = serde_json::from_str(&project.pipe_ok(&["report", "--json"]).stdout).unwrap();
    assert_eq!(answer["version"], 1);
    assert_eq!(answer["verdict"]["state"], "gate_failed");
    assert_eq!(answer["gates"][0]["expression"], "eval.accuracy >= 85", "what is not satisfied stands first");
    let cell = &answer["results"]["rows"][0]["cells"][0]["number"];
    assert_eq!((&cell["value"], &cell["text"]), (&Value::from(84.62), &Value::from("84.62 ±0.72")));
    let changes = answer["since"]["changes"].as_array().unwrap();
    assert!(changes.iter().any(|change| change["name"] == "eval.with.value"), "{changes:?}");
    assert_eq!(answer["since"]["numbers"][0]["old"], 90.0);
    assert!(!project.path("artifacts/report.html").exists(), "the file is not written");
}

#[test]
fn a_failed_stage_is_told_in_short() {
    let project = Project::new("bad:\n  uses: fake/fail\n");
    assert_eq!(project.pipe(&["run"]).code, Some(1));
    let text = project.pipe_ok(&["report", "--markdown"]).stdout;
    assert!(
        text.contains("\n**bad failed after ") && text.contains("\n```text\nit did not work\n```\n"),
        "{text}"
    );
    assert!(text.contains("What to do: try something else\n"), "{text}");
}

#[test]
fn ways_to_show_a_report_exclude_each_other_and_need_a_run() {
    let project = Project::new(STAGES);
    for args in [
        ["report", "--markdown", "--json"],
        ["report", "--json", "--open"],
        ["report", "--markdown", "--open"],
    ] {
        assert_eq!(project.pipe(&args).code, Some(2), "{args:?}");
    }
    for (args, code, said) in [
        (["report", "--markdown"].as_slice(), 1, "there is no run yet"),
        (&["report"], 1, "there is no run yet"),
        (&["report", "abcd"], 2, "there is no run `abcd`"),
    ] {
        let outcome = project.pipe(args);
        assert_eq!((outcome.code, outcome.stderr.contains(said)), (Some(code), true), "{}", outcome.stderr);
    }
}

/// The name of each run, the last one first.
fn names(project: &Project) -> Vec<String> {
    let history: Value = serde_json::from_str(&project.pipe_ok(&["history", "--json"]).stdout).unwrap();
    history["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_page_of_an_older_run_tells_what_that_run_was_made_with() {
    let project = two_runs();
    let older = names(&project)[1].clone();
    let output = project.pipe_ok(&["report", &older, "-o", "sub/before.html"]).stdout;
    assert_eq!(output, "sub/before.html\n");
    let before = project.read("sub/before.html");
    let of = |value: &str| format!("<dt><code>value</code></dt><dd><code>{value}</code></dd>");
    assert!(before.contains(&of("90")) && !before.contains(&of("84.62")), "its own parameters");
    assert!(before.contains("<h1>Of cats | dogs</h1>") && before.contains(">90.00<"), "{before}");
    // Whatever the pipeline says now, or whether it says anything.
    for now in [
        project.read("pipeline.yaml").replace("cats", "birds").replace("eval:", "judge:"),
        "stages: [".into(),
    ] {
        project.write("pipeline.yaml", &now);
        project.pipe_ok(&["report", &older, "--output", "again.html"]);
        assert_eq!(project.read("again.html"), before);
    }
    let markdown = project.pipe_ok(&["report", &older, "--markdown"]).stdout;
    assert!(
        markdown.starts_with("### ✔ Of cats") && markdown.contains("| all | 90.00 ±0.70 |"),
        "{markdown}"
    );
}

#[test]
fn without_what_the_pipeline_said_a_page_tells_what_keys_and_records_do() {
    let project = two_runs();
    let older = names(&project)[1].clone();
    std::fs::remove_dir_all(project.path("cache/v1/definitions")).unwrap();
    project.pipe_ok(&["report", &older, "-o", "before.html"]);
    let before = project.read("before.html");
    assert!(before.contains("What the pipeline said at this run is lost"), "{before}");
    assert!(before.contains("<dt><code>value</code></dt><dd><code>90</code></dd>"), "the key tells it");
    assert!(
        before.contains("eval</a>") || before.contains("eval.accuracy"),
        "all metrics instead of the table"
    );
    assert!(!before.contains("Of cats"), "nothing of what the pipeline says now");
    project.write("pipeline.yaml", &project.read("pipeline.yaml"));
    assert!(project.pipe(&["run"]).stdout.contains("2 fresh"));
    assert_eq!(names(&project).len(), 3, "the next run says it again");
    assert!(project.read("artifacts/report.html").contains("Of cats"));
}

#[test]
fn a_report_is_asked_for_by_the_name_of_one_run_and_goes_where_it_is_sent() {
    let project = two_runs();
    let [latest, older] = <[String; 2]>::try_from(names(&project)).unwrap();
    let said = |args: &[&str]| {
        let outcome = project.pipe(args);
        (outcome.code, outcome.stderr)
    };
    assert_eq!(
        said(&["report", &older]),
        (
            Some(2),
            format!(
                "error: `{older}` is not the last run, whose report is `artifacts/report.html`\n  = help: say where to \
                 write this one, as in `pipe report {older} -o run-{older}.html`\n"
            )
        )
    );
    let (code, text) = said(&["report", "zzz", "-o", "x.html"]);
    assert!(code == Some(2) && text.starts_with("error: there is no run `zzz`\n  = help: "), "{text}");
    let (code, text) = said(&["report", "-o", "artifacts"]);
    assert!(code == Some(1) && text.starts_with("error: cannot write `artifacts`: "), "{text}");
    assert!(project.path("artifacts/eval").is_dir(), "a folder is not replaced");
    assert_eq!(project.pipe_ok(&["report"]).stdout, "artifacts/report.html\n");
    assert_eq!(project.pipe_ok(&["report", &latest]).stdout, "artifacts/report.html\n");
    let page = project.pipe_ok(&["report", "latest~", "-o", "/dev/stdout"]).stdout;
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"), "{page:.200}");
}

#[test]
fn two_runs_are_compared_on_a_page() {
    let project = two_runs();
    let outcome = project.pipe_ok(&["compare", "--html", "sub/compare.html"]);
    assert_eq!(outcome.stdout, "sub/compare.html\n");
    let html = project.read("sub/compare.html");
    for text in [
        "<title>Of cats | dogs · ",
        "Content-Security-Policy",
        "✕ inconclusive",
        "is not shown to be &gt;= 85",
        "<td class=\"num worse\">−5.38</td>",
        "eval.with.value",
        "90 [89.30, 90.70]",
    ] {
        assert!(html.contains(text), "no {text}");
    }
    assert_eq!(project.pipe(&["compare", "--html", "x.html", "--json"]).code, Some(2));
    project.write("pipeline.yaml", "stages: [");
    project.pipe_ok(&["compare", "--html", "compare.html"]);
    assert_eq!(project.read("compare.html"), html, "a broken pipeline is no obstacle");
    let outcome = project.pipe(&["compare", "--html", "."]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("cannot write `.`"), "{}", outcome.stderr);
}

#[test]
fn a_page_is_not_written_over_what_is_no_page() {
    let project = two_runs();
    let refused = |args: &[&str], file: &str| {
        project.write(file, "not a page");
        let outcome = project.pipe(args);
        assert_eq!((outcome.code, project.read(file).as_str()), (Some(2), "not a page"), "{args:?}");
        let told = format!("error: `{file}` is there already, and is no ");
        assert!(
            outcome.stderr.starts_with(&told) && outcome.stderr.contains("--force"),
            "{}",
            outcome.stderr
        );
        project.pipe_ok(&[args, &["--force"]].concat());
        assert_ne!(project.read(file), "not a page");
        project.pipe_ok(args);
    };
    refused(&["report", "-o", "model.onnx"], "model.onnx");
    refused(&["compare", "--html", "notes.md"], "notes.md");
    refused(&["schema", "--output", "data.json"], "data.json");
    refused(&["schema", "--reference", "--output", "README.md"], "README.md");
    project.pipe_ok(&["compare", "--html", "model.onnx"]);
    // A run does not wait for an answer.
    project.write("artifacts/report.html", "mine");
    assert_eq!(project.pipe(&["report"]).code, Some(2));
    project.pipe_ok(&["clean"]);
    assert_eq!(project.read("artifacts/report.html"), "mine");
    let told = project.pipe(&["run", "--force"]).stderr;
    let kept = "`artifacts/report.html` was not written by `pipe`; moved to `artifacts/report.html.kept-1`";
    assert!(told.contains(kept), "{told}");
    assert_eq!(project.read("artifacts/report.html.kept-1"), "mine");
    project.pipe_ok(&["report"]);
}
