//! What `pipe quantize` is given to calibrate on and to check with: arrays, a dataset, or pictures that become one. Knows the op that
//! reads pictures; executes nothing.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::paths::absolute;
use super::values::{IMAGE_FOLDER, PICTURES, Pixels};
use super::{Args, input};
use crate::error::Error;

/// Inputs of the ops.
pub(super) const ARRAYS: &str = "arrays";
pub(super) const DATASET: &str = "dataset";

/// Endings of the names of pictures that may lie beside arrays.
const ENDINGS: [&str; 9] = ["jpg", "jpeg", "png", "bmp", "gif", "tif", "tiff", "webp", "ppm"];

/// Whether data are arrays and not pictures: a file by its name, a folder by what is in it, unless a layout of pictures is named.
pub(super) fn is_arrays(data: &Path, format: Option<&str>) -> bool {
    let has = |path: &Path, endings: &[&str]| {
        path.extension().is_some_and(|own| endings.iter().any(|ending| own.eq_ignore_ascii_case(ending)))
    };
    if has(data, &["npz", "npy"]) {
        return true;
    }
    if has(data, &["safetensors"]) {
        return header(data).is_some_and(|header| !is_dataset(&header));
    }
    let inside: Vec<PathBuf> =
        fs::read_dir(data).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    let is_any = |endings: &[&str]| inside.iter().any(|path| has(path, endings));
    format.is_none() && is_any(&["npy"]) && !is_any(&ENDINGS)
}

/// The header of safetensors is read no further than this.
const HEADER: u64 = 1 << 20;

/// The JSON at the beginning of safetensors, behind its length; nothing of any other file.
fn header(data: &Path) -> Option<Vec<u8>> {
    let mut file = regular::open(data).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(length).min(HEADER)).read_to_end(&mut header).ok()?;
    header.starts_with(b"{").then_some(header)
}

/// Whether that is of a dataset as `data/download` makes them: only these have images to train on.
fn is_dataset(header: &[u8]) -> bool {
    let images = b"\"train.images\"";
    header.windows(images.len()).any(|window| window == images)
}

/// Refuses what only pictures have.
pub(super) fn refuse_for_arrays(args: &Args) -> Result<(), Error> {
    let given = [
        ("--format", args.format.is_some()),
        ("--size", args.size.is_some()),
        ("--max-left-out", args.max_left_out.is_some()),
        ("--mean", !args.mean.is_empty()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => Err(Error::usage(format!("{flag} is for pictures, and --data is arrays"))
            .hint("arrays are given to the model as they are: save what it takes in use")),
    }
}

/// Images.
pub(super) enum Images {
    /// A dataset that is there.
    Dataset(String),
    /// The stage that makes one.
    Imported(Value),
}

/// The images that `data` is. `train_only`: without those that are set apart for tests.
pub(super) fn images(args: &Args, data: &Path, train_only: bool) -> Result<Images, Error> {
    let source = absolute(data)?;
    if data.extension().is_some_and(|extension| extension == "safetensors") {
        if args.size.is_some() {
            return Err(Error::usage(format!("the images of `{}` have their size already", data.display()))
                .hint("leave --size out: it is for pictures in folders and archives"));
        }
        if args.max_left_out.is_some() {
            return Err(Error::usage(format!(
                "`{}` is a dataset, of which nothing is left out",
                data.display()
            ))
            .hint("leave --max-left-out out: it is for pictures in folders and archives"));
        }
        return Ok(Images::Dataset(source));
    }
    let mut with = match args.format {
        Some(format) => json!({ "source": source, "format": format }),
        None => json!({ "source": source, "format": PICTURES, "train_only": train_only }),
    };
    if let Some(share) = args.max_left_out {
        with["max_left_out"] = share.into();
    }
    if let Some(Pixels { width, height }) = args.size {
        with["image_size"] = json!({ "width": width, "height": height });
    }
    if matches!(args.format, None | Some(PICTURES | IMAGE_FOLDER))
        && let Some(shape) = input::shape(&args.model)
    {
        let channels = input::channels(&shape).map_err(|reason| {
            Error::usage(format!("`{}` cannot be shown pictures: {reason}", args.model.display()))
                .hint("export it for images of [batch, channels, height, width] (NCHW) with 1 or 3 channels")
        })?;
        // Red, green and blue is what they have by default.
        if channels == Some(1) {
            with["channels"] = 1.into();
        }
    }
    Ok(Images::Imported(json!({ "uses": "data/download", "with": with })))
}

/// How images are normalised, where that was said.
pub(super) fn normalization(args: &Args) -> Value {
    match args.mean.is_empty() {
        true => Value::Null,
        false => json!({ "mean": args.mean, "std": args.std }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safetensors_are_arrays_unless_they_are_a_dataset() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("d.safetensors");
        let is_arrays = |header: &str| {
            fs::write(&file, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()).unwrap();
            super::is_arrays(&file, None)
        };
        assert!(is_arrays(r#"{"x":{"dtype":"F32"}}"#));
        assert!(!is_arrays(r#"{"train.images":{"dtype":"U8"}}"#));
        assert!(!is_arrays("rubbish"));
    }
}
