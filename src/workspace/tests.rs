//! A run as a library call, of commands: what it says, and what stays of it.

use super::*;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pipeline::spec::Overrides;

use crate::null_run::{self, Recalled};

const PIPELINE: &str = "
version: 1
name: two
stages:
  one: { run: \"echo 1 > ${outputs.text}\", outputs: { text: one.txt } }
  two: { run: \"cat ${inputs.text} > ${outputs.text}\", inputs: { text: one.text }, outputs: { text: two.txt } }
";

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Event>>>);

impl Sink for Heard {
    fn event(&mut self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Heard {
    /// What it heard of the run itself, and how often.
    fn of_run(&self) -> (usize, usize, bool) {
        let events = self.0.lock().unwrap();
        let count = |is: &dyn Fn(&Event) -> bool| events.iter().filter(|event| is(event)).count();
        (
            count(&|event| matches!(event, Event::RunStarted { .. })),
            count(&|event| matches!(event, Event::RunFinished { .. })),
            matches!(events.last(), Some(Event::RunFinished { .. })),
        )
    }
}

fn open(root: &Path, force: bool) -> Workspace {
    let project =
        Project::load(&root.join("pipeline.yaml"), None, &Overrides::default(), Some(1), false).unwrap();
    Workspace::open(project, BTreeSet::new(), force).unwrap()
}

fn run(workspace: Workspace, ask: Ask) -> (Concluded, Heard) {
    let heard = Heard::default();
    let planned = match workspace.plan(ask, Box::new(heard.clone())) {
        Ok(planned) => planned,
        Err(NotPlanned::Outdated) => panic!("outdated"),
        Err(NotPlanned::Failed(error)) => panic!("{error}"),
        Err(NotPlanned::Refused(problems)) => panic!("{}", problems.render(false)),
    };
    (planned.execute().unwrap().conclude(), heard)
}

fn outcomes(concluded: &Concluded) -> Vec<&Outcome> {
    concluded.record.stages.iter().map(|stage| &stage.outcome).collect()
}

#[test]
fn each_run_begins_and_ends_once_and_what_stays_of_it_is_asked_for() {
    // Temporary files may lie in memory, of which nothing is remembered.
    let built = std::env::current_exe().unwrap();
    let folder = tempfile::tempdir_in(built.parent().unwrap()).unwrap();
    let root = folder.path();
    fs::write(root.join("pipeline.yaml"), PIPELINE).unwrap();
    let (concluded, heard) = run(open(root, false), Ask::in_passing());
    assert_eq!((outcomes(&concluded), heard.of_run()), (vec![&Outcome::Ran; 2], (1, 1, true)));
    assert_eq!(concluded.report, None);
    assert!(!root.join("artifacts/report.html").exists() && !root.join("cache/v1/live").exists());
    assert_eq!(concluded.project.store.runs().unwrap().0.len(), 0);

    let question = Question {
        file: root.join("pipeline.yaml"),
        cache: None,
        set: vec![],
        profile: None,
        stages: vec![],
        threads: Some(1),
        certain: false,
    };
    let lasting = || Ask {
        remains: Remains::All { cache_limit: u64::MAX, question: Some(question.clone()) },
        ..Ask::in_passing()
    };
    let (concluded, heard) = run(open(root, false), lasting());
    assert_eq!((outcomes(&concluded), heard.of_run()), (vec![&Outcome::Fresh; 2], (1, 1, true)));
    let report = concluded.report.clone().unwrap();
    assert!(report.exists());
    assert_eq!(concluded.project.store.runs().unwrap().0.len(), 1);
    // Once all files are old enough to be known again.
    let until = Instant::now() + Duration::from_secs(60);
    let answer = loop {
        if let Some(Recalled::Answer(answer)) = null_run::recall(&question) {
            break answer;
        }
        assert!(Instant::now() < until, "nothing is remembered of a run in which nothing was to do");
        std::thread::sleep(Duration::from_millis(20));
        let _ = run(open(root, false), lasting());
    };
    assert_eq!((answer.fresh, answer.report), (2, report));

    let workspace = open(root, true);
    assert_eq!(workspace.forced(), workspace.selected());
    let (concluded, _) = run(workspace, lasting());
    assert_eq!(outcomes(&concluded), vec![&Outcome::Ran; 2]);
}
