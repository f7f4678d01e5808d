//! One run at a time. The kernel holds the lock and frees it when its holder dies, however it dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};

use super::action::remove;
use super::error::at;
use super::{Store, StoreError};

/// Held while a run changes the store. Freed when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Store {
    /// Waits until no other run uses the store, then clears what a killed one left behind. `waiting` is called once,
    /// with a line for the user, before it waits. Also where a store that cannot be written to is noticed first.
    ///
    /// # Errors
    /// When the store cannot be created or written to, or its file system has no locks.
    pub fn lock(&self, waiting: &mut dyn FnMut(&str)) -> Result<Lock, StoreError> {
        fs::create_dir_all(&self.folder).map_err(at("create", &self.folder))?;
        let ignore = self.root.join("cache").join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "# made by `pipe`: safe to delete, never to commit\n*\n")
                .map_err(at("write", &ignore))?;
        }
        let path = self.folder.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(at("write", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                waiting(&holder(&mut file));
                file.lock().map_err(at("lock", &path))?;
            }
            Err(TryLockError::Error(error)) => return Err(at("lock", &path)(error)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .map_err(at("write", &path))?;
        self.clear_leftovers()?;
        Ok(Lock { _file: file })
    }

    fn clear_leftovers(&self) -> Result<(), StoreError> {
        for folder in ["tmp", "work"] {
            remove(&self.folder.join(folder))?;
        }
        let artifacts = self.root.join("artifacts");
        let Ok(stages) = fs::read_dir(&artifacts) else { return Ok(()) };
        for stage in stages {
            self.clear_unfinished(&stage.map_err(at("read", &artifacts))?.path())?;
        }
        Ok(())
    }
}

/// Who holds the lock, in words. The number is missing for the moment in which the holder writes it.
fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    match file.read_to_string(&mut pid) {
        Ok(_) if !pid.is_empty() => format!("waiting for another run in this folder to end (process {pid})"),
        _ => "waiting for another run in this folder to end".into(),
    }
}
