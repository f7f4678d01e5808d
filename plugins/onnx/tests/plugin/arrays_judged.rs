//! Models of anything but pictures evaluated, timed and looked at layer by layer on arrays.

use std::fs;
use std::path::{Path, PathBuf};

use arrays::Source;
use onnx::{Attribute, Dim, ElementType, Model, Node};
use protocol::{Cell, Content};
use serde_json::json;

use crate::arrays::{floats, npy, quantized, two_inputs, value, weights};
use crate::support::{Said, run, runtime};

const SAMPLES: usize = 12;

/// A model of two inputs, its INT8 one, and arrays for both with labels that are what the float model says, but for one.
fn set_up(folder: &Path, batch: &Dim) -> PathBuf {
    let at = |name: &str| folder.join(name);
    two_inputs(batch).write(&at("m.onnx")).unwrap();
    fs::create_dir_all(at("arrays")).unwrap();
    let rows: Vec<u8> = (0..SAMPLES).map(|index| u8::try_from(index * 5 % 9).unwrap()).collect();
    fs::write(at("arrays/x.npy"), npy("<f4", &[SAMPLES, 6], &floats(SAMPLES * 6))).unwrap();
    fs::write(at("arrays/i.npy"), npy("|u1", &[SAMPLES], &rows)).unwrap();
    quantized(folder, json!({})).unwrap();
    at("arrays")
}

fn evaluate(folder: &Path, params: serde_json::Value) -> Said {
    let at = |name: &str| folder.join(name);
    let (fp32, int8, arrays) = (at("m.onnx"), at("int8.onnx"), at("arrays"));
    let inputs = [("fp32", fp32.as_path()), ("int8", &int8), ("arrays", &arrays)];
    run("evaluate", params, &inputs, &[("predictions", &at("predictions"))])
}

/// The scores that the float model was found to give.
fn predicted(folder: &Path, name: &str) -> Vec<Vec<f32>> {
    let source = Source::open(&folder.join(format!("predictions/{name}.npz"))).unwrap();
    let y = source.take("y", &(0..source.samples()).collect::<Vec<_>>()).unwrap();
    let (values, _) = y.bytes.as_chunks::<4>();
    let values: Vec<f32> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    values.chunks(y.shape[1]).map(<[f32]>::to_vec).collect()
}

#[test]
fn variants_are_held_against_a_baseline_without_labels_and_against_labels() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    set_up(folder, &Dim::Named("n".into()));
    let said = evaluate(folder, json!({ "baseline": "fp32" })).done();
    assert!(said.value("int8.sqnr_db") > 20.0);
    assert_eq!(said.metrics["int8.agreement"].basis, "output y, 12 samples of arrays");
    assert!(!said.metrics.contains_key("int8.accuracy"));
    let (exact, rounded) = (predicted(folder, "fp32"), predicted(folder, "int8"));
    assert_eq!((exact.len(), exact[0].len()), (SAMPLES, 4));
    let powers = exact.concat().iter().zip(rounded.concat()).fold((0.0, 0.0), |(signal, noise), (x, y)| {
        let (x, y) = (f64::from(*x), f64::from(y));
        (signal + x * x, noise + (x - y) * (x - y))
    });
    let expected = 10.0 * (powers.0 / powers.1).log10();
    assert!((said.value("int8.sqnr_db") - expected).abs() < 1e-6, "{expected}");
    let Content::Table { rows, .. } = &said.figures["worst"].content else { panic!("no table") };
    assert_eq!(rows.len(), 10);

    // The samples of a fixed batch are those of an open one, but for what is left over.
    let single = tempfile::tempdir().unwrap();
    set_up(single.path(), &Dim::Known(5));
    let fives = evaluate(single.path(), json!({ "baseline": "fp32" })).done();
    assert!(fives.logs.iter().any(|log| log.contains("2 samples at the end left out")), "{:?}", fives.logs);
    assert_eq!(predicted(single.path(), "fp32"), exact[..10]);

    // Labels: what the float model says, but for the first sample.
    let best = |row: &Vec<f32>| (0..4).max_by(|one, two| row[*one].total_cmp(&row[*two])).unwrap();
    let mut classes: Vec<i64> = exact.iter().map(|row| i64::try_from(best(row)).unwrap()).collect();
    classes[0] = (classes[0] + 1) % 4;
    let bytes: Vec<u8> = classes.iter().flat_map(|class| class.to_le_bytes()).collect();
    fs::write(folder.join("arrays/label.npy"), npy("<i8", &[SAMPLES], &bytes)).unwrap();
    let said = evaluate(folder, json!({ "baseline": "fp32", "labels": "label" })).done();
    assert!((said.value("fp32.accuracy") - 1100.0 / 12.0).abs() < 1e-9);
    let agreeing = exact.iter().zip(&rounded).filter(|(one, two)| best(one) == best(two)).count();
    assert!((said.value("int8.agreement") - 100.0 * agreeing as f64 / 12.0).abs() < 1e-9);
    assert!(said.metrics.contains_key("int8.drop") && !said.metrics.contains_key("int8.top5_accuracy"));
    // An array that no input is called after is no reason to fail.
    let said = evaluate(folder, json!({})).done();
    assert!(said.logs.iter().any(|log| log.contains("`label` is not used")), "{:?}", said.logs);
}

