//! What becomes of a stage whose inputs are known: it ends, is restored, is queued, or waits for another with the same key.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use pipeline::digest::Digest;
use pipeline::graph::StageId;
use pipeline::spec::Stage;
use record::event::Event;
use record::{ActionRecord, Outcome};
use store::Aside;
use text::format;
use tracing::{debug_span, info_span};

use super::super::budget::lacking_gpus;
use super::super::inputs;
use super::super::state::Step;
use super::{Engine, Queued};
use crate::error::Error;
use crate::plan;
use crate::prospect::Decision;

impl Engine<'_> {
    /// Looks at a stage whose dependencies are done.
    pub(super) fn look_at(&mut self, id: StageId) -> Result<(), Error> {
        let begin = Instant::now();
        if let Some(outcome) = self.given_up() {
            return self.end(id, outcome, begin);
        }
        match self.decide(id, begin) {
            Ok(()) => Ok(()),
            Err(error) => self.fail_before_start(id, error.into(), begin),
        }
    }

    /// Makes lost objects of a stage that is fresh anew. Where that cannot be done it stays as fresh as it is.
    pub(super) fn refill(&mut self, stage: &Stage, record: &ActionRecord) {
        let message = match self.project.store.refill(&stage.name, record) {
            Ok(outputs) if outputs.is_empty() => return,
            Ok(outputs) => format!(
                "cached objects of `{}` were missing or truncated ({}); recreated from the artifacts",
                stage.name,
                format::list(&outputs)
            ),
            Err(error) => format!(
                "cached objects of `{}` are missing and cannot be recreated from the artifacts: {error}",
                stage.name
            ),
        };
        (self.emit)(Event::Warning { message });
    }

    /// Says what was in the way of artifacts, and where it is now.
    pub(super) fn tell_asides(&mut self) {
        let root = &self.project.pipeline.root;
        for Aside { from, to, files } in self.project.store.take_asides() {
            let shown = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
            let (from, to) = (shown(&from), shown(&to));
            let message = match files {
                None => format!("`{from}` was edited, or not written by a stage; moved to `{to}`"),
                Some(count) => format!(
                    "{} in `{from}` {} edited, or not written by the stage; moved to `{to}`",
                    format::count(count, "file"),
                    if count == 1 { "was" } else { "were" }
                ),
            };
            (self.emit)(Event::Warning { message });
        }
    }

    /// Looks the stage's key up and ends, restores or queues it. A stage whose key is being executed for another one
    /// waits for that outcome.
    pub(super) fn decide(&mut self, id: StageId, begin: Instant) -> Result<(), Error> {
        let stage = self.stage(id);
        // What it reads from outside and made may have been edited since the run began.
        if let Some(record) = self.standing.holds(id, stage, |from, output| self.made(from, output))
            && (self.still)(id)
        {
            let record = Arc::clone(record);
            return self.end_with(id, Outcome::Fresh, record, vec![], begin);
        }
        let mut decision = match self.task(id)?.foreseen.take() {
            Some(decision) => decision,
            None => self.decide_anew(id)?,
        };
        if let Decision::Restorable { record, changes } = decision {
            let restored = info_span!("restore", stage = %stage.name)
                .in_scope(|| self.project.store.restore(&stage.name, &record));
            match restored {
                Ok(()) => {
                    self.tell_asides();
                    return self.end_with(id, Outcome::Restored, record, changes, begin);
                }
                Err(error) => {
                    // A damaged object is out of the way now: the same question has another answer.
                    (self.emit)(Event::Warning {
                        message: format!("cannot restore `{}`: {error}", stage.name),
                    });
                    decision = self.decide_anew(id)?;
                    if let Decision::Restorable { .. } = decision {
                        return Err(error.into());
                    }
                }
            }
        }
        match decision {
            Decision::Fresh(record) | Decision::Restorable { record, .. } => {
                self.project.store.set_last(&stage.name, &record.key)?;
                self.project.store.forget_log(&stage.name)?;
                self.refill(stage, &record);
                self.end_with(id, Outcome::Fresh, record, vec![], begin)
            }
            Decision::Run { miss, changes, .. } => {
                if let Some(message) = lacking_gpus(&stage.resources, self.project.gpus.len()) {
                    return Err(Error::failed(message));
                }
                let key = miss.key().digest();
                if let Some(waiting) = self.under_way.get_mut(&key) {
                    waiting.push(id);
                    return Ok(());
                }
                if let Some(warning) = miss.warning() {
                    (self.emit)(Event::Warning { message: format!("{warning}; running the stage again") });
                }
                self.step(id, Step::Queue)?;
                let waits = debug_span!("wait", stage = %stage.name);
                self.under_way.insert(key, vec![]);
                self.queued.insert(id, Queued { miss, changes, waits });
                self.ready.insert(id);
                Ok(())
            }
        }
    }

    pub(super) fn decide_anew(&self, id: StageId) -> Result<Decision, Error> {
        let stage = self.stage(id);
        let inputs = inputs::digests(self.project, stage, |from, output| self.made(from, output))?;
        Ok(plan::decide(self.project, stage, &inputs, self.forced.contains(&id))?)
    }

    /// A key is no longer under way: stages that waited for its outcome are looked at again.
    pub(super) fn release(&mut self, key: Digest) {
        self.undecided.extend(self.under_way.remove(&key).into_iter().flatten());
    }
}
