//! Some images of a dataset file, without reading the others.

use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use tensors::{Data, Reader};

use crate::file::content;
use crate::{DatasetError, Split};

/// One of a dataset's splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitName {
    /// The training images.
    Train,
    /// The test images.
    Test,
}

impl SplitName {
    /// As written in params and in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// A split of a dataset file, to take images out of. Its labels are in memory, its images are not.
pub struct Sample<'a> {
    reader: Reader,
    path: &'a Path,
    images: String,
    labels: Vec<i64>,
}

impl<'a> Sample<'a> {
    /// Opens a dataset file.
    ///
    /// # Errors
    /// [`DatasetError::File`] where it is unreadable or damaged, [`DatasetError::Content`] where it has no such split.
    pub fn open(path: &'a Path, split: SplitName) -> Result<Self, DatasetError> {
        let name = split.as_str();
        let (images, labels) = (format!("{name}.images"), format!("{name}.labels"));
        let mut reader = Reader::open(path)?;
        let count = reader.shape(&images)?.first().copied();
        let labels = match reader.tensor(&labels)?.into_data() {
            Data::I64(labels) if Some(labels.len()) == count => labels,
            _ => return Err(content(path, format!("`{labels}` is not one label for each of `{images}`"))),
        };
        Ok(Self { reader, path, images, labels })
    }

    /// How many images the split has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Channels, height and width of an image.
    ///
    /// # Errors
    /// As [`Sample::open`].
    pub fn shape(&self) -> Result<[usize; 3], DatasetError> {
        match *self.reader.shape(&self.images)? {
            [_, channels, height, width] => Ok([channels, height, width]),
            ref shape => Err(self.dimensions(shape)),
        }
    }

    fn dimensions(&self, shape: &[usize]) -> DatasetError {
        content(self.path, format!("`{}` has {} dimensions, not 4", self.images, shape.len()))
    }

    /// The images at `indices`, in this order.
    ///
    /// # Errors
    /// As [`Sample::open`]; an index that is not below [`Sample::len`].
    pub fn take(&mut self, indices: &[usize]) -> Result<Split, DatasetError> {
        let (shape, pixels) = self.reader.rows(&self.images, indices)?;
        let [_, channels, height, width] = *shape else { return Err(self.dimensions(&shape)) };
        let labels = indices.iter().filter_map(|&index| self.labels.get(index).copied()).collect();
        Split::new([channels, height, width], pixels, labels)
            .map_err(|error| content(self.path, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dataset;

    #[test]
    fn what_is_taken_is_what_the_whole_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.safetensors");
        let split = |labels: Vec<i64>| {
            let pixels = (0..labels.len() * 6).map(|value| u8::try_from(value * 37 % 256).unwrap()).collect();
            Split::new([3, 1, 2], pixels, labels).unwrap()
        };
        let classes = vec!["cat".into(), "dog".into()];
        Dataset::new(classes, split(vec![0, 1, 1]), split(vec![1]), "test", vec![])
            .unwrap()
            .write(&path)
            .unwrap();
        let whole = Dataset::read(&path).unwrap();
        let mut sample = Sample::open(&path, SplitName::Train).unwrap();
        assert_eq!((sample.len(), sample.is_empty()), (3, false));
        let taken = sample.take(&[2, 0]).unwrap();
        assert_eq!((taken.image(0), taken.label(0)), (whole.train.image(2), 1));
        assert_eq!((taken.image(1), taken.label(1)), (whole.train.image(0), 0));
        assert_eq!(Sample::open(&path, SplitName::Test).unwrap().take(&[0]).unwrap(), whole.test);
        assert!(sample.take(&[3]).is_err());
    }
}
