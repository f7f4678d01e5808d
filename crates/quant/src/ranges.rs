//! Calibrated ranges: what calibration hands to static quantization.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::QuantError;
use crate::histogram::Bins;
use crate::json;
use crate::judge::Judged;

/// The values that a tensor took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The smallest.
    pub min: f32,
    /// The largest.
    pub max: f32,
}

/// Where ranges come from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// How they were chosen, such as `minmax`: see [`crate::Method`].
    pub method: String,
    /// The images that were seen, as indices into the split, ascending.
    pub images: Vec<u64>,
    /// The seed that the images were drawn with.
    pub seed: u64,
    /// The split that they were drawn from, such as `train`.
    pub split: String,
    /// Mean of each channel that was subtracted from pixels scaled to 0..1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel that they were divided by.
    pub std: Vec<f32>,
    /// Digest of the model's file, as `algorithm:hex`.
    pub model: String,
}

/// Ranges by tensor. The same ranges give the same text.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranges {
    /// Where they come from.
    pub lineage: Lineage,
    /// Tensor name → range.
    pub tensors: BTreeMap<String, Range>,
    /// Tensor name → the values it took, where they were counted.
    #[serde(default)]
    pub histograms: BTreeMap<String, Bins>,
    /// Why these, where that was judged by what they do to the outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<Judged>,
}

impl Ranges {
    /// Reads a JSON file.
    ///
    /// # Errors
    /// [`QuantError::File`] names the file.
    pub fn read(path: &Path) -> Result<Self, QuantError> {
        json::read(path, "calibrated ranges")
    }

    /// Writes a JSON file.
    ///
    /// # Errors
    /// [`QuantError::File`] names the file.
    pub fn write(&self, path: &Path) -> Result<(), QuantError> {
        json::write(path, self)
    }

    /// The range of `tensor`, checked.
    pub(crate) fn get(&self, tensor: &str) -> Result<Range, QuantError> {
        let missing = || QuantError::MissingRange { tensor: tensor.to_owned() };
        let range = *self.tensors.get(tensor).ok_or_else(missing)?;
        if range.min.is_finite() && range.max.is_finite() && range.min <= range.max {
            Ok(range)
        } else {
            Err(QuantError::BadRange { tensor: tensor.to_owned(), min: range.min, max: range.max })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    fn sample() -> Ranges {
        let lineage = Lineage {
            method: "minmax".into(),
            images: vec![3, 5, 8],
            seed: 42,
            split: "train".into(),
            mean: vec![0.5],
            std: vec![0.25],
            model: "blake3:00".into(),
        };
        let tensors = [("b", -1.0, 0.1), ("a", 0.0, f32::MAX)];
        let range = |(name, min, max): (&str, f32, f32)| (name.to_owned(), Range { min, max });
        Ranges {
            lineage,
            tensors: tensors.into_iter().map(range).collect(),
            histograms: BTreeMap::new(),
            judged: None,
        }
    }

    #[test]
    fn what_is_written_is_read_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ranges.json");
        sample().write(&path).unwrap();
        assert_eq!(Ranges::read(&path).unwrap(), sample());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.find("\"a\"") < text.find("\"b\""), "{text}");
    }

    #[test]
    fn a_missing_or_bad_range_is_named() {
        let mut ranges = sample();
        ranges.tensors.insert("c".into(), Range { min: 1.0, max: -1.0 });
        ranges.tensors.insert("d".into(), Range { min: f32::NAN, max: 1.0 });
        assert!(matches!(ranges.get("z"), Err(QuantError::MissingRange { tensor }) if tensor == "z"));
        assert!(matches!(ranges.get("c"), Err(QuantError::BadRange { .. })));
        assert!(matches!(ranges.get("d"), Err(QuantError::BadRange { .. })));
        assert!(ranges.get("a").is_ok());
    }

    #[test]
    fn a_broken_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ranges.json");
        fs::write(&path, "{\"lineage\":").unwrap();
        let message = Ranges::read(&path).unwrap_err().to_string();
        assert!(message.contains("ranges.json") && message.contains("not calibrated ranges"), "{message}");
    }
}
