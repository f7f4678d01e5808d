//! Completions and manual pages: every command is in them, and what shells ask is answered from the project.

use std::path::Path;

use clap::CommandFactory;

use crate::project::{Project, built};

const STAGES: &str = "
first:
  description: The first
  uses: fake/write
second:
  uses: fake/write
  inputs: { a: first.out }
";

/// What may follow these words, the last of which is being typed.
fn completed(project: &Project, words: &[&str]) -> Vec<String> {
    let mut command = project.command(&["--"]);
    let index = (words.len() - 1).to_string();
    command
        .args(words)
        .env("PIPE_COMPLETE", "bash")
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_INDEX", index);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn commands() -> Vec<String> {
    let command = pipe::cli::Cli::command();
    command.get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

#[test]
fn every_command_is_completed_documented_and_has_a_page() {
    let project = Project::new(STAGES);
    let completed = completed(&project, &["pipe", ""]);
    project.pipe_ok(&["man", "--output", "pages"]);
    let overview = project.pipe_ok(&["man"]).stdout;
    let readme = std::fs::read_to_string(format!("{}/README.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    assert_eq!(overview, project.read("pages/pipe.1"));
    for command in commands() {
        assert!(completed.contains(&command), "{command}: {completed:?}");
        assert!(overview.contains(&format!("pipe\\-{command}(1)")), "{command}\n{overview}");
        let page = project.read(&format!("pages/pipe-{command}.1"));
        assert!(page.contains(&format!("pipe\\-{command}")) && page.contains("\\-\\-file"), "{page}");
        assert!(readme.contains(&format!("`pipe {command}")), "README.md does not name `pipe {command}`");
    }
}

#[test]
fn pages_replace_pages_and_nothing_else() {
    let project = Project::new(STAGES);
    project.write("pages/pipe-run.1", "mine");
    let refused = project.pipe(&["man", "--output", "pages"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let told = "`pages/pipe-run.1` is there already, and is no manual page of `pipe`";
    assert!(refused.stderr.contains(told) && refused.stderr.contains("--force"), "{}", refused.stderr);
    assert!(!project.path("pages/pipe.1").exists());
    assert_eq!(project.read("pages/pipe-run.1"), "mine");
    project.pipe_ok(&["man", "--output", "pages", "--force"]);
    project.pipe_ok(&["man", "--output", "pages"]);
    assert!(project.read("pages/pipe-run.1").contains("pipe\\-run"));
}

#[test]
fn stages_runs_vars_and_profiles_are_those_of_the_project() {
    let project = Project::new(STAGES);
    let vars = "vars: { size: 1 }\nprofiles: { small: { size: 0 } }\nstages:";
    project.write("sub/other.yaml", &project.read("pipeline.yaml").replace("first", "elsewhere"));
    project.write("pipeline.yaml", &project.read("pipeline.yaml").replace("stages:", vars));
    for command in ["run", "status", "why", "log", "graph"] {
        assert_eq!(completed(&project, &["pipe", command, "f"]), ["first"], "{command}");
    }
    assert_eq!(completed(&project, &["pipe", "-f", "sub/other.yaml", "why", "e"]), ["elsewhere"]);
    assert_eq!(completed(&project, &["pipe", "run", "--set", ""]), ["size="]);
    assert_eq!(completed(&project, &["pipe", "run", "--profile", ""]), ["small"]);
    project.pipe_ok(&["run"]);
    let history = project.pipe_ok(&["history", "--json"]).stdout;
    let history: serde_json::Value = serde_json::from_str(&history).unwrap();
    let name = history["runs"][0]["run"].as_str().unwrap();
    assert!(completed(&project, &["pipe", "compare", "latest", ""]).contains(&name.to_owned()));
    project.write("pipeline.yaml", "stages: [");
    assert!(
        !completed(&project, &["pipe", "why", ""]).contains(&"first".to_owned()),
        "a broken pipeline is quiet"
    );
}

#[test]
fn bash_understands_its_script() {
    let project = Project::new(STAGES);
    let pipe = built("pipe");
    let folder = pipe.parent().unwrap_or(Path::new("/"));
    let script = "source <(pipe completions bash); COMP_WORDS=(pipe why s); COMP_CWORD=2; COMP_TYPE=9
        _clap_complete_pipe pipe s why; echo \"${COMPREPLY[@]}\"";
    let output = std::process::Command::new("bash")
        .args(["-c", script])
        .current_dir(project.path("."))
        .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "second\n", "{output:?}");
}

#[test]
fn every_shell_gets_a_script_and_others_a_refusal() {
    let project = Project::new(STAGES);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = project.pipe_ok(&["completions", shell]).stdout;
        assert!(script.contains("PIPE_COMPLETE"), "{shell}\n{script}");
    }
    assert_eq!(project.pipe(&["completions", "cmd"]).code, Some(2));
    let output = project.command(&["--", "pipe", ""]).env("PIPE_COMPLETE", "cmd").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    snapshots::assert_printed!(String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_script_ends_at_the_line_that_fails_unless_it_says_otherwise() {
    let stage = |script: &str| format!("s:\n  run: |\n{script}\n  outputs: {{ o: o.txt }}\n");
    let project = Project::new(&stage("    false\n    echo late > ${outputs.o}"));
    let failed = project.pipe(&["run"]);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    snapshots::assert_printed!(failed.stderr);
    project.set_stages(&stage("    set +e\n    false\n    echo late > ${outputs.o}"));
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/s/o.txt"), "late\n");
    // In a pipe, where the shell knows of that.
    let knows = std::process::Command::new("/bin/sh").args(["-c", "set -o pipefail"]).output().unwrap();
    project.set_stages(&stage("    false | cat\n    echo late > ${outputs.o}"));
    assert_eq!(project.pipe(&["run"]).code, Some(if knows.status.success() { 1 } else { 0 }));
    project.set_stages("s:\n  run: false; echo one line > ${outputs.o}\n  outputs: { o: o.txt }\n");
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/s/o.txt"), "one line\n");
}
