//! Objects: contents by digest. Put in by moving, taken out by copying, and never linked, so that no edit of an
//! artifact reaches the cache.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::at;
use super::folder::{Folder, is_executable};
use super::{Store, StoreError, fan_out};
use crate::digest::Digest;
use crate::record::OutputRecord;

impl Store {
    pub(super) fn object(&self, digest: &Digest) -> PathBuf {
        self.folder.join("objects").join(fan_out(digest))
    }

    /// Whether an object is there with the length given. Its content is verified when it is taken out.
    fn has_object(&self, digest: &Digest, bytes: u64) -> bool {
        fs::metadata(self.object(digest)).is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes)
    }

    /// Moves a file or folder into the store. `file` is the name that the record gives it.
    pub(super) fn put(&self, path: &Path, file: String) -> Result<OutputRecord, StoreError> {
        let metadata = fs::metadata(path).map_err(at("read", path))?;
        if metadata.is_dir() {
            let folder = Folder::walk(path, &mut |found| self.put_file(found.path, found.linked))?;
            let digest = self.put_bytes(&folder.to_bytes())?;
            Ok(OutputRecord { file, digest, bytes: folder.bytes(), folder: true, executable: false })
        } else if metadata.is_file() {
            let (digest, bytes) = self.put_file(path, false)?;
            Ok(OutputRecord { file, digest, bytes, folder: false, executable: is_executable(&metadata) })
        } else {
            Err(StoreError::Irregular { path: path.to_owned(), what: "neither a file nor a folder" })
        }
    }

    /// Moves a file into the store: renamed where this is its only name and the caller may take it, else copied.
    /// Gives its digest and length.
    pub(super) fn put_file(&self, path: &Path, keep: bool) -> Result<(Digest, u64), StoreError> {
        let temporary = self.temporary()?;
        let own = fs::symlink_metadata(path).map_err(at("read", path))?;
        let sole = own.is_file() && own.nlink() == 1;
        if keep || !sole || fs::rename(path, &temporary).is_err() {
            fs::copy(path, &temporary).map_err(at("copy", path))?;
        }
        // Hashed under a name that only this call knows, so that the digest is of what is stored.
        let digest = Digest::of_file(&temporary).map_err(at("read", &temporary))?;
        let bytes = fs::metadata(&temporary).map_err(at("read", &temporary))?.len();
        self.adopt(&temporary, &digest)?;
        Ok((digest, bytes))
    }

    /// Stores bytes.
    pub(super) fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let temporary = self.temporary()?;
        fs::write(&temporary, bytes).map_err(at("write", &temporary))?;
        let digest = Digest::of_bytes(bytes);
        self.adopt(&temporary, &digest)?;
        Ok(digest)
    }

    /// Makes a finished temporary file the object. Replaces one that is there: it may be damaged, this one is not.
    fn adopt(&self, temporary: &Path, digest: &Digest) -> Result<(), StoreError> {
        File::open(temporary).and_then(|file| file.sync_all()).map_err(at("write", temporary))?;
        fs::set_permissions(temporary, Permissions::from_mode(0o444)).map_err(at("write", temporary))?;
        self.place(temporary, &self.object(digest))
    }

    /// Reads a whole object and verifies it.
    pub(super) fn read_object(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.object(digest);
        match fs::read(&path) {
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
        let manifest = fs::read(self.object(&output.digest))
            .ok()
            .filter(|bytes| Digest::of_bytes(bytes) == output.digest);
        manifest
            .and_then(|bytes| Folder::from_bytes(&bytes))
            .is_some_and(|folder| folder.files.iter().all(|file| self.has_object(&file.digest, file.bytes)))
    }

    /// Moves a damaged object aside, for whoever wants to find out what happened to it.
    fn damaged(&self, digest: &Digest) -> StoreError {
        let aside = self.folder.join("corrupt").join(digest.to_string());
        // Where it cannot be moved it stays, and is found damaged again or replaced.
        let _ = fs::create_dir_all(self.folder.join("corrupt"));
        let _ = fs::rename(self.object(digest), aside);
        StoreError::Corrupt { digest: *digest, what: "damaged" }
    }
}

fn missing(digest: &Digest) -> StoreError {
    StoreError::Corrupt { digest: *digest, what: "missing" }
}
