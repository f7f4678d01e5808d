//! Tests of reading a pipeline, with plugins that exist only here.

mod commands;
mod file;
mod hostile;
mod matrix;
mod metrics;
mod params;
mod resources;
mod stages;
mod unused;
mod valid;
mod written;

use std::path::PathBuf;
use std::sync::Arc;

use protocol::{InputSpec, KeyScope, Manifest, OpManifest, OutputSpec, Threads};
use serde_json::json;

use super::parse::parse_text;
use super::{Manifests, Overrides, Pipeline, Unusable, resolve};

/// Three plugins: `data` with `download`, `torch` with `train` and `evaluate`, `tool` with `any`.
pub(super) struct Fakes;

impl Manifests for Fakes {
    fn manifest(&self, plugin: &str) -> Result<Arc<Manifest>, Unusable> {
        let ops = match plugin {
            "data" => vec![("download", download())],
            "torch" => vec![("train", train()), ("evaluate", evaluate())],
            "tool" => vec![("any", tool())],
            _ => return Err(Unusable { message: format!("there is no plugin `{plugin}`"), help: None }),
        };
        let ops = ops.into_iter().map(|(name, op)| (name.to_owned(), op)).collect();
        Ok(Arc::new(Manifest {
            protocol: 1,
            plugin: plugin.into(),
            version: "0".into(),
            ops,
            natives: [].into(),
            env: vec![],
        }))
    }

    fn known(&self) -> Vec<String> {
        vec!["data".into(), "torch".into()]
    }
}

fn op(params: serde_json::Value, inputs: &[(&str, bool)], outputs: &[(&str, &str)]) -> OpManifest {
    OpManifest {
        description: "An op".into(),
        version: 1,
        params,
        inputs: inputs
            .iter()
            .map(|(name, optional)| {
                ((*name).into(), InputSpec { description: format!("the {name}"), optional: *optional })
            })
            .collect(),
        extra_inputs: None,
        outputs: outputs
            .iter()
            .map(|(name, file)| {
                ((*name).into(), OutputSpec { description: format!("the {name}"), file: (*file).into() })
            })
            .collect(),
        resources: protocol::Resources::default(),
        scope: KeyScope::Portable,
        natives: vec![],
        companions: vec![],
        continues: vec![],
        metrics: None,
        checks: false,
        time: None,
    }
}

fn download() -> OpManifest {
    let params = json!({
        "type": "object",
        "properties": {
            "source": { "type": "string", "x-pipe-source": true, "description": "Where the images are." },
            "format": { "type": "string", "enum": ["cifar10-binary", "image-folder"] },
            "size": { "type": ["integer", "null"], "format": "uint64", "minimum": 0, "default": null },
        },
        "required": ["source", "format"],
        "additionalProperties": false,
    });
    op(params, &[], &[("dataset", "dataset.safetensors")])
}

fn train() -> OpManifest {
    let params = json!({
        "type": "object",
        "properties": {
            "epochs": { "type": "integer", "format": "uint", "minimum": 1, "default": 150 },
            "lr": { "type": "number", "exclusiveMinimum": 0.0, "default": 0.05 },
            "label_smoothing": { "type": "number", "minimum": 0.0, "maximum": 1.0, "default": 0.1 },
            "device": { "$ref": "#/$defs/Device", "default": "auto" },
            "network": { "anyOf": [{ "$ref": "#/$defs/Network" }, { "type": "null" }], "default": null },
            "tags": { "type": "array", "items": { "type": "string" }, "default": [] },
        },
        "additionalProperties": false,
        "$defs": {
            "Device": { "oneOf": [
                { "type": "string", "const": "auto", "description": "What is there." },
                { "type": "string", "const": "cpu" },
                { "type": "string", "const": "cuda" },
            ] },
            "Network": {
                "type": "object",
                "properties": { "layers": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/Layer" } } },
                "required": ["layers"],
                "additionalProperties": false,
            },
            "Layer": { "oneOf": [
                {
                    "type": "object",
                    "properties": { "conv": { "$ref": "#/$defs/Conv" } },
                    "required": ["conv"],
                    "additionalProperties": false,
                },
                {
                    "type": "object",
                    "properties": { "dropout": { "type": "object" } },
                    "required": ["dropout"],
                    "additionalProperties": false,
                },
            ] },
            "Conv": {
                "type": "object",
                "properties": { "out": { "type": "integer", "minimum": 1 }, "stride": { "type": "integer" } },
                "required": ["out"],
                "additionalProperties": false,
            },
        },
    });
    let mut train = op(params, &[("dataset", false)], &[("weights", "weights.safetensors")]);
    train.resources.threads = Threads::All;
    train.metrics = Some(vec![
        "val_accuracy".into(),
        "train_loss".into(),
        "top{k}".into(),
        "batch{with.tags}.ms".into(),
        "gpu_ms{if with.device=cuda}".into(),
    ]);
    train
}

fn evaluate() -> OpManifest {
    let params = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    let mut evaluate = op(params, &[("dataset", false)], &[]);
    evaluate.extra_inputs = Some(InputSpec { description: "a variant".into(), optional: true });
    evaluate.metrics = Some(vec!["{input}.accuracy".into()]);
    evaluate.scope = KeyScope::Hardware;
    evaluate
}

/// An op that does not say what it reports.
fn tool() -> OpManifest {
    let mut tool = op(json!({ "type": "object" }), &[], &[("o", "o")]);
    tool.extra_inputs = Some(InputSpec { description: "anything".into(), optional: true });
    tool
}

/// The folder that the tests' pipelines lie in: this package's.
fn pipeline_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("p.yaml")
}

fn overrides(set: &[(&str, &str)], profile: Option<&str>) -> Overrides {
    let set = set.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Overrides { set, profile: profile.map(Into::into) }
}

/// Reads `text` under `overrides`: the pipeline, or the problems as printed.
fn read_with(text: &str, overrides: &Overrides) -> Result<Pipeline, String> {
    parse_text(text, "p.yaml", pipeline_file())
        .and_then(|parsed| resolve(parsed, overrides, &Fakes))
        .map_err(|problems| problems.to_string())
}

pub(super) fn read(text: &str) -> Result<Pipeline, String> {
    read_with(text, &Overrides::default())
}

/// What is printed for [`GOOD`] with `from` replaced by `to`.
fn spoilt(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    read(&GOOD.replacen(from, to, 1)).expect_err("nothing was found wrong")
}

/// What is printed for [`GOOD`] with this `--set`.
fn refused_set(name: &str, value: &str) -> String {
    read_with(GOOD, &overrides(&[(name, value)], None)).expect_err("nothing was found wrong")
}

/// A pipeline that is right, to be spoilt.
pub(super) const GOOD: &str = "\
version: 1
name: tiny
vars:
  epochs: 5
  smoothing: 0.1
profiles:
  demo: { epochs: 2 }
stages:
  download:
    uses: data/download
    with: { source: Cargo.toml, format: image-folder }
  train:
    uses: torch/train
    inputs: { dataset: download.dataset }
    with:
      epochs: ${vars.epochs}
      label_smoothing: ${vars.smoothing}
  package:
    run: gzip -c ${inputs.weights} > ${outputs.bundle}
    inputs: { weights: train.weights }
    outputs: { bundle: weights.gz }
gates:
  - train.val_accuracy >= 85
report:
  rows: { FP32: train }
  columns:
    - { label: accuracy, metric: \"${row}.val_accuracy\", reference: { FP32: 91.16 } }
";
