//! What pipelines said when they were run, by the digest of the text: many runs of one pipeline share a file. They
//! stay as long as the records of runs that name them.

use std::io;
use std::path::PathBuf;

use pipeline::digest::Digest;
use record::Definition;

use super::file::{Durability, Record};
use super::{Store, StoreError};

impl Store {
    /// Keeps what a pipeline says, for the record of a run to name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_definition(&self, definition: &Definition) -> Result<Digest, StoreError> {
        let folder = self.definitions_folder();
        let json = |source| StoreError::Json { path: folder, source };
        let (digest, bytes) = definition.to_bytes().map_err(json)?;
        let path = self.definition_file(&digest);
        if !regular::read(&path).is_ok_and(|there| there == bytes) {
            self.write(&path, &bytes, Durability::Synced)?;
        }
        Ok(digest)
    }

    /// What the pipeline said whose text has that digest. `None` where it is not there, damaged, or cannot be read.
    #[must_use]
    pub fn definition(&self, digest: &Digest) -> Option<Definition> {
        self.read_definition(digest).whole()
    }

    pub(super) fn read_definition(&self, digest: &Digest) -> Record<Definition> {
        match regular::read(&self.definition_file(digest)) {
            Ok(bytes) if Digest::of_bytes(&bytes) == *digest => {
                serde_json::from_slice(&bytes).map_or(Record::Damaged, Record::Whole)
            }
            Ok(_) => Record::Damaged,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Record::Absent,
            Err(error) => Record::Unreadable(error.to_string()),
        }
    }

    pub(super) fn definition_file(&self, digest: &Digest) -> PathBuf {
        self.definitions_folder().join(format!("{digest}.json"))
    }

    pub(super) fn definitions_folder(&self) -> PathBuf {
        self.folder.join("definitions")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use record::sample;

    #[test]
    fn what_is_kept_is_found_and_what_was_changed_is_not() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let definition = Definition::of(&sample::tinynet().pipeline);
        let digest = store.keep_definition(&definition).unwrap();
        assert_eq!(store.definition(&digest), Some(definition.clone()));
        assert_eq!(store.definition(&Digest::of_bytes(b"another")), None);
        // Whole, but another one.
        fs::write(store.definition_file(&digest), "{}").unwrap();
        assert_eq!(store.definition(&digest), None);
        assert_eq!(store.keep_definition(&definition).unwrap(), digest, "the same name again");
        assert_eq!(store.definition(&digest), Some(definition));
        assert_eq!(fs::read_dir(store.definitions_folder()).unwrap().count(), 1);
    }
}
