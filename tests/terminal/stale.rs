//! Files that change where sizes and times do not tell, and the cache's own files damaged: nothing stale is ever used.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cache::damage;
use crate::project::Project;

const ONE: &str = "
one:
  run: echo one >> trace; cat ${inputs.a} > ${outputs.o}
  inputs: { a: a.txt }
  outputs: { o: o.txt }
two:
  run: echo two >> trace; mkdir ${outputs.o} && cp ${inputs.a} ${outputs.o}/inner
  inputs: { a: one.o }
  outputs: { o: folder }
";

fn project() -> Project {
    let project = Project::on_disk(ONE);
    project.write("a.txt", "0000\n");
    project.pipe_ok(&["run"]);
    // The second one keeps what the null run rests on.
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed(), ["one", "two"]);
    project
}

/// Gives a file another content of the same length, and its old time of change.
fn edit_secretly(path: &Path, text: &str) {
    let metadata = fs::metadata(path).unwrap();
    assert_eq!(metadata.len(), text.len() as u64);
    fs::write(path, text).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(metadata.modified().unwrap()).unwrap();
}

/// As [`edit_secretly`], by another file in its place.
fn replace_secretly(path: &Path, text: &str) {
    let other = path.with_extension("other");
    fs::copy(path, &other).unwrap();
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(&other, text).unwrap();
    fs::File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
    fs::rename(other, path).unwrap();
}

fn assert_made_of(project: &Project, text: &str) {
    for file in ["artifacts/one/o.txt", "artifacts/two/folder/inner"] {
        assert_eq!(project.read(file), text, "{file}");
    }
}

fn flip(path: &Path, index: usize) {
    damage(path, |bytes| {
        let index = index % bytes.len();
        bytes[index] ^= 1;
    });
}

#[test]
fn an_input_of_the_same_size_and_time_is_another_one() {
    let project = project();
    let source = project.path("a.txt");
    // At once after a run: within the same tick of the clock, where that is possible.
    for number in 1..=12 {
        let text = format!("{number:04}\n");
        if number % 2 == 0 {
            edit_secretly(&source, &text)
        } else {
            replace_secretly(&source, &text)
        }
        project.pipe_ok(&["run"]);
        assert_made_of(&project, &text);
        assert_eq!(project.executed(), ["one", "two"], "{number}");
    }
}

#[test]
fn an_input_that_is_edited_at_any_moment_of_a_run_is_not_taken_for_what_it_was() {
    let project = project();
    let source = project.path("a.txt");
    for number in 1..=12 {
        let (before, after) = (format!("a{number:03}\n"), format!("b{number:03}\n"));
        edit_secretly(&source, &before);
        let mut run = project.start(&["run"]);
        // The run digests the files that it met once more when it ends, and it may be anywhere on the way there.
        project.wait_until("the outcome", || {
            project.read("artifacts/one/o.txt") == before || run.try_wait().unwrap().is_some()
        });
        edit_secretly(&source, &after);
        run.wait().unwrap();
        project.pipe_ok(&["run"]);
        assert_made_of(&project, &after);
    }
}

#[test]
fn an_output_that_was_edited_by_hand_is_put_back_from_the_cache() {
    let project = project();
    for edit in [edit_secretly, replace_secretly, |path: &Path, text: &str| {
        fs::write(path, format!("{text}{text}")).unwrap()
    }] {
        for file in ["artifacts/one/o.txt", "artifacts/two/folder/inner"] {
            edit(&project.path(file), "edit\n");
            let status = project.pipe_ok(&["status"]);
            assert!(status.stdout.contains("restore"), "{}", status.stdout);
            project.pipe_ok(&["run"]);
            assert_made_of(&project, "0000\n");
        }
    }
    fs::write(project.path("artifacts/two/folder/more"), "").unwrap();
    project.pipe_ok(&["run"]);
    assert!(!project.path("artifacts/two/folder/more").exists());
    assert!(project.executed().is_empty());
}

