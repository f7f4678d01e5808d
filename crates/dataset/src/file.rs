//! The dataset file: a deterministic safetensors file with `train.images` and `test.images` (u8 `[N, C, H, W]`),
//! `train.labels` and `test.labels` (i64 `[N]`), class names and provenance.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tensors::{TensorFile, Values, View};

use crate::{DatasetError, Split};

/// A training and a test split over the same classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Class names; a label is an index into them.
    pub classes: Vec<String>,
    /// Images to train on.
    pub train: Split,
    /// Images to test on.
    pub test: Split,
    /// Where it comes from.
    pub provenance: Provenance,
}

/// Where a dataset comes from: nothing in it depends on the machine or the time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The format that it was read from, such as `cifar10-binary`.
    pub format: String,
    /// Digest of the archive that it was read from, as `algorithm:hex`, where that is one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_digest: Option<String>,
    /// Number of training images.
    pub train: usize,
    /// Number of test images.
    pub test: usize,
    /// Anything else worth knowing, such as how many files were ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) classes: Vec<String>,
    pub(crate) provenance: Provenance,
}

impl Dataset {
    /// A dataset of `train` and `test` images, with provenance of `format` and `notes`.
    ///
    /// # Errors
    /// [`DatasetError::Inconsistent`] where a split is empty, the splits' images differ in shape, a label has no
    /// class, or two classes share a name.
    pub fn new(
        classes: Vec<String>,
        train: Split,
        test: Split,
        format: &str,
        notes: Vec<String>,
    ) -> Result<Self, DatasetError> {
        let provenance = Provenance {
            format: format.into(),
            source_digest: None,
            train: train.len(),
            test: test.len(),
            notes,
        };
        let dataset = Self { classes, train, test, provenance };
        dataset.check()?;
        Ok(dataset)
    }

    /// Images without labels, to take samples of: all in the training split, of one class, and none to test on.
    ///
    /// # Errors
    /// [`DatasetError::Inconsistent`] where there is none.
    pub fn unlabelled(images: Split, notes: Vec<String>) -> Result<Self, DatasetError> {
        let none = Split::new(images.shape(), Vec::new(), Vec::new())?;
        Self::new(vec!["picture".into()], images, none, Self::UNLABELLED, notes)
    }

    /// The format that images without labels are said to be of.
    pub const UNLABELLED: &'static str = "pictures";

    /// Channels, height and width of every image.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        self.train.shape()
    }

    /// Reads a dataset file.
    ///
    /// # Errors
    /// [`DatasetError::File`] where it is unreadable or damaged, [`DatasetError::Content`] where its tensors do not
    /// make a dataset, or its images have no labels.
    pub fn read(path: &Path) -> Result<Self, DatasetError> {
        let mut file = tensors::read_with_metadata::<Metadata>(path)?;
        let train = take_split(&mut file, path, "train")?;
        let test = take_split(&mut file, path, "test")?;
        let Metadata { classes, provenance } = file.metadata;
        let dataset = Self { classes, train, test, provenance };
        if dataset.is_unlabelled() {
            let reason = "it holds pictures without labels, which one can calibrate on, not train or test";
            return Err(content(path, reason.into()));
        }
        dataset.check().map_err(|error| content(path, error.to_string()))?;
        Ok(dataset)
    }

    /// Writes a dataset file; the same dataset gives the same bytes. Takes no memory to speak of beside the dataset.
    ///
    /// # Errors
    /// [`DatasetError::Inconsistent`] as [`Dataset::new`], [`DatasetError::File`] where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), DatasetError> {
        self.check()?;
        let mut tensors = BTreeMap::new();
        for (name, split) in [("train", &self.train), ("test", &self.test)] {
            let [channels, height, width] = split.shape();
            let count = split.len();
            let images = View::new(vec![count, channels, height, width], Values::U8(split.pixels()));
            let labels = View::new(vec![count], Values::I64(split.labels()));
            let (Some(images), Some(labels)) = (images, labels) else {
                return Err(DatasetError::inconsistent(format!("{name} images do not fill their shape")));
            };
            tensors.insert(format!("{name}.images"), images);
            tensors.insert(format!("{name}.labels"), labels);
        }
        let metadata = Metadata { classes: self.classes.clone(), provenance: self.provenance.clone() };
        tensors::write_views(path, &tensors, &metadata)?;
        Ok(())
    }

    /// Whether it is of [`Dataset::unlabelled`].
    #[must_use]
    pub fn is_unlabelled(&self) -> bool {
        self.provenance.format == Self::UNLABELLED
    }

    fn check(&self) -> Result<(), DatasetError> {
        if self.train.shape() != self.test.shape() {
            let [(c, h, w), (d, i, x)] = [&self.train, &self.test].map(|split| split.shape().into());
            return Err(DatasetError::inconsistent(format!(
                "training images are {c}×{h}×{w} and test images {d}×{i}×{x} (channels×rows×columns)"
            )));
        }
        let mut names: Vec<_> = self.classes.iter().collect();
        names.sort();
        if let Some([name, _]) = names.array_windows().find(|[one, two]| one == two) {
            return Err(DatasetError::inconsistent(format!("two classes are named `{name}`")));
        }
        for (name, split) in [("training", &self.train), ("test", &self.test)] {
            let may_be_empty = name == "test" && self.is_unlabelled();
            if split.is_empty() && !may_be_empty {
                return Err(DatasetError::inconsistent(format!("there are no {name} images")));
            }
            let classes = self.classes.len();
            let known = |label: i64| usize::try_from(label).is_ok_and(|label| label < classes);
            if let Some(index) = split.labels().iter().position(|&label| !known(label)) {
                return Err(DatasetError::inconsistent(format!(
                    "{name} image {index} has label {}, but there are {classes} classes",
                    split.label(index)
                )));
            }
        }
        Ok(())
    }
}

