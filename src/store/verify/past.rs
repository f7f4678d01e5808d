//! Checks what is kept for the pages of earlier runs, beside the records of these.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Damage, Kind, Remedy, Verification, not_ours};
use crate::digest::Digest;
use crate::record::ActionRecord;
use crate::store::file::{Record, read_record};
use crate::store::inventory::entries;
use crate::store::{Store, StoreError};

impl Store {
    /// Checks what pipelines said when they were run.
    pub(super) fn check_definitions(&self, mend: bool, found: &mut Verification) -> Result<(), StoreError> {
        for path in entries(&self.definitions_folder())? {
            let digest = stem(&path).parse::<Digest>().ok();
            let Some(digest) = digest.filter(|digest| self.definition_file(digest) == path) else {
                found.notes.push(not_ours(&path));
                continue;
            };
            let aside = format!("definition-{digest}.json");
            if let Some((problem, remedy)) = self.fault(self.read_definition(&digest), &path, &aside, mend)? {
                let (kind, name, of) = (Kind::Definition, digest.to_string(), BTreeSet::new());
                found.damage.push(Damage { kind, name, problem, of, remedy });
            }
        }
        Ok(())
    }

    /// Checks outcomes that others took the place of.
    pub(super) fn check_superseded(&self, mend: bool, found: &mut Verification) -> Result<(), StoreError> {
        for folder in entries(&self.all_superseded())? {
            let Ok(key) = stem(&folder).parse::<Digest>() else {
                found.notes.push(not_ours(&folder));
                continue;
            };
            for path in entries(&folder)? {
                let record = match read_record::<ActionRecord>(&path) {
                    Record::Whole(record) if !record.is_sound(&key) => Record::Damaged,
                    record => record,
                };
                let aside = format!("superseded-{key}-{}.json", stem(&path));
                if let Some((problem, remedy)) = self.fault(record, &path, &aside, mend)? {
                    let (kind, name, of) = (Kind::Superseded, key.to_string(), BTreeSet::new());
                    found.damage.push(Damage { kind, name, problem, of, remedy });
                }
            }
        }
        Ok(())
    }

    /// What is wrong with a file that was read, and what was done about it: with `mend` it is moved to `aside`.
    fn fault<T>(
        &self,
        read: Record<T>,
        path: &Path,
        aside: &str,
        mend: bool,
    ) -> Result<Option<(String, Remedy)>, StoreError> {
        Ok(match read {
            Record::Whole(_) | Record::Absent => None,
            // It may be whole, and stays where it is.
            Record::Unreadable(why) => Some((format!("cannot be read: {why}"), Remedy::None)),
            Record::Damaged if mend => Some(("is damaged".into(), self.set_aside(path, aside)?)),
            Record::Damaged => Some(("is damaged".into(), Remedy::None)),
        })
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
