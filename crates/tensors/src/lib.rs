//! Deterministic safetensors files: the same tensors and metadata give the same bytes.
//!
//! Metadata is one JSON document under the single key `pipe`, because safetensors writes its string map in
//! hash order. Knows files and element types; knows nothing of what tensors mean.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
#[cfg(unix)]
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensorError};
use serde::Serialize;
use serde::de::DeserializeOwned;

mod reader;

pub use reader::Reader;

const METADATA_KEY: &str = "pipe";

/// Elements of a tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// Bytes.
    U8(Vec<u8>),
}

impl Data {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::U8(values) => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn name(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::I64(_) => "i64",
            Self::U8(_) => "u8",
        }
    }

    fn values(&self) -> Values<'_> {
        match self {
            Self::F32(values) => Values::F32(values),
            Self::I64(values) => Values::I64(values),
            Self::U8(values) => Values::U8(values),
        }
    }
}

/// Elements of a tensor, row-major, which lie elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// 64-bit integers.
    I64(&'a [i64]),
    /// Bytes.
    U8(&'a [u8]),
}

impl<'a> Values<'a> {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::U8(values) => values.len(),
        }
    }

    fn bytes(&self) -> Cow<'a, [u8]> {
        match self {
            Self::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::U8(values) => Cow::Borrowed(values),
        }
    }
}

/// A tensor whose elements lie elsewhere: what is written without a copy of it.
#[derive(Debug, Clone, PartialEq)]
pub struct View<'a> {
    shape: Vec<usize>,
    values: Values<'a>,
}

impl<'a> View<'a> {
    /// A view, unless the number of elements is not the product of `shape`.
    #[must_use]
    pub fn new(shape: Vec<usize>, values: Values<'a>) -> Option<Self> {
        let expected = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim))?;
        (expected == values.len()).then_some(Self { shape, values })
    }
}

impl safetensors::View for &View<'_> {
    fn dtype(&self) -> Dtype {
        match self.values {
            Values::F32(_) => Dtype::F32,
            Values::I64(_) => Dtype::I64,
            Values::U8(_) => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.bytes()
    }

    fn data_len(&self) -> usize {
        let size = match self.values {
            Values::F32(_) => size_of::<f32>(),
            Values::I64(_) => size_of::<i64>(),
            Values::U8(_) => 1,
        };
        self.values.len() * size
    }
}

/// A tensor: shape and elements, whose number is the product of the shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// A tensor, unless the number of elements is not the product of `shape`.
    #[must_use]
    pub fn new(shape: Vec<usize>, data: Data) -> Option<Self> {
        let expected = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim))?;
        (expected == data.len()).then_some(Self { shape, data })
    }

    /// Dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Elements, row-major.
    #[must_use]
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The same, without a copy.
    #[must_use]
    pub fn into_data(self) -> Data {
        self.data
    }
}

/// Tensors by name and one document of metadata: what a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorFile<M> {
    /// The tensors.
    pub tensors: BTreeMap<String, Tensor>,
    /// The metadata.
    pub metadata: M,
}

/// What can be wrong with a file of tensors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Not a safetensors file, or a damaged one.
    #[error("`{}` is not a valid safetensors file: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// The file lacks a tensor, or has it in another type or shape.
    #[error("`{}` has no tensor `{name}` of type {expected}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The type.
        expected: &'static str,
    },
    /// The metadata is missing or not what was expected.
    #[error("metadata of `{}`: {reason}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
}

/// Reads a file's tensors and, where it has any, its metadata. Tensors of element types other than those of
/// [`Data`] are an error.
///
/// # Errors
/// [`Error::Io`], [`Error::Invalid`], [`Error::Metadata`].
pub fn read<M: DeserializeOwned>(path: &Path) -> Result<TensorFile<Option<M>>, Error> {
    let mut reader = Reader::open(path)?;
    let metadata = reader.metadata()?;
    let mut tensors = BTreeMap::new();
    for name in reader.names() {
        let tensor = reader.tensor(&name)?;
        tensors.insert(name, tensor);
    }
    Ok(TensorFile { tensors, metadata })
}

/// Reads a file that must have metadata.
///
/// # Errors
/// As [`read`]; [`Error::Metadata`] where there is none.
pub fn read_with_metadata<M: DeserializeOwned>(path: &Path) -> Result<TensorFile<M>, Error> {
    let TensorFile { tensors, metadata } = read(path)?;
    let metadata =
        metadata.ok_or_else(|| Error::Metadata { path: path.into(), reason: "there is none".into() })?;
    Ok(TensorFile { tensors, metadata })
}

/// Writes a file whole: beside its place first, then renamed, so that a reader never sees half of it.
///
/// # Errors
/// [`Error::Io`]; [`Error::Metadata`] where the metadata is not valid JSON (a map with keys other than strings).
pub fn write<M: Serialize>(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &M,
) -> Result<(), Error> {
    let views = (tensors.iter())
        .map(|(name, tensor)| {
            (name.clone(), View { shape: tensor.shape.clone(), values: tensor.data.values() })
        })
        .collect();
    write_views(path, &views, metadata)
}

