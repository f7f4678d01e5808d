//! What a stage leaves running when it ends itself: it is waited for, and nothing is kept of what had to be stopped or still
//! writes.

use rustix::process::{Signal, kill_process};

use crate::project::{Project, pid};

/// Waits for the file `go`.
const GATE: &str = "while [ ! -e go ]; do sleep 0.01; done";

/// Whether the log of the execution under way has a line with `text`.
fn has_logged(project: &Project, text: &str) -> bool {
    let logs = project.files("cache/v1/logs");
    logs.iter().any(|log| std::fs::read_to_string(log).is_ok_and(|log| log.contains(text)))
}

fn is_over(project: &Project, file: &str) -> bool {
    let stat = format!("/proc/{}/stat", project.read(file).trim());
    std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn an_output_is_kept_as_it_is_once_all_have_ended_that_write_it() {
    let project = Project::new(&format!(
        "one:\n  run: echo run >> runs; ({GATE}; seq 1 100000) > ${{outputs.o}} & true\n  outputs: {{ o: o.txt }}\n"
    ));
    let mut command = project.command(&["run"]);
    let said = project.path("said");
    command.stdin(std::process::Stdio::null()).stderr(std::fs::File::create(&said).unwrap());
    let mut run = command.spawn().unwrap();
    project.wait_until("the announcement", || has_logged(&project, "waiting for `sh` (process "));
    project.write("go", "");
    assert!(run.wait().unwrap().success());
    let told = "what it started has not: waiting for `sh` (process ";
    assert!(project.read("said").contains(told), "{}", project.read("said"));
    let lines: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert!(project.read("artifacts/one/o.txt") == lines);
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("runs"), "run\n");
}

#[test]
fn a_timeout_bounds_the_wait_and_nothing_is_kept() {
    let project = Project::new(
        "one:\n  timeout: 300 ms\n  run: echo run >> runs; echo half > ${outputs.o}; sleep 100000 & echo $! > pid\n  \
         outputs: { o: o.txt }\n",
    );
    for runs in 1..=2 {
        let outcome = project.pipe(&["run"]);
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("its `timeout` of 300 ms"), "{}", outcome.stderr);
        assert!(!project.path("artifacts/one/o.txt").exists());
        assert_eq!(project.read("runs").lines().count(), runs);
        assert!(is_over(&project, "pid"));
    }
}

#[test]
fn ctrl_c_ends_the_wait_and_nothing_is_kept() {
    for command in [
        // What is left ends at once, after the stage's own success.
        "echo half > ${outputs.o}; sleep 100000 & echo $! > pid",
        // Asked to end it does, and calls that a success.
        "timeout 100000 sleep 100000 & echo $! > pid; echo half > ${outputs.o}; wait",
        "set -m; env -i sleep 100000 & echo $! > pid; echo half > ${outputs.o}",
        "echo half > ${outputs.o}; timeout 100000 sleep 100000 & echo $! > pid",
        "trap \"exit 0\" TERM; echo half > ${outputs.o}; echo $$ > pid; while :; do sleep 0.01; done",
    ] {
        let project =
            Project::new(&format!("one:\n  run: 'echo run >> runs; {command}'\n  outputs: {{ o: o.txt }}\n"));
        for runs in 1..=2 {
            let _ = std::fs::remove_file(project.path("pid"));
            let mut run = project.start(&["run"]);
            project.wait_until("the command", || {
                std::fs::read_to_string(project.path("pid")).is_ok_and(|pid| pid.ends_with('\n'))
            });
            kill_process(pid(&run), Signal::INT).unwrap();
            assert_eq!(run.wait().unwrap().code(), Some(130), "{command}");
            assert_eq!(project.read("runs").lines().count(), runs, "{command}");
            assert!(!project.path("artifacts/one/o.txt").exists() && is_over(&project, "pid"), "{command}");
        }
    }
}

#[test]
fn what_runs_in_a_group_of_its_own_is_waited_for_too() {
    let job = format!("sh -c \"{GATE}; echo whole > ${{outputs.o}}/f\"");
    for command in [
        format!("timeout 100000 {job} &"),
        format!("set -m; {job} & set +m; true"),
        // With nothing in its environment.
        format!("set -m; env -i {job} & set +m; true"),
    ] {
        let project = Project::new(&format!(
            "one:\n  run: |\n    mkdir ${{outputs.o}}\n    {command}\n    echo half > ${{outputs.o}}/f\n  outputs: {{ o: o }}\n"
        ));
        let mut run = project.start(&["run"]);
        project.wait_until("the announcement", || has_logged(&project, "waiting for `"));
        project.write("go", "");
        assert!(run.wait().unwrap().success());
        assert_eq!(project.read("artifacts/one/o/f"), "whole\n");
    }
}

