//! Writing a file whole or not at all, and records that notice when they are torn. Knows nothing of what is written.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::at;
use super::{Store, StoreError};
use crate::digest::Digest;

impl Store {
    /// Writes a file of the store: complete and synced before it gets its name, so that a reader sees the old file or
    /// the new one. The folder is not synced: after a power cut the new file may be missing, which is a miss.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let temporary = self.temporary()?;
        let written = File::create_new(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        if let Err(error) = written {
            // A leftover is cleared when the next run begins.
            let _ = fs::remove_file(&temporary);
            return Err(at("write", &temporary)(error));
        }
        self.place(&temporary, path)
    }

    /// Gives a finished temporary file its name.
    pub(super) fn place(&self, temporary: &Path, path: &Path) -> Result<(), StoreError> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at("create", parent))?;
        }
        fs::rename(temporary, path).map_err(at("write", path))
    }

    /// Writes a record with its checksum.
    pub(crate) fn write_record<T: Serialize>(&self, path: &Path, record: &T) -> Result<(), StoreError> {
        let sealed = seal(record).map_err(|source| StoreError::Json { path: path.to_owned(), source })?;
        self.write(path, &sealed)
    }
}

/// A record as read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record<T> {
    /// Whole.
    Whole(T),
    /// Not there.
    Absent,
    /// There, but torn, edited, unreadable or of another version.
    Damaged,
}

impl<T> Record<T> {
    /// The record if it is whole.
    pub(crate) fn whole(self) -> Option<T> {
        match self {
            Self::Whole(record) => Some(record),
            Self::Absent | Self::Damaged => None,
        }
    }
}

/// Reads a record and checks its checksum.
pub(crate) fn read_record<T: DeserializeOwned>(path: &Path) -> Record<T> {
    match fs::read(path) {
        Ok(bytes) => unseal(&bytes).map_or(Record::Damaged, Record::Whole),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Record::Absent,
        Err(_) => Record::Damaged,
    }
}

/// JSON on one line, then a line with its checksum.
pub(super) fn seal<T: Serialize>(record: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec(record)?;
    bytes.push(b'\n');
    let checksum = checksum_line(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    Ok(bytes)
}

pub(super) fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let end = bytes.iter().position(|&byte| byte == b'\n')? + 1;
    let (body, checksum) = bytes.split_at_checked(end)?;
    if checksum != checksum_line(body).as_bytes() {
        return None;
    }
    serde_json::from_slice(body).ok()
}

pub(super) fn checksum_line(body: &[u8]) -> String {
    format!("blake3 {}\n", Digest::of_bytes(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sealed_is_unsealed(text in ".{0,40}", number in any::<i64>()) {
            prop_assert_eq!(unseal(&seal(&(&text, number)).unwrap()), Some((text, number)));
        }

        #[test]
        fn no_changed_byte_goes_unnoticed(text in "[a-z\n\"]{0,20}", at in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut bytes = seal(&text).unwrap();
            let index = at.index(bytes.len());
            bytes[index] ^= flip;
            prop_assert_eq!(unseal::<String>(&bytes), None);
        }

        #[test]
        fn no_lost_byte_goes_unnoticed(text in "[a-z]{0,20}", at in any::<prop::sample::Index>()) {
            let mut bytes = seal(&text).unwrap();
            bytes.truncate(at.index(bytes.len()));
            prop_assert_eq!(unseal::<String>(&bytes), None);
        }
    }

    #[test]
    fn something_after_the_checksum_is_damage() {
        let mut bytes = seal(&1).unwrap();
        bytes.push(b'\n');
        assert_eq!(unseal::<i32>(&bytes), None);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let path = store.folder().join("x");
        store.write(&path, b"old").unwrap();
        // The name below `tmp` that comes next is taken.
        let next = store.temporary().unwrap();
        let taken = next.with_file_name(format!("{}-2", std::process::id()));
        fs::create_dir(&taken).unwrap();
        assert!(store.write(&path, b"new").unwrap_err().to_string().contains("cannot write"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}
