//! The same INT8 file on another processor: run by `qemu` as one that has AVX2 and no VNNI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use onnx::{Attribute, Data, Dim, ElementType, Model, Node, Tensor};
use serde_json::json;

use crate::arrays::{npy, value};
use crate::support::{run, run_as, runtime, tiny_dataset};

/// Emulates one processor on another of the same family; in Debian's package `qemu-user`.
const EMULATOR: &str = "qemu-x86_64";

/// Two convolutions whose weights and inputs are large: what is added in 16 bits saturates unless that is seen to.
fn network() -> Model {
    let mut model = Model::new(13);
    for (name, shape) in [("u", [16, 3, 3, 3]), ("v", [16, 16, 1, 1])] {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|index| if index % 7 < 6 { 0.5 } else { -0.4 }).collect();
        model.graph.initializers.insert(name.into(), Tensor::new(shape.to_vec(), Data::F32(values)).unwrap());
    }
    model.graph.nodes = vec![
        Node::new("Conv", ["x", "u"], ["a"]).with("pads", Attribute::Ints(vec![1, 1, 1, 1])),
        Node::new("Relu", ["a"], ["b"]),
        Node::new("Conv", ["b", "v"], ["y"]),
    ];
    let maps = |channels| [Dim::Named("n".into()), Dim::Known(channels), Dim::Known(8), Dim::Known(8)];
    model.graph.inputs = vec![value("x", ElementType::F32, &maps(3))];
    model.graph.outputs = vec![value("y", ElementType::F32, &maps(16))];
    model
}

/// Whether there is all that this wants; prints that nothing is tested where there is not.
fn is_there() -> bool {
    let Some(()) = runtime() else { return false };
    let is_there = Command::new(EMULATOR).arg("--version").output().is_ok_and(|said| said.status.success());
    if !is_there || !cfg!(target_arch = "x86_64") {
        println!("NOT TESTED: there is no `{EMULATOR}`, or this is no x86-64");
        return false;
    }
    true
}

#[test]
fn models_are_evaluated_as_on_other_processors() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut model = network();
    let flat = ["f", "weights", "scores"];
    let weights =
        Tensor::new(vec![16 * 64, 10], Data::F32((0..16 * 640).map(|at| (at % 13) as f32 / 13.0).collect()));
    model.graph.initializers.insert(flat[1].into(), weights.unwrap());
    model.graph.nodes.push(Node::new("Flatten", ["y"], [flat[0]]));
    model.graph.nodes.push(Node::new("MatMul", [flat[0], flat[1]], [flat[2]]));
    let dims = [Dim::Named("n".into()), Dim::Known(10)];
    model.graph.outputs = vec![value(flat[2], ElementType::F32, &dims)];
    model.write(&at("fp32.onnx")).unwrap();
    let (fp32, dataset, predictions) =
        (at("fp32.onnx"), tiny_dataset(folder.path(), [3, 8, 8]), at("predictions"));
    let inputs = [("dataset", dataset.as_path()), ("fp32", fp32.as_path())];
    let outputs = [("predictions", predictions.as_path())];
    let normalization = json!({ "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5] });
    let params = json!({ "processors": ["haswell"], "normalization": normalization });
    let said = run("evaluate", params, &inputs, &outputs).done();
    assert_eq!(said.value("fp32.haswell_agreement"), 100.0);
    assert_eq!(said.value("fp32.haswell_accuracy"), said.value("fp32.accuracy"));
    assert!(said.metrics["fp32.haswell_differ"].basis.ends_with(" as Haswell"), "{:?}", said.metrics);
    assert!(said.figures.contains_key("processors"));
    let arm = json!({ "processors": ["neoverse_n1"], "normalization": normalization });
    assert!(run("evaluate", arm, &inputs, &outputs).failed().contains("do not run on it"));
}

/// The network, what it is calibrated on, and its ranges and moments, in a folder.
fn calibrated(folder: &Path) -> [PathBuf; 4] {
    let at = |name: &str| folder.join(name);
    fs::create_dir(at("arrays")).unwrap();
    let pixels: Vec<u8> = (0..8 * 3 * 64)
        .flat_map(|index| {
            ((index * 37 % 101) as f32 / 101.0 * if index % 5 == 0 { 0.1 } else { 1.0 }).to_le_bytes()
        })
        .collect();
    fs::write(at("arrays/x.npy"), npy("<f4", &[8, 3, 8, 8], &pixels)).unwrap();
    network().write(&at("m.onnx")).unwrap();
    let [model, arrays, ranges, moments] = ["m.onnx", "arrays", "r.json", "m.safetensors"].map(at);
    let inputs = [("model", model.as_path()), ("arrays", arrays.as_path())];
    run("calibrate", json!({}), &inputs, &[("ranges", &ranges), ("moments", &moments)]).done();
    [model, arrays, ranges, moments]
}

/// What `quantize` reads.
fn inputs([model, arrays, ranges, moments]: &[PathBuf; 4]) -> [(&'static str, &Path); 4] {
    [("model", model), ("arrays", arrays), ("ranges", ranges), ("moments", moments)]
}

#[test]
fn what_a_browser_would_compute_more_slowly_in_integers_stays_in_floats() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = calibrated(folder.path());
    let int8 = folder.path().join("int8.onnx");
    let quantized = |params| run("quantize", params, &inputs(&files), &[("model", &int8)]).done();
    assert!(quantized(json!({})).value("integer_layers") > 0.0);
    let said = quantized(json!({ "target": "wasm" }));
    assert_eq!(said.value("integer_layers"), 0.0);
    assert!(said.logs.iter().any(|line| line.contains("in a browser")), "{:?}", said.logs);
    let model = Model::read(&int8).unwrap();
    let has_bytes = |tensor: &Tensor| matches!(tensor.data(), Data::I8(_));
    assert_eq!(model.graph.initializers.values().filter(|tensor| has_bytes(tensor)).count(), 2);
}

#[test]
fn a_model_for_every_x86_gives_the_same_bits_with_and_without_vnni() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let files = calibrated(folder.path());
    let [model, arrays, ..] = &files;
    // Without VNNI here, there is nothing to compare with.
    let has_vnni = is_x86_feature_detected!("avx512vnni");
    for (target, is_same) in [("x86_64", true), ("x86_64-vnni", !has_vnni)] {
        let int8 = at(&format!("{target}.onnx"));
        run("quantize", json!({ "target": target }), &inputs(&files), &[("model", &int8)]).done();
        let judged = [("fp32", model.as_path()), ("int8", int8.as_path()), ("arrays", arrays.as_path())];
        let [here, there] = [&[][..], &[EMULATOR, "-cpu", "Haswell"]].map(|processor| {
            let predictions = at(&format!("{target}-{}", processor.len()));
            let outputs = [("predictions", predictions.as_path())];
            run_as(processor, "evaluate", json!({ "baseline": "fp32" }), &judged, &outputs).done();
            fs::read(predictions.join("int8.npz")).unwrap()
        });
        assert_eq!(here == there, is_same, "{target}");
    }
}