#[test]
fn what_has_left_the_group_and_holds_an_output_is_named() {
    let escaped = |inner: &str, to: &str| {
        format!(
            "setsid sh -c \"echo \\$\\$ > pid; {inner}touch here; {GATE}\" > {to} 2> /dev/null & while [ ! -e here ]; do sleep 0.01; done"
        )
    };
    for (command, of) in [
        (escaped("", "${outputs.o}"), "its output `o` (`out`)"),
        (
            format!("mkdir ${{outputs.o}}; {}", escaped("exec 5>> ${outputs.o}/inner; ", "/dev/null")),
            "`inner` in its output `o` (`out`)",
        ),
    ] {
        let project = Project::new(&format!("one:\n  run: |\n    {command}\n  outputs: {{ o: out }}\n"));
        let outcome = project.pipe(&["run"]);
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        // The shell, and what it is running.
        let told = format!("it ended while `sh` (process {})", project.read("pid").trim());
        assert!(outcome.stderr.contains(&told), "{told}\n{}", outcome.stderr);
        let told = format!(" still had {of} open for writing; nothing of it is kept");
        assert!(outcome.stderr.contains(&told), "{told}\n{}", outcome.stderr);
        assert!(!project.path("artifacts/one/out").exists());
        project.write("go", "");
        project.wait_until("its end", || is_over(&project, "pid"));
    }
    // Who holds none may stay.
    for environment in ["", "env -i "] {
        let project = Project::new(&format!(
            "one:\n  run: |\n    echo whole > ${{outputs.o}}; {environment}{}\n  outputs: {{ o: out }}\n",
            escaped("", "/dev/null")
        ));
        let told = project.pipe_ok(&["run"]).stderr;
        let expected = format!("`sh` (process {})", project.read("pid").trim());
        assert!(
            told.contains(&expected) && told.contains("in a session of") && told.contains("not waited for"),
            "{told}"
        );
        assert_eq!(project.read("artifacts/one/out"), "whole\n");
        project.write("go", "");
        project.wait_until("its end", || is_over(&project, "pid"));
    }
}

#[test]
fn a_plugin_has_ended_when_all_that_it_started_has() {
    let manifest = r#"{"protocol":1,"plugin":"odd","version":"1","ops":{"make":{"description":"Makes.","version":1,"params":{"type":"object","properties":{},"additionalProperties":false},"outputs":{"out":{"description":"o","file":"out.txt"}}}}}"#;
    let project = Project::new("one:\n  uses: odd/make\n");
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &pipeline.replace("plugins:\n", "plugins:\n  odd: ./pipe-odd\n"));
    let go = project.path("go");
    project.script(
        "pipe-odd",
        &format!(
            r#"if [ "$1" = describe ]; then echo '{manifest}'; exit 0; fi
echo '{{"type":"hello","version":1}}'
read hello; read run
out=$(echo "$run" | sed 's/.*"out":"\([^"]*\)".*/\1/')
(while [ ! -e {} ]; do sleep 0.01; done; echo whole > "$out") &
echo half > "$out"
echo '{{"type":"done"}}'
"#,
            go.display()
        ),
    );
    let mut run = project.start(&["run"]);
    project.wait_until("the announcement", || has_logged(&project, "waiting for `pipe-odd` (process "));
    project.write("go", "");
    assert!(run.wait().unwrap().success());
    assert_eq!(project.read("artifacts/one/out.txt"), "whole\n");
}

#[test]
fn what_a_plugin_leaves_in_a_session_of_its_own_is_named() {
    let manifest = r#"{"protocol":1,"plugin":"odd","version":"1","ops":{"make":{"description":"Makes.","version":1,"params":{"type":"object","properties":{},"additionalProperties":false},"outputs":{"out":{"description":"o","file":"out.txt"}}}}}"#;
    let project = Project::new("one:\n  uses: odd/make\n");
    let pipeline = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &pipeline.replace("plugins:\n", "plugins:\n  odd: ./pipe-odd\n"));
    project.script(
        "pipe-odd",
        &format!(
            r#"if [ "$1" = describe ]; then echo '{manifest}'; exit 0; fi
echo '{{"type":"hello","version":1}}'
read hello; read run
out=$(echo "$run" | sed 's/.*"out":"\([^"]*\)".*/\1/')
setsid sh -c 'echo $$ > {pid}; touch {here}; while [ ! -e {go} ]; do sleep 0.01; done' > /dev/null 2>&1 &
while [ ! -e {here} ]; do sleep 0.01; done
echo whole > "$out"
echo '{{"type":"done"}}'
# Its end is then all that there is to see.
exec >&-
sleep 0.2
"#,
            pid = project.path("pid").display(),
            here = project.path("here").display(),
            go = project.path("go").display()
        ),
    );
    let told = project.pipe_ok(&["run"]).stderr;
    let expected = format!("`sh` (process {})", project.read("pid").trim());
    assert!(
        told.contains(&expected) && told.contains("in a session of") && told.contains("not waited for"),
        "{told}"
    );
    project.write("go", "");
    project.wait_until("its end", || is_over(&project, "pid"));
}
