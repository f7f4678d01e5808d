//! What is below a folder: its files, its empty folders, and the links that are followed. Opens no file.
//!
//! Of an input each folder is listed once. Its own come first, then those that links lead to: through fewer links before
//! through more, and in the order of the links' paths. So it does not matter in which order the file system names them.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, FileType, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pipeline::digest::Digest;
use pipeline::spec::Ignore;

use super::super::StoreError;
use super::super::error::at;
use super::{FolderFile, Noted};

/// Separates digests of links from digests of contents.
const LINK: &str = "pipe 2026-12 link v1";

/// Separates digests of folders that count elsewhere from all others.
const REPEATED: &str = "pipe 2026-12 repeated folder v1";

/// Device and inode.
type Identity = (u64, u64);

/// What is below a folder.
pub(super) struct Contents<'a> {
    pub(super) files: Vec<Listed>,
    pub(super) empty: Vec<String>,
    pub(super) folders: Vec<PathBuf>,
    /// Links that count as themselves.
    pub(super) links: Vec<FolderFile>,
    /// Folders whose contents count elsewhere.
    pub(super) repeated: Vec<FolderFile>,
    /// The folder that the walk began at.
    root: &'a Path,
    /// What counts for nothing, where links that lead nowhere are what they are; none where every entry must be content.
    ignore: Option<&'a Ignore>,
    /// Of an input: where each folder really is, and the steps to where its contents count.
    listed: HashMap<PathBuf, String>,
    /// Of an input: links to folders that are followed when those before them have been.
    waiting: BTreeMap<(usize, String), Waiting>,
    /// Steps to what counts for nothing, and whether it is a folder.
    hidden: Vec<(String, bool)>,
    /// Told of folders and links.
    note: &'a mut dyn FnMut(Noted, &Path, &Metadata),
}

/// A file that was listed, and not looked at yet.
pub(super) struct Listed {
    pub(super) path: PathBuf,
    /// Whether the way to it, or its own name, is a link.
    pub(super) linked: bool,
    /// Steps from the root, joined by `/`.
    pub(super) inner: String,
}

/// A folder on the walk.
struct Place<'p> {
    folder: &'p Path,
    /// Steps from the root, each with a `/` after it.
    prefix: &'p str,
    linked: bool,
    /// Where it really is.
    real: &'p Path,
    /// Where the root and the folders that links on the way led to really are.
    turns: &'p [PathBuf],
    /// Whether it was listed already, and only what did not count there is looked at.
    again: bool,
}

/// A link to a folder that is yet to be followed.
struct Waiting {
    path: PathBuf,
    metadata: Metadata,
    real: PathBuf,
    turns: Vec<PathBuf>,
    ancestors: Vec<Identity>,
    again: bool,
}

impl<'a> Contents<'a> {
    pub(super) fn of(
        root: &'a Path,
        ignore: Option<&'a Ignore>,
        note: &'a mut dyn FnMut(Noted, &Path, &Metadata),
    ) -> Result<Self, StoreError> {
        let linked = fs::symlink_metadata(root).map_err(at("read", root))?.is_symlink();
        let metadata = fs::metadata(root).map_err(at("read", root))?;
        let real = fs::canonicalize(root).map_err(at("read", root))?;
        note(Noted::Folder, root, &metadata);
        let mut contents = Self {
            files: vec![],
            empty: vec![],
            folders: vec![],
            links: vec![],
            repeated: vec![],
            root,
            ignore,
            listed: HashMap::new(),
            waiting: BTreeMap::new(),
            hidden: vec![],
            note,
        };
        let turns = [real.clone()];
        let place = Place { folder: root, prefix: "", linked, real: &real, turns: &turns, again: false };
        contents.add(&place, &mut vec![identity(&metadata)])?;
        while let Some(((_, inner), waiting)) = contents.waiting.pop_first() {
            contents.follow(inner, waiting)?;
        }
        Ok(contents)
    }

