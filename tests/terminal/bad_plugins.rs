//! Plugins that misbehave: each gets an error that names the place and the remedy, and the next run works.

use std::os::unix::fs::PermissionsExt;

use crate::project::Project;

const MANIFEST: &str = r#"{"protocol":1,"plugin":"odd","version":"1","ops":{"make":{"description":"Makes.","version":1,"params":{"type":"object","properties":{},"additionalProperties":false},"outputs":{"out":{"description":"o","file":"out.txt"}}}}}"#;

/// A project whose plugin `odd` describes itself properly and then does `what`; run, mended, run again.
fn session(what: &str) -> String {
    let project = Project::new("one:\n  uses: odd/make\n");
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &pipeline.replace("plugins:\n", "plugins:\n  odd: ./pipe-odd\n"));
    let script = |what: &str| {
        project.script(
            "pipe-odd",
            &format!("if [ \"$1\" = describe ]; then echo '{MANIFEST}'; exit 0; fi\n{what}\n"),
        );
    };
    script(what);
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(!project.path("artifacts/one/out.txt").exists());
    script(
        r#"
echo '{"type":"hello","version":1}'
read hello; read run
out=$(echo "$run" | sed 's/.*"out":"\([^"]*\)".*/\1/')
echo fine > "$out"
echo '{"type":"done"}'
"#,
    );
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/one/out.txt"), "fine\n");
    outcome.stderr
}

#[test]
fn a_crash_quotes_the_end_of_standard_error() {
    let stderr = session("echo '{\"type\":\"hello\",\"version\":1}'; echo deep trouble >&2; kill -SEGV $$");
    snapshots::assert_printed!(stderr);
}

#[test]
fn an_exit_without_done_is_a_failure() {
    let stderr = session("echo '{\"type\":\"hello\",\"version\":1}'; exit 0");
    snapshots::assert_printed!(stderr);
}

#[test]
fn rubbish_is_quoted() {
    let stderr = session("echo '{\"type\":\"hello\",\"version\":1}'; echo 'Epoch 1/10'; sleep 1000");
    snapshots::assert_printed!(stderr);
}

#[test]
fn another_version_names_both() {
    let stderr = session("echo '{\"type\":\"hello\",\"version\":99}'; sleep 1000");
    snapshots::assert_printed!(stderr);
}

#[test]
fn one_that_hangs_is_given_up() {
    let stderr = session("sleep 1000");
    snapshots::assert_printed!(stderr);
}

#[test]
fn outputs_that_were_promised_are_looked_for() {
    let stderr = session("echo '{\"type\":\"hello\",\"version\":1}'; echo '{\"type\":\"done\"}'");
    snapshots::assert_printed!(stderr);
}

#[test]
fn crashes_and_refusals_of_a_real_plugin_are_told() {
    let project = Project::new("one:\n  uses: fake/fail\n  with: { how: crash }\n");
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(1));
    snapshots::assert_printed!(outcome.stderr);
}

/// A plugin that cannot even describe itself.
fn undescribed(script: &str, expected: &[&str]) {
    let project = Project::new("one:\n  uses: odd/make\n");
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &pipeline.replace("plugins:\n", "plugins:\n  odd: ./pipe-odd\n"));
    project.script("pipe-odd", script);
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    for text in expected {
        assert!(outcome.stderr.contains(text), "{text}\n{}", outcome.stderr);
    }
}

#[test]
fn a_manifest_of_another_version_is_refused() {
    undescribed(
        &format!("echo '{}'", MANIFEST.replace("\"protocol\":1", "\"protocol\":7")),
        &["pipeline.yaml:8", "odd", "version 7"],
    );
}

#[test]
fn a_manifest_of_rubbish_is_refused() {
    undescribed("echo hello world", &["odd", "hello world"]);
}

#[test]
fn a_plugin_that_fails_to_describe_itself_is_refused() {
    undescribed("echo no such library >&2; exit 9", &["odd", "no such library"]);
}

#[test]
fn a_plugin_that_does_not_start_says_what_is_wrong_with_it() {
    undescribed(
        "echo 'Traceback (most recent call last):' >&2; echo \"ModuleNotFoundError: No module named 'yaml'\" >&2; exit 1",
        &["No module named 'yaml'", "help: it imports the module `yaml`, which `/bin/sh` does not find"],
    );
    undescribed("kill -BUS $$", &["SIGBUS", "a native library that was cut short"]);
}

#[test]
fn a_plugin_that_is_not_there_or_cannot_run_is_refused() {
    let project = Project::new("one:\n  uses: gone/make\n");
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(2));
    snapshots::assert_printed!(outcome.stderr);
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &pipeline.replace("plugins:\n", "plugins:\n  gone: ./pipe-gone\n"));
    project.write("pipe-gone", "not a program");
    std::fs::set_permissions(project.path("pipe-gone"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(2));
    snapshots::assert_printed!(outcome.stderr);
}

#[test]
fn a_metric_that_an_op_does_not_declare_is_kept_and_warned_of_once() {
    let project = Project::new("pick: { uses: fake/pick, with: { report: extra.b1 } }\n");
    let told = project.pipe_ok(&["run"]).stderr;
    let expected = "warning: plugin `fake` reports metric `extra.b1`, which its op does not declare: gates and columns cannot use it";
    assert_eq!(told.matches(expected).count(), 1, "{told}");
    assert!(!told.contains("`picked`"), "{told}");
    assert!(project.read("artifacts/report.html").contains("extra.b1"));
}
