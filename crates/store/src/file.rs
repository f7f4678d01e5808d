//! Writing a file whole or not at all, and records that notice when they are torn. Knows nothing of what is written.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use pipeline::digest::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::at;
use super::{Store, StoreError};

/// Whether a file is certain to outlive a power cut once it has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It is: its content is synced first.
    Synced,
    /// Only if the power stays on for the half minute or so that the kernel takes to write it. What is torn is noticed.
    Eventual,
}

/// What took longer than this to make is synced: a sync takes some milliseconds, and is not to take longer than making
/// it again.
const WORTH_SYNCING_MS: u64 = 1_000;

impl Durability {
    /// For what an execution of this length gave.
    pub(super) fn of_ms(duration_ms: u64) -> Self {
        if duration_ms >= WORTH_SYNCING_MS { Self::Synced } else { Self::Eventual }
    }

    pub(super) fn settle(self, file: &File) -> io::Result<()> {
        match self {
            Self::Synced => file.sync_all(),
            Self::Eventual => Ok(()),
        }
    }
}

impl Store {
    /// Writes a file of the store: complete before it gets its name, so that a reader sees the old file or the new
    /// one. The folder is not synced: after a power cut the new file may be missing, which is a miss.
    pub(super) fn write(&self, path: &Path, bytes: &[u8], durability: Durability) -> Result<(), StoreError> {
        let temporary = self.temporary_for(path);
        let written = write_new(&temporary, 0o644, bytes, durability).and_then(|()| place(&temporary, path));
        or_remove(&temporary, written)
    }

    /// Writes a record with its checksum.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_record<T: Serialize>(
        &self,
        path: &Path,
        record: &T,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let sealed = seal(record).map_err(|source| StoreError::Json { path: path.to_owned(), source })?;
        self.write(path, &sealed, durability)
    }
}

/// Creates a file that is not there yet, and its folder if that is missing.
pub(super) fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).read(true).create_new(true).mode(mode);
    with_parent(path, || options.open(path))
}

/// Writes a file that is not there yet.
pub(super) fn write_new(
    path: &Path,
    mode: u32,
    bytes: &[u8],
    durability: Durability,
) -> Result<(), StoreError> {
    let written = create(path, mode).and_then(|mut file| {
        file.write_all(bytes)?;
        durability.settle(&file)
    });
    written.map_err(at("write", path))
}

/// Removes a temporary file that did not get its name: on a full disk it would be in the way, and nobody else clears a
/// shared folder soon.
pub(super) fn or_remove<T>(temporary: &Path, done: Result<T, StoreError>) -> Result<T, StoreError> {
    if done.is_err() {
        // The error at hand says more than one of tidying up.
        let _ = fs::remove_file(temporary);
    }
    done
}

/// Gives a finished temporary file or folder its name.
pub(super) fn place(temporary: &Path, path: &Path) -> Result<(), StoreError> {
    with_parent(path, || fs::rename(temporary, path)).map_err(at("write", path))
}

/// Tries something that needs the folder of `path`, and makes the folder only if it is missing: usually it is there.
pub(super) fn with_parent<T>(path: &Path, attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match attempt() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(path))?;
            attempt()
        }
        done => done,
    }
}

/// A record as read.
#[derive(Debug, Clone, PartialEq)]
pub enum Record<T> {
    /// Whole.
    Whole(T),
    /// Not there.
    Absent,
    /// There, but torn, edited or of another version.
    Damaged,
    /// There, but it cannot be read, which says nothing of what is in it: why.
    Unreadable(String),
}

impl<T> Record<T> {
    /// The record if it is whole.
    pub fn whole(self) -> Option<T> {
        match self {
            Self::Whole(record) => Some(record),
            Self::Absent | Self::Damaged | Self::Unreadable(_) => None,
        }
    }
}

/// Reads a record and checks its checksum.
pub fn read_record<T: DeserializeOwned>(path: &Path) -> Record<T> {
    match regular::read(path) {
        Ok(bytes) => unseal(&bytes).map_or(Record::Damaged, Record::Whole),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Record::Absent,
        Err(error) => Record::Unreadable(error.to_string()),
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
        store.write(&path, b"old", Durability::Synced).unwrap();
        // The name below `tmp` that comes next is taken.
        let taken = store.temporary_for(&path).with_file_name(format!("{}-2", store.instance));
        fs::create_dir(&taken).unwrap();
        let error = store.write(&path, b"new", Durability::Eventual).unwrap_err();
        assert!(error.to_string().contains("cannot write"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}
