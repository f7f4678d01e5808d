//! One run of a pipeline at a time, and one execution of a key at a time where several pipelines share a cache. The
//! kernel holds the locks and frees them when their holder dies, however it dies.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipeline::digest::Digest;

use super::action::remove;
use super::error::at;
use super::file::with_parent;
use super::stat::StatKey;
use super::{Durability, Store, StoreError};

/// A file that nobody has written to for so long is not being written any more.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Held while a run changes the store. Freed when dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// What the file system said of the file before it was written to: each holder does that.
    found: Option<StatKey>,
    /// Locked together with the other runs that use the same objects and records. `None` where the file cannot be made:
    /// then whoever collects there does not know of this run, and what goes missing is a miss.
    users: Option<File>,
}

impl Lock {
    /// What the file system said of its file before this holder wrote to it. Nobody held it since it said the same.
    pub(super) fn found(&self) -> Option<StatKey> {
        self.found
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Or the next holder goes by this number until it has written its own.
        let _ = self.file.set_len(0);
    }
}

/// Proof that nobody else uses the objects and records, in a shared folder either.
#[derive(Debug)]
pub struct Alone<'a> {
    _lock: &'a Lock,
}

impl Store {
    /// Waits until no other run uses the store, then clears what a killed one left behind. `waiting` is called once,
    /// with a line for the user, before it waits. Also where a store that cannot be written to is noticed first.
    ///
    /// # Errors
    /// When the store cannot be created or written to, or its file system has no locks.
    pub fn lock(&self, waiting: &mut dyn FnMut(&str)) -> Result<Lock, StoreError> {
        let mut file = loop {
            let file = self.lock_pipeline(waiting)?;
            // The last holder may have removed the cache between our opening and our locking.
            if is_at(&file, &self.lock_path()) {
                break file;
            }
        };
        let found = file.metadata().ok().map(|metadata| StatKey::of(&metadata));
        let written = write_process(&mut file);
        self.clear_leftovers()?;
        if written.is_err() {
            // What filled the disk may have been leftovers.
            write_process(&mut file).map_err(at("write", &self.lock_path()))?;
        }
        let users = self.lock_with_others(waiting)?;
        if self.is_shared() {
            self.register();
        }
        Ok(Lock { file, found, users })
    }

    fn lock_path(&self) -> PathBuf {
        self.folder.join("lock")
    }

    fn lock_pipeline(&self, waiting: &mut dyn FnMut(&str)) -> Result<File, StoreError> {
        fs::create_dir_all(&self.folder).map_err(at("create", &self.folder))?;
        let ignore = self.root.join("cache").join(".gitignore");
        // Whatever is there stays, and no link is written through.
        if fs::symlink_metadata(&ignore).is_err() {
            let text = b"# made by `pipe`: safe to delete, never to commit\n*\n";
            let written = regular::create(&ignore).and_then(|mut file| file.write_all(text));
            written.map_err(at("write", &ignore))?;
        }
        let path = self.lock_path();
        let mut file = regular::open_or_create(&path).map_err(at("write", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                if let Some(holder) = lasting_holder(&mut file) {
                    waiting(&format!("waiting for another run in this folder to end ({holder})"));
                    file.lock().map_err(at("lock", &path))?;
                }
            }
            Err(TryLockError::Error(error)) => return Err(at("lock", &path)(error)),
        }
        Ok(file)
    }

