//! Entries of a folder on disk, sorted by name at each level.
//!
//! Links are followed: a data set may be one of links into a store, as DVC and Hugging Face lay them out, and what is
//! read is what the runner took the digest of. A link to a folder that it lies in is passed over, as the runner takes it for
//! no content: what it leads to is read already, or lies around the source. Folders that are in each other by links have no
//! end, and are refused. A link that leads nowhere, as where DVC or git-annex have not fetched a file, is an entry without
//! content: whoever wants it is told what it leads to. What counts for nothing is not even looked at, as by the runner: it may be a link that leads nowhere.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use patterns::Ignore;

use super::{Entry, Guard, Real, Visitor};
use crate::DatasetError;

/// Deeper folders than any layout has.
const MAX_DEPTH: usize = 16;

pub(super) fn visit(
    root: &Path,
    ignore: Option<&Ignore>,
    guard: &mut Guard<'_>,
    visitor: &mut Visitor<'_>,
) -> Result<(), DatasetError> {
    let real = fs::canonicalize(root).map_err(unreadable(root))?;
    let hides =
        |path: &Path, is_folder: bool| ignore.is_some_and(|ignore| ignore.hides(root, path, is_folder));
    visit_below(Folder { path: root, prefix: "", is_linked: false }, &hides, &mut vec![real], guard, visitor)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> DatasetError + use<> {
    let place = path.display().to_string();
    move |cause| DatasetError::Unreadable { place, cause }
}

/// A folder in a source.
#[derive(Clone, Copy)]
struct Folder<'a> {
    path: &'a Path,
    /// As the source has it.
    prefix: &'a str,
    /// Whether the way to it leads over a link below the source.
    is_linked: bool,
}

fn identity(metadata: &fs::Metadata, is_linked: bool) -> Real {
    use std::os::unix::fs::MetadataExt;
    Real { file: (metadata.dev(), metadata.ino()), is_linked }
}

/// `hides`: whether something, which is a folder or not, counts for nothing. `ancestors`: where this folder and those above it really are.
fn visit_below(
    folder: Folder<'_>,
    hides: &dyn Fn(&Path, bool) -> bool,
    ancestors: &mut Vec<PathBuf>,
    guard: &mut Guard<'_>,
    visitor: &mut Visitor<'_>,
) -> Result<(), DatasetError> {
    let Folder { path: folder, prefix, is_linked: is_below_link } = folder;
    if ancestors.len() > MAX_DEPTH {
        return Err(guard.refuse(prefix, format!("lies more than {MAX_DEPTH} folders deep")));
    }
    let mut entries =
        fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(unreadable(folder))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let relative = if prefix.is_empty() { name.into_owned() } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().map_err(unreadable(&path))?;
        if hides(&path, kind.is_dir()) {
            continue;
        }
        let is_link = kind.is_symlink();
        let metadata = match fs::metadata(&path) {
            Err(error) if is_link && is_nowhere(&error) => {
                if !hides(&path, true) {
                    let to = fs::read_link(&path).unwrap_or_default();
                    let relative = guard.admit(relative.as_bytes(), false, 0)?;
                    visitor(Entry::lost(guard.source, &relative, &format!("`{}`", to.display())))?;
                }
                continue;
            }
            metadata => metadata.map_err(unreadable(&path))?,
        };
        let is_folder = metadata.is_dir();
        if is_link && is_folder && hides(&path, true) {
            continue;
        }
        if !is_folder && !metadata.is_file() {
            return Err(guard.refuse(&relative, "is neither a file nor a folder"));
        }
        let size = if is_folder { 0 } else { metadata.len() };
        let real =
            if is_folder { fs::canonicalize(&path).map_err(unreadable(&path))? } else { PathBuf::new() };
        if is_link && is_folder && ancestors.last().is_some_and(|here| here.starts_with(&real)) {
            continue;
        }
        let relative = guard.admit(relative.as_bytes(), is_folder, size)?;
        if is_folder {
            if ancestors.iter().any(|above| above.starts_with(&real)) {
                let reason = format!(
                    "is a link to `{}`, a folder that is read already on the way to it: remove the link, or leave it out by a \
                     pattern under `ignore`",
                    real.display()
                );
                return Err(guard.refuse(&relative, reason));
            }
            visitor(Entry::new(guard.source, &relative, size, None))?;
            ancestors.push(real);
            let below = Folder { path: &path, prefix: &relative, is_linked: is_below_link || is_link };
            visit_below(below, hides, ancestors, guard, visitor)?;
            ancestors.pop();
        } else {
            let mut file = LazyFile { path: &path, file: None };
            let identity = identity(&metadata, is_below_link || is_link);
            visitor(Entry::new(guard.source, &relative, size, Some(&mut file)).at(identity))?;
        }
    }
    Ok(())
}

/// Whether this is what following a link that leads nowhere, or to itself, comes to.
fn is_nowhere(error: &io::Error) -> bool {
    // The kind for links to themselves has no stable name.
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || format!("{:?}", error.kind()) == "FilesystemLoop"
}

/// A file that is opened when the first byte is wanted: most visitors skip some.
struct LazyFile<'a> {
    path: &'a Path,
    file: Option<File>,
}

impl io::Read for LazyFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(regular::open(self.path)?),
        };
        file.read(buffer)
    }
}
