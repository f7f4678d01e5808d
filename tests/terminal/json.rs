//! What commands print as JSON, held against the schema that the documentation gives.

use jsonschema::Validator;
use serde_json::Value;

use crate::project::Project;

const STAGES: &str = "
one:
  uses: fake/write
  inputs: { data: data.txt }
  with: { text: one }
two:
  uses: fake/write
  inputs: { a: one.out }
bad:
  uses: fake/fail
after:
  uses: fake/write
  inputs: { a: bad.out }
";

/// The schema of one kind of answer.
fn schema(kind: &str) -> Validator {
    let path = format!("{}/docs/cli.schema.json", env!("CARGO_MANIFEST_DIR"));
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let one = serde_json::json!({ "$ref": format!("#/$defs/{kind}"), "$defs": all["$defs"] });
    jsonschema::draft202012::options().offline().build(&one).unwrap()
}

fn check(kind: &str, answer: &str) -> Value {
    let answer: Value =
        serde_json::from_str(answer).unwrap_or_else(|error| panic!("{kind}: {error}\n{answer}"));
    let problems: Vec<String> = schema(kind)
        .iter_errors(&answer)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(problems.is_empty(), "{kind}: {problems:#?}\n{answer:#}");
    assert_eq!(answer["version"], 1, "{kind}");
    answer
}

/// Two runs in which something failed, then edits.
fn project() -> Project {
    let project = Project::new(STAGES);
    project.write("data.txt", "data");
    let gates = "gates:\n  - one.bytes > 100\n  - two.nothing > 1\n";
    project.write("pipeline.yaml", &(project.read("pipeline.yaml") + gates));
    assert_eq!(project.pipe(&["run", "--keep-going"]).code, Some(1));
    project.write("data.txt", "other data");
    project.write("pipeline.yaml", &project.read("pipeline.yaml").replace("text: one", "text: longer"));
    assert_eq!(project.pipe(&["run", "--keep-going"]).code, Some(1));
    project.write("data.txt", "data");
    project
}

#[test]
fn answers_satisfy_their_schema() {
    let project = project();
    let answers: [(&str, &[&str]); 12] = [
        ("Plan", &["status", "--json"]),
        ("Plan", &["run", "--dry-run", "--json"]),
        ("Plan", &["run", "--dry-run", "--force", "--json"]),
        ("Why", &["why", "one", "--json"]),
        ("Why", &["why", "after", "--json"]),
        ("History", &["history", "--json"]),
        ("Compare", &["compare", "--json"]),
        ("Report", &["report", "--json"]),
        ("Graph", &["graph", "--json"]),
        ("Doctor", &["doctor", "--json"]),
        ("Verify", &["verify", "--json"]),
        ("Gc", &["gc", "--max-size", "0", "--json"]),
    ];
    for (kind, args) in answers {
        check(kind, &project.pipe_ok(args).stdout);
    }
    std::fs::remove_dir_all(project.path("cache/v1/actions")).unwrap();
    check("Compare", &project.pipe_ok(&["compare", "--json"]).stdout);
    project.write("pipeline.yaml", "stages: [");
    let broken = project.pipe(&["doctor", "--json"]);
    assert_eq!(broken.code, Some(1));
    assert_eq!(check("Doctor", &broken.stdout)["healthy"], false);
}

#[test]
fn every_line_of_a_run_satisfies_its_schema() {
    let project = project();
    let outcome = project.pipe(&["run", "--json", "--keep-going"]);
    assert_eq!(outcome.code, Some(1));
    let kinds: Vec<String> = outcome
        .stdout
        .lines()
        .map(|line| check("EventLine", line)["event"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(kinds.first().map(String::as_str), Some("run_started"), "{kinds:?}");
    assert_eq!(kinds.last().map(String::as_str), Some("run_finished"), "{kinds:?}");
}

#[test]
fn the_schema_refuses_what_is_not_an_answer() {
    for kind in
        ["Plan", "Why", "History", "Compare", "Report", "Graph", "Doctor", "Gc", "Verify", "EventLine"]
    {
        for wrong in [serde_json::json!({}), serde_json::json!({ "version": 2 }), serde_json::json!([])] {
            assert!(!schema(kind).is_valid(&wrong), "{kind}: {wrong}");
        }
    }
}
