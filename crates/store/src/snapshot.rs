//! The state of all that an input consists of at one time: what the file system says of its files and folders, of links in it
//! and of links and folders on the way to it. Two that are equal mean that nobody has written to it between them, not even to
//! put it back as it was. Knows no stages.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use pipeline::digest::Digest;
use pipeline::spec::Ignore;

use super::error::at;
use super::folder::{Folder, Noted};
use super::medium::Medium;
use super::stat::StatKey;
use super::{Store, StoreError};

/// The kernel makes a file first and puts its name into the folder then; on a busy machine that takes no longer than this.
const NAMED_WITHIN: Duration = Duration::from_millis(100);

/// More links on one way than this lead nowhere: as the kernel has it.
const MOST_LINKS: usize = 40;

/// The state of an input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    states: BTreeMap<(PathBuf, Part), StatKey>,
    /// What counts for nothing, by folder and name.
    hidden: BTreeMap<PathBuf, BTreeMap<OsString, Hidden>>,
    /// How long to wait until the next edit shows in any case; `None` where it does now.
    young: Option<Duration>,
}

/// Something in a folder that counts for nothing there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hidden {
    /// Device and inode.
    number: (u64, u64),
    /// When it was made, where the file system keeps that.
    made: Option<SystemTime>,
    /// When anything of it changed last, its place included.
    changed: Option<SystemTime>,
}

/// What something is to an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// A file of it.
    File,
    /// A link in it or on the way to it.
    Link,
    /// A folder of it, with the list of what is in it.
    Folder,
    /// A folder on the way to it: what else is put into that does not matter.
    Way,
}

/// What happened to an input between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// A file or link was written to, replaced, or given other properties.
    File(PathBuf),
    /// Something was put into a folder or taken out of it.
    Folder(PathBuf),
    /// A folder on the way to it was moved or replaced.
    Way(PathBuf),
}

impl Snapshot {
    /// What happened between this and a later one, if anything did. `store` knows which files stages linked into what they
    /// made.
    #[must_use]
    pub fn touched(&self, later: &Self, store: &Store) -> Option<Touched> {
        let mut folder = None;
        for (place, before) in &self.states {
            let (path, part) = place;
            match (part, later.states.get(place)) {
                (_, Some(now)) if now == before => {}
                // A stage links what it reads into what it makes. Other links may have put another file there meanwhile.
                (Part::File, Some(now)) if before.is_same_but_ctime(now) && store.was_linked(now) => {}
                (Part::Folder, Some(now)) if later.is_explained(path, self, before, now) => {}
                // Where a file tells more, that is told.
                (Part::Folder, Some(_)) => drop(folder.get_or_insert_with(|| path.clone())),
                (Part::Way, Some(now)) if !before.is_moved(now) => {}
                (Part::Way, Some(_)) => return Some(Touched::Way(path.clone())),
                (Part::File | Part::Link, _) | (_, None) => return Some(Touched::File(path.clone())),
            }
        }
        let new = later.states.keys().find(|place| !self.states.contains_key(*place));
        folder.map(Touched::Folder).or_else(|| new.map(|(path, _)| Touched::File(path.clone())))
    }

    /// What a later one has and this has not, and what only this has.
    #[must_use]
    pub fn came_and_went<'a>(&'a self, later: &'a Self) -> [Vec<&'a Path>; 2] {
        let only = |one: &'a Self, other: &Self| {
            let new =
                one.states.keys().filter(|place| place.1 != Part::Way && !other.states.contains_key(*place));
            new.map(|(path, _)| path.as_path()).collect()
        };
        [only(later, self), only(self, later)]
    }

    /// Whether the next edit may not show in the file system's times, because the last one was just now.
    #[must_use]
    pub fn is_young(&self) -> bool {
        self.young.is_some()
    }

    /// How long to wait until the next edit shows in the file system's times, where it may not now: longer where these are whole
    /// seconds.
    #[must_use]
    pub fn young_for(&self) -> Option<Duration> {
        self.young
    }

    /// Whether the last that happened to a folder since `earlier` was that something came into it which counts for nothing.
    /// What merely changed in there, such as `.git` by a checkout, is no reason for the folder to.
    fn is_explained(&self, folder: &Path, earlier: &Self, before: &StatKey, now: &StatKey) -> bool {
        let Some(changed) = now.changed().filter(|_| !before.is_moved(now)) else {
            return false;
        };
        let known = earlier.hidden.get(folder);
        self.hidden.get(folder).into_iter().flatten().any(|(name, hidden)| {
            let was_there = known.and_then(|known| known.get(name));
            was_there.is_none_or(|was| was.number != hidden.number) && hidden.came_at(changed)
        })
    }

    fn add(&mut self, path: PathBuf, part: Part, key: StatKey, then: SystemTime) {
        if part != Part::Way && !key.is_settled(then) {
            self.young = self.young.max(Some(key.margin()));
        }
        self.states.insert((path, part), key);
    }
}

impl Hidden {
    /// Whether it was made in its folder, or moved there, when the folder changed.
    fn came_at(&self, folder: SystemTime) -> bool {
        let is_near = |time: SystemTime| {
            let apart = folder.duration_since(time).unwrap_or_else(|earlier| earlier.duration());
            apart <= NAMED_WITHIN
        };
        // Where it is not kept when something was made, it may have been at any time before its last change.
        let is_before = |time: SystemTime| folder <= time;
        self.made.is_some_and(is_near)
            || self.changed.is_some_and(|time| is_near(time) || self.made.is_none() && is_before(time))
    }
}

