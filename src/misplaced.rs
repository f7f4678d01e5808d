//! What is wrong with where the inputs of stages lie, which is known as soon as the pipeline is read. Looks at folders and
//! links; reads no file and asks no plugin.

mod own;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pipeline::spec::{Action, Diagnostics, Fault, Input, Pipeline, Stage};
use protocol::Problem;
use store::{ARTIFACTS, Store};

/// What the folders of the store are called.
const CACHE: &str = "the cache";

/// Device and inode of a folder.
type Folder = (u64, u64);

/// What is wrong with where the inputs of stages lie: a folder that holds the cache, or what the run itself writes, changes
/// while the run lasts, and so does one with a link to such a folder; a file that another stage writes is read before it is written.
#[must_use]
pub(crate) fn misplaced<'p>(
    pipeline: &'p Pipeline,
    store: &Store,
    stages: impl Iterator<Item = &'p Stage>,
) -> Option<Diagnostics> {
    let artifacts = pipeline.root.join(ARTIFACTS);
    let holding: Vec<(&str, &Path, BTreeSet<Folder>)> = store
        .folders()
        .into_iter()
        .map(|folder| (CACHE, folder))
        .chain([("the artifacts", artifacts.as_path())])
        .map(|(what, folder)| (what, folder, folder.ancestors().filter_map(identity).collect()))
        .collect();
    let mut faults = Vec::new();
    let made_in = really(&artifacts);
    for stage in stages {
        for (name, path) in read_from_disk(stage) {
            let found = identity(path);
            let holds = holding.iter().find(|(_, folder, within)| {
                found.is_some_and(|found| within.contains(&found))
                    && !(name.leaves_out(stage) && is_ignored(pipeline, path, folder))
            });
            if let Some((what, link)) = found
                .filter(|_| holds.is_none())
                .and_then(|_| link_into(stage, name, path, pipeline, store, &holding))
            {
                let inner = link.strip_prefix(path).unwrap_or(&link);
                let problem = Problem::new(format!(
                    "{} is the folder `{}`, which contains the link `{}` to {what}, whose content changes with every run",
                    name.words(),
                    path.display(),
                    inner.display()
                ))
                .hint("name the files and folders that are read, each as an input of its own, or leave the link out by a pattern under `ignore`");
                faults.push(Fault { stage, problem: name.put_in(problem) });
                continue;
            }
            let problem = match (holds, written_by(pipeline, &artifacts, path)) {
                (Some((what, ..)), _) => Problem::new(format!(
                    "{} is the folder `{}`, which holds {what}: it changes with every run",
                    name.words(),
                    path.display()
                ))
                .hint("name the files and folders that are read, each as an input of its own, or leave it out by a pattern under `ignore`"),
                (None, Some((writer, output))) => Problem::new(format!(
                    "{} is what stage `{}` writes, and may be read before it is written",
                    name.words(),
                    writer.name
                ))
                .hint(format!("read it as an input: `{}.{output}`", writer.name)),
                (None, None) => match own::problem(stage, name, path, pipeline, store, &made_in) {
                    Some(problem) => problem,
                    None => continue,
                },
            };
            faults.push(Fault { stage, problem: name.put_in(problem) });
        }
    }
    (!faults.is_empty()).then(|| pipeline.diagnose(faults))
}

/// The first link in a folder by which a stage would read what changes with every run, and what that is. What cannot be
/// listed is told by who reads it.
fn link_into<'h>(
    stage: &Stage,
    name: Named<'_>,
    path: &Path,
    pipeline: &Pipeline,
    store: &Store,
    holding: &[(&'h str, &Path, BTreeSet<Folder>)],
) -> Option<(&'h str, PathBuf)> {
    let ignore = name.leaves_out(stage).then_some(&pipeline.ignore);
    let links = store.linked_folders(path, ignore).ok()?;
    links.into_iter().find_map(|link| {
        let real = std::fs::canonicalize(&link).ok()?;
        let is_left_out = |inner: &Path| {
            ignore.is_some_and(|ignore| ignore.hides_on_the_way(path, &link.join(inner), true))
        };
        let (what, ..) = holding.iter().find(|(what, folder, _)| {
            let folder = really(folder);
            let holds = folder.strip_prefix(&real).is_ok_and(|inner| !is_left_out(inner));
            // What a stage made stays until that stage is executed again.
            holds || *what == CACHE && real.starts_with(folder)
        })?;
        Some((*what, link))
    })
}

/// Where a folder is, or would be.
fn really(folder: &Path) -> PathBuf {
    let there = folder.ancestors().find_map(|above| Some((above, std::fs::canonicalize(above).ok()?)));
    there.map_or_else(
        || folder.to_owned(),
        |(above, real)| folder.strip_prefix(above).map_or_else(|_| real.clone(), |rest| real.join(rest)),
    )
}

/// Whether patterns of the pipeline hide `inner`, or a folder on the way to it, from who reads `folder`.
fn is_ignored(pipeline: &Pipeline, folder: &Path, inner: &Path) -> bool {
    inner.starts_with(folder) && pipeline.ignore.hides_on_the_way(folder, inner, true)
}

/// What of a stage names a file or folder.
#[derive(Debug, Clone, Copy)]
enum Named<'a> {
    Input(&'a str),
    Param(&'a str),
}

impl Named<'_> {
    fn words(self) -> String {
        match self {
            Self::Input(name) => format!("input `{name}`"),
            Self::Param(name) => format!("`{name}`"),
        }
    }

    /// Whether what counts for nothing in it is not read.
    fn leaves_out(self, stage: &Stage) -> bool {
        match (self, &stage.action) {
            (Self::Param(name), Action::Op(action)) => action.filtered.contains(name),
            _ => true,
        }
    }

    fn put_in(self, problem: Problem) -> Problem {
        match self {
            Self::Input(name) => problem.input(name),
            Self::Param(name) => problem.param(name),
        }
    }
}

/// All that a stage reads beside what other stages give it.
fn read_from_disk(stage: &Stage) -> impl Iterator<Item = (Named<'_>, &Path)> {
    let inputs = stage.inputs.iter().filter_map(|(name, input)| match input {
        Input::Path(path) => Some((Named::Input(name), path.as_path())),
        Input::Output { .. } => None,
    });
    let sources = match &stage.action {
        Action::Op(action) => Some(&action.sources),
        Action::Command(_) => None,
    };
    let sources = sources.into_iter().flatten();
    inputs.chain(sources.map(|(name, path)| (Named::Param(name), path.as_path())))
}

/// The stage, and one of its outputs, whose artifact a path is or lies in.
fn written_by<'p>(pipeline: &'p Pipeline, artifacts: &Path, path: &Path) -> Option<(&'p Stage, &'p str)> {
    let mut parts = path.strip_prefix(artifacts).ok()?.iter().map(|part| part.to_str());
    let folder = parts.next()??;
    let stage = pipeline.stages.values().find(|stage| stage.name.as_str() == folder)?;
    let file = parts.next().flatten();
    let output = stage.outputs.iter().find(|(_, output)| Some(output.as_str()) == file)?;
    Some((stage, output.0))
}

/// `None` for what is no folder, or not there.
fn identity(path: &Path) -> Option<Folder> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir)?;
    Some((metadata.dev(), metadata.ino()))
}
