//! The content-addressed cache below `cache/v1`, and the artifacts made from it. Knows digests, records and files;
//! knows nothing of how a stage is executed.
//!
//! ```text
//! objects/ab/cd…   contents of files, and manifests of folders, by BLAKE3; read-only
//! actions/ab/cd…   one record per executed key
//! last/STAGE       the key that the stage's artifacts came from
//! logs/STAGE       log of an execution that is under way, failed or was killed
//! manifests/…      what plugins said of themselves
//! resume/…         partial work, such as a download, of keys that are not finished
//! runs/…           one record per run
//! stat             (dev, inode, size, mtime, ctime) → digest
//! work/… tmp/…     what is being written; emptied when a run begins
//! corrupt/…        objects that no longer hold what their name says
//! lock             held while a run lasts
//! ```
//!
//! **Order of writes.** A file of the store is written below `tmp/`, synced and renamed, so it is there whole or not
//! at all. A finished stage becomes objects, then the record that names them, then artifacts, then `last`. Killed
//! between any two of these, the next run finds either no record, and executes the stage again, or a record with all
//! its objects, and restores the artifacts. Artifacts are never trusted because they exist: only their digest counts.
//!
//! **Torn writes.** After a power cut a rename may have outlived the data. Records end in a checksum and objects are
//! verified by digest before they reach an artifact, so a torn file is a miss, never a wrong hit.
//!
//! **One writer.** Everything that changes objects, records or artifacts happens under [`Store::lock`]. Readers
//! (`status`, `why`, `log`) take no lock; what they write, the stat cache and manifests of plugins, is whole by rename
//! and worthless by nature.

mod action;
mod artifacts;
mod error;
mod file;
mod folder;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod lock;
mod object;
mod run;
mod stat;

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

pub use action::{Finished, Hit, Lookup, Miss};
pub use error::StoreError;
pub(crate) use file::read_record;
pub(crate) use folder::is_inner;
pub use lock::Lock;

use crate::digest::Digest;
use crate::spec::StageName;
use error::at;
use folder::Folder;
use stat::{StatCache, StatKey};

/// The cache of one pipeline. Cheap to clone; clones share the stat cache.
#[derive(Debug, Clone)]
pub struct Store {
    /// The pipeline's folder.
    root: PathBuf,
    /// `cache/v1` below it.
    folder: PathBuf,
    stats: Arc<Mutex<StatCache>>,
    /// Numbers temporary names.
    serial: Arc<AtomicU64>,
}

impl Store {
    /// The store of the pipeline in `root`. Creates nothing; a cache that is not there yet is empty.
    ///
    /// # Errors
    /// When `cache` or `cache/v1` is there and is not a folder, or cannot be looked at.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let folder = root.join("cache").join("v1");
        match std::fs::metadata(&folder) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(StoreError::NotAFolder { path: folder }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                return Err(StoreError::NotAFolder { path: root.join("cache") });
            }
            Err(error) => return Err(at("look at", &folder)(error)),
        }
        Ok(Self {
            root: root.to_owned(),
            stats: Arc::new(Mutex::new(StatCache::new(folder.join("stat")))),
            folder,
            serial: Arc::default(),
        })
    }

    /// The store's folder, `cache/v1` below the pipeline's.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the outputs of a stage lie.
    #[must_use]
    pub fn artifacts(&self, stage: &StageName) -> PathBuf {
        self.root.join("artifacts").join(stage.as_str())
    }

    /// Digest of the content of a file or folder. What has not changed since it was last hashed is only looked at.
    /// Links are followed.
    ///
    /// # Errors
    /// When nothing is there, or it cannot be read; names the path.
    pub fn digest_path(&self, path: &Path) -> Result<Digest, StoreError> {
        let metadata = std::fs::metadata(path).map_err(at("read", path))?;
        if metadata.is_dir() {
            let folder = Folder::walk(path, &mut |found| {
                Ok((self.file_digest(found.path, found.metadata)?, found.metadata.len()))
            })?;
            Ok(Digest::of_bytes(&folder.to_bytes()))
        } else if metadata.is_file() {
            self.file_digest(path, &metadata)
        } else {
            Err(StoreError::Irregular { path: path.to_owned(), what: "neither a file nor a folder" })
        }
    }

    /// Digest of a file's content, remembered by what the file system says of the file.
    fn file_digest(&self, path: &Path, metadata: &Metadata) -> Result<Digest, StoreError> {
        let before = StatKey::of(metadata);
        if let Some(known) = self.stats().get(&before) {
            return Ok(known);
        }
        let started = SystemTime::now();
        let digest = Digest::of_file(path).map_err(at("read", path))?;
        let after = StatKey::of(&std::fs::metadata(path).map_err(at("read", path))?);
        if before == after {
            self.stats().put(path, before, digest, started);
        }
        Ok(digest)
    }

    /// Writes the stat cache, if it learnt something. To be called once, at the end of a command: files that changed
    /// moments ago are hashed once more, because only then can a later edit be told from the one seen.
    ///
    /// # Errors
    /// When it cannot be written. Costs the next command time, nothing else.
    pub fn flush(&self) -> Result<(), StoreError> {
        let young = self.stats().take_young();
        if !young.is_empty() {
            std::thread::sleep(stat::MARGIN);
        }
        for path in young {
            // A file that is gone or unreadable by now need not be remembered.
            let _ = self.digest_path(&path);
        }
        let Some(bytes) = self.stats().unsaved() else { return Ok(()) };
        self.write(&self.folder.join("stat"), &bytes)?;
        self.stats().saved();
        Ok(())
    }

    fn stats(&self) -> MutexGuard<'_, StatCache> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name below `tmp/` that nothing else uses. Its folder exists.
    fn temporary(&self) -> Result<PathBuf, StoreError> {
        let folder = self.folder.join("tmp");
        std::fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        Ok(folder.join(self.unique()))
    }

    /// A name that no other call and no other living process makes.
    fn unique(&self) -> String {
        format!("{}-{}", std::process::id(), self.serial.fetch_add(1, Ordering::Relaxed))
    }
}

/// `ab/cd…`: no folder gets too long.
fn fan_out(digest: &Digest) -> PathBuf {
    let hex = digest.to_string();
    let (first, rest) = hex.split_at(2);
    Path::new(first).join(rest)
}

#[cfg(test)]
mod tests;
