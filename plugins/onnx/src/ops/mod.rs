//! The ops, one module each: a `manifest` and a `run`.

mod bench;
mod calibrate;
mod equalize;
mod evaluate;
mod export;
mod quantize;
mod quantize_dynamic;
mod quantized;
mod sensitivity;

use std::collections::BTreeMap;

use protocol::{Failure, InputSpec, OpManifest, OutputSpec, Reporter, RunRequest};
use schemars::{JsonSchema, schema_for};

use crate::request;

/// Name of the native library in the manifest.
pub(crate) const RUNTIME: &str = "onnxruntime";

/// All ops by name.
pub(crate) fn manifests() -> BTreeMap<String, OpManifest> {
    [
        ("export", export::manifest()),
        ("equalize", equalize::manifest()),
        ("calibrate", calibrate::manifest()),
        ("sensitivity", sensitivity::manifest()),
        ("quantize", quantize::manifest()),
        ("quantize-dynamic", quantize_dynamic::manifest()),
        ("evaluate", evaluate::manifest()),
        ("bench", bench::manifest()),
    ]
    .map(|(name, manifest)| (name.to_owned(), manifest))
    .into()
}

/// Runs the op that the request names.
pub(crate) fn run(request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
    match request.op.as_str() {
        "export" => export::run(request, reporter),
        "equalize" => equalize::run(request, reporter),
        "calibrate" => calibrate::run(request, reporter),
        "sensitivity" => sensitivity::run(request, reporter),
        "quantize" => quantize::run(request, reporter),
        "quantize-dynamic" => quantize_dynamic::run(request, reporter),
        "evaluate" => evaluate::run(request, reporter),
        "bench" => bench::run(request, reporter),
        other => Err(Failure::new(format!("plugin onnx has no op `{other}`"))),
    }
}

/// A portable op on one thread that uses ONNX Runtime and has params `P`, without inputs and outputs.
fn manifest_of<P: JsonSchema>(description: &str, version: u32) -> OpManifest {
    OpManifest {
        description: description.into(),
        version,
        params: schema_for!(P).to_value(),
        inputs: BTreeMap::new(),
        extra_inputs: None,
        outputs: BTreeMap::new(),
        resources: protocol::Resources::default(),
        scope: protocol::KeyScope::Portable,
        natives: vec![RUNTIME.into()],
        companions: vec![],
        continues: vec![],
    }
}

fn input(name: &str, description: &str) -> (String, InputSpec) {
    (name.into(), InputSpec { description: description.into(), optional: false })
}

fn optional_input(name: &str, description: &str) -> (String, InputSpec) {
    (name.into(), InputSpec { description: description.into(), optional: true })
}

/// The files beside the model that hold its weights.
fn weights_input() -> (String, InputSpec) {
    let description =
        "the file beside the model that holds its weights, where there is one, or a folder with several";
    optional_input(request::WEIGHTS, description)
}

fn output(name: &str, description: &str, file: &str) -> (String, OutputSpec) {
    (name.into(), OutputSpec { description: description.into(), file: file.into() })
}
