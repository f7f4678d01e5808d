//! `pipe run --trace`: what commands open without declaring it, as the real strace sees it.

use std::fs;
use std::io::Write;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::project::{Project, built};

/// Whether the tests of this file can do anything. Where they cannot, that is said aloud; on CI it is a failure.
fn can_trace() -> bool {
    let project = Project::new("one:\n  run: 'true'\n");
    let outcome = project.pipe(&["run", "--trace"]);
    if outcome.code == Some(0) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{}", outcome.stderr);
    // Not by a macro, which would keep it from being seen where the test passes.
    let _ = writeln!(std::io::stderr(), "NOT TESTED: {}", outcome.stderr.trim());
    false
}

/// `reader` reads what it declares, what it makes itself, and four files that it does not declare.
fn leaky() -> Project {
    let project = Project::new(
        r"
maker:
  run: echo made > ${outputs.out}
  outputs: { out: out.txt }
declared:
  run: cat ${inputs.made} > ${outputs.out}
  inputs: { made: maker.out }
  outputs: { out: out.txt }
reader:
  run: cat ${inputs.text} ${inputs.folder}/x artifacts/maker/out.txt data/é.csv > own.txt; cat own.txt; ./helper.sh > ${outputs.out}
  inputs: { text: ./text.txt, folder: ./folder, after: declared.out }
  outputs: { out: out.txt }
",
    );
    for name in ["text.txt", "folder/x", "data/é.csv"] {
        project.write(name, "text");
    }
    project.script("helper.sh", "cd data && exec ../program é.csv");
    fs::copy(
        ["/usr/bin/cat", "/bin/cat"].into_iter().find(|path| fs::exists(path).unwrap()).unwrap(),
        project.path("program"),
    )
    .unwrap();
    project
}

const ARTIFACT: &str =
    "read artifacts/maker/out.txt, which stage `maker` makes: declare it as input `maker.out`";
const OTHERS: &str =
    "read, but not declared as inputs: data/é.csv, helper.sh and program; edits of these go unnoticed";

#[test]
fn undeclared_inputs_are_told_and_change_nothing() {
    if !can_trace() {
        return;
    }
    let project = leaky();
    let outcome = project.pipe_ok(&["run", "--trace"]);
    for line in [ARTIFACT, OTHERS] {
        assert!(outcome.stderr.contains(&format!("reader    warning: {line}\n")), "{}", outcome.stderr);
    }
    assert_eq!(outcome.stderr.matches("warning").count(), 2, "{}", outcome.stderr);
    let log = project.pipe_ok(&["log", "reader"]).stdout;
    assert!(log.contains(ARTIFACT) && log.contains(OTHERS), "{log}");
    let outcome = project.pipe_ok(&["run"]);
    assert!(outcome.stderr.contains("3 fresh"), "a trace is no part of the key: {}", outcome.stderr);
    let outcome = project.pipe_ok(&["run", "--trace"]);
    assert!(outcome.stderr.contains("none was traced; `--force`"), "{}", outcome.stderr);
    let outcome = project.pipe_ok(&["run", "--trace", "--force", "--json", "reader"]);
    assert!(outcome.stdout.contains("\"level\":\"warn\""), "{}", outcome.stdout);
    assert!(project.files("cache/v1/work").is_empty());
}

#[test]
fn links_do_not_hide_who_made_a_file() {
    if !can_trace() {
        return;
    }
    let project = leaky();
    fs::create_dir(project.path("disk")).unwrap();
    std::os::unix::fs::symlink("disk", project.path("artifacts")).unwrap();
    let outcome = project.pipe_ok(&["run", "--trace"]);
    assert!(outcome.stderr.contains(ARTIFACT), "{}", outcome.stderr);
}

