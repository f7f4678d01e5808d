//! What stages gave: of those that the run took to their end, and of those that stand and it did not look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::graph::StageId;
use record::{ActionRecord, Outcome, StageRun};

use super::{Engine, Finished};
use crate::project::Project;

/// How a stage of a run came out, of which nothing else is known.
pub(super) fn run_of(project: &Project, id: StageId, outcome: Outcome) -> StageRun {
    StageRun {
        stage: project.pipeline[id].name.clone(),
        outcome,
        key: None,
        changes: vec![],
        offset_ms: 0,
        duration_ms: 0,
        provisional: None,
    }
}

impl Engine<'_> {
    /// The record of a stage that is done.
    pub(super) fn record(&self, id: StageId) -> Option<&ActionRecord> {
        match self.tasks.get(&id) {
            Some(task) => task.record.as_deref(),
            None => self.standing.get(id).map(|record| &**record),
        }
    }

    /// The digest of an output of a stage that is done.
    pub(super) fn made(&self, from: &StageName, output: &str) -> Option<Digest> {
        self.record(self.project.pipeline.id(from)?)?.outputs.get(output).map(|output| output.digest)
    }

    /// What it came to, in the order of the file.
    pub(super) fn finished(mut self) -> Finished {
        let mut ended: BTreeMap<StageId, (StageRun, Option<Arc<ActionRecord>>)> = BTreeMap::new();
        for id in &self.settled {
            let Some(record) = self.standing.take(*id) else { continue };
            let run = StageRun { key: Some(record.key), ..run_of(self.project, *id, Outcome::Fresh) };
            ended.insert(*id, (run, Some(record)));
        }
        // Or their records would be shared, and copied.
        drop(self.standing);
        ended.extend(self.tasks.into_iter().map(|(id, task)| (id, (task.run, task.record))));
        let mut finished = Finished { stages: Vec::with_capacity(ended.len()), records: BTreeMap::new() };
        for (run, record) in ended.into_values() {
            if let Some(record) = record {
                finished.records.insert(run.stage.clone(), Arc::unwrap_or_clone(record));
            }
            finished.stages.push(run);
        }
        finished
    }
}
