//! A folder as content: the sorted list of its files with digest and executable bit, and of its empty folders. The
//! folder's digest is that of the list. Knows nothing of the store.

mod contents;

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use pipeline::digest::Digest;
use pipeline::spec::Ignore;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use self::contents::{Contents, Listed};
use super::StoreError;
use super::error::at;

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

impl Folder {
    /// Reads a folder. Links are followed: what counts is the content they lead to.
    ///
    /// # Errors
    /// When something in it cannot be read, is neither a file nor a folder, or has a name that is not UTF-8.
    pub(super) fn walk(root: &Path, visit: &Visit<'_>) -> Result<Self, StoreError> {
        Ok(Self::read(root, None, visit, &mut |_, _, _| ())?.folder)
    }

    /// Reads a folder without what counts for nothing. Links are followed as in [`Folder::walk`]; one that leads nowhere, or to
    /// a folder that it or a link on the way to it is in, counts as itself: for the text that says where it leads. A folder
    /// whose contents count elsewhere in this one counts as that: for the path there.
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

    /// The links in a folder whose folders are read as part of it, in the order of their paths.
    ///
    /// # Errors
    /// As [`Folder::walk`].
    pub(super) fn linked(root: &Path, ignore: Option<&Ignore>) -> Result<Vec<PathBuf>, StoreError> {
        let (mut links, mut linked) = (BTreeSet::new(), BTreeSet::new());
        let _ = Contents::of(root, ignore, &mut |noted, path, _| match noted {
            Noted::Link => drop(links.insert(path.to_owned())),
            Noted::Folder if links.contains(path) => drop(linked.insert(path.to_owned())),
            Noted::Folder | Noted::Hidden => {}
        })?;
        Ok(linked.into_iter().collect())
    }

    /// Both kinds of walk. `note` is called with what it comes by beside files.
    pub(super) fn read(
        root: &Path,
        ignore: Option<&Ignore>,
        visit: &Visit<'_>,
        note: &mut dyn FnMut(Noted, &Path, &Metadata),
    ) -> Result<Walked, StoreError> {
        let Contents { files, mut empty, links, repeated, .. } = Contents::of(root, ignore, note)?;
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
        files.extend(repeated);
        files.sort_by(|one, two| one.path.cmp(&two.path));
        empty.sort();
        Ok(Walked { folder: Self { format: Format::V1, files, empty }, has_links })
    }

    /// The manifest as stored; the folder's digest is the digest of these bytes.
    #[expect(clippy::expect_used, reason = "bytes of anything else would be another folder's digest")]
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts, numbers and lists of them are JSON")
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

/// Whether a path stays below the folder it is joined to.
#[must_use]
pub fn is_inner(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|step| matches!(step, Component::Normal(_)))
}

/// Whether the owner may execute a file.
pub(super) fn is_executable(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o100 != 0
}

#[cfg(test)]
mod tests;
