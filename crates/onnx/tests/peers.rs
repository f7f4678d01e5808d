//! Built models against Python's `onnx.checker` and the models that `torch.onnx.export` made of the same weights.
//!
//! Wants `PIPE_PEERS_PYTHON` to name a Python with `numpy`, `onnx` and `onnxruntime`, and the reference models
//! beside the repository; without them it says so and passes.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows that of functions marked as tests"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use model::{Network, Weights, WeightsMetadata};
use onnx::build::{BuildOptions, from_network};
use onnx::{Model, Shapes};

fn reference(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference").join(file);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: no {file} beside the repository");
    None
}

fn python() -> Option<PathBuf> {
    let python = std::env::var_os("PIPE_PEERS_PYTHON").map(PathBuf::from);
    if python.is_none() {
        println!("skipped: PIPE_PEERS_PYTHON is not set");
    }
    python
}

fn weights(state_dict: &Path) -> Weights {
    let metadata: WeightsMetadata = serde_json::from_value(serde_json::json!({
        "network": Network::tinynet(),
        "classes": ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
        "normalization": { "mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010] },
    }))
    .unwrap();
    Weights::read_state_dict(state_dict, metadata).unwrap()
}

fn build(state_dict: &Path, opset: i64) -> Model {
    let weights = weights(state_dict);
    from_network(&weights.graph().unwrap(), &weights, &BuildOptions { opset }).unwrap()
}

fn compare(state_dict: &str, exported: &str, opsets: &[i64]) {
    let (Some(state_dict), Some(exported), Some(python)) =
        (reference(state_dict), reference(exported), python())
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    for &opset in opsets {
        let path = folder.path().join(format!("opset{opset}.onnx"));
        build(&state_dict, opset).write(&path).unwrap();
        let output = Command::new(&python)
            .arg(manifest.join("tests/peers.py"))
            .args([&path, &exported, &manifest.join("../../../shared/data/cifar10-binary-sample.tar.gz")])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        println!("opset {opset}, {} bytes\n{text}", std::fs::metadata(&path).unwrap().len());
        assert!(output.status.success(), "opset {opset}: {text}");
    }
}

#[test]
fn a_built_model_agrees_with_the_export_of_pytorch() {
    compare("model/tinynet.safetensors", "model/tinynet.onnx", &[11, 12, 13, 14, 15, 17, 19, 20, 21]);
}

#[test]
fn the_notebooks_weights_agree_with_the_notebooks_model() {
    compare("notebook-model/best_model.safetensors", "notebook-model/model_fp32.onnx", &[13]);
}

/// What ONNX itself tests runtimes with, each with its operands as inputs, and all but the first as constants: nothing of it
/// contradicts the specification.
#[test]
fn none_of_the_models_that_onnx_tests_runtimes_with_is_called_invalid() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node_models.py");
    let output = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut read, mut wrong) = (0, vec![]);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        match Model::from_bytes(&std::fs::read(&path).unwrap()) {
            Ok(_) => read += 1,
            Err(onnx::Error::Unsupported(_)) => {}
            Err(error) => wrong.push(format!("{}: {error}", path.display())),
        }
    }
    println!("{read} models read");
    assert!(wrong.is_empty() && read > 2_000, "{read} read; {}", wrong.join("\n"));
}

#[test]
fn the_same_weights_give_the_same_bytes() {
    let Some(state_dict) = reference("model/tinynet.safetensors") else { return };
    let (one, two) = (build(&state_dict, 13), build(&state_dict, 13));
    assert_eq!(one.to_bytes(), two.to_bytes());
    assert_eq!(Model::from_bytes(&one.to_bytes()).unwrap(), one);
    assert_eq!(one.metadata.keys().collect::<Vec<_>>(), ["classes", "network", "normalization"]);
    let ops = |op: &str| one.graph.nodes.iter().filter(|node| node.is(op)).count();
    assert_eq!((ops("Conv"), ops("Clip"), ops("Gemm"), ops("BatchNormalization")), (36, 15, 1, 0));
    let shapes = Shapes::infer(&one.graph).unwrap();
    assert_eq!(shapes.dims("output"), one.graph.outputs[0].shape.as_deref());
}

#[test]
fn an_exported_model_is_read_written_and_simplified() {
    let Some(path) = reference("notebook-model/model_fp32.onnx") else { return };
    let exported = Model::read(&path).unwrap();
    assert_eq!(Model::from_bytes(&exported.to_bytes()).unwrap(), exported);
    let simple = exported.simplified().unwrap();
    let ops = |op: &str| simple.graph.nodes.iter().filter(|node| node.is(op)).count();
    assert_eq!((ops("Constant"), ops("Shape"), ops("Reshape"), ops("Flatten")), (0, 0, 0, 1));
    let shapes = Shapes::infer(&simple.graph).unwrap();
    assert_eq!(shapes.dims("output"), exported.graph.outputs[0].shape.as_deref());
}

#[test]
fn damaged_files_are_refused_without_a_panic() {
    let Some(path) = reference("model/tinynet.onnx") else { return };
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(4099) {
        assert!(Model::from_bytes(&whole[..length]).is_err(), "{length} bytes");
    }
    let mut state = 1_u64;
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (state >> 33) as usize % 20_000;
            bytes[place] = (state >> 20) as u8;
        }
        if let Ok(model) = Model::from_bytes(&bytes) {
            let _ = model.simplified().map(|model| model.compacted().to_bytes());
        }
    }
}
