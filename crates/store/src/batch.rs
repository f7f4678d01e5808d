//! Many files that are to outlive a power cut together: synced once, when all of them are written, and not one by one. Knows
//! nothing of what they hold.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::file::Durability;

/// A sync of one file waits for the disk once or twice; that of a whole file system as often, and writes what others have
/// not written yet.
const WORTH_ALL: usize = 32;

/// Files, each by its path once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    files: Mutex<BTreeSet<PathBuf>>,
}

/// What has to be synced.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Each(BTreeSet<PathBuf>),
    /// The file system that this file is on.
    All(PathBuf),
}

impl Batch {
    pub(super) fn add(&self, file: PathBuf) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(file);
    }

    /// Sees to it that the files are as durable as that.
    ///
    /// # Errors
    /// When one cannot be opened or synced.
    pub(super) fn settle(self, durability: Durability) -> io::Result<()> {
        if durability == Durability::Eventual {
            return Ok(());
        }
        let files = self.files.into_inner().unwrap_or_else(PoisonError::into_inner);
        match plan(files) {
            Plan::Each(files) => files.into_par_iter().try_for_each(|file| sync(&file)),
            Plan::All(file) => Ok(rustix::fs::syncfs(regular::open(&file)?)?),
        }
    }
}

fn plan(files: BTreeSet<PathBuf>) -> Plan {
    match files.first() {
        Some(first) if files.len() >= WORTH_ALL => Plan::All(first.clone()),
        _ => Plan::Each(files),
    }
}

fn sync(file: &Path) -> io::Result<()> {
    regular::open(file)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(count: usize) -> BTreeSet<PathBuf> {
        (0..count).map(|number| PathBuf::from(number.to_string())).collect()
    }

    #[test]
    fn few_files_are_synced_each_and_many_together() {
        assert_eq!(plan(paths(0)), Plan::Each(paths(0)));
        assert_eq!(plan(paths(31)), Plan::Each(paths(31)));
        assert_eq!(plan(paths(60_000)), Plan::All("0".into()));
    }

    #[test]
    fn what_cannot_be_synced_is_an_error_and_what_need_not_is_not_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        for count in [1, 100] {
            let batch = || {
                let batch = Batch::default();
                (0..count).for_each(|number| batch.add(folder.path().join(format!("{number}"))));
                batch
            };
            assert!(batch().settle(Durability::Synced).is_err());
            batch().settle(Durability::Eventual).unwrap();
            (0..count)
                .for_each(|number| std::fs::write(folder.path().join(format!("{number}")), "x").unwrap());
            batch().settle(Durability::Synced).unwrap();
            (0..count)
                .for_each(|number| std::fs::remove_file(folder.path().join(format!("{number}"))).unwrap());
        }
    }

    #[test]
    fn what_is_no_file_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        for count in [1, 100] {
            let batch = Batch::default();
            for number in 0..count {
                let path = folder.path().join(format!("{count}-{number}"));
                rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
                batch.add(path);
            }
            let error = batch.settle(Durability::Synced).unwrap_err().to_string();
            assert!(error.contains("FIFO"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_added_twice_is_one() {
        let batch = Batch::default();
        (0..100).for_each(|_| batch.add("same".into()));
        assert_eq!(batch.files.into_inner().unwrap().len(), 1);
    }
}
