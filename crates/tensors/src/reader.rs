//! Reading a safetensors file tensor by tensor, or some rows of one, so that only what is wanted is in memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::DeserializeOwned;

use crate::{Data, Error, METADATA_KEY, Tensor};

/// Bytes before the header: its length.
const LENGTH: u64 = 8;

/// Longest header that is believed, as in the `safetensors` crate.
const LONGEST_HEADER: u64 = 100_000_000;

/// An open file of tensors, whose header was read and whose length fits it.
pub struct Reader {
    file: File,
    path: PathBuf,
    header: Metadata,
    /// Where the tensors begin.
    start: u64,
}

impl Reader {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Invalid`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { action: "read", path: path.into(), source };
        let invalid = |reason: String| Error::Invalid { path: path.into(), reason };
        let mut file = regular::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let mut length = [0; 8];
        match file.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(invalid(format!("it has {bytes} bytes, too few for a header")));
            }
            read => read.map_err(io)?,
        }
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER || length > bytes.saturating_sub(LENGTH) {
            return Err(invalid(format!("its header would have {length} bytes, of {bytes} in all")));
        }
        let mut header = Vec::new();
        file.by_ref().take(length).read_to_end(&mut header).map_err(io)?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|error| invalid(format!("its header: {error}")))?;
        let start = LENGTH + length;
        let expected = start + header.data_len() as u64;
        if bytes != expected {
            return Err(invalid(format!("it has {bytes} bytes, and its header says {expected}")));
        }
        Ok(Self { file, path: path.into(), header, start })
    }

    /// The metadata, where it has any.
    ///
    /// # Errors
    /// [`Error::Metadata`] where it is something else.
    pub fn metadata<M: DeserializeOwned>(&self) -> Result<Option<M>, Error> {
        let text = self.header.metadata().as_ref().and_then(|map| map.get(METADATA_KEY));
        text.map(|text| serde_json::from_str(text))
            .transpose()
            .map_err(|error| Error::Metadata { path: self.path.clone(), reason: error.to_string() })
    }

    /// Names of the tensors.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// A tensor.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Invalid`] for element types other than those of [`Data`], [`Error::Io`].
    pub fn tensor(&mut self, name: &str) -> Result<Tensor, Error> {
        let info = self.info(name, "any")?;
        let (from, to) = info.data_offsets;
        let bytes = self.bytes(from as u64, (to - from) as u64)?;
        let data = match info.dtype {
            Dtype::F32 => Data::F32(words(&bytes, f32::from_le_bytes)),
            Dtype::I64 => Data::I64(words(&bytes, i64::from_le_bytes)),
            Dtype::U8 => Data::U8(bytes),
            other => return Err(self.invalid(format!("tensor `{name}` has unsupported type {other:?}"))),
        };
        let unfilled = || self.invalid(format!("tensor `{name}` does not fill its shape"));
        Tensor::new(info.shape, data).ok_or_else(unfilled)
    }

    /// Shape of the u8 tensor `name`, and its `rows` along the outermost dimension, one after the other.
    ///
    /// # Errors
    /// As [`Reader::tensor`]; [`Error::Invalid`] where it has another type, or no such row.
    pub fn rows(&mut self, name: &str, rows: &[usize]) -> Result<(Vec<usize>, Vec<u8>), Error> {
        let info = self.info(name, "u8")?;
        let [count, inner @ ..] = info.shape.as_slice() else {
            return Err(self.invalid(format!("tensor `{name}` has no dimension")));
        };
        if info.dtype != Dtype::U8 {
            return Err(self.invalid(format!("tensor `{name}` is {:?}, not U8", info.dtype)));
        }
        let size = inner.iter().product::<usize>();
        let mut all = Vec::with_capacity(size.saturating_mul(rows.len()));
        for &row in rows {
            if row >= *count {
                return Err(self.invalid(format!("tensor `{name}` has {count} rows, and no row {row}")));
            }
            all.append(&mut self.bytes((info.data_offsets.0 + row * size) as u64, size as u64)?);
        }
        Ok((info.shape, all))
    }

    /// Shape of a tensor.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn shape(&self, name: &str) -> Result<Vec<usize>, Error> {
        Ok(self.info(name, "any")?.shape)
    }

    fn info(&self, name: &str, expected: &'static str) -> Result<TensorInfo, Error> {
        let missing = || Error::Missing { path: self.path.clone(), name: name.into(), expected };
        self.header.info(name).cloned().ok_or_else(missing)
    }

    /// Bytes of the file from `offset` behind the header.
    fn bytes(&mut self, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        let read = (|| {
            self.file.seek(SeekFrom::Start(self.start + offset))?;
            self.file.by_ref().take(length).read_to_end(&mut bytes)
        })();
        match read {
            Ok(read) if read as u64 == length => Ok(bytes),
            Ok(_) => Err(self.invalid("it was cut short while it was read".into())),
            Err(source) => Err(Error::Io { action: "read", path: self.path.clone(), source }),
        }
    }

    fn invalid(&self, reason: String) -> Error {
        Error::Invalid { path: self.path.clone(), reason }
    }
}

fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;

    fn sample(folder: &Path) -> PathBuf {
        let pixels = Tensor::new(vec![3, 2], Data::U8(vec![0, 1, 2, 3, 4, 5])).unwrap();
        let scale = Tensor::new(vec![], Data::F32(vec![0.5])).unwrap();
        let path = folder.join("a.safetensors");
        let tensors = BTreeMap::from([("pixels".to_owned(), pixels), ("scale".to_owned(), scale)]);
        crate::write(&path, &tensors, &"m").unwrap();
        path
    }

    #[test]
    fn some_rows_are_read_in_the_order_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut reader = Reader::open(&sample(folder.path())).unwrap();
        assert_eq!(reader.rows("pixels", &[2, 0]).unwrap(), (vec![3, 2], vec![4, 5, 0, 1]));
        assert_eq!(reader.shape("pixels").unwrap(), [3, 2]);
        assert_eq!(reader.metadata::<String>().unwrap().unwrap(), "m");
        let message = |error: Error| error.to_string();
        assert!(message(reader.rows("pixels", &[3]).unwrap_err()).contains("has 3 rows, and no row 3"));
        assert!(message(reader.rows("scale", &[0]).unwrap_err()).contains("has no dimension"));
        assert!(message(reader.rows("none", &[0]).unwrap_err()).contains("no tensor `none` of type u8"));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = sample(folder.path());
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(Reader::open(&path), Err(Error::Invalid { .. })), "{length}");
        }
        fs::write(&path, [&u64::MAX.to_le_bytes()[..], &whole].concat()).unwrap();
        assert!(matches!(Reader::open(&path), Err(Error::Invalid { .. })));
    }
}