/// Boxes and scores in one output, of pictures whose size is open; another that no sample has the first axis of.
#[test]
fn joined_parts_and_open_sizes_are_told() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut model = Model::new(13);
    weights(&mut model, "w", &[4, 3, 3, 3]);
    weights(&mut model, "v", &[2, 4, 1, 1]);
    model.graph.nodes = vec![
        Node::new("Conv", ["x", "w"], ["a"]),
        Node::new("Conv", ["a", "v"], ["b"]),
        Node::new("Concat", ["a", "b"], ["y"]).with("axis", Attribute::Int(1)),
        Node::new("ReduceMax", ["b"], ["most"]).with("keepdims", Attribute::Int(0)),
    ];
    let open = |name: &str| Dim::Named(name.into());
    let dims = [open("n"), Dim::Known(3), open("h"), open("w")];
    model.graph.inputs = vec![value("x", ElementType::F32, &dims)];
    let output = |name: &str| onnx::Value { name: name.into(), element: ElementType::F32, shape: None };
    model.graph.outputs = vec![output("y"), output("most")];
    model.write(&at("m.onnx")).unwrap();
    fs::write(at("arrays"), npy("<f4", &[4, 3, 10, 12], &floats(4 * 360))).unwrap();
    quantized(folder.path(), json!({})).unwrap();
    let said = evaluate(folder.path(), json!({ "baseline": "fp32" })).done();
    let Content::Table { rows, .. } = &said.figures["outputs"].content else { panic!("no table") };
    let named: Vec<&Cell> = rows.iter().map(|row| &row[1]).collect();
    let text = |text: &str| Cell::Text(text.into());
    assert_eq!(named, [&text("y"), &text("y, part a"), &text("y, part b"), &text("most")]);
    assert_eq!(rows[0][2], text("[6, 8, 10]"));
    assert!(said.value("int8.worst_part_sqnr_db") > 10.0 && said.value("int8.most.sqnr_db") > 10.0);
    let source = Source::open(&at("predictions/int8.npz")).unwrap();
    assert_eq!(source.headers()["most"].shape, [4]);
}

