//! Takes artifacts away: what a record says that a stage made, as long as it is still exactly that. What was edited, what
//! someone else put there, and whatever a link leads to stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use pipeline::StageName;
use pipeline::digest::Digest;
use record::OutputRecord;

use super::action::remove;
use super::file::Record;
use super::folder::Folder;
use super::lock::{Alone, Lock};
use super::{Store, StoreError};

/// What was removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// How many files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What is among the artifacts of the stages and stays, by path.
    pub kept: BTreeMap<PathBuf, Kept>,
}

/// Why something stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It has the name of an output and another content.
    Edited,
    /// No record says that it is an output.
    Foreign,
}

/// What is to go.
#[derive(Default)]
pub(super) struct Plan {
    files: BTreeSet<PathBuf>,
    /// Folders, if nothing is left in them.
    folders: BTreeSet<PathBuf>,
    kept: BTreeMap<PathBuf, Kept>,
}

impl Plan {
    pub(super) fn carry_out(&self) -> Result<(), StoreError> {
        self.files.iter().try_for_each(|path| remove(path))?;
        // Those in others come after these.
        for folder in self.folders.iter().rev() {
            // One that holds something else stays.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }
}

impl Store {
    /// Removes the artifacts of stages, given with the keys that these came from, and `others`, files beside them. With
    /// `dry_run` it is only said what would go. `_lock` is that of this store.
    ///
    /// # Errors
    /// When something cannot be read or removed.
    pub fn clean(
        &self,
        _lock: &Lock,
        stages: &BTreeMap<StageName, Digest>,
        others: &[PathBuf],
        dry_run: bool,
    ) -> Result<Cleaned, StoreError> {
        let mut plan = Plan::default();
        for (stage, key) in stages {
            self.plan_stage(stage, key, &mut plan)?;
        }
        for other in others.iter().filter(|other| is_file(other)) {
            self.add(other, &mut plan);
        }
        let length = |path: &PathBuf| fs::symlink_metadata(path).map_or(0, |metadata| metadata.len());
        let cleaned = Cleaned {
            files: plan.files.len(),
            bytes: plan.files.iter().map(length).sum(),
            kept: plan.kept.clone(),
        };
        if !dry_run {
            plan.carry_out()?;
        }
        Ok(cleaned)
    }

    fn plan_stage(&self, stage: &StageName, key: &Digest, plan: &mut Plan) -> Result<(), StoreError> {
        let folder = self.artifacts(stage);
        if !is_folder(&folder) {
            return Ok(());
        }
        if let Record::Whole(record) = self.action(key) {
            for output in record.outputs.values() {
                self.plan_output(&folder, output, plan)?;
            }
        }
        for entry in walkdir::WalkDir::new(&folder).into_iter().flatten() {
            if !entry.file_type().is_dir() && !plan.files.contains(entry.path()) {
                plan.kept.entry(entry.into_path()).or_insert(Kept::Foreign);
            }
        }
        Ok(())
    }

    pub(super) fn plan_output(
        &self,
        stage: &Path,
        output: &OutputRecord,
        plan: &mut Plan,
    ) -> Result<(), StoreError> {
        let path = stage.join(&output.file);
        if !leads_through_folders(stage, &path) {
            return Ok(());
        }
        if !output.folder {
            self.plan_file(&path, &output.digest, plan);
            return Ok(());
        }
        let Some(manifest) = self.manifest_of(&path, &output.digest)? else { return Ok(()) };
        for file in &manifest.files {
            let file_path = path.join(&file.path);
            if leads_through_folders(stage, &file_path) {
                self.plan_file(&file_path, &file.digest, plan);
            }
        }
        for empty in manifest.empty.iter().map(|empty| path.join(empty)) {
            if leads_through_folders(stage, &empty) {
                self.add_folders(&empty, plan);
            }
        }
        Ok(())
    }

    fn plan_file(&self, path: &Path, digest: &Digest, plan: &mut Plan) {
        if !is_file(path) {
            return;
        }
        if self.digest_path(path).is_ok_and(|there| there == *digest) {
            self.add(path, plan);
        } else {
            plan.kept.insert(path.to_owned(), Kept::Edited);
        }
    }

    fn add(&self, file: &Path, plan: &mut Plan) {
        plan.files.insert(file.to_owned());
        if let Some(parent) = file.parent() {
            self.add_folders(parent, plan);
        }
    }

    /// A folder and those that it is in, up to that of all artifacts.
    fn add_folders(&self, folder: &Path, plan: &mut Plan) {
        let below = folder.ancestors().take_while(|folder| *folder != self.root);
        plan.folders.extend(below.map(Path::to_owned));
    }

    /// What a folder that is an output should hold: from the cache, or as it is if that is the same.
    fn manifest_of(&self, path: &Path, digest: &Digest) -> Result<Option<Folder>, StoreError> {
        if let Some(manifest) = self.manifest(digest)? {
            return Ok(Some(manifest));
        }
        let read = |found: &super::folder::Found| Ok((self.digest_path(&found.path)?, found.metadata.len()));
        let there = Folder::walk(path, &read).ok();
        Ok(there.filter(|there| Digest::of_bytes(&there.to_bytes()) == *digest))
    }

    /// Removes the cache that lies beside the pipeline, and with `shared` the one that it shares, too.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove_all(&self, _alone: Alone<'_>, shared: bool) -> Result<(), StoreError> {
        if shared {
            remove(&self.shared)?;
        }
        remove(&self.folder)?;
        let cache = self.root.join("cache");
        remove(&cache.join(".gitignore"))?;
        // Something else may be in it.
        let _ = fs::remove_dir(cache);
        Ok(())
    }
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Whether no step from a folder to a path below it, the last one aside, is a link or missing.
fn leads_through_folders(folder: &Path, path: &Path) -> bool {
    path.ancestors().skip(1).take_while(|step| *step != folder).all(is_folder)
}
