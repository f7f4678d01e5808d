//! What the machine may do to a run: a full disk, a cache that cannot be written, a file that cannot be read, a clock
//! that was set back. Each is told with the file and what to do, and loses nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::project::{Outcome, Project, built};

/// Runs a shell script as root of a mount namespace of its own, in the project's folder; `$PIPE` is the program. `None`
/// where that is not allowed: then the test is not done, which is an error in CI, if this user could mount.
fn in_namespace(project: &Project, script: &str) -> Option<Output> {
    let is_root = rustix::process::geteuid().is_root();
    let flags: &[&str] = if is_root { &["-m"] } else { &["-r", "-m"] };
    let can_mount =
        Command::new("unshare").args(flags).args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !can_mount.is_ok_and(|output| output.status.success()) {
        println!("NOT TESTED: file systems cannot be mounted here");
        assert!(!(is_root && std::env::var_os("CI").is_some()), "file systems can be mounted in CI");
        return None;
    }
    let environment = project.command(&[]);
    let mut command = Command::new("unshare");
    command.args(flags).args(["sh", "-c", script]).current_dir(project.path("")).stdin(Stdio::null());
    command.env_clear().envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(command.env("PIPE", built("pipe")).output().unwrap())
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Between two marks of the output of a script.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).unwrap_or_else(|| panic!("{text}")).0
}

const SMALL_AND_BIG: &str = "
small:
  run: 'echo small >> \"$TRACE\"; cat ${inputs.a} > ${outputs.o}'
  env: { TRACE: $FILE }
  inputs: { a: a.txt }
  outputs: { o: o.txt }
big:
  run: 'echo big >> \"$TRACE\"; { cat ${inputs.a}; head -c 1200000 /dev/zero; } > ${outputs.o}'
  env: { TRACE: $FILE }
  inputs: { a: small.o }
  outputs: { o: o.bin }
";

/// A project with a stage that fits on a small disk and one that does not; they trace into a file that is elsewhere.
fn small_and_big() -> Project {
    let project = Project::new("");
    let trace = project.path("trace").to_string_lossy().into_owned();
    project.set_stages(&SMALL_AND_BIG.replace("$FILE", &trace));
    project.write("a.txt", "a\n");
    project
}

#[test]
fn on_a_full_disk_the_file_is_named_and_the_next_run_continues() {
    let project = small_and_big();
    let script = "
        mkdir disk && mount -t tmpfs -o size=2m none disk && cp pipeline.yaml a.txt disk && cd disk || exit 9
        $PIPE run; echo first $?
        mount -o remount,size=8m none .
        $PIPE run; echo second $?
        cmp artifacts/small/o.txt a.txt && wc -c < artifacts/big/o.bin
        head -c 100m /dev/zero > rest 2> /dev/null
        echo b > ../b && cp ../b a.txt
        $PIPE run; echo third $?
        rm rest
        echo b > a.txt
        $PIPE run; echo fourth $?
        cat artifacts/small/o.txt
        mkdir -p cache/v1/work && head -c 100m /dev/zero > cache/v1/work/left-by-a-kill 2> /dev/null
        echo c > ../c && rm a.txt && ln -s ../c a.txt
        $PIPE run; echo fifth $?
        cat artifacts/small/o.txt
    ";
    let Some(output) = in_namespace(&project, script) else { return };
    let said = said(&output);
    assert!(said.contains("first 1\n") && said.contains("second 0\n1200002\n"), "{said}");
    // What is told goes to standard error, in order.
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("o.bin`: No space left on device"), "{told}");
    assert!(told.contains("free disk space and run again: what was finished is kept"), "{told}");
    assert!(said.contains("third 1\n") && said.contains("fourth 0\nb\n"), "{said}");
    assert!(said.contains("fifth 0\nc\n"), "what a killed run left is cleared first: {said}");
    let executed = project.executed();
    assert_eq!(executed[..3], ["small", "big", "big"], "`small` was finished and stays");
    assert_eq!(executed.last().map(String::as_str), Some("big"));
}

#[test]
fn a_shared_cache_on_a_full_disk_keeps_no_leftovers() {
    let project = small_and_big();
    let script = "
        mkdir disk && mount -t tmpfs -o size=1m none disk || exit 9
        export PIPE_CACHE=disk
        $PIPE run; echo first $?
        find disk/v1/tmp -type f
        echo leftovers
        mount -o remount,size=8m none disk
        $PIPE run; echo second $?
    ";
    let Some(output) = in_namespace(&project, script) else { return };
    let said = said(&output);
    assert!(said.contains("first 1\n") && said.contains("second 0\n"), "{said}");
    assert_eq!(between(&said, "first 1\n", "leftovers"), "", "{said}");
    assert!(said.contains("No space left on device") && said.contains("free disk space"), "{said}");
    assert_eq!(project.executed(), ["small", "big", "big"]);
}

