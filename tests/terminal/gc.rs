//! The cache is kept below a size, and what the pipeline needs stays.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::project::{Outcome, Project};

/// Some 40 KB each, different for each text: half of it is the text in the record.
fn stages(text: &str) -> String {
    let text = text.repeat(20_000 / text.len());
    format!(
        "one:\n  uses: fake/write\n  with: {{ text: {text} }}\ntwo:\n  run: wc -c < ${{inputs.a}} > ${{outputs.n}}\n  inputs: {{ a: one.out }}\n  outputs: {{ n: n.txt }}\n"
    )
}

fn json(outcome: &Outcome) -> serde_json::Value {
    serde_json::from_str::<serde_json::Value>(&outcome.stdout).unwrap()["collection"].take()
}

fn stages_of(collection: &serde_json::Value) -> Vec<String> {
    let evicted = collection["evicted"].as_array().unwrap();
    evicted.iter().map(|one| one["stage"].as_str().unwrap().to_owned()).collect()
}

fn size(project: &Project, below: &str) -> u64 {
    project.files(below).iter().map(|file| fs::metadata(file).unwrap().len()).sum()
}

/// Has the outcomes of `stage` that are in the cache now look as if they were last used `days` ago.
fn age(project: &Project, days: u64) {
    for record in project.files("cache/v1/actions") {
        let file = fs::File::open(&record).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(days * 24 * 3600)).unwrap();
    }
}

#[test]
fn the_least_recently_used_goes_and_the_pipeline_stays_whole() {
    let project = Project::new(&stages("a"));
    project.pipe_ok(&["run"]);
    age(&project, 3);
    for text in ["b", "c", "d"] {
        project.set_stages(&stages(text));
        project.pipe_ok(&["run"]);
    }
    // `a` is used again, so that `b` is now the oldest that nobody needs.
    project.set_stages(&stages("a"));
    project.pipe_ok(&["run"]);
    project.set_stages(&stages("d"));
    project.pipe_ok(&["run"]);
    project.executed();

    let preview = json(&project.pipe_ok(&["gc", "--max-size", "100KB", "--dry-run", "--json"]));
    let before = size(&project, "cache/v1/objects");
    assert!(preview["evicted_bytes"].as_u64().unwrap() > 20_000, "{preview}");
    let collection = json(&project.pipe_ok(&["gc", "--max-size", "100KB", "--json"]));
    assert_eq!(preview, collection);
    assert!(size(&project, "cache/v1/objects") < before);
    let left = size(&project, "cache/v1/objects") + size(&project, "cache/v1/actions");
    assert_eq!(collection["bytes"], left);
    assert!(left <= 100 << 10, "{left}");

    for (text, executed) in [("d", 0), ("a", 0), ("d", 0), ("b", 1)] {
        project.set_stages(&stages(text));
        let outcome = project.pipe_ok(&["run"]);
        assert_eq!(project.executed().len(), executed, "{text}: {}", outcome.stderr);
        assert!(project.read("artifacts/one/out.txt").starts_with(text));
    }
}

#[test]
fn what_the_pipeline_needs_stays_whatever_the_size() {
    let project = Project::new(&stages("a"));
    project.pipe_ok(&["run"]);
    // Edited, but not run: a run would restore `a`, whose artifacts are not there any more.
    project.set_stages(&stages("b"));
    project.pipe_ok(&["run"]);
    project.set_stages(&stages("a"));
    project.executed();
    let outcome = project.pipe_ok(&["gc", "--max-size", "0"]);
    snapshots::assert_printed!(outcome.stdout);
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty());
    fs::remove_dir_all(project.path("artifacts")).unwrap();
    let outcome = project.pipe_ok(&["gc", "--max-size", "0"]);
    snapshots::assert_printed!(outcome.stdout);
    project.pipe_ok(&["run"]);
    project.pipe_ok(&["log", "one"]);
    assert!(project.executed().is_empty());
}

