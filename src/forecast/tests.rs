//! Forecasts for a stage with a made-up past.

use std::collections::BTreeSet;
use std::fs;

use pipeline::spec::Overrides;
use record::{Machine, Pace, RunRecord, StageRun};
use store::Finished;

use super::*;
use crate::plan::{decide, plan};
use crate::prospect::Decision;

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let plugin = folder.path().join("pipe-p");
        fs::write(&plugin, format!("#!/bin/sh\necho '{}'\n", MANIFEST.replace('\n', ""))).unwrap();
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    /// The project with this in stage `one`: a command or an op.
    fn project(&self, what: &str) -> Project {
        let file = self.0.path().join("pipeline.yaml");
        let text = format!("version: 1\nname: x\nplugins: {{ p: ./pipe-p }}\nstages:\n  one: {{ {what} }}\n");
        fs::write(&file, text).unwrap();
        Project::load(&file, None, &Overrides::default(), Some(1), false)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Keeps an execution of `one` and the run it happened in.
    fn execute(&self, run: &str, duration_ms: u64, machine: &Machine) {
        self.execute_at(run, duration_ms, None, machine, 1);
    }

    /// As [`Bench::execute`], with what of it was work, and on so many threads.
    fn execute_at(&self, run: &str, duration_ms: u64, pace: Option<Pace>, machine: &Machine, threads: usize) {
        let project = self.project(run);
        let (name, stage) = project.pipeline.stages.first().unwrap();
        let Decision::Run { miss, .. } = decide(&project, stage, &BTreeMap::new(), true).unwrap() else {
            panic!("it was forced")
        };
        let folder = project.store.work_dir().unwrap();
        let output = folder.join("o.txt");
        let log = project.store.log_path(name).unwrap();
        fs::write(&output, run).unwrap();
        fs::write(&log, "").unwrap();
        let id = format!("{:05}", project.store.run_ids().len());
        let finished = Finished {
            outputs: BTreeMap::from([("o".to_owned(), ("o.txt".to_owned(), output))]),
            metrics: BTreeMap::new(),
            figures: vec![],
            folder,
            log,
            started_ms: 0,
            duration_ms,
            machine: machine.clone(),
            run: id.clone(),
            provisional: None,
            pace,
        };
        let record = project.store.commit(miss, finished).unwrap();
        let stage = StageRun {
            stage: name.clone(),
            outcome: Outcome::Ran,
            key: Some(record.key),
            changes: vec![],
            offset_ms: 0,
            duration_ms,
            provisional: None,
        };
        let run = RunRecord {
            id,
            pipeline: "x".into(),
            version: "0".into(),
            profile: None,
            vars: BTreeMap::new(),
            started_ms: 0,
            duration_ms,
            machine: machine.clone(),
            threads,
            stages: vec![stage],
            gates: vec![],
            certain: false,
            definition: None,
            recording: None,
        };
        project.store.save_run(&run).unwrap();
    }

    fn usual(&self, what: &str) -> Option<u64> {
        self.expected(what).0
    }

    /// How long it will take, and how long it took.
    fn expected(&self, what: &str) -> (Option<u64>, Option<u64>) {
        let project = self.project(what);
        let all: BTreeSet<StageId> = project.pipeline.ids().collect();
        let planned = plan(&project, &all, &BTreeSet::new()).unwrap().remove(0);
        (planned.usual_ms, planned.last_ms)
    }
}

/// A command that takes its time.
fn run(command: &str) -> String {
    format!("run: {command}, outputs: {{ o: o.txt }}")
}

/// An op whose time is in proportion to `n`, whatever its `seed` is.
fn make(n: u32, seed: u32) -> String {
    format!("uses: p/make, with: {{ n: {n}, seed: {seed} }}")
}

const MANIFEST: &str = r#"{"protocol":1,"plugin":"p","version":"1","ops":{"make":{"description":"Makes.","version":1,
    "params":{"type":"object"},"outputs":{"o":{"description":"o","file":"o.txt"}},
    "continues":["n"],"time":{"scales_with":["with.n"],"ignores":["with.seed"]}}}}"#;

#[test]
fn executions_on_this_cpu_count_and_the_last_five_of_them() {
    let bench = Bench::new();
    assert_eq!(bench.usual(&make(1, 0)), None);
    let here = bench.project(&make(1, 0)).machine;
    let elsewhere = Machine { cpu: "another".into(), ..Machine::default() };
    bench.execute(&make(1, 0), 900_000, &elsewhere);
    assert_eq!(
        bench.expected(&make(1, 1)),
        (None, Some(900_000)),
        "another machine says nothing of this one"
    );
    bench.execute_at(&make(1, 1), 80, None, &here, 64);
    assert_eq!(bench.expected(&make(1, 2)), (None, Some(80)), "nor do more threads");
    for (seed, duration) in (10..).zip([10, 20, 60, 30, 50, 40, 99]) {
        bench.execute(&make(1, seed), duration, &here);
    }
    assert_eq!(bench.usual(&make(1, 2)), Some(50), "of 60, 30, 50, 40, 99");
}

