//! Who uses the folder of objects and records: pipelines that share it are written down there, so that collecting keeps
//! what they need; and how much it holds, as far as runs have counted. Knows nothing of what is collected.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use pipeline::digest::Digest;

use super::action::remove;
use super::error::at;
use super::file::with_parent;
use super::inventory::entries;
use super::{Durability, Store, StoreError, last};

impl Store {
    /// Writes this pipeline down as one that uses a shared folder.
    pub(super) fn register(&self) {
        let Ok(root) = fs::canonicalize(&self.root) else { return };
        let name = Digest::of_bytes(root.as_os_str().as_bytes()).short();
        let path = self.shared.join("projects").join(name);
        if !path.exists() {
            // Where it cannot be written, the folder is not ours to collect either.
            let _ = self.write(&path, root.as_os_str().as_bytes(), Durability::Eventual);
        }
    }

    /// Folders of the other pipelines that use the shared folder. Those that are gone are forgotten.
    ///
    /// # Errors
    /// When it cannot be told which they are.
    pub fn others(&self) -> Result<Vec<PathBuf>, StoreError> {
        let own = fs::canonicalize(&self.root).map_err(at("read", &self.root))?;
        let mut found = Vec::new();
        for path in entries(&self.shared.join("projects"))? {
            let bytes = regular::read(&path).map_err(at("read", &path))?;
            let root = PathBuf::from(std::ffi::OsString::from_vec(bytes));
            if !root.join("cache").join("v1").is_dir() {
                remove(&path)?;
            } else if root != own {
                found.push(root);
            }
        }
        // The pipeline whose own cache it is, if any.
        if self.is_shared()
            && self.shared.join("last-keys").exists()
            && let Some(root) = self.shared.parent().and_then(Path::parent)
        {
            found.push(root.to_owned());
        }
        Ok(found)
    }

    /// The keys that the artifacts of other pipelines came from.
    pub(super) fn keys_of_others(&self) -> Result<HashSet<Digest>, StoreError> {
        let mut keys = HashSet::new();
        for root in self.others()? {
            let path = root.join("cache").join("v1").join("last-keys");
            keys.extend(last::read(&path).map_err(at("read", &path))?.into_values());
        }
        Ok(keys)
    }

    /// Another pipeline that is running and uses the shared folder, in words.
    pub(super) fn busy_other(&self) -> Option<String> {
        Self::busy_among(&self.others().ok()?)
    }

    /// One of other pipelines that is running, in words.
    pub(super) fn busy_among(others: &[PathBuf]) -> Option<String> {
        let busy = |root: &PathBuf| {
            let mut file = regular::open(&root.join("cache").join("v1").join("lock")).ok()?;
            matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
                .then(|| format!("{} in `{}`", super::lock::process(&mut file), root.display()))
        };
        others.iter().find_map(busy)
    }

    /// Counts what was added to the shared folder.
    pub(super) fn grew(&self, bytes: u64) {
        self.grown.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds what this process has added to the count of what objects and records take, and gives it. `None` where
    /// nothing was added. What was replaced is counted twice, and what a killed run added is not: collecting and
    /// verifying count anew.
    ///
    /// # Errors
    /// When the count cannot be read or written.
    pub fn account(&self) -> Result<Option<u64>, StoreError> {
        let grown = self.grown.swap(0, Ordering::Relaxed);
        if grown == 0 {
            return Ok(None);
        }
        let size = self.update_size(|known| match known {
            Some(known) => known.saturating_add(grown),
            None => self.measure(),
        })?;
        Ok(Some(size))
    }

    /// Sets the count of what objects and records take.
    pub(super) fn set_size(&self, bytes: u64) -> Result<(), StoreError> {
        self.grown.store(0, Ordering::Relaxed);
        self.update_size(|_| bytes).map(drop)
    }

    /// One process at a time changes the count.
    fn update_size(&self, new: impl FnOnce(Option<u64>) -> u64) -> Result<u64, StoreError> {
        let path = self.shared.join("size");
        let open = || regular::open_or_create(&path);
        let mut file = with_parent(&path, open).map_err(at("write", &path))?;
        file.lock().map_err(at("lock", &path))?;
        let mut text = String::new();
        // Rubbish is as good as nothing.
        let _ = file.read_to_string(&mut text);
        let known = text.strip_suffix('\n').and_then(|number| number.parse().ok());
        let size = new(known);
        let written: io::Result<()> = (|| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(format!("{size}\n").as_bytes())
        })();
        written.map_err(at("write", &path))?;
        Ok(size)
    }
}
