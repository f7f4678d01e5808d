//! The loop that takes every selected stage from waiting to its end. One thread decides, keeps states and writes the
//! store; executions run on threads of their own and report through one channel.

mod listen;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::budget::{Budget, Grant, lacking_gpus};
use super::interrupt::{self, Request};
use super::state::{State, Step};
use super::worker;
use super::{Failure, Notice, Yield, inputs};
use crate::clock::{millis, now_ms};
use crate::error::Error;
use crate::event::Event;
use crate::key::Key;
use crate::plan::{self, Decision};
use crate::plugin::process::Stopper;
use crate::project::Project;
use crate::record::{ActionRecord, Change, Outcome, StageRun};
use crate::spec::{Stage, StageName};
use crate::store::{Finished as Commit, Miss};

/// How to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many stages at a time.
    pub jobs: usize,
    /// Execute the named stages even where their outcome is known.
    pub force: bool,
    /// After a failure go on with stages that do not depend on it.
    pub keep_going: bool,
}

/// What a run came to.
pub struct Finished {
    /// Selected stages in the order of the file.
    pub stages: Vec<StageRun>,
    /// Records of the stages that are done.
    pub records: BTreeMap<StageName, ActionRecord>,
}

enum Message {
    Notice(StageName, Notice),
    Ended(StageName, Result<Yield, Failure>),
    Signal(Request),
}

/// A stage that must be executed.
struct Queued {
    miss: Miss,
    changes: Vec<Change>,
}

/// A stage that is being executed.
struct Running {
    queued: Queued,
    log: PathBuf,
    outputs: BTreeMap<String, PathBuf>,
    started_ms: u64,
    stopper: Option<Stopper>,
}

/// Runs selected stages of a project.
pub struct Engine<'a> {
    project: &'a Project,
    options: Options,
    run: &'a str,
    forced: &'a BTreeSet<StageName>,
    emit: &'a mut dyn FnMut(Event),
    start: Instant,
    states: BTreeMap<StageName, State>,
    queued: BTreeMap<StageName, Queued>,
    running: BTreeMap<StageName, Running>,
    grants: BTreeMap<StageName, Grant>,
    runs: BTreeMap<StageName, StageRun>,
    records: BTreeMap<StageName, ActionRecord>,
    budget: Budget,
    failed: Option<StageName>,
    interrupted: Option<Instant>,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
}

