//! The loop that takes every selected stage from waiting to its end. One thread decides and keeps states; executions
//! run and commit on threads of their own and report through one channel.

mod checks;
mod decide;
mod end;
mod listen;
mod ready;
mod records;
mod shared;
mod start;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::Scope;
use std::time::{Duration, Instant};

use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::graph::StageId;
use pipeline::spec::Stage;
use record::event::{Event, Expectation};
use record::{ActionRecord, Change, Outcome, StageRun};
use rustix::process::Signal;
use store::{KeyLock, Miss};
use tracing::Span;

use self::checks::{Answer, Checks};
use self::ready::Ready;
use self::records::run_of;
use super::budget::{Budget, Grant};
use super::interrupt::{self, Request};
use super::state::{State, Step};
use super::worker::{Job, Stopping};
use super::{Failure, Notice};
use crate::error::Error;
use crate::null_run::StandingRecords;
use crate::plugin::process::Stopper;
use crate::project::Project;
use crate::prospect::{Decision, Prospect};

/// How to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many stages at a time.
    pub jobs: usize,
    /// After a failure go on with stages that do not depend on it.
    pub keep_going: bool,
    /// Tell which files commands open without declaring them.
    pub trace: bool,
}

/// What is to be run.
pub struct Order<'a> {
    /// What is expected of each selected stage; holds all that they depend on.
    pub prospects: BTreeMap<StageId, Prospect>,
    /// Records that stand, of stages that are not forced.
    pub standing: StandingRecords,
    /// Looks again whether a stage stands.
    pub still: &'a dyn Fn(StageId) -> bool,
    /// Stages that are executed even where their outcome is known.
    pub forced: &'a BTreeSet<StageId>,
    /// Id of the run.
    pub run: &'a str,
}

/// What a run came to.
pub struct Finished {
    /// Selected stages in the order of the file.
    pub stages: Vec<StageRun>,
    /// Records of the stages that are done.
    pub records: BTreeMap<StageName, ActionRecord>,
}

enum Message {
    Notice(StageId, Notice),
    Ended(StageId, Box<Result<ActionRecord, Failure>>),
    /// Another process has ended the execution of the key that this stage has.
    KeyFree(StageId),
    /// A plugin was asked about stages again.
    Checked(Box<Answer>),
    Signal(Request),
}

/// A stage that must be executed.
struct Queued {
    miss: Miss,
    changes: Vec<Change>,
    /// Lasts until there is room for it.
    waits: Span,
}

/// A stage that is being executed.
struct Running {
    changes: Vec<Change>,
    begin: Instant,
    key: Digest,
    grant: Grant,
    stopper: Stopper,
    /// Keeps other runs that share the cache from executing the same.
    _lock: Option<KeyLock>,
}

/// A selected stage.
struct Task {
    state: State,
    /// How many of the stages that it depends on are not done yet.
    waits_for: usize,
    /// What the plan says, until that is used or known to be outdated.
    foreseen: Option<Decision>,
    record: Option<Arc<ActionRecord>>,
    /// Whether what it gives was there before the run, for whoever was asked then about those that read it.
    was_there: bool,
    run: StageRun,
}

