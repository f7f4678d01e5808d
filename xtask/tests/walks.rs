//! The walks of CONTRIBUTING.md: their patches apply to the tree as it is, and what they give builds and passes its tests.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{command:?}: {}", said.join("\n"));
}

/// A copy of the files that belong to the repository, as they are now.
fn copied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    for file in String::from_utf8(listed.stdout).unwrap().split_terminator('\0') {
        let (from, to) = (root().join(file), folder.path().join(file));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        if from.is_file() {
            fs::copy(from, to).unwrap();
        }
    }
    folder
}

#[test]
fn an_op_and_a_figure_are_added_as_contributing_says() {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let copy = copied();
    for walk in ["op", "figure"] {
        let patch = format!("docs/walks/{walk}.patch");
        assert!(page.contains(&format!("]({patch})")), "the page does not name {patch}");
        let text = fs::read_to_string(root().join(&patch)).unwrap();
        for file in text.lines().filter_map(|line| line.strip_prefix("+++ b/")) {
            assert!(
                page.contains(&format!("`{file}`")),
                "{patch} changes {file}, of which the page says nothing"
            );
        }
        run(Command::new("git").args(["apply", &patch]).current_dir(copy.path()));
    }
    // What the libraries of others come to is the same, wherever ours lie.
    let target = root().join("target/walks");
    let cargo = |args: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.env("CARGO_TARGET_DIR", &target).env("PIPE_UPDATE_DOCS", "1").current_dir(copy.path());
        run(cargo.args(args));
    };
    cargo(&["test", "--quiet", "--package", "pipe-data", "--", "summary", "manifest"]);
    let written = fs::read_to_string(copy.path().join("plugins/data/manifest.json")).unwrap();
    assert!(written.contains("\"summary\"") && written.contains("\"smallest_class\""), "{written}");
    cargo(&["check", "--quiet", "--package", "report", "--tests"]);
}
