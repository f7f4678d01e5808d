//! Starting stages for which there is room, and the threads that execute them.

use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::Instant;

use pipeline::graph::StageId;
use record::event::Event;
use text::clock::millis;

use super::super::Failure;
use super::super::budget::Grant;
use super::super::state::Step;
use super::super::worker::{self, Job};
use super::ready::Room;
use super::shared::Claim;
use super::{Engine, Message, Queued, Running};
use crate::error::Error;
use crate::plugin::process::Stopper;

impl<'a> Engine<'a> {
    /// Starts stages, the most urgent ones first, until there is no more room.
    pub(super) fn start_what_fits<'scope>(&mut self, scope: &'scope Scope<'scope, '_>) -> Result<(), Error>
    where
        'a: 'scope,
    {
        if let Some(outcome) = self.given_up() {
            for id in self.ready.take_all() {
                if let Some(queued) = self.queued.remove(&id) {
                    self.release(queued.miss.key().digest());
                }
                self.end(id, outcome.clone(), Instant::now())?;
            }
            return Ok(());
        }
        let (project, budget) = (self.project, &mut self.budget);
        let room = |id: StageId| {
            if budget.is_full() {
                return Room::Full;
            }
            budget.take(&project.pipeline[id].resources).map_or(Room::TooLarge, Room::Fits)
        };
        for (id, grant) in self.ready.choose(room) {
            self.try_start(id, grant, scope)?;
        }
        Ok(())
    }

    /// Starts a stage for which there is room.
    fn try_start<'scope>(
        &mut self,
        id: StageId,
        grant: Grant,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<(), Error>
    where
        'a: 'scope,
    {
        let stage = self.stage(id);
        let Some(Queued { miss, changes, waits }) = self.queued.remove(&id) else {
            return Err(Error::failed(format!("stage `{}` was queued without a decision", stage.name)));
        };
        let key = miss.key().digest();
        let lock = match self.claim(&miss) {
            Ok(Claim::Ours(lock)) => lock,
            Ok(claim) => {
                self.budget.give_back(grant);
                self.step(id, Step::Reconsider)?;
                self.release(key);
                match claim {
                    Claim::Theirs(holder) => self.wait_elsewhere(id, &miss, &holder, scope),
                    _ => self.undecided.push_back(id),
                }
                return Ok(());
            }
            Err(error) => {
                self.budget.give_back(grant);
                self.release(key);
                return self.fail_before_start(id, error.into(), Instant::now());
            }
        };
        drop(waits);
        self.step(id, Step::Start)?;
        let begin = Instant::now();
        let offset_ms = millis(begin.saturating_duration_since(self.start));
        let task = self.task(id)?;
        task.run.offset_ms = offset_ms;
        task.run.key = Some(key);
        task.run.changes.clone_from(&changes);
        (self.emit)(Event::StageStarted { stage: stage.name.clone(), changes: changes.clone() });
        let stopper = Stopper::default();
        let job = Job {
            project: self.project,
            stage,
            miss,
            threads: grant.threads,
            gpus: grant.gpus.clone(),
            run: self.run,
            trace: self.options.trace,
            stopping: self.stopping,
            stopper: stopper.clone(),
        };
        self.running.insert(id, Running { changes, begin, key, grant, stopper, _lock: lock });
        if self.running.len() > self.workers {
            self.workers += 1;
            let (jobs, sender) = (Arc::clone(&self.waiting_jobs), self.sender.clone());
            std::thread::Builder::new()
                .name("pipe stage".into())
                .spawn_scoped(scope, move || work(&jobs, &sender))
                .map_err(|error| Error::failed(format!("cannot start a thread: {error}")))?;
        }
        if let Some(jobs) = &self.jobs {
            // Workers listen for as long as this sender is there.
            drop(jobs.send((id, job)));
        }
        Ok(())
    }
}

/// Executes one job after the other, until there are no more to come.
fn work(jobs: &Mutex<Receiver<(StageId, Job<'_>)>>, sender: &Sender<Message>) {
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    while let Some((id, job)) = next() {
        // The engine listens until every execution has ended.
        let notify = |notice| drop(sender.send(Message::Notice(id, notice)));
        let run = std::panic::AssertUnwindSafe(|| worker::run(job, &notify));
        let result = std::panic::catch_unwind(run).unwrap_or_else(|_| {
            Err(Failure::new("`pipe` itself panicked while it ran this stage")
                .hint("please report this as a bug"))
        });
        drop(sender.send(Message::Ended(id, Box::new(result))));
    }
}
