//! Artifacts: the outputs of a stage where users look for them. What the stage wrote, or copies of objects; put in place
//! by rename.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pipeline::StageName;
use pipeline::spec::Ignore;
use record::{ActionRecord, OutputRecord};

use super::action::remove;
use super::error::at;
use super::file::{Durability, with_parent};
use super::folder::is_executable;
use super::{Store, StoreError, is_folder_or_nothing, is_unique};

/// The folder of all artifacts, beside the pipeline.
pub const ARTIFACTS: &str = "artifacts";

/// Start of the names of copies that are not in place yet.
const UNFINISHED: &str = ".pipe-";

impl Store {
    /// Sees to it that artifacts can be put where they belong.
    ///
    /// # Errors
    /// When something else than a folder is where that of all artifacts belongs. What is where that of a stage belongs is moved
    /// aside.
    pub fn check_artifacts(&self) -> Result<(), StoreError> {
        is_folder_or_nothing(&self.root.join(ARTIFACTS))
    }

    /// Whether a stage's artifacts are exactly the outputs of `record`. Says no where it cannot tell.
    #[must_use]
    pub fn is_in_place(&self, stage: &StageName, record: &ActionRecord) -> bool {
        record.outputs.values().all(|output| self.is_output_in_place(stage, output))
    }

    pub(super) fn is_output_in_place(&self, stage: &StageName, output: &OutputRecord) -> bool {
        let path = self.artifacts(stage).join(&output.file);
        let Ok(metadata) = fs::metadata(&path) else { return false };
        let same_kind =
            metadata.is_dir() == output.folder && (output.folder || metadata.len() == output.bytes);
        same_kind
            && (output.folder || is_executable(&metadata) == output.executable)
            && self.is_output_at(&path, output)
    }

    /// Whether the content at `path` is that of an output, what was added and counts for nothing aside.
    fn is_output_at(&self, path: &Path, output: &OutputRecord) -> bool {
        if output.folder {
            return self.way_to_find(path, output).is_some();
        }
        self.digest_path(path).is_ok_and(|digest| digest == output.digest)
    }

    /// What to leave out of a folder to find an output in it, if it can be found.
    fn way_to_find(&self, path: &Path, output: &OutputRecord) -> Option<Option<Ignore>> {
        let is_it = |ignore: &Option<Ignore>| {
            self.digest_without(path, ignore.as_ref()).is_ok_and(|digest| digest == output.digest)
        };
        self.ways_to_leave_out(path, &output.digest).find(is_it)
    }

    /// Puts objects of `record` that are gone or cut short into the store again, out of the stage's artifacts. Gives the
    /// names of the outputs whose objects these are.
    ///
    /// # Errors
    /// When an artifact cannot be read or the store not written to.
    pub fn refill(&self, stage: &StageName, record: &ActionRecord) -> Result<Vec<String>, StoreError> {
        let mut refilled = Vec::new();
        for (name, output) in record.outputs.iter().filter(|(_, output)| !self.has_head(output)) {
            // What is put is digested again: an artifact that changes meanwhile becomes another object.
            let path = self.artifacts(stage).join(&output.file);
            let durability = Durability::of_ms(record.duration_ms);
            let ignore = self.way_to_find(&path, output).filter(|_| output.folder).flatten();
            if self.put(&path, ignore.as_ref(), output.file.clone(), durability)?.record == *output {
                refilled.push(name.clone());
            }
        }
        Ok(refilled)
    }

    /// Whether everything that [`Store::restore`] needs is there, with the right length.
    #[must_use]
    pub fn is_complete(&self, record: &ActionRecord) -> bool {
        record.outputs.values().all(|output| self.has_output(output))
    }

