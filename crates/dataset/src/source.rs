//! A source: a folder or an archive (zip, tar, tar.gz) whose entries are read one by one, in memory.
//!
//! Nothing is unpacked to disk. Entries that could harm or hide something are refused all the same: absolute
//! paths, `..`, links that lead out of an archive, devices, the same path twice, more bytes or entries than any dataset has. Knows nothing of
//! images.

mod folder;
mod gzip;
mod tar;
mod zip;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use patterns::Ignore;

pub(crate) use self::gzip::Gunzip;
use crate::DatasetError;

/// Most bytes that all files of a source may hold together, and most entries that it may have. Generous for
/// sets that fit in memory, small enough that a decompression bomb ends soon.
#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes: u64,
    entries: usize,
}

const LIMITS: Limits = Limits { bytes: 32 << 30, entries: 4_000_000 };

/// A folder or an archive.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    name: String,
    kind: Kind,
    limits: Limits,
    /// What counts for nothing in a folder.
    ignore: Option<Ignore>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    Zip,
    Tar,
    TarGz,
}

/// A file or folder in a source.
pub(crate) struct Entry<'a> {
    source: &'a str,
    path: &'a str,
    size: u64,
    /// Absent for a folder, and for a link that leads nowhere.
    content: Option<&'a mut dyn Read>,
    nothing: Nothing<'a>,
    real: Option<Real>,
}

/// Which file of a disk an entry of a folder is, or which of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Real {
    /// The same for all ways to it: device and inode, or zero and a number.
    pub(crate) file: (u64, u64),
    /// Whether the way to it leads over a symbolic link.
    pub(crate) is_linked: bool,
}

impl Source {
    /// Opens a folder or an archive. The kind of archive is told from its content, not from its name.
    ///
    /// # Errors
    /// [`DatasetError::Unreadable`], [`DatasetError::UnknownFormat`]; [`DatasetError::Truncated`] and
    /// [`DatasetError::Damaged`] where even the start of an archive cannot be read.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        Self::open_named(path, path.display().to_string())
    }

    /// As [`Source::open`], with another name in messages, such as the URL that it was downloaded from.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn open_named(path: &Path, name: String) -> Result<Self, DatasetError> {
        let unreadable = |cause| DatasetError::Unreadable { place: name.clone(), cause };
        let kind = if path.metadata().map_err(unreadable)?.is_dir() {
            Kind::Folder
        } else {
            detect(&mut regular::open(path).map_err(unreadable)?, &name)?
        };
        Ok(Self { path: path.into(), name, kind, limits: LIMITS, ignore: None })
    }

    /// Leaves out of a folder what counts for nothing there. An archive is read whole.
    #[must_use]
    pub fn without(mut self, ignore: Ignore) -> Self {
        self.ignore = Some(ignore);
        self
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Hands every entry to `visitor`: an archive's in its own order, a folder's sorted by name.
    pub(crate) fn visit(&self, visitor: &mut Visitor<'_>) -> Result<(), DatasetError> {
        let mut guard = Guard {
            source: &self.name,
            in_folder: self.kind == Kind::Folder,
            limits: self.limits,
            seen: HashSet::new(),
            bytes: 0,
        };
        match self.kind {
            Kind::Folder => folder::visit(&self.path, self.ignore.as_ref(), &mut guard, visitor),
            Kind::Zip => zip::visit(self.open_file()?, &mut guard, visitor),
            Kind::Tar => tar::visit(&|| Ok(io::BufReader::new(self.open_file()?)), &mut guard, visitor),
            Kind::TarGz => {
                let open = || Ok(Gunzip::new(io::BufReader::new(self.open_file()?)));
                tar::visit(&open, &mut guard, visitor)
            }
        }
    }

    fn open_file(&self) -> Result<File, DatasetError> {
        regular::open(&self.path)
            .map_err(|cause| DatasetError::Unreadable { place: self.name.clone(), cause })
    }
}

type Visitor<'v> = dyn FnMut(Entry<'_>) -> Result<(), DatasetError> + 'v;

impl<'a> Entry<'a> {
    fn new(source: &'a str, path: &'a str, size: u64, content: Option<&'a mut dyn Read>) -> Self {
        Self { source, path, size, content, nothing: Nothing(None), real: None }
    }

