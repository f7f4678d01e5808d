//! The content-addressed cache, and the artifacts made from it. Knows digests, records and files; knows nothing of how
//! a stage is executed.
//!
//! What belongs to one pipeline lies in `cache/v1` beside it:
//!
//! ```text
//! definitions/…    what pipelines said when they were run, by the digest of that
//! last-keys        which key each stage's artifacts came from: one line per change, the last one counts
//! live             what the run under way says of itself, or the last one in which something was executed
//! logs/STAGE       log of an execution that is under way, failed or was killed
//! manifests/…      what plugins said of themselves
//! resume/…         partial work, such as a download, of keys that are not finished
//! continue/…       what a stage can go on from whose key differs in a param that its op names
//! runs/…           one record per run
//! standing         what the last run came to, and what that rests on
//! standing-…       the pipeline as it was then, and the records of its stages
//! stat             (dev, inode, size, mtime, ctime) → digest
//! work/…           outputs being written; emptied when a run begins
//! lock             held while a run lasts
//! ```
//!
//! What any pipeline may use lies there too, or in a folder that several share:
//!
//! ```text
//! objects/ab/cd…   contents of files, and manifests of folders, by BLAKE3; read-only
//! actions/ab/cd…   one record per executed key
//! superseded/…     outcomes that another execution of the same key took the place of, for the runs that had them
//! tmp/…            what is being written
//! corrupt/…        objects and records that are damaged
//! locks/…          keys being executed, in a shared folder only
//! projects/…       folders of the pipelines that share it
//! salt             keys the digests of secrets in URLs; made when the first is met
//! users            locked by every run while it lasts, and by `pipe gc` for itself alone
//! verified         when everything here was read and compared last
//! size             about how many bytes objects and records take
//! ```
//!
//! Earlier versions kept `superseded` with the pipeline, where it is still read.
//!
//! **Order of writes.** A file of the store is written below `tmp/` and renamed, so it is there whole or not at all. A
//! finished stage becomes objects, then the record that names them, then artifacts, then `last`. Killed between any two
//! of these, the next run finds either no record, and executes the stage again, or a record with all its objects, and
//! restores the artifacts. Artifacts are never trusted because they exist: only their digest counts.
//!
//! **Torn writes.** After a power cut a rename may have outlived the data. Records end in a checksum and objects are
//! verified by digest before they reach an artifact, so a torn file is a miss, never a wrong hit; and the stat cache
//! forgets everything when the machine was started anew. Only what took long to make is synced: see
//! [`file::Durability`].
//!
//! **One writer.** Everything that changes artifacts happens under [`Store::lock`]. Objects and records of a shared
//! folder may be written by several runs at once: each is complete when it gets its name, and equal names mean equal
//! contents. Readers (`status`, `why`, `log`) take no lock; what they write, the stat cache and manifests of plugins,
//! is whole by rename and worthless by nature.
//!
//! Terms are those of `docs/glossary.md`.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod action;
mod artifacts;
mod aside;
mod batch;
mod clean;
mod collect;
mod definition;
mod error;
mod figures;
mod file;
mod folder;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod inventory;
mod known;
mod last;
mod left_out;
mod live;
mod lock;
mod look;
mod medium;
mod null_run;
mod object;
mod run;
mod sight;
mod snapshot;
mod stat;
mod superseded;
mod users;
mod verify;
mod writers;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

pub use action::{Finished, Hit, Lookup, Miss};
pub use artifacts::ARTIFACTS;
pub use aside::{Aside, free_name};
pub use clean::{Cleaned, Kept};
pub use collect::{Collection, Evicted};
pub use error::StoreError;
use error::at;
pub use figures::FigureFile;
pub use file::{Durability, Record, read_record};
pub use folder::is_inner;
pub use inventory::Unreadable;
use last::LastKeys;
pub use live::LiveFile;
pub use lock::{Alone, KeyLock, Lock, TryKey};
pub use null_run::{KeptRecord, NullRun, Records};
use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::spec::Ignore;
use record::OutputRecord;
pub use run::LostRun;
pub use sight::{Group, Seen, Sights, sights_by_stage};
pub use snapshot::{Snapshot, Touched};
use stat::StatCache;
use text::secret::Salt;
pub use verify::{Damage, Edited, Kind, Misremembered, Origin, Remedy, Step, Verification};
pub use writers::Holder;
pub use writers::check_proc;

/// Name of the file that holds the salt.
const SALT: &str = "salt";

/// The cache of one pipeline. Cheap to clone; clones share what they have read.
#[derive(Debug, Clone)]
pub struct Store {
    /// The pipeline's folder.
    root: PathBuf,
    /// `cache/v1` below it.
    folder: PathBuf,
    /// Where objects and records lie: `folder`, or one that several pipelines share.
    shared: PathBuf,
    stats: Arc<Mutex<StatCache>>,
    last: Arc<Mutex<LastKeys>>,
    /// Tells the names that this process makes from those of any other.
    instance: Arc<str>,
    /// Numbers them.
    serial: Arc<AtomicU64>,
    /// Whether the folder of logs is there for certain.
    has_logs: Arc<AtomicBool>,
    /// Bytes that this process has added to `shared` and not accounted for yet.
    grown: Arc<AtomicU64>,
    salt: Arc<Salt>,
    /// What was moved out of the way of artifacts, and not told yet.
    asides: Arc<Mutex<Vec<Aside>>>,
    /// Files that had other names when they were put into the store, as a stage leaves what it links into its outputs.
    linked: Arc<Mutex<HashSet<(u64, u64)>>>,
    /// What counts for nothing where it was added to an output that is a folder.
    ignore: Option<Ignore>,
}

