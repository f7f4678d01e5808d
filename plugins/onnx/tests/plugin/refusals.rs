//! Bad input: what fails says what, where, and what to do.

use std::fs;
use std::process::Command;

use protocol::Manifest;
use serde_json::json;

use crate::support::{EXECUTABLE, repository, run, runtime, shared, tiny_dataset};

fn describe(library: Option<&str>) -> Manifest {
    let mut command = Command::new(EXECUTABLE);
    command.arg("describe");
    if let Some(path) = library {
        command.env("ORT_DYLIB_PATH", path);
    }
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
}

#[test]
fn without_the_library_the_manifest_says_what_to_do() {
    let manifest = describe(Some("/no/such/libonnxruntime.so"));
    let library = &manifest.natives["onnxruntime"];
    assert_eq!(library.version, None);
    assert!(library.remedy.as_ref().unwrap().contains("cargo xtask setup"));
    assert_eq!(manifest.ops.len(), 8);
    assert_eq!(manifest.env, ["ORT_DYLIB_PATH"]);
    assert_eq!(manifest.ops["calibrate"].params["properties"]["images"]["default"], json!(null));
    assert_eq!(manifest.ops["bench"].params["additionalProperties"], false);
}

#[test]
fn with_the_library_the_manifest_has_its_version() {
    let Some(()) = runtime() else { return };
    let library = &describe(None).natives["onnxruntime"];
    assert!(library.version.as_ref().unwrap().starts_with("1."), "{library:?}");
    assert!(library.path.as_ref().unwrap().is_file());
    assert!(library.detail.contains("CPU"));
}

#[test]
fn a_model_that_is_garbage_is_named() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.onnx");
    fs::write(&garbage, "this is no model").unwrap();
    let dataset = tiny_dataset(folder.path(), [3, 32, 32]);
    let inputs = [("dataset", dataset.as_path()), ("broken", &garbage)];
    let out = folder.path().join("out");
    let message = run("evaluate", json!({}), &inputs, &[("predictions", &out)]).failed();
    assert!(message.contains("cannot evaluate `broken`") && message.contains("garbage.onnx"), "{message}");
    let message = run("quantize-dynamic", json!({}), &[("model", &garbage)], &[("model", &out)]).failed();
    assert!(message.contains("garbage.onnx"), "{message}");
}

/// An operator of ONNX's own that is not looked at any closer, with a constant of a type that it does not take.
#[test]
fn what_the_runtime_refuses_before_it_is_quantized_is_no_fault_of_quantizing() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [float, int8] = ["float.onnx", "int8.onnx"].map(|name| folder.path().join(name));
    let from = repository().join("plugins/onnx/tests/torch/legacy.onnx");
    let mut model = onnx::Model::read(&from).unwrap();
    let output = model.graph.outputs[0].name.clone();
    let last = model.graph.nodes.last_mut().unwrap();
    last.outputs = vec!["logits".into()];
    let least = onnx::Tensor::new(vec![], onnx::Data::I64(vec![0])).unwrap();
    model.graph.initializers.insert("least".into(), least);
    model.graph.nodes.push(onnx::Node::new("Clip", ["logits", "least"], [output.as_str()]));
    model.write(&float).unwrap();
    let message = run("quantize-dynamic", json!({}), &[("model", &float)], &[("model", &int8)]).failed();
    assert!(message.contains("the float model does not work") && message.contains("float.onnx"), "{message}");
    assert!(!int8.exists());
}

#[test]
fn a_baseline_that_is_no_variant_is_named_with_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = tiny_dataset(folder.path(), [3, 32, 32]);
    let model = folder.path().join("m.onnx");
    let inputs = [("dataset", dataset.as_path()), ("fp32", &model), ("int8", &model)];
    let out = folder.path().join("out");
    let message = run("evaluate", json!({ "baseline": "fp64" }), &inputs, &[("predictions", &out)]).failed();
    assert!(message.contains("`fp64`") && message.contains("`fp32`, `int8`"), "{message}");
    let message = run("bench", json!({ "baseline": "fp64" }), &[("fp32", &model)], &[]).failed();
    assert!(message.contains("`fp64`") && message.contains("`fp32`"), "{message}");
}

#[test]
fn nothing_to_evaluate_or_to_time_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = tiny_dataset(folder.path(), [3, 32, 32]);
    let out = folder.path().join("out");
    let message = run("evaluate", json!({}), &[("dataset", &dataset)], &[("predictions", &out)]).failed();
    assert!(message.contains("nothing to evaluate"), "{message}");
    assert!(run("bench", json!({}), &[], &[]).failed().contains("nothing to time"));
}