#[test]
fn exit_codes_signals_and_missing_programs_are_told_as_without() {
    if !can_trace() {
        return;
    }
    for (run, expected) in [
        ("'echo so >&2; exit 7'", "the command failed with exit code 7"),
        ("'kill -SEGV $$'", "signal 11, SIGSEGV"),
        ("[no-such-program]", "cannot start `no-such-program`"),
    ] {
        let project = Project::new(&format!("one:\n  run: {run}\n"));
        for args in [&["run"][..], &["run", "--trace"]] {
            let outcome = project.pipe(args);
            assert_eq!(outcome.code, Some(1));
            assert!(outcome.stderr.contains(expected), "{args:?}: {}", outcome.stderr);
        }
    }
}

#[test]
fn what_a_traced_command_leaves_running_is_waited_for_and_not_what_traces_it() {
    if !can_trace() {
        return;
    }
    let project = Project::new(
        "one:\n  run: '(while [ ! -e go ]; do sleep 0.01; done; cat secret > ${outputs.o}) & echo $! > pid'\n  outputs: { o: o }\n",
    );
    project.write("secret", "late");
    let mut run = project.start(&["run", "--trace"]);
    project.wait_until("the announcement", || {
        let logs = project.files("cache/v1/logs");
        let log = |log: &std::path::PathBuf| fs::read_to_string(log).unwrap_or_default();
        logs.iter().any(|path| log(path).contains("waiting for `sh` (process "))
    });
    project.write("go", "");
    assert!(run.wait().unwrap().success());
    assert_eq!(project.read("artifacts/one/o"), "late");
    let log = project.pipe_ok(&["log", "one"]).stdout;
    assert!(log.contains("not declared as inputs: ") && log.contains("secret"), "{log}");
    gone(&project, &project.read("pid"));
}

#[test]
fn ctrl_c_and_a_kill_leave_nothing_of_a_traced_command() {
    if !can_trace() {
        return;
    }
    for signal in [Signal::INT, Signal::KILL] {
        let project = Project::new("one:\n  run: 'echo $$ > pid; exec sleep 1000'\n");
        let mut child = project.start(&["run", "--trace"]);
        project.wait_until("the command", || {
            fs::read_to_string(project.path("pid")).is_ok_and(|pid| pid.ends_with('\n'))
        });
        kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
        let code = child.wait().unwrap().code();
        assert_eq!(code, (signal == Signal::INT).then_some(130));
        gone(&project, &project.read("pid"));
    }
}

/// Waits until neither the process nor a strace of this project lives.
fn gone(project: &Project, pid: &str) {
    let folder = project.path(".");
    let folder = folder.to_str().unwrap().trim_end_matches('.');
    project.wait_until("the end of command and strace", || {
        let lives = |process: &str| {
            fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        };
        let traces = fs::read_dir("/proc").unwrap().flatten().any(|process| {
            fs::read(process.path().join("cmdline")).is_ok_and(|line| {
                line.starts_with(b"strace") && String::from_utf8_lossy(&line).contains(folder)
            })
        });
        !lives(pid.trim()) && !traces
    });
}

#[test]
fn without_strace_nothing_runs() {
    let project = Project::new("one:\n  run: touch here\n");
    let output = project.command(&["run", "--trace"]).env("PATH", project.path("empty")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("apt-get install strace"), "{stderr}");
    assert!(!project.path("here").exists());
}

#[test]
fn where_tracing_is_not_permitted_nothing_runs() {
    if !can_trace() {
        return;
    }
    let project = Project::new("one:\n  run: touch here\n");
    // What is traced already cannot be traced once more.
    let environment = project.command(&[]);
    let mut outer = Command::new("strace");
    outer
        .args(["-f", "-qq", "-e", "trace=none", "-o", "/dev/null", "--"])
        .arg(built("pipe"))
        .args(["run", "--trace"]);
    outer.current_dir(project.path(".")).env_clear();
    outer.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = outer.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("Operation not permitted") && stderr.contains("SYS_PTRACE"), "{stderr}");
    assert!(!project.path("here").exists());
}
