//! A split: images of one size as bytes, with a label each. Knows no class names and no files.

use crate::DatasetError;

/// Images `[N, C, H, W]` as bytes, with one label each. There are as many labels as images and none is negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    shape: [usize; 3],
    pixels: Vec<u8>,
    labels: Vec<i64>,
}

impl Split {
    /// A split of images of `shape` (channels, height, width); `pixels` is `[N, C, H, W]`, row-major.
    ///
    /// # Errors
    /// [`DatasetError::Inconsistent`] where a dimension is zero, the pixels do not make one image per label, or a
    /// label is negative.
    pub fn new(shape: [usize; 3], pixels: Vec<u8>, labels: Vec<i64>) -> Result<Self, DatasetError> {
        let size = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim)).unwrap_or(0);
        let [channels, height, width] = shape;
        if size == 0 {
            return Err(DatasetError::inconsistent(format!(
                "images of {channels} channels, {height} rows and {width} columns are not possible"
            )));
        }
        if size.checked_mul(labels.len()) != Some(pixels.len()) {
            return Err(DatasetError::inconsistent(format!(
                "{} bytes of pixels are not {} images of {channels}×{height}×{width}",
                pixels.len(),
                labels.len()
            )));
        }
        if let Some(index) = labels.iter().position(|&label| label < 0) {
            return Err(DatasetError::inconsistent(format!("image {index} has a negative label")));
        }
        Ok(Self { shape, pixels, labels })
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Channels, height and width of every image.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// All pixels, `[N, C, H, W]`.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Pixels of image `index`, `[C, H, W]`.
    ///
    /// # Panics
    /// Unless `index` is below [`Split::len`].
    #[must_use]
    pub fn image(&self, index: usize) -> &[u8] {
        let size: usize = self.shape.iter().product();
        &self.pixels[index * size..(index + 1) * size]
    }

    /// Label of image `index`.
    ///
    /// # Panics
    /// Unless `index` is below [`Split::len`].
    #[must_use]
    pub fn label(&self, index: usize) -> i64 {
        self.labels[index]
    }

    /// All labels.
    #[must_use]
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// Number of images of each of `classes` classes.
    #[must_use]
    pub fn class_counts(&self, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            if let Some(count) = usize::try_from(label).ok().and_then(|label| counts.get_mut(label)) {
                *count += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_labels_are_found_by_index() {
        let split = Split::new([1, 1, 2], vec![1, 2, 3, 4, 5, 6], vec![0, 2, 2]).unwrap();
        assert_eq!((split.len(), split.is_empty()), (3, false));
        assert_eq!(split.image(1), [3, 4]);
        assert_eq!(split.label(1), 2);
        assert_eq!(split.class_counts(3), [1, 0, 2]);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let message = |shape, pixels, labels| Split::new(shape, pixels, labels).unwrap_err().to_string();
        snapshots::assert_message!(message([3, 2, 2], vec![0; 13], vec![0]));
        snapshots::assert_message!(message([3, 0, 2], vec![], vec![]));
        snapshots::assert_message!(message([usize::MAX, 2, 2], vec![], vec![]));
        snapshots::assert_message!(message([1, 1, 1], vec![0, 0], vec![0, -1]));
    }
}
