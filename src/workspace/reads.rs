//! What stages read and make, as far as it lies on this machine: what an edit would have to change.

use std::collections::BTreeSet;
use std::path::PathBuf;

use pipeline::graph::StageId;
use pipeline::spec::{Action, Input};

use crate::error::Error;
use crate::project::Project;

/// Where it lies.
#[derive(Debug, Default)]
pub struct Reads {
    /// What no stage made: inputs, sources among params, plugins.
    pub sources: Vec<PathBuf>,
    /// Those of them that are read whole, whatever is ignored elsewhere.
    pub whole: BTreeSet<PathBuf>,
    /// What the stages make.
    pub artifacts: Vec<PathBuf>,
}

/// What the `selected` stages read and make.
///
/// # Errors
/// When a plugin is not found, or does not say what it is.
pub fn reads(project: &Project, selected: &BTreeSet<StageId>) -> Result<Reads, Error> {
    let mut reads = Reads::default();
    for stage in selected.iter().map(|id| &project.pipeline[*id]) {
        reads.sources.extend(stage.inputs.values().filter_map(|input| match input {
            Input::Path(path) => Some(path.clone()),
            Input::Output { .. } => None,
        }));
        let folder = project.store.artifacts(&stage.name);
        reads.artifacts.extend(stage.outputs.values().map(|file| folder.join(file)));
        if let Action::Op(action) = &stage.action {
            reads.sources.extend(action.sources.values().cloned());
            let is_whole = |name: &str| !action.filtered.contains(name);
            let read_whole = action.sources.iter().filter(|(name, _)| is_whole(name));
            reads.whole.extend(read_whole.map(|(_, path)| path.clone()));
            let manifest = project.registry.manifest(&action.plugin)?;
            let companions = manifest.ops.get(&action.op).into_iter().flat_map(|op| &op.companions);
            for plugin in std::iter::once(&action.plugin).chain(companions) {
                reads.sources.push(project.registry.find(plugin)?);
            }
        }
    }
    Ok(reads)
}
