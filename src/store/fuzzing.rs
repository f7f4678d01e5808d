//! What fuzz targets may do here: read bytes as each kind of file that the store trusts after a checksum. Changed bytes
//! would never pass the checksum, so it is made right first.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::action::Last;
use super::file::{checksum_line, seal, unseal};
use super::folder::Folder;
use super::stat;
use crate::digest::Digest;
use crate::plugin::Known;
use crate::record::{ActionRecord, RunRecord};

/// What the bytes can be read as.
pub(crate) struct Records {
    pub(crate) action: Option<ActionRecord>,
    pub(crate) run: Option<RunRecord>,
}

/// Reads `bytes` as everything. What can be read must be the same after it was written and read again.
pub(crate) fn read(bytes: &[u8]) -> Records {
    if let Some(folder) = Folder::from_bytes(bytes) {
        assert_eq!(Folder::from_bytes(&folder.to_bytes()).as_ref(), Some(&folder));
        let _ = folder.bytes();
    }
    let _ = stat::parse(bytes);
    let body = bytes.get(..bytes.len().saturating_sub(stat::CHECKSUM)).unwrap_or_default();
    let _ = stat::parse(&[body, Digest::of_bytes(body).as_bytes()].concat());
    let _ = record::<Last>(bytes);
    let _ = record::<Known>(bytes);
    Records { action: record(bytes), run: record(bytes) }
}

fn record<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let _ = unseal::<T>(bytes);
    let mut line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default().to_vec();
    line.push(b'\n');
    line.extend_from_slice(checksum_line(&line).as_bytes());
    let record = unseal(&line)?;
    let again = seal(&record).ok().and_then(|bytes| unseal(&bytes));
    assert_eq!(again.as_ref(), Some(&record), "a record changes when it is written and read");
    Some(record)
}
