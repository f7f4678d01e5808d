//! Artifacts: the outputs of a stage where users look for them. Copies of objects; put in place by rename.

use std::fs;

use super::action::remove;
use super::error::at;
use super::folder::is_executable;
use super::{Store, StoreError};
use crate::record::{ActionRecord, OutputRecord};
use crate::spec::StageName;

/// Start of the names of copies that are not in place yet.
const UNFINISHED: &str = ".pipe-";

impl Store {
    /// Whether a stage's artifacts are exactly the outputs of `record`. Says no where it cannot tell.
    #[must_use]
    pub fn is_in_place(&self, stage: &StageName, record: &ActionRecord) -> bool {
        record.outputs.values().all(|output| self.is_output_in_place(stage, output))
    }

    fn is_output_in_place(&self, stage: &StageName, output: &OutputRecord) -> bool {
        let path = self.artifacts(stage).join(&output.file);
        let Ok(metadata) = fs::metadata(&path) else { return false };
        let same_kind =
            metadata.is_dir() == output.folder && (output.folder || metadata.len() == output.bytes);
        same_kind
            && (output.folder || is_executable(&metadata) == output.executable)
            && self.digest_path(&path).is_ok_and(|digest| digest == output.digest)
    }

    /// Whether everything that [`Store::restore`] needs is there, with the right length.
    #[must_use]
    pub fn is_complete(&self, record: &ActionRecord) -> bool {
        record.outputs.values().all(|output| self.has_output(output))
    }

    /// Makes a stage's artifacts the outputs of `record`: those that are not in place are copied out of the store and
    /// verified, then those of the stage's last record that are not outputs any more are removed, then the copies get
    /// their names. Other files in the folder are left alone.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when an object is missing or damaged: the artifacts are as they were, and the record is
    /// to be discarded. Any other error when a file cannot be written.
    pub fn restore(&self, stage: &StageName, record: &ActionRecord) -> Result<(), StoreError> {
        let folder = self.artifacts(stage);
        if !record.outputs.is_empty() {
            fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        }
        let mut copies = Vec::new();
        let copied =
            record.outputs.values().filter(|output| !self.is_output_in_place(stage, output)).try_for_each(
                |output| {
                    let copy = folder.join(format!("{UNFINISHED}{}", self.unique()));
                    copies.push((copy.clone(), folder.join(&output.file)));
                    self.take(output, &copy)
                },
            );
        if let Err(error) = copied {
            for (copy, _) in copies {
                // The error at hand says more than one of tidying up.
                let _ = remove(&copy);
            }
            return Err(error);
        }
        let last = self.last(stage);
        for old in last.iter().flat_map(|last| last.outputs.values()) {
            if !record.outputs.values().any(|output| output.file == old.file) {
                remove(&folder.join(&old.file))?;
            }
        }
        for (copy, path) in copies {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(at("create", parent))?;
            }
            if path.is_dir() || copy.is_dir() {
                remove(&path)?;
            }
            fs::rename(&copy, &path).map_err(at("write", &path))?;
            // Hashed by `flush`, when the file is old enough to be remembered.
            self.stats().remember_later(&path);
        }
        self.set_last(stage, &record.key)
    }

    /// Removes copies that a killed run left in a stage's folder.
    pub(super) fn clear_unfinished(&self, stage: &std::path::Path) -> Result<(), StoreError> {
        let Ok(entries) = fs::read_dir(stage) else { return Ok(()) };
        for entry in entries {
            let entry = entry.map_err(at("read", stage))?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}
