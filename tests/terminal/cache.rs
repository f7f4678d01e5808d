//! Damage to the cache is noticed, told, and mended by running again.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::project::Project;

const ONE: &str = "one:\n  uses: fake/write\n  with: { text: some text that is long enough to be damaged }\n";

/// Changes a file's bytes, whatever its permissions.
pub(crate) fn damage(path: &std::path::Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_corrupt_object_is_never_restored() {
    let project = Project::new(ONE);
    project.pipe_ok(&["run"]);
    project.executed();
    let text = project.read("artifacts/one/out.txt");
    for object in project.files("cache/v1/objects") {
        damage(&object, |bytes| {
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
        });
    }
    fs::remove_dir_all(project.path("artifacts")).unwrap();
    let outcome = project.pipe_ok(&["run"]);
    assert_eq!(project.executed().len(), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("corrupt") || outcome.stderr.contains("damaged"), "{}", outcome.stderr);
    assert_eq!(project.read("artifacts/one/out.txt"), text);
    fs::remove_dir_all(project.path("artifacts")).unwrap();
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty(), "the cache is whole again");
}

#[test]
fn a_truncated_record_is_a_miss() {
    let project = Project::new(ONE);
    project.pipe_ok(&["run"]);
    project.executed();
    for record in project.files("cache/v1/actions") {
        damage(&record, |bytes| bytes.truncate(bytes.len() / 2));
    }
    fs::remove_dir_all(project.path("artifacts")).unwrap();
    project.pipe_ok(&["run"]);
    assert_eq!(project.executed().len(), 1);
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty());
}

#[test]
fn any_other_cache_file_can_be_rubbish() {
    let project = Project::new(ONE);
    project.pipe_ok(&["run"]);
    let files = project.files("cache/v1");
    assert!(files.len() > 4, "{files:?}");
    for file in files {
        if !file.exists() {
            continue;
        }
        damage(&file, |bytes| *bytes = b"rubbish".to_vec());
        let outcome = project.pipe(&["run"]);
        assert_eq!(outcome.code, Some(0), "{}\n{}", file.display(), outcome.stderr);
        assert!(project.read("artifacts/one/out.txt").starts_with("some text"));
    }
}

#[test]
fn an_edit_of_an_artifact_does_not_reach_the_cache() {
    let project = Project::new(ONE);
    project.pipe_ok(&["run"]);
    let text = project.read("artifacts/one/out.txt");
    let artifact = project.path("artifacts/one/out.txt");
    fs::set_permissions(&artifact, fs::Permissions::from_mode(0o644)).unwrap();
    fs::OpenOptions::new()
        .append(true)
        .open(&artifact)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"!"))
        .unwrap();
    project.executed();
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty());
    assert_eq!(project.read("artifacts/one/out.txt"), text);
}

#[test]
fn any_part_of_the_cache_may_be_deleted() {
    let project = Project::new(ONE);
    project.pipe_ok(&["run"]);
    let text = project.read("artifacts/one/out.txt");
    let parts: Vec<_> =
        fs::read_dir(project.path("cache/v1")).unwrap().map(|part| part.unwrap().path()).collect();
    assert!(parts.len() > 8, "{parts:?}");
    project.executed();
    for part in parts {
        let _ = fs::remove_dir_all(&part).or_else(|_| fs::remove_file(&part));
        project.write("artifacts/one/out.txt", "something else");
        project.pipe_ok(&["run"]);
        assert_eq!(project.read("artifacts/one/out.txt"), text, "{}", part.display());
        let must_run = ["objects", "actions"].iter().any(|name| part.ends_with(name));
        assert_eq!(project.executed().len(), usize::from(must_run), "{}", part.display());
        project.pipe_ok(&["run"]);
        assert!(project.executed().is_empty(), "{}", part.display());
    }
}
