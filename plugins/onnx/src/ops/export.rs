//! `onnx/export`: weights and their network as an ONNX file, checked by running it.

mod figures;

use std::path::Path;

use anyhow::{Context, Result, bail};
use dataset::Normalization;
use model::{Network, Weights, WeightsMetadata};
use onnx::build::{BuildOptions, from_network};
use protocol::{
    CheckRequest, Failure, InputSpec, Metric, Op, OpManifest, OutputSpec, Problem, Reporter, RunRequest,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::ops::{RUNTIME, problems};
use crate::request;
use crate::runtime::{self, Model, max_difference};

/// Params of `onnx/export`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {
    /// The network of weights that do not carry it, such as a state dict from PyTorch. Weights from `torch/train`
    /// carry it; where given, it is used instead of theirs, with `classes` and `normalization`.
    network: Option<Network>,
    /// Class names in the order of the logits, for `network`.
    classes: Option<Vec<String>>,
    /// Mean and standard deviation per channel, of pixels scaled to 0..1, for `network`.
    normalization: Option<Normalization>,
    /// Version of ONNX's operators.
    #[schemars(range(min = 11, max = 21))]
    opset: i64,
    /// Largest difference from the reference logits that is allowed.
    #[schemars(range(min = 0.0))]
    tolerance: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { network: None, classes: None, normalization: None, opset: 13, tolerance: 1e-4 }
    }
}

/// The op.
pub(crate) struct Export;

impl Op for Export {
    const NAME: &'static str = "export";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str =
        "Writes trained weights as an ONNX model and checks it in ONNX Runtime against reference logits";
    const NATIVES: &'static [&'static str] = &[RUNTIME];
    const CHECKS: bool = true;
    type Params = Params;

    fn inputs(&self) -> Vec<(&'static str, InputSpec)> {
        let weights = "safetensors weights, with their network in the metadata or in the params";
        let reference = "images and the logits that the model must give for them";
        vec![("weights", InputSpec::required(weights)), ("reference", InputSpec::optional(reference))]
    }

    fn outputs(&self) -> Vec<(&'static str, OutputSpec)> {
        vec![("model", OutputSpec::new("the network as ONNX, batch normalisation folded", "model.onnx"))]
    }

    fn manifest(&self) -> OpManifest {
        OpManifest::of(self)
            .with_metrics(&["max_logit_difference{if inputs.reference}", "size_kb", "parameters"])
            .with_time(&[], &["with.opset", "with.tolerance", "inputs.reference"])
    }

    fn check(&self, params: &Params, request: &CheckRequest) -> Vec<Problem> {
        let is_whole = params.classes.is_some() && params.normalization.is_some();
        problems((params.network.is_some() && !is_whole).then(incomplete), request)
    }

    fn run(&self, params: Params, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        let weights = read_weights(request.input("weights")?, &params)?;
        let graph = weights.graph()?;
        let built = from_network(&graph, &weights, &BuildOptions { opset: params.opset })?;
        let bytes = built.to_bytes();
        let mut model = Model::from_bytes(&bytes, "the exported model".into(), request.threads)?;
        match request.inputs.get("reference") {
            Some(path) => {
                let reference = Reference::read(path, model.image(), graph.classes())?;
                let difference = max_difference(&model.run(&reference.images)?, &reference.logits);
                if difference.is_nan() || difference > params.tolerance {
                    return Err(Failure::new(format!(
                        "the exported model's logits differ from the reference by up to {difference:.3e}, more than \
                         `tolerance` {:e}",
                        params.tolerance
                    ))
                    .hint("are `reference` and `weights` from the same training run?"));
                }
                let basis = format!("{} reference images", reference.count);
                reporter.metric("max_logit_difference", Metric::new(difference, "").basis(basis));
            }
            None => {
                reporter.warn("no `reference` was given: the model's logits were compared with nothing");
            }
        }
        let path = request.output("model")?;
        request::write(path, &bytes)?;
        (Model::load(path, &onnx::DataFiles::new(), request.threads).and_then(runtime::check))
            .context("the exported model does not work")?;
        reporter.metric("size_kb", Metric::new(request::size_kb(path)?, "KB"));
        reporter.metric("parameters", Metric::new(graph.parameter_count() as f64, ""));
        reporter.figure(figures::network(&built));
        reporter.figure(figures::sizes(&built, bytes.len()));
        Ok(())
    }
}

fn incomplete() -> Failure {
    Failure::new("`network` is given without `classes` or `normalization`")
        .hint("weights without metadata need all three")
}

fn read_weights(path: &Path, params: &Params) -> Result<Weights, Failure> {
    let Some(network) = &params.network else {
        let bare = tensors::read::<IgnoredAny>(path)?.metadata.is_none();
        return Weights::read(path).map_err(|error| {
            let failure = Failure::from(error);
            if bare {
                failure.hint("give `network`, `classes` and `normalization` as params")
            } else {
                failure
            }
        });
    };
    let (Some(classes), Some(normalization)) = (&params.classes, &params.normalization) else {
        return Err(incomplete());
    };
    let metadata = WeightsMetadata {
        network: network.clone(),
        classes: classes.clone(),
        normalization: normalization.clone(),
        held_out: None,
    };
    Ok(Weights::read_state_dict(path, metadata)?)
}

/// Normalised images `[count, C, H, W]` and the logits `[count, classes]` that the weights gave where they were
/// trained.
struct Reference {
    count: usize,
    images: Vec<f32>,
    logits: Vec<f32>,
}

impl Reference {
    fn read(path: &Path, [channels, height, width]: [usize; 3], classes: usize) -> Result<Self> {
        let mut file = tensors::read::<IgnoredAny>(path)?;
        let (shape, images) = file.take_f32(path, "input")?;
        let (logits_shape, logits) = file.take_f32(path, "logits")?;
        let count = shape.first().copied().unwrap_or(0);
        if count == 0 || shape != [count, channels, height, width] || logits_shape != [count, classes] {
            bail!(
                "`{}` holds images {shape:?} and logits {logits_shape:?}, but the network takes \
                 [n, {channels}, {height}, {width}] and gives [n, {classes}]",
                path.display()
            );
        }
        Ok(Self { count, images, logits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_says_which_opsets_can_be_written() {
        let opset = &Export.manifest().params["properties"]["opset"];
        assert_eq!((&opset["minimum"], &opset["maximum"]), (&11.into(), &21.into()));
    }
}