/// As [`write`], of tensors that lie elsewhere: nothing of bytes is copied, and of other elements one tensor at a time.
///
/// # Errors
/// As [`write`].
pub fn write_views<M: Serialize>(
    path: &Path,
    tensors: &BTreeMap<String, View<'_>>,
    metadata: &M,
) -> Result<(), Error> {
    let text = serde_json::to_string(metadata)
        .map_err(|error| Error::Metadata { path: path.into(), reason: error.to_string() })?;
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), text)]);
    let written = regular::write_whole_with(path, |unfinished| {
        let written = safetensors::serialize_to_file(tensors, Some(metadata), unfinished);
        written.map_err(|error| match error {
            SafeTensorError::IoError(error) => Unwritten::Io(error),
            error => Unwritten::Invalid(error.to_string()),
        })
    });
    written.map_err(|error| match error {
        Unwritten::Io(source) => Error::Io { action: "write", path: path.into(), source },
        Unwritten::Invalid(reason) => Error::Invalid { path: path.into(), reason },
    })
}

/// Why a file was not written; which one, its caller knows.
enum Unwritten {
    Io(std::io::Error),
    Invalid(String),
}

impl From<std::io::Error> for Unwritten {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl<M> TensorFile<M> {
    /// Takes the f32 tensor `name` out; `path` is named in the error.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn take_f32(&mut self, path: &Path, name: &str) -> Result<(Vec<usize>, Vec<f32>), Error> {
        self.take(path, name, "f32", |data| match data {
            Data::F32(values) => Ok(values),
            other => Err(other),
        })
    }

    /// Takes the i64 tensor `name` out; `path` is named in the error.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn take_i64(&mut self, path: &Path, name: &str) -> Result<(Vec<usize>, Vec<i64>), Error> {
        self.take(path, name, "i64", |data| match data {
            Data::I64(values) => Ok(values),
            other => Err(other),
        })
    }

    /// Takes the u8 tensor `name` out; `path` is named in the error.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn take_u8(&mut self, path: &Path, name: &str) -> Result<(Vec<usize>, Vec<u8>), Error> {
        self.take(path, name, "u8", |data| match data {
            Data::U8(values) => Ok(values),
            other => Err(other),
        })
    }

    fn take<T>(
        &mut self,
        path: &Path,
        name: &str,
        expected: &'static str,
        pick: impl Fn(Data) -> Result<Vec<T>, Data>,
    ) -> Result<(Vec<usize>, Vec<T>), Error> {
        let missing = || Error::Missing { path: path.into(), name: name.into(), expected };
        let Tensor { shape, data } = self.tensors.remove(name).ok_or_else(missing)?;
        let actual = data.name();
        let values = pick(data).map_err(|_| Error::Invalid {
            path: path.into(),
            reason: format!("tensor `{name}` is {actual}, not {expected}"),
        })?;
        Ok((shape, values))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn sample() -> BTreeMap<String, Tensor> {
        BTreeMap::from([
            ("w".to_owned(), Tensor::new(vec![2, 1], Data::F32(vec![1.5, -2.0])).unwrap()),
            ("labels".to_owned(), Tensor::new(vec![3], Data::I64(vec![0, 1, -9])).unwrap()),
            ("pixels".to_owned(), Tensor::new(vec![1, 2, 2], Data::U8(vec![0, 1, 2, 255])).unwrap()),
            ("none".to_owned(), Tensor::new(vec![0, 4], Data::F32(vec![])).unwrap()),
        ])
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        write(&path, &sample(), &vec!["x", "y"]).unwrap();
        let file = read_with_metadata::<Vec<String>>(&path).unwrap();
        assert_eq!(file.tensors, sample());
        assert_eq!(file.metadata, ["x", "y"]);
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        let metadata = BTreeMap::from([("a", 1), ("b", 2), ("c", 3)]);
        write(&one, &sample(), &metadata).unwrap();
        write(&two, &sample(), &metadata).unwrap();
        assert_eq!(fs::read(one).unwrap(), fs::read(two).unwrap());
    }

    #[test]
    fn views_give_the_same_file_which_others_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        write(&one, &sample(), &3).unwrap();
        let tensors = sample();
        let views = (tensors.iter())
            .map(|(name, tensor)| {
                (name.clone(), View::new(tensor.shape.clone(), tensor.data.values()).unwrap())
            })
            .collect();
        write_views(&two, &views, &3).unwrap();
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        assert_eq!(View::new(vec![2], Values::U8(&[1])), None);
        // As any other new file.
        let plain = folder.path().join("3");
        std::fs::write(&plain, "").unwrap();
        assert_eq!(one.metadata().unwrap().permissions(), plain.metadata().unwrap().permissions());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn damage_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        write(&path, &sample(), &()).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let message = read::<()>(&path).unwrap_err().to_string();
            assert!(message.contains("a.safetensors"), "{message}");
        }
    }

    #[test]
    fn a_tensor_of_another_type_is_an_error() {
        let mut file = TensorFile { tensors: sample(), metadata: () };
        let path = Path::new("f");
        assert!(file.take_u8(path, "w").unwrap_err().to_string().contains("`w` is f32, not u8"));
        assert!(file.take_f32(path, "v").unwrap_err().to_string().contains("no tensor `v`"));
    }

    #[test]
    fn a_shape_must_fit() {
        assert!(Tensor::new(vec![2], Data::U8(vec![1])).is_none());
        assert!(Tensor::new(vec![usize::MAX, 2], Data::U8(vec![])).is_none());
    }
}
