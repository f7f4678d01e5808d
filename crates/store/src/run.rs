//! Records of runs, for reports and history.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::{fs, io};

use record::RunRecord;
use schemars::JsonSchema;
use serde::Serialize;
use text::clock::now_ms;
use text::secret::{hidden, hidden_in};

use super::error::at;
use super::file::{Durability, Record, read_record, unseal};
use super::{Store, StoreError};

/// A run whose record tells nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LostRun {
    /// Its id.
    pub id: String,
    /// What is the matter with its record.
    pub problem: String,
}

impl Store {
    /// An id for a run that begins now: unique, because a folder has one run at a time, and after those of all earlier
    /// runs, also where the clock was set back. To be called under [`Store::lock`].
    #[must_use]
    pub fn next_run_id(&self) -> String {
        let files = self.run_files().unwrap_or_default();
        let last = files.last().and_then(|path| {
            let (started_ms, _) = path.file_stem()?.to_str()?.split_once('-')?;
            started_ms.parse::<u64>().ok()
        });
        let after = last.map_or(0, |last| last.saturating_add(1));
        format!("{:013}-{}", now_ms().max(after), std::process::id())
    }

    /// Keeps the record of a run, without what is secret in URLs.
    ///
    /// # Errors
    /// When it cannot be written, or its id is not a file name.
    pub fn save_run(&self, run: &RunRecord) -> Result<(), StoreError> {
        if run.id.contains('/') || !super::folder::is_inner(&run.id) {
            return Err(StoreError::Name { name: run.id.clone() });
        }
        let path = self.runs_folder().join(format!("{}.json", run.id));
        // To lose the record of a moment to a power cut costs less than to wait for the disk after each.
        self.write_record(&path, &hidden_in(run.clone()), Durability::of_ms(run.duration_ms))
    }

    /// All runs, first to last, and those of which nothing is known but that they were.
    ///
    /// # Errors
    /// When the folder of records cannot be read.
    pub fn runs(&self) -> Result<(Vec<RunRecord>, Vec<LostRun>), StoreError> {
        let (mut runs, mut lost) = (Vec::new(), Vec::new());
        for path in self.run_files()? {
            let problem = match read_record(&path) {
                Record::Whole(run) => {
                    runs.push(hidden_in(run));
                    continue;
                }
                Record::Absent => continue,
                Record::Damaged => "is damaged".to_owned(),
                Record::Unreadable(why) => format!("cannot be read: {why}"),
            };
            let id = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            lost.push(LostRun { id, problem });
        }
        Ok((runs, lost))
    }

    /// The last run whose record is whole of the pipeline that has this name on record: others may lie in the same folder.
    ///
    /// # Errors
    /// When the folder of records cannot be read.
    pub fn latest_run(&self, pipeline: &str) -> Result<Option<RunRecord>, StoreError> {
        let files = self.run_files()?;
        let mut runs = files.iter().rev().filter_map(|path| read_run(path));
        Ok(runs.find(|run| run.pipeline == pipeline))
    }

    /// The run of an id, if its record is whole.
    #[must_use]
    pub fn run(&self, id: &str) -> Option<RunRecord> {
        if id.contains('/') || !super::folder::is_inner(id) {
            return None;
        }
        read_run(&self.runs_folder().join(format!("{id}.json")))
    }

    /// Runs whose records are whole, last to first, read one by one. None where they cannot be listed.
    pub fn latest_runs(&self) -> impl Iterator<Item = RunRecord> {
        let files = self.run_files().unwrap_or_default();
        files.into_iter().rev().filter_map(|path| read_run(&path))
    }

    /// Ids of all runs on record, first to last, whether or not their records are whole. None where they cannot be listed.
    #[must_use]
    pub fn run_ids(&self) -> Vec<String> {
        let files = self.run_files().unwrap_or_default();
        files.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
    }

    pub(super) fn run_files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let folder = self.runs_folder();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(at("read", &folder))?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(at("read", &folder))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    pub(super) fn runs_folder(&self) -> PathBuf {
        self.folder.join("runs")
    }
}

/// The record of a run, if it is whole, without secrets of URLs, which earlier versions kept.
fn read_run(path: &Path) -> Option<RunRecord> {
    let bytes = regular::read(path).ok()?;
    let run: RunRecord = unseal(&bytes)?;
    // Few hold any, and looking at the text costs less than writing it anew.
    let is_held = matches!(hidden(&String::from_utf8_lossy(&bytes)), Cow::Owned(_));
    Some(if is_held { hidden_in(run) } else { run })
}