#[test]
fn images_of_another_size_are_refused_with_both_sizes() {
    let (Some(()), Some(model)) = (runtime(), shared("reference/model/tinynet.onnx")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let dataset = tiny_dataset(folder.path(), [1, 28, 28]);
    let out = folder.path().join("out");
    let inputs = [("dataset", dataset.as_path()), ("fp32", &model)];
    let message = run("evaluate", json!({}), &inputs, &[("predictions", &out)]).failed();
    assert!(message.contains("3×32×32") && message.contains("1×28×28"), "{message}");
}

#[test]
fn a_model_without_normalisation_needs_the_param() {
    let (Some(()), Some(model)) = (runtime(), shared("reference/model/tinynet.onnx")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let dataset = tiny_dataset(folder.path(), [3, 32, 32]);
    let out = folder.path().join("out");
    let inputs = [("dataset", dataset.as_path()), ("fp32", &model)];
    let message = run("evaluate", json!({}), &inputs, &[("predictions", &out)]).failed();
    assert!(message.contains("tinynet.onnx") && message.contains("`normalization`"), "{message}");
    let params = json!({ "normalization": { "mean": [0.5], "std": [0.5] } });
    let message = run("evaluate", params, &inputs, &[("predictions", &out)]).failed();
    assert!(message.contains("3 channels"), "{message}");
    let params =
        json!({ "normalization": { "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5] }, "images": 11 });
    let message = run("evaluate", params, &inputs, &[("predictions", &out)]).failed();
    assert!(message.contains("asks for 11") && message.contains("there are 10"), "{message}");
}

#[test]
fn predictions_of_other_images_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = tiny_dataset(folder.path(), [3, 32, 32]);
    let path = folder.path().join("torch.safetensors");
    let labels: Vec<i64> = (0..10).rev().collect();
    dataset::Predictions::new(vec![0.0; 100], 10, labels).unwrap().write(&path).unwrap();
    let inputs = [("dataset", dataset.as_path()), ("torch", &path)];
    let out = folder.path().join("out");
    let message = run("evaluate", json!({}), &inputs, &[("predictions", &out)]).failed();
    assert!(message.contains("torch.safetensors") && message.contains("make them anew"), "{message}");
}

#[test]
fn unknown_params_and_ops_are_named() {
    let message = run("bench", json!({ "round": 3 }), &[], &[]).failed();
    assert!(message.contains("`round`: unknown field") && message.contains("`rounds`"), "{message}");
    assert!(run("bunch", json!({}), &[], &[]).failed().contains("`bunch`"));
}

#[test]
fn a_model_that_contradicts_itself_is_named_with_the_attribute_and_nothing_is_written() {
    use onnx::{Attribute, Data, Dim, ElementType, Model, Node, Tensor, Value};
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("m.onnx"), folder.path().join("int8.onnx"));
    let mut model = Model::new(13);
    let node = Node::new("Conv", ["x", "w"], ["y"]).named("stem");
    model.graph.nodes = vec![node.with("kernel_shape", Attribute::Ints(vec![5, 5]))];
    let dims = [2, 3, 8, 8].map(Dim::Known).to_vec();
    let value = |name: &str, shape| Value { name: name.into(), element: ElementType::F32, shape };
    model.graph.inputs = vec![value("x", Some(dims))];
    model.graph.outputs = vec![value("y", None)];
    let weight = Tensor::new(vec![4, 3, 3, 3], Data::F32(vec![0.5; 108])).unwrap();
    model.graph.initializers.insert("w".into(), weight);
    fs::write(&path, model.to_bytes()).unwrap();
    for op in ["quantize-dynamic", "equalize", "calibrate", "quantize", "sensitivity"] {
        let outputs = [("model", out.as_path()), ("ranges", &out), ("moments", &out)];
        let images = folder.path().join("images");
        let all = [("model", path.as_path()), ("dataset", &images)];
        let inputs = if matches!(op, "calibrate" | "sensitivity") { &all[..] } else { &all[..1] };
        let message = run(op, json!({}), inputs, &outputs).failed();
        let said = "node `stem` (Conv): `kernel_shape` is [5, 5], but the weights have [3, 3]";
        assert!(message.contains(said) && message.contains("m.onnx"), "{op}: {message}");
        assert!(!out.exists(), "{op}");
    }
}
