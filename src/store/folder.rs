//! A folder as content: the sorted list of its files with digest and executable bit, and of its empty folders. The
//! folder's digest is that of the list. Knows nothing of the store.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::error::at;
use crate::digest::Digest;
use crate::spec::Ignore;

/// Separates digests of links from digests of contents.
const LINK: &str = "pipe 2026-12 link v1";

/// The manifest of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Folder {
    /// Tells it from any other JSON.
    format: Format,
    /// Files in the order of their paths.
    pub(super) files: Vec<FolderFile>,
    /// Folders without anything in them, in the order of their paths.
    pub(super) empty: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "pipe folder v1")]
    V1,
}

/// A file in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FolderFile {
    /// Steps from the folder, joined by `/`.
    pub(super) path: String,
    /// Digest of its content.
    pub(super) digest: Digest,
    /// Its length.
    pub(super) bytes: u64,
    /// Whether its owner may execute it.
    pub(super) executable: bool,
}

/// Where a walk is.
struct Place<'a> {
    folder: &'a Path,
    /// Steps from the root, each with a `/` after it.
    prefix: &'a str,
    linked: bool,
    /// The folder that the walk began at.
    root: &'a Path,
    /// What counts for nothing, where links that lead nowhere are what they are; none where every entry must be content.
    ignore: Option<&'a Ignore>,
}

/// What a folder is as an input.
pub(super) struct Walked {
    pub(super) folder: Folder,
    /// Whether there are links that count as themselves: what they lead to may become content by what happens elsewhere.
    pub(super) has_links: bool,
}

/// A file met on a walk.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) metadata: Metadata,
    /// Whether the way to it, or its own name, is a link: then it is not the folder's to move.
    pub(super) linked: bool,
}

/// A file that was listed, and not looked at yet.
struct Listed {
    path: PathBuf,
    linked: bool,
    /// Steps from the root, joined by `/`.
    inner: String,
}

/// What is done with each file of a walk, several at a time; gives its digest and length.
type Visit<'a> = dyn Fn(&Found) -> Result<(Digest, u64), StoreError> + Sync + 'a;

/// What a walk comes by beside files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// A folder, before it is listed.
    Folder,
    /// A link, before it is followed.
    Link,
    /// What counts for nothing.
    Hidden,
}

/// What is below a folder.
struct Contents<'a> {
    files: Vec<Listed>,
    empty: Vec<String>,
    folders: Vec<PathBuf>,
    /// Links that count as themselves.
    links: Vec<FolderFile>,
    /// Told of folders and links.
    note: &'a mut dyn FnMut(Noted, &Path, &Metadata),
}

impl Folder {
    /// Reads a folder. Links are followed: what counts is the content they lead to.
    ///
    /// # Errors
    /// When something in it cannot be read, is neither a file nor a folder, or has a name that is not UTF-8.
    pub(super) fn walk(root: &Path, visit: &Visit<'_>) -> Result<Self, StoreError> {
        Ok(Self::read(root, None, visit, &mut |_, _, _| ())?.folder)
    }

    /// Reads a folder without what counts for nothing. Links are followed as in [`Folder::walk`]; one that leads nowhere, or to
    /// a folder that it is in, counts as itself: for the text that says where it leads.
    ///
    /// # Errors
    /// As [`Folder::walk`].
    pub(super) fn walk_input(root: &Path, ignore: &Ignore, visit: &Visit<'_>) -> Result<Walked, StoreError> {
        Self::read(root, Some(ignore), visit, &mut |_, _, _| ())
    }

    /// The folders that reading one comes by, itself first.
    ///
    /// # Errors
    /// As [`Folder::walk`].
    pub(super) fn folders(root: &Path, ignore: Option<&Ignore>) -> Result<Vec<PathBuf>, StoreError> {
        Ok(Contents::of(root, ignore, &mut |_, _, _| ())?.folders)
    }

    /// Both kinds of walk. `note` is called with what it comes by beside files.
    pub(super) fn read(
        root: &Path,
        ignore: Option<&Ignore>,
        visit: &Visit<'_>,
        note: &mut dyn FnMut(Noted, &Path, &Metadata),
    ) -> Result<Walked, StoreError> {
        let Contents { files, mut empty, links, .. } = Contents::of(root, ignore, note)?;
        let has_links = !links.is_empty();
        let files: Result<Vec<FolderFile>, StoreError> = files
            .into_par_iter()
            .map(|Listed { path, linked, inner }| {
                let metadata = fs::metadata(&path).map_err(at("read", &path))?;
                let executable = is_executable(&metadata);
                let (digest, bytes) = visit(&Found { path, metadata, linked })?;
                Ok(FolderFile { path: inner, digest, bytes, executable })
            })
            .collect();
        let mut files = files?;
        files.extend(links);
        files.sort_by(|one, two| one.path.cmp(&two.path));
        empty.sort();
        Ok(Walked { folder: Self { format: Format::V1, files, empty }, has_links })
    }