#[test]
fn a_broken_pipeline_keeps_what_every_stage_made_last() {
    let project = Project::new(&stages("a"));
    project.pipe_ok(&["run"]);
    let text = project.read("pipeline.yaml");
    project.write("pipeline.yaml", "stages: [");
    let outcome = project.pipe_ok(&["gc", "--max-size", "0"]);
    snapshots::assert_printed!(outcome.stderr);
    snapshots::assert_printed!(outcome.stdout);
    project.write("pipeline.yaml", &text);
    fs::remove_dir_all(project.path("artifacts")).unwrap();
    project.executed();
    project.pipe_ok(&["run"]);
    assert!(project.executed().is_empty());
}

#[test]
fn what_no_record_names_goes_and_unfinished_work_stays() {
    let project = Project::new("slow:\n  uses: fake/count\n  with: { to: 3, stick: 2 }\n");
    let mut child = project.start(&["run"]);
    project.wait_until("partial work", || !project.files("cache/v1/resume").is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    project.write("cache/v1/objects/ab/cdef", "not an object");
    let stray = "cache/v1/objects/00/".to_owned() + &"0".repeat(62);
    project.write(&stray, "an object of no record");
    let collection = json(&project.pipe_ok(&["gc", "--json"]));
    assert_eq!(collection["unreachable"], 1);
    assert!(!project.path(&stray).exists());
    assert!(!project.files("cache/v1/resume").is_empty());
    project.pipe_ok(&["run"]);
    assert!(project.pipe_ok(&["log", "slow"]).stdout.contains("resumed at"));
}

#[test]
fn a_run_that_makes_the_cache_too_large_collects() {
    let project = Project::new(&stages("a"));
    let run = || {
        let output = project.command(&["run"]).env("PIPE_CACHE_SIZE", "50KB").output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(!run().contains("removed"));
    for text in ["b", "c", "d"] {
        project.set_stages(&stages(text));
        let told = run();
        assert!(told.contains("the cache was larger than 50.0 KB: removed "), "{told}");
        let left = size(&project, "cache/v1/objects") + size(&project, "cache/v1/actions");
        assert!(left <= 50 << 10, "{left}");
    }
    let doctor = project.pipe_ok(&["doctor"]).stdout;
    assert!(doctor.contains(" of 20.0 GB, "), "{doctor}");
    let wrong = project.command(&["run", "--force"]).env("PIPE_CACHE_SIZE", "much").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    snapshots::assert_printed!(String::from_utf8_lossy(&wrong.stderr));
}

/// Runs `pipe` in `project` with the shared cache of another one.
fn sharing(project: &Project, cache: &Path, args: &[&str]) -> Outcome {
    let cache = cache.to_string_lossy();
    project.pipe_ok(&[args, &["--cache", &cache]].concat())
}

#[test]
fn in_a_shared_cache_others_keep_what_they_need_until_they_are_gone() {
    let cache = tempfile::tempdir().unwrap();
    let [mine, theirs] = ["a", "b"].map(|text| Project::new(&stages(text)));
    for project in [&mine, &theirs] {
        sharing(project, cache.path(), &["run"]);
        project.executed();
    }
    let gc = || json(&sharing(&mine, cache.path(), &["gc", "--max-size", "0", "--json"]));
    assert!(stages_of(&gc()).is_empty());
    fs::remove_dir_all(theirs.path("artifacts")).unwrap();
    sharing(&theirs, cache.path(), &["run"]);
    assert!(theirs.executed().is_empty());
    drop(theirs);
    let mut gone = stages_of(&gc());
    gone.sort();
    assert_eq!(gone, ["one", "two"]);
    fs::remove_dir_all(mine.path("artifacts")).unwrap();
    sharing(&mine, cache.path(), &["run"]);
    assert!(mine.executed().is_empty());
}

#[test]
fn collecting_waits_for_runs_that_share_the_cache() {
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path().to_string_lossy();
    let gate = "touch started; while [ ! -e go ]; do sleep 0.01; done; echo x > ${outputs.o}";
    let theirs = Project::new(&format!("wait:\n  run: {gate}\n  outputs: {{ o: o.txt }}\n"));
    let mine = Project::new(&stages("a"));
    mine.pipe_ok(&["run", "--cache", &cache]);
    let mut run = theirs.start(&["run", "--cache", &cache]);
    theirs.wait_until("their stage", || theirs.path("started").exists());
    let told = mine.path("told");
    let mut gc = mine.command(&["gc", "--max-size", "0", "--cache", &cache]);
    let gc = gc.stdout(std::process::Stdio::null()).stderr(fs::File::create(&told).unwrap());
    let mut gc = gc.spawn().unwrap();
    mine.wait_until("a word", || mine.read("told").contains("waiting for a run that uses the same cache"));
    let pid = format!("(process {} in `", run.id());
    assert!(mine.read("told").contains(&pid), "{}", mine.read("told"));
    assert!(gc.try_wait().unwrap().is_none());
    theirs.write("go", "");
    assert!(run.wait().unwrap().success());
    assert!(gc.wait().unwrap().success());
    fs::remove_dir_all(theirs.path("artifacts")).unwrap();
    fs::remove_file(theirs.path("started")).unwrap();
    theirs.pipe_ok(&["run", "--cache", &cache]);
    assert!(!theirs.path("started").exists(), "what it made was not collected");
}

#[test]
fn what_was_kept_for_pages_of_runs_goes_with_their_records() {
    let stages = |text: &str| {
        format!("one:\n  description: {text}\n  run: date +%N > ${{outputs.o}}\n  outputs: {{ o: o }}\n")
    };
    let project = Project::new(&stages("first"));
    project.pipe_ok(&["run"]);
    project.set_stages(&stages("second"));
    project.pipe_ok(&["run", "--force", "one"]);
    let kept = || ["definitions", "superseded"].map(|name| project.files(&format!("cache/v1/{name}")).len());
    assert_eq!(kept(), [2, 1]);
    project.pipe_ok(&["gc"]);
    assert_eq!(kept(), [2, 1], "a run is on record that shows them");
    let first = project.files("cache/v1/runs").into_iter().min().unwrap();
    fs::remove_file(first).unwrap();
    let preview = json(&project.pipe_ok(&["gc", "--dry-run", "--json"]));
    assert_eq!((kept(), preview["leftovers"].as_u64()), ([2, 1], Some(2)));
    project.pipe_ok(&["gc"]);
    assert_eq!(kept(), [1, 0]);
    let report = project.path("page.html");
    project.pipe_ok(&["report", "-o", &report.to_string_lossy()]);
    assert!(fs::read_to_string(report).unwrap().contains("second"));
}

#[test]
fn what_another_pipeline_made_anew_stays_with_the_runs_that_had_it_until_these_go() {
    let stages = "one:\n  run: date +%N > ${outputs.o}\n  outputs: { o: o }\n";
    let (first, second) = (Project::new(stages), Project::new(stages));
    let shared = tempfile::tempdir().unwrap();
    let cache = shared.path().to_str().unwrap();
    first.pipe_ok(&["run", "--cache", cache]);
    second.pipe_ok(&["run", "--cache", cache, "--force", "one"]);
    let page = |name: &str| {
        first.pipe_ok(&["report", "--cache", cache, "-o", name]);
        first.read(name)
    };
    assert!(!page("before.html").contains("no longer cached"));
    let kept = || walkdir::WalkDir::new(shared.path().join("v1/superseded")).into_iter().flatten();
    let kept = || kept().filter(|entry| entry.file_type().is_file()).count();
    assert_eq!(kept(), 1);
    second.pipe_ok(&["gc", "--cache", cache]);
    assert_eq!(kept(), 1, "a run of the other pipeline shows it");
    assert!(!page("after.html").contains("no longer cached"));
    fs::remove_dir_all(first.path("cache/v1/runs")).unwrap();
    second.pipe_ok(&["gc", "--cache", cache]);
    assert_eq!(kept(), 0);
}
