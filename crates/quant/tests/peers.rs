//! Quantized models in the real ONNX Runtime, beside those of Python's `onnxruntime.quantization`.
//!
//! Wants `PIPE_PEERS_PYTHON` to name a Python with `numpy`, `onnx` and `onnxruntime`, and the reference models
//! beside the repository; without them it says so and passes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy only knows that of functions marked as tests"
)]
#![expect(dead_code, reason = "the support of all tests")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use onnx::Model;
use quant::{
    ActivationType, BiasType, DynamicOptions, DynamicScheme, Lineage, Method, Observer, Ranges,
    StaticOptions, Target, observed_model, quantize_dynamic, quantize_static, tensors_to_observe,
};
use serde::de::DeserializeOwned;

const TINYNET: &str = "model/tinynet.onnx";
const NOTEBOOK: &str = "notebook-model/model_fp32.onnx";

/// Python, and the float model that it is asked about.
struct Peers {
    python: PathBuf,
    float_path: PathBuf,
    float: Model,
    folder: tempfile::TempDir,
}

impl Peers {
    /// About a file among the reference models.
    fn with(file: &str) -> Option<Self> {
        let path = beside("reference").join(file);
        if !path.exists() {
            println!("skipped: no {file} beside the repository");
            return None;
        }
        let float = Model::read(&path).unwrap();
        Some(Self { float_path: path, ..Self::about(&float)? })
    }

