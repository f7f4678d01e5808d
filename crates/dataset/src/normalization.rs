//! Normalisation: bytes to floats of about zero mean and unit deviation per channel. Knows no files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DatasetError, Split};

/// Mean and standard deviation per channel, of pixels scaled to 0..1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel; above zero.
    #[schemars(extend("items" = { "type": "number", "format": "float", "exclusiveMinimum": 0 }))]
    pub std: Vec<f32>,
}

impl Normalization {
    /// The customary values for CIFAR-10 (RGB).
    #[must_use]
    pub fn cifar10() -> Self {
        Self { mean: vec![0.4914, 0.4822, 0.4465], std: vec![0.2023, 0.1994, 0.2010] }
    }

    /// Checks that there is one finite mean, not above 1, and one finite positive deviation for each of `channels` channels.
    ///
    /// # Errors
    /// [`DatasetError::Inconsistent`] otherwise.
    pub fn check(&self, channels: usize) -> Result<(), DatasetError> {
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != channels {
                return Err(DatasetError::inconsistent(format!(
                    "the normalisation has {} of `{name}`, but images have {}",
                    counted(values.len(), "value"),
                    counted(channels, "channel")
                )));
            }
        }
        if !self.mean.iter().chain(&self.std).all(|value| value.is_finite())
            || self.std.iter().any(|&value| value <= 0.0)
        {
            return Err(DatasetError::inconsistent(
                "the normalisation's `mean` must be finite and its `std` finite and above zero",
            ));
        }
        if let Some(mean) = self.mean.iter().find(|&&mean| mean > 1.0) {
            let scaled = |values: &[f32]| {
                let scaled: Vec<String> =
                    values.iter().map(|value| format!("{:.4}", value / 255.0)).collect();
                scaled.join(", ")
            };
            return Err(DatasetError::inconsistent(format!(
                "the normalisation's `mean` is {mean}, but it is that of pixels between 0 and 1; of pixels between 0 and 255 it and \
                 `std` are divided by 255: {} and {}",
                scaled(&self.mean),
                scaled(&self.std)
            )));
        }
        Ok(())
    }

    /// Appends the images of `indices`, normalised (`(p / 255 − mean) / std`), as f32 `[N, C, H, W]` to `out`.
    ///
    /// # Panics
    /// Where an index is not below [`Split::len`], or [`Normalization::check`] of the split's channels fails.
    pub fn apply(&self, split: &Split, indices: &[usize], out: &mut Vec<f32>) {
        let tables = self.tables(split.shape());
        for &index in indices {
            look_up(&tables, split.image(index), out);
        }
    }

    /// Appends images of `shape` (channels, height, width), given as bytes `[N, C, H, W]`, normalised, to `out`.
    ///
    /// # Panics
    /// Where [`Normalization::check`] of the channels fails.
    pub fn apply_pixels(&self, shape: [usize; 3], pixels: &[u8], out: &mut Vec<f32>) {
        let tables = self.tables(shape);
        let size = shape.iter().product::<usize>().max(1);
        for image in pixels.chunks_exact(size) {
            look_up(&tables, image, out);
        }
    }

    /// What each byte of each channel becomes: `[C, 256]`.
    ///
    /// # Panics
    /// Where [`Normalization::check`] of the channels fails.
    pub fn tables(&self, shape: [usize; 3]) -> Vec<[f32; 256]> {
        let [channels, ..] = shape;
        assert_eq!((self.mean.len(), self.std.len()), (channels, channels), "channels of the normalisation");
        let table =
            |(mean, std): (&f32, &f32)| std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std);
        self.mean.iter().zip(&self.std).map(table).collect()
    }
}

/// `1 value`, `3 values`.
fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

fn look_up(tables: &[[f32; 256]], image: &[u8], out: &mut Vec<f32>) {
    let plane = (image.len() / tables.len().max(1)).max(1);
    for (table, pixels) in tables.iter().zip(image.chunks_exact(plane)) {
        out.extend(pixels.iter().map(|&value| table[usize::from(value)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_refuses_a_deviation_of_zero() {
        let schema = schemars::schema_for!(Normalization);
        let limit = schema.pointer("/properties/std/items/exclusiveMinimum").and_then(|limit| limit.as_f64());
        assert_eq!(limit, Some(0.0));
    }

    #[test]
    fn each_channel_is_normalised_by_its_own_values() {
        let split = Split::new([2, 1, 2], vec![9, 9, 9, 9, 0, 255, 51, 102], vec![0, 1]).unwrap();
        let normalization = Normalization { mean: vec![0.5, 0.2], std: vec![0.5, 0.1] };
        let mut out = vec![7.0];
        normalization.apply(&split, &[1], &mut out);
        let expected = [7.0, -1.0, 1.0, 0.0, (0.4 - 0.2) / 0.1];
        assert!(out.iter().zip(expected).all(|(got, want)| (got - want).abs() < 1e-6), "{out:?}");
        let mut same = vec![7.0];
        normalization.apply_pixels([2, 1, 2], split.image(1), &mut same);
        assert_eq!(same, out);
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        assert!(Normalization::cifar10().check(3).is_ok());
        let message = Normalization::cifar10().check(1).unwrap_err().to_string();
        snapshots::assert_message!(message);
        let zero = Normalization { mean: vec![0.0], std: vec![0.0] };
        assert!(zero.check(1).is_err());
        let nan = Normalization { mean: vec![f32::NAN], std: vec![1.0] };
        assert!(nan.check(1).is_err());
        let bytes = Normalization { mean: vec![123.675, 116.28, 103.53], std: vec![58.395, 57.12, 57.375] };
        let message = bytes.check(3).unwrap_err().to_string();
        snapshots::assert_message!(message);
        // Bytes as they are, and their deviation from the middle.
        for (mean, std) in [(0.0, 1.0 / 255.0), (128.0 / 255.0, 1.0 / 255.0), (1.0, 1.0), (-1.0, 2.0)] {
            assert!(Normalization { mean: vec![mean], std: vec![std] }.check(1).is_ok());
        }
    }
}
