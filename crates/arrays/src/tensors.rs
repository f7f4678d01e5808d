//! The header of a safetensors file: a length, then JSON that says of each tensor what it is and where. Knows no tensors' values.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::{ArraysError, Element, Header};

/// Bytes before the header: its length.
pub(crate) const LENGTH: usize = 8;

/// Longest header that is believed, as in the `safetensors` crate.
const LONGEST: u64 = 100_000_000;

/// What a file says of its tensors.
#[derive(Debug, Default)]
pub(crate) struct Tensors {
    pub(crate) headers: BTreeMap<String, Header>,
    /// Those of types that no array has, and why they are not read.
    pub(crate) others: BTreeMap<String, String>,
    /// Where each begins in the file.
    pub(crate) offsets: BTreeMap<String, u64>,
}

/// Whether a file begins as safetensors do: `start` are its first bytes, one more than [`LENGTH`].
pub(crate) fn begins(start: &[u8]) -> bool {
    matches!(start, [.., b'{'] if start.len() == LENGTH + 1)
}

impl Tensors {
    /// Reads the header of the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, ArraysError> {
        let unreadable = |source| ArraysError::Unreadable { path: path.to_owned(), source };
        let broken = |reason: String| ArraysError::NoArrays { path: path.to_owned(), reason };
        let mut file = regular::open(path).map_err(unreadable)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        let mut length = [0; LENGTH];
        file.read_exact(&mut length).map_err(unreadable)?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST || length > bytes {
            return Err(broken(format!("its header would have {length} bytes, of {bytes} in all")));
        }
        let mut text = Vec::new();
        file.take(length).read_to_end(&mut text).map_err(unreadable)?;
        let metadata: Metadata =
            serde_json::from_slice(&text).map_err(|error| broken(format!("its header: {error}")))?;
        let start = LENGTH as u64 + length;
        if bytes != start + metadata.data_len() as u64 {
            let expected = start + metadata.data_len() as u64;
            return Err(broken(format!("it has {bytes} bytes, and its header says {expected}")));
        }
        let mut tensors = Self::default();
        for (name, info) in metadata.tensors() {
            match element(info.dtype) {
                None => {
                    let reason = format!("holds elements of type {:?}, which are not read", info.dtype);
                    tensors.others.insert(name, reason);
                }
                Some(element) => {
                    let header = Header {
                        element,
                        shape: info.shape.clone(),
                        is_column_major: false,
                        is_big_endian: false,
                    };
                    tensors.headers.insert(name.clone(), header);
                    tensors.offsets.insert(name, start + info.data_offsets.0 as u64);
                }
            }
        }
        Ok(tensors)
    }
}

fn element(dtype: Dtype) -> Option<Element> {
    Some(match dtype {
        Dtype::BOOL => Element::Bool,
        Dtype::I8 => Element::I8,
        Dtype::I16 => Element::I16,
        Dtype::I32 => Element::I32,
        Dtype::I64 => Element::I64,
        Dtype::U8 => Element::U8,
        Dtype::U16 => Element::U16,
        Dtype::U32 => Element::U32,
        Dtype::U64 => Element::U64,
        Dtype::F16 => Element::F16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        _ => return None,
    })
}
