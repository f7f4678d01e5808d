//! What would happen to a stage, and why: fresh, restorable, to be executed, or not known yet. Reads the store and
//! the inputs; changes neither. A run decides with it, `status`, `why` and `--dry-run` show what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::graph::StageId;
use pipeline::spec::{Action, Input, Stage};
use record::ActionRecord;
use record::event::{Expectation, PlannedStage};
use record::key::{Key, KeyError, Parts, key};
use store::{Lookup, StoreError};
use tracing::debug_span;

use crate::error::Error;
use crate::forecast;
use crate::null_run::StandingRecords;
use crate::plugin::PluginError;
use crate::project::Project;
use crate::prospect::{Decision, Prospect};

/// Why it cannot be said what would happen to a stage.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A file or folder that the stage reads is missing or cannot be read.
    #[error("stage `{stage}`: `{what}`: {source}")]
    Input {
        /// The stage.
        stage: StageName,
        /// `inputs.NAME` or `with.NAME`.
        what: String,
        /// Why.
        source: StoreError,
    },
    /// A plugin that the stage uses.
    #[error("stage `{stage}`: {source}")]
    Plugin {
        /// The stage.
        stage: StageName,
        /// What is wrong with it.
        source: PluginError,
    },
    /// The cache.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl PlanError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Input { source, .. } | Self::Store(source) => source.hint(),
            Self::Plugin { source, .. } => source.hint(),
            Self::Key(_) => None,
        }
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        let hint = error.hint();
        Self::failed(error).maybe_hint(hint)
    }
}

/// The key of a stage, with the sources among its params as they are now.
///
/// # Errors
/// When a source cannot be read or a plugin cannot be used.
pub fn key_of(project: &Project, stage: &Stage, inputs: &BTreeMap<String, Digest>) -> Result<Key, PlanError> {
    let mut sources = BTreeMap::new();
    let mut manifests = BTreeMap::new();
    if let Action::Op(action) = &stage.action {
        for (name, path) in &action.sources {
            let digest = match action.ignore(name, &project.pipeline) {
                Some(ignore) => project.store.digest_input(path, ignore),
                None => project.store.digest_path(path),
            };
            let digest = digest.map_err(|source| PlanError::Input {
                stage: stage.name.clone(),
                what: format!("with.{name}"),
                source,
            })?;
            sources.insert(name.clone(), digest);
        }
        let manifest = |plugin: &str| {
            let found = project.registry.manifest(plugin);
            found.map_err(|source| PlanError::Plugin { stage: stage.name.clone(), source })
        };
        let own = manifest(&action.plugin)?;
        for companion in own.ops.get(&action.op).into_iter().flat_map(|op| &op.companions) {
            manifests.insert(companion.clone(), manifest(companion)?);
        }
        manifests.insert(action.plugin.clone(), own);
    }
    let parts = Parts {
        inputs,
        sources: &sources,
        manifests: &manifests,
        machine: &project.machine,
        threads: project.threads,
        salt: project.store.salt(),
    };
    Ok(key(stage, &parts)?)
}

/// Decides for a stage whose inputs are known. With `force` it is executed whatever the cache holds.
///
/// # Errors
/// As [`key_of`].
pub fn decide(
    project: &Project,
    stage: &Stage,
    inputs: &BTreeMap<String, Digest>,
    force: bool,
) -> Result<Decision, PlanError> {
    let _lookup = debug_span!("lookup", stage = %stage.name).entered();
    let store = &project.store;
    let key = key_of(project, stage, inputs)?;
    let since = |key: &Key, last: &Option<ActionRecord>| {
        last.as_ref().map(|last| key.changes_from(&last.ingredients)).unwrap_or_default()
    };
    let (miss, last, reason) = match store.lookup(&stage.name, key) {
        Lookup::Hit(hit) if force => (hit.discard(None), store.last(&stage.name), Some("asked to".into())),
        Lookup::Hit(hit) if store.is_in_place(&stage.name, &hit.record) => {
            return Ok(Decision::Fresh(Arc::new(hit.record)));
        }
        Lookup::Hit(hit) if store.is_complete(&hit.record) => {
            let changes = since(hit.key(), &store.last(&stage.name));
            return Ok(Decision::Restorable { record: Arc::new(hit.record), changes });
        }
        Lookup::Hit(hit) => {
            let why = "an output in the cache is incomplete";
            let miss = hit.discard(Some(format!("`{}`: {why}", stage.name)));
            (miss, store.last(&stage.name), Some(why.into()))
        }
        Lookup::Miss(miss) => {
            let last = store.last(&stage.name);
            let provisional =
                miss.provisional().map(|why| format!("the cached result is provisional: {why}"));
            let reason = match (miss.warning().map(str::to_owned).or(provisional), &last) {
                (Some(reason), _) => Some(reason),
                (None, None) => Some("never ran".into()),
                (None, Some(last)) => {
                    (last.key == miss.key().digest()).then(|| "its result is no longer cached".into())
                }
            };
            (miss, last, reason)
        }
    };
    let changes = since(miss.key(), &last);
    Ok(Decision::Run { miss, changes, reason })
}

/// What is expected of the stages in `selected`, in the order of the file.
///
/// # Errors
/// When an input or a plugin cannot be read.
pub fn plan(
    project: &Project,
    selected: &BTreeSet<StageId>,
    forced: &BTreeSet<StageId>,
) -> Result<Vec<PlannedStage>, PlanError> {
    Ok(prospects(project, selected, forced)?.into_values().map(|prospect| prospect.planned).collect())
}

