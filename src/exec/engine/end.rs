//! How stages end, and with them those that cannot run without them.

use std::sync::Arc;
use std::time::Instant;

use pipeline::graph::StageId;
use record::event::Event;
use record::{ActionRecord, Change, Outcome};
use text::clock::millis;
use text::secret::hidden;

use super::super::state::{State, Step};
use super::super::{Failure, worker};
use super::Engine;
use crate::error::Error;

impl Engine<'_> {
    /// How a stage ends that is not to be started any more, after an interrupt or a failure elsewhere.
    pub(super) fn given_up(&self) -> Option<Outcome> {
        match &self.failed {
            _ if self.interrupted.is_some() => Some(Outcome::Interrupted),
            Some(by) if !self.options.keep_going => Some(Outcome::Blocked { by: by.clone() }),
            _ => None,
        }
    }

    /// Ends a stage that failed before it could start; its log says so, too.
    pub(super) fn fail_before_start(
        &mut self,
        id: StageId,
        failure: Failure,
        begin: Instant,
    ) -> Result<(), Error> {
        if let Ok((_, mut log)) = worker::start_log(self.project, self.stage(id)) {
            log.failure(&failure);
            // The failure at hand says more than one of writing it down.
            let _ = log.close();
        }
        self.fail(id, failure, begin)
    }

    /// Ends a stage that failed before, while or after it ran.
    pub(super) fn fail(&mut self, id: StageId, failure: Failure, begin: Instant) -> Result<(), Error> {
        let outcome = if self.interrupted.is_some() {
            Outcome::Interrupted
        } else {
            self.failed.get_or_insert_with(|| self.project.pipeline[id].name.clone());
            // What failed before it ran was not looked at by who knows its secrets.
            let hide = |text: String| hidden(&text).into_owned();
            Outcome::Failed { message: hide(failure.message), hint: failure.hint.map(hide) }
        };
        self.end(id, outcome, begin)
    }

    pub(super) fn end_with(
        &mut self,
        id: StageId,
        outcome: Outcome,
        record: Arc<ActionRecord>,
        changes: Vec<Change>,
        begin: Instant,
    ) -> Result<(), Error> {
        let task = self.task(id)?;
        task.run.key = Some(record.key);
        task.run.changes = changes;
        task.run.provisional.clone_from(&record.provisional);
        task.record = Some(record);
        self.end(id, outcome, begin)
    }

    /// Ends a stage, and with it those that cannot run without it.
    pub(super) fn end(&mut self, id: StageId, outcome: Outcome, begin: Instant) -> Result<(), Error> {
        let mut ending = vec![(id, outcome, begin)];
        while let Some((id, outcome, begin)) = ending.pop() {
            // Several of the stages that it waits for may have failed.
            if matches!(self.task(id)?.state, State::Ended(_)) {
                continue;
            }
            self.step(id, Step::End(outcome.clone()))?;
            let duration = begin.elapsed();
            let offset_ms = millis(begin.saturating_duration_since(self.start));
            let run = &mut self.task(id)?.run;
            (run.offset_ms, run.duration_ms) = (offset_ms, millis(duration));
            run.outcome.clone_from(&outcome);
            let stage = run.stage.clone();
            self.tell_dependents(id, &outcome, &mut ending);
            (self.emit)(Event::StageFinished { stage, outcome, duration });
        }
        Ok(())
    }

    /// Those that wait for a stage that is done wait for one less; those that wait for one that is not are `ending`.
    fn tell_dependents(
        &mut self,
        id: StageId,
        outcome: &Outcome,
        ending: &mut Vec<(StageId, Outcome, Instant)>,
    ) {
        let project = self.project;
        let follows = match outcome {
            Outcome::Failed { .. } => Outcome::Blocked { by: project.pipeline[id].name.clone() },
            other => other.clone(),
        };
        let was_there = self.tasks.get(&id).is_some_and(|task| task.was_there);
        for dependent in project.graph.dependents(id) {
            let Some(task) = self.tasks.get_mut(&dependent) else { continue };
            // What was found to be wrong is at its end before those that it reads from are.
            if matches!(task.state, State::Ended(_)) {
                continue;
            }
            if !outcome.is_done() {
                ending.push((dependent, follows.clone(), Instant::now()));
                continue;
            }
            if *outcome == Outcome::Ran {
                task.foreseen = None;
            }
            if !was_there || *outcome == Outcome::Ran {
                self.checks.is_due(dependent);
            }
            task.waits_for = task.waits_for.saturating_sub(1);
            if task.waits_for == 0 {
                self.undecided.push_back(dependent);
            }
        }
    }
}
