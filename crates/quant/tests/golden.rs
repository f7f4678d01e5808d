//! What quantizing gives, to the bit, on any machine. The cache of a pipeline takes an op's outputs for those of its version:
//! whoever changes them raises that.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows that of functions marked as tests"
)]
#![expect(dead_code, reason = "the support of all tests")]

mod support;

use onnx::{Data, Dim, Model, Value};
use quant::{
    ActivationType, DynamicOptions, MomentsObserver, StaticOptions, equalize, quantize_dynamic,
    quantize_static,
};
use support::{floats, made_up_ranges, varied};

fn assert_is(what: &str, op: &str, model: Model, digest: &str) {
    // The version of the project is no business of the rewriting.
    let model = Model { producer_version: String::new(), ..model };
    let found = blake3::hash(&model.to_bytes()).to_hex();
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
    match floats(&[3 * known.product::<usize>()], seed).data() {
        Data::F32(values) => values.clone(),
        _ => unreachable!("floats are floats"),
    }
}

/// A static model whose weights are rounded for made-up inputs.
fn statically(options: &StaticOptions) -> Model {
    let model = varied();
    let ranges = made_up_ranges(&model);
    let mut observer = MomentsObserver::new(&model, &ranges).unwrap();
    let observed = observer.model().clone();
    let wanted = observed.graph.inputs.iter().chain(&observed.graph.outputs).enumerate();
    let values: Vec<(String, Vec<f32>)> =
        wanted.map(|(seed, value)| (value.name.clone(), noise(value, seed))).collect();
    let batch: Vec<_> = values.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
    observer.observe(&batch, 3);
    let moments = observer.moments(String::new());
    quantize_static(&model, &ranges, Some(&moments), options).unwrap().0
}

#[test]
fn static_models() {
    assert_is("for x86", "onnx/quantize", statically(&StaticOptions::default()), "1523de88f6498cb0");
    let signed = StaticOptions { activations: Some(ActivationType::S8), ..StaticOptions::default() };
    assert_is("signed", "onnx/quantize", statically(&signed), "2e8761856a286e71");
}

#[test]
fn dynamic_models() {
    let (model, _) = quantize_dynamic(&varied(), &DynamicOptions::default()).unwrap();
    assert_is("dynamic", "onnx/quantize-dynamic", model, "669b7206f47d55a8");
}

#[test]
fn equalized_models() {
    assert_is("equalized", "onnx/equalize", equalize(&varied()).unwrap().0, "0a4198a93bec71e2");
}
