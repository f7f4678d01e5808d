use super::*;

fn shell(script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::start(command, Stdio::null(), Stdout::Log, &Stopper::default()).unwrap()
}

/// Everything that it says, and how it ended.
fn follow(mut process: Process) -> (Vec<String>, End) {
    let mut lines = Vec::new();
    loop {
        match process.next(None).unwrap().unwrap() {
            Output::Out(line) => lines.push(format!("out {line}")),
            Output::Err(line) => lines.push(format!("err {line}")),
            Output::OutClosed(broken) => assert_eq!(broken, None),
            Output::Left(_) | Output::Detached(_) => {}
            Output::Escaped(left) => lines.push(escaped(&left)),
            Output::Ended(end) => return (lines, end),
        }
    }
}

fn collect(process: Process) -> (Vec<String>, ExitStatus) {
    let (lines, end) = follow(process);
    (lines, end.status)
}

/// Who is left of its group once it has ended itself.
fn left(process: &mut Process) -> Vec<Left> {
    loop {
        match process.next(None).unwrap().unwrap() {
            Output::Left(left) => return left,
            Output::Ended(_) => panic!("nothing was left"),
            _ => {}
        }
    }
}

fn has_ended(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn output_and_status_arrive() {
    let (lines, status) = collect(shell("echo a; echo b >&2; printf c; exit 3"));
    assert_eq!(lines, ["err a", "err b", "err c"], "in the order in which they were written");
    assert_eq!(status.code(), Some(3));
}

#[test]
fn what_a_child_starts_in_its_group_is_waited_for_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let script = format!("(until [ -e {} ]; do :; done; echo late) & echo started", go.display());
    let mut process = shell(&script);
    let left = left(&mut process);
    assert_eq!(left.iter().filter_map(|left| left.name.as_deref()).collect::<Vec<_>>(), ["sh"]);
    std::fs::write(go, "").unwrap();
    let (lines, end) = follow(process);
    assert_eq!(lines, ["err late"]);
    assert!(end.status.success() && !end.was_stopped);
}

#[test]
fn generations_that_outlive_their_parents_are_waited_for() {
    let chain = "f() { if [ $1 = 0 ]; then echo last; else f $(($1 - 1)) & fi; }; f 60";
    let (lines, end) = follow(shell(chain));
    assert_eq!(lines, ["err last"]);
    assert!(end.status.success() && !end.was_stopped);
}

#[test]
fn what_sleeps_in_the_group_is_waited_for_until_it_is_woken() {
    // Only then: the kernel wakes, and hangs up on, what sleeps in a group whose leader ends.
    let once_alone = "until grep -q \") Z \" /proc/$leader/stat; do :; done";
    let script = format!("leader=$$; export leader; sh -c '{once_alone}; kill -STOP $$; echo woken' & true");
    let mut process = shell(&script);
    while !left(&mut process)[0].is_stopped {}
    process.stop(Signal::CONT);
    let (lines, end) = follow(process);
    assert_eq!(lines, ["err woken"]);
    assert!(!end.was_stopped);
}

#[test]
fn what_is_left_of_a_child_that_fails_or_matters_no_more_is_killed() {
    let (lines, end) = follow(shell("sleep 1000 & echo $!; exit 3"));
    assert!(has_ended(lines[0].strip_prefix("err ").unwrap().parse().unwrap()));
    assert_eq!((end.status.code(), end.was_stopped), (Some(3), true));
    let mut process = shell("sleep 1000 & true");
    process.kill_rest();
    assert!(follow(process).1.was_stopped);
    assert!(shell("sleep 1000 & true").finish(|_| {}).unwrap().success());
}

#[test]
fn a_group_that_goes_on_is_late_and_can_be_stopped() {
    let mut process = shell("sleep 1000 & true");
    let left = left(&mut process);
    assert!(process.next(Some(Instant::now())).unwrap().is_none());
    process.stop(Signal::TERM);
    let (_, end) = follow(process);
    assert!(end.status.success() && end.was_stopped);
    assert!(has_ended(left[0].pid));
}

/// Python, say, ends at once where it is told to a second time while it writes a checkpoint.
#[test]
fn what_was_told_to_end_is_told_once() {
    let once = "trap 'echo told' TERM; echo ready; n=0; while [ $n -lt 20 ]; do sleep 0.02; n=$((n + 1)); done; echo done";
    let marked = format!("of-this-test-{}", std::process::id());
    let in_group = format!("sh -c \"{once}\" & wait");
    // With job control it is in a group of its own.
    let beside = format!("set -m; sh -c \"{once}\" & wait");
    for (shell, script) in [("sh", in_group), ("bash", beside)] {
        let mut command = Command::new(shell);
        command.args(["-c", &script.replace('$', "\\$")]).env(MARK, &marked);
        let Ok(mut process) = Process::start(command, Stdio::null(), Stdout::Log, &Stopper::default()) else {
            println!("NOT TESTED: there is no {shell}");
            continue;
        };
        let first = process.next(None).unwrap();
        assert!(matches!(&first, Some(Output::Err(line)) if line == "ready"), "{first:?}");
        process.stop(Signal::TERM);
        let (lines, end) = follow(process);
        let told = lines.iter().filter(|line| *line == "err told").count();
        assert_eq!((told, lines.last().map(String::as_str)), (1, Some("err done")), "{script}: {lines:?}");
        assert!(end.was_stopped);
    }
}

