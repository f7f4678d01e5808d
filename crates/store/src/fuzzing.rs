//! What fuzz targets may do here: read bytes as each kind of file that the store trusts after a checksum. Changed bytes
//! would never pass the checksum, so it is made right first.

use std::fmt::Debug;

use pipeline::StageName;
use pipeline::digest::Digest;
use record::{ActionRecord, RunRecord};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::file::{checksum_line, seal, unseal};
use super::folder::Folder;
use super::{last, stat};

/// What the bytes can be read as.
#[derive(Debug)]
pub struct Records {
    /// An outcome.
    pub action: Option<ActionRecord>,
    /// A run.
    pub run: Option<RunRecord>,
}

/// Reads `bytes` as everything. What can be read must be the same after it was written and read again.
#[must_use]
pub fn read(bytes: &[u8]) -> Records {
    if let Some(folder) = Folder::from_bytes(bytes) {
        assert_eq!(Folder::from_bytes(&folder.to_bytes()).as_ref(), Some(&folder));
        let _ = folder.bytes();
    }
    let boot = bytes.get(stat::MAGIC.len()..).and_then(<[u8]>::first_chunk);
    let boot = Digest::from_bytes(boot.copied().unwrap_or_default());
    let _ = stat::parse(bytes, &boot);
    let body = bytes.get(..bytes.len().saturating_sub(stat::CHECKSUM)).unwrap_or_default();
    let _ = stat::parse(&[body, Digest::of_bytes(body).as_bytes()].concat(), &boot);
    String::from_utf8_lossy(bytes).lines().for_each(last_key);
    Records { action: record(bytes), run: record(bytes) }
}

/// Reads a line of `last-keys`, as it is and with its check made right.
fn last_key(line: &str) {
    let _ = last::parse(line);
    let mut words = line.splitn(3, ' ');
    let key: Option<Digest> = words.next().and_then(|word| word.parse().ok());
    let stage = words.nth(1).and_then(|word| StageName::try_from(word.to_owned()).ok());
    if let (Some(key), Some(stage)) = (key, stage) {
        assert_eq!(last::parse(last::line(&stage, key).trim_end()), Some((stage, key)));
    }
}

/// Reads `bytes` as a record of one kind, as they are and with their checksum made right.
pub fn record<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let _ = unseal::<T>(bytes);
    let mut line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default().to_vec();
    line.push(b'\n');
    line.extend_from_slice(checksum_line(&line).as_bytes());
    let record = unseal(&line)?;
    let again = seal(&record).ok().and_then(|bytes| unseal(&bytes));
    assert_eq!(again.as_ref(), Some(&record), "a record changes when it is written and read");
    Some(record)
}