impl<'a> Engine<'a> {
    /// An engine for the stages in `selected`, which holds all that they depend on. Those in `forced` are executed
    /// even where their outcome is known, if the options say so. `run` is the id of the run.
    pub fn new(
        project: &'a Project,
        selected: &BTreeSet<StageName>,
        forced: &'a BTreeSet<StageName>,
        options: Options,
        run: &'a str,
        emit: &'a mut dyn FnMut(Event),
    ) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self {
            project,
            options,
            run,
            forced,
            emit,
            start: Instant::now(),
            states: selected.iter().map(|name| (name.clone(), State::Waiting)).collect(),
            queued: BTreeMap::new(),
            running: BTreeMap::new(),
            grants: BTreeMap::new(),
            runs: BTreeMap::new(),
            records: BTreeMap::new(),
            budget: Budget::new(project.threads, options.jobs, project.gpus.clone(), project.memory),
            failed: None,
            interrupted: None,
            sender,
            receiver,
        }
    }

    /// Runs them all to their end, or until an interrupt.
    ///
    /// # Errors
    /// When the store cannot be read or written. A stage that fails is an outcome, not an error.
    pub fn run(mut self) -> Result<Finished, Error> {
        let sender = self.sender.clone();
        // A signal that comes after the loop has ended finds nobody to tell.
        let watch = interrupt::Watch::start(move |request| drop(sender.send(Message::Signal(request))))
            .map_err(|error| Error::failed(format!("cannot listen for Ctrl-C: {error}")))?;
        let ended = self.run_all();
        if ended.is_err() {
            self.signal_all(Signal::KILL);
        }
        drop(watch);
        ended?;
        let stages = self.project.pipeline.stages.keys().filter_map(|name| self.runs.remove(name)).collect();
        Ok(Finished { stages, records: self.records })
    }

    fn run_all(&mut self) -> Result<(), Error> {
        loop {
            while self.advance()? {}
            if self.running.is_empty() {
                return Ok(());
            }
            self.listen()?;
        }
    }

    /// Moves every stage that can be moved without waiting. Whether any was.
    fn advance(&mut self) -> Result<bool, Error> {
        let mut moved = false;
        for name in self.project.graph.order() {
            match self.states.get(name) {
                Some(State::Waiting) => moved |= self.look_at(name)?,
                Some(State::Queued) => moved |= self.try_start(name)?,
                _ => {}
            }
        }
        Ok(moved)
    }

    fn look_at(&mut self, name: &StageName) -> Result<bool, Error> {
        let dependencies = self.project.graph.dependencies(name);
        for dependency in &dependencies {
            if let Some(State::Ended(outcome)) = self.states.get(*dependency) {
                let outcome = match outcome {
                    Outcome::Failed { .. } => Outcome::Blocked { by: (*dependency).clone() },
                    Outcome::Blocked { by } => Outcome::Blocked { by: by.clone() },
                    Outcome::Interrupted => Outcome::Interrupted,
                    Outcome::Fresh | Outcome::Restored | Outcome::Ran => continue,
                };
                self.end(name, outcome, Instant::now())?;
                return Ok(true);
            }
        }
        if self.given_up(name)? {
            return Ok(true);
        }
        if !dependencies.iter().all(|dependency| self.states.get(*dependency).is_some_and(State::is_done)) {
            return Ok(false);
        }
        let begin = Instant::now();
        match self.decide(name, begin) {
            Ok(moved) => Ok(moved),
            Err(error) => self.fail(name, error.into(), begin),
        }
    }

    /// Ends a stage that failed before, while or after it ran.
    fn fail(&mut self, name: &StageName, failure: Failure, begin: Instant) -> Result<bool, Error> {
        let outcome = if self.interrupted.is_some() {
            Outcome::Interrupted
        } else {
            self.failed.get_or_insert_with(|| name.clone());
            Outcome::Failed { message: failure.message, hint: failure.hint }
        };
        self.end(name, outcome, begin)?;
        Ok(true)
    }

    /// Ends a stage that is not to be started any more, after an interrupt or a failure elsewhere.
    fn given_up(&mut self, name: &StageName) -> Result<bool, Error> {
        let outcome = match &self.failed {
            _ if self.interrupted.is_some() => Outcome::Interrupted,
            Some(by) if !self.options.keep_going => Outcome::Blocked { by: by.clone() },
            _ => return Ok(false),
        };
        self.end(name, outcome, Instant::now())?;
        Ok(true)
    }

    /// Looks the stage's key up and ends, restores or queues it. Whether it was moved: a stage whose key is being
    /// executed for another one waits for that outcome.
    fn decide(&mut self, name: &StageName, begin: Instant) -> Result<bool, Error> {
        let stage = self.stage(name)?;
        let inputs = inputs::digests(self.project, stage, &self.records)?;
        let force = self.options.force && self.forced.contains(name);
        let mut decision = plan::decide(self.project, stage, &inputs, force)?;
        if let Decision::Restorable { record, changes } = decision {
            match self.project.store.restore(name, &record) {
                Ok(()) => {
                    self.end_with(name, Outcome::Restored, *record, changes, begin)?;
                    return Ok(true);
                }
                Err(error) => {
                    // A damaged object is out of the way now: the same question has another answer.
                    (self.emit)(Event::Warning { message: format!("cannot restore `{name}`: {error}") });
                    decision = plan::decide(self.project, stage, &inputs, force)?;
                    if let Decision::Restorable { .. } = decision {
                        return Err(error.into());
                    }
                }
            }
        }
        match decision {
            Decision::Fresh(record) | Decision::Restorable { record, .. } => {
                self.project.store.set_last(name, &record.key)?;
                self.end_with(name, Outcome::Fresh, *record, vec![], begin)?;
            }
            Decision::Run { miss, .. } if self.is_under_way(miss.key()) => return Ok(false),
            Decision::Run { miss, changes, .. } => {
                if let Some(message) = lacking_gpus(&stage.resources, self.project.gpus.len()) {
                    return Err(Error::failed(message));
                }
                if let Some(warning) = miss.warning() {
                    (self.emit)(Event::Warning { message: format!("{warning}; the stage is executed anew") });
                }
                self.step(name, Step::Queue)?;
                self.queued.insert(name.clone(), Queued { miss, changes });
            }
        }
        Ok(true)
    }

    fn is_under_way(&self, key: &Key) -> bool {
        let running = self.running.values().map(|running| &running.queued);
        self.queued.values().chain(running).any(|queued| queued.miss.key() == key)
    }

    fn try_start(&mut self, name: &StageName) -> Result<bool, Error> {
        if self.given_up(name)? {
            self.queued.remove(name);
            return Ok(true);
        }
        let stage = self.stage(name)?;
        let Some(grant) = self.budget.take(&stage.resources) else { return Ok(false) };
        let Some(queued) = self.queued.remove(name) else {
            return Err(Error::failed(format!("stage `{name}` was queued without a decision")));
        };
        let job = match inputs::job(self.project, stage, &queued.miss, &grant) {
            Ok(job) => job,
            Err(error) => {
                self.budget.give_back(grant);
                return self.fail(name, error.into(), Instant::now());
            }
        };
        self.step(name, Step::Start)?;
        let mut run = new_run(name, self.start, Instant::now());
        run.key = Some(queued.miss.key().digest());
        run.changes.clone_from(&queued.changes);
        self.runs.insert(name.clone(), run);
        (self.emit)(Event::StageStarted { stage: name.clone(), changes: queued.changes.clone() });
        let running = Running {
            queued,
            log: job.log.clone(),
            outputs: job.outputs.clone(),
            started_ms: now_ms(),
            stopper: None,
        };
        self.running.insert(name.clone(), running);
        self.grants.insert(name.clone(), grant);
        let (sender, name) = (self.sender.clone(), name.clone());
        std::thread::spawn(move || {
            // The engine listens until every execution has ended.
            let notify = |notice| drop(sender.send(Message::Notice(name.clone(), notice)));
            let run = std::panic::AssertUnwindSafe(|| worker::run(&job, &notify));
            let result = std::panic::catch_unwind(run).unwrap_or_else(|_| {
                Err(Failure::new("`pipe` itself panicked while it ran this stage")
                    .hint("please report this as a bug"))
            });
            drop(sender.send(Message::Ended(name.clone(), result)));
        });
        Ok(true)
    }

    fn ended(&mut self, name: &StageName, result: Result<Yield, Failure>) -> Result<(), Error> {
        let Some(running) = self.running.remove(name) else { return Ok(()) };
        let stage = self.stage(name)?;
        if let Some(grant) = self.grants.remove(name) {
            self.budget.give_back(grant);
        }
        let begin = self.start + Duration::from_millis(self.runs.get(name).map_or(0, |run| run.offset_ms));
        match result.and_then(|result| self.commit(stage, running, result, begin)) {
            Ok((record, changes)) => self.end_with(name, Outcome::Ran, record, changes, begin),
            Err(failure) => self.fail(name, failure, begin).map(|_| ()),
        }
    }

    /// Takes what an execution left into the store, unless an input was edited meanwhile.
    fn commit(
        &self,
        stage: &Stage,
        running: Running,
        result: Yield,
        begin: Instant,
    ) -> Result<(ActionRecord, Vec<Change>), Failure> {
        let Running { queued: Queued { miss, changes }, log, outputs, started_ms, .. } = running;
        inputs::check_unchanged(self.project, stage, &miss)?;
        let outputs = outputs.into_iter().filter_map(|(name, path)| {
            let file = stage.outputs.get(&name)?.clone();
            Some((name, (file, path)))
        });
        let commit = Commit {
            outputs: outputs.collect(),
            metrics: result.metrics,
            figures: result.figures,
            log,
            started_ms,
            duration_ms: millis(begin.elapsed()),
            machine: self.project.machine.clone(),
            run: self.run.to_owned(),
        };
        let record = self.project.store.commit(miss, commit)?;
        Ok((record, changes))
    }

    fn end_with(
        &mut self,
        name: &StageName,
        outcome: Outcome,
        record: ActionRecord,
        changes: Vec<Change>,
        begin: Instant,
    ) -> Result<(), Error> {
        let run = self.runs.entry(name.clone()).or_insert_with(|| new_run(name, self.start, begin));
        run.key = Some(record.key);
        run.changes = changes;
        self.records.insert(name.clone(), record);
        self.end(name, outcome, begin)
    }

    fn end(&mut self, name: &StageName, outcome: Outcome, begin: Instant) -> Result<(), Error> {
        self.step(name, Step::End(outcome.clone()))?;
        let duration = begin.elapsed();
        let run = self.runs.entry(name.clone()).or_insert_with(|| new_run(name, self.start, begin));
        run.outcome = outcome.clone();
        run.duration_ms = millis(duration);
        (self.emit)(Event::StageFinished { stage: name.clone(), outcome, duration });
        Ok(())
    }

    fn step(&mut self, name: &StageName, step: Step) -> Result<(), Error> {
        let state = self.states.get_mut(name);
        let after = state.as_ref().and_then(|state| state.after(step.clone()));
        match (state, after) {
            (Some(state), Some(after)) => {
                *state = after;
                Ok(())
            }
            (state, _) => Err(Error::failed(format!(
                "stage `{name}` cannot go from {state:?} by {step:?}: please report this as a bug of `pipe`"
            ))),
        }
    }

    fn stage(&self, name: &StageName) -> Result<&'a Stage, Error> {
        let project = self.project;
        project.pipeline.stages.get(name).ok_or_else(|| Error::failed(format!("there is no stage `{name}`")))
    }
}

fn new_run(name: &StageName, start: Instant, begin: Instant) -> StageRun {
    StageRun {
        stage: name.clone(),
        outcome: Outcome::Interrupted,
        key: None,
        changes: vec![],
        offset_ms: millis(begin.saturating_duration_since(start)),
        duration_ms: 0,
    }
}