impl Store {
    /// Notes that a file has several names, where it has: the one below the outputs will go.
    pub(super) fn note_links(&self, path: &Path, metadata: &fs::Metadata) {
        if metadata.nlink() > 1 {
            let identity = self.key_of(path, metadata).number();
            self.linked.lock().unwrap_or_else(PoisonError::into_inner).insert(identity);
        }
    }

    /// Whether a file was part of what a stage made in this run, under another name.
    fn was_linked(&self, key: &StatKey) -> bool {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner).contains(&key.number())
    }

    /// The digest of a file or folder, with the state that it is the digest of; of a folder, what counts, where `ignore` says
    /// what does not.
    ///
    /// # Errors
    /// As [`Store::digest_path`].
    pub fn snapshot(&self, path: &Path, ignore: Option<&Ignore>) -> Result<(Digest, Snapshot), StoreError> {
        let then = SystemTime::now();
        let mut snapshot = Snapshot::default();
        self.note_way(path, &mut snapshot, then)?;
        let metadata = fs::metadata(path).map_err(at("read", path))?;
        if !metadata.is_dir() {
            let (digest, key) = self.digest_file(path, &metadata)?;
            snapshot.add(path.to_owned(), Part::File, key, then);
            return Ok((digest, snapshot));
        }
        let mut folders = Vec::new();
        let files = Mutex::new(Vec::new());
        let walked = Folder::read(
            path,
            ignore,
            &|found| {
                let (digest, key) = self.digest_file(&found.path, &found.metadata)?;
                files.lock().unwrap_or_else(PoisonError::into_inner).push((found.path.clone(), key));
                Ok((digest, found.metadata.len()))
            },
            &mut |noted, path, metadata| folders.push((noted, path.to_owned(), metadata.clone())),
        )?;
        for (noted, path, metadata) in folders {
            let key = self.state_of(&path, &metadata);
            let part = match noted {
                Noted::Folder => Part::Folder,
                Noted::Link => Part::Link,
                Noted::Hidden => {
                    let (made, changed) = (metadata.created().ok(), key.changed());
                    let hidden = Hidden { number: key.number(), made, changed };
                    if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
                        let in_folder = snapshot.hidden.entry(folder.to_owned()).or_default();
                        in_folder.insert(name.to_owned(), hidden);
                    }
                    continue;
                }
            };
            snapshot.add(path, part, key, then);
        }
        for (path, key) in files.into_inner().unwrap_or_else(PoisonError::into_inner) {
            snapshot.add(path, Part::File, key, then);
        }
        Ok((Digest::of_bytes(&walked.folder.to_bytes()), snapshot))
    }

    /// As [`Store::snapshot`] of what another stage made, which was `recorded` then: what was added to a folder and counts for
    /// nothing is left out, unless the stage itself made such things there.
    ///
    /// # Errors
    /// As [`Store::digest_path`].
    pub fn snapshot_output(&self, path: &Path, recorded: &Digest) -> Result<(Digest, Snapshot), StoreError> {
        let mut first = None;
        for ignore in self.ways_to_leave_out(path, recorded) {
            let seen = self.snapshot(path, ignore.as_ref());
            if seen.as_ref().is_ok_and(|(digest, _)| digest == recorded) {
                return seen;
            }
            first.get_or_insert(seen);
        }
        first.unwrap_or_else(|| self.snapshot(path, None))
    }

    /// Adds the links and folders that lead to a path, but not what is there.
    fn note_way(&self, path: &Path, snapshot: &mut Snapshot, then: SystemTime) -> Result<(), StoreError> {
        let absolute = std::path::absolute(path).map_err(at("read", path))?;
        let mut rest: Vec<OsString> = steps(&absolute);
        let mut place = PathBuf::from("/");
        let mut links = 0;
        while let Some(step) = rest.pop() {
            if step == ".." {
                place.pop();
                continue;
            }
            let next = place.join(&step);
            let metadata = fs::symlink_metadata(&next).map_err(at("read", path))?;
            if metadata.is_symlink() {
                links += 1;
                if links > MOST_LINKS {
                    return Err(at("read", path)(io::Error::other("too many links lead to each other")));
                }
                let key = self.state_of(&next, &metadata);
                snapshot.add(next.clone(), Part::Link, key, then);
                let to = fs::read_link(&next).map_err(at("read", path))?;
                if to.is_absolute() {
                    place = PathBuf::from("/");
                }
                rest.extend(steps(&to));
            } else {
                if !rest.is_empty() {
                    let key = self.state_of(&next, &metadata);
                    snapshot.add(next.clone(), Part::Way, key, then);
                }
                place = next;
            }
        }
        Ok(())
    }

    /// What identifies the state of a file or folder.
    fn state_of(&self, path: &Path, metadata: &fs::Metadata) -> StatKey {
        let key = self.key_of(path, metadata);
        // Behind a program, a file need not have the same number when it is looked at again.
        match self.stats().medium(metadata.dev(), path) {
            Medium::Remote => key.without_number(),
            _ => key,
        }
    }
}

/// The steps of a path, the last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let steps = path.components().filter(|step| matches!(step, Component::Normal(_) | Component::ParentDir));
    let mut steps: Vec<OsString> = steps.map(|step| step.as_os_str().to_owned()).collect();
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests;