/// As [`plan`], with what each expectation rests on.
///
/// # Errors
/// When an input or a plugin cannot be read.
pub fn prospects(
    project: &Project,
    selected: &BTreeSet<StageId>,
    forced: &BTreeSet<StageId>,
) -> Result<BTreeMap<StageId, Prospect>, PlanError> {
    prospects_beside(project, selected, forced, &StandingRecords::default())
}

/// As [`prospects`], without looking at what stands.
///
/// # Errors
/// When an input or a plugin cannot be read.
pub fn prospects_beside(
    project: &Project,
    selected: &BTreeSet<StageId>,
    forced: &BTreeSet<StageId>,
    standing: &StandingRecords,
) -> Result<BTreeMap<StageId, Prospect>, PlanError> {
    let needed = project.graph.with_upstream(selected.iter().copied());
    let mut found: BTreeMap<StageId, Prospect> = BTreeMap::new();
    for id in project.graph.order().iter().filter(|id| needed.contains(id)) {
        let stage = &project.pipeline[*id];
        let earlier = |name: &StageName| project.pipeline.id(name).and_then(|id| found.get(&id));
        let prospect = match standing.holds(*id, stage, |name, output| earlier(name)?.output(output)) {
            Some(record) => stands(stage, record, earlier),
            None => look_ahead(project, stage, &found, forced.contains(id))?,
        };
        found.insert(*id, prospect);
    }
    forecast::fill(project, &mut found);
    found.retain(|id, _| selected.contains(id));
    Ok(found)
}

/// What is expected of a stage that stands as long as what it reads does.
fn stands<'p>(
    stage: &Stage,
    record: &Arc<ActionRecord>,
    earlier: impl Fn(&StageName) -> Option<&'p Prospect>,
) -> Prospect {
    let (unknown, after) = not_known(stage, earlier);
    let expectation = if after.is_empty() { Expectation::Fresh } else { Expectation::Maybe { after } };
    Prospect {
        planned: planned(stage, expectation),
        decision: Some(Decision::Fresh(Arc::clone(record))),
        last: Some(Arc::clone(record)),
        unknown,
    }
}

/// The inputs of a stage that may become others, and the stages that make them.
fn not_known<'p>(
    stage: &Stage,
    earlier: impl Fn(&StageName) -> Option<&'p Prospect>,
) -> (Vec<String>, Vec<StageName>) {
    let (mut unknown, mut after): (Vec<String>, Vec<StageName>) = (Vec::new(), Vec::new());
    for (name, input) in &stage.inputs {
        if let Input::Output { stage: from, .. } = input
            && !earlier(from).is_some_and(Prospect::is_known)
        {
            unknown.push(name.clone());
            if !after.contains(from) {
                after.push(from.clone());
            }
        }
    }
    (unknown, after)
}

/// Of which nothing is foretold yet.
fn planned(stage: &Stage, expectation: Expectation) -> PlannedStage {
    PlannedStage { stage: stage.name.clone(), expectation, usual_ms: None, last_ms: None, variants_ms: None }
}

/// Looks ahead for one stage; `earlier` holds all that it depends on.
fn look_ahead(
    project: &Project,
    stage: &Stage,
    earlier: &BTreeMap<StageId, Prospect>,
    force: bool,
) -> Result<Prospect, PlanError> {
    let producer = |name: &StageName| project.pipeline.id(name).and_then(|id| earlier.get(&id));
    let (unknown, after) = not_known(stage, producer);
    let mut inputs = BTreeMap::new();
    let mut never_made = None;
    for (name, input) in &stage.inputs {
        let digest = match input {
            Input::Path(path) => {
                Some(project.store.digest_input(path, &project.pipeline.ignore).map_err(|source| {
                    PlanError::Input { stage: stage.name.clone(), what: format!("inputs.{name}"), source }
                })?)
            }
            Input::Output { stage: from, output } => {
                let digest = producer(from).and_then(|producer| producer.output(output));
                if digest.is_none() {
                    never_made.get_or_insert(from);
                }
                digest
            }
        };
        inputs.extend(digest.map(|digest| (name.clone(), digest)));
    }
    let decision = match never_made {
        Some(_) => None,
        None => Some(decide(project, stage, &inputs, force)?),
    };
    let last = match &decision {
        Some(Decision::Fresh(record)) if project.store.last_key(&stage.name) == Some(record.key) => {
            Some(Arc::clone(record))
        }
        _ => project.store.last(&stage.name).map(Arc::new),
    };
    let maybe = |known| if after.is_empty() { known } else { Expectation::Maybe { after } };
    let expectation = match (&decision, never_made) {
        (Some(Decision::Fresh(_)), _) => maybe(Expectation::Fresh),
        (Some(Decision::Restorable { changes, .. }), _) => {
            maybe(Expectation::Restorable { changes: changes.clone() })
        }
        (Some(Decision::Run { changes, reason, .. }), _) => {
            Expectation::Run { changes: changes.clone(), reason: reason.clone() }
        }
        (None, from) => {
            let reason = match (&last, from) {
                (Some(_), Some(from)) => format!("`{from}` has to run first"),
                _ => "never ran".into(),
            };
            Expectation::Run { changes: vec![], reason: Some(reason) }
        }
    };
    Ok(Prospect { planned: planned(stage, expectation), decision, last, unknown })
}

#[cfg(test)]
mod tests;
