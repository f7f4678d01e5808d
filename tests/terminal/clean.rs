//! Artifacts go, and nothing else does.

use std::fs;
use std::os::unix::fs::symlink;

use crate::project::Project;

const STAGES: &str = "
one:
  uses: fake/write
  with: { text: some text }
many:
  run: mkdir -p ${outputs.d}/sub ${outputs.d}/none; echo 1 > ${outputs.d}/a; echo 2 > ${outputs.d}/sub/b
  outputs: { d: d }
";

fn project() -> Project {
    let project = Project::new(STAGES);
    project.pipe_ok(&["run"]);
    project.executed();
    project
}

#[test]
fn what_is_cleaned_is_restored() {
    let project = project();
    let preview = project.pipe_ok(&["clean", "--dry-run"]);
    snapshots::assert_printed!(preview.stdout);
    assert_eq!(project.files("artifacts").len(), 4);
    let told = project.pipe_ok(&["clean"]).stdout;
    snapshots::assert_printed!(told);
    assert!(!project.path("artifacts").exists());
    snapshots::assert_printed!(project.pipe_ok(&["clean"]).stdout);
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty());
    assert_eq!(project.read("artifacts/many/d/sub/b"), "2\n");
    assert!(project.path("artifacts/many/d/none").is_dir());
}

#[test]
fn only_the_stages_named_are_cleaned() {
    let project = project();
    project.pipe_ok(&["clean", "one"]);
    assert!(!project.path("artifacts/one").exists());
    assert!(project.path("artifacts/many/d/a").exists() && project.path("artifacts/report.html").exists());
    let wrong = project.pipe(&["clean", "onne"]);
    assert_eq!(wrong.code, Some(2));
    snapshots::assert_printed!(wrong.stderr);
    // A stage that is no longer in the pipeline has artifacts all the same, and a broken pipeline is no obstacle.
    project.write("pipeline.yaml", "stages: [");
    project.pipe_ok(&["clean", "many"]);
    assert!(!project.path("artifacts/many").exists());
}

#[test]
fn what_the_user_put_there_or_edited_stays() {
    let project = project();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("b"), "2\n").unwrap();
    fs::write(project.path("artifacts/one/mine.txt"), "mine").unwrap();
    fs::write(project.path("artifacts/mine.txt"), "mine").unwrap();
    fs::write(project.path("artifacts/many/d/a"), "edited").unwrap();
    fs::write(project.path("artifacts/many/d/extra"), "mine").unwrap();
    // The same content, but it lies elsewhere.
    fs::remove_dir_all(project.path("artifacts/many/d/sub")).unwrap();
    symlink(outside.path(), project.path("artifacts/many/d/sub")).unwrap();
    let told = project.pipe_ok(&["clean"]).stdout;
    for line in [
        "`artifacts/one/mine.txt` stays: it is no output",
        "`artifacts/many/d/a` stays: it was edited",
        "`artifacts/many/d/extra` stays: it is no output",
        "`artifacts/many/d/sub` stays: it is no output",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!project.path("artifacts/one/out.txt").exists());
    assert!(!project.path("artifacts/report.html").exists());
    assert_eq!(project.read("artifacts/mine.txt"), "mine");
    assert_eq!(project.read("artifacts/many/d/a"), "edited");
    assert_eq!(fs::read_to_string(outside.path().join("b")).unwrap(), "2\n");
}

#[test]
fn a_stage_folder_that_is_a_link_is_not_followed() {
    let project = project();
    let outside = tempfile::tempdir().unwrap();
    fs::rename(project.path("artifacts/one/out.txt"), outside.path().join("out.txt")).unwrap();
    fs::remove_dir(project.path("artifacts/one")).unwrap();
    symlink(outside.path(), project.path("artifacts/one")).unwrap();
    project.pipe_ok(&["clean"]);
    assert_eq!(fs::read_to_string(outside.path().join("out.txt")).unwrap(), "some text");
}

#[test]
fn the_cache_goes_when_asked_for_twice() {
    let project = project();
    let asked = project.pipe(&["clean", "--with-cache"]);
    assert_eq!(asked.code, Some(2));
    snapshots::assert_printed!(asked.stderr);
    assert!(project.path("artifacts/one/out.txt").exists() && project.path("cache/v1").exists());
    let told = project.pipe_ok(&["clean", "--with-cache", "--yes"]).stdout;
    snapshots::assert_printed!(told);
    assert!(!project.path("cache").exists() && !project.path("artifacts").exists());
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed().len(), 1);
}

