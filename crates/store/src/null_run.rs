//! The file in which the outcome of the last run is kept, with the sights that it rests on. Knows nothing of what it says.

use std::path::PathBuf;

use super::error::at;
use super::sight::{self, Sights};
use super::{Durability, Store, StoreError};

impl Store {
    /// Keeps a text together with the sights that it rests on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_null_run(&self, text: &[u8], sights: &Sights) -> Result<(), StoreError> {
        self.write(&self.null_run_file(), &sight::seal(text, sights), Durability::Eventual)
    }

    /// Forgets the text that was kept last.
    ///
    /// # Errors
    /// When there is one that cannot be removed.
    pub fn forget_null_run(&self) -> Result<(), StoreError> {
        let file = self.null_run_file();
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at("remove", &file)(error)),
            _ => Ok(()),
        }
    }

    /// Gives the text that was kept last, and its sights, to `judge`. `None` where there is none, it is damaged, or a run
    /// is under way.
    pub fn with_null_run<T>(&self, judge: impl FnOnce(&[u8], &[u8]) -> Option<T>) -> Option<T> {
        let lock = regular::open(&self.folder.join("lock")).ok()?;
        lock.try_lock_shared().ok()?;
        let bytes = regular::read(&self.null_run_file()).ok()?;
        let (text, sights) = sight::unseal(&bytes)?;
        judge(text, sights)
    }

    fn null_run_file(&self) -> PathBuf {
        self.folder.join("standing")
    }
}
