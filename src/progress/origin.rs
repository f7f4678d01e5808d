//! Where an ingredient of a key comes from: its line in the pipeline's file, and the file, folder or output that an
//! input is. Pure.

use pipeline::spec::{Action, Input, Pipeline, Stage};
use schemars::JsonSchema;
use serde::Serialize;

/// Where an ingredient comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Origin {
    /// Line of the pipeline's file, counted from 1: of the param, or of the var that gives it.
    pub line: Option<usize>,
    /// What an input or a source is: the path of a file or folder, from the pipeline's folder, or `STAGE.OUTPUT`.
    pub from: Option<String>,
}

impl Origin {
    /// The origin of an ingredient of a stage's key.
    #[must_use]
    pub fn of(pipeline: &Pipeline, stage: &Stage, ingredient: &str) -> Self {
        Self { line: line(stage, ingredient), from: from(pipeline, stage, ingredient) }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.line.is_none() && self.from.is_none()
    }

    /// The place as editors and terminals understand it: `pipeline.yaml:31`.
    #[must_use]
    pub fn place(&self, pipeline: &Pipeline) -> Option<String> {
        let file = pipeline.file.file_name()?.to_string_lossy().into_owned();
        self.line.map(|line| format!("{file}:{line}"))
    }
}

fn line(stage: &Stage, ingredient: &str) -> Option<usize> {
    match (&stage.action, ingredient.split_once('.')) {
        (Action::Op(action), Some(("with", path))) => {
            let name = path.split(['.', '[']).next()?;
            action.param_locations.get(name).map(|location| location.line)
        }
        (Action::Command(action), Some(("params", path))) => {
            let name = path.split(['.', '[']).next()?;
            action.param_locations.get(name).map(|location| location.line)
        }
        (Action::Command(_), Some(("env", _))) | (_, Some(("outputs", _))) => Some(stage.location.line),
        (Action::Command(_), _) if matches!(ingredient, "run" | "run.args") => Some(stage.location.line),
        _ => None,
    }
}

fn from(pipeline: &Pipeline, stage: &Stage, ingredient: &str) -> Option<String> {
    let shown = |path: &std::path::Path| {
        path.strip_prefix(&pipeline.root).unwrap_or(path).to_string_lossy().into_owned()
    };
    match (&stage.action, ingredient.split_once('.')?) {
        (_, ("inputs", name)) => match stage.inputs.get(name)? {
            Input::Output { stage, output } => Some(format!("{stage}.{output}")),
            Input::Path(path) => Some(shown(path)),
        },
        (Action::Op(action), ("with", name)) => action.sources.get(name).map(|path| shown(path)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    #[test]
    fn params_have_lines_and_inputs_have_names() {
        let mut pipeline = sample::tinynet().pipeline;
        let raw = Input::Path(pipeline.root.join("data/raw.txt"));
        let train = pipeline.stages.get_mut(&sample::name("train")).unwrap();
        train.inputs.insert("raw".into(), raw);
        let train = &pipeline.stages[&sample::name("train")];
        let origin = |ingredient: &str| Origin::of(&pipeline, train, ingredient);
        assert_eq!(origin("with.seed").place(&pipeline).as_deref(), Some("pipeline.yaml:10"));
        assert_eq!(origin("inputs.raw").from.as_deref(), Some("data/raw.txt"));
        assert_eq!(origin("inputs.download_dataset").from.as_deref(), Some("download.dataset"));
        for unknown in ["op", "op.version", "machine.cpu", "with.nothing", "inputs.nothing", ""] {
            assert!(origin(unknown).is_unknown(), "{unknown}");
        }
    }
}
