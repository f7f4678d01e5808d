//! What is expected of a pipeline of three commands, and that it comes to pass.

use super::*;

use std::fs;
use std::path::Path;

use pipeline::spec::Overrides;
use record::Change;
use store::Finished;

mod order;

const PIPELINE: &str = "
version: 1
name: letters
vars: { first: a, last: z }
stages:
  one:
    run: \"echo ${vars.first} > ${outputs.text}\"
    inputs: { source: source.txt }
    outputs: { text: one.txt }
  two:
    run: \"rev ${inputs.text} > ${outputs.text}\"
    inputs: { text: one.text }
    outputs: { text: two.txt }
  three:
    run: \"cat ${inputs.text} > ${outputs.text}; echo ${vars.last}\"
    inputs: { text: two.text }
    outputs: { text: three.txt }
";

struct Bench {
    root: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("pipeline.yaml"), PIPELINE).unwrap();
        fs::write(root.path().join("source.txt"), "source").unwrap();
        Self { root }
    }

    fn project(&self, set: &[(&str, &str)]) -> Project {
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let overrides = Overrides { set, profile: None };
        Project::load(&self.root.path().join("pipeline.yaml"), None, &overrides, Some(1), false)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Does what a run does; gives each stage's word. `three` is not reached where it is left out.
    fn run(&self, project: &Project, stages: &[&str], content: &dyn Fn(&str) -> String) -> Vec<&'static str> {
        let mut digests = BTreeMap::new();
        let mut words = Vec::new();
        for stage in stages {
            let stage = &project.pipeline.stages[&name(stage)];
            let inputs = stage.inputs.iter().map(|(input, from)| {
                let digest = match from {
                    Input::Path(path) => project.store.digest_path(path).unwrap(),
                    Input::Output { stage, .. } => digests[stage],
                };
                (input.clone(), digest)
            });
            let record = match decide(project, stage, &inputs.collect(), false).unwrap() {
                Decision::Fresh(record) => {
                    words.push("fresh");
                    (*record).clone()
                }
                Decision::Restorable { record, .. } => {
                    words.push("restored");
                    project.store.restore(&stage.name, &record).unwrap();
                    (*record).clone()
                }
                Decision::Run { miss, .. } => {
                    words.push("ran");
                    let file = stage.outputs["text"].clone();
                    let folder = project.store.work_dir().unwrap();
                    let path = folder.join(&file);
                    fs::write(&path, content(stage.name.as_str())).unwrap();
                    let log = project.store.log_path(&stage.name).unwrap();
                    fs::write(&log, "").unwrap();
                    let machine = project.machine.clone();
                    let finished = Finished { machine, ..finished(&file, &path, &folder, &log) };
                    project.store.commit(miss, finished).unwrap()
                }
            };
            digests.insert(stage.name.clone(), record.outputs["text"].digest);
        }
        words
    }

    fn expect(&self, project: &Project, forced: &[&str]) -> Vec<Expectation> {
        let all = project.pipeline.ids().collect();
        let forced = forced.iter().filter_map(|stage| project.pipeline.id(&name(stage))).collect();
        let planned = plan(project, &all, &forced).unwrap();
        assert_eq!(
            planned.iter().map(|planned| planned.stage.as_str()).collect::<Vec<_>>(),
            ["one", "two", "three"]
        );
        planned.into_iter().map(|planned| planned.expectation).collect()
    }
}

fn finished(file: &str, path: &Path, folder: &Path, log: &Path) -> Finished {
    Finished {
        outputs: BTreeMap::from([("text".to_owned(), (file.to_owned(), path.to_owned()))]),
        metrics: BTreeMap::new(),
        figures: vec![],
        folder: folder.into(),
        log: log.into(),
        started_ms: 0,
        duration_ms: 1_500,
        machine: record::Machine::default(),
        run: "r".into(),
        provisional: None,
        pace: None,
    }
}

fn name(text: &str) -> StageName {
    StageName::try_from(text.to_owned()).unwrap()
}

const ALL: &[&str] = &["one", "two", "three"];

fn same(stage: &str) -> String {
    format!("content of {stage}")
}

fn never_ran() -> Expectation {
    Expectation::Run { changes: vec![], reason: Some("never ran".into()) }
}

fn change(name: &str, old: &str, new: &str) -> Expectation {
    let change = Change { name: name.into(), old: Some(old.into()), new: Some(new.into()) };
    Expectation::Run { changes: vec![change], reason: None }
}

#[test]
fn at_first_everything_runs_and_then_nothing() {
    let bench = Bench::new();
    let project = bench.project(&[]);
    assert_eq!(bench.expect(&project, &[]), [never_ran(), never_ran(), never_ran()]);
    assert_eq!(bench.run(&project, ALL, &same), ["ran", "ran", "ran"]);
    assert_eq!(bench.run(&project, ALL, &same), ["fresh", "fresh", "fresh"]);
    assert_eq!(bench.expect(&project, &[]), [Expectation::Fresh, Expectation::Fresh, Expectation::Fresh]);
    let two = BTreeSet::from([project.pipeline.id(&name("two")).unwrap()]);
    assert_eq!(plan(&project, &two, &BTreeSet::new()).unwrap()[0].usual_ms, None, "it stays as it is");
    assert_eq!(plan(&project, &two, &two).unwrap()[0].usual_ms, Some(1_500));
}

