//! Checks the records of runs, and what is kept for their pages.

use std::path::Path;

use pipeline::digest::Digest;
use record::{ActionRecord, RunRecord};

use super::{Damage, Kind, Remedy, Verification, not_ours};
use crate::action::is_sound;
use crate::file::{Record, read_record};
use crate::inventory::or_note;
use crate::{Store, StoreError};

impl Store {
    /// Checks the records of runs.
    pub(super) fn check_runs(&self, mend: bool, found: &mut Verification) -> Result<(), StoreError> {
        let mut unreadable = Vec::new();
        let files = or_note(self.run_files(), &self.runs_folder(), &mut unreadable);
        self.tell_unreadable(&unreadable, found);
        for path in files {
            found.runs += 1;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let (problem, remedy) = match read_record::<RunRecord>(&path) {
                Record::Whole(run) if run.id == name => continue,
                Record::Absent => continue,
                // It may be whole, and stays where it is.
                Record::Unreadable(why) => (format!("cannot be read: {why}"), Remedy::None),
                Record::Whole(_) | Record::Damaged if mend => {
                    ("is damaged".to_owned(), self.set_aside(&path, &format!("run-{name}.json"))?)
                }
                Record::Whole(_) | Record::Damaged => ("is damaged".to_owned(), Remedy::None),
            };
            found.damage.push(Damage::alone(Kind::Run, name, problem, remedy));
        }
        Ok(())
    }

    /// Checks what pipelines said when they were run.
    pub(super) fn check_definitions(&self, mend: bool, found: &mut Verification) -> Result<(), StoreError> {
        for path in self.entries_or_tell(&self.definitions_folder(), found) {
            let digest = stem(&path).parse::<Digest>().ok();
            let Some(digest) = digest.filter(|digest| self.definition_file(digest) == path) else {
                found.notes.push(not_ours(&path));
                continue;
            };
            let aside = format!("definition-{digest}.json");
            if let Some((problem, remedy)) = self.fault(self.read_definition(&digest), &path, &aside, mend)? {
                found.damage.push(Damage::alone(Kind::Definition, digest.to_string(), problem, remedy));
            }
        }
        Ok(())
    }

    /// Checks outcomes that others took the place of.
    pub(super) fn check_superseded(&self, mend: bool, found: &mut Verification) -> Result<(), StoreError> {
        let all: Vec<_> =
            self.all_superseded().iter().flat_map(|all| self.entries_or_tell(all, found)).collect();
        for folder in all {
            let Ok(key) = stem(&folder).parse::<Digest>() else {
                found.notes.push(not_ours(&folder));
                continue;
            };
            for path in self.entries_or_tell(&folder, found) {
                let record = match read_record::<ActionRecord>(&path) {
                    Record::Whole(record) if !is_sound(&record, &key) => Record::Damaged,
                    record => record,
                };
                let aside = format!("superseded-{key}-{}.json", stem(&path));
                if let Some((problem, remedy)) = self.fault(record, &path, &aside, mend)? {
                    found.damage.push(Damage::alone(Kind::Superseded, key.to_string(), problem, remedy));
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
