//! Outcomes that another execution of the same key has taken the place of, as where a stage was forced or its outcome was
//! provisional. No lookup finds them; they are kept because runs were recorded with them: pages of these runs, and gates that
//! compare with them, must not tell of what came later. They stay as long as the runs do.

use std::path::PathBuf;

use super::file::{Durability, Record, read_record};
use super::inventory::entries;
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::record::ActionRecord;

impl Store {
    /// All outcomes that a key has had, as far as they are known, the latest first. Their objects may be gone.
    #[must_use]
    pub fn outcomes(&self, key: &Digest) -> Vec<ActionRecord> {
        let files = entries(&self.superseded_folder(key)).unwrap_or_default();
        let mut earlier: Vec<ActionRecord> = (files.iter())
            .filter_map(|file| {
                read_record::<ActionRecord>(file).whole().filter(|record| record.is_sound(key))
            })
            .collect();
        earlier.sort_by(|one, other| (&other.run, other.started_ms).cmp(&(&one.run, one.started_ms)));
        let now = self.record(key);
        // A kill may have come between keeping one and putting another in its place.
        earlier.retain(|record| Some(record) != now.as_ref());
        now.into_iter().chain(earlier).collect()
    }

    /// Keeps the outcome that a key has now, if `run` is about to put another one in its place.
    pub(super) fn supersede(&self, key: &Digest, run: &str) -> Result<(), StoreError> {
        match self.action(key) {
            Record::Whole(record) if record.run != run => {
                let name = Digest::of_bytes(record.run.as_bytes());
                let path = self.superseded_folder(key).join(format!("{name}.json"));
                self.write_record(&path, &record, Durability::of_ms(record.duration_ms))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn superseded_folder(&self, key: &Digest) -> PathBuf {
        self.all_superseded().join(key.to_string())
    }

    pub(super) fn all_superseded(&self) -> PathBuf {
        self.folder.join("superseded")
    }
}
