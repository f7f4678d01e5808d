//! What of the last run still stands after an edit of what some of its stages read or made: the pipeline as it was read then, and
//! the records of all other stages. Decides nothing of stages that an edit may have reached.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::graph::StageId;
use pipeline::spec::{Action, Input, Pipeline, Stage};
use record::{ActionRecord, RunRecord};
use store::{Lock, NullRun, Seen, Store, sights_by_stage};
use tracing::debug_span;

use super::Plugins;
use crate::misplaced::misplaced;
use crate::plugin::Registry;
use crate::project::Project;

/// What of the last run still stands.
pub struct Standing {
    store: Store,
    kept: NullRun,
    plugins: Plugins,
    latest: Option<RunRecord>,
    /// Digest of the pipeline as lines.
    pub(super) pipeline: Digest,
    /// Positions of the stages that do not stand.
    changed: BTreeSet<u32>,
    /// Where the sights of each stage are, and whether of some the content has to be looked at.
    sights: BTreeMap<u32, (Range<usize>, bool)>,
    /// The keys of the stages that stand, once they are known.
    keys: Vec<Option<Digest>>,
}

/// The records of the stages that stand: what each of them reads from outside and made is as it was, and all that
/// its key rests on beside what it reads from other stages.
#[derive(Debug, Default)]
pub struct StandingRecords(Vec<Option<Arc<ActionRecord>>>);

impl StandingRecords {
    /// The record of a stage, if that stands.
    #[must_use]
    pub fn get(&self, id: StageId) -> Option<&Arc<ActionRecord>> {
        self.0.get(id.index())?.as_ref()
    }

    /// The record of a stage, if that stands and what it reads from other stages is still what its key was made of.
    pub(crate) fn holds(
        &self,
        id: StageId,
        stage: &Stage,
        made: impl Fn(&StageName, &str) -> Option<Digest>,
    ) -> Option<&Arc<ActionRecord>> {
        let record = self.get(id)?;
        let is_same = stage.inputs.iter().all(|(name, input)| match input {
            Input::Path(_) => true,
            Input::Output { stage, output } => {
                made(stage, output).is_some_and(|digest| is_ingredient(record, name, digest))
            }
        });
        is_same.then_some(record)
    }

    /// Takes the record of a stage out.
    pub(crate) fn take(&mut self, id: StageId) -> Option<Arc<ActionRecord>> {
        self.0.get_mut(id.index())?.take()
    }

    /// The same without those stages.
    #[must_use]
    pub fn without(mut self, stages: &BTreeSet<StageId>) -> Self {
        for id in stages {
            if let Some(record) = self.0.get_mut(id.index()) {
                *record = None;
            }
        }
        self
    }
}

/// Whether an input was this when a key was made.
fn is_ingredient(record: &ActionRecord, input: &str, digest: Digest) -> bool {
    let of = |name: &str| name.strip_prefix("inputs.") == Some(input);
    let found = record.ingredients.iter().find(|ingredient| of(&ingredient.name));
    found.is_some_and(|ingredient| ingredient.value.parse() == Ok(digest))
}

impl Standing {
    pub(super) fn new(
        store: Store,
        kept: NullRun,
        plugins: Plugins,
        latest: Option<RunRecord>,
        pipeline: Digest,
        changed: BTreeSet<u32>,
    ) -> Option<Self> {
        let sights = sights_by_stage(kept.sights())?;
        kept.release();
        Some(Self { store, kept, plugins, latest, pipeline, changed, sights, keys: vec![] })
    }

    /// The project as the last run found it, and the records that stand. `None` where the pipeline must be read after all: it
    /// was not kept, or what may be wrong with a stage would have to be shown where it is written.
    #[must_use]
    pub fn project(&mut self, threads: Option<usize>) -> Option<(Project, StandingRecords)> {
        let _load = debug_span!("standing").entered();
        let (pipeline, records) = rayon::join(
            || self.store.kept_pipeline(&self.pipeline).and_then(|lines| Pipeline::from_lines(&lines)),
            || self.store.kept_records(self.kept.records()),
        );
        let (pipeline, mut records) = (pipeline?, records?);
        if records.len() != pipeline.stages.len() {
            return None;
        }
        let graph = pipeline.graph().ok()?;
        let changed: Vec<StageId> = self
            .changed
            .iter()
            .map(|position| usize::try_from(*position).map(StageId::at))
            .collect::<Result<_, _>>()
            .ok()?;
        for id in &changed {
            *records.get_mut(id.index())? = None;
        }
        let is_command = |id: &StageId| matches!(pipeline[*id].action, Action::Command(_));
        if !graph.with_downstream(changed.iter().copied()).iter().all(is_command) {
            return None;
        }
        let registry = Registry::new(&pipeline.root, &self.plugins.named, &self.store);
        let store = self.store.clone().ignoring(&pipeline.ignore);
        if misplaced(&pipeline, &store, changed.iter().map(|id| &pipeline[*id])).is_some() {
            return None;
        }
        self.keys = records.iter().map(|record| Some(record.as_ref()?.key)).collect();
        let machine = crate::hardware::machine();
        let threads = threads.unwrap_or(machine.cores).max(1);
        let (gpus, memory) = (crate::hardware::gpus(), crate::hardware::memory());
        let project = Project { pipeline, graph, registry, store, machine, threads, gpus, memory };
        Some((project, StandingRecords(records.into_iter().map(|record| record.map(Arc::new)).collect())))
    }

    /// Whether no run has changed anything since.
    pub(crate) fn still_stands(&self, lock: &Lock) -> bool {
        self.store.still_stands(&self.kept, lock)
    }

    /// The last run on record, without its stages.
    pub(crate) fn latest(&self) -> Option<&RunRecord> {
        self.latest.as_ref()
    }

    /// What was kept.
    pub(super) fn kept(&self) -> &NullRun {
        &self.kept
    }

    /// Looks again at what a stage reads from outside and made.
    pub(crate) fn still_holds(&self, id: StageId) -> bool {
        let sights = u32::try_from(id.index()).ok().and_then(|position| self.sights.get(&position));
        let sights = sights.and_then(|sights| self.kept.sights().get(sights.0.clone()));
        sights.is_some_and(|sights| self.store.see(sights) == Seen::Same)
    }

    /// Whether a stage stands with that key.
    pub(super) fn has_key(&self, position: u32, key: &Digest) -> bool {
        let index = usize::try_from(position).ok();
        index.and_then(|index| self.keys.get(index)).is_some_and(|standing| standing.as_ref() == Some(key))
    }

    /// What was seen of a stage, where no content has to be looked at for it.
    pub(super) fn sights_of(&self, position: u32) -> Option<&[u8]> {
        let (range, _) = self.sights.get(&position).filter(|(_, is_digested)| !is_digested)?;
        self.kept.sights().get(range.clone())
    }
}
