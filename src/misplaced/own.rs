//! Links by which a stage reads what stages of the same pipeline write, without being one that waits for these.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pipeline::StageName;
use pipeline::spec::{Input, Pipeline, Stage};
use protocol::Problem;
use store::Store;

use super::{Named, really};

/// What is wrong with `path`, which `name` of `stage` names, where it or a link in it leads to what a stage writes; `artifacts` is
/// where these lie, links followed.
pub(super) fn problem(
    stage: &Stage,
    name: Named<'_>,
    path: &Path,
    pipeline: &Pipeline,
    store: &Store,
    artifacts: &Path,
) -> Option<Problem> {
    let to = target(path);
    if let Some((writer, output)) = written(pipeline, artifacts, &to) {
        let what = format!("{} is `{}`, which leads to `{}`", name.words(), path.display(), to.display());
        return told(stage, writer, output, pipeline, &what);
    }
    let ignore = name.leaves_out(stage).then_some(&pipeline.ignore);
    // What cannot be listed is told by who reads it.
    let links = store.linked_folders(path, ignore).ok()?;
    links.into_iter().find_map(|link| {
        let to = target(&link);
        let (writer, output) = written(pipeline, artifacts, &to)?;
        let inner = link.strip_prefix(path).unwrap_or(&link);
        let what = format!(
            "{} is the folder `{}`, which contains the link `{}` to `{}`",
            name.words(),
            path.display(),
            inner.display(),
            to.display()
        );
        told(stage, writer, output, pipeline, &what)
    })
}

fn told(
    stage: &Stage,
    writer: &Stage,
    output: Option<&str>,
    pipeline: &Pipeline,
    what: &str,
) -> Option<Problem> {
    if writer.name == stage.name {
        let problem =
            Problem::new(format!("{what}: the stage itself writes that, so that it changes with every run"));
        return Some(problem.hint("copy what it is to begin with to another place, and name that"));
    }
    if upstream(pipeline, stage).contains(&writer.name) {
        return None;
    }
    let problem = Problem::new(format!(
        "{what}: stage `{}` writes that, and it may be read before it is written",
        writer.name
    ));
    let outputs = || {
        writer
            .outputs
            .keys()
            .map(|output| format!("`{}.{output}`", writer.name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let input = output.map_or_else(outputs, |output| format!("`{}.{output}`", writer.name));
    Some(problem.hint(format!(
        "read it as an input: {input}; what is to stay as it is now is copied to another place"
    )))
}

/// The stage below whose artifacts a path lies, and the output that it is or lies in.
fn written<'p>(
    pipeline: &'p Pipeline,
    artifacts: &Path,
    path: &Path,
) -> Option<(&'p Stage, Option<&'p str>)> {
    let mut parts = path.strip_prefix(artifacts).ok()?.iter().map(|part| part.to_str());
    let folder = parts.next()??;
    let stage = pipeline.stages.values().find(|stage| stage.name.as_str() == folder)?;
    let Some(file) = parts.next() else { return Some((stage, None)) };
    let output = stage.outputs.iter().find(|(_, output)| Some(output.as_str()) == file)?;
    Some((stage, Some(output.0)))
}

/// Where a path leads to, also where nothing is there yet.
fn target(path: &Path) -> PathBuf {
    if let Ok(real) = std::fs::canonicalize(path) {
        return real;
    }
    match (std::fs::read_link(path), path.parent()) {
        (Ok(to), Some(folder)) => {
            let to = really(folder).join(to);
            let mut plain = PathBuf::new();
            for part in to.components() {
                match part {
                    std::path::Component::ParentDir => drop(plain.pop()),
                    part => plain.push(part),
                }
            }
            really(&plain)
        }
        _ => really(path),
    }
}

/// The stages that have ended before a stage begins.
fn upstream(pipeline: &Pipeline, stage: &Stage) -> BTreeSet<StageName> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![stage];
    while let Some(stage) = waiting.pop() {
        for input in stage.inputs.values() {
            if let Input::Output { stage: from, .. } = input
                && found.insert(from.clone())
            {
                waiting.extend(pipeline.stages.get(from));
            }
        }
    }
    found
}
