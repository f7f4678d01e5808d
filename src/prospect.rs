//! What is expected of a stage before a run, and what that rests on. Plain data; decides nothing.

use std::sync::Arc;

use pipeline::digest::Digest;
use record::event::PlannedStage;
use record::{ActionRecord, Change, Ingredient};
use store::Miss;

/// What is to be done for a stage whose inputs are known.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Nothing: its outputs are in place.
    Fresh(Arc<ActionRecord>),
    /// Its outputs are in the cache, to be restored.
    Restorable {
        /// Their record.
        record: Arc<ActionRecord>,
        /// What differs from the key that its artifacts came from.
        changes: Vec<Change>,
    },
    /// It must be executed.
    Run {
        /// What can be committed afterwards.
        miss: Miss,
        /// What differs from the key that its artifacts came from.
        changes: Vec<Change>,
        /// Why, where `changes` does not say it.
        reason: Option<String>,
    },
}

/// What is expected of a stage, with what that rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Prospect {
    /// What is expected.
    pub planned: PlannedStage,
    /// What is to be done if all inputs stay as they are known or assumed to be; absent where one was never made.
    pub decision: Option<Decision>,
    /// The record that the stage's artifacts came from.
    pub last: Option<Arc<ActionRecord>>,
    /// Inputs that are not known yet.
    pub unknown: Vec<String>,
}

impl Prospect {
    /// The key, where all inputs are known or can be assumed to stay as they were; else empty.
    #[must_use]
    pub fn ingredients(&self) -> &[Ingredient] {
        match &self.decision {
            Some(Decision::Run { miss, .. }) => miss.key().ingredients(),
            Some(Decision::Fresh(record) | Decision::Restorable { record, .. }) => &record.ingredients,
            None => &[],
        }
    }

    /// The record in the cache for that key.
    #[must_use]
    pub fn record(&self) -> Option<&ActionRecord> {
        match &self.decision {
            Some(Decision::Fresh(record) | Decision::Restorable { record, .. }) => Some(record),
            Some(Decision::Run { .. }) | None => None,
        }
    }

    /// Whether it is fresh by this record.
    pub(crate) fn rests_on(&self, standing: Option<&Arc<ActionRecord>>) -> bool {
        let own = match &self.decision {
            Some(Decision::Fresh(record)) => Some(record),
            _ => None,
        };
        own.zip(standing).is_some_and(|(own, standing)| Arc::ptr_eq(own, standing))
    }

    /// Digest of an output after the run, as far as it is known now, or would be if nothing changes.
    pub(crate) fn output(&self, name: &str) -> Option<Digest> {
        let record = self.record().or(self.last.as_deref())?;
        record.outputs.get(name).map(|output| output.digest)
    }

    /// Whether its outputs stay what they are known to be.
    pub(crate) fn is_known(&self) -> bool {
        !self.planned.expectation.may_execute()
    }
}
