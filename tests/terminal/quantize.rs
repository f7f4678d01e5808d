//! `pipe quantize` with a plugin that only copies: what it writes, what it replaces, and what it leaves behind.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::project::{Outcome, Project, built};

/// Copies the model; one called `bad.onnx` fails.
const PLUGIN: &str = r#"
if [ "$1" = describe ]; then
  echo '{"protocol":1,"plugin":"onnx","version":"0","ops":{"quantize-dynamic":{"description":"copies","version":1,'\
'"params":{"type":"object"},"inputs":{"model":{"description":"m"},"weights":{"description":"w","optional":true}},'\
'"outputs":{"model":{"description":"o","file":"model.onnx"}}}}}'
  exit
fi
read -r hello; read -r run
echo '{"type":"hello","version":1}'
from=$(echo "$run" | sed 's/.*"inputs":{"model":"\([^"]*\)".*/\1/')
to=$(echo "$run" | sed 's/.*"outputs":{"model":"\([^"]*\)".*/\1/')
case $from in
  *bad.onnx) echo '{"type":"failed","message":"it is bad","hint":"take a good one"}' ;;
  *) cp "$from" "$to"; echo '{"type":"done"}' ;;
esac
"#;

/// A folder with two models and `pipe` beside the plugin.
fn project() -> Project {
    let project = Project::new("unused:\n  run: 'true'\n");
    fs::create_dir_all(project.path("tmp")).unwrap();
    project.script("bin/pipe-onnx", PLUGIN);
    let (from, to) = (built("pipe"), project.path("bin/pipe"));
    if fs::hard_link(&from, &to).is_err() {
        fs::copy(from, to).unwrap();
    }
    project.write("m.onnx", "a model");
    project.write("bad.onnx", "another");
    project
}

fn quantize(project: &Project, args: &[&str]) -> Outcome {
    let mut command = std::process::Command::new(project.path("bin/pipe"));
    command.arg("quantize").args(args).current_dir(project.path("")).env("TMPDIR", project.path("tmp"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_dynamic_model_has_a_name_of_its_own_and_what_is_there_is_replaced_only_when_asked() {
    let project = project();
    project.write("m.int8.onnx", "static");
    let outcome = quantize(&project, &["m.onnx", "--dynamic"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    snapshots::assert_printed!(outcome.stdout);
    assert_eq!(project.read("m.int8.onnx"), "static");
    assert_eq!(project.read("m.int8-dynamic.onnx"), "a model");

    project.write("m.onnx", "a better model");
    for args in [&["m.onnx", "--dynamic"][..], &["m.onnx", "--dynamic", "-o", "m.int8.onnx"]] {
        let outcome = quantize(&project, args);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(
            outcome.stderr.contains("is there already") && outcome.stderr.contains("--force"),
            "{outcome:?}"
        );
    }
    assert_eq!(project.read("m.int8.onnx"), "static");
    assert_eq!(project.read("m.int8-dynamic.onnx"), "a model");
    assert_eq!(quantize(&project, &["m.onnx", "--dynamic", "--force"]).code, Some(0));
    assert_eq!(project.read("m.int8-dynamic.onnx"), "a better model");
}

#[test]
fn a_failure_says_what_is_wrong_and_leaves_nothing_behind() {
    let project = project();
    let before = names(&project.path(""));
    let outcome = quantize(&project, &["bad.onnx", "--dynamic"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains("it is bad") && outcome.stderr.contains("take a good one"),
        "{outcome:?}"
    );
    assert!(!outcome.stderr.contains("pipe log"), "there is none: {outcome:?}");
    assert_eq!(names(&project.path("")), before);
    assert_eq!(names(&project.path("tmp")), [""; 0]);
    quantize(&project, &["m.onnx", "--dynamic"]);
    assert_eq!(names(&project.path("tmp")), [""; 0]);
}