    fn add(&mut self, place: &Place<'_>, ancestors: &mut Vec<Identity>) -> Result<(), StoreError> {
        self.folders.push(place.folder.to_owned());
        if self.ignore.is_some() {
            let inner = place.prefix.trim_end_matches('/');
            self.listed.insert(place.real.to_owned(), inner.to_owned());
        }
        for entry in fs::read_dir(place.folder).map_err(at("read", place.folder))? {
            let entry = entry.map_err(at("read", place.folder))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(at("read", &path))?;
            self.entry(place, path, kind, ancestors)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        place: &Place<'_>,
        path: PathBuf,
        kind: FileType,
        ancestors: &mut Vec<Identity>,
    ) -> Result<(), StoreError> {
        let name = path.file_name().unwrap_or_default();
        // Asked before anything else: what counts for nothing may be unreadable, too.
        if self.hides(&path, kind.is_dir()) {
            self.hide(&path, format!("{}{}", place.prefix, name.to_string_lossy()), kind.is_dir());
            return Ok(());
        }
        let Some(name) = name.to_str() else {
            return Err(StoreError::Irregular { path, what: "a file whose name is not UTF-8" });
        };
        let inner = format!("{}{name}", place.prefix);
        let real = place.real.join(name);
        let linked = place.linked || kind.is_symlink();
        if kind.is_symlink() {
            (self.note)(Noted::Link, &path, &fs::symlink_metadata(&path).map_err(at("read", &path))?);
        }
        if kind.is_file() {
            self.files.push(Listed { path, linked, inner });
            return Ok(());
        }
        let metadata = match fs::metadata(&path) {
            Err(_) if kind.is_symlink() && self.ignore.is_some() => {
                self.links.push(link_itself(&path, inner)?);
                return Ok(());
            }
            Err(error) if kind.is_symlink() && error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::Irregular { path, what: "a link that leads nowhere" });
            }
            metadata => metadata.map_err(at("read", &path))?,
        };
        if metadata.is_file() {
            self.files.push(Listed { path, linked, inner });
            return Ok(());
        }
        if !metadata.is_dir() {
            return Err(StoreError::Irregular { path, what: "neither a file nor a folder" });
        }
        if !kind.is_symlink() {
            return self.enter(
                &Place { folder: &path, linked, real: &real, ..*place },
                inner,
                &metadata,
                ancestors,
            );
        }
        if self.hides(&path, true) {
            self.hide(&path, inner, true);
            return Ok(());
        }
        let real = fs::canonicalize(&path).map_err(at("read", &path))?;
        let is_around = |inside: &Path| inside.starts_with(&real);
        if ancestors.contains(&identity(&metadata))
            || is_around(place.real)
            || place.turns.iter().any(|turn| is_around(turn))
        {
            if self.ignore.is_none() {
                return Err(StoreError::Irregular { path, what: "a link to a folder that it is in" });
            }
            self.links.push(link_itself(&path, inner)?);
            return Ok(());
        }
        let turns = [place.turns, std::slice::from_ref(&real)].concat();
        if self.ignore.is_none() {
            let place = Place { folder: &path, prefix: "", linked, real: &real, turns: &turns, again: false };
            return self.enter(&place, inner, &metadata, ancestors);
        }
        let (ancestors, again) = (ancestors.clone(), place.again);
        self.waiting.insert((turns.len(), inner), Waiting { path, metadata, real, turns, ancestors, again });
        Ok(())
    }

    /// Lists the folder at `place`, the steps to which are `inner`, unless it was listed already.
    fn enter(
        &mut self,
        place: &Place<'_>,
        inner: String,
        metadata: &Metadata,
        ancestors: &mut Vec<Identity>,
    ) -> Result<(), StoreError> {
        if let Some(first) = self.listed.get(place.real) {
            self.repeated.push(elsewhere(first, inner));
            return Ok(());
        }
        if ancestors.contains(&identity(metadata)) {
            let path = place.folder.to_owned();
            return Err(StoreError::Irregular { path, what: "a folder that it is in, mounted once more" });
        }
        let found = self.found();
        (self.note)(Noted::Folder, place.folder, metadata);
        ancestors.push(identity(metadata));
        let prefix = format!("{inner}/");
        self.add(&Place { prefix: &prefix, again: false, ..*place }, ancestors)?;
        ancestors.pop();
        if self.found() == found {
            self.empty.push(inner);
        }
        Ok(())
    }

    /// How much was found that is not hidden.
    fn found(&self) -> usize {
        self.files.len() + self.empty.len() + self.links.len() + self.repeated.len() + self.waiting.len()
    }

    /// Lists what a link of an input leads to, unless that was listed already: then only what was hidden there, and is not
    /// here.
    fn follow(&mut self, inner: String, waiting: Waiting) -> Result<(), StoreError> {
        let Waiting { path, metadata, real, turns, mut ancestors, again } = waiting;
        let first = self.listed.get(&real).cloned();
        let place =
            Place { folder: &path, prefix: "", linked: true, real: &real, turns: &turns, again: true };
        self.enter(&place, inner.clone(), &metadata, &mut ancestors)?;
        let (Some(first), Some(ignore), false) = (first, self.ignore, again) else { return Ok(()) };
        ancestors.push(identity(&metadata));
        let below = format!("{first}/");
        let hidden = self.hidden.iter().filter_map(|(hidden, is_folder)| {
            let rest = hidden.strip_prefix(&below)?;
            (!ignore.hides_on_the_way(self.root, &path.join(rest), *is_folder)).then(|| rest.to_owned())
        });
        for rest in hidden.collect::<Vec<_>>() {
            let there = path.join(&rest);
            // It may be gone by now, and was never asked for.
            let Ok(own) = fs::symlink_metadata(&there) else { continue };
            let (above, prefix) = match rest.rsplit_once('/') {
                Some((above, _)) => (real.join(above), format!("{inner}/{above}/")),
                None => (real.clone(), format!("{inner}/")),
            };
            let folder = there.parent().unwrap_or(&path);
            let place = Place { folder, prefix: &prefix, real: &above, ..place };
            self.entry(&place, there.clone(), own.file_type(), &mut ancestors)?;
        }
        Ok(())
    }

    fn hides(&self, path: &Path, is_folder: bool) -> bool {
        self.ignore.is_some_and(|ignore| ignore.hides(self.root, path, is_folder))
    }

    /// What cannot be looked at need not be: it counts for nothing.
    fn hide(&mut self, path: &Path, inner: String, is_folder: bool) {
        if let Ok(metadata) = fs::symlink_metadata(path) {
            (self.note)(Noted::Hidden, path, &metadata);
        }
        self.hidden.push((inner, is_folder));
    }
}

/// A link that counts as itself. No content has its digest.
fn link_itself(path: &Path, inner: String) -> Result<FolderFile, StoreError> {
    let target = fs::read_link(path).map_err(at("read", path))?;
    Ok(words(LINK, target.as_os_str().as_bytes(), inner))
}

/// A folder whose contents count elsewhere, at `first`.
fn elsewhere(first: &str, inner: String) -> FolderFile {
    words(REPEATED, first.as_bytes(), inner)
}

fn words(kind: &str, text: &[u8], path: String) -> FolderFile {
    let mut hasher = blake3::Hasher::new_derive_key(kind);
    let digest = Digest::from(hasher.update(text).finalize());
    FolderFile { path, digest, bytes: text.len() as u64, executable: false }
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}
