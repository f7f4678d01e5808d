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

/// Runs `pipe`, which is to end whatever it comes to.
fn ends(project: &Project, args: &[&str]) -> (Option<i32>, String) {
    let said = project.path("said");
    let mut command = project.command(args);
    let mut child = command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    project.wait_until("its end", || child.try_wait().unwrap().is_some());
    (child.wait().unwrap().code(), project.read("said"))
}

#[test]
fn a_fifo_in_place_of_any_file_of_the_cache_keeps_nobody_waiting() {
    let stages = "one:\n  uses: fake/write\ntwo:\n  run: mkdir ${outputs.o}; cp ${inputs.a} ${outputs.o}/x\n  \
                  inputs: { a: one.out }\n  outputs: { o: o }\n";
    let project = Project::new(stages);
    project.pipe_ok(&["run"]);
    project.pipe_ok(&["run"]);
    project.pipe_ok(&["verify"]);
    let files = project.files("cache/v1");
    assert!(files.len() > 12, "{files:?}");
    for file in files {
        let Ok(bytes) = fs::read(&file) else { continue };
        fs::remove_file(&file).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
        assert!(made.success());
        for args in [
            &["status"][..],
            &["log", "one"],
            &["verify", "--dry-run"],
            &["run"],
            &["run", "--force"],
            &["verify"],
            &["gc"],
        ] {
            let (code, said) = ends(&project, args);
            let place = format!("{}: pipe {args:?}: {code:?}\n{said}", file.display());
            assert!(matches!(code, Some(0 | 1)), "{place}");
            assert!(code == Some(0) || args[0] != "run" || said.contains("FIFO"), "{place}");
        }
        let _ = fs::remove_file(&file);
        fs::write(&file, bytes).unwrap();
        project.pipe(&["verify"]);
        project.pipe_ok(&["run"]);
    }
}

#[test]
fn an_input_that_the_kernel_makes_is_refused_at_once() {
    let project = Project::new(
        "one:\n  run: cat ${inputs.a} > ${outputs.o}\n  inputs: { a: /proc/kmsg }\n  outputs: { o: o }\n",
    );
    let (code, said) = ends(&project, &["run"]);
    assert_eq!(code, Some(1), "{said}");
    snapshots::assert_printed!(said);
}
