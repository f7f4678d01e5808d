//! Folders that stages read, with what counts for nothing in them, and inputs that change while a stage reads: nothing is kept
//! that was made of something else.

use std::fs;
use std::process::{Command, Stdio};

use crate::project::Project;
use crate::stale::{edit_secretly, replace_secretly};

#[test]
fn what_counts_for_nothing_in_a_folder_changes_nothing() {
    use std::os::unix::fs::symlink;
    let stages = "s:\n  run: mkdir -p src/__pycache__ && date +%s%N > src/__pycache__/m.pyc && ls -A src > ${outputs.o}\n  inputs: { src: ./src }\n  outputs: { o: o.txt }\n";
    let project = Project::new(stages);
    project.write("src/m.py", "x");
    symlink("me@here.1:2", project.path("src/.#m.py")).unwrap();
    symlink("nowhere", project.path("src/dangling")).unwrap();
    project.pipe_ok(&["run"]);
    let seen = project.read("artifacts/s/o.txt");
    assert!(seen.contains("__pycache__"), "the stage sees the folder as it is: {seen}");
    let is_fresh = || {
        project.pipe_ok(&["status"]).stdout.contains("1 fresh") || {
            let why = project.pipe_ok(&["why", "s"]).stdout;
            why.contains("s is fresh")
        }
    };
    assert!(is_fresh());
    project.write("src/.DS_Store", "z");
    project.write("src/m.py~", "old");
    assert!(is_fresh());
    project.write("src/notes.txt", "mine");
    assert!(!is_fresh());
    let text = project.read("pipeline.yaml").replace("name: test", "name: test\nignore: ['/src/*.txt']");
    project.write("pipeline.yaml", &text);
    assert!(is_fresh());
    std::fs::remove_file(project.path("src/dangling")).unwrap();
    symlink("elsewhere", project.path("src/dangling")).unwrap();
    assert!(!is_fresh(), "where a link leads counts");
}

#[test]
fn what_readers_leave_in_a_folder_that_a_stage_made_counts_for_nothing() {
    use std::os::unix::fs::symlink;
    let project = Project::on_disk(
        "
code: { run: 'mkdir ${outputs.lib} && echo 1 > ${outputs.lib}/m.py', outputs: { lib: lib } }
kept: { run: 'mkdir -p ${outputs.d}/__pycache__ && echo 1 > ${outputs.d}/__pycache__/m.pyc', outputs: { d: d } }
reads:
  run: mkdir -p ${inputs.lib}/__pycache__ && echo >> ${inputs.lib}/__pycache__/m.pyc && cat ${inputs.lib}/m.py > ${outputs.o}
  inputs: { lib: code.lib, d: kept.d }
  outputs: { o: o.txt }
",
    );
    project.pipe_ok(&["run"]);
    let is_fresh = || project.pipe_ok(&["status"]).stdout.contains("3 fresh");
    assert!(is_fresh());
    project.write("artifacts/code/lib/.DS_Store", "x");
    symlink("me@here.1:2", project.path("artifacts/code/lib/.#m.py")).unwrap();
    assert!(is_fresh());
    project.pipe_ok(&["run", "--force", "reads"]);
    assert!(!project.pipe_ok(&["verify"]).stdout.contains("is not what"));
    // What is only among the artifacts is put into the cache without it.
    fs::remove_dir_all(project.path("cache/v1/objects")).unwrap();
    project.pipe_ok(&["run"]);
    fs::remove_dir_all(project.path("artifacts")).unwrap();
    project.pipe_ok(&["run"]);
    assert!(!project.path("artifacts/code/lib/.DS_Store").exists());
    // What a stage made itself counts, whatever its name.
    project.write("artifacts/kept/d/__pycache__/m.pyc", "2");
    snapshots::assert_printed!(project.pipe_ok(&["verify"]).stdout);
    assert!(!is_fresh());
    project.write("artifacts/code/lib/n.py", "mine");
    snapshots::assert_printed!(project.pipe_ok(&["verify"]).stdout);
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/kept/d/__pycache__/m.pyc"), "1\n");
    assert!(is_fresh());
}