#[test]
fn an_edit_is_named_and_what_depends_on_it_may_stay() {
    let bench = Bench::new();
    bench.run(&bench.project(&[]), ALL, &same);
    let edited = bench.project(&[("first", "b")]);
    let run = "echo a > ${outputs.text}";
    let after = |stage: &str| Expectation::Maybe { after: vec![name(stage)] };
    assert_eq!(
        bench.expect(&edited, &[]),
        [change("run", run, "echo b > ${outputs.text}"), after("one"), after("two")]
    );
    assert_eq!(bench.run(&edited, ALL, &same), ["ran", "fresh", "fresh"], "the same bytes cut off early");
}

#[test]
fn a_stage_that_was_edited_itself_runs_whatever_its_inputs_become() {
    let bench = Bench::new();
    bench.run(&bench.project(&[]), ALL, &same);
    let edited = bench.project(&[("first", "b"), ("last", "y")]);
    let expected = bench.expect(&edited, &[]);
    assert!(matches!(&expected[1], Expectation::Maybe { .. }));
    assert!(matches!(&expected[2], Expectation::Run { changes, .. } if changes[0].name == "run"));
}

#[test]
fn switching_back_restores_without_running() {
    let bench = Bench::new();
    bench.run(&bench.project(&[]), ALL, &same);
    let second = bench.project(&[("first", "b")]);
    let other = |stage: &str| format!("other content of {stage}");
    assert_eq!(bench.run(&second, ALL, &other), ["ran", "ran", "ran"]);
    let first = bench.project(&[]);
    let expected = bench.expect(&first, &[]);
    for (stage, changed) in expected.iter().zip(["run", "inputs.text", "inputs.text"]) {
        assert!(
            matches!(stage, Expectation::Restorable { changes } if changes[0].name == changed),
            "{stage:?}"
        );
    }
    assert_eq!(bench.run(&first, ALL, &other), ["restored", "restored", "restored"]);
    assert_eq!(fs::read_to_string(bench.root.path().join("artifacts/two/two.txt")).unwrap(), same("two"));
}

#[test]
fn an_edited_input_is_a_change_of_its_digest() {
    let bench = Bench::new();
    let project = bench.project(&[]);
    bench.run(&project, ALL, &same);
    fs::write(bench.root.path().join("source.txt"), "edited").unwrap();
    let digest = |text: &str| Digest::of_bytes(text.as_bytes()).to_string();
    assert_eq!(bench.expect(&project, &[])[0], change("inputs.source", &digest("source"), &digest("edited")));
}

#[test]
fn a_forced_stage_runs_and_a_new_one_waits_for_it() {
    let bench = Bench::new();
    let project = bench.project(&[]);
    bench.run(&project, &["one", "two"], &same);
    let expected = bench.expect(&project, &["two"]);
    assert_eq!(expected[0], Expectation::Fresh);
    assert_eq!(expected[1], Expectation::Run { changes: vec![], reason: Some("asked to".into()) });
    assert_eq!(expected[2], never_ran());
}

#[test]
fn an_outcome_that_is_gone_is_told() {
    let bench = Bench::new();
    let project = bench.project(&[]);
    bench.run(&project, ALL, &same);
    fs::remove_dir_all(bench.root.path().join("cache/v1/objects")).unwrap();
    assert_eq!(bench.expect(&project, &[])[0], Expectation::Fresh, "the artifacts still have it");
    fs::remove_dir_all(bench.root.path().join("artifacts")).unwrap();
    let expected = bench.expect(&project, &[]);
    assert!(
        matches!(&expected[0], Expectation::Run { changes, reason: Some(reason) }
            if changes.is_empty() && reason.contains("is gone or cut short")),
        "{expected:?}"
    );
}

#[test]
fn an_input_that_is_gone_is_an_error_with_its_name() {
    let bench = Bench::new();
    let project = bench.project(&[]);
    fs::remove_file(bench.root.path().join("source.txt")).unwrap();
    let error =
        plan(&project, &BTreeSet::from([project.pipeline.id(&name("three")).unwrap()]), &BTreeSet::new())
            .unwrap_err();
    assert!(error.to_string().starts_with("stage `one`: `inputs.source`: cannot read"), "{error}");
}

#[test]
fn only_what_was_selected_is_told() {
    let bench = Bench::new();
    let project = bench.project(&[]);
    bench.run(&project, ALL, &same);
    let planned =
        plan(&project, &BTreeSet::from([project.pipeline.id(&name("two")).unwrap()]), &BTreeSet::new())
            .unwrap();
    assert_eq!(planned.len(), 1);
    assert_eq!(planned[0].expectation, Expectation::Fresh);
}