    /// Makes a stage's artifacts the outputs of `record`: those that are not in place are copied out of the store and
    /// verified, then those of the stage's last record that are not outputs any more are removed, then the copies get
    /// their names. Other files in the folder are left alone, and what is in the way without being an output is moved: see
    /// [`Store::take_asides`].
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when an object is missing or damaged: the artifacts are as they were, and the record is
    /// to be discarded. Any other error when a file cannot be written.
    pub fn restore(&self, stage: &StageName, record: &ActionRecord) -> Result<(), StoreError> {
        self.put_in_place(stage, record, &BTreeMap::new())?;
        self.mark_used(&record.key);
        Ok(())
    }

    /// Makes `folder`, in which a stage wrote all outputs of `record` and nothing else, the folder of its artifacts, if
    /// it has none yet. Whether it did. Saves a file system from making and deleting one folder for each stage, which
    /// on ext4 is most of what a short stage costs.
    pub(super) fn become_artifacts(
        &self,
        stage: &StageName,
        record: &ActionRecord,
        folder: &Path,
    ) -> Result<bool, StoreError> {
        let artifacts = self.artifacts(stage);
        let is_new =
            matches!(fs::symlink_metadata(&artifacts), Err(error) if error.kind() == io::ErrorKind::NotFound);
        let entries = fs::read_dir(folder).map_err(at("read", folder))?.count();
        if !is_new || record.outputs.is_empty() || entries != record.outputs.len() {
            return Ok(false);
        }
        for output in record.outputs.values() {
            let path = folder.join(&output.file);
            allow_writing(&path, output).map_err(at("write", &path))?;
        }
        if with_parent(&artifacts, || fs::rename(folder, &artifacts)).is_err() {
            return Ok(false);
        }
        for output in record.outputs.values() {
            self.stats().remember_later(&artifacts.join(&output.file));
        }
        self.make_last(stage, &record.key)?;
        Ok(true)
    }

    /// As [`Store::restore`], where some outputs, by name, lie somewhere already from where they may be moved.
    pub(super) fn put_in_place(
        &self,
        stage: &StageName,
        record: &ActionRecord,
        movable: &BTreeMap<String, PathBuf>,
    ) -> Result<(), StoreError> {
        let mut ready = Vec::new();
        let is_elsewhere = self.is_elsewhere(&self.artifacts(stage));
        let prepared =
            record.outputs.iter().filter(|(_, output)| !self.is_output_in_place(stage, output)).try_for_each(
                |(name, output)| {
                    let from = match movable.get(name).filter(|_| !is_elsewhere) {
                        Some(path) => {
                            allow_writing(path, output).map_err(at("write", path))?;
                            path.clone()
                        }
                        // Before anything makes room for it: afterwards there may be no space for a copy.
                        None => self.copy_out(stage, output, is_elsewhere)?,
                    };
                    ready.push((from, output));
                    Ok(())
                },
            );
        if let Err(error) = prepared {
            for (copy, _) in ready {
                // The error at hand says more than one of tidying up.
                let _ = remove(&copy);
            }
            return Err(error);
        }
        let folder = self.artifacts(stage);
        let is_in_the_way = !fs::metadata(&folder).is_ok_and(|there| there.is_dir());
        // Where nothing is, the folder is made when something gets its name.
        if !ready.is_empty() && is_in_the_way && fs::symlink_metadata(&folder).is_ok() {
            self.move_aside(&folder, record)?;
        }
        // The outcome that the key has now may be the one that is to be put in place, where a stage was forced.
        let last = self.last_key(stage).map(|key| self.outcomes(&key)).unwrap_or_default();
        let old = || last.iter().flat_map(|last| last.outputs.values());
        for old in old().filter(|old| !record.outputs.values().any(|output| output.file == old.file)) {
            self.clear_away(&folder, old)?;
        }
        for (from, output) in ready {
            let path = folder.join(&output.file);
            let before: Vec<&OutputRecord> = old().filter(|old| old.file == output.file).collect();
            self.make_room(&path, &before, output, record)?;
            self.rename_into_place(stage, &from, output, &path)?;
            // Hashed by `flush`, when the file is old enough to be remembered.
            self.stats().remember_later(&path);
        }
        self.make_last(stage, &record.key).map(drop)
    }

