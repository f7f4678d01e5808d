//! Ctrl-C, kills, and two runs at once.

use rustix::process::{Signal, kill_process};

use crate::project::{Project, pid};

const COUNT: &str = "
before:
  uses: fake/write
counting:
  uses: fake/count
  inputs: { a: before.out }
  with: { to: 5, stick: 3 }
";

fn stuck(project: &Project) -> std::process::Child {
    let child = project.start(&["run"]);
    project.wait_until("the third number", || {
        project.files("cache").iter().any(|file| {
            file.ends_with("count") && std::fs::read_to_string(file).is_ok_and(|text| text == "3")
        })
    });
    child
}

fn no_plugin_left(project: &Project) {
    // The plugin's working folder or arguments do not tell it from others; its environment does.
    let trace = format!("FAKE_TRACE={}", project.path("trace").display());
    project.wait_until("the plugin's end", || {
        !std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
            let executable = std::fs::read_link(process.path().join("exe")).unwrap_or_default();
            executable.ends_with("pipe-fake")
                && std::fs::read(process.path().join("environ"))
                    .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&trace))
        })
    });
}

#[test]
fn ctrl_c_stops_the_plugin_and_the_next_run_continues() {
    let project = Project::new(COUNT);
    let mut child = stuck(&project);
    kill_process(pid(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    no_plugin_left(&project);
    assert!(project.path("artifacts/report.html").exists());
    project.executed();
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed(), ["count"], "`before` was finished and stays");
    assert!(project.pipe_ok(&["log", "counting"]).stdout.contains("resumed at 3"));
    assert_eq!(project.read("artifacts/counting/out.txt"), "5");
}

#[test]
fn a_killed_run_takes_its_plugin_along_and_the_next_run_continues() {
    let project = Project::new(COUNT);
    let mut child = stuck(&project);
    kill_process(pid(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    no_plugin_left(&project);
    project.executed();
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed(), ["count"]);
    assert!(project.pipe_ok(&["log", "counting"]).stdout.contains("resumed at 3"));
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty());
}

#[test]
fn a_command_that_ignores_ctrl_c_is_killed_by_the_second() {
    let project = Project::new("one:\n  run: 'trap \"\" INT TERM; touch here; while :; do sleep 1; done'\n");
    let mut child = project.start(&["run"]);
    project.wait_until("the command", || project.path("here").exists());
    kill_process(pid(&child), Signal::INT).unwrap();
    kill_process(pid(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_second_run_waits_for_the_first_and_says_so() {
    let project = Project::new("one:\n  run: 'touch here; while [ ! -e go ]; do sleep 0.01; done'\n");
    let mut first = project.start(&["run"]);
    project.wait_until("the first run", || project.path("here").exists());
    let mut second = project.command(&["run"]);
    let log = project.path("second.log");
    second.stdout(std::process::Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
    let mut second = second.spawn().unwrap();
    let holder = first.id().to_string();
    project.wait_until("the announcement", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("wait") && text.contains(&holder))
    });
    project.write("go", "");
    assert!(first.wait().unwrap().success());
    assert!(second.wait().unwrap().success());
}

#[test]
fn a_killed_run_takes_its_command_along_with_all_that_it_started() {
    // What it starts first gives the runner the moment that it needs to say whose group this is.
    let first = "for n in 1 2 3 4 5 6 7 8 9; do /bin/true; done";
    let project = Project::new(&format!("one:\n  run: '{first}; sleep 1000 & echo $$ $! > pids; wait'\n"));
    let mut child = project.start(&["run"]);
    let pids = || std::fs::read_to_string(project.path("pids")).unwrap_or_default();
    project.wait_until("the command", || pids().ends_with('\n'));
    kill_process(pid(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    project.wait_until("the end of both", || {
        pids().split_whitespace().all(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
        })
    });
}

#[test]
fn what_a_killed_run_left_running_cannot_write_into_the_next() {
    let project = Project::new(
        "
one:
  run: |
    if [ -e ready ]; then touch waiting; while [ ! -e orphan ]; do sleep 0.01; done; echo new > ${outputs.o}
    else setsid sh -c \"touch ready; while [ ! -e waiting ]; do sleep 0.01; done; echo old > ${outputs.o}; touch orphan\" 2>/dev/null; true; fi
  outputs: { o: o.txt }
",
    );
    let mut first = project.start(&["run"]);
    project.wait_until("the first execution", || project.path("ready").exists());
    kill_process(pid(&first), Signal::KILL).unwrap();
    first.wait().unwrap();
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/one/o.txt"), "new\n");
}

#[test]
fn ctrl_z_puts_the_stage_to_sleep_too() {
    let project = Project::new(
        "one:\n  timeout: 2 s\n  run: 'echo $$ > pid; while [ ! -e go ]; do sleep 0.01; done'\n",
    );
    let mut child = project.start(&["run"]);
    project.wait_until("the command", || project.path("pid").exists() && project.read("pid").ends_with('\n'));
    let command = project.read("pid").trim().to_owned();
    let state = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    let runner = child.id().to_string();
    kill_process(pid(&child), Signal::TSTP).unwrap();
    // A shell that was just starting a program waits for that one, which is asleep.
    project.wait_until("sleep", || state(&runner) == 'T' && matches!(state(&command), 'T' | 'D'));
    // The time that it sleeps does not count.
    let asleep = std::time::Instant::now();
    project.wait_until("more time than the command may take", || asleep.elapsed().as_millis() > 2_100);
    project.write("go", "");
    kill_process(pid(&child), Signal::CONT).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_hang_up_that_is_ignored_stays_ignored() {
    let project = Project::new("one:\n  run: 'touch here; while [ ! -e go ]; do sleep 0.01; done'\n");
    let pipe = crate::project::built("pipe");
    let environment = project.command(&["run"]);
    let mut nohup = std::process::Command::new("nohup");
    nohup.arg(pipe).arg("run").current_dir(project.path("."));
    nohup.env_clear().envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    nohup.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    nohup.stderr(std::process::Stdio::null());
    let mut child = nohup.spawn().unwrap();
    project.wait_until("the command", || project.path("here").exists());
    kill_process(pid(&child), Signal::HUP).unwrap();
    project.write("go", "");
    assert!(child.wait().unwrap().success());
}
