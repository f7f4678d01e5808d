//! One run of a pipeline at a time, and one execution of a key at a time where several pipelines share a cache. The
//! kernel holds the locks and frees them when their holder dies, however it dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use super::action::remove;
use super::error::at;
use super::file::with_parent;
use super::{Durability, Store, StoreError};
use crate::digest::Digest;

/// A file that nobody has written to for so long is not being written any more.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Held while a run changes the store. Freed when dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Or the next holder goes by this number until it has written its own.
        let _ = self.file.set_len(0);
    }
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
        let written = write_process(&mut file);
        self.clear_leftovers()?;
        if written.is_err() {
            // What filled the disk may have been leftovers.
            write_process(&mut file).map_err(at("write", &path))?;
        }
        Ok(Lock { file })
    }

    fn clear_leftovers(&self) -> Result<(), StoreError> {
        remove(&self.folder.join("work"))?;
        remove(&self.folder.join("tmp"))?;
        if self.is_shared() {
            self.clear_old_temporaries();
        }
        self.clear_unfinished()?;
        let mut last = self.last_keys();
        last.reload();
        if let Some(bytes) = last.compacted() {
            self.write(&self.folder.join("last-keys"), &bytes, Durability::Eventual)?;
            last.reload();
        }
        Ok(())
    }

    /// What killed runs left in a shared folder. Others may be writing there, so only what is old is taken for a
    /// leftover; one that stays costs space.
    fn clear_old_temporaries(&self) {
        for entry in fs::read_dir(self.shared.join("tmp")).into_iter().flatten().flatten() {
            let age = entry.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
            if age.is_ok_and(|age| age.is_ok_and(|age| age > ABANDONED)) {
                let _ = remove(&entry.path());
            }
        }
    }
}

/// Held while a key of a shared cache is executed. Freed when dropped.
#[derive(Debug)]
pub struct KeyLock {
    path: PathBuf,
    _file: File,
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // Whoever waits for it notices that the name has gone, and asks anew.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether a key can be executed.
#[derive(Debug)]
pub enum TryKey {
    /// It can, while the lock is held.
    Free(KeyLock),
    /// Another process is executing it.
    Held {
        /// Which one, in words.
        by: String,
    },
}

/// How often a key that is being executed elsewhere is looked at.
const KEY_INTERVAL: Duration = Duration::from_millis(20);

impl Store {
    /// Takes the lock of a key, if it is free.
    ///
    /// # Errors
    /// When the shared folder cannot be written to, or has no locks.
    pub fn try_key(&self, key: &Digest) -> Result<TryKey, StoreError> {
        let path = self.shared.join("locks").join(key.to_string());
        loop {
            let mut file = with_parent(&path, || {
                File::options().read(true).write(true).create(true).truncate(false).open(&path)
            })
            .map_err(at("write", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(TryKey::Held { by: process(&mut file) }),
                Err(TryLockError::Error(error)) => return Err(at("lock", &path)(error)),
            }
            let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
            let ours = file.metadata().map(inode).map_err(at("lock", &path))?;
            // The last holder may have removed the name between our opening and our locking.
            if fs::metadata(&path).map(inode).is_ok_and(|there| there == ours) {
                write_process(&mut file).map_err(at("write", &path))?;
                return Ok(TryKey::Free(KeyLock { path, _file: file }));
            }
        }
    }

    /// Waits until a key is not being executed elsewhere any more, or until `give_up`.
    pub fn await_key(&self, key: &Digest, give_up: impl Fn() -> bool) {
        let path = self.shared.join("locks").join(key.to_string());
        let is_held = || match File::open(&path) {
            Ok(file) => matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
            Err(_) => false,
        };
        while is_held() && !give_up() {
            std::thread::sleep(KEY_INTERVAL);
        }
    }
}

/// Who holds the lock of a pipeline, in words.
fn holder(file: &mut File) -> String {
    format!("waiting for another run in this folder to end ({})", process(file))
}

/// How often the number of a lock's holder is looked for, a millisecond apart.
const LOOKS_FOR_NUMBER: usize = 20;

/// Who holds a lock. The number is missing for the moment in which the holder writes it.
fn process(file: &mut File) -> String {
    for look in 0..LOOKS_FOR_NUMBER {
        if look > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut number = String::new();
        if file.rewind().and_then(|()| file.read_to_string(&mut number)).is_ok() && !number.is_empty() {
            return format!("process {number}");
        }
    }
    "another process".into()
}

fn write_process(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}
