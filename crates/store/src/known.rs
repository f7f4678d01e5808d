//! Digests of files and folders as they lie, remembered for as long as the file system shows that nothing has changed. Knows
//! nothing of what is kept of them.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pipeline::digest::Digest;
use pipeline::spec::Ignore;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rustix::fs::AtFlags;
use tracing::debug_span;

use super::error::at;
use super::folder::Folder;
use super::medium::{self, Medium};
use super::stat::{self, Memory, StatKey};
use super::writers::{self, Writers};
use super::{Durability, Store, StoreError};

/// So many files, of so many bytes, are hashed again rather than waited for.
const MOST_YOUNG: usize = 64;
const MOST_YOUNG_BYTES: u64 = 1 << 20;

impl Store {
    /// Digest of the content of a file or folder. What has not changed since it was last hashed is only looked at.
    /// Links are followed.
    ///
    /// # Errors
    /// When nothing is there, or it cannot be read; names the path.
    pub fn digest_path(&self, path: &Path) -> Result<Digest, StoreError> {
        let metadata = std::fs::metadata(path).map_err(at("read", path))?;
        if metadata.is_dir() {
            let folder = Folder::walk(path, &|found| {
                Ok((self.digest_file(&found.path, &found.metadata)?.0, found.metadata.len()))
            })?;
            Ok(Digest::of_bytes(&folder.to_bytes()))
        } else {
            Ok(self.digest_file(path, &metadata)?.0)
        }
    }

    /// Digest of a file, or of a folder without what counts for nothing in it, as a stage reads it: see
    /// [`Folder::walk_input`].
    ///
    /// # Errors
    /// As [`Store::digest_path`].
    pub fn digest_input(&self, path: &Path, ignore: &Ignore) -> Result<Digest, StoreError> {
        if !std::fs::metadata(path).map_err(at("read", path))?.is_dir() {
            return self.digest_path(path);
        }
        let walked = Folder::walk_input(path, ignore, &|found| {
            Ok((self.digest_file(&found.path, &found.metadata)?.0, found.metadata.len()))
        })?;
        Ok(Digest::of_bytes(&walked.folder.to_bytes()))
    }

    /// The links in a folder by which folders elsewhere are read as part of it.
    ///
    /// # Errors
    /// As [`Store::digest_path`].
    pub fn linked_folders(&self, path: &Path, ignore: Option<&Ignore>) -> Result<Vec<PathBuf>, StoreError> {
        Folder::linked(path, ignore)
    }

    /// Digest of a file's content, remembered by what the file system says of the file, and what that said.
    pub(super) fn digest_file(
        &self,
        path: &Path,
        metadata: &Metadata,
    ) -> Result<(Digest, StatKey), StoreError> {
        let irregular = |what| StoreError::Irregular { path: path.to_owned(), what };
        if !metadata.is_file() {
            return Err(irregular("neither a file nor a folder"));
        }
        let medium = self.stats().medium(metadata.dev(), path);
        let mut before = self.key_of(path, metadata);
        let is_lasting = medium != Medium::Image || before != StatKey::of(metadata);
        if let Some(known) = self.known(medium, &before).filter(|_| is_lasting) {
            return Ok((known, before));
        }
        if medium == Medium::Kernel {
            // It may have no end, keep who reads it waiting, or be gone once it was read.
            return Err(irregular("made by the kernel whenever it is read, and has no content that stays"));
        }
        let mut file = regular::open(path).map_err(at("read", path))?;
        if medium == Medium::Remote {
            // Who opens a file there is told of its times as they are now.
            before = StatKey::of(&file.metadata().map_err(at("read", path))?);
            if let Some(known) = self.stats().get(&before) {
                return Ok((known, before.without_number()));
            }
        }
        let _hash = debug_span!("hash", path = %path.display(), bytes = metadata.len()).entered();
        let memory = if is_lasting { self.memory(&file, medium, &before) } else { Memory::None };
        let digest = Digest::of_open(&mut file, metadata.len()).map_err(at("read", path))?;
        let after = self.key_of(path, &file.metadata().map_err(at("read", path))?);
        if before == after {
            self.stats().put(path, before, digest, memory);
        }
        Ok((digest, if medium == Medium::Remote { before.without_number() } else { before }))
    }

