//! Damage to the cache is found, told with whose it is, and out of the way afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::project::Project;

const STAGES: &str = "
one:
  uses: fake/write
  with: { text: a text that is long enough to be told from others }
many:
  run: mkdir ${outputs.d}; echo first > ${outputs.d}/a; echo second > ${outputs.d}/b
  outputs: { d: d }
";

fn project() -> Project {
    let project = Project::on_disk(STAGES);
    project.pipe_ok(&["run"]);
    project.executed();
    project
}

fn change(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

/// The object whose text is told by `is_it`.
fn object(project: &Project, is_it: impl Fn(&str) -> bool) -> PathBuf {
    let objects = project.files("cache/v1/objects");
    objects.into_iter().find(|path| is_it(&String::from_utf8_lossy(&fs::read(path).unwrap()))).unwrap()
}

/// The object of what stage `one` makes.
fn output_of_one(project: &Project) -> PathBuf {
    object(project, |text| text.starts_with("a text that"))
}

#[test]
fn a_whole_cache_is_whole_and_doctor_knows_when_it_was_read() {
    let project = project();
    assert!(project.pipe_ok(&["doctor"]).stdout.contains("never verified"));
    let told = project.pipe_ok(&["verify"]).stdout;
    snapshots::assert_printed!(told);
    assert!(project.pipe_ok(&["doctor"]).stdout.contains("last verified today"));
    let text = project.read("pipeline.yaml");
    project.write("pipeline.yaml", "stages: [");
    project.pipe_ok(&["verify"]);
    project.write("pipeline.yaml", &text);
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty());
    let empty = Project::new(STAGES);
    snapshots::assert_printed!(empty.pipe_ok(&["verify"]).stdout);
    assert!(!empty.path("cache").exists(), "looking creates nothing");
}

#[test]
fn a_flipped_bit_and_a_lost_end_name_the_stage_and_cost_an_execution() {
    for name in ["flipped", "cut"] {
        let project = project();
        let object = output_of_one(&project);
        change(&object, |bytes| match name {
            "cut" => bytes.truncate(9),
            _ => flip(bytes),
        });
        fs::remove_dir_all(project.path("artifacts")).unwrap();
        let preview = project.pipe(&["verify", "--dry-run"]);
        assert_eq!(preview.code, Some(1));
        assert!(object.exists() && preview.stdout.contains("without --dry-run"), "{}", preview.stdout);
        let told = project.pipe(&["verify"]);
        assert_eq!(told.code, Some(1), "{name}: {}", told.stdout);
        for part in [
            "has content that does not match its digest",
            "output `one.out`, made by run ",
            "cache/v1/corrupt/",
        ] {
            assert!(told.stdout.contains(part), "{name}: {part}: {}", told.stdout);
        }
        assert!(
            !object.exists() && project.files("cache/v1/corrupt").len() == 2,
            "the object and its record"
        );
        project.pipe_ok(&["verify"]);
        project.pipe_ok(&["run"]);
        assert_eq!(project.executed().len(), 1, "{name}");
        project.pipe_ok(&["verify"]);
    }
}

#[test]
fn what_an_artifact_still_holds_is_made_anew_from_it() {
    let project = project();
    let (one, second) = (output_of_one(&project), object(&project, |text| text == "second\n"));
    change(&one, |bytes| flip(bytes));
    fs::remove_file(&second).unwrap();
    let told = project.pipe(&["verify"]);
    assert_eq!(told.code, Some(1));
    for part in
        ["made anew from `artifacts/one/out.txt`", "is missing", "output `many.d`", "`artifacts/many/d/b`"]
    {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }
    project.pipe_ok(&["verify"]);
    fs::remove_dir_all(project.path("artifacts")).unwrap();
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty());
    assert_eq!(project.read("artifacts/many/d/b"), "second\n");
}

#[test]
fn damaged_records_of_outcomes_and_runs_are_moved_aside() {
    let project = project();
    let records = project.files("cache/v1/actions");
    records
        .iter()
        .chain(&project.files("cache/v1/runs"))
        .for_each(|record| change(record, |bytes| flip(bytes)));
    let told = project.pipe(&["verify"]);
    assert_eq!(told.code, Some(1));
    assert_eq!(told.stdout.matches("the record of result ").count(), 2, "{}", told.stdout);
    assert!(told.stdout.contains("the record of run ") && told.stdout.contains("3 files"), "{}", told.stdout);
    assert_eq!(project.files("cache/v1/corrupt").len(), 3);
    project.pipe_ok(&["verify"]);
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed().len(), 1);
}

#[test]
fn what_only_saves_time_is_removed() {
    let project = project();
    for name in ["stat", "standing"] {
        change(&project.path(&format!("cache/v1/{name}")), |bytes| flip(bytes));
    }
    let told = project.pipe(&["verify"]);
    assert_eq!(told.code, Some(1));
    snapshots::assert_printed!(told.stdout);
    project.pipe_ok(&["verify"]);
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty());
}

#[test]
fn a_lost_log_is_worth_a_remark() {
    let project = project();
    let log = object(&project, |text| text.contains("wrote "));
    fs::remove_file(&log).unwrap();
    let told = project.pipe_ok(&["verify"]).stdout;
    snapshots::assert_printed!(told);
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty());
}

#[test]
fn an_edited_artifact_is_a_remark_and_never_a_source() {
    let project = project();
    let artifact = project.path("artifacts/one/out.txt");
    fs::write(&artifact, "mine").unwrap();
    fs::write(project.path("artifacts/many/d/c"), "more").unwrap();
    change(&output_of_one(&project), |bytes| flip(bytes));
    let told = project.pipe(&["verify"]);
    assert_eq!(told.code, Some(1));
    let edited = |path: &str| format!("! `artifacts/{path}` is not what ");
    assert!(told.stdout.contains(&edited("one/out.txt")), "{}", told.stdout);
    assert!(told.stdout.contains(&edited("many/d")), "{}", told.stdout);
    assert!(!told.stdout.contains("made anew from"), "{}", told.stdout);
    assert_eq!(fs::read_to_string(&artifact).unwrap(), "mine", "verifying changes no artifact");
    project.pipe_ok(&["run"]);
    assert!(project.read("artifacts/one/out.txt").starts_with("a text that"));
}

#[test]
fn a_log_that_is_lost_can_be_had_again() {
    let project = project();
    project.files("cache/v1/objects").iter().for_each(|object| fs::remove_file(object).unwrap());
    snapshots::assert_printed!(project.pipe_ok(&["run"]).stderr);
    let lost = project.pipe(&["log", "one"]);
    assert_eq!(lost.code, Some(1));
    snapshots::assert_printed!(lost.stderr);
    project.pipe_ok(&["run", "--force", "one"]);
    project.pipe_ok(&["log", "one"]);
}