#[test]
fn a_hard_linked_output_shares_nothing_with_its_other_name() {
    let project = Project::new(
        "one:\n  run: echo one >> trace; ln ${inputs.a} ${outputs.o}\n  inputs: { a: a.txt }\n  outputs: { o: o.txt }\n",
    );
    let source = project.path("a.txt");
    project.write("a.txt", "0000\n");
    project.pipe_ok(&["run"]);
    edit_secretly(&source, "1111\n");
    assert_eq!(project.read("artifacts/one/o.txt"), "0000\n");
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/one/o.txt"), "1111\n");
    edit_secretly(&source, "0000\n");
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/one/o.txt"), "0000\n", "restored as it was");
    assert_eq!(project.executed(), ["one", "one"]);
    // And by hand: an edit through a second name of an artifact is an edit of the artifact.
    fs::hard_link(project.path("artifacts/one/o.txt"), project.path("second")).unwrap();
    project.pipe_ok(&["run"]);
    edit_secretly(&project.path("second"), "edit\n");
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/one/o.txt"), "0000\n");
    assert!(project.executed().is_empty());
}

#[test]
fn a_damaged_object_is_told_moved_aside_and_made_anew() {
    let damages: [fn(&Path); 3] = [
        |path| flip(path, 2),
        |path| damage(path, |bytes| bytes.truncate(2)),
        |path| fs::remove_file(path).unwrap(),
    ];
    for (number, damage) in damages.iter().enumerate() {
        let project = project();
        let object = |project: &Project| {
            let objects = project.files("cache/v1/objects");
            objects.into_iter().find(|path| fs::read(path).unwrap() == b"0000\n")
        };
        damage(&object(&project).unwrap());
        // With the artifacts in place a wrong length is noticed, unless nothing at all seems to have changed; and a wrong
        // content only once it is wanted.
        let _ = fs::remove_file(project.path("cache/v1/standing"));
        let mut told = project.pipe_ok(&["run"]).stderr;
        fs::remove_dir_all(project.path("artifacts")).unwrap();
        told.push_str(&project.pipe_ok(&["run"]).stderr);
        assert_made_of(&project, "0000\n");
        // The file in the folder has the same content: once that is made anew, the folder can be restored.
        // What is known to be gone is made anew from the artifact.
        let executed = if number == 0 { vec!["one"] } else { vec![] };
        assert_eq!(project.executed(), executed, "damage {number}\n{told}");
        assert!(told.contains("warning"), "damage {number}\n{told}");
        assert!(object(&project).is_some());
    }
}

#[test]
fn a_damaged_record_is_told_and_made_anew() {
    let project = project();
    for (number, record) in project.files("cache/v1/actions").iter().enumerate() {
        flip(record, 40 + number);
        edit_secretly(&project.path("artifacts/one/o.txt"), "edit\n");
        let outcome = project.pipe_ok(&["run"]);
        assert_eq!(project.executed().len(), 1, "{}", outcome.stderr);
        assert!(outcome.stderr.contains("the cache record of this key"), "{}", outcome.stderr);
        assert_made_of(&project, "0000\n");
    }
}

#[test]
fn no_flipped_bit_in_what_is_remembered_hides_an_edit_or_runs_anything() {
    for file in ["stat", "standing", "last-keys"] {
        let project = project();
        let path = project.path("cache/v1").join(file);
        for step in 0..10 {
            let place = step * fs::metadata(&path).unwrap().len() as usize / 10;
            flip(&path, place);
            project.pipe_ok(&["run"]);
            assert!(project.executed().is_empty(), "{file} at {place}");
            project.pipe_ok(&["run"]);
            flip(&path, place);
            let text = format!("{step:04}\n");
            edit_secretly(&project.path("a.txt"), &text);
            project.pipe_ok(&["run"]);
            assert_made_of(&project, &text);
            project.executed();
        }
    }
}