    /// A link that leads nowhere: to `target`, as it is told.
    fn lost(source: &'a str, path: &'a str, target: &'a str) -> Self {
        Self { source, path, size: 0, content: None, nothing: Nothing(Some(target)), real: None }
    }

    /// Says which file of a disk it is.
    fn at(mut self, real: Real) -> Self {
        self.real = Some(real);
        self
    }

    /// What it leads to, as it is told, where it is a link that leads nowhere.
    pub(crate) fn lost_target(&self) -> Option<&'a str> {
        self.nothing.0
    }

    /// Refuses a link that leads nowhere.
    pub(crate) fn must_be_there(&self) -> Result<(), DatasetError> {
        match self.nothing.0 {
            None => Ok(()),
            Some(target) => Err(DatasetError::Lost {
                source_name: self.source.into(),
                entry: self.path.into(),
                target: target.into(),
            }),
        }
    }

    /// Which file it is; nothing in a zip.
    pub(crate) fn real(&self) -> Option<Real> {
        self.real
    }

    /// Path relative to the source, `/` between its components, none of them empty, `.` or `..`.
    pub(crate) fn path(&self) -> &str {
        self.path
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.content.is_none() && self.nothing.0.is_none()
    }

    /// Bytes of the file, as the source says it.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The first `most` bytes of the file, or all that it has; nothing for a folder.
    pub(crate) fn head(&mut self, most: usize) -> Result<Vec<u8>, DatasetError> {
        self.must_be_there()?;
        let Some(content) = &mut self.content else { return Ok(Vec::new()) };
        let mut bytes = Vec::with_capacity(most);
        content
            .take(self.size.min(most as u64))
            .read_to_end(&mut bytes)
            .map_err(|error| damage(self.source, &in_the_middle_of(self.path), error))?;
        Ok(bytes)
    }

    /// The file's bytes as they come; none for a folder.
    pub(crate) fn stream(&mut self) -> &mut dyn Read {
        match &mut self.content {
            Some(content) => content,
            None => &mut self.nothing,
        }
    }

    /// The error that a failure to read [`Entry::stream`] is.
    pub(crate) fn damage(&self, error: io::Error) -> DatasetError {
        let told = self.must_be_there().err();
        told.unwrap_or_else(|| damage(self.source, &in_the_middle_of(self.path), error))
    }

    /// Reads the file whole; nothing for a folder.
    pub(crate) fn read(self) -> Result<Vec<u8>, DatasetError> {
        self.read_after(Vec::new())
    }

    /// Reads the file whole, of which `bytes` were read already; nothing for a folder. Takes no more memory than the file.
    pub(crate) fn read_after(self, mut bytes: Vec<u8>) -> Result<Vec<u8>, DatasetError> {
        self.must_be_there()?;
        let Some(content) = self.content else { return Ok(bytes) };
        let rest = self.size.saturating_sub(bytes.len() as u64);
        let has_room = usize::try_from(rest).is_ok_and(|rest| bytes.try_reserve_exact(rest).is_ok());
        if !has_room {
            let reason = format!("has {} bytes, for which this machine has no memory", self.size);
            return Err(DatasetError::Entry {
                source_name: self.source.into(),
                entry: self.path.into(),
                reason,
            });
        }
        content
            .take(rest.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| damage(self.source, &in_the_middle_of(self.path), error))?;
        match (bytes.len() as u64).cmp(&self.size) {
            std::cmp::Ordering::Less => Err(DatasetError::Truncated {
                source_name: self.source.into(),
                place: in_the_middle_of(self.path),
            }),
            std::cmp::Ordering::Equal => Ok(bytes),
            std::cmp::Ordering::Greater => Err(DatasetError::Damaged {
                source_name: self.source.into(),
                place: in_the_middle_of(self.path),
                reason: format!("it is longer than the {} bytes it says", self.size),
            }),
        }
    }

    /// An error about this entry; `reason` is the rest of the sentence.
    pub(crate) fn error(source: &Source, path: &str, reason: impl Into<String>) -> DatasetError {
        DatasetError::Entry { source_name: source.name.clone(), entry: path.into(), reason: reason.into() }
    }
}

/// What has no content: a folder, or a link that leads nowhere, with what it leads to.
struct Nothing<'a>(Option<&'a str>);

impl Read for Nothing<'_> {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {
            None => Ok(0),
            Some(target) => Err(io::Error::other(format!("a link to {target}, which is not there"))),
        }
    }
}

