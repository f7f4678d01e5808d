//! `pipe history` and `pipe compare`: what was, and what changed.

use crate::project::Project;

const STAGES: &str = "
one:
  uses: fake/write
  inputs: { data: data.txt }
  with: { text: one }
two:
  uses: fake/write
  inputs: { a: one.out }
";

/// Three runs: the first, one with another param, one with another file.
fn three_runs() -> Project {
    let project = Project::new(STAGES);
    project.write("data.txt", "data");
    project.pipe_ok(&["run"]);
    project.set_stages(&STAGES.replace("text: one", "text: longer"));
    project.pipe_ok(&["run"]);
    project.write("data.txt", "other data");
    project.pipe_ok(&["run"]);
    project
}

fn json(project: &Project, args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&project.pipe_ok(args).stdout).unwrap()
}

#[test]
fn history_lists_runs_newest_first_with_what_was_changed() {
    let project = three_runs();
    let text = project.pipe_ok(&["history"]).stdout;
    let (param, file) =
        (text.find("one.with.text \"one\" → \"longer\"").unwrap(), text.find("one.inputs.data").unwrap());
    assert!(file < param, "{text}");
    assert!(!text.contains("two.inputs.a"), "what follows from a change is no change\n{text}");
    assert_eq!(text.matches("2 ran").count(), 3, "{text}");
    let text = project.pipe_ok(&["history", "-n", "1"]).stdout;
    assert!(text.ends_with(" and 2 earlier runs: pipe history -n 3\n"), "{text}");
    let answer = json(&project, &["history", "--json", "-n", "2"]);
    assert_eq!((answer["version"].as_u64(), answer["earlier"].as_u64()), (Some(1), Some(1)));
    assert_eq!(answer["runs"][0]["changes"][0]["name"], "one.inputs.data");
}

#[test]
fn history_needs_neither_runs_nor_a_valid_pipeline() {
    let project = Project::new(STAGES);
    assert_eq!(project.pipe_ok(&["history"]).stdout, " no runs yet: `pipe run` makes the first\n");
    let outcome = project.pipe(&["compare"]);
    assert_eq!((outcome.code, outcome.stderr.contains("there is no run yet")), (Some(1), true));
    let project = three_runs();
    project.write("pipeline.yaml", "stages: [");
    assert!(project.pipe_ok(&["history"]).stdout.contains("one.inputs.data"));
    assert!(project.pipe_ok(&["compare"]).stdout.contains("one.inputs.data"));
}

#[test]
fn compare_tells_params_metrics_and_outcomes() {
    let project = three_runs();
    let text = project.pipe_ok(&["compare", "latest~2", "latest~"]).stdout;
    assert!(text.contains("one.with.text  \"one\"  →  \"longer\""), "{text}");
    assert!(text.contains("and, in consequence, 1 input of other stages"), "{text}");
    assert!(text.contains("one.bytes   7  →  10  B  +3"), "{text}");
    let answer = json(&project, &["compare", "--json"]);
    let names = json(&project, &["history", "--json"]);
    assert_eq!(answer["new"]["run"], names["runs"][0]["run"]);
    assert_eq!(answer["old"]["run"], names["runs"][1]["run"]);
    assert_eq!(answer["comparison"]["metrics"][0]["difference"], 6.0);
    let by_name = names["runs"][2]["run"].as_str().unwrap();
    assert_eq!(json(&project, &["compare", by_name, "--json"])["old"]["run"], by_name);
    let outcome = project.pipe(&["compare", "nope"]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("there is no run `nope`"), "{}", outcome.stderr);
}

#[test]
fn what_the_cache_no_longer_has_is_said() {
    let project = three_runs();
    std::fs::remove_dir_all(project.path("cache/v1/actions")).unwrap();
    let text = project.pipe_ok(&["compare"]).stdout;
    assert!(text.contains("results of one and two in ") && text.contains(" are no longer cached"), "{text}");
    assert_eq!(json(&project, &["compare", "--json"])["comparison"]["stages"][0]["old"]["evicted"], true);
    project.pipe_ok(&["report", "latest~", "-o", "earlier.html"]);
    let page = project.read("earlier.html");
    assert_eq!(page.matches("Its result is no longer cached").count(), 2);
    assert!(
        page.contains("<dt><code>text</code></dt><dd><code>longer</code></dd>"),
        "what is recorded is shown"
    );
}

#[test]
fn the_trade_off_of_all_runs_is_in_the_report_and_in_compare() {
    let project = three_runs();
    assert!(!project.read("artifacts/report.html").contains("Trade-off"), "no column says what is better");
    let report = "report:
  rows: { all: it }
  columns:
    - { label: small, metric: one.bytes, better: lower, digits: 0 }
    - { label: large, metric: two.bytes, better: higher, digits: 0 }
";
    project.write("pipeline.yaml", &(project.read("pipeline.yaml") + report));
    project.pipe_ok(&["run", "--force"]);
    let text = project.pipe_ok(&["compare", "latest~3", "latest"]).stdout;
    assert!(text.contains("trade-off") && text.matches("  ★  ").count() == 3, "{text}");
    let answer = json(&project, &["compare", "--json"]);
    assert_eq!(answer["front"]["points"].as_array().unwrap().len(), 3, "the last two runs are alike");
    assert_eq!(answer["front"]["points"][2]["earlier"], 1);
    let html = project.read("artifacts/report.html");
    assert!(html.contains("<h2>Trade-off</h2>") && html.contains("class=\"ring\""));
    // A later run with the same numbers.
    project.pipe_ok(&["run", "--force"]);
    project.pipe_ok(&["report", "latest~", "-o", "earlier.html"]);
    let earlier = project.read("earlier.html");
    assert!(earlier.contains("class=\"ring\""), "what came later is nothing of it");
}

#[test]
fn several_pipelines_in_one_folder_have_a_past_of_their_own() {
    let project = Project::new("");
    for name in ["small", "large"] {
        let text = format!(
            "version: 1\nname: {name}\nstages:\n  one:\n    run: echo {name} > ${{outputs.o}}\n    outputs: {{ o: o.txt }}\n"
        );
        project.write(&format!("{name}.yaml"), &text);
        project.pipe_ok(&["run", "--file", &format!("{name}.yaml")]);
    }
    project.pipe_ok(&["run", "--file", "small.yaml", "--force"]);
    let of = |file: &str| json(&project, &["report", "--json", "--file", file])["run"]["pipeline"].clone();
    assert_eq!((of("small.yaml"), of("large.yaml")), ("small".into(), "large".into()));
    project.pipe_ok(&["report", "--file", "large.yaml"]);
    let page = project.read("artifacts/report.html");
    assert!(page.contains("<h1>large") && page.contains("<code class=\"does\">echo large"), "{page}");
    let listed = project.pipe_ok(&["history"]).stdout;
    assert!(listed.contains("pipeline") && listed.contains("small") && listed.contains("large"), "{listed}");
    let compared = project.pipe_ok(&["compare", "--file", "small.yaml"]).stdout;
    assert!(!compared.contains("large"), "its own run before: {compared}");
    let outcome = project.pipe(&["compare", "--file", "large.yaml"]);
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome.stderr.contains("goes back further than the 1 run on record of `large`"),
        "{}",
        outcome.stderr
    );
    project.write("huge.yaml", &project.read("large.yaml").replace("name: large", "name: huge"));
    let outcome = project.pipe(&["report", "--json", "--file", "huge.yaml"]);
    assert_eq!(outcome.code, Some(1));
    let none = "there is no run of `huge` yet, only of `large`, `small`";
    assert!(outcome.stderr.contains(none), "{}", outcome.stderr);
}
