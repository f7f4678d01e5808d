//! What an execution is given: where its inputs lie and what they are, and the programs that it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::spec::{Action, Input, OpAction, Stage};
use record::key::Key;
use store::{Miss, Snapshot, Touched};

use super::Failure;
use super::trace::{Artifact, Trace};
use crate::error::Error;
use crate::plan;
use crate::project::Project;

/// Digests of a stage's inputs; `made` knows those of the outputs of stages that it depends on.
pub(super) fn digests(
    project: &Project,
    stage: &Stage,
    made: impl Fn(&StageName, &str) -> Option<Digest>,
) -> Result<BTreeMap<String, Digest>, Error> {
    let mut digests = BTreeMap::new();
    for (name, input) in &stage.inputs {
        let digest = match input {
            Input::Path(path) => project.store.digest_input(path, &project.pipeline.ignore)?,
            Input::Output { stage: from, output } => made(from, output)
                .ok_or_else(|| Error::failed(format!("stage `{from}` has no output `{output}`")))?,
        };
        digests.insert(name.clone(), digest);
    }
    Ok(digests)
}

/// What a stage reads, as it was when it began.
pub(super) struct Before {
    /// By ingredient of its key.
    snapshots: BTreeMap<String, Snapshot>,
}

impl Before {
    /// Looks, before a stage runs, whether what it reads is still what its key was made of.
    ///
    /// # Errors
    /// When it is not, or cannot be read.
    pub(super) fn look(project: &Project, stage: &Stage, miss: &Miss) -> Result<Self, Failure> {
        let (mut now, mut key) = look(project, stage, miss)?;
        let from_outside = now.iter().filter(|(name, _)| is_from_outside(stage, name));
        if let Some(young_for) = from_outside.filter_map(|(_, snapshot)| snapshot.young_for()).max() {
            // An edit within the same tick of the clock would leave the state as it is.
            std::thread::sleep(young_for);
            (now, key) = look(project, stage, miss)?;
        }
        let changes = key.changes_from(miss.key().ingredients());
        let Some(change) = changes.first() else { return Ok(Self { snapshots: now }) };
        let input =
            change.name.strip_prefix("inputs.").and_then(|name| Some((name, stage.inputs.get(name)?)));
        if let Some((name, input @ Input::Output { stage: from, output })) = input {
            let message = format!(
                "its input `{name}` (`{}`) is not what `{from}` made as `{output}`: it was changed since",
                path(project, input).display()
            );
            return Err(Failure::new(message)
                .hint("a stage must not write to what it reads: find out which one does, then run again"));
        }
        Err(Failure::new(format!(
            "`{}` was changed after the run had begun and before this stage did{}",
            change.name,
            change_place(project, stage, &change.name)
        ))
        .hint("run again"))
    }

    /// Looks again once the stage has run: its key must be the one that it was executed for, and nobody may have written to
    /// what it read, not even to put back what was there.
    ///
    /// # Errors
    /// When that is not so, or something cannot be read any more.
    pub(super) fn check_unchanged(
        &self,
        project: &Project,
        stage: &Stage,
        miss: &Miss,
    ) -> Result<(), Failure> {
        check_plugins(project, stage)?;
        for (name, input) in &stage.inputs {
            let path = path(project, input);
            if !path.exists() {
                let message = format!("its input `{name}` (`{}`) was removed while it ran", path.display());
                return Err(
                    Failure::new(message).hint("put it back, and see to it that nothing takes it away")
                );
            }
        }
        let (now, key) = look(project, stage, miss)?;
        if let Some(change) = key.changes_from(miss.key().ingredients()).first() {
            let both = self.snapshots.get(&change.name).zip(now.get(&change.name));
            let moved = both.map(|(before, now)| came_and_went(project, before, now)).unwrap_or_default();
            let hint = if moved.is_empty() { "run again" } else { FOR_A_MOMENT };
            return Err(Failure::new(format!(
                "`{}` was changed while it ran{}{moved}; the result was discarded",
                change.name,
                change_place(project, stage, &change.name)
            ))
            .hint(hint));
        }
        for (name, before) in &self.snapshots {
            let touched = now.get(name).and_then(|now| before.touched(now, &project.store));
            if let Some(touched) = touched {
                return Err(Failure::new(format!(
                    "{} while it ran (`{name}`), and it may have read something else than what is there again; the \
                     result was discarded",
                    happened(project, &touched)
                ))
                .hint(match touched {
                    Touched::Folder(_) => FOR_A_MOMENT,
                    _ => "run again, and let nobody touch what it reads meanwhile, nor the stage itself",
                }));
            }
        }
        Ok(())
    }
}

