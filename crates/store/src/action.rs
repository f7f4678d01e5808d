//! Action records: what executing a key gave. Only a [`Miss`] can be committed, and only looking a key up, or
//! discarding what was found, gives one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use pipeline::StageName;
use pipeline::digest::Digest;
use protocol::{Figure, Metric, Partial};
use record::key::{Key, digest_of};
use record::{ActionRecord, Machine, Pace};
use text::secret::{hidden, hidden_in};

use super::error::at;
use super::file::{Durability, Record, read_record, seal, with_parent};
use super::folder::is_inner;
use super::{Store, StoreError, fan_out};

/// No statement of partial work is longer.
const MOST_OF_PARTIAL: u64 = 4096;

/// What the cache knows of a key.
#[derive(Debug)]
pub enum Lookup {
    /// Its outcome.
    Hit(Box<Hit>),
    /// Nothing.
    Miss(Miss),
}

/// The outcome of a key, in the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Its record. All its outputs are in the store.
    pub record: ActionRecord,
    key: Key,
    stage: StageName,
}

impl Hit {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Gives the outcome up: for a forced run, or when an output turned out to be damaged.
    #[must_use]
    pub fn discard(self, warning: Option<String>) -> Miss {
        Miss { key: self.key, stage: self.stage, warning, provisional: None }
    }
}

/// A key that has no outcome in the cache. The only thing that can be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    key: Key,
    stage: StageName,
    warning: Option<String>,
    provisional: Option<String>,
}

impl Miss {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The stage that is to be executed.
    #[must_use]
    pub fn stage(&self) -> &StageName {
        &self.stage
    }

    /// Set where the cache had an outcome that cannot be used: what is wrong with it.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Set where the cache has an outcome that is no answer: what the op said of it.
    #[must_use]
    pub fn provisional(&self) -> Option<&str> {
        self.provisional.as_deref()
    }
}

/// A finished execution, to be committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// Outputs by name: file name below the stage's folder, and where it lies now. It is moved from there.
    pub outputs: BTreeMap<String, (String, PathBuf)>,
    /// Metrics by dotted name.
    pub metrics: BTreeMap<String, Metric>,
    /// Figures in the order sent.
    pub figures: Vec<Figure>,
    /// The folder that [`Store::work_dir`] gave.
    pub folder: PathBuf,
    /// The log, complete.
    pub log: PathBuf,
    /// When it started, milliseconds since 1970 (UTC).
    pub started_ms: u64,
    /// How long it took, milliseconds.
    pub duration_ms: u64,
    /// Where it ran.
    pub machine: Machine,
    /// Id of the run.
    pub run: String,
    /// Why it is no answer yet, where it is none.
    pub provisional: Option<String>,
    /// What of its time was work, where that is known.
    pub pace: Option<Pace>,
}

impl Store {
    /// Looks a key up for a stage. A record that cannot be read or is damaged is a miss with a warning, and so is one that
    /// names objects which are gone, unless the stage's artifacts still have their content: see [`Store::refill`]. One that is
    /// provisional is a miss, too: what was kept to be shown answers nothing.
    #[must_use]
    pub fn lookup(&self, stage: &StageName, key: Key) -> Lookup {
        let miss = |key, warning: Option<String>| {
            Lookup::Miss(Miss { key, stage: stage.clone(), warning, provisional: None })
        };
        match self.action(&key.digest()) {
            Record::Absent => miss(key, None),
            Record::Damaged => {
                let warning = format!("the cache record of this key of `{stage}` is damaged");
                miss(key, Some(warning))
            }
            // It may be whole: who may read it again has the outcome again.
            Record::Unreadable(why) => {
                miss(key, Some(format!("the cache record of this key of `{stage}` cannot be read: {why}")))
            }
            Record::Whole(ActionRecord { provisional: Some(why), .. }) => {
                Lookup::Miss(Miss { key, stage: stage.clone(), warning: None, provisional: Some(why) })
            }
            Record::Whole(record) => match record
                .outputs
                .iter()
                .find(|(_, output)| !self.has_head(output) && !self.is_output_in_place(stage, output))
            {
                Some((name, output)) => {
                    let object = output.digest.short();
                    miss(key, Some(format!("cache object {object} (`{stage}.{name}`) is gone or cut short")))
                }
                None => Lookup::Hit(Box::new(Hit { record, key, stage: stage.clone() })),
            },
        }
    }

