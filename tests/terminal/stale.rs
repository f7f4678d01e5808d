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
pub(crate) fn edit_secretly(path: &Path, text: &str) {
    let metadata = fs::metadata(path).unwrap();
    assert_eq!(metadata.len(), text.len() as u64);
    fs::write(path, text).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(metadata.modified().unwrap()).unwrap();
}

/// As [`edit_secretly`], by another file in its place.
pub(crate) fn replace_secretly(path: &Path, text: &str) {
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
        // Of a stage of which nothing has changed no record is wanted.
        let _ = fs::remove_file(project.path("cache/v1/standing"));
        let outcome = project.pipe_ok(&["run"]);
        assert_eq!(project.executed().len(), 1, "{}", outcome.stderr);
        assert!(outcome.stderr.contains("the cache record of this key"), "{}", outcome.stderr);
        assert_made_of(&project, "0000\n");
    }
}

#[test]
fn no_flipped_bit_in_what_is_remembered_hides_an_edit_or_runs_anything() {
    for file in ["stat", "standing", "standing-pipeline", "standing-records", "last-keys"] {
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
    snapshots::assert_printed!(log);
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
