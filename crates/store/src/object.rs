//! Objects: contents by digest. Put in and taken out by copying, and never linked, so that no edit of an artifact, and
//! nothing that a stage left running, reaches the cache.

use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use pipeline::digest::Digest;
use pipeline::spec::Ignore;
use record::OutputRecord;

use super::batch::Batch;
use super::error::at;
use super::file::{Durability, or_remove, place, with_parent, write_new};
use super::folder::{Folder, Found, is_executable};
use super::{Store, StoreError, fan_out};

/// Up to this length a file is read and written at once; beyond it the kernel copies it, or shares its blocks.
const SMALL: u64 = 128 << 10;

/// An output whose content is in the store.
pub(super) struct Kept {
    pub(super) record: OutputRecord,
    /// Whether what lies where the stage wrote it has no other name and leads nowhere else, so that it can become the
    /// artifact.
    pub(super) movable: bool,
}

impl Store {
    pub(super) fn object(&self, digest: &Digest) -> PathBuf {
        self.objects_folder().join(fan_out(digest))
    }

    /// Whether an object is there with the length given. Its content is verified when it is taken out.
    fn has_object(&self, digest: &Digest, bytes: u64) -> bool {
        fs::metadata(self.object(digest)).is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes)
    }

    /// Copies a file into the store, or a folder without what `ignore` names. `file` is the name that the record gives it.
    pub(super) fn put(
        &self,
        path: &Path,
        ignore: Option<&Ignore>,
        file: String,
        durability: Durability,
    ) -> Result<Kept, StoreError> {
        let own = fs::symlink_metadata(path).map_err(at("read", path))?;
        let metadata =
            if own.is_symlink() { fs::metadata(path).map_err(at("read", path))? } else { own.clone() };
        if metadata.is_dir() {
            let movable = AtomicBool::new(own.is_dir());
            let batch = Batch::default();
            let put = |found: &Found| {
                if found.linked || found.metadata.nlink() > 1 {
                    movable.store(false, Ordering::Relaxed);
                    self.note_links(&found.path, &found.metadata);
                }
                self.put_one_of_many(&found.path, &batch)
            };
            let folder = Folder::read(path, ignore, &put, &mut |_, _, _| ())?.folder;
            // Before the manifest, which names them, has its name.
            batch.settle(durability).map_err(at("sync", &self.objects_folder()))?;
            let digest = self.put_bytes(&folder.to_bytes(), durability)?;
            let record =
                OutputRecord { file, digest, bytes: folder.bytes(), folder: true, executable: false };
            Ok(Kept { record, movable: movable.into_inner() })
        } else if metadata.is_file() {
            let (digest, bytes) = self.put_file(path, durability)?;
            self.note_links(path, &metadata);
            let executable = is_executable(&metadata);
            let record = OutputRecord { file, digest, bytes, folder: false, executable };
            Ok(Kept { record, movable: own.is_file() && own.nlink() == 1 })
        } else {
            Err(StoreError::Irregular { path: path.to_owned(), what: "neither a file nor a folder" })
        }
    }

    /// Looks at each file of what [`Store::put`] would keep, several at a time. Gives the names of files and empty folders in
    /// a folder; none for a file.
    ///
    /// # Errors
    /// When something cannot be read, or `look` fails.
    pub fn look_into(
        &self,
        path: &Path,
        look: &(dyn Fn(&Path) -> io::Result<()> + Sync),
    ) -> Result<Vec<String>, StoreError> {
        let look = |path: &Path| look(path).map_err(at("read", path));
        if !fs::metadata(path).map_err(at("read", path))?.is_dir() {
            return look(path).map(|()| Vec::new());
        }
        let nothing = Digest::of_bytes(&[]);
        let folder = Folder::walk(path, &|found| look(&found.path).map(|()| (nothing, 0)))?;
        let files = folder.files.into_iter().map(|file| file.path);
        Ok(files.chain(folder.empty).collect())
    }

    /// Copies a file into the store. Gives its digest and length. What is digested is the copy, which nobody else can
    /// write to.
    pub(super) fn put_file(&self, path: &Path, durability: Durability) -> Result<(Digest, u64), StoreError> {
        let mut file = regular::open(path).map_err(at("read", path))?;
        let length = file.metadata().map_err(at("read", path))?.len();
        if length <= SMALL {
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
            file.read_to_end(&mut bytes).map_err(at("read", path))?;
            return Ok((self.put_bytes(&bytes, durability)?, bytes.len() as u64));
        }
        let temporary = self.temporary();
        or_remove(&temporary, self.put_copy(path, &temporary, durability))
    }

    /// As [`Store::put_file`] for one of many files, which are synced together later. What is there already, with the same
    /// bytes, is not written again.
    fn put_one_of_many(&self, path: &Path, batch: &Batch) -> Result<(Digest, u64), StoreError> {
        let metadata = fs::metadata(path).map_err(at("read", path))?;
        let (digest, bytes) = if metadata.len() <= SMALL {
            let bytes = regular::read(path).map_err(at("read", path))?;
            let digest = Digest::of_bytes(&bytes);
            // Another content of this name is damaged, and replaced.
            let is_there = self.has_object(&digest, bytes.len() as u64)
                && regular::read(&self.object(&digest)).is_ok_and(|there| there == bytes);
            if !is_there {
                self.put_bytes(&bytes, Durability::Eventual)?;
            }
            (digest, bytes.len() as u64)
        } else {
            self.put_file(path, Durability::Eventual)?
        };
        batch.add(self.object(&digest));
        Ok((digest, bytes))
    }

    fn put_copy(
        &self,
        path: &Path,
        temporary: &Path,
        durability: Durability,
    ) -> Result<(Digest, u64), StoreError> {
        with_parent(temporary, || reflink_copy::reflink_or_copy(path, temporary))
            .map_err(at("copy", path))?;
        fs::set_permissions(temporary, Permissions::from_mode(0o444)).map_err(at("write", temporary))?;
        let copy = regular::open(temporary).map_err(at("read", temporary))?;
        let bytes = copy.metadata().map_err(at("read", temporary))?.len();
        let digest = Digest::of_file(temporary).map_err(at("read", temporary))?;
        durability.settle(&copy).map_err(at("write", temporary))?;
        place(temporary, &self.object(&digest))?;
        self.grew(bytes);
        Ok((digest, bytes))
    }

    /// Moves a file into the store that nobody else writes to any more. Gives its digest.
    pub(super) fn take_over(&self, path: &Path, durability: Durability) -> Result<Digest, StoreError> {
        let digest = Digest::of_file(path).map_err(at("read", path))?;
        fs::set_permissions(path, Permissions::from_mode(0o444)).map_err(at("write", path))?;
        let object = self.object(&digest);
        let moved = regular::open(path)
            .and_then(|file| {
                self.grew(file.metadata()?.len());
                durability.settle(&file)
            })
            .and_then(|()| with_parent(&object, || fs::rename(path, &object)));
        match moved {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let (digest, _) = self.put_file(path, durability)?;
                fs::remove_file(path).map_err(at("remove", path))?;
                Ok(digest)
            }
            moved => moved.map(|()| digest).map_err(at("write", &object)),
        }
    }

    /// Stores bytes. Replaces an object that is there: it may be damaged, this one is not.
    pub(super) fn put_bytes(&self, bytes: &[u8], durability: Durability) -> Result<Digest, StoreError> {
        let (temporary, digest) = (self.temporary(), Digest::of_bytes(bytes));
        let written = write_new(&temporary, 0o444, bytes, durability)
            .and_then(|()| place(&temporary, &self.object(&digest)));
        or_remove(&temporary, written)?;
        self.grew(bytes.len() as u64);
        Ok(digest)
    }

    /// Reads a whole object and verifies it.
    pub(super) fn read_object(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.object(digest);
        match regular::read(&path) {
            Ok(bytes) if Digest::of_bytes(&bytes) == *digest => Ok(bytes),
            Ok(_) => Err(self.damaged(digest)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(digest)),
            Err(error) => Err(at("read", &path)(error)),
        }
    }

    /// Makes a copy of an output at `to`, where nothing is, and verifies it. A clone where the file system can.
    pub(super) fn take(&self, output: &OutputRecord, to: &Path) -> Result<(), StoreError> {
        if !output.folder {
            return self.take_file(&output.digest, output.executable, to);
        }
        let folder = Folder::from_bytes(&self.read_object(&output.digest)?)
            .ok_or_else(|| self.damaged(&output.digest))?;
        fs::create_dir_all(to).map_err(at("create", to))?;
        for empty in &folder.empty {
            let path = to.join(empty);
            fs::create_dir_all(&path).map_err(at("create", &path))?;
        }
        for file in &folder.files {
            let path = to.join(&file.path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(at("create", parent))?;
            }
            self.take_file(&file.digest, file.executable, &path)?;
        }
        Ok(())
    }

    fn take_file(&self, digest: &Digest, executable: bool, to: &Path) -> Result<(), StoreError> {
        let object = self.object(digest);
        if !fs::metadata(&object).is_ok_and(|metadata| metadata.is_file()) {
            return Err(missing(digest));
        }
        reflink_copy::reflink_or_copy(&object, to).map_err(at("write", to))?;
        let mode = if executable { 0o755 } else { 0o644 };
        fs::set_permissions(to, Permissions::from_mode(mode)).map_err(at("write", to))?;
        // The copy is verified, not the object: what is delivered is what counts.
        if Digest::of_file(to).map_err(at("read", to))? == *digest {
            Ok(())
        } else {
            Err(self.damaged(digest))
        }
    }

    /// Whether the first object of an output is there: the file, or the folder's manifest.
    pub(super) fn has_head(&self, output: &OutputRecord) -> bool {
        if output.folder {
            self.object(&output.digest).is_file()
        } else {
            self.has_object(&output.digest, output.bytes)
        }
    }

    /// Whether all objects of an output are there with the right length.
    pub(super) fn has_output(&self, output: &OutputRecord) -> bool {
        if !output.folder {
            return self.has_object(&output.digest, output.bytes);
        }
        // Only looks: a damaged manifest is moved aside by the run that trips over it.
        let manifest = regular::read(&self.object(&output.digest))
            .ok()
            .filter(|bytes| Digest::of_bytes(bytes) == output.digest);
        manifest
            .and_then(|bytes| Folder::from_bytes(&bytes))
            .is_some_and(|folder| folder.files.iter().all(|file| self.has_object(&file.digest, file.bytes)))
    }

    /// Moves a damaged object aside, for whoever wants to find out what happened to it.
    fn damaged(&self, digest: &Digest) -> StoreError {
        let aside = self.shared.join("corrupt").join(digest.to_string());
        // Where it cannot be moved it stays, and is found damaged again or replaced.
        let _ = fs::create_dir_all(self.shared.join("corrupt"));
        let _ = fs::rename(self.object(digest), aside);
        StoreError::Corrupt { digest: *digest, what: "damaged" }
    }
}

fn missing(digest: &Digest) -> StoreError {
    StoreError::Corrupt { digest: *digest, what: "missing" }
}