    /// What a file is known by: what the file system says of it, and in an image the mount, where the kernel numbers those.
    pub(super) fn key_of(&self, path: &Path, metadata: &Metadata) -> StatKey {
        let key = StatKey::of(metadata);
        if self.stats().medium(metadata.dev(), path) != Medium::Image {
            return key;
        }
        let flags = if metadata.is_symlink() { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
        medium::mount(path, flags).map_or(key, |mount| key.within(mount))
    }

    fn known(&self, medium: Medium, key: &StatKey) -> Option<Digest> {
        if medium == Medium::Remote { None } else { self.stats().get(key) }
    }

    /// For how long the digest of a file may be remembered that is hashed from now on.
    fn memory(&self, file: &std::fs::File, medium: Medium, key: &StatKey) -> Memory {
        let now = SystemTime::now();
        let Some(age) = medium.settles_after() else { return Memory::None };
        match writers::of(file, medium) {
            Writers::Somebody => Memory::None,
            Writers::Nobody if key.is_older(age, now) => Memory::Lasting,
            Writers::Nobody => Memory::Later,
            Writers::Unknown if !key.is_older(age.max(medium::write_back()), now) => Memory::None,
            Writers::Unknown if self.stats().is_mapped(key) => Memory::None,
            Writers::Unknown => Memory::Lasting,
        }
    }

    /// Takes a file, until it changes, for what the file system says of it, instead of reading it: its digest is that of its
    /// [`StatKey`], and is never saved. For a store that does not outlive one run, which has nothing to find again. Changes
    /// nothing where the file was written to just now.
    ///
    /// # Errors
    /// When the file is missing; names it.
    pub fn presume(&self, path: &Path) -> Result<(), StoreError> {
        let key = StatKey::of(&std::fs::metadata(path).map_err(at("read", path))?);
        let bytes: Vec<_> = key.to_words().iter().flat_map(|word| word.to_le_bytes()).collect();
        self.stats().presume(key, Digest::of_bytes(&bytes), SystemTime::now());
        Ok(())
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
        self.remember(young)
    }

    /// The same without waiting for files that changed moments ago, where hashing them again the next time costs less than that.
    ///
    /// # Errors
    /// As [`Store::flush`].
    pub fn flush_soon(&self) -> Result<(), StoreError> {
        let young = self.stats().take_young();
        let bytes =
            |path: &PathBuf| std::fs::metadata(path).ok().filter(Metadata::is_file).map(|file| file.len());
        let sum = young
            .iter()
            .take(MOST_YOUNG + 1)
            .try_fold(0u64, |sum, path| Some(sum.saturating_add(bytes(path)?)));
        if young.len() <= MOST_YOUNG && sum.is_some_and(|sum| sum <= MOST_YOUNG_BYTES) {
            return self.remember(BTreeSet::new());
        }
        std::thread::sleep(stat::MARGIN);
        self.remember(young)
    }

    fn remember(&self, young: BTreeSet<PathBuf>) -> Result<(), StoreError> {
        young.into_par_iter().for_each(|path| {
            // A file that is gone or unreadable by now need not be remembered. A folder may hold a link that leads nowhere.
            let _ = self.digest_path(&path).or_else(|error| match &self.ignore {
                Some(ignore) => self.digest_input(&path, ignore),
                None => Err(error),
            });
        });
        let Some(bytes) = self.stats().unsaved() else { return Ok(()) };
        self.write(&self.folder.join("stat"), &bytes, Durability::Eventual)?;
        self.stats().saved();
        Ok(())
    }
}
