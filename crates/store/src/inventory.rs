//! What lies in the folder that may be shared: records with the objects that they name, and objects with their lengths.
//! Knows nothing of what is to be done with them.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pipeline::StageName;
use pipeline::digest::Digest;
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use record::{ActionRecord, OutputRecord};
use schemars::JsonSchema;
use serde::Serialize;

use super::action::is_sound;
use super::error::at;
use super::file::unseal;
use super::folder::Folder;
use super::{Store, StoreError};

/// The file of an action record.
pub(super) struct RecordFile {
    pub(super) path: PathBuf,
    /// Its length.
    pub(super) bytes: u64,
    /// When its outcome was last made, restored, or found to be what a stage wants: the file's modification time.
    pub(super) used: SystemTime,
    pub(super) said: Said,
}

/// What a record says.
pub(super) enum Said {
    Whole(Content),
    /// It is torn, edited, or of another key.
    Damaged,
    /// It cannot be read, which says nothing of what is in it: why.
    Unreadable(String),
}

/// What is there and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Unreadable {
    /// Its path.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

impl Unreadable {
    pub(super) fn new(path: &Path, why: impl ToString) -> Self {
        Self { path: path.to_owned(), why: why.to_string() }
    }
}

/// What a record says of objects, and whose they are.
pub(super) struct Content {
    pub(super) key: Digest,
    pub(super) stage: StageName,
    pub(super) run: String,
    pub(super) outputs: BTreeMap<String, OutputRecord>,
    pub(super) log: Digest,
}

impl Content {
    fn of(record: ActionRecord) -> Self {
        let ActionRecord { key, stage, run, outputs, log, .. } = record;
        Self { key, stage, run, outputs, log }
    }

    /// What it names itself: files, and of folders their manifests.
    pub(super) fn heads(&self) -> Vec<Named> {
        let mut named = vec![Named { digest: self.log, bytes: None, output: None }];
        named.extend(self.outputs.iter().map(|(name, output)| Named {
            digest: output.digest,
            bytes: (!output.folder).then_some(output.bytes),
            output: Some(name.clone()),
        }));
        named
    }
}

/// An object that a record names.
pub(super) struct Named {
    pub(super) digest: Digest,
    /// The length that the record gives it.
    pub(super) bytes: Option<u64>,
    /// Name of the output that it belongs to; `None` for the log.
    pub(super) output: Option<String>,
}

/// The files of one kind, by digest, and those whose names say that they are something else.
pub(super) struct Listed {
    pub(super) found: Vec<(Digest, PathBuf, Metadata)>,
    pub(super) strays: Vec<PathBuf>,
    /// Folders of which it cannot be told what is in them.
    pub(super) unreadable: Vec<Unreadable>,
}

/// All records, in no order, and what was found beside them.
pub(super) struct Records {
    pub(super) files: Vec<RecordFile>,
    pub(super) strays: Vec<PathBuf>,
    pub(super) unreadable: Vec<Unreadable>,
}

impl Store {
    /// All objects.
    pub(super) fn list_objects(&self) -> Listed {
        list(&self.objects_folder(), "")
    }

