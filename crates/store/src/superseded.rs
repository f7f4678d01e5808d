//! Outcomes that another execution of the same key has taken the place of, as where a stage was forced or its outcome was
//! provisional. No lookup finds them; they are kept because runs were recorded with them: pages of these runs, and gates that
//! compare with them, must not tell of what came later. They lie where the records of keys do, for the run that had one may be
//! another pipeline's than the run that took its place. They stay as long as the runs do.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use pipeline::digest::Digest;
use record::{ActionRecord, Outcome, RunRecord, StageRun};

use super::action::{is_sound, remove};
use super::file::{Durability, Record, read_record, seal};
use super::inventory::{Unreadable, entries, or_note};
use super::{Store, StoreError};

/// Name of the folder of all of them.
const FOLDER: &str = "superseded";

/// Only where a key has more of them, those that no run shows are looked for while a run lasts.
const MANY: usize = 16;

impl Store {
    /// All outcomes that a key has had, as far as they are known, the latest first. Their objects may be gone.
    #[must_use]
    pub fn outcomes(&self, key: &Digest) -> Vec<ActionRecord> {
        let files = self.superseded_of(key);
        let mut earlier: Vec<ActionRecord> = (files.iter())
            .filter_map(|file| {
                read_record::<ActionRecord>(file).whole().filter(|record| is_sound(record, key))
            })
            .collect();
        earlier.sort_by(|one, other| (&other.run, other.started_ms).cmp(&(&one.run, one.started_ms)));
        earlier.dedup();
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
                let sealed =
                    seal(&record).map_err(|source| StoreError::Json { path: path.clone(), source })?;
                self.write(&path, &sealed, Durability::of_ms(record.duration_ms))?;
                self.grew(sealed.len() as u64);
                self.thin_out(key, &path);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Removes those of a key that no run on record shows, where they are many. `latest` stays: a run that is under way may
    /// have it, while all others are found by no run that begins now.
    fn thin_out(&self, key: &Digest, latest: &Path) {
        let files = self.superseded_of(key);
        let Ok(others) = self.others() else { return };
        if files.len() <= MANY || Self::busy_among(&others).is_some() {
            return;
        }
        let mut doubts = Vec::new();
        let runs = self.all_runs(&others, &mut doubts);
        if doubts.is_empty() {
            for file in files.iter().filter(|file| *file != latest && is_of_none(file, key, &runs)) {
                // The next one is kept all the same.
                let _ = remove(file);
            }
        }
    }

    /// The runs on record of this pipeline and of `others`, which use the same cache. What cannot be read is noted.
    pub(super) fn all_runs(&self, others: &[PathBuf], doubts: &mut Vec<Unreadable>) -> Vec<RunRecord> {
        let folders = others.iter().map(|root| root.join("cache").join("v1").join("runs"));
        let mut runs = Vec::new();
        for folder in folders.chain([self.runs_folder()]) {
            for path in or_note(entries(&folder), &folder, doubts) {
                match read_record::<RunRecord>(&path) {
                    _ if path.extension().is_none_or(|extension| extension != "json") => {}
                    Record::Whole(run) => runs.push(run),
                    Record::Unreadable(why) => doubts.push(Unreadable::new(&path, why)),
                    // One that is damaged has no page.
                    Record::Damaged | Record::Absent => {}
                }
            }
        }
        runs
    }

    /// Those that none of `runs` shows.
    pub(super) fn superseded_of_none(
        &self,
        runs: &[RunRecord],
        unreadable: &mut Vec<Unreadable>,
    ) -> Vec<PathBuf> {
        let keys: HashSet<Digest> =
            runs.iter().flat_map(|run| run.stages.iter().filter_map(|stage| stage.key)).collect();
        let mut found = Vec::new();
        let mut read = |folder: &Path| or_note(entries(folder), folder, unreadable);
        let folders: Vec<PathBuf> = self.all_superseded().iter().flat_map(|all| read(all)).collect();
        for folder in folders {
            // What has another name is nothing of ours.
            let name = folder.file_stem().and_then(|name| name.to_str());
            let Some(key) = name.and_then(|name| name.parse::<Digest>().ok()) else { continue };
            if !keys.contains(&key) {
                found.push(folder);
                continue;
            }
            let with_it: Vec<RunRecord> = (runs.iter())
                .filter(|run| run.stages.iter().any(|stage| stage.key == Some(key)))
                .cloned()
                .collect();
            found.extend(read(&folder).into_iter().filter(|file| is_of_none(file, &key, &with_it)));
        }
        found
    }

    /// Bytes of those in the folder that may be shared.
    pub(super) fn superseded_bytes(&self) -> u64 {
        let walk = walkdir::WalkDir::new(self.shared.join(FOLDER)).into_iter().flatten();
        let files = walk.filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file);
        files.map(|file| file.len()).sum()
    }

    fn superseded_of(&self, key: &Digest) -> Vec<PathBuf> {
        let folders = self.all_superseded().into_iter().map(|all| all.join(key.to_string()));
        folders.flat_map(|folder| entries(&folder).unwrap_or_default()).collect()
    }

    pub(super) fn superseded_folder(&self, key: &Digest) -> PathBuf {
        self.shared.join(FOLDER).join(key.to_string())
    }

    /// Where they lie, and where earlier versions kept them of a cache that is shared.
    pub(super) fn all_superseded(&self) -> Vec<PathBuf> {
        let earlier = self.is_shared().then(|| self.folder.join(FOLDER));
        [self.shared.join(FOLDER)].into_iter().chain(earlier).collect()
    }
}

/// Whether a file holds an outcome that no run shows. Nothing is said of one that is not whole.
fn is_of_none(file: &Path, key: &Digest, runs: &[RunRecord]) -> bool {
    let Record::Whole(record) = read_record::<ActionRecord>(file) else { return false };
    let took_over = |stage: &StageRun| stage.key == Some(*key) && stage.outcome != Outcome::Ran;
    // A run that took it over shows it as well as the run that made it.
    !runs.iter().any(|run| run.id == record.run || run.stages.iter().any(took_over))
}
