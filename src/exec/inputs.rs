//! What an execution is given: where its inputs lie and what they are, and where its outputs, log and partial work go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::Failure;
use super::budget::Grant;
use super::worker::Job;
use crate::digest::Digest;
use crate::error::Error;
use crate::plan;
use crate::project::Project;
use crate::record::ActionRecord;
use crate::spec::{Action, Input, Stage, StageName};
use crate::store::Miss;

/// Digests of a stage's inputs; `records` holds all stages that it depends on.
pub(super) fn digests(
    project: &Project,
    stage: &Stage,
    records: &BTreeMap<StageName, ActionRecord>,
) -> Result<BTreeMap<String, Digest>, Error> {
    let mut digests = BTreeMap::new();
    for (name, input) in &stage.inputs {
        let digest = match input {
            Input::Path(path) => project.store.digest_path(path)?,
            Input::Output { stage: from, output } => records
                .get(from)
                .and_then(|record| record.outputs.get(output))
                .map(|output| output.digest)
                .ok_or_else(|| Error::failed(format!("stage `{from}` has no output `{output}`")))?,
        };
        digests.insert(name.clone(), digest);
    }
    Ok(digests)
}

/// Looks again at what a stage that has run has read: its key must be the one that it was executed for.
pub(super) fn check_unchanged(project: &Project, stage: &Stage, miss: &Miss) -> Result<(), Failure> {
    let mut inputs = BTreeMap::new();
    for (name, input) in &stage.inputs {
        inputs.insert(name.clone(), project.store.digest_path(&path(project, input))?);
    }
    let now = plan::key_of(project, stage, &inputs).map_err(|error| Failure::new(error.to_string()))?;
    match now.changes_from(miss.key().ingredients()).first() {
        None => Ok(()),
        Some(change) => Err(Failure::new(format!(
            "`{}` was changed while it ran{}; the outcome was thrown away",
            change.name,
            change_place(project, stage, &change.name)
        ))
        .hint("run again")),
    }
}

/// Where an input or a source lies, in words.
fn change_place(project: &Project, stage: &Stage, ingredient: &str) -> String {
    let input = ingredient.strip_prefix("inputs.").and_then(|name| stage.inputs.get(name));
    input.map(|input| format!(" (`{}`)", path(project, input).display())).unwrap_or_default()
}

/// All that an execution of a stage needs. Its folders exist.
pub(super) fn job(project: &Project, stage: &Stage, miss: &Miss, grant: &Grant) -> Result<Job, Error> {
    let folder = project.store.work_dir(miss)?;
    let (executables, env) = programs(project, stage)?;
    Ok(Job {
        stage: stage.clone(),
        root: project.pipeline.root.clone(),
        inputs: stage.inputs.iter().map(|(name, input)| (name.clone(), path(project, input))).collect(),
        outputs: stage.outputs.iter().map(|(name, file)| (name.clone(), folder.join(file))).collect(),
        resume_dir: project.store.resume_dir(miss)?,
        log: project.store.log_path(&stage.name)?,
        threads: grant.threads,
        gpus: grant.gpus.clone(),
        executables,
        env,
    })
}

fn path(project: &Project, input: &Input) -> PathBuf {
    match input {
        Input::Path(path) => path.clone(),
        Input::Output { stage, output } => {
            let file = project.pipeline.stages.get(stage).and_then(|stage| stage.outputs.get(output));
            project.store.artifacts(stage).join(file.map_or("", String::as_str))
        }
    }
}

/// Executables of an op's plugin and its companions, and the environment variables that these declared.
fn programs(project: &Project, stage: &Stage) -> Result<(BTreeMap<String, PathBuf>, Vec<String>), Error> {
    let Action::Op(action) = &stage.action else { return Ok((BTreeMap::new(), vec![])) };
    let manifest = project.registry.manifest(&action.plugin)?;
    let companions = manifest.ops.get(&action.op).map(|op| op.companions.clone()).unwrap_or_default();
    let mut executables = BTreeMap::new();
    let mut env = BTreeSet::new();
    for plugin in std::iter::once(&action.plugin).chain(&companions) {
        executables.insert(plugin.clone(), project.registry.find(plugin)?);
        env.extend(project.registry.manifest(plugin)?.env.iter().cloned());
    }
    Ok((executables, env.into_iter().collect()))
}