    /// An empty folder in which the outputs of an execution are to be written. Its name is its own: what an earlier
    /// execution may have left running does not know it.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn work_dir(&self) -> Result<PathBuf, StoreError> {
        let folder = self.folder.join("work").join(self.unique());
        with_parent(&folder, || fs::create_dir(&folder)).map_err(at("create", &folder))?;
        Ok(folder)
    }

    /// A folder for partial work. It outlives failures, kills and later runs, until the key is committed.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn resume_dir(&self, miss: &Miss) -> Result<PathBuf, StoreError> {
        let folder = self.resume_path(miss);
        fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        Ok(folder)
    }

    /// A folder for what executions of the stage can go on from whose key differs in nothing but some of its `params`.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn continue_dir(&self, miss: &Miss, params: &[String]) -> Result<PathBuf, StoreError> {
        let folder = self.continue_path(miss, params);
        fs::create_dir_all(&folder).map_err(at("create", &folder))?;
        Ok(folder)
    }

    /// How much an op says is done in [`Store::resume_dir`].
    #[must_use]
    pub fn resumable(&self, miss: &Miss) -> Option<Partial> {
        read_partial(&self.resume_path(miss))
    }

    /// How much an op says is done in [`Store::continue_dir`].
    #[must_use]
    pub fn continuable(&self, miss: &Miss, params: &[String]) -> Option<Partial> {
        if params.is_empty() { None } else { read_partial(&self.continue_path(miss, params)) }
    }

    fn continue_path(&self, miss: &Miss, params: &[String]) -> PathBuf {
        let shared = miss.key.digest_without(params);
        self.folder.join("continue").join(format!("{}-{shared}", miss.stage))
    }

    /// Two stages may have the same key.
    fn resume_path(&self, miss: &Miss) -> PathBuf {
        self.folder.join("resume").join(format!("{}-{}", miss.stage, miss.key.digest()))
    }

    /// Where to write the log of an execution of a stage. Until the execution is committed it stays there, so that it
    /// can be read meanwhile, and after a failure or a kill. Its folder exists.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn log_path(&self, stage: &StageName) -> Result<PathBuf, StoreError> {
        let folder = self.folder.join("logs");
        if !self.has_logs.load(Ordering::Relaxed) {
            fs::create_dir_all(&folder).map_err(at("create", &folder))?;
            self.has_logs.store(true, Ordering::Relaxed);
        }
        Ok(self.log_file(stage))
    }

    /// The log of an execution of a stage that is under way, failed or was killed, unless a later one succeeded.
    #[must_use]
    pub fn unfinished_log(&self, stage: &StageName) -> Option<PathBuf> {
        let path = self.log_file(stage);
        path.is_file().then_some(path)
    }

    /// Keeps what an execution gave: outputs and log are copied into objects, then the record is written, then the
    /// outputs become the artifacts. The folder of the outputs, and partial work, are deleted.
    ///
    /// # Errors
    /// When an output is missing or cannot be stored. Nothing is recorded then.
    pub fn commit(&self, miss: Miss, finished: Finished) -> Result<ActionRecord, StoreError> {
        let durability = Durability::of_ms(finished.duration_ms);
        let mut outputs = BTreeMap::new();
        let mut movable = BTreeMap::new();
        for (name, (file, path)) in finished.outputs {
            if !is_inner(&file) {
                return Err(StoreError::Name { name: file });
            }
            let kept = match self.put(&path, None, file, durability) {
                Err(StoreError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&path).is_err() =>
                {
                    return Err(StoreError::NoOutput { output: name, path });
                }
                kept => kept?,
            };
            if kept.movable {
                movable.insert(name.clone(), path);
            }
            outputs.insert(name, kept.record);
        }
        let log = self.take_over(&finished.log, durability)?;
        let record = ActionRecord {
            key: miss.key.digest(),
            ingredients: miss.key.ingredients().to_vec(),
            stage: miss.stage.clone(),
            outputs,
            metrics: finished.metrics,
            figures: finished.figures,
            log,
            started_ms: finished.started_ms,
            duration_ms: finished.duration_ms,
            machine: finished.machine,
            run: finished.run,
            provisional: finished.provisional,
            pace: finished.pace,
        };
        self.supersede(&record.key, &record.run)?;
        let path = self.action_path(&record.key);
        let sealed = seal(&record).map_err(|source| StoreError::Json { path: path.clone(), source })?;
        self.write(&path, &sealed, durability)?;
        self.grew(sealed.len() as u64);
        if movable.len() < record.outputs.len()
            || !self.become_artifacts(&miss.stage, &record, &finished.folder)?
        {
            self.put_in_place(&miss.stage, &record, &movable)?;
            // A leftover costs space, and the outcome is safe already.
            let _ = remove(&finished.folder);
        }
        let _ = remove(&self.resume_path(&miss));
        let _ = fs::remove_file(self.figures_path(&miss.stage));
        Ok(record)
    }

    /// The key that a stage's artifacts came from.
    #[must_use]
    pub fn last_key(&self, stage: &StageName) -> Option<Digest> {
        self.last_keys().get(stage)
    }

    /// The record that a stage's artifacts came from.
    #[must_use]
    pub fn last(&self, stage: &StageName) -> Option<ActionRecord> {
        self.record(&self.last_key(stage)?)
    }

    /// Says which record a stage's artifacts come from. To be called for a stage that is fresh, too: it may have been
    /// brought there by another key with the same outputs. [`Store::restore`] and [`Store::commit`] do it themselves.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_last(&self, stage: &StageName, key: &Digest) -> Result<(), StoreError> {
        if self.make_last(stage, key)? {
            self.mark_used(key);
        }
        Ok(())
    }

    /// The same for a key whose record is marked as used elsewhere. Whether it was another one before.
    pub(super) fn make_last(&self, stage: &StageName, key: &Digest) -> Result<bool, StoreError> {
        let mut last = self.last_keys();
        let before = last.get(stage);
        if before == Some(*key) {
            return Ok(false);
        }
        last.set(stage, *key).map_err(at("write", &self.folder.join("last-keys")))?;
        drop(last);
        if let Some(before) = before {
            self.mark_used(&before);
        }
        Ok(true)
    }

    /// Notes that an outcome was used: see [`super::collect`].
    pub(super) fn mark_used(&self, key: &Digest) {
        // A record that cannot be touched, such as one of another user's, looks older than it is.
        let _ = regular::open(&self.action_path(key)).and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// The keys that the artifacts of all stages came from, also of stages that are no longer in the pipeline.
    #[must_use]
    pub fn all_last(&self) -> BTreeMap<StageName, Digest> {
        self.last_keys().all().clone()
    }

    /// Forgets the log of an execution that did not end well: the stage is done now.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget_log(&self, stage: &StageName) -> Result<(), StoreError> {
        remove(&self.log_file(stage))
    }

    /// The record of a key, if it is whole. Its objects may be gone.
    #[must_use]
    pub fn record(&self, key: &Digest) -> Option<ActionRecord> {
        self.action(key).whole()
    }

    /// The text of a record's log.
    ///
    /// # Errors
    /// When it is gone or damaged.
    pub fn log(&self, record: &ActionRecord) -> Result<String, StoreError> {
        // One that an earlier version kept may hold secrets.
        Ok(hidden(&String::from_utf8_lossy(&self.read_object(&record.log)?)).into_owned())
    }

    /// The record of a key, without secrets of URLs, which earlier versions kept. One that is not of that key, or names files outside of the stage's folder, is damaged.
    pub(super) fn action(&self, key: &Digest) -> Record<ActionRecord> {
        match read_record::<ActionRecord>(&self.action_path(key)) {
            Record::Whole(record) if !is_sound(&record, key) => Record::Damaged,
            Record::Whole(record) => Record::Whole(without_old_secrets(record)),
            record => record,
        }
    }

    pub(super) fn action_path(&self, key: &Digest) -> PathBuf {
        self.records_folder().join(fan_out(key)).with_extension("json")
    }

    pub(super) fn log_file(&self, stage: &StageName) -> PathBuf {
        self.folder.join("logs").join(format!("{stage}.log"))
    }
}

