//! What can be said of a dataset without its images.

use std::path::Path;

use tensors::Reader;

use crate::file::{Metadata, content};
use crate::{Dataset, DatasetError};

/// How many images of what size and how many classes a dataset has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// Channels, height and width of every image.
    pub shape: [usize; 3],
    /// Training images.
    pub train: usize,
    /// Test images.
    pub test: usize,
    /// Classes.
    pub classes: usize,
    /// Whether images have labels; pictures have none.
    pub is_labelled: bool,
}

impl Outline {
    /// Reads no more of a dataset file than its head.
    ///
    /// # Errors
    /// [`DatasetError::File`] where it is unreadable or damaged, [`DatasetError::Content`] where it is of something else.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        let reader = Reader::open(path)?;
        let metadata: Metadata =
            reader.metadata()?.ok_or_else(|| content(path, "it names no classes".into()))?;
        let split = |name: &str| match *reader.shape(name)? {
            [count, channels, height, width] => Ok((count, [channels, height, width])),
            ref shape => Err(content(path, format!("`{name}` has {} dimensions, not 4", shape.len()))),
        };
        let ((train, shape), (test, _)) = (split("train.images")?, split("test.images")?);
        let is_labelled = metadata.provenance.format != Dataset::UNLABELLED;
        Ok(Self { shape, train, test, classes: metadata.classes.len(), is_labelled })
    }
}

impl Dataset {
    /// Its outline.
    #[must_use]
    pub fn outline(&self) -> Outline {
        let (train, test) = (self.train.len(), self.test.len());
        let is_labelled = !self.is_unlabelled();
        Outline { shape: self.shape(), train, test, classes: self.classes.len(), is_labelled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Synthetic;

    #[test]
    fn the_outline_of_a_file_is_that_of_its_dataset() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.safetensors");
        let dataset = Synthetic { train: 30, test: 20, seed: 1 }.dataset().unwrap();
        dataset.write(&path).unwrap();
        let outline = Outline::read(&path).unwrap();
        assert_eq!(
            outline,
            Outline { shape: [3, 32, 32], train: 30, test: 20, classes: 10, is_labelled: true }
        );
        assert_eq!(outline, dataset.outline());
        std::fs::write(&path, "no dataset").unwrap();
        assert!(matches!(Outline::read(&path), Err(DatasetError::File(_))));
    }
}