#[test]
fn a_read_only_cache_serves_what_it_has_and_refuses_the_rest() {
    let project = Project::new("");
    let trace = project.path("trace").to_string_lossy().into_owned();
    project.set_stages(&SMALL_AND_BIG.replace("$FILE", &trace));
    project.write("a.txt", "a\n");
    let script = "
        mount --bind . . && cd \"$PWD\" || exit 9
        mkdir shared && export PIPE_CACHE=shared
        $PIPE run > /dev/null; echo made $?
        mount --bind shared shared && mount -o remount,bind,ro shared || exit 9
        rm -r artifacts cache
        $PIPE run; echo restored $?
        cat artifacts/small/o.txt
        echo b > a.txt
        $PIPE run; echo edited $?
        umount shared
        $PIPE run > /dev/null; echo writable $?
        cat artifacts/small/o.txt
        unset PIPE_CACHE
        $PIPE run > /dev/null; echo own $?
        mount --bind cache cache && mount -o remount,bind,ro cache || exit 9
        echo c > a.txt
        $PIPE run; echo read-only $?
        $PIPE status > /dev/null; echo looked $?
    ";
    let Some(output) = in_namespace(&project, script) else { return };
    let said = said(&output);
    for line in [
        "made 0\n",
        "restored 0\na\n",
        "edited 1\n",
        "writable 0\nb\n",
        "own 0\n",
        "read-only 1\n",
        "looked 0\n",
    ] {
        assert!(said.contains(line), "no {line:?} in\n{said}");
    }
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("shared/v1/locks/") && told.contains("Read-only file system"), "{told}");
    assert!(told.contains("cache/v1/lock`: Read-only file system"), "{told}");
    assert!(told.contains("must be on a file system that can be written to"), "{told}");
    // Made, made anew when it could be written to, made once more in a cache of its own.
    assert_eq!(project.executed(), ["small", "big", "small", "big", "small", "big"]);
}

