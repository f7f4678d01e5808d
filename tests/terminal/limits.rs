//! Time-outs, retries, room for stages, and which of them goes first.

use rustix::process::{Pid, Signal, kill_process};

use crate::project::Project;

#[test]
fn a_timeout_stops_a_command_with_all_that_it_started() {
    let project = Project::new("one:\n  timeout: 200 ms\n  run: 'sleep 100000 & echo $! > pid; wait'\n");
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let told = "it was stopped because it took longer than its `timeout` of 200 ms";
    assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
    snapshots::assert_printed!(outcome.stderr);
    assert!(project.pipe_ok(&["log", "one"]).stdout.contains(told));
    let stat = format!("/proc/{}/stat", project.read("pid").trim());
    project.wait_until("the end of what it started", || {
        std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
    });
}

#[test]
fn a_timeout_stops_an_op_and_keeps_its_partial_work() {
    let stage = |timeout: &str| format!("one:\n  uses: fake/count\n{timeout}  with: {{ to: 5, stick: 3 }}\n");
    let project = Project::new(&stage("  timeout: 1 s\n"));
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("its `timeout` of 1.0 s"), "{}", outcome.stderr);
    project.set_stages(&stage(""));
    project.pipe_ok(&["run"]);
    assert!(
        project.pipe_ok(&["log", "one"]).stdout.contains("resumed at 3"),
        "a time-out is not part of the key"
    );
}

/// Fails until it has been tried so many times.
fn flaky(times: u32, retries: &str) -> String {
    format!(
        "one:\n  retries: {retries}\n  run: 'echo try >> tries; test $(wc -l < tries) -ge {times} && echo done > ${{outputs.o}}'\n  outputs: {{ o: o.txt }}\n"
    )
}

#[test]
fn a_stage_that_fails_is_tried_again_and_says_so() {
    let project = Project::new(&flaky(3, "2"));
    let outcome = project.pipe_ok(&["run"]);
    assert_eq!(project.read("tries").lines().count(), 3);
    snapshots::assert_printed!(outcome.stderr);
    snapshots::assert_printed!(project.pipe_ok(&["log", "one"]).stdout);
    assert_eq!(project.read("artifacts/one/o.txt"), "done\n");
}

#[test]
fn retries_come_to_an_end() {
    let project = Project::new(&flaky(9, "{ times: 2, backoff: 1 ms }"));
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(1));
    assert_eq!(project.read("tries").lines().count(), 3);
    snapshots::assert_printed!(outcome.stderr);
}

#[test]
fn ctrl_c_does_not_wait_for_the_next_try() {
    let project = Project::new(&flaky(2, "{ times: 1, backoff: 10 h }"));
    let mut child = project.start(&["run"]);
    project.wait_until("the pause", || {
        project
            .files("cache/v1/logs")
            .iter()
            .any(|log| std::fs::read_to_string(log).is_ok_and(|text| text.contains("trying again in 10 h")))
    });
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(project.read("tries").lines().count(), 1);
}

/// Fails where another one is at it.
const ALONE: &str = "mkdir busy && for n in 1 2 3 4 5 6 7 8 9; do /bin/true; done; rmdir busy";

#[test]
fn two_stages_never_hold_the_same_lock() {
    let stages: String = (0..6)
        .map(|n| format!("s{n}:\n  run: '{ALONE}'\n  resources: {{ mutexes: [the_folder] }}\n"))
        .collect();
    Project::new(&stages).pipe_ok(&["run", "-j", "6", "--threads", "6"]);
}

#[test]
fn nothing_runs_beside_a_measurement() {
    let beside: String = (0..6).map(|n| format!("s{n}:\n  run: 'test ! -e busy'\n")).collect();
    let stages = format!("measured:\n  run: '{ALONE}'\n  resources: {{ exclusive: true }}\n{beside}");
    Project::new(&stages).pipe_ok(&["run", "-j", "6", "--threads", "6"]);
}

#[test]
fn what_keeps_others_waiting_longest_goes_first() {
    // By the file `short` comes first, by their durations `long` and what waits for it do.
    let stages = |text: &str| {
        format!(
            "
short:
  run: 'echo {text} > ${{outputs.o}}; echo short >> order'
  outputs: {{ o: o }}
long:
  run: 'sleep 0.2; echo {text} > ${{outputs.o}}; echo long >> order'
  outputs: {{ o: o }}
after:
  run: 'cat ${{inputs.i}} > ${{outputs.o}}; echo after >> order'
  inputs: {{ i: long.o }}
  outputs: {{ o: o }}
"
        )
    };
    let project = Project::new(&stages("one"));
    project.pipe_ok(&["run", "-j", "1"]);
    std::fs::remove_file(project.path("order")).unwrap();
    project.set_stages(&stages("two"));
    project.pipe_ok(&["run", "-j", "1"]);
    assert!(project.read("order").starts_with("long\n"), "{}", project.read("order"));
}

#[test]
fn more_gpus_than_there_are_are_refused_before_anything_runs() {
    let project = Project::new("a:\n  run: touch here\nb:\n  run: 'true'\n  resources: { gpus: 99 }\n");
    let outcome = project.pipe(&["run"]);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    snapshots::assert_printed!(outcome.stderr);
    assert!(!project.path("here").exists());
}

#[test]
fn a_command_sees_declared_variables_and_no_others() {
    let project =
        Project::new("one:\n  run: 'env > ${outputs.o}'\n  env: { MINE: 5 }\n  outputs: { o: o }\n");
    let mut command = project.command(&["run"]);
    assert!(command.env("SECRET", "1").output().unwrap().status.success());
    let seen = project.read("artifacts/one/o");
    assert!(seen.contains("MINE=5\n") && !seen.contains("SECRET") && !seen.contains("FAKE_TRACE"), "{seen}");
}

#[test]
fn logs_keep_empty_lines_and_messages_are_short() {
    let project =
        Project::new("one:\n  run: 'echo; echo below; head -c 100000 /dev/zero | tr \"\\0\" x; exit 3'\n");
    let outcome = project.pipe(&["run"]);
    assert!(outcome.stderr.len() < 5_000, "{} bytes", outcome.stderr.len());
    let log = project.pipe_ok(&["log", "one"]).stdout;
    let lines: Vec<&str> = log.lines().map(|line| line.get(11..).unwrap_or_default()).collect();
    let below = lines.iter().position(|line| *line == "below").unwrap();
    assert_eq!(lines[below - 1], "");
}
