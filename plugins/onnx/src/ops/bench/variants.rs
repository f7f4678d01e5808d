//! What is timed, with what, and on what: the inputs of a stage told apart. Knows requests and files; times nothing.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context;
use arrays::Source;
use dataset::Outline;
use onnx::DataFiles;
use protocol::{Failure, RunRequest};

use super::{COMPANION, DATA, DATASET, Params};
use crate::request;
use crate::runtime::Loaded;
use crate::samples::{ARRAYS, Samples};

/// What variants are timed on, beside images that are made up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    pub(super) arrays: Option<PathBuf>,
    /// Height and width of the images where a model leaves them open.
    pub(super) size: Option<[usize; 2]>,
}

impl Shown {
    /// As the stage's inputs have it.
    pub(super) fn of_request(request: &RunRequest) -> Result<Self, Failure> {
        let size = match request.inputs.get(DATASET) {
            None => None,
            Some(path) => {
                let [_, height, width] = Outline::read(path)?.shape;
                Some([height, width])
            }
        };
        Ok(Self { arrays: request.inputs.get(ARRAYS).cloned(), size })
    }

    /// What a batch has several of.
    pub(super) fn unit(&self) -> &'static str {
        if self.arrays.is_some() { "samples" } else { "images" }
    }
}

/// A model and the executable that times it.
pub(crate) struct Variant {
    pub(super) name: String,
    pub(super) shown: Shown,
    pub(super) model: PathBuf,
    /// Files with its weights, by the location that it names.
    pub(super) data: DataFiles,
    pub(super) timer: PathBuf,
}

pub(super) fn nothing_to_time() -> Failure {
    Failure::new("there is nothing to time")
        .hint("give at least one input: a `.onnx` model or `.safetensors` weights")
}

/// Checks that models which take a certain number of samples in a call are timed with that, before any is.
pub(super) fn check_calls(params: &Params, variants: &[Variant]) -> Result<(), Failure> {
    for variant in variants {
        let Some(path) = &variant.shown.arrays else { continue };
        let source = Source::open(path).map_err(anyhow::Error::from)?;
        let model = Loaded::load(&variant.model, &variant.data, 1)
            .with_context(|| format!("cannot time `{}`", variant.name))?;
        for &batch in &params.batches {
            Samples::repeated(&source, batch, &model)
                .with_context(|| format!("cannot time `{}` at batch {batch}", variant.name))?;
        }
    }
    Ok(())
}

/// Every input but the data, in the order of their names; files with weights of models belong to these.
pub(super) fn variants(request: &RunRequest, shown: &Shown) -> Result<Vec<Variant>, Failure> {
    let inputs = || request.inputs.iter().filter(|(name, _)| !DATA.contains(&name.as_str()));
    if inputs().next().is_none() {
        return Err(nothing_to_time());
    }
    let own = env::current_exe().context("cannot tell where this executable is")?;
    let (mut variants, mut others) = (Vec::new(), Vec::new());
    for (name, model) in inputs() {
        let (timer, data) = match model.extension().and_then(|extension| extension.to_str()) {
            Some("onnx") => (own.clone(), request::data_files(request, name, model)?),
            Some("safetensors") if shown.arrays.is_some() => {
                return Err(Failure::new(format!(
                    "`{name}` is timed by plugin {COMPANION}, which makes its images up and takes no `arrays`"
                ))
                .hint("export it with `onnx/export`, or leave it out"));
            }
            Some("safetensors") => {
                let timer = request.companions.get(COMPANION).cloned().ok_or_else(|| {
                    Failure::new(format!("`{name}` is timed by plugin {COMPANION}, which was not found"))
                        .hint("build it with `cargo build --release -p pipe-torch`, or leave the input out")
                })?;
                (timer, DataFiles::new())
            }
            _ => {
                others.push((name, model));
                continue;
            }
        };
        let (name, model, shown) = (name.clone(), model.clone(), shown.clone());
        variants.push(Variant { name, shown, model, data, timer });
    }
    let holds_data = |path: &Path| {
        let mut data = variants.iter().flat_map(|variant| &variant.data);
        data.any(|(location, real)| request::holds(path, location, real))
    };
    match others.into_iter().find(|(_, path)| !holds_data(path)) {
        Some((name, path)) => Err(Failure::new(format!(
            "`{name}` is `{}`: only `.onnx` models and `.safetensors` weights are timed, and no weights of these models lie in it",
            path.display()
        ))),
        None => Ok(variants),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn weights_need_the_companion_and_other_files_are_refused() {
        let request = |file: &str| RunRequest {
            op: "bench".into(),
            params: serde_json::json!({}),
            inputs: BTreeMap::from([("fp32".into(), PathBuf::from(file))]),
            outputs: BTreeMap::new(),
            threads: 1,
            resume_dir: PathBuf::new(),
            continue_dir: None,
            companions: BTreeMap::new(),
            ignore: None,
        };
        let found = |request: &RunRequest| variants(request, &Shown::default());
        assert!(found(&request("/m.onnx")).is_ok());
        let failure = found(&request("/w.safetensors")).err().map(|failure| format!("{failure:?}"));
        assert!(failure.is_some_and(|text| text.contains("`fp32` is timed by plugin torch")));
        assert!(found(&request("/m.tflite")).is_err());
        let nothing = RunRequest { inputs: BTreeMap::new(), ..request("/m.onnx") };
        assert!(found(&nothing).is_err());
    }
}
