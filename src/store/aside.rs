//! Room for artifacts where somebody else has put something. What a stage made, and what the cache still has, goes; whatever
//! is not known to be that is moved to a name of its own beside it, and told.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::action::remove;
use super::clean::Plan;
use super::error::at;
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::record::{ActionRecord, OutputRecord};

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

    /// Sees to it that nothing is at `path` that a rename to it would not replace, or would lose. `old` is what the stage's
    /// last record says of it, and `record` names what must not be used as another name.
    pub(super) fn make_room(
        &self,
        path: &Path,
        old: Option<&OutputRecord>,
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
        let digest = digest.filter(|digest| self.is_known(digest, old));
        if !there.is_dir() {
            return match digest {
                None => self.move_aside(path, record),
                // A file takes the place of a file.
                Some(_) if !output.folder => Ok(()),
                Some(_) => remove(path),
            };
        }
        let expected = digest.or(old.filter(|old| old.folder).map(|old| old.digest));
        let manifest = expected.map(|digest| self.manifest(&digest)).transpose()?.flatten();
        let Some(manifest) = manifest else { return self.move_aside(path, record) };
        let made: HashMap<&str, Digest> =
            manifest.files.iter().map(|file| (file.path.as_str(), file.digest)).collect();
        let mut foreign = Vec::new();
        let mut own = 0;
        for entry in walkdir::WalkDir::new(path).min_depth(1) {
            let Ok(entry) = entry else { return self.move_aside(path, record) };
            if entry.file_type().is_dir() {
                continue;
            }
            let inner = entry.path().strip_prefix(path).ok().and_then(Path::to_str);
            let made = inner.and_then(|inner| made.get(inner)).filter(|_| entry.file_type().is_file());
            let is_own = made.is_some_and(|made| {
                let there = self.digest_path(entry.path());
                there.is_ok_and(|there| there == *made || self.object(&there).is_file())
            });
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
            let to = free_name(path, record);
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

    /// Whether a content is that of an output, or can be had from the cache.
    fn is_known(&self, digest: &Digest, old: Option<&OutputRecord>) -> bool {
        old.is_some_and(|old| old.digest == *digest) || self.object(digest).is_file()
    }

    /// Moves whatever is at `path` to another name beside it.
    pub(super) fn move_aside(&self, path: &Path, record: &ActionRecord) -> Result<(), StoreError> {
        let to = free_name(path, record);
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

/// The first of `NAME.kept-1`, `NAME.kept-2`, … that nothing has, and no output of the record.
fn free_name(path: &Path, record: &ActionRecord) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let named = |number: usize| {
        let mut named = name.to_owned();
        named.push(format!(".kept-{number}"));
        named
    };
    let is_free = |name: &std::ffi::OsString| {
        !record.outputs.values().any(|output| output.file.as_str() == name)
            && fs::symlink_metadata(path.with_file_name(name)).is_err()
    };
    let free = (1..).map(named).find(is_free).unwrap_or_else(|| named(0));
    path.with_file_name(free)
}
