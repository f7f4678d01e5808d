//! What can be said on the command line of `pipe quantize`, in the words of the ops. The runner cannot ask these before it has
//! an executable of theirs; a test holds the words against the ops' manifests.

use clap::ValueEnum;

/// Layouts of images, as `data/download` names them.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Layout {
    /// Pictures in folders of any names, without classes
    Pictures,
    /// A folder for each class, below `train` and `test`
    ImageFolder,
    Cifar10Binary,
    Idx,
}

/// How ranges are chosen, as `onnx/calibrate` names it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Method {
    /// Tensor by tensor, as that of the others that changes the model's outputs the least
    Auto,
    /// The smallest and the largest value
    Minmax,
    /// The average of the smallest and of the largest value of each image
    MovingAverage,
    /// All but a small share of the values
    Percentile,
    /// The range that changes the distribution of the values least (Jensen–Shannon)
    Entropy,
    /// The range of the least squared error
    Mse,
}

/// How weights are rounded, as `onnx/quantize` names it.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
pub(super) enum Rounding {
    /// Together, so that their errors cancel on the images, and with biases that make up for the rest
    Search,
    /// Each to the nearest
    Nearest,
}

/// Processors, as `onnx/quantize` names them.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Target {
    /// Every x86-64: unsigned activations, and weights that cannot saturate without VNNI
    #[value(name = "x86_64")]
    X86_64,
    /// x86-64 with VNNI: unsigned activations
    #[value(name = "x86_64-vnni")]
    X86_64Vnni,
    /// Signed activations
    Aarch64,
    /// A browser: what is fast there
    Wasm,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Activations {
    U8,
    S8,
}

/// The size of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pixels {
    pub(super) width: u32,
    pub(super) height: u32,
}

pub(super) fn pixels(text: &str) -> Result<Pixels, String> {
    let (width, height) = text.split_once(['x', '×']).unwrap_or((text, text));
    let side = |text: &str| text.parse().ok().filter(|side| (1..=8192).contains(side));
    match (side(width), side(height)) {
        (Some(width), Some(height)) => Ok(Pixels { width, height }),
        _ => Err("not one or two numbers from 1 to 8192, as in 224 or 320x240".into()),
    }
}

/// A version of ONNX Runtime, as `onnx/quantize` takes it.
pub(super) fn runtime(text: &str) -> Result<String, String> {
    let minor = text.strip_prefix("1.").and_then(|minor| minor.parse::<u8>().ok());
    match minor {
        Some(minor @ 15..=99) if text == format!("1.{minor}") => Ok(text.to_owned()),
        _ => Err("not a version of ONNX Runtime from 1.15 on, such as 1.20".into()),
    }
}

pub(super) fn finite(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|value: &f32| value.is_finite()).ok_or_else(|| "not a number".into())
}

pub(super) fn positive(text: &str) -> Result<f32, String> {
    finite(text).and_then(|value| if value > 0.0 { Ok(value) } else { Err("not above zero".into()) })
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("not between 0 and 1".into()) }
}

pub(super) fn percent(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (50.0..=100.0).contains(&value) { Ok(value) } else { Err("not between 50 and 100".into()) }
}

/// The word for a value on the command line.
pub(super) fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::BTreeSet;
    use std::path::Path;

    use serde_json::Value;

    #[test]
    fn a_size_is_a_square_or_width_and_height() {
        assert_eq!(pixels("224"), Ok(Pixels { width: 224, height: 224 }));
        assert_eq!(pixels("320x240"), Ok(Pixels { width: 320, height: 240 }));
    }

    /// What a param of an op can be, by the op's manifest: all words in the part of its schema that has this name.
    fn declared(plugin: &str, op: &str, name: &str) -> BTreeSet<String> {
        fn words(schema: &Value, found: &mut BTreeSet<String>) {
            match schema {
                Value::Object(fields) => {
                    let constant = fields.get("const").and_then(Value::as_str);
                    let listed = fields.get("enum").and_then(Value::as_array).into_iter().flatten();
                    found.extend(
                        constant.into_iter().chain(listed.filter_map(Value::as_str)).map(str::to_owned),
                    );
                    fields.values().for_each(|field| words(field, found));
                }
                Value::Array(items) => items.iter().for_each(|item| words(item, found)),
                _ => {}
            }
        }
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(plugin).join("manifest.json");
        let manifest: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let mut found = BTreeSet::new();
        words(&manifest[op]["params"]["$defs"][name], &mut found);
        found
    }

    fn offered<T: ValueEnum>(spelled: impl Fn(String) -> String) -> BTreeSet<String> {
        T::value_variants().iter().map(word).map(spelled).collect()
    }

    #[test]
    fn the_words_are_those_of_the_ops() {
        assert_eq!(offered::<Method>(|word| word.replace('-', "_")), declared("onnx", "calibrate", "Method"));
        assert_eq!(offered::<Rounding>(|word| word), declared("onnx", "quantize", "Rounding"));
        assert_eq!(offered::<Target>(|word| word), declared("onnx", "quantize", "Target"));
        assert_eq!(offered::<Activations>(|word| word), declared("onnx", "quantize", "ActivationType"));
        let mut layouts = declared("data", "download", "Format");
        // Nothing to quantize for: its images are made up.
        layouts.remove("synthetic");
        assert_eq!(offered::<Layout>(|word| word), layouts);
    }
}