#[test]
fn a_zombie_that_nobody_reaps_is_not_waited_for() {
    let script = "
import os, time
if os.fork() == 0:
    if os.fork() == 0: os._exit(0)
    os.setsid()
    print(os.getpid(), flush=True)
    os.close(1); os.close(2)
    time.sleep(1000)
";
    let mut command = Command::new("python3");
    command.args(["-c", script]);
    let Ok(process) = Process::start(command, Stdio::null(), Stdout::Log, &Stopper::default()) else {
        println!("NOT TESTED: there is no python3");
        return;
    };
    let (lines, end) = follow(process);
    assert!(end.status.success() && !end.was_stopped, "{lines:?}");
    let parent = lines[0].strip_prefix("err ").unwrap().parse().unwrap();
    rustix::process::kill_process(Pid::from_raw(parent).unwrap(), Signal::KILL).unwrap();
}

/// It is a child of this process, which nobody else can reap.
#[test]
fn an_orphan_that_a_child_has_ended_is_gone_for_the_child() {
    let script = "pid=$(sh -c 'sleep 1000 > /dev/null 2>&1 & echo $!'); kill $pid\n\
                  while kill -0 $pid 2> /dev/null; do sleep 0.05; done; echo gone";
    let (lines, status) = collect(shell(script));
    assert_eq!(lines, ["err gone"]);
    assert!(status.success());
}

#[test]
fn who_begins_a_session_of_its_own_is_told_also_where_a_child_matters_no_more() {
    let mark = format!("detached-{}", std::process::id());
    let mut command = Command::new("sh");
    // Until it is another program it is in this session.
    let script = "setsid sleep 1000 >&- 2>&- & until grep -q '(sleep)' /proc/$!/stat; do :; done; echo $!";
    command.args(["-c", script]).env(MARK, &mark);
    let process = Process::start(command, Stdio::null(), Stdout::Log, &Stopper::default());
    let mut lines = Vec::new();
    assert!(process.unwrap().finish(|line| lines.push(line.to_owned())).unwrap().success());
    let [pid, told] = &lines[..] else { panic!("{lines:?}") };
    rustix::process::kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    // Where other tests run beside, one of theirs may be named first.
    assert!(told.contains(&format!("(process {pid})")) || told.contains(" more were "), "{told}");
    assert!(told.contains(" left running in a session of "), "{told}");
}

#[test]
fn a_bystander_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    std::fs::write(&path, "").unwrap();
    // Until it is another program the shell's arguments are its own.
    let script = format!("tail -f {} & until grep -q '(tail)' /proc/$!/stat; do :; done", path.display());
    let mut process = shell(&script);
    process.stand_by(path);
    let (_, end) = follow(process);
    assert!(end.status.success() && !end.was_stopped);
}

#[test]
fn a_line_beyond_measure_becomes_several() {
    let (lines, status) = collect(shell("head -c 3000000 /dev/zero | tr '\\0' a; echo; echo end"));
    assert!(status.success());
    assert_eq!(lines.len(), 4);
    assert_eq!(lines.iter().map(|line| line.len() - "err ".len()).sum::<usize>(), 3_000_003);
}

#[test]
fn what_escapes_the_group_is_not_waited_for() {
    let (lines, status) = collect(shell(
        "setsid sleep 100000 & until grep -q \"^$! (sleep) \" /proc/$!/stat; do :; done; echo $!",
    ));
    assert!(status.success());
    let left: i32 = lines[0].strip_prefix("err ").unwrap().parse().unwrap();
    let named = format!("`sleep` (process {left}) was left running outside of the stage's group");
    assert!(lines[1].starts_with(&named), "{lines:?}");
    let escaped = lines[0].strip_prefix("err ").unwrap().parse().unwrap();
    rustix::process::kill_process(Pid::from_raw(escaped).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_child_that_prints_without_pause_is_late_all_the_same() {
    let mut process = shell("yes");
    let deadline = Some(Instant::now() + Duration::from_millis(50));
    while process.next(deadline).unwrap().is_some() {}
    process.stopper.signal(Signal::KILL);
    assert!(!process.finish(|_| {}).unwrap().success());
}

#[test]
fn what_escapes_and_prints_without_pause_is_not_waited_for() {
    let (lines, status) = collect(shell(
        "setsid yes & until grep -q \"^$! (yes) \" /proc/$!/stat; do :; done; echo $! > /dev/stderr",
    ));
    assert!(status.success());
    let escaped = lines.iter().find_map(|line| line.strip_prefix("err ")?.parse().ok()).unwrap();
    // It ends by itself when nobody reads what it prints any more.
    let _ = rustix::process::kill_process(Pid::from_raw(escaped).unwrap(), Signal::KILL);
}

#[test]
fn a_stopped_child_ends_with_its_children() {
    let process = shell("sleep 1000; echo never");
    process.stopper.signal(Signal::TERM);
    let (lines, status) = collect(process);
    assert!(lines.is_empty());
    assert!(!status.success());
}

#[test]
fn only_usual_and_declared_variables_are_passed_on() {
    let mut command = Command::new("env");
    command.env("PIPE_TEST_SECRET", "1");
    clean_environment(&mut command, ["CARGO_MANIFEST_DIR"]);
    let (lines, _) =
        collect(Process::start(command, Stdio::null(), Stdout::Log, &Stopper::default()).unwrap());
    assert!(lines.iter().any(|line| line.starts_with("err PATH=")));
    assert!(lines.iter().any(|line| line.starts_with("err CARGO_MANIFEST_DIR=")));
    assert!(!lines.iter().any(|line| line.contains("CARGO_PKG") || line.contains("SECRET")));
}

#[test]
fn the_tail_keeps_the_last_lines() {
    let mut process = shell("for i in $(seq 100); do echo $i >&2; done");
    process.finish(|_| {}).unwrap();
    assert!(process.tail().ends_with("    99\n    100"));
    assert_eq!(process.tail().lines().count(), TAIL_LINES);
}
