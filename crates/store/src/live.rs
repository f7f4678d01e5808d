//! What the run under way says of itself, for other processes to follow. The file has a lock that its writer holds from
//! before it has its name until the writer ends, however it ends: the kernel tells who follows it whether it still grows.

use std::fs::{self, File};
use std::path::PathBuf;

use super::error::at;
use super::file::{create, or_remove, place};
use super::{Store, StoreError};

/// What a run has said of itself.
#[derive(Debug)]
pub struct LiveFile {
    /// Its JSON lines so far; the last one may not be whole.
    pub file: File,
    /// Whether that run was under way when the file was opened. Where it was not, the file is all there will be.
    pub is_growing: bool,
}

impl Store {
    /// Begins a file for what a run says of itself, in the place of the last run's. To be called under [`Store::lock`].
    ///
    /// # Errors
    /// When it cannot be written, or its file system has no locks.
    pub fn begin_live(&self) -> Result<File, StoreError> {
        let path = self.live_file();
        let temporary = self.temporary_for(&path);
        let begun = create(&temporary, 0o644).map_err(at("write", &temporary)).and_then(|file| {
            // Nobody else knows its name yet, so that it is free.
            file.lock().map_err(at("lock", &temporary))?;
            place(&temporary, &path)?;
            Ok(file)
        });
        or_remove(&temporary, begun)
    }

    /// What the last run in which something was executed has said of itself. `None` where there was none.
    #[must_use]
    pub fn live(&self) -> Option<LiveFile> {
        let file = regular::open(&self.live_file()).ok()?;
        let is_growing = matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock));
        Some(LiveFile { file, is_growing })
    }

    fn live_file(&self) -> PathBuf {
        self.folder.join("live")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn text(store: &Store) -> (String, bool) {
        let mut live = store.live().unwrap();
        let mut text = String::new();
        live.file.read_to_string(&mut text).unwrap();
        (text, live.is_growing)
    }

    #[test]
    fn a_file_grows_until_its_writer_ends_and_the_next_run_has_another() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        assert!(store.live().is_none());
        let mut first = store.begin_live().unwrap();
        first.write_all(b"one\n").unwrap();
        assert_eq!(text(&store), ("one\n".into(), true));
        drop(first);
        assert_eq!(text(&store), ("one\n".into(), false));
        let followed = store.live().unwrap();
        let second = store.begin_live().unwrap();
        assert_eq!(text(&store), (String::new(), true));
        drop((followed, second));
        assert_eq!(text(&store), (String::new(), false));
    }
}
