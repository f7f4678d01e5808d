//! Room for artifacts where somebody else has put something. What the stage made last goes; whatever is not known to be that is
//! moved to a name of its own beside it, and told. That the cache has the same bytes makes nothing ours: who put an older
//! version there by hand meant it, and the cache may lose it.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use pipeline::digest::Digest;
use pipeline::spec::{CACHES, Ignore};
use record::{ActionRecord, OutputRecord};

use super::action::remove;
use super::clean::Plan;
use super::error::at;
use super::{Store, StoreError};

/// Something of a user's that was in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Where it was: below this folder where `files` says how many there were, else this itself.
    pub from: PathBuf,
    /// Where it is now.
    pub to: PathBuf,
    /// How many files of a folder that is an output were moved; `None` where it was moved as a whole.
    pub files: Option<usize>,
}

impl Store {
    /// What was moved out of the way of artifacts since this was asked last.
    #[must_use]
    pub fn take_asides(&self) -> Vec<Aside> {
        std::mem::take(&mut *self.asides.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sees to it that nothing is at `path` that a rename to it would not replace, or would lose. `old` is what is on record of
    /// what the stage put there last, and `record` names what must not be used as another name.
    pub(super) fn make_room(
        &self,
        path: &Path,
        old: &[&OutputRecord],
        output: &OutputRecord,
        record: &ActionRecord,
    ) -> Result<(), StoreError> {
        let there = match fs::symlink_metadata(path) {
            Ok(there) => there,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at("look at", path)(error)),
        };
        // What cannot be read is not known to be ours, and no link is.
        let digest = if there.is_symlink() { None } else { self.digest_path(path).ok() };
        let is_own = digest.is_some_and(|digest| old.iter().any(|old| old.digest == digest));
        if !there.is_dir() {
            return match is_own {
                false => self.move_aside(path, record),
                // A file takes the place of a file.
                true if !output.folder => Ok(()),
                true => remove(path),
            };
        }
        if is_own || self.is_own_but_for_caches(path, old) {
            return remove(path);
        }
        let mut made: HashMap<String, HashSet<Digest>> = HashMap::new();
        for old in old.iter().filter(|old| old.folder) {
            for file in self.manifest(&old.digest)?.into_iter().flat_map(|manifest| manifest.files) {
                made.entry(file.path).or_default().insert(file.digest);
            }
        }
        let mut foreign = Vec::new();
        let mut own = 0;
        for entry in walkdir::WalkDir::new(path).min_depth(1) {
            let Ok(entry) = entry else { return self.move_aside(path, record) };
            if entry.file_type().is_dir() {
                continue;
            }
            let inner = entry.path().strip_prefix(path).ok().and_then(Path::to_str);
            let made = inner.and_then(|inner| made.get(inner)).filter(|_| entry.file_type().is_file());
            let is_own = made
                .is_some_and(|made| self.digest_path(entry.path()).is_ok_and(|there| made.contains(&there)));
            if is_own {
                own += 1;
            } else {
                foreign.push(entry.into_path());
            }
        }
        if own == 0 && !foreign.is_empty() {
            return self.move_aside(path, record);
        }
        if !foreign.is_empty() {
            let to = free_name(path, |name| is_output(name, record));
            for file in &foreign {
                let target = to.join(file.strip_prefix(path).unwrap_or(file));
                let parent = target.parent().unwrap_or(&to);
                fs::create_dir_all(parent).map_err(at("create", parent))?;
                fs::rename(file, &target).map_err(at("move", file))?;
            }
            self.note_aside(Aside { from: path.to_owned(), to, files: Some(foreign.len()) });
        }
        remove(path)
    }

    /// Whether a folder is what the stage put there, but for caches of tools that somebody ran in it, which make these anew. What a
    /// user's own patterns name may be dear to them.
    fn is_own_but_for_caches(&self, path: &Path, old: &[&OutputRecord]) -> bool {
        let Ok(caches) = Ignore::exactly(&self.root, CACHES.iter().copied()) else { return false };
        old.iter().filter(|old| old.folder).any(|old| {
            let but_made = self.all_but_made(&caches, path, &old.digest);
            [Some(&caches), but_made.as_ref()]
                .into_iter()
                .flatten()
                .any(|ignore| self.digest_input(path, ignore).is_ok_and(|digest| digest == old.digest))
        })
    }

    /// Moves whatever is at `path` to another name beside it.
    pub(super) fn move_aside(&self, path: &Path, record: &ActionRecord) -> Result<(), StoreError> {
        let to = free_name(path, |name| is_output(name, record));
        fs::rename(path, &to).map_err(at("move", path))?;
        self.note_aside(Aside { from: path.to_owned(), to, files: None });
        Ok(())
    }

    /// Removes what a stage made as an output that it does not have any more, below `folder`. What is not exactly that stays.
    pub(super) fn clear_away(&self, folder: &Path, old: &OutputRecord) -> Result<(), StoreError> {
        let mut plan = Plan::default();
        self.plan_output(folder, old, &mut plan)?;
        plan.carry_out()
    }

    fn note_aside(&self, aside: Aside) {
        self.asides.lock().unwrap_or_else(PoisonError::into_inner).push(aside);
    }
}

/// The first of `NAME.kept-1`, `NAME.kept-2`, … that nothing has, and that is not spoken for.
#[must_use]
pub fn free_name(path: &Path, is_spoken_for: impl Fn(&OsStr) -> bool) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let named = |number: usize| {
        let mut named = name.to_owned();
        named.push(format!(".kept-{number}"));
        named
    };
    let is_free =
        |name: &OsString| !is_spoken_for(name) && fs::symlink_metadata(path.with_file_name(name)).is_err();
    let free = (1..).map(named).find(is_free).unwrap_or_else(|| named(0));
    path.with_file_name(free)
}

/// Whether a name is that of an output of the record.
fn is_output(name: &OsStr, record: &ActionRecord) -> bool {
    record.outputs.values().any(|output| output.file.as_str() == name)
}