#[test]
fn what_readers_leave_beside_what_the_stage_left_itself_counts_for_nothing() {
    let project = Project::on_disk(
        "
code: { run: 'mkdir -p ${outputs.lib}/__pycache__ && echo 1 > ${outputs.lib}/__pycache__/a.pyc', outputs: { lib: lib } }
reads:
  run: echo >> ${inputs.lib}/__pycache__/b.pyc && cat ${inputs.lib}/__pycache__/a.pyc > ${outputs.o}
  inputs: { lib: code.lib }
  outputs: { o: o.txt }
",
    );
    project.pipe_ok(&["run"]);
    let is_fresh = || project.pipe_ok(&["status"]).stdout.contains("2 fresh");
    assert!(is_fresh());
    project.pipe_ok(&["run", "--force", "reads"]);
    assert!(!project.pipe_ok(&["verify"]).stdout.contains("is not what"));
    assert!(is_fresh());
    // What the stage made itself counts.
    project.write("artifacts/code/lib/__pycache__/a.pyc", "2");
    snapshots::assert_printed!(project.pipe_ok(&["verify"]).stdout);
    assert!(!is_fresh());
}

#[test]
fn what_is_ignored_in_a_source_is_read_by_nobody_or_is_part_of_the_key() {
    use std::os::unix::fs::symlink;
    let project = Project::new(
        "
without: { uses: fake/write, with: { text: '', folder: imgs } }
whole: { uses: fake/write, with: { text: '', source: imgs } }
",
    );
    let text = project.read("pipeline.yaml").replace("name: test", "name: test\nignore: [/imgs/old]");
    project.write("pipeline.yaml", &text);
    project.write("imgs/1", "a");
    let read = |stage: &str| project.read(&format!("artifacts/{stage}/out.txt"));
    project.pipe_ok(&["run"]);
    assert_eq!((read("without"), read("whole")), ("1=a ".into(), "1=a ".into()));
    for (file, seen) in [("imgs/9~", "1=a 9~=b "), ("imgs/old", "1=a 9~=b old=b ")] {
        project.write(file, "b");
        let status = project.pipe_ok(&["why", "without"]).stdout;
        assert!(status.contains("without is fresh"), "{file}: {status}");
        let status = project.pipe_ok(&["why", "whole"]).stdout;
        assert!(!status.contains("whole is fresh"), "{file}: {status}");
        project.pipe_ok(&["run"]);
        project.pipe_ok(&["run", "--force", "without"]);
        assert_eq!((read("without").as_str(), read("whole").as_str()), ("1=a ", seen), "{file}");
    }
    symlink("me@here.1:2", project.path("imgs/.#1")).unwrap();
    project.pipe_ok(&["run", "--force", "without"]);
    assert_eq!(read("without"), "1=a ");
    let outcome = project.pipe(&["run", "whole"]);
    assert_ne!(outcome.code, Some(0));
    snapshots::assert_printed!(outcome.stderr);
}

#[test]
fn a_source_may_hold_the_cache_where_that_is_ignored() {
    let project = Project::new("one: { uses: fake/write, with: { text: '', folder: . } }\n");
    let text = project
        .read("pipeline.yaml")
        .replace("name: test", "name: test\nignore: [/cache/, /artifacts/, /trace]");
    project.write("pipeline.yaml", &text);
    project.pipe_ok(&["run"]);
    assert!(project.read("artifacts/one/out.txt").contains("pipeline.yaml="));
    snapshots::assert_printed!(project.pipe_ok(&["why", "one"]).stdout);
}

#[test]
fn a_checkout_and_back_in_a_folder_under_version_control_poisons_nothing() {
    let project = Project::new(
        "
one:
  run: touch started; while [ ! -e go ]; do sleep 0.01; done; mkdir -p ${inputs.d}/__pycache__; ls ${inputs.d} > ${outputs.o}
  inputs: { d: data }
  outputs: { o: o.txt }
",
    );
    project.write("data/f", "inner\n");
    project.write("data/.git/HEAD", "main\n");
    let run = |change: &dyn Fn()| {
        for file in ["go", "started"] {
            let _ = fs::remove_file(project.path(file));
        }
        let mut run = project.start(&["run"]);
        project.wait_until("the stage", || project.path("started").exists());
        change();
        project.write("go", "");
        run.wait().unwrap().code()
    };
    fs::create_dir(project.path("data/__pycache__")).unwrap();
    let checkout = || {
        project.write("data/.git/HEAD", "other\n");
        project.write("data/extra.csv", "x");
        fs::remove_file(project.path("data/extra.csv")).unwrap();
        project.write("data/.git/index.lock", "");
        fs::remove_file(project.path("data/.git/index.lock")).unwrap();
    };
    assert_eq!(run(&checkout), Some(1));
    let log = project.pipe_ok(&["log", "one"]).stdout;
    assert!(log.contains("something was put into `data` or taken out of it while it ran"), "{log}");
    fs::remove_dir(project.path("data/__pycache__")).unwrap();
    let lock = || {
        project.write("data/.git/index.lock", "");
        fs::remove_file(project.path("data/.git/index.lock")).unwrap();
    };
    assert_eq!(run(&lock), Some(0), "what the stage makes at its first run, and a lock of git's");
}