#[test]
fn what_an_op_takes_is_scaled_by_what_it_says_its_time_depends_on() {
    let bench = Bench::new();
    let here = bench.project(&make(6, 0)).machine;
    bench.execute(&make(6, 0), 120_000, &here);
    assert_eq!(bench.usual(&make(75, 1)), Some(1_500_000), "12.5 times as long");
    assert_eq!(bench.usual(&make(1, 1)), Some(20_000));
    bench.execute(&make(75, 0), 1_800_000, &here);
    assert_eq!(bench.usual(&make(6, 2)), Some(132_000), "between 120 and 144 s");
    let other = format!("{}, more: 1 }}", make(6, 0).trim_end_matches(" }"));
    assert_eq!(bench.expected(&other), (None, Some(1_800_000)), "`more` may matter");
}

#[test]
fn what_a_command_takes_is_known_only_where_nothing_of_it_is_another() {
    let bench = Bench::new();
    let here = bench.project(&run("'true'")).machine;
    bench.execute(&run("echo 1"), 70, &here);
    let project = bench.project(&run("echo 1"));
    let all: BTreeSet<StageId> = project.pipeline.ids().collect();
    assert_eq!(plan(&project, &all, &all).unwrap()[0].usual_ms, Some(70), "asked to do the same again");
    assert_eq!(bench.expected(&run("echo 2")), (None, Some(70)));
    assert_eq!(bench.expected(&run("[echo, 2]")), (None, None), "a list is another kind of command");
}

#[test]
fn loading_is_not_scaled() {
    let bench = Bench::new();
    let here = bench.project(&make(6, 0)).machine;
    bench.execute_at(&make(6, 0), 10_000, Some(Pace { work_ms: 6_000, share: 1.0 }), &here, 1);
    assert_eq!(bench.usual(&make(60, 0)), Some(64_000));
    assert_eq!(bench.usual(&make(1, 0)), Some(5_000));
}

#[test]
fn what_an_earlier_execution_left_done_takes_no_time_again() {
    let bench = Bench::new();
    let here = bench.project(&make(6, 0)).machine;
    bench.execute_at(&make(10, 0), 14_000, Some(Pace { work_ms: 10_000, share: 1.0 }), &here, 1);
    let leave = |what: &str, is_of_any_n: bool, text: &str| {
        let project = bench.project(what);
        let stage = &project.pipeline.stages[0];
        let Decision::Run { miss, .. } = decide(&project, stage, &BTreeMap::new(), true).unwrap() else {
            panic!("it was forced")
        };
        let folder = match is_of_any_n {
            true => project.store.continue_dir(&miss, &["n".to_owned()]).unwrap(),
            false => project.store.resume_dir(&miss).unwrap(),
        };
        fs::write(folder.join(Partial::FILE), text).unwrap();
    };
    assert_eq!(bench.usual(&make(100, 0)), Some(104_000));
    leave(&make(100, 0), false, r#"{"done":75,"of":"with.n"}"#);
    assert_eq!(bench.usual(&make(100, 0)), Some(29_000), "interrupted after three quarters");
    assert_eq!(bench.usual(&make(100, 1)), Some(104_000), "another key");
    leave(&make(10, 0), true, r#"{"done":10,"of":"with.n"}"#);
    assert_eq!(bench.usual(&make(20, 0)), Some(14_000), "a shorter one is gone on with");
    assert_eq!(bench.usual(&make(5, 0)), Some(9_000), "a longer one is not");
    assert_eq!(bench.usual(&make(100, 0)), Some(29_000), "what went further counts");
    for nonsense in [
        "",
        "[]",
        r#"{"done":-1,"of":"with.n"}"#,
        r#"{"done":1e999,"of":"with.n"}"#,
        r#"{"done":1,"of":"x"}"#,
    ] {
        leave(&make(100, 1), false, nonsense);
        assert_eq!(bench.usual(&make(100, 1)), Some(104_000), "{nonsense}");
    }
}

#[test]
fn the_record_of_a_run_is_read_once_however_many_stages_it_executed() {
    let bench = Bench::new();
    let (command, machine) =
        ("run: 'echo 1 > ${outputs.o}', outputs: { o: o.txt }", crate::hardware::machine());
    bench.execute(command, 80, &machine);
    let project = bench.project(command);
    let last = project.store.last(&project.pipeline.stages[0].name).unwrap();
    let here = Here::new(&project);
    assert!(here.has_made(&last));
    // The record says otherwise by now.
    let mut run = project.store.run(&last.run).unwrap();
    run.threads = 7;
    project.store.save_run(&run).unwrap();
    assert!(here.has_made(&last) && !Here::new(&project).has_made(&last));
}