#[test]
fn what_does_not_fit_is_told_with_what_to_do() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    set_up(folder, &Dim::Named("n".into()));
    let write = |name: &str, bytes: Vec<u8>| fs::write(folder.join("arrays").join(name), bytes).unwrap();
    let classes = |values: [i64; SAMPLES]| {
        npy("<i8", &[SAMPLES], &values.iter().flat_map(|class| class.to_le_bytes()).collect::<Vec<_>>())
    };
    let told = |params: serde_json::Value, expected: &[&str]| {
        let failure = evaluate(folder, params).failed();
        for expected in expected {
            assert!(failure.contains(expected), "{failure}\nlacks {expected}");
        }
    };
    let labels = json!({ "baseline": "fp32", "labels": "l" });
    told(labels.clone(), &["`labels` names `l`, which is no array", "its arrays are `i`, `x`"]);
    write("l.npy", classes([4; SAMPLES]));
    told(labels.clone(), &["sample 0 is of class 4, but output `y` has scores of 4 classes, from 0"]);
    let mut minus = [0; SAMPLES];
    minus[3] = -1;
    write("l.npy", classes(minus));
    told(labels.clone(), &["holds -1 for sample 3, but classes count from 0"]);
    write("l.npy", npy("<f4", &[SAMPLES], &floats(SAMPLES)));
    told(labels.clone(), &["named by `labels`", "it holds float32, not whole numbers"]);
    write("l.npy", npy("<i8", &[SAMPLES, 2], &[0; 16 * SAMPLES]));
    told(labels.clone(), &["has shape [12, 2], not [samples]", "a metric of your own from `predictions`"]);
    write("l.npy", npy("<i8", &[SAMPLES - 1], &[0; 8 * (SAMPLES - 1)]));
    told(labels, &["different numbers of samples", "12 of `i`, 11 of `l`"]);
    // Such as names of files: of no use, and no reason to fail.
    write("l.npy", npy("<U1", &[SAMPLES], &[0; 4 * SAMPLES]));
    told(json!({ "baseline": "fp32", "labels": "l" }), &["array `l`", "holds text", "as a whole number"]);
    evaluate(folder, json!({ "baseline": "fp32" })).done();
    fs::remove_file(folder.join("arrays/l.npy")).unwrap();
    told(json!({ "scores": "z" }), &["`scores` names `z`, which is no output of `fp32`", "`y` of shape [4]"]);
    let mut values: Vec<f32> = vec![0.5; SAMPLES * 6];
    values[6 * 7 + 2] = f32::NAN;
    write(
        "x.npy",
        npy("<f4", &[SAMPLES, 6], &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>()),
    );
    told(json!({}), &["array `x`", "for input `x`", "sample 7 holds NaN"]);
    write("x.npy", npy("<f4", &[SAMPLES, 1, 6, 1], &floats(SAMPLES * 6)));
    told(
        json!({}),
        &["each of its samples has shape [1, 6, 1], but the model takes [any, 6]: save it as [samples, 6]"],
    );
    fs::remove_file(folder.join("arrays/x.npy")).unwrap();
    told(json!({}), &["has none for `x`"]);
}

fn bench(folder: &Path, more: &[(&str, &Path)], batches: &[usize]) -> Said {
    let ones = vec![1; batches.len()];
    let params = json!({
        "batches": batches, "calls": ones, "warmup_calls": ones, "rounds": 1, "baseline": "fp32", "max_interval": 1e9,
        "max_others": 1e9,
    });
    let (fp32, int8) = (folder.join("m.onnx"), folder.join("int8.onnx"));
    run("bench", params, &[&[("fp32", fp32.as_path()), ("int8", &int8)], more].concat(), &[])
}

#[test]
fn models_of_several_inputs_are_timed_on_arrays() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let arrays = set_up(folder.path(), &Dim::Named("n".into()));
    let shown = [("arrays", arrays.as_path())];
    // More than there are.
    let said = bench(folder.path(), &shown, &[1, 30]).done();
    assert!(said.value("int8.batch30.median_ms") > 0.0 && said.value("int8.batch1.speedup") > 0.0);
    assert_eq!(said.metrics["fp32.batch30.images_per_second"].unit, "samples/s");
    let failure = bench(folder.path(), &[], &[1]).failed();
    assert!(
        failure.contains("has 2 inputs") && failure.contains("give `arrays` for its inputs"),
        "{failure}"
    );
    let fives = tempfile::tempdir().unwrap();
    let arrays = set_up(fives.path(), &Dim::Known(5));
    let failure = bench(fives.path(), &[("arrays", &arrays)], &[5, 1]).failed();
    assert!(failure.contains("takes 5 samples in a call, not 1: set `batches: [5]`"), "{failure}");
}

#[test]
fn pictures_of_an_open_size_are_timed_at_that_of_a_dataset() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut model = Model::new(13);
    weights(&mut model, "w", &[4, 3, 3, 3]);
    model.graph.nodes = vec![Node::new("Conv", ["x", "w"], ["y"])];
    let open = |name: &str| Dim::Named(name.into());
    model.graph.inputs =
        vec![value("x", ElementType::F32, &[open("n"), Dim::Known(3), open("h"), open("w")])];
    model.graph.outputs = vec![onnx::Value { name: "y".into(), element: ElementType::F32, shape: None }];
    for name in ["m.onnx", "int8.onnx"] {
        model.write(&at(name)).unwrap();
    }
    let dataset = crate::support::tiny_dataset(folder.path(), [3, 12, 16]);
    assert!(bench(folder.path(), &[("dataset", &dataset)], &[1]).done().value("fp32.batch1.median_ms") > 0.0);
    let failure = bench(folder.path(), &[], &[1]).failed();
    assert!(failure.contains("give `dataset` or `arrays`, which have a size"), "{failure}");
}