#[test]
fn an_input_that_changes_and_changes_back_during_a_run_poisons_nothing() {
    let project = Project::new(
        "
one:
  run: echo one >> trace; touch started; while [ ! -e go ]; do sleep 0.01; done; cat ${inputs.a} ${inputs.d}/f > ${outputs.o}
  inputs: { a: a.txt, d: data }
  outputs: { o: o.txt }
",
    );
    project.write("a.txt", "old\n");
    project.write("data/f", "inner\n");
    let changes: [(&str, &dyn Fn()); 4] = [
        ("`a.txt` was written to or touched while it ran", &|| {
            let source = project.path("a.txt");
            let text = project.read("a.txt");
            edit_secretly(&source, &text.to_uppercase());
            edit_secretly(&source, &text);
        }),
        ("`data/f` was written to or touched while it ran", &|| {
            let text = project.read("data/f");
            replace_secretly(&project.path("data/f"), &text.to_uppercase());
            replace_secretly(&project.path("data/f"), &text);
        }),
        ("something was put into `data` or taken out of it while it ran", &|| {
            project.write("data/more", "");
            fs::remove_file(project.path("data/more")).unwrap();
        }),
        ("`data/f` was written to or touched while it ran", &|| {
            fs::rename(project.path("data"), project.path("aside")).unwrap();
            project.write("data/f", "INNER\n");
            fs::remove_dir_all(project.path("data")).unwrap();
            project.write("aside/f", "inner\n");
            fs::rename(project.path("aside"), project.path("data")).unwrap();
        }),
    ];
    for (told, change) in &changes {
        for file in ["go", "started", "trace"] {
            let _ = fs::remove_file(project.path(file));
        }
        let mut run = project.start(&["run"]);
        project.wait_until("the stage", || project.path("started").exists());
        change();
        project.write("go", "");
        assert_eq!(run.wait().unwrap().code(), Some(1), "{told}");
        let log = project.pipe_ok(&["log", "one"]).stdout;
        assert!(log.contains(told) && log.contains("the result was discarded"), "{told}\n{log}");
        assert!(!project.path("artifacts/one/o.txt").exists(), "{told}");
    }
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/one/o.txt"), "old\ninner\n");
}

#[test]
fn an_input_that_is_written_to_through_a_mapping_that_stays_open_is_another_one() {
    let project = Project::new(
        "one:\n  run: echo one >> trace; head -c 4 ${inputs.a} > ${outputs.o}\n  inputs: { a: a.bin }\n  outputs: { o: o.txt }\n",
    );
    project.write("a.bin", &"0".repeat(5000));
    let script = "
import mmap, sys
f = open('a.bin', 'r+b')
m = mmap.mmap(f.fileno(), 0)
f.close()
for number in range(1, 6):
    m[:4] = b'%04d' % number
    print(flush=True)
    sys.stdin.readline()
";
    let mut python = Command::new("python3");
    python.args(["-c", script]).current_dir(project.path("")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut writer) = python.spawn() else {
        println!("NOT TESTED: there is no python3");
        return;
    };
    for number in 1..=5 {
        std::io::Read::read_exact(writer.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        for _ in 0..2 {
            project.pipe_ok(&["run"]);
            assert_eq!(project.read("artifacts/one/o.txt"), format!("{number:04}"));
        }
        assert_eq!(project.executed(), ["one"], "{number}");
        std::io::Write::write_all(writer.stdin.as_mut().unwrap(), b"\n").unwrap();
    }
    assert!(writer.wait().unwrap().success());
}