/// Runs selected stages of a project.
struct Engine<'a> {
    project: &'a Project,
    options: Options,
    forced: &'a BTreeSet<StageId>,
    run: &'a str,
    emit: &'a mut dyn FnMut(Event),
    start: Instant,
    standing: StandingRecords,
    still: &'a dyn Fn(StageId) -> bool,
    /// Selected stages that stand, and read nothing that may become another.
    settled: BTreeSet<StageId>,
    tasks: BTreeMap<StageId, Task>,
    /// Stages all of whose inputs are known, to be looked at.
    undecided: VecDeque<StageId>,
    queued: BTreeMap<StageId, Queued>,
    ready: Ready,
    checks: Checks,
    running: BTreeMap<StageId, Running>,
    /// Keys that are queued or running, and the stages that wait for the outcome because theirs is the same.
    under_way: HashMap<Digest, Vec<StageId>>,
    /// Stages whose key another process is executing.
    elsewhere: BTreeSet<StageId>,
    budget: Budget,
    failed: Option<StageName>,
    stopping: &'a Stopping,
    interrupted: Option<Instant>,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    /// Jobs for the workers; absent once there are no more to come.
    jobs: Option<Sender<(StageId, Job<'a>)>>,
    waiting_jobs: Arc<Mutex<Receiver<(StageId, Job<'a>)>>>,
    /// Threads that execute jobs.
    workers: usize,
}

/// Runs what was ordered to its end, or until an interrupt.
///
/// # Errors
/// When the store cannot be read or written. A stage that fails is an outcome, not an error.
pub fn run(
    project: &Project,
    order: Order<'_>,
    options: Options,
    emit: &mut dyn FnMut(Event),
) -> Result<Finished, Error> {
    let stopping = Stopping::default();
    let engine = Engine::new(project, order, options, &stopping, emit);
    std::thread::scope(|scope| engine.run(scope))
}

impl<'a> Engine<'a> {
    fn new(
        project: &'a Project,
        order: Order<'a>,
        options: Options,
        stopping: &'a Stopping,
        emit: &'a mut dyn FnMut(Event),
    ) -> Self {
        let (sender, receiver) = mpsc::channel();
        let (jobs, waiting_jobs) = mpsc::channel();
        let Order { mut prospects, mut standing, still, forced, run } = order;
        let mut settled = BTreeSet::new();
        for id in project.graph.order() {
            let Some(prospect) = prospects.get(id) else { continue };
            if !prospect.rests_on(standing.get(*id)) {
                // Another key has led to the same outputs, or something else was decided on.
                drop(standing.take(*id));
            } else if prospect.planned.expectation == Expectation::Fresh
                && project.graph.dependencies(*id).all(|on| settled.contains(&on))
            {
                settled.insert(*id);
            }
        }
        prospects.retain(|id, _| !settled.contains(id));
        let ready = Ready::new(&project.graph, &prospects);
        let task = |(id, prospect): (StageId, Prospect)| {
            let task = Task {
                state: State::Waiting,
                waits_for: project.graph.dependencies(id).filter(|id| !settled.contains(id)).count(),
                foreseen: prospect.decision.filter(|_| prospect.unknown.is_empty()),
                record: None,
                was_there: !prospect.planned.expectation.may_execute(),
                run: run_of(project, id, Outcome::Interrupted),
            };
            (id, task)
        };
        let tasks: BTreeMap<StageId, Task> = prospects.into_iter().map(task).collect();
        let undecided = tasks.iter().filter(|(_, task)| task.waits_for == 0).map(|(id, _)| *id).collect();
        Self {
            project,
            options,
            forced,
            run,
            emit,
            start: Instant::now(),
            standing,
            still,
            settled,
            tasks,
            undecided,
            queued: BTreeMap::new(),
            ready,
            checks: Checks::default(),
            running: BTreeMap::new(),
            under_way: HashMap::new(),
            elsewhere: BTreeSet::new(),
            budget: Budget::new(project.threads, options.jobs, project.gpus.clone(), project.memory),
            failed: None,
            stopping,
            interrupted: None,
            sender,
            receiver,
            jobs: Some(jobs),
            waiting_jobs: Arc::new(Mutex::new(waiting_jobs)),
            workers: 0,
        }
    }

    fn run<'scope>(mut self, scope: &'scope Scope<'scope, '_>) -> Result<Finished, Error>
    where
        'a: 'scope,
    {
        let sender = self.sender.clone();
        // A signal that comes after the loop has ended finds nobody to tell.
        let watch = interrupt::Watch::start(move |request| drop(sender.send(Message::Signal(request))))
            .map_err(|error| Error::failed(format!("cannot listen for Ctrl-C: {error}")))?;
        let ended = self.run_all(scope);
        if ended.is_err() {
            self.stopping.stop();
            self.signal_all(Signal::KILL);
        }
        // The workers end.
        self.jobs = None;
        drop(watch);
        ended?;
        Ok(self.finished())
    }

    fn run_all<'scope>(&mut self, scope: &'scope Scope<'scope, '_>) -> Result<(), Error>
    where
        'a: 'scope,
    {
        for id in &self.settled {
            let stage = self.project.pipeline[*id].name.clone();
            (self.emit)(Event::StageFinished { stage, outcome: Outcome::Fresh, duration: Duration::ZERO });
        }
        loop {
            while let Some(id) = self.undecided.pop_front() {
                self.look_at(id)?;
            }
            self.ask_again();
            if !self.checks.is_asking() || self.given_up().is_some() {
                self.start_what_fits(scope)?;
            }
            if !self.undecided.is_empty() {
                continue;
            }
            let is_asking = self.checks.is_asking() && self.interrupted.is_none();
            if self.running.is_empty() && self.elsewhere.is_empty() && !is_asking {
                return Ok(());
            }
            self.listen()?;
        }
    }

    fn step(&mut self, id: StageId, step: Step) -> Result<(), Error> {
        let name = &self.project.pipeline[id].name;
        let task = self.tasks.get_mut(&id);
        let after = task.as_ref().and_then(|task| task.state.after(step.clone()));
        match (task, after) {
            (Some(task), Some(after)) => {
                task.state = after;
                Ok(())
            }
            (task, _) => Err(Error::failed(format!(
                "stage `{name}` cannot go from {:?} by {step:?}: please report this as a bug of `pipe`",
                task.map(|task| &task.state)
            ))),
        }
    }

    fn stage(&self, id: StageId) -> &'a Stage {
        let project = self.project;
        &project.pipeline[id]
    }

    fn task(&mut self, id: StageId) -> Result<&mut Task, Error> {
        let name = &self.project.pipeline[id].name;
        self.tasks.get_mut(&id).ok_or_else(|| Error::failed(format!("stage `{name}` was not selected")))
    }
}