    /// Waits until no other run uses the objects and records. `waiting` is called as in [`Store::lock`].
    ///
    /// # Errors
    /// When the folder cannot be written to, or its file system has no locks.
    pub fn alone<'a>(
        &self,
        lock: &'a mut Lock,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Alone<'a>, StoreError> {
        let path = self.users_path();
        let users = match lock.users.take() {
            Some(users) => users,
            None => self.users_file().map_err(at("write", &path))?,
        };
        users.unlock().map_err(at("lock", &path))?;
        match users.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let who = self.busy_other().unwrap_or_else(|| "another process".into());
                waiting(&format!("waiting for a run that uses the same cache to end ({who})"));
                users.lock().map_err(at("lock", &path))?;
            }
            Err(TryLockError::Error(error)) => return Err(at("lock", &path)(error)),
        }
        lock.users = Some(users);
        Ok(Alone { _lock: lock })
    }

    /// Locks the objects and records together with other runs. `None` where the file for that cannot be made.
    fn lock_with_others(&self, waiting: &mut dyn FnMut(&str)) -> Result<Option<File>, StoreError> {
        let path = self.users_path();
        loop {
            let Ok(users) = self.users_file() else { return Ok(None) };
            match users.try_lock_shared() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    waiting("waiting for `pipe gc` of another pipeline that shares the cache to end");
                    users.lock_shared().map_err(at("lock", &path))?;
                }
                Err(TryLockError::Error(error)) => return Err(at("lock", &path)(error)),
            }
            // Whoever had it may have removed the whole cache.
            if is_at(&users, &path) {
                return Ok(Some(users));
            }
        }
    }

    fn users_path(&self) -> PathBuf {
        self.shared.join("users")
    }

    /// To read is enough to lock it, and others may have made it.
    fn users_file(&self) -> io::Result<File> {
        let path = self.users_path();
        match regular::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                with_parent(&path, || regular::open_or_create(&path))
            }
            opened => opened,
        }
    }

    fn clear_leftovers(&self) -> Result<(), StoreError> {
        remove(&self.folder.join("work"))?;
        remove(&self.folder.join("tmp"))?;
        if self.is_shared() {
            self.clear_old_temporaries();
        }
        self.clear_unfinished()?;
        self.clear_unfinished_figures();
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

impl Lock {
    /// The same as [`Store::alone`] where nobody has to be waited for. To be called when a run has nothing more to take
    /// from objects and records: where others use them, its own hold may be lost.
    pub fn try_alone(&mut self) -> Option<Alone<'_>> {
        let users = self.users.as_ref()?;
        users.unlock().ok()?;
        if users.try_lock().is_err() {
            let _ = users.try_lock_shared();
            return None;
        }
        Some(Alone { _lock: self })
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
            let mut file =
                with_parent(&path, || regular::open_or_create(&path)).map_err(at("write", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(TryKey::Held { by: process(&mut file) }),
                Err(TryLockError::Error(error)) => return Err(at("lock", &path)(error)),
            }
            // The last holder may have removed the name between our opening and our locking.
            if is_at(&file, &path) {
                write_process(&mut file).map_err(at("write", &path))?;
                return Ok(TryKey::Free(KeyLock { path, _file: file }));
            }
        }
    }

    /// Waits until a key is not being executed elsewhere any more, or until `give_up`.
    pub fn await_key(&self, key: &Digest, give_up: impl Fn() -> bool) {
        let path = self.shared.join("locks").join(key.to_string());
        let is_held = || match regular::open(&path) {
            Ok(file) => matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
            Err(_) => false,
        };
        while is_held() && !give_up() {
            std::thread::sleep(KEY_INTERVAL);
        }
    }
}

/// Whether an open file still has its name.
fn is_at(file: &File, path: &Path) -> bool {
    let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let ours = file.metadata().map(inode);
    fs::metadata(path).map(inode).is_ok_and(|there| ours.is_ok_and(|ours| ours == there))
}

/// How often a lock that is held is looked at before its holder is named, a millisecond apart. Whoever only looks
/// whether anything is to be done has it for less, and is no run to wait for.
const LOOKS_BEFORE_WAITING: usize = 20;

/// How often the number of a lock's holder is looked for, a millisecond apart. On a busy machine it may take long from
/// the lock to the number.
const LOOKS_FOR_NUMBER: usize = 2000;

const NAMELESS: &str = "another process";

/// Who holds a lock, in words, unless it comes free, and is taken, before that is known.
fn lasting_holder(file: &mut File) -> Option<String> {
    for look in 1..=LOOKS_FOR_NUMBER {
        std::thread::sleep(Duration::from_millis(1));
        if file.try_lock().is_ok() {
            return None;
        }
        if look >= LOOKS_BEFORE_WAITING
            && let Some(process) = written_process(file)
        {
            return Some(process);
        }
    }
    Some(NAMELESS.into())
}

/// Who holds a lock, in words. The number is missing for the moment in which the holder writes it.
pub(super) fn process(file: &mut File) -> String {
    for look in 0..LOOKS_BEFORE_WAITING {
        if look > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(process) = written_process(file) {
            return process;
        }
    }
    NAMELESS.into()
}

fn written_process(file: &mut File) -> Option<String> {
    let mut number = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut number)).ok()?;
    (!number.is_empty()).then(|| format!("process {number}"))
}

fn write_process(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}