/// What to do where something came into a folder that is read, or went.
const FOR_A_MOMENT: &str = "run again; where a program keeps a file in there while it works, such as a journal or a swap file, \
                            declare the files that the stage reads instead of the folder";

/// Of what came into a folder or went so many are named.
const MOST_NAMED: usize = 3;

/// `: `data/app.db-wal` came, `data/x` went`; empty where nothing did.
fn came_and_went(project: &Project, before: &Snapshot, now: &Snapshot) -> String {
    let [came, went] = before.came_and_went(now);
    let total = came.len() + went.len();
    let all = came.iter().map(|path| (path, "came")).chain(went.iter().map(|path| (path, "went")));
    let shown = |path: &Path| path.strip_prefix(&project.pipeline.root).unwrap_or(path).display().to_string();
    let mut said: Vec<String> =
        all.take(MOST_NAMED).map(|(path, what)| format!("`{}` {what}", shown(path))).collect();
    if total > MOST_NAMED {
        said.push(format!("and {} more", total - MOST_NAMED));
    }
    if said.is_empty() { String::new() } else { format!(": {}", said.join(", ")) }
}

/// What happened, in words.
fn happened(project: &Project, touched: &Touched) -> String {
    let shown = |path: &Path| path.strip_prefix(&project.pipeline.root).unwrap_or(path).display().to_string();
    match touched {
        Touched::File(path) => format!("`{}` was written to or touched", shown(path)),
        Touched::Folder(path) => format!("something was put into `{}` or taken out of it", shown(path)),
        Touched::Way(path) => format!("the folder `{}` was moved or replaced", shown(path)),
    }
}

/// Whether something that a stage reads is not made by another one.
fn is_from_outside(stage: &Stage, ingredient: &str) -> bool {
    let input = ingredient.strip_prefix("inputs.").and_then(|name| stage.inputs.get(name));
    !matches!(input, Some(Input::Output { .. }))
}

/// The states of all that a stage reads, by ingredient, and the key that follows from them.
fn look(project: &Project, stage: &Stage, miss: &Miss) -> Result<(BTreeMap<String, Snapshot>, Key), Failure> {
    let mut snapshots = BTreeMap::new();
    let mut inputs = BTreeMap::new();
    for (name, input) in &stage.inputs {
        let path = path(project, input);
        let (digest, snapshot) = match input {
            Input::Path(_) => project.store.snapshot(&path, Some(&project.pipeline.ignore))?,
            Input::Output { .. } => match expected(miss.key(), name) {
                Some(made) => project.store.snapshot_output(&path, &made)?,
                None => project.store.snapshot(&path, None)?,
            },
        };
        snapshots.insert(format!("inputs.{name}"), snapshot);
        inputs.insert(name.clone(), digest);
    }
    if let Action::Op(action) = &stage.action {
        for (name, path) in &action.sources {
            let ignore = action.ignore(name, &project.pipeline);
            snapshots.insert(format!("with.{name}"), project.store.snapshot(path, ignore)?.1);
        }
    }
    let key = plan::key_of(project, stage, &inputs).map_err(|error| Failure::new(error.to_string()))?;
    Ok((snapshots, key))
}

/// What an input was when a key was made.
fn expected(key: &Key, input: &str) -> Option<Digest> {
    let name = format!("inputs.{input}");
    key.ingredients().iter().find(|ingredient| ingredient.name == name)?.value.parse().ok()
}

/// Another plugin than the one that was asked would give another outcome.
fn check_plugins(project: &Project, stage: &Stage) -> Result<(), Failure> {
    let Action::Op(action) = &stage.action else { return Ok(()) };
    for plugin in programs(project, action)?.executables.keys() {
        if !project.registry.is_as_described(plugin).map_err(Error::from)? {
            let message = format!("plugin `{plugin}` was changed while it ran; the result was discarded");
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