impl Store {
    /// The store of the pipeline in `root`. Creates nothing; a cache that is not there yet is empty.
    ///
    /// # Errors
    /// When `cache` or `cache/v1` is there and is not a folder, or cannot be looked at.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let folder = root.join("cache").join("v1");
        for part in [root.join("cache"), folder.clone()] {
            is_folder_or_nothing(&part)?;
        }
        Ok(Self {
            root: root.to_owned(),
            stats: Arc::new(Mutex::new(StatCache::new(folder.join("stat")))),
            last: Arc::new(Mutex::new(LastKeys::new(folder.join("last-keys")))),
            shared: folder.clone(),
            salt: Arc::new(Salt::in_file(folder.join(SALT), false)),
            folder,
            instance: instance().into(),
            serial: Arc::default(),
            has_logs: Arc::default(),
            grown: Arc::default(),
            asides: Arc::default(),
            linked: Arc::default(),
            ignore: None,
        })
    }

    /// The same with objects and records in `cache`, where one is given: a folder that other pipelines may use at the same
    /// time. It need not be there yet.
    #[must_use]
    pub fn sharing(self, cache: Option<&Path>) -> Self {
        let Some(cache) = cache else { return self };
        let shared = cache.join("v1");
        // Absolute, because commands run elsewhere. Fails for an empty path only.
        let shared = std::path::absolute(&shared).unwrap_or(shared);
        Self { salt: Arc::new(Salt::in_file(shared.join(SALT), true)), shared, ..self }
    }

    /// The same where what `ignore` names counts for nothing when it was added to an output that is a folder, as by who reads it.
    /// What the stage itself made there counts, whatever its name.
    #[must_use]
    pub fn ignoring(self, ignore: &Ignore) -> Self {
        Self { ignore: Some(ignore.clone()), ..self }
    }

    /// Seals what is secret in keys and records of this cache.
    #[must_use]
    pub fn salt(&self) -> &Salt {
        &self.salt
    }

    /// Whether other pipelines may use the same objects and records.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared != self.folder
    }

    /// The store's folder, `cache/v1` below the pipeline's.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folders that it keeps everything in: its own, and that of objects and records where that is another.
    #[must_use]
    pub fn folders(&self) -> Vec<&Path> {
        let shared = self.is_shared().then_some(self.shared.as_path());
        [Some(self.folder.as_path()), shared].into_iter().flatten().collect()
    }

    /// Where the content of a file lies that was an output, if it is there: to be read, and for no longer than until
    /// something is collected. A folder lies nowhere in one piece.
    #[must_use]
    pub fn content(&self, output: &OutputRecord) -> Option<PathBuf> {
        (!output.folder && self.has_output(output)).then(|| self.object(&output.digest))
    }

    /// Where objects lie.
    #[must_use]
    pub fn objects_folder(&self) -> PathBuf {
        self.shared.join("objects")
    }

    /// Where action records lie.
    #[must_use]
    pub fn records_folder(&self) -> PathBuf {
        self.shared.join("actions")
    }

    /// Where the outputs of a stage lie.
    #[must_use]
    pub fn artifacts(&self, stage: &StageName) -> PathBuf {
        self.root.join(ARTIFACTS).join(stage.as_str())
    }

    /// Which start of the machine this is.
    #[must_use]
    pub fn boot(&self) -> Digest {
        stat::boot()
    }

    fn last_keys(&self) -> MutexGuard<'_, LastKeys> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats(&self) -> MutexGuard<'_, StatCache> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name that nothing else uses for what is to become `path`: below the `tmp` of the pipeline or of the shared
    /// folder, so that it is on the same file system.
    fn temporary_for(&self, path: &Path) -> PathBuf {
        let folder = if path.starts_with(&self.shared) { &self.shared } else { &self.folder };
        folder.join("tmp").join(self.unique())
    }

    /// A name that nothing else uses for what is to become an object.
    fn temporary(&self) -> PathBuf {
        self.shared.join("tmp").join(self.unique())
    }

    /// A name that no other call and no other process makes.
    fn unique(&self) -> String {
        format!("{}-{}", self.instance, self.serial.fetch_add(1, Ordering::Relaxed))
    }
}

/// Refuses whatever else is where a folder belongs, and a link that leads to none.
///
/// # Errors
/// When something else is there, or it cannot be looked at.
fn is_folder_or_nothing(path: &Path) -> Result<(), StoreError> {
    let what = match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => return Ok(()),
        Ok(there) => regular::kind(there.file_type()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match std::fs::symlink_metadata(path) {
            Ok(there) if there.is_symlink() => "a link that leads nowhere",
            _ => return Ok(()),
        },
        Err(error) => return Err(at("look at", path)(error)),
    };
    Err(StoreError::NotAFolder { path: path.to_owned(), what })
}

/// Process and time: processes of different containers may have the same number.
fn instance() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{:x}", std::process::id(), now.as_nanos())
}

/// Whether a name is one that [`Store::unique`] makes.
fn is_unique(name: &str) -> bool {
    let mut parts = name.split('-');
    let mut is = |radix: u32| {
        parts.next().is_some_and(|part| !part.is_empty() && part.chars().all(|c| c.is_digit(radix)))
    };
    is(10) && is(16) && is(10) && parts.next().is_none()
}

/// `ab/cd…`: no folder gets too long.
fn fan_out(digest: &Digest) -> PathBuf {
    let hex = digest.to_string();
    let (first, rest) = hex.split_at(2);
    Path::new(first).join(rest)
}

#[cfg(test)]
mod tests;