    fn rename_into_place(
        &self,
        stage: &StageName,
        from: &Path,
        output: &OutputRecord,
        path: &Path,
    ) -> Result<(), StoreError> {
        match with_parent(path, || fs::rename(from, path)) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                // As to what is mounted of the same file system.
                let copy = self.copy_out(stage, output, true)?;
                fs::rename(&copy, path).map_err(at("write", path))
            }
            renamed => renamed.map_err(at("write", path)),
        }
    }

    /// Copies an output out of the store to where it can be renamed from: a name of its own on the file system of the
    /// stage's artifacts, which is another one than the cache's where that `is_elsewhere`.
    fn copy_out(
        &self,
        stage: &StageName,
        output: &OutputRecord,
        is_elsewhere: bool,
    ) -> Result<PathBuf, StoreError> {
        let copy = if is_elsewhere {
            let folder = self.artifacts(stage);
            fs::create_dir_all(&folder).map_err(at("create", &folder))?;
            folder.join(format!("{UNFINISHED}{}", self.unique()))
        } else {
            let folder = self.folder.join("work");
            fs::create_dir_all(&folder).map_err(at("create", &folder))?;
            folder.join(self.unique())
        };
        if let Err(error) = self.take(output, &copy) {
            let _ = remove(&copy);
            return Err(error);
        }
        Ok(copy)
    }

    /// Whether artifacts in a folder are on another file system than the cache, as when it is a link or a mount, or the folder of
    /// all artifacts is.
    fn is_elsewhere(&self, folder: &Path) -> bool {
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
        match (device(folder).or_else(|_| device(&self.root.join(ARTIFACTS))), device(&self.folder)) {
            (Ok(artifacts), Ok(cache)) => artifacts != cache,
            _ => false,
        }
    }

    /// Removes copies that a killed run left among the artifacts.
    pub(super) fn clear_unfinished(&self) -> Result<(), StoreError> {
        let artifacts = self.root.join(ARTIFACTS);
        // None yet, or a folder that may be used and not listed: then what a kill left stays.
        let Ok(stages) = fs::read_dir(&artifacts) else { return Ok(()) };
        let own = fs::metadata(&self.folder).ok().map(|metadata| metadata.dev());
        for stage in stages {
            let stage = stage.map_err(at("read", &artifacts))?;
            // A link may lead elsewhere.
            let is_here = stage.metadata().is_ok_and(|it| !it.is_symlink() && Some(it.dev()) == own);
            let stage = stage.path();
            if is_here || !self.is_elsewhere(&stage) {
                continue;
            }
            let Ok(entries) = fs::read_dir(&stage) else { continue };
            for entry in entries {
                let entry = entry.map_err(at("read", &stage))?;
                let name = entry.file_name();
                if name.to_str().and_then(|name| name.strip_prefix(UNFINISHED)).is_some_and(is_unique) {
                    remove(&entry.path())?;
                }
            }
        }
        Ok(())
    }
}

/// Gives a file that is to become an artifact the permissions that a restored one has.
fn allow_writing(path: &Path, output: &OutputRecord) -> io::Result<()> {
    if output.folder {
        return allow_writing_below(path);
    }
    set_mode(path, if output.executable { 0o755 } else { 0o644 })
}

fn allow_writing_below(folder: &Path) -> io::Result<()> {
    set_mode(folder, 0o755)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            allow_writing_below(&entry.path())?;
        } else if metadata.is_file() {
            set_mode(&entry.path(), if is_executable(&metadata) { 0o755 } else { 0o644 })?;
        }
    }
    Ok(())
}

fn set_mode(path: &Path, wanted: u32) -> io::Result<()> {
    if fs::metadata(path)?.mode() & 0o777 != wanted {
        fs::set_permissions(path, Permissions::from_mode(wanted))?;
    }
    Ok(())
}
