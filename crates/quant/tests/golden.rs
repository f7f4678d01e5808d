//! What quantizing gives, to the bit, on any machine (but for the logarithm of `entropy`, which is the C library's). The cache of a pipeline takes an op's outputs for those of its version:
//! whoever changes them raises that.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows that of functions marked as tests"
)]
#![expect(dead_code, reason = "the support of all tests")]

mod support;

use std::path::Path;

use onnx::{Data, Dim, Model, Value};
use quant::{
    ActivationType, DynamicOptions, Lineage, Method, Moments, MomentsObserver, Observer, QuantError, Ranges,
    StaticOptions, Target, equalize, quantize_dynamic, quantize_static,
};
use support::{floats, made_up_ranges, varied};

fn assert_model_is(what: &str, op: &str, model: Model, digest: &str) {
    // The version of the project is no business of the rewriting.
    let model = Model { producer_version: String::new(), ..model };
    assert_is(what, op, &model.to_bytes(), digest);
}

fn assert_is(what: &str, op: &str, bytes: &[u8], digest: &str) {
    let found = blake3::hash(bytes).to_hex();
    assert_eq!(
        &found[..16],
        digest,
        "{what}: the bytes have changed. If they were meant to, raise `VERSION` of `{op}` in plugins/onnx and write the new digest here"
    );
}

/// For three images.
fn noise(value: &Value, seed: usize) -> Vec<f32> {
    let known = value.shape.iter().flatten().filter_map(|dim| match dim {
        Dim::Known(size) => Some(*size),
        Dim::Named(_) | Dim::Unknown => None,
    });
    numbers(3 * known.product::<usize>(), seed)
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    match floats(&[count], seed).data() {
        Data::F32(values) => values.clone(),
        _ => unreachable!("floats are floats"),
    }
}

/// Moments of a model for made-up inputs of its layers.
fn moments(model: &Model, ranges: &Ranges) -> Moments {
    let mut observer = MomentsObserver::new(model, ranges).unwrap();
    let observed = observer.model().clone();
    let wanted = observed.graph.inputs.iter().chain(&observed.graph.outputs).enumerate();
    let values: Vec<(String, Vec<f32>)> =
        wanted.map(|(seed, value)| (value.name.clone(), noise(value, seed))).collect();
    let batch: Vec<_> = values.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
    observer.observe(&batch, 3);
    observer.moments(String::new())
}

/// A static model whose weights are rounded for these.
fn statically(options: &StaticOptions) -> Model {
    let model = varied();
    let ranges = made_up_ranges(&model);
    let moments = moments(&model, &ranges);
    quantize_static(&model, &ranges, Some(&moments), options).unwrap().0
}

/// The bytes of what `write` writes.
fn written(write: impl FnOnce(&Path) -> Result<(), QuantError>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write(&path).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn ranges_and_moments() {
    for (method, digest) in [
        (Method::Minmax, "c986bcd1baada931"),
        (Method::MovingAverage, "d91f2604611d7f05"),
        (Method::Percentile, "e10d199c6ea584c8"),
        (Method::Entropy, "c41651ec98682773"),
        (Method::Mse, "147536919ff29bb5"),
    ] {
        let mut observer = Observer::new(["t".to_owned()], method, true);
        for seed in 0..4 {
            // Most near zero, some far out, more of them above.
            let far_out = |value: &f32| {
                let cube = value * value * value;
                cube * cube * cube * if cube > 0.0 { 4.0 } else { 1.0 }
            };
            let values: Vec<f32> = numbers(2000, seed).iter().map(far_out).collect();
            observer.observe(&[("t", &values)], 2).unwrap();
        }
        let ranges = observer.ranges(99.0, Lineage::default(), 1).unwrap();
        assert_is(method.as_str(), "onnx/calibrate", &written(|path| ranges.write(path)), digest);
    }
    let model = varied();
    let moments = moments(&model, &made_up_ranges(&model));
    assert_is("moments", "onnx/calibrate", &written(|path| moments.write(path)), "d2136a3f1b207c01");
}

#[test]
fn static_models() {
    assert_model_is("for x86", "onnx/quantize", statically(&StaticOptions::default()), "4a4ffcb20d8c6701");
    let vnni = StaticOptions { target: Target::X86_64Vnni, ..StaticOptions::default() };
    assert_model_is("for VNNI", "onnx/quantize", statically(&vnni), "6440c7e46adc4f64");
    let signed = StaticOptions { activations: Some(ActivationType::S8), ..StaticOptions::default() };
    assert_model_is("signed", "onnx/quantize", statically(&signed), "f5b1ee82faaf6102");
}

#[test]
fn dynamic_models() {
    let (model, _) = quantize_dynamic(&varied(), &DynamicOptions::default()).unwrap();
    assert_model_is("dynamic", "onnx/quantize-dynamic", model, "00326fe13f13a217");
}

#[test]
fn equalized_models() {
    assert_model_is("equalized", "onnx/equalize", equalize(&varied()).unwrap().0, "0a4198a93bec71e2");
}