#[test]
fn a_shared_cache_is_not_removed_unless_told() {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().to_string_lossy();
    let (mine, theirs) = (Project::new(STAGES), Project::new(STAGES));
    for project in [&mine, &theirs] {
        project.pipe_ok(&["run", "--cache", &folder]);
    }
    let refused = mine.pipe(&["clean", "--with-cache", "--yes", "--cache", &folder]);
    assert_eq!(refused.code, Some(2));
    snapshots::assert_printed!(refused.stderr);
    assert!(mine.path("artifacts/one/out.txt").exists());
    mine.pipe_ok(&["clean", "--with-cache", "--shared", "--yes", "--cache", &folder]);
    assert!(!cache.path().join("v1").exists() && !mine.path("cache").exists());
    theirs.executed();
    theirs.pipe_ok(&["run", "--cache", &folder]);
    assert_eq!(theirs.executed().len(), 1, "a cache that is gone is a miss");
}

#[test]
fn a_run_moves_aside_what_somebody_put_where_an_output_will_be() {
    let project = project();
    fs::write(project.path("artifacts/one/out.txt"), "my edit").unwrap();
    fs::write(project.path("artifacts/many/d/notes"), "mine").unwrap();
    fs::create_dir_all(project.path("artifacts/new/o")).unwrap();
    fs::write(project.path("artifacts/new/o/x"), "mine").unwrap();
    let new = "new:\n  run: echo made > ${outputs.o}\n  outputs: { o: o }\n";
    project
        .set_stages(&format!("{STAGES}{new}").replace("some text", "other text").replace("echo 1", "echo 3"));
    let told = project.pipe_ok(&["run"]).stderr;
    for words in [
        "`artifacts/one/out.txt` was edited, or not written by a stage; moved to `artifacts/one/out.txt.kept-1`",
        "1 file in `artifacts/many/d` was edited, or not written by the stage; moved to `artifacts/many/d.kept-1`",
        "moved to `artifacts/new/o.kept-1`",
    ] {
        assert!(told.contains(words), "{told}");
    }
    assert_eq!(project.read("artifacts/one/out.txt"), "other text");
    assert_eq!(project.read("artifacts/one/out.txt.kept-1"), "my edit");
    assert_eq!(project.read("artifacts/many/d/a"), "3\n");
    assert_eq!(project.read("artifacts/many/d.kept-1/notes"), "mine");
    assert!(
        !project.path("artifacts/many/d.kept-1/a").exists()
            && !project.path("artifacts/many/d/notes").exists()
    );
    assert_eq!(project.read("artifacts/new/o"), "made\n");
    assert_eq!(project.read("artifacts/new/o.kept-1/x"), "mine");
    assert!(!project.pipe_ok(&["run"]).stderr.contains("kept"));
}

#[test]
fn an_older_output_that_somebody_put_in_place_is_kept_although_the_cache_has_it() {
    let project = project();
    let older = project.read("artifacts/one/out.txt");
    project.set_stages(&STAGES.replace("some text", "other text"));
    project.pipe_ok(&["run"]);
    fs::write(project.path("artifacts/one/out.txt"), &older).unwrap();
    project.set_stages(&STAGES.replace("some text", "third text"));
    let told = project.pipe_ok(&["run"]).stderr;
    snapshots::assert_printed!(told);
    assert_eq!(project.read("artifacts/one/out.txt.kept-1"), older);
    assert_eq!(project.read("artifacts/one/out.txt"), "third text");
    // What stages made themselves goes without a word, also where one is forced.
    assert!(!project.pipe_ok(&["run", "--force"]).stderr.contains("kept"));
    project.set_stages(&STAGES.replace("some text", "other text"));
    assert!(!project.pipe_ok(&["run"]).stderr.contains("kept"));
}

#[test]
fn what_is_no_folder_in_the_place_of_all_artifacts_is_told_before_anything_runs() {
    for (what, said) in [("file", "is a file, and"), ("link", "is a link that leads nowhere, and")] {
        let project = Project::new(STAGES);
        let place = project.path("artifacts");
        match what {
            "file" => fs::write(&place, "mine").unwrap(),
            _ => std::os::unix::fs::symlink("/nowhere/at/all", &place).unwrap(),
        }
        for args in [&["run"][..], &["run", "--dry-run"]] {
            let outcome = project.pipe(args);
            let told = format!("artifacts` {said} not a folder");
            assert!(outcome.code == Some(1) && outcome.stderr.contains(&told), "{}", outcome.stderr);
            assert!(outcome.stderr.contains("away and run again"), "{}", outcome.stderr);
        }
        assert!(project.executed().is_empty());
    }
}
