//! What every op does with its request: params, paths, file sizes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use protocol::{Failure, RunRequest};
use serde::de::DeserializeOwned;

/// The op's params.
pub(crate) fn params<T: DeserializeOwned>(request: &RunRequest) -> Result<T, Failure> {
    serde_json::from_value(request.params.clone())
        .map_err(|error| Failure::new(format!("params of `onnx/{}`: {error}", request.op)))
}

/// The file or folder of input `name`.
pub(crate) fn input<'a>(request: &'a RunRequest, name: &str) -> Result<&'a Path, Failure> {
    request
        .inputs
        .get(name)
        .map(AsRef::as_ref)
        .ok_or_else(|| Failure::new(format!("`onnx/{}` was given no input `{name}`", request.op)))
}

/// Name of the input that is a file beside the model with its weights.
pub(crate) const WEIGHTS: &str = "weights";

/// The model that input `model` is. Weights in a file beside it must be the input [`WEIGHTS`]: what a stage does not
/// declare may change without making it stale.
pub(crate) fn model(request: &RunRequest) -> Result<onnx::Model, Failure> {
    let path = input(request, "model")?;
    let (model, files) = onnx::Model::read_with_files(path)?;
    let declared = request.inputs.get(WEIGHTS).and_then(|weights| fs::canonicalize(weights).ok());
    for file in files {
        let real = fs::canonicalize(path.with_file_name(&file)).ok();
        if real.is_none() || real != declared {
            return Err(Failure::new(format!(
                "weights of `{}` lie in `{file}`, which this stage does not declare, so a change of it would not be noticed",
                path.display()
            ))
            .hint(format!("give it as the input `{WEIGHTS}` (for `pipe quantize`: `--weights`)")));
        }
    }
    Ok(model)
}

/// Refuses a model with weights in files beside it, for ops that cannot have them declared.
pub(crate) fn refuse_external(path: &Path) -> Result<(), Failure> {
    // What cannot be read here has none that are known.
    let files = onnx::Model::read_with_files(path).map(|(_, files)| files).unwrap_or_default();
    match files.first() {
        None => Ok(()),
        Some(file) => Err(Failure::new(format!(
            "weights of `{}` lie in `{file}`: a change of it would not be noticed",
            path.display()
        ))
        .hint("save the model with its weights in one file")),
    }
}

/// Where output `name` is to be written.
pub(crate) fn output<'a>(request: &'a RunRequest, name: &str) -> Result<&'a Path, Failure> {
    request
        .outputs
        .get(name)
        .map(AsRef::as_ref)
        .ok_or_else(|| Failure::new(format!("`onnx/{}` was given no place for output `{name}`", request.op)))
}

/// Size of a file in KB of 1,024 bytes.
pub(crate) fn size_kb(path: &Path) -> Result<f64> {
    let bytes = fs::metadata(path).with_context(|| format!("cannot read `{}`", path.display()))?.len();
    Ok(bytes as f64 / 1024.0)
}

/// Digest of the model, and of the file beside it that holds its weights if there is one, as `blake3:hex`.
pub(crate) fn model_digest(request: &RunRequest) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for name in ["model", WEIGHTS] {
        if let Some(path) = request.inputs.get(name) {
            let path: &Path = path.as_ref();
            hasher.update(&fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?);
        }
    }
    Ok(format!("blake3:{}", hasher.finalize().to_hex()))
}

/// Writes a file. Nobody reads it before the op is done.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))
}

/// A number of threads in words.
pub(crate) fn threads(count: usize) -> String {
    counted(count, "thread", "threads")
}

/// A number of things in words: `1 round`, `10,000 calls`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// A whole number with commas between thousands: `10,000`.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let texts = [0, 7, 42, 999, 1000, 10_000, 123_456, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "7", "42", "999", "1,000", "10,000", "123,456", "1,234,567"]);
    }
}
