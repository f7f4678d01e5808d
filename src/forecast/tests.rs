//! Forecasts for a stage with a made-up past.

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::plan::{Decision, decide, plan};
use crate::record::{Machine, RunRecord, StageRun};
use crate::spec::Overrides;
use crate::store::Finished;

#[test]
fn the_middle_counts() {
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[7]), Some(7));
    assert_eq!(median(&[30, 1, 2]), Some(2));
    assert_eq!(median(&[4, 1, 100, 2]), Some(3));
}

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The project with this command in stage `one`.
    fn project(&self, run: &str) -> Project {
        let file = self.0.path().join("pipeline.yaml");
        let text =
            format!("version: 1\nname: x\nstages:\n  one: {{ run: {run}, outputs: {{ o: o.txt }} }}\n");
        fs::write(&file, text).unwrap();
        Project::load(&file, None, &Overrides::default(), Some(1), false)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Keeps an execution of `one` and the run it happened in.
    fn execute(&self, run: &str, duration_ms: u64, machine: &Machine) {
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
        let id = format!("{:05}", project.store.runs().unwrap().len());
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
            threads: 1,
            stages: vec![stage],
            gates: vec![],
            certain: false,
            definition: None,
        };
        project.store.save_run(&run).unwrap();
    }

    fn usual(&self, run: &str) -> Option<u64> {
        let project = self.project(run);
        let all: BTreeSet<StageId> = project.pipeline.ids().collect();
        plan(&project, &all, &BTreeSet::new()).unwrap()[0].usual_ms
    }
}

#[test]
fn executions_on_this_cpu_count_and_the_last_five_of_them() {
    let bench = Bench::new();
    assert_eq!(bench.usual("'true'"), None);
    let here = bench.project("'true'").machine;
    let elsewhere = Machine { cpu: "another".into(), ..Machine::default() };
    bench.execute("echo 0", 900_000, &elsewhere);
    assert_eq!(bench.usual("'true'"), Some(900_000), "the last one, where there is no other");
    for (index, duration) in [10, 20, 60, 30, 50, 40, 99].into_iter().enumerate() {
        bench.execute(&format!("echo {index}"), duration, &here);
    }
    assert_eq!(bench.usual("'true'"), Some(50), "of 60, 30, 50, 40, 99");
}

#[test]
fn what_a_stage_did_before_says_nothing_of_another_op() {
    let bench = Bench::new();
    let here = bench.project("'true'").machine;
    bench.execute("echo 1", 70, &here);
    assert_eq!(bench.usual("echo 2"), Some(70));
    assert_eq!(bench.usual("[echo, 2]"), None, "a list is another kind of command");
}