/// Runs `pipe` as somebody whom permissions bind: root they do not.
fn as_nobody(project: &Project, args: &[&str]) -> Outcome {
    if !rustix::process::geteuid().is_root() {
        return project.pipe(args);
    }
    let environment = project.command(&[]);
    let mut chown = Command::new("chown");
    assert!(chown.args(["-R", "65534:65534"]).arg(project.path("")).status().unwrap().success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(built("pipe")).args(args);
    command.current_dir(project.path("")).stdin(Stdio::null()).env_clear();
    command.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[test]
fn records_that_may_not_be_read_stop_nothing_and_what_they_may_need_is_kept() {
    let stages = |text: &str| format!("one:\n  uses: fake/write\n  with: {{ text: {text} }}\n");
    let project = Project::new(&stages("first"));
    project.pipe_ok(&["run"]);
    let record = project.files("cache/v1/actions").remove(0);
    let run = project.files("cache/v1/runs").remove(0);
    project.set_stages(&stages("second"));
    project.pipe_ok(&["run"]);
    let all = project.files("cache/v1/objects").len();
    for file in [&record, &run] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let outcome = as_nobody(&project, &["verify"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    let told = &outcome.stdout;
    assert_eq!(told.matches("cannot be read: Permission denied").count(), 2, "{told}");
    assert!(told.contains("the record of result ") && told.contains("the record of run "), "{told}");
    assert!(told.contains("2 cached results and 2 runs read"), "the others were read: {told}");
    let outcome = as_nobody(&project, &["gc", "--max-size", "0"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let told = &outcome.stdout;
    assert!(told.contains(&format!("{}` cannot be read: Permission denied", record.display())), "{told}");
    assert!(told.contains("every cached result and object was kept"), "{told}");
    assert_eq!(project.files("cache/v1/objects").len(), all);
    let outcome = as_nobody(&project, &["history"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let id = run.file_stem().unwrap().to_string_lossy().into_owned();
    assert!(
        outcome.stdout.contains("1 run is not listed") && outcome.stdout.contains(&id),
        "{}",
        outcome.stdout
    );
    let outcome = as_nobody(&project, &["report"]);
    assert!(outcome.stderr.contains("note: 1 run is passed over"), "{}", outcome.stderr);
    for file in [&record, &run] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
    // Objects that cannot be looked at are not missing: no record is moved aside for want of them.
    let objects: Vec<_> =
        fs::read_dir(project.path("cache/v1/objects")).unwrap().map(Result::unwrap).collect();
    let set_all = |mode| {
        objects
            .iter()
            .for_each(|it| fs::set_permissions(it.path(), fs::Permissions::from_mode(mode)).unwrap());
    };
    set_all(0o000);
    let outcome = as_nobody(&project, &["verify"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("` cannot be read: Permission denied"), "{}", outcome.stdout);
    set_all(0o755);
    assert_eq!(project.files("cache/v1/actions").len(), 2);
    assert_eq!(as_nobody(&project, &["verify"]).code, Some(0));
    let outcome = as_nobody(&project, &["gc", "--max-size", "0"]);
    assert!(outcome.stdout.contains("1 cached result, unused"), "{}", outcome.stdout);
    assert!(project.files("cache/v1/objects").len() < all);
}

#[test]
fn an_input_that_may_not_be_read_is_named() {
    let project = Project::new(
        "one:\n  run: cat ${inputs.a} > ${outputs.o}\n  inputs: { a: secret.txt }\n  outputs: { o: o.txt }\n",
    );
    project.write("secret.txt", "a\n");
    project.pipe_ok(&["run"]);
    let secret = project.path("secret.txt");
    let run = || as_nobody(&project, &["run"]);
    fs::write(&secret, "b\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = run();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("secret.txt`: Permission denied"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("give yourself the right to read"), "{}", outcome.stderr);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let outcome = run();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(project.read("artifacts/one/o.txt"), "b\n");
}

/// A library that sets a program's clock back by an hour. Files keep the kernel's.
const SLOW_CLOCK: &str = r"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, __func__);
    int failed = real(id, now);
    if (id == CLOCK_REALTIME) now->tv_sec -= 3600;
    return failed;
}
";

fn slow_clock(folder: &Path) -> std::path::PathBuf {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, SLOW_CLOCK).unwrap();
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
    assert!(compile.status().unwrap().success(), "cc, which links this test, cannot make a library");
    library
}

#[test]
fn a_clock_that_was_set_back_hides_no_edit_and_keeps_runs_in_order() {
    let project = Project::new(
        "one:\n  run: echo one >> trace; cat ${inputs.a} > ${outputs.o}\n  inputs: { a: a.txt }\n  outputs: { o: o.txt }\n",
    );
    let library = slow_clock(&project.path(""));
    let slow = |args: &[&str]| {
        let output = project.command(args).env("LD_PRELOAD", &library).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let source = project.path("a.txt");
    let edit = |text: &str| {
        let modified = fs::metadata(&source).unwrap().modified().unwrap();
        fs::write(&source, text).unwrap();
        fs::File::options().write(true).open(&source).unwrap().set_modified(modified).unwrap();
    };
    project.write("a.txt", "0\n");
    project.pipe_ok(&["run"]);
    project.pipe_ok(&["run"]);
    for text in ["1\n", "2\n", "3\n"] {
        edit(text);
        slow(&["run"]);
        assert_eq!(project.read("artifacts/one/o.txt"), text);
        fs::write(project.path("artifacts/one/o.txt"), "x\n").unwrap();
        slow(&["run"]);
        assert_eq!(project.read("artifacts/one/o.txt"), text, "an edit by hand is undone");
    }
    assert_eq!(project.executed(), ["one"; 4]);
    edit("4\n");
    project.pipe_ok(&["run"]);
    assert_eq!(
        project.read("artifacts/one/o.txt"),
        "4\n",
        "and nothing is believed when the clock is right again"
    );
    let history: serde_json::Value =
        serde_json::from_str(&project.pipe_ok(&["history", "--json"]).stdout).unwrap();
    let runs = history["runs"].as_array().unwrap_or_else(|| panic!("{history}"));
    let ran: Vec<u64> = runs.iter().map(|run| run["started_ms"].as_u64().unwrap()).collect();
    // The last run and the first one had the right time, those between an earlier one.
    assert!(
        ran.iter().skip(1).rev().skip(1).all(|time| *time < ran[0] && *time < ran[ran.len() - 1]),
        "{ran:?}"
    );
}

/// Runs the pipeline from a `bash` that has done this before.
fn run_after(project: &Project, before: &str) -> Output {
    let environment = project.command(&[]);
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{before}; exec \"$PIPE\" run")]).current_dir(project.path(""));
    command.env_clear().envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PIPE", built("pipe")).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_parent_that_ignores_the_ends_of_children_loses_none() {
    let project = Project::new("one:\n  run: 'sleep 0.1; echo 1 > ${outputs.o}'\n  outputs: { o: o.txt }");
    let output = run_after(&project, "trap '' CHLD");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(project.read("artifacts/one/o.txt"), "1\n");
}

#[test]
fn a_file_that_may_not_get_so_large_is_told_and_kills_the_stage_alone_that_writes_it() {
    let log =
        "one:\n  run: 'head -c 400000 /dev/zero | base64; echo 1 > ${outputs.o}'\n  outputs: { o: o.txt }";
    let project = Project::new(log);
    let output = run_after(&project, "ulimit -f 128");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("File too large"), "{}", said(&output));
    project.set_stages("one:\n  run: 'head -c 400000 /dev/zero > ${outputs.o}'\n  outputs: { o: o.txt }");
    let output = run_after(&project, "ulimit -f 128");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let killed = said(&output);
    assert!(
        killed.contains("153") || killed.contains("signal: 25"),
        "the stage has the default action: {killed}"
    );
}

#[test]
fn where_processes_cannot_be_seen_nothing_of_a_stage_is_kept() {
    let project = Project::new("one:\n  run: 'echo 1 > ${outputs.o}'\n  outputs: { o: o.txt }");
    let Some(output) = in_namespace(&project, "mount -t tmpfs none /proc && exec \"$PIPE\" run") else {
        return;
    };
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("`/proc` is needed"), "{}", said(&output));
    assert!(!project.path("artifacts/one/o.txt").exists());
    project.pipe_ok(&["run"]);
    let listed = project.pipe_ok(&["history"]).stdout;
    assert!(listed.contains("1 ran"), "nothing was taken from the cache: {listed}");
}