    fn about(float: &Model) -> Option<Self> {
        let Some(python) = std::env::var_os("PIPE_PEERS_PYTHON").map(PathBuf::from) else {
            println!("skipped: PIPE_PEERS_PYTHON is not set");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let float_path = folder.path().join("float.onnx");
        float.write(&float_path).unwrap();
        Some(Self { python, float_path, float: float.clone(), folder })
    }

    fn run(&self, arguments: &[&Path]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers.py");
        let output = Command::new(&self.python).arg(script).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn ask<T: DeserializeOwned>(&self, arguments: &[&Path]) -> T {
        let text = self.run(arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn save(&self, name: &str, model: &Model) -> PathBuf {
        let path = self.folder.path().join(name);
        model.write(&path).unwrap();
        path
    }

    fn ranges(&self) -> Ranges {
        let observed = self.save("observed.onnx", &observed_model(&self.float).unwrap());
        let text = self.run(&[Path::new("ranges"), &observed, &archive()]);
        let mut observer = Observer::new(tensors_to_observe(&self.float).unwrap(), Method::Minmax, false);
        for line in text.lines() {
            let batch: BTreeMap<String, [f32; 2]> = serde_json::from_str(line).unwrap();
            let batch: Vec<(&str, &[f32])> =
                batch.iter().map(|(name, ends)| (name.as_str(), ends.as_slice())).collect();
            observer.observe(&batch, 1).unwrap();
        }
        observer.ranges(100.0, Lineage::default(), 1).unwrap()
    }

    fn ops(&self, model: &Path) -> BTreeMap<String, usize> {
        self.ask(&[Path::new("ops"), model])
    }

    fn agree(&self, ours: &Path, kind: &str) -> Agreement {
        let agreement: Agreement =
            self.ask(&[Path::new("agree"), &self.float_path, ours, &archive(), Path::new(kind)]);
        println!("{kind}: {agreement:?}");
        agreement
    }
}

#[derive(Debug, serde::Deserialize)]
struct Agreement {
    ours: Quality,
    theirs: Quality,
}

#[derive(Debug, serde::Deserialize)]
struct Quality {
    agreement: f64,
    correlation: f64,
    sqnr_db: f64,
    bytes: usize,
}

fn beside(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(folder)
}

fn archive() -> PathBuf {
    beside("data").join("cifar10-binary-sample.tar.gz")
}

fn assert_integer_throughout(ops: &BTreeMap<String, usize>, dequantize: usize) {
    let expected = [
        ("QLinearConv", 36),
        ("QLinearSigmoid", 7),
        ("QLinearMul", 7),
        ("QLinearAdd", 3),
        ("QLinearGlobalAveragePool", 8),
        ("QGemm", 1),
        ("Pad", 1),
        ("QuantizeLinear", 1),
        ("DequantizeLinear", dequantize),
        ("Transpose", 2),
        ("Tile", 6), // of the gates, along rows of at least eight
        ("Flatten", 1),
    ];
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(op, count)| (op.to_owned(), count))
        .collect();
    assert_eq!(*ops, expected);
}

#[test]
fn static_models_are_integer_throughout_and_small() {
    let Some(peers) = Peers::with(TINYNET) else { return };
    let ranges = peers.ranges();
    for (per_channel, bias, quantize_output) in [
        (true, BiasType::Float, false),
        (true, BiasType::Int32, true),
        (false, BiasType::Float, true),
        (false, BiasType::Int32, false),
    ] {
        let options = StaticOptions { per_channel, bias, quantize_output, ..StaticOptions::default() };
        let (model, summary) = quantize_static(&peers.float, &ranges, None, &options).unwrap();
        assert_eq!(summary.float_layers().count(), 0, "{summary:?}");
        let path = peers.save("static.onnx", &model);
        peers.run(&[Path::new("check"), &path]);
        println!("{options:?}: {} bytes", summary.bytes_after);
        assert_integer_throughout(&peers.ops(&path), usize::from(quantize_output));
        // Biases of integers take an operator more each.
        let most = if bias == BiasType::Float { 105_000 } else { 110_000 };
        assert!(summary.bytes_after <= most, "{}", summary.bytes_after);
    }
}

#[test]
fn every_opset_fuses() {
    let Some(peers) = Peers::with(TINYNET) else { return };
    let ranges = peers.ranges();
    for opset in [14, 17, 19, 21] {
        let options = StaticOptions { opset: Some(opset), compact: opset != 14, ..StaticOptions::default() };
        let (model, _) = quantize_static(&peers.float, &ranges, None, &options).unwrap();
        assert_eq!(model.opset(), opset);
        let path = peers.save("static.onnx", &model);
        peers.run(&[Path::new("check"), &path]);
        assert_integer_throughout(&peers.ops(&path), 0);
    }
}

#[test]
fn static_models_are_as_faithful_as_the_python_tools() {
    for model in [TINYNET, NOTEBOOK] {
        let Some(peers) = Peers::with(model) else { return };
        let ranges = peers.ranges();
        let kinds = [("static", ActivationType::U8, true), ("static_s8", ActivationType::S8, false)];
        for (kind, activations, per_channel) in kinds {
            // The Python tool's weights may saturate on processors without VNNI.
            let target = Target::X86_64Vnni;
            let options = StaticOptions {
                target,
                activations: Some(activations),
                per_channel,
                ..StaticOptions::default()
            };
            let (model, _) = quantize_static(&peers.float, &ranges, None, &options).unwrap();
            let safe = StaticOptions { target: Target::X86_64, ..options };
            let (safe, _) = quantize_static(&peers.float, &ranges, None, &safe).unwrap();
            let safe = peers.agree(&peers.save("safe.onnx", &safe), kind).ours;
            let Agreement { ours, theirs } = peers.agree(&peers.save("static.onnx", &model), kind);
            assert!(safe.sqnr_db >= ours.sqnr_db - 1.0, "what weights that cannot saturate cost");
            assert!(ours.agreement >= theirs.agreement - 0.01);
            assert!(ours.sqnr_db >= theirs.sqnr_db - 0.5);
            assert!(ours.correlation > 0.98);
            assert!(ours.bytes < theirs.bytes);
        }
    }
}

#[test]
fn dynamic_models_are_as_faithful_as_the_python_tools() {
    for (model, scheme, per_channel) in [
        (TINYNET, DynamicScheme::Fast, true),
        (TINYNET, DynamicScheme::Everything, false),
        (TINYNET, DynamicScheme::WeightsOnly, true),
        (NOTEBOOK, DynamicScheme::Fast, true),
    ] {
        let Some(peers) = Peers::with(model) else { return };
        let options = DynamicOptions { scheme, per_channel, ..DynamicOptions::default() };
        let (model, summary) = quantize_dynamic(&peers.float, &options).unwrap();
        let path = peers.save("dynamic.onnx", &model);
        peers.run(&[Path::new("check"), &path]);
        println!("{options:?}: {} bytes, {:?}", summary.bytes_after, peers.ops(&path));
        let Agreement { ours, theirs } = peers.agree(&path, "dynamic");
        assert!(ours.agreement >= theirs.agreement - 0.01);
        assert!(ours.sqnr_db >= theirs.sqnr_db - 0.5);
        assert!(ours.bytes < theirs.bytes);
    }
}

#[test]
fn weights_only_leaves_the_runtime_nothing_to_convert() {
    let Some(peers) = Peers::with(TINYNET) else { return };
    let options = DynamicOptions { scheme: DynamicScheme::WeightsOnly, ..DynamicOptions::default() };
    let (model, _) = quantize_dynamic(&peers.float, &options).unwrap();
    let ops = peers.ops(&peers.save("dynamic.onnx", &model));
    let float = peers.save("float.onnx", &peers.float.simplified().unwrap());
    assert_eq!(ops, peers.ops(&float));
}

#[test]
fn other_networks_are_integer_throughout_and_faithful() {
    let Some(peers) = Peers::about(&support::varied()) else { return };
    let (model, _) = quantize_static(&peers.float, &peers.ranges(), None, &StaticOptions::default()).unwrap();
    let path = peers.save("static.onnx", &model);
    peers.run(&[Path::new("check"), &path]);
    let ops = peers.ops(&path);
    println!("{ops:?}");
    let allowed =
        ["QuantizeLinear", "Pad", "Flatten", "Transpose", "Tile", "MaxPool", "NhwcMaxPool", "QGemm"];
    assert!(ops.keys().all(|op| op.starts_with("QLinear") || allowed.contains(&op.as_str())), "{ops:?}");
    assert_eq!((ops["QLinearConv"], ops["QGemm"], ops["QuantizeLinear"]), (9, 2, 1));
    let Agreement { ours, theirs } = peers.agree(&path, "static");
    assert!(ours.sqnr_db >= theirs.sqnr_db - 0.5);
}

#[test]
fn operators_without_integer_forms_run_beside_integers() {
    let Some(peers) = Peers::about(&support::exported()) else { return };
    let (model, _) = quantize_static(&peers.float, &peers.ranges(), None, &StaticOptions::default()).unwrap();
    let path = peers.save("static.onnx", &model);
    peers.run(&[Path::new("check"), &path]);
    let ops = peers.ops(&path);
    println!("{ops:?}");
    for op in ["Clip", "Softmax", "QLinearConcat", "QLinearLeakyRelu", "QLinearMatMul"] {
        assert_eq!(ops.get(op), Some(&1), "{op} in {ops:?}");
    }
    let Agreement { ours, .. } = peers.agree(&path, "static");
    assert!(ours.sqnr_db > 20.0);
    let (dynamic, _) = quantize_dynamic(&peers.float, &DynamicOptions::default()).unwrap();
    let path = peers.save("dynamic.onnx", &dynamic);
    peers.run(&[Path::new("check"), &path]);
    assert!(peers.agree(&path, "dynamic").ours.sqnr_db > 20.0);
}