#[test]
fn a_copy_of_a_folder_does_not_believe_what_the_original_remembers() {
    let project = project();
    let copy = |from: &str, to: &str| {
        let files =
            ["pipeline.yaml", "a.txt", "cache", "artifacts"].map(|file| project.path(from).join(file));
        fs::create_dir_all(project.path(to)).unwrap();
        let mut copy = Command::new("cp");
        assert!(copy.arg("-a").args(files).arg(project.path(to)).status().unwrap().success());
    };
    let run = |folder: &str| {
        let mut command = project.command(&["run"]);
        let output = command.current_dir(project.path(folder)).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let read = |file: &str| project.read(file);
    copy(".", "copy");
    edit_secretly(&project.path("copy/a.txt"), "copy\n");
    run("copy");
    assert_eq!(read("copy/artifacts/one/o.txt"), "copy\n");
    assert_eq!(read("artifacts/one/o.txt"), "0000\n", "the original is left alone");
    // Edited, and put where the original was: question and paths are the same, the files are others.
    run("copy");
    copy("copy", "again");
    edit_secretly(&project.path("again/a.txt"), "once\n");
    fs::rename(project.path("copy"), project.path("away")).unwrap();
    fs::rename(project.path("again"), project.path("copy")).unwrap();
    run("copy");
    assert_eq!(read("copy/artifacts/one/o.txt"), "once\n");
    // The same with an edit of what was made only.
    run("copy");
    copy("copy", "third");
    edit_secretly(&project.path("third/artifacts/one/o.txt"), "edit\n");
    fs::rename(project.path("copy"), project.path("second")).unwrap();
    fs::rename(project.path("third"), project.path("copy")).unwrap();
    run("copy");
    assert_eq!(read("copy/artifacts/one/o.txt"), "once\n");
}

#[test]
fn a_plugin_that_is_replaced_during_a_run_poisons_nothing() {
    let project = Project::new("");
    let plugin = |version: u32| {
        format!(
            r#"if [ "$1" = describe ]; then
  echo '{{"protocol":1,"plugin":"mine","version":"1","ops":{{"write":{{"description":"Writes.","version":{version},"params":{{"type":"object"}},"extra_inputs":{{"description":"Any.","optional":true}},"outputs":{{"o":{{"description":"It.","file":"o.txt"}}}}}}}}}}'
  exit
fi
read hello; read run
out=$(echo "$run" | sed 's/.*"outputs":{{"o":"\([^"]*\)".*/\1/')
echo "$hello"
if [ ! -e started ]; then touch started; while [ ! -e replaced ]; do sleep 0.01; done; fi
echo {version} > "$out"
echo '{{"type":"done"}}'
"#
        )
    };
    project.script("pipe-mine", &plugin(1));
    project.write(
        "pipeline.yaml",
        "version: 1\nname: x\nplugins: { mine: pipe-mine }\nstages:\n  one: { uses: mine/write }\n",
    );
    let mut run = project.start(&["run"]);
    project.wait_until("the stage", || project.path("started").exists());
    project.script("new", &plugin(2));
    std::fs::rename(project.path("new"), project.path("pipe-mine")).unwrap();
    project.write("replaced", "");
    assert_eq!(run.wait().unwrap().code(), Some(1));
    let log = project.pipe_ok(&["log", "one"]).stdout;
    assert!(log.contains("plugin `mine` was changed while it ran"), "{log}");
    project.pipe_ok(&["run"]);
    assert_eq!(project.read("artifacts/one/o.txt"), "2\n");
}

#[test]
fn a_stage_that_writes_to_what_it_reads_is_found_out() {
    let project = Project::new(
        "
src:
  run: echo one > ${outputs.o}
  outputs: { o: o.txt }
edit:
  run: echo two >> ${inputs.a}; echo > ${outputs.o}
  inputs: { a: src.o }
  outputs: { o: o.txt }
other:
  run: echo two >> artifacts/src/o.txt; echo > ${outputs.o}
  outputs: { o: o.txt }
  inputs: { a: src.o }
",
    );
    let outcome = project.pipe(&["run", "-k", "-j1"]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("`inputs.a` was changed while it ran"), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("is not what `src` made as `o`: it was changed since"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_relative_cache_is_another_one_in_another_folder() {
    let project = Project::new("one:\n  run: echo x > ${outputs.o}\n  outputs: { o: o.txt }\n");
    std::fs::create_dir(project.path("a")).unwrap();
    std::fs::create_dir(project.path("b")).unwrap();
    for folder in ["a", "a", "b"] {
        let file = project.path("pipeline.yaml");
        let mut command = project.command(&["run", "--cache", "c", "-f", file.to_str().unwrap()]);
        assert!(command.current_dir(project.path(folder)).output().unwrap().status.success());
    }
    assert!(project.path("b/c/v1/objects").exists());
    let mut command = project.command(&["run"]);
    assert!(command.env("PIPE_CACHE", "").output().unwrap().status.success(), "empty is as good as not set");
}

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
    assert!(outcome.stderr.contains("imgs/.#1` is a link that leads nowhere"), "{}", outcome.stderr);
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
    assert!(project.pipe_ok(&["why", "one"]).stdout.contains("one is fresh"));
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
        assert!(log.contains(told) && log.contains("the outcome was thrown away"), "{told}\n{log}");
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