    /// All records, whole or not.
    pub(super) fn list_records(&self) -> Records {
        let Listed { found, strays, unreadable } = list(&self.records_folder(), ".json");
        let read = |(key, path, metadata): (Digest, PathBuf, Metadata)| {
            let said = match regular::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
                Err(error) => Said::Unreadable(error.to_string()),
                Ok(bytes) => match unseal::<ActionRecord>(&bytes).filter(|record| is_sound(record, &key)) {
                    Some(record) => Said::Whole(Content::of(record)),
                    None => Said::Damaged,
                },
            };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            Some(RecordFile { path, bytes: metadata.len(), used, said })
        };
        Records { files: found.into_par_iter().filter_map(read).collect(), strays, unreadable }
    }

    /// The objects that a record names. What a folder holds that has no manifest any more cannot be told.
    ///
    /// # Errors
    /// When a manifest is there and cannot be read.
    pub(super) fn named_by(&self, record: &Content) -> Result<Vec<Named>, StoreError> {
        let mut named = record.heads();
        for (name, output) in record.outputs.iter().filter(|(_, output)| output.folder) {
            let inner = self.manifest(&output.digest)?.into_iter().flat_map(|folder| folder.files);
            named.extend(inner.map(|file| Named {
                digest: file.digest,
                bytes: Some(file.bytes),
                output: Some(name.clone()),
            }));
        }
        Ok(named)
    }

    /// The manifest of a folder, if it is there and whole.
    pub(super) fn manifest(&self, digest: &Digest) -> Result<Option<Folder>, StoreError> {
        let path = self.object(digest);
        match regular::read(&path) {
            Ok(bytes) if Digest::of_bytes(&bytes) == *digest => Ok(Folder::from_bytes(&bytes)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("read", &path)(error)),
        }
    }

    /// Bytes of all objects and records, those that others took the place of included, as far as they can be looked at.
    pub(super) fn measure(&self) -> u64 {
        let records = list(&self.records_folder(), ".json");
        let all = self.list_objects().found.into_iter().chain(records.found);
        all.map(|(_, _, metadata)| metadata.len()).sum::<u64>() + self.superseded_bytes()
    }
}

/// Lengths by digest.
pub(super) fn lengths(objects: &Listed) -> HashMap<Digest, u64> {
    objects.found.iter().map(|(digest, _, metadata)| (*digest, metadata.len())).collect()
}

/// Files two levels below a folder whose names are digests with an ending.
fn list(all: &Path, ending: &str) -> Listed {
    let mut listed = Listed { found: vec![], strays: vec![], unreadable: vec![] };
    let folders = listed.entries(all);
    let inner: Vec<Listed> = folders
        .par_iter()
        .map(|folder| {
            let mut listed = Listed { found: vec![], strays: vec![], unreadable: vec![] };
            if !folder.is_dir() {
                listed.strays.push(folder.clone());
                return listed;
            }
            for path in listed.entries(folder) {
                // In a folder that may be listed and not entered, nothing can be looked at.
                let metadata = match fs::symlink_metadata(&path) {
                    Ok(metadata) => metadata,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => {
                        listed.unreadable.push(Unreadable::new(&path, error));
                        continue;
                    }
                };
                match digest_of(&path, ending).filter(|_| metadata.is_file()) {
                    Some(digest) => listed.found.push((digest, path, metadata)),
                    None => listed.strays.push(path),
                }
            }
            listed
        })
        .collect();
    for inner in inner {
        listed.found.extend(inner.found);
        listed.strays.extend(inner.strays);
        listed.unreadable.extend(inner.unreadable);
    }
    listed
}

impl Listed {
    /// What is in a folder. One that cannot be read is noted.
    fn entries(&mut self, folder: &Path) -> Vec<PathBuf> {
        or_note(entries(folder), folder, &mut self.unreadable)
    }
}

/// What was read of a place; nothing, with a note, where it cannot be read.
pub(super) fn or_note(
    read: Result<Vec<PathBuf>, StoreError>,
    place: &Path,
    unreadable: &mut Vec<Unreadable>,
) -> Vec<PathBuf> {
    read.unwrap_or_else(|error| {
        unreadable.push(Unreadable::new(place, error.reason()));
        Vec::new()
    })
}

/// What is in a folder; nothing where it is not there.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        read => read.map_err(at("read", folder))?,
    };
    read.map(|entry| Ok(entry.map_err(at("read", folder))?.path())).collect()
}

/// The digest that `ab/cd…` stands for.
fn digest_of(path: &Path, ending: &str) -> Option<Digest> {
    let rest = path.file_name()?.to_str()?.strip_suffix(ending)?;
    let first = path.parent()?.file_name()?.to_str()?;
    format!("{first}{rest}").parse().ok().filter(|_| first.len() == 2)
}