/// A record without secrets of URLs. Few have any, and looking costs less than it does to make sure.
fn without_old_secrets(record: ActionRecord) -> ActionRecord {
    let holds = |text: &str| matches!(hidden(text), Cow::Owned(_));
    let is_held = record.ingredients.iter().any(|ingredient| holds(&ingredient.value));
    // What an op says of itself, it says of its params.
    if is_held { hidden_in(record) } else { record }
}

/// Whether a record is that of a key, and names files below the stage's folder only.
pub(super) fn is_sound(record: &ActionRecord, key: &Digest) -> bool {
    record.key == *key
        && digest_of(&record.ingredients) == *key
        && record.outputs.values().all(|output| is_inner(&output.file))
}

/// What an op left beside its partial work. It is of its own making, and believed only where it is what it should be.
fn read_partial(folder: &Path) -> Option<Partial> {
    let mut text = Vec::new();
    let file = regular::open(&folder.join(Partial::FILE)).ok()?;
    file.take(MOST_OF_PARTIAL).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Gives back the right to change folders that a command has taken away, as far as that can be done.
fn unlock(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o755));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unlock(&entry.path());
        }
    }
}

/// Removes a file or folder, if it is there. Does not follow a link.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                unlock(path);
                fs::remove_dir_all(path)
            }
            removed => removed,
        },
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}
