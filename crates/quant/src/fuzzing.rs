//! What the target `onnx_model` in `fuzz/` feeds bytes to. Whatever the bytes are, nothing here may panic, and what is checked
//! besides holds. Not part of a release: compiled for tests and with the feature `fuzzing` only.

#[cfg(test)]
mod contradictions;

use std::collections::BTreeSet;

use onnx::Model;

use crate::{
    ActivationType, BiasType, DynamicOptions, DynamicScheme, MomentsObserver, Range, Ranges, StaticOptions,
    equalize, integer_layers, next_to_keep, observed_model, observed_quantized_model, quantize_dynamic,
    quantize_one_layer, quantize_static, tensors_to_observe,
};

/// Reads bytes as a model, simplifies, compacts, balances and quantizes it in every way, each time writing and reading it
/// again.
///
/// # Panics
/// Where something does not hold.
pub fn onnx_model(bytes: &[u8]) {
    let Ok(model) = Model::from_bytes(bytes) else { return };
    same_again(&model);
    same_again(&model.compacted());
    if let Ok(simplified) = model.simplified() {
        same_again(&simplified);
    }
    if let Ok((balanced, _)) = equalize(&model) {
        same_again(&balanced);
    }
    for scheme in [DynamicScheme::Fast, DynamicScheme::Everything, DynamicScheme::WeightsOnly] {
        if let Ok((quantized, _)) =
            quantize_dynamic(&model, &DynamicOptions { scheme, ..DynamicOptions::default() })
        {
            same_again(&quantized);
        }
    }
    let (Ok(tensors), Ok(observed)) = (tensors_to_observe(&model), observed_model(&model)) else { return };
    same_again(&observed);
    let range = |name| (name, Range { min: -1.0, max: 2.0 });
    let ranges = Ranges { tensors: tensors.into_iter().map(range).collect(), ..Ranges::default() };
    let moments = MomentsObserver::new(&model, &ranges).map(|observer| {
        same_again(observer.model());
        observer.moments(String::new())
    });
    let other = StaticOptions {
        activations: Some(ActivationType::S8),
        per_channel: false,
        bias: BiasType::Int32,
        quantize_output: true,
        compact: false,
        ..StaticOptions::default()
    };
    for options in [StaticOptions::default(), other] {
        if let Ok((quantized, summary)) = quantize_static(&model, &ranges, moments.as_ref().ok(), &options) {
            same_again(&quantized);
            assert!(summary.integer_layers() > 0, "quantized without an integer layer");
        }
    }
    let options = StaticOptions::default();
    if let Ok((quantized, _)) = observed_quantized_model(&model, &ranges, None, &options) {
        same_again(&quantized);
    }
    let layers = integer_layers(&model, &options).unwrap_or_default();
    let noise: Vec<f64> = (0..layers.len()).map(|place| place as f64).collect();
    if let Some(next) = next_to_keep(&layers, &noise, &BTreeSet::new()).and_then(|next| layers.get(next))
        && let Ok(one) = quantize_one_layer(&model, &ranges, None, &options, &next.name)
    {
        same_again(&one);
    }
}

/// Writes a model and reads it again: nothing may have changed.
fn same_again(model: &Model) {
    let bytes = model.to_bytes();
    let again =
        Model::from_bytes(&bytes).map_err(|error| error.to_string()).map(|again| again.to_bytes() == bytes);
    assert_eq!(again, Ok(true), "what was written comes back");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn what_fuzzing_found_stays_found() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/onnx_model");
        let mut count = 0;
        for entry in std::fs::read_dir(&corpus).unwrap() {
            super::onnx_model(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 3, "{} is nearly empty", corpus.display());
    }
}