    /// The manifest as stored; the folder's digest is the digest of these bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a manifest. `None` where it is none, or names something outside of the folder.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let folder: Self = serde_json::from_slice(bytes).ok()?;
        let mut paths = folder.files.iter().map(|file| &file.path).chain(&folder.empty);
        paths.all(|path| is_inner(path)).then_some(folder)
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

impl<'a> Contents<'a> {
    fn of(
        root: &Path,
        ignore: Option<&Ignore>,
        note: &'a mut dyn FnMut(Noted, &Path, &Metadata),
    ) -> Result<Self, StoreError> {
        let linked = fs::symlink_metadata(root).map_err(at("read", root))?.is_symlink();
        let metadata = fs::metadata(root).map_err(at("read", root))?;
        note(Noted::Folder, root, &metadata);
        let mut contents = Self { files: vec![], empty: vec![], folders: vec![], links: vec![], note };
        let place = Place { folder: root, prefix: "", linked, root, ignore };
        contents.add(&place, &mut vec![identity(&metadata)])?;
        Ok(contents)
    }

    fn add(&mut self, place: &Place<'_>, ancestors: &mut Vec<(u64, u64)>) -> Result<(), StoreError> {
        self.folders.push(place.folder.to_owned());
        for entry in fs::read_dir(place.folder).map_err(at("read", place.folder))? {
            let entry = entry.map_err(at("read", place.folder))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(at("read", &path))?;
            // Asked before anything else: what counts for nothing may be unreadable, too.
            let hides =
                |is_folder| place.ignore.is_some_and(|ignore| ignore.hides(place.root, &path, is_folder));
            if hides(kind.is_dir()) {
                self.note_hidden(&path);
                continue;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(StoreError::Irregular { path, what: "a file whose name is not UTF-8" });
            };
            let inner = format!("{}{name}", place.prefix);
            let linked = place.linked || kind.is_symlink();
            if kind.is_symlink() {
                (self.note)(Noted::Link, &path, &fs::symlink_metadata(&path).map_err(at("read", &path))?);
            }
            if kind.is_file() {
                self.files.push(Listed { path, linked, inner });
                continue;
            }
            let metadata = match fs::metadata(&path) {
                Err(_) if kind.is_symlink() && place.ignore.is_some() => {
                    self.links.push(link_itself(&path, inner)?);
                    continue;
                }
                Err(error) if kind.is_symlink() && error.kind() == ErrorKind::NotFound => {
                    return Err(StoreError::Irregular { path, what: "a link that leads nowhere" });
                }
                metadata => metadata.map_err(at("read", &path))?,
            };
            if metadata.is_dir() && kind.is_symlink() && hides(true) {
                self.note_hidden(&path);
                continue;
            }
            if metadata.is_file() {
                self.files.push(Listed { path, linked, inner });
            } else if metadata.is_dir() {
                let identity = identity(&metadata);
                if ancestors.contains(&identity) {
                    if place.ignore.is_some() {
                        self.links.push(link_itself(&path, inner)?);
                        continue;
                    }
                    return Err(StoreError::Irregular { path, what: "a link to a folder that it is in" });
                }
                let found = self.files.len() + self.empty.len() + self.links.len();
                (self.note)(Noted::Folder, &path, &metadata);
                ancestors.push(identity);
                let prefix = format!("{inner}/");
                self.add(&Place { folder: &path, prefix: &prefix, linked, ..*place }, ancestors)?;
                ancestors.pop();
                if self.files.len() + self.empty.len() + self.links.len() == found {
                    self.empty.push(inner);
                }
            } else {
                return Err(StoreError::Irregular { path, what: "neither a file nor a folder" });
            }
        }
        Ok(())
    }
}

impl Contents<'_> {
    /// What cannot be looked at need not be: it counts for nothing.
    fn note_hidden(&mut self, path: &Path) {
        if let Ok(metadata) = fs::symlink_metadata(path) {
            (self.note)(Noted::Hidden, path, &metadata);
        }
    }
}

/// A link that counts as itself. No content has its digest.
fn link_itself(path: &Path, inner: String) -> Result<FolderFile, StoreError> {
    let target = fs::read_link(path).map_err(at("read", path))?;
    let target = target.as_os_str().as_bytes();
    let mut hasher = blake3::Hasher::new_derive_key(LINK);
    let digest = Digest::from(hasher.update(target).finalize());
    Ok(FolderFile { path: inner, digest, bytes: target.len() as u64, executable: false })
}

/// Whether a path stays below the folder it is joined to.
pub(crate) fn is_inner(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|step| matches!(step, Component::Normal(_)))
}

/// Whether the owner may execute a file.
pub(super) fn is_executable(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o100 != 0
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests;
