//! Standard output and standard error that are full or closed, and what others wrote on its way to a terminal.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::project::{Project, built};

const STAGES: &str = "
one:
  uses: fake/write
  with: { text: one }
two:
  run: echo said; echo two > ${outputs.out}
  outputs: { out: out.txt }
";

/// Commands that print something once a run was made.
const COMMANDS: [&[&str]; 24] = [
    &["log", "two"],
    &["history"],
    &["history", "--json"],
    &["status"],
    &["status", "--json"],
    &["why", "one"],
    &["graph"],
    &["graph", "--format", "svg"],
    &["graph", "--json"],
    &["schema"],
    &["schema", "--cli"],
    &["schema", "--reference"],
    &["completions", "bash"],
    &["man"],
    &["doctor"],
    &["doctor", "--json"],
    &["run"],
    &["run", "--force", "two"],
    &["report"],
    &["report", "--markdown"],
    &["verify", "--dry-run"],
    &["gc", "--dry-run"],
    &["--help"],
    &["run", "--help"],
];

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader has gone away.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn project() -> Project {
    let project = Project::new(STAGES);
    project.pipe_ok(&["run"]);
    project
}

#[test]
fn a_full_standard_output_is_an_error_of_every_command() {
    let project = project();
    for args in COMMANDS {
        let output = project.command(args).stdout(full()).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(
            said.contains("error: cannot write to standard output: No space left on device"),
            "{args:?}: {said}"
        );
    }
}

#[test]
fn a_reader_that_has_gone_away_is_no_error() {
    let project = project();
    for args in COMMANDS.iter().copied().chain([["run", "--json", "--force"].as_slice()]) {
        let output = project.command(args).stdout(closed()).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
        assert!(!said.contains("error"), "{args:?}: {said}");
    }
}

#[test]
fn a_standard_error_that_takes_nothing_stops_nothing() {
    let project = project();
    for (stderr, code) in [(full as fn() -> Stdio, 1), (closed, 0)] {
        for args in [["log", "two"].as_slice(), &["run", "--force", "two"]] {
            let output = project.command(args).stdout(Stdio::piped()).stderr(stderr()).output().unwrap();
            assert_eq!(output.status.code(), Some(code), "{args:?}");
            assert!(!output.stdout.is_empty(), "{args:?}: what there is to print is printed");
        }
        for (args, code) in [(["log", "three"].as_slice(), 1), (&["run", "three"], 2), (&["no-command"], 2)] {
            let status = project.command(args).stdout(Stdio::null()).stderr(stderr()).status().unwrap();
            assert_eq!(status.code(), Some(code), "{args:?}");
        }
    }
}

#[test]
fn events_that_are_lost_are_told_once_everything_is_kept() {
    let project = Project::new(STAGES);
    let output = project.command(&["run", "--json"]).stdout(full()).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: cannot write to standard output, where something is missing now: No space left on device (os error 28)\n"
    );
    assert!(project.pipe_ok(&["run"]).stdout.contains("2 fresh"), "what was run is kept");
}

#[test]
fn names_that_do_not_exist_cannot_steer_the_terminal() {
    let project = project();
    let name = "x\u{1b}[2J\u{7}\u{9b}31m\u{202e}\nerror: y";
    for args in [
        ["run", name].as_slice(),
        &["log", name],
        &["why", name],
        &["status", name],
        &["graph", name],
        &["report", name],
        &["compare", name],
        &["run", "--profile", name],
        &["run", "--set", name],
        &["run", "--baseline", name],
        &["--file", name, "run"],
        &[name],
        &["run", "-j", name],
    ] {
        let outcome = project.pipe(args);
        let text = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{args:?}: {text:?}");
        assert!(!text.contains('\u{202e}'), "{args:?}: {text:?}");
        assert!(outcome.code != Some(101), "{args:?}: {text}");
    }
    let outcome = project.pipe(&["run", name]);
    assert!(
        !outcome.stderr.contains("\nerror: y"),
        "a line of a name passes for no message: {}",
        outcome.stderr
    );
}

#[test]
fn what_a_plugin_says_of_itself_cannot_steer_the_terminal() {
    let project = project();
    let output = Command::new(built("examples/pipe-fake")).arg("describe").output().unwrap();
    let manifest = String::from_utf8(output.stdout).unwrap();
    let hostile = manifest.replace("\"description\":\"", "\"description\":\"\\u001b[2J\\u0007\\u009b31m");
    assert_ne!(hostile, manifest);
    project.write("manifest.json", &hostile.replace("\"plugin\":\"fake\"", "\"plugin\":\"hostile\""));
    project.script("pipe-hostile", "cat manifest.json\n");
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &pipeline.replace("plugins:\n", "plugins:\n  hostile: pipe-hostile\n"));
    for args in [["schema", "--reference"].as_slice(), &["schema"], &["doctor"]] {
        let outcome = project.pipe(args);
        assert!(outcome.stdout.contains("hostile") || args == ["doctor"], "{args:?}: {}", outcome.stderr);
        let text = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{args:?}");
    }
}

#[test]
fn a_plugin_that_lacks_a_library_is_told_with_the_library_and_the_way_to_get_it() {
    let project = project();
    let said = "pipe-bare: error while loading shared libraries: libtorch_cpu.so: cannot open shared object file: No such file";
    project.script("pipe-bare", &format!("echo '{said}' >&2; exit 127\n"));
    let pipeline = project.read("pipeline.yaml");
    let pipeline = pipeline.replace("plugins:\n", "plugins:\n  bare: pipe-bare\n");
    project.write("pipeline.yaml", &pipeline.replace("stages:\n", "stages:\n  bare:\n    uses: bare/op\n"));
    for args in [["doctor"], ["run"]] {
        let outcome = project.pipe(&args);
        let text = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(
            text.contains("it needs the library `libtorch_cpu.so`, which is not found: `cargo xtask setup`"),
            "{text}"
        );
        assert!(!text.contains("is not a plugin") && !text.contains('\u{fffd}'), "{text}");
        assert!(text.contains(said), "{text}");
    }
}
