//! Entries of a folder on disk, sorted by name at each level.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::{Entry, Guard, Visitor};
use crate::DatasetError;

/// Deeper folders than any layout has.
const MAX_DEPTH: usize = 16;

pub(super) fn visit(
    root: &Path,
    guard: &mut Guard<'_>,
    visitor: &mut Visitor<'_>,
) -> Result<(), DatasetError> {
    visit_below(root, "", MAX_DEPTH, guard, visitor)
}

fn visit_below(
    folder: &Path,
    prefix: &str,
    depth: usize,
    guard: &mut Guard<'_>,
    visitor: &mut Visitor<'_>,
) -> Result<(), DatasetError> {
    let unreadable = |path: &Path| {
        let place = path.display().to_string();
        move |cause: io::Error| DatasetError::Unreadable { place, cause }
    };
    if depth == 0 {
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
        if kind.is_symlink() {
            // What a link points at may change without the folder changing.
            return Err(guard.refuse(&relative, "is a symbolic link; put the file itself there"));
        }
        let (is_folder, size) = if kind.is_dir() {
            (true, 0)
        } else if kind.is_file() {
            (false, entry.metadata().map_err(unreadable(&path))?.len())
        } else {
            return Err(guard.refuse(&relative, "is neither a file nor a folder"));
        };
        let relative = guard.admit(relative.as_bytes(), is_folder, size)?;
        if is_folder {
            visitor(Entry { source: guard.source, path: &relative, size, content: None })?;
            visit_below(&path, &relative, depth - 1, guard, visitor)?;
        } else {
            let mut file = LazyFile { path: &path, file: None };
            visitor(Entry { source: guard.source, path: &relative, size, content: Some(&mut file) })?;
        }
    }
    Ok(())
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
            empty => empty.insert(File::open(self.path)?),
        };
        file.read(buffer)
    }
}