/// Of the arrays that are not calibrated on.
#[test]
fn layers_are_measured_on_arrays_with_labels_and_without() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let arrays = set_up(folder.path(), &Dim::Named("n".into()));
    let (model, ranges, moments) = (at("m.onnx"), at("r.json"), at("m.safetensors"));
    run(
        "calibrate",
        json!({ "images": 4 }),
        &[("model", &model), ("arrays", &arrays)],
        &[("ranges", &ranges), ("moments", &moments)],
    )
    .done();
    let measure = |params: serde_json::Value| {
        let inputs =
            [("model", model.as_path()), ("ranges", &ranges), ("moments", &moments), ("arrays", &arrays)];
        run("sensitivity", params, &inputs, &[("sensitivity", &at("s.json"))])
    };
    let said = measure(json!({})).done();
    assert!(said.metrics["int8.agreement"].basis.starts_with("8 samples of arrays"));
    assert!(said.value("int8.sqnr_db") > 10.0 && !said.metrics.contains_key("int8.drop"));
    let layers = quant::Sensitivity::read(&at("s.json")).unwrap().layers;
    assert!(!layers.is_empty() && layers.iter().all(|layer| layer.output_db.is_some()), "{layers:?}");
    // A little above what it has with all layers in integers.
    let least = said.value("int8.sqnr_db") + 0.1;
    let kept = measure(json!({ "min_sqnr_db": least })).done();
    assert!(kept.value("mixed.sqnr_db") >= least && kept.value("float_layers") >= 1.0);
    let failure = measure(json!({ "min_sqnr_db": 190 })).failed();
    assert!(
        failure.contains("noise of at least 190 dB") && failure.contains("a lower `min_sqnr_db`"),
        "{failure}"
    );

    fs::write(at("arrays/l.npy"), npy("<i8", &[SAMPLES], &[0; 8 * SAMPLES])).unwrap();
    let said = measure(json!({ "labels": "l", "max_drop": 100 })).done();
    assert!(said.metrics.contains_key("int8.drop") && said.metrics.contains_key("fp32.accuracy"));
}

#[test]
fn balanced_layers_are_compared_on_arrays() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let arrays = set_up(folder.path(), &Dim::Named("n".into()));
    let model = at("m.onnx");
    let said =
        run("equalize", json!({}), &[("model", &model), ("arrays", &arrays)], &[("model", &at("e.onnx"))]);
    assert!(said.done().value("difference") < 1e-4);
    let failure = run("equalize", json!({}), &[("model", &model)], &[("model", &at("e.onnx"))]).failed();
    assert!(failure.contains("give arrays for its inputs: as the input `arrays`"), "{failure}");
}

#[test]
fn pictures_without_labels_are_enough_to_compare() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut model = Model::new(13);
    weights(&mut model, "w", &[4, 3, 3, 3]);
    model.graph.nodes = vec![Node::new("Conv", ["x", "w"], ["y"])];
    let open = |name: &str| Dim::Named(name.into());
    model.graph.inputs =
        vec![value("x", ElementType::F32, &[open("n"), Dim::Known(3), open("h"), open("w")])];
    model.graph.outputs = vec![onnx::Value { name: "y".into(), element: ElementType::F32, shape: None }];
    model.write(&at("fp32.onnx")).unwrap();
    weights(&mut model, "v", &[4, 3, 3, 3]);
    model.graph.nodes = vec![Node::new("Conv", ["x", "v"], ["y"])];
    model.write(&at("same.onnx")).unwrap();
    let pixels =
        |count: usize| (0..count * 3 * 8 * 9).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect();
    let split = |count: usize| dataset::Split::new([3, 8, 9], pixels(count), vec![0; count]).unwrap();
    let pictures = dataset::Dataset::new(
        vec!["picture".into()],
        split(5),
        split(0),
        dataset::Dataset::UNLABELLED,
        vec![],
    );
    pictures.unwrap().write(&at("d.safetensors")).unwrap();
    let (fp32, same, pictures) = (at("fp32.onnx"), at("same.onnx"), at("d.safetensors"));
    let inputs = [("fp32", fp32.as_path()), ("same", &same), ("dataset", &pictures)];
    let given = json!({ "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25] });
    let params = json!({ "baseline": "fp32", "normalization": given });
    let said = run("evaluate", params, &inputs, &[("predictions", &at("predictions"))]).done();
    assert_eq!(said.value("same.sqnr_db"), 200.0);
    assert_eq!(said.metrics["same.sqnr_db"].basis, "output y, 5 pictures");
    assert_eq!(Source::open(&at("predictions/same.npz")).unwrap().headers()["y"].shape, [5, 4, 6, 7]);
}
