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

use dataset::{Outline, SplitName};
use protocol::{
    CheckRequest, Failure, InputSpec, OpManifest, OutputSpec, Problem, Reporter, RunRequest, TimeSpec,
};
use schemars::{JsonSchema, schema_for};
use serde::de::DeserializeOwned;

use crate::images::{Wanted, draw};
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

/// What is wrong with what a stage asks for, before anything runs; of ops with `checks`.
pub(crate) fn check(request: &CheckRequest) -> Vec<Problem> {
    let failures = match request.op.as_str() {
        "bench" => bench::failures(request),
        "calibrate" => calibrate::failures(request),
        "evaluate" => evaluate::failures(request),
        "export" => export::failures(request),
        "sensitivity" => sensitivity::failures(request),
        _ => Vec::new(),
    };
    failures.into_iter().map(|failure| Problem::from(failure).about(&request.params)).collect()
}

/// The params of a request, or why they are none.
fn checked_params<P: DeserializeOwned>(request: &CheckRequest) -> Result<P, Vec<Failure>> {
    serde_json::from_value(request.params.clone()).map_err(|error| vec![Failure::new(error.to_string())])
}

/// How many images of a split there are, if its dataset is there and can be read.
fn images_of(request: &CheckRequest, split: SplitName) -> Option<usize> {
    let outline = Outline::read(request.present.get("dataset")?).ok()?;
    Some(match split {
        SplitName::Train => outline.train,
        SplitName::Test => outline.test,
    })
}

/// Why images cannot be drawn from a split, as far as its dataset is there.
fn cannot_draw(request: &CheckRequest, split: SplitName, wanted: Wanted, seed: u64) -> Option<Failure> {
    let there = images_of(request, split)?;
    draw(wanted, seed, there, &format!("the {} split", split.as_str())).err()
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
        metrics: None,
        checks: false,
        time: None,
    }
}

/// Names in a manifest.
fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// What the time of an op is in proportion to, and what of its params and inputs it hardly depends on.
fn time(scales_with: &[&str], ignores: &[&str]) -> Option<TimeSpec> {
    Some(TimeSpec { scales_with: names(scales_with), ignores: names(ignores) })
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

#[cfg(test)]
mod tests {
    use dataset::Synthetic;
    use protocol::Place;
    use serde_json::{Value, json};

    use super::*;

    /// Place and message of the only problem.
    fn only(op: &str, params: Value, inputs: &[&str], dataset: Option<&std::path::Path>) -> (Place, String) {
        let inputs = inputs.iter().map(ToString::to_string).collect();
        let present = dataset.map(|path| ("dataset".to_owned(), path.to_owned())).into_iter().collect();
        let problems = check(&CheckRequest { op: op.into(), params, inputs, present, threads: 2 });
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        (problem.place.clone(), problem.message.clone())
    }

    #[test]
    fn params_that_contradict_each_other_are_told_where_they_stand() {
        let network = json!({"input": [3, 8, 8], "layers": [{"linear": {}}]});
        for (op, params, place, expected) in [
            ("bench", json!({"batches": [1]}), "/batches", "`batches` has 1 values, `calls` 2"),
            ("bench", json!({"baseline": "float"}), "/baseline", "is no input of this stage"),
            ("bench", json!({"threads": [64]}), "/threads", "asks for 64, but this stage has 2 threads"),
            ("evaluate", json!({"baseline": "float"}), "/baseline", "is no variant of this stage"),
            ("export", json!({"network": network}), "/network", "without `classes` or `normalization`"),
        ] {
            let (found, message) = only(op, params, &["fp32"], None);
            assert_eq!(found, Place::Param(place.into()), "{message}");
            assert!(message.contains(expected), "{message}");
        }
        assert!(only("bench", json!({}), &[], None).1.contains("nothing to time"));
    }

    #[test]
    fn more_images_than_there_are_are_told_with_their_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d");
        Synthetic { train: 30, test: 20, seed: 1 }.dataset().unwrap().write(&path).unwrap();
        for (op, params, there) in [
            ("calibrate", json!({"images": 31}), "30"),
            ("calibrate", json!({"images": 21, "split": "test"}), "20"),
            ("sensitivity", json!({"images": 31}), "30"),
            ("evaluate", json!({"images": 21}), "20"),
        ] {
            let (place, message) = only(op, params, &["dataset", "fp32"], Some(&path));
            assert_eq!(place, Place::Param("/images".into()), "{message}");
            assert!(message.ends_with(there), "{message}");
        }
        let request = |op: &str| CheckRequest {
            op: op.into(),
            params: json!({}),
            inputs: ["dataset".to_owned()].into(),
            present: [("dataset".to_owned(), path.clone())].into(),
            threads: 2,
        };
        for op in ["calibrate", "sensitivity", "evaluate"] {
            assert_eq!(check(&request(op)), [], "{op}: by default up to what there is");
        }
    }
}