/// Lets only harmless entries pass, and not too many.
struct Guard<'a> {
    source: &'a str,
    /// Whether that is a folder on a disk.
    in_folder: bool,
    limits: Limits,
    seen: HashSet<String>,
    bytes: u64,
}

impl Guard<'_> {
    /// Checks an entry's path and size; returns its normal form.
    fn admit(&mut self, path: &[u8], is_folder: bool, size: u64) -> Result<String, DatasetError> {
        let shown = String::from_utf8_lossy(path).into_owned();
        let path = normal_path(path).map_err(|reason| self.refuse(&shown, reason))?;
        self.take(size)?;
        let new = self.seen.insert(path.clone());
        if !new && !is_folder {
            return Err(self.refuse(&shown, "is there twice"));
        }
        if self.seen.len() > self.limits.entries {
            return Err(self.too_large(format!("{} entries", self.limits.entries)));
        }
        Ok(path)
    }

    /// Counts what is read of a file.
    fn take(&mut self, size: u64) -> Result<(), DatasetError> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.bytes {
            return Err(self.too_large(format!("{} GiB", self.limits.bytes >> 30)));
        }
        Ok(())
    }

    fn refuse(&self, entry: &str, reason: impl Into<String>) -> DatasetError {
        DatasetError::Unsafe {
            source_name: self.source.into(),
            in_folder: self.in_folder,
            entry: entry.into(),
            reason: reason.into(),
        }
    }

    fn too_large(&self, limit: String) -> DatasetError {
        DatasetError::TooLarge { source_name: self.source.into(), limit }
    }
}

/// `./a//b/` → `a/b`. The root itself is an empty path.
fn normal_path(path: &[u8]) -> Result<String, &'static str> {
    let path = str::from_utf8(path).map_err(|_| "has a name that is not UTF-8")?;
    if path.starts_with(['/', '\\']) || path.as_bytes().get(1) == Some(&b':') {
        return Err("has an absolute path");
    }
    if path.contains(['\\', '\0']) {
        return Err("has a path with a backslash or a NUL in it");
    }
    let components: Vec<_> =
        path.split('/').filter(|component| !component.is_empty() && *component != ".").collect();
    if components.contains(&"..") {
        return Err("has a path with `..` in it");
    }
    Ok(components.join("/"))
}

fn in_the_middle_of(path: &str) -> String {
    format!("in the middle of `{path}`")
}

/// An error while an archive's bytes are read: its end came too early, or they are wrong.
fn damage(source: &str, place: &str, error: io::Error) -> DatasetError {
    let (source_name, place) = (source.to_owned(), place.to_owned());
    match error.kind() {
        io::ErrorKind::UnexpectedEof => DatasetError::Truncated { source_name, place },
        _ => DatasetError::Damaged { source_name, place, reason: error.to_string() },
    }
}

fn detect(file: &mut File, name: &str) -> Result<Kind, DatasetError> {
    let mut head = Vec::new();
    let read = |file: &mut dyn Read, head: &mut Vec<u8>| {
        head.clear();
        file.take(tar::BLOCK as u64).read_to_end(head).map_err(|error| damage(name, "at its start", error))
    };
    read(file, &mut head)?;
    let found = match head.as_slice() {
        [] => "empty",
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => return Ok(Kind::Zip),
        [0x1f, 0x8b, ..] => {
            file.seek(SeekFrom::Start(0)).map_err(|error| damage(name, "at its start", error))?;
            read(&mut Gunzip::new(io::BufReader::new(file)), &mut head)?;
            if tar::is_header(&head) {
                return Ok(Kind::TarGz);
            }
            "a gzip file without a tar archive in it"
        }
        head if tar::is_header(head) => return Ok(Kind::Tar),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "an xz file",
        [b'B', b'Z', b'h', ..] => "a bzip2 file",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "a zstd file",
        [b'7', b'z', 0xbc, 0xaf, ..] => "a 7z archive",
        [b'R', b'a', b'r', b'!', ..] => "a rar archive",
        head if head.trim_ascii_start().starts_with(b"<") => "an HTML or XML page",
        _ => "a file of unknown format",
    };
    Err(DatasetError::UnknownFormat { source_name: name.into(), found })
}

#[cfg(test)]
mod tests;
