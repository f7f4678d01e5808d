//! Ranges that are chosen by what rounding does to the outputs.

use std::fs;
use std::path::Path;

use onnx::{Data, Dim, ElementType, Model, Node, Tensor, Value};
use protocol::{Cell, Content};
use serde_json::{Value as Json, json};

use crate::arrays::npy;
use crate::support::{Said, run, runtime};

/// How many samples there are, and how high and wide they are.
const SAMPLES: usize = 40;
const SIZE: usize = 48;
const VALUES: usize = SIZE * SIZE;

/// Of each channel of a convolution the largest value or the mean, as `pool` says, and products with these.
fn pooled(pool: &str) -> Model {
    let mut model = Model::new(13);
    let mut weights = |name: &str, shape: [usize; 4]| {
        let count = shape.iter().product();
        let values = (0..count).map(|index: usize| (index * 29 % 83) as f32 / 83.0 - 0.4).collect();
        let shape = if name == "v" { shape[..2].to_vec() } else { shape.to_vec() };
        model.graph.initializers.insert(name.into(), Tensor::new(shape, Data::F32(values)).unwrap());
    };
    weights("w", [16, 1, 3, 3]);
    weights("v", [16, 8, 1, 1]);
    model.graph.nodes = vec![
        Node::new("Conv", ["x", "w"], ["c"]),
        Node::new("Relu", ["c"], ["r"]),
        Node::new(pool, ["r"], ["p"]),
        Node::new("Flatten", ["p"], ["f"]),
        Node::new("MatMul", ["f", "v"], ["y"]),
    ];
    let value = |name: &str, shape: &[usize]| {
        let dims = std::iter::once(Dim::Named("n".into())).chain(shape.iter().map(|size| Dim::Known(*size)));
        Value { name: name.into(), element: ElementType::F32, shape: Some(dims.collect()) }
    };
    model.graph.inputs = vec![value("x", &[1, SIZE, SIZE])];
    model.graph.outputs = vec![value("y", &[8])];
    model
}

/// Dark pictures with one bright dot each, as NumPy writes them: so many, from one of them on.
fn dots_from(first: usize, samples: usize) -> Vec<u8> {
    let pixel = |index: usize| match (index % VALUES, index / VALUES) {
        (place, sample) if place == sample * 37 % VALUES => 0.4 + (sample % SAMPLES) as f32 / 70.0,
        (place, sample) => ((place * 31 + sample * 7) % 12) as f32 / 255.0,
    };
    let range = first * VALUES..(first + samples) * VALUES;
    let data: Vec<u8> = range.flat_map(|index| pixel(index).to_le_bytes()).collect();
    npy("<f4", &[samples, 1, SIZE, SIZE], &data)
}

fn dots() -> Vec<u8> {
    dots_from(0, SAMPLES)
}

/// The ranges of a model, as bytes, and what calibration said.
fn calibrated(folder: &Path, model: &Model, params: Json) -> (Vec<u8>, Said) {
    let [file, arrays, ranges, moments] =
        ["m.onnx", "x.npy", "r.json", "m.safetensors"].map(|name| folder.join(name));
    model.write(&file).unwrap();
    fs::write(&arrays, dots()).unwrap();
    let inputs = [("model", file.as_path()), ("arrays", arrays.as_path())];
    let said = run("calibrate", params, &inputs, &[("ranges", &ranges), ("moments", &moments)]).done();
    (fs::read(ranges).unwrap(), said)
}

#[test]
fn what_a_maximum_reads_is_not_cut_off() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let end = |method: &str| {
        let (ranges, said) = calibrated(folder.path(), &pooled("GlobalMaxPool"), json!({ "method": method }));
        let ranges: Json = serde_json::from_slice(&ranges).unwrap();
        assert_eq!(ranges["lineage"]["method"], method);
        let max = ranges["tensors"]["r"]["max"].as_f64().unwrap();
        (max, ranges["judged"].clone(), said)
    };
    let (whole, judged, said) = end("minmax");
    assert!(judged.is_null() && said.metrics.is_empty());
    let (cut, ..) = end("mse");
    assert!(cut < 0.9 * whole, "{cut} {whole}: the dots are rare enough to be cut off");

    let (chosen, judged, said) = end("auto");
    assert!(chosen > 0.99 * whole, "{chosen} {whole}");
    let single = &judged["single_db"];
    assert!(single["minmax"].as_f64().unwrap() > single["mse"].as_f64().unwrap() + 3.0, "{single}");
    assert_eq!(judged["tensors"]["r"]["method"], "minmax");
    assert_eq!(said.value("fidelity_db"), judged["chosen_db"].as_f64().unwrap());
    assert!(said.figures["ranges"].caption.contains("`mse`"), "{}", said.figures["ranges"].caption);
}

#[test]
fn neither_batches_nor_a_second_run_change_the_choice_and_it_is_the_default() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let model = pooled("GlobalAveragePool");
    let (ranges, _) = calibrated(folder.path(), &model, json!({ "method": "auto", "batch_size": 7 }));
    assert_eq!(calibrated(folder.path(), &model, json!({ "batch_size": 32 })).0, ranges);
}

/// Signal to noise of the worst part of the outputs of the INT8 model, on samples that were not calibrated on.
fn worst_part(folder: &Path, model: &Model, method: &str) -> f64 {
    calibrated(folder, model, json!({ "method": method })).1.done();
    let names = ["m.onnx", "r.json", "m.safetensors", "int8.onnx", "test.npy"];
    let [float, ranges, moments, int8, test] = names.map(|name| folder.join(name));
    fs::write(&test, dots_from(SAMPLES, 5 * SAMPLES)).unwrap();
    let inputs = [("model", float.as_path()), ("ranges", &ranges), ("moments", &moments)];
    run("quantize", json!({}), &inputs, &[("model", &int8)]).done();
    let inputs = [("fp32", float.as_path()), ("int8", &int8), ("arrays", &test)];
    let predictions = folder.join("predictions");
    let said =
        run("evaluate", json!({ "baseline": "fp32" }), &inputs, &[("predictions", &predictions)]).done();
    let Content::Table { columns, rows } = &said.figures["outputs"].content else { panic!("no table") };
    let worst = columns.iter().position(|column| column.label == "worst 1 %").unwrap();
    let Cell::Number(decibels) = rows[0][worst] else { panic!("{rows:?}") };
    decibels
}

/// Prints what each method comes to, and the choice.
#[test]
fn the_choice_is_as_good_as_the_best_method_for_all_on_other_samples() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    for pool in ["GlobalMaxPool", "GlobalAveragePool"] {
        let model = pooled(pool);
        let single = ["minmax", "percentile", "entropy", "mse"];
        let single = single.map(|method| (method, worst_part(folder.path(), &model, method)));
        let chosen = worst_part(folder.path(), &model, "auto");
        let best = single.iter().map(|(_, decibels)| *decibels).fold(f64::NEG_INFINITY, f64::max);
        println!("{pool}: auto {chosen:.1} dB, {single:.1?}");
        assert!(chosen >= best - 0.5, "{chosen} {single:?}");
    }
}
