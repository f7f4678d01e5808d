//! What an execution is given: where its inputs lie and what they are, and the programs that it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::Failure;
use super::trace::{Artifact, Trace};
use crate::digest::Digest;
use crate::error::Error;
use crate::plan;
use crate::project::Project;
use crate::spec::{Action, Input, OpAction, Stage, StageId};
use crate::store::Miss;

/// Digests of a stage's inputs; `made` knows those of the outputs of stages that it depends on.
pub(super) fn digests(
    project: &Project,
    stage: &Stage,
    made: impl Fn(StageId, &str) -> Option<Digest>,
) -> Result<BTreeMap<String, Digest>, Error> {
    let mut digests = BTreeMap::new();
    for (name, input) in &stage.inputs {
        let digest = match input {
            Input::Path(path) => project.store.digest_input(path, &project.pipeline.ignore)?,
            Input::Output { stage: from, output } => project
                .pipeline
                .id(from)
                .and_then(|id| made(id, output))
                .ok_or_else(|| Error::failed(format!("stage `{from}` has no output `{output}`")))?,
        };
        digests.insert(name.clone(), digest);
    }
    Ok(digests)
}

/// Looks again at what a stage that has run has read: its key must be the one that it was executed for.
pub(super) fn check_unchanged(project: &Project, stage: &Stage, miss: &Miss) -> Result<(), Failure> {
    check_plugins(project, stage)?;
    let mut inputs = BTreeMap::new();
    for (name, input) in &stage.inputs {
        let path = path(project, input);
        if !path.exists() {
            let message = format!("its input `{name}` (`{}`) was removed while it ran", path.display());
            return Err(Failure::new(message).hint("put it back, and see to it that nothing takes it away"));
        }
        let digest = match input {
            Input::Path(path) => project.store.digest_input(path, &project.pipeline.ignore)?,
            Input::Output { .. } => project.store.digest_path(&path)?,
        };
        inputs.insert(name.clone(), digest);
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

/// Looks, before a stage runs, whether what it reads of other stages is still what these made.
pub(super) fn check_made(project: &Project, stage: &Stage, miss: &Miss) -> Result<(), Failure> {
    for (name, input) in &stage.inputs {
        let Input::Output { stage: from, output } = input else { continue };
        let path = path(project, input);
        let now = project.store.digest_path(&path)?.to_string();
        let ingredient = format!("inputs.{name}");
        if miss.key().ingredients().iter().any(|made| made.name == ingredient && made.value != now) {
            let message = format!(
                "its input `{name}` (`{}`) is not what `{from}` made as `{output}`: it was changed since",
                path.display()
            );
            return Err(Failure::new(message)
                .hint("a stage must not write to what it reads: find out which one does, then run again"));
        }
    }
    Ok(())
}

/// Another plugin than the one that was asked would give another outcome.
fn check_plugins(project: &Project, stage: &Stage) -> Result<(), Failure> {
    let Action::Op(action) = &stage.action else { return Ok(()) };
    for plugin in programs(project, action)?.executables.keys() {
        if !project.registry.is_as_described(plugin).map_err(Error::from)? {
            let message = format!("plugin `{plugin}` was changed while it ran; the outcome was thrown away");
            return Err(Failure::new(message).hint("run again"));
        }
    }
    Ok(())
}

/// Where an input or a source lies, in words.
fn change_place(project: &Project, stage: &Stage, ingredient: &str) -> String {
    let input = ingredient.strip_prefix("inputs.").and_then(|name| stage.inputs.get(name));
    input.map(|input| format!(" (`{}`)", path(project, input).display())).unwrap_or_default()
}

/// Where the inputs of a stage lie.
pub(super) fn paths(project: &Project, stage: &Stage) -> BTreeMap<String, PathBuf> {
    stage.inputs.iter().map(|(name, input)| (name.clone(), path(project, input))).collect()
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

/// How to trace a command into `file`.
pub(super) fn tracing(project: &Project, stage: &Stage, file: PathBuf) -> Trace {
    let mut artifacts = BTreeMap::new();
    for other in project.pipeline.stages.values().filter(|other| other.name != stage.name) {
        for (output, file) in &other.outputs {
            let path = project.store.artifacts(&other.name).join(file);
            artifacts.insert(path, Artifact { stage: other.name.to_string(), output: output.clone() });
        }
    }
    let declared = stage.inputs.values().map(|input| path(project, input));
    Trace {
        file,
        root: project.pipeline.root.clone(),
        allowed: declared.chain([project.store.folder().to_owned()]).collect(),
        artifacts,
    }
}

/// Executables by plugin, of an op's own and of its companions, and the environment variables that these declared.
pub(super) struct Programs {
    pub(super) executables: BTreeMap<String, PathBuf>,
    pub(super) env: Vec<String>,
}

pub(super) fn programs(project: &Project, action: &OpAction) -> Result<Programs, Error> {
    let manifest = project.registry.manifest(&action.plugin)?;
    let companions = manifest.ops.get(&action.op).map(|op| op.companions.clone()).unwrap_or_default();
    let mut executables = BTreeMap::new();
    let mut env = BTreeSet::new();
    for plugin in std::iter::once(&action.plugin).chain(&companions) {
        executables.insert(plugin.clone(), project.registry.find(plugin)?);
        env.extend(project.registry.manifest(plugin)?.env.iter().cloned());
    }
    Ok(Programs { executables, env: env.into_iter().collect() })
}