fn take_split(file: &mut TensorFile<Metadata>, path: &Path, name: &str) -> Result<Split, DatasetError> {
    let (shape, pixels) = file.take_u8(path, &format!("{name}.images"))?;
    let (_, labels) = file.take_i64(path, &format!("{name}.labels"))?;
    let [count, channels, height, width] = *shape else {
        return Err(content(path, format!("`{name}.images` has {} dimensions, not 4", shape.len())));
    };
    if count != labels.len() {
        return Err(content(path, format!("`{name}` has {count} images and {} labels", labels.len())));
    }
    Split::new([channels, height, width], pixels, labels).map_err(|error| content(path, error.to_string()))
}

pub(crate) fn content(path: &Path, reason: String) -> DatasetError {
    DatasetError::Content { path: path.into(), kind: "a dataset", reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tensors::{Data, Tensor};

    fn split(labels: Vec<i64>) -> Split {
        let pixels = (0..labels.len() * 6).map(|value| (value * 37 % 256) as u8).collect();
        Split::new([3, 1, 2], pixels, labels).unwrap()
    }

    fn sample() -> Dataset {
        let classes = vec!["cat".into(), "dog".into()];
        Dataset::new(classes, split(vec![0, 1, 1]), split(vec![1]), "test", vec!["a note".into()]).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_the_bytes_are_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1.safetensors"), folder.path().join("2.safetensors"));
        sample().write(&one).unwrap();
        sample().write(&two).unwrap();
        assert_eq!(Dataset::read(&one).unwrap(), sample());
        assert_eq!(fs::read(one).unwrap(), fs::read(two).unwrap());
    }

    #[test]
    fn a_label_without_a_class_is_refused() {
        let classes = vec!["cat".into(), "dog".into()];
        let error = Dataset::new(classes, split(vec![0, 2]), split(vec![1]), "test", vec![]).unwrap_err();
        assert_eq!(error.to_string(), "training image 1 has label 2, but there are 2 classes");
    }

    #[test]
    fn splits_must_agree_and_hold_something() {
        let message = |train, test| {
            Dataset::new(vec!["cat".into()], train, test, "test", vec![]).unwrap_err().to_string()
        };
        let other = Split::new([1, 2, 2], vec![0; 4], vec![0]).unwrap();
        snapshots::assert_message!(message(split(vec![0]), other));
        snapshots::assert_message!(message(split(vec![0]), split(vec![])));
        let twice = vec!["cat".into(), "dog".into(), "cat".into()];
        let error = Dataset::new(twice, split(vec![0]), split(vec![0]), "test", vec![]).unwrap_err();
        snapshots::assert_message!(error.to_string());
    }

    #[test]
    fn a_file_of_something_else_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.safetensors");
        fs::write(&path, b"rubbish").unwrap();
        snapshots::assert_message!(Dataset::read(&path).unwrap_err().to_string());
        let metadata = Metadata { classes: vec![], provenance: Provenance::default() };
        tensors::write(&path, &BTreeMap::new(), &metadata).unwrap();
        snapshots::assert_message!(Dataset::read(&path).unwrap_err().to_string());
        tensors::write(&path, &BTreeMap::new(), &()).unwrap();
        snapshots::assert_message!(Dataset::read(&path).unwrap_err().to_string());
    }

    #[test]
    fn fewer_labels_than_images_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.safetensors");
        let tensors = BTreeMap::from([
            ("train.images".into(), Tensor::new(vec![2, 1, 1, 1], Data::U8(vec![0; 2])).unwrap()),
            ("train.labels".into(), Tensor::new(vec![1], Data::I64(vec![0])).unwrap()),
        ]);
        let metadata = Metadata { classes: vec!["a".into()], provenance: Provenance::default() };
        tensors::write(&path, &tensors, &metadata).unwrap();
        snapshots::assert_message!(Dataset::read(&path).unwrap_err().to_string());
    }
}
