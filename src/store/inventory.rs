//! What lies in the folder that may be shared: records with the objects that they name, and objects with their lengths.
//! Knows nothing of what is to be done with them.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

use super::error::at;
use super::file::unseal;
use super::folder::Folder;
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::record::{ActionRecord, OutputRecord};
use crate::regular;
use crate::spec::StageName;

/// The file of an action record.
pub(super) struct RecordFile {
    pub(super) path: PathBuf,
    /// Its length.
    pub(super) bytes: u64,
    /// When its outcome was last made, restored, or found to be what a stage wants: the file's modification time.
    pub(super) used: SystemTime,
    /// What it says; `None` where it is damaged.
    pub(super) content: Option<Content>,
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
}

impl Store {
    /// All objects.
    pub(super) fn list_objects(&self) -> Result<Listed, StoreError> {
        list(&self.objects_folder(), "")
    }

    /// All records, whole or damaged, in no order.
    pub(super) fn list_records(&self) -> Result<(Vec<RecordFile>, Vec<PathBuf>), StoreError> {
        let Listed { found, strays } = list(&self.records_folder(), ".json")?;
        let read = |(key, path, metadata): (Digest, PathBuf, Metadata)| {
            let bytes = match regular::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                bytes => bytes.map_err(at("read", &path))?,
            };
            let record = unseal::<ActionRecord>(&bytes).filter(|record| record.is_sound(&key));
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            Ok(Some(RecordFile { path, bytes: metadata.len(), used, content: record.map(Content::of) }))
        };
        let records: Result<Vec<Option<RecordFile>>, StoreError> = found.into_par_iter().map(read).collect();
        Ok((records?.into_iter().flatten().collect(), strays))
    }

    /// The objects that a record names. What a folder holds that has no manifest any more cannot be told.
    pub(super) fn named_by(&self, record: &Content) -> Result<Vec<Named>, StoreError> {
        let mut named = vec![Named { digest: record.log, bytes: None, output: None }];
        for (name, output) in &record.outputs {
            let bytes = (!output.folder).then_some(output.bytes);
            named.push(Named { digest: output.digest, bytes, output: Some(name.clone()) });
            if output.folder {
                let inner = self.manifest(&output.digest)?.into_iter().flat_map(|folder| folder.files);
                named.extend(inner.map(|file| Named {
                    digest: file.digest,
                    bytes: Some(file.bytes),
                    output: Some(name.clone()),
                }));
            }
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

    /// Bytes of all objects and records.
    pub(super) fn measure(&self) -> Result<u64, StoreError> {
        let records = list(&self.records_folder(), ".json")?;
        let all = self.list_objects()?.found.into_iter().chain(records.found);
        Ok(all.map(|(_, _, metadata)| metadata.len()).sum())
    }
}

/// Lengths by digest.
pub(super) fn lengths(objects: &Listed) -> HashMap<Digest, u64> {
    objects.found.iter().map(|(digest, _, metadata)| (*digest, metadata.len())).collect()
}

/// Files two levels below a folder whose names are digests with an ending.
fn list(all: &Path, ending: &str) -> Result<Listed, StoreError> {
    let folders = entries(all)?;
    let listed: Result<Vec<Listed>, StoreError> = folders
        .par_iter()
        .map(|folder| {
            let mut listed = Listed { found: vec![], strays: vec![] };
            if !folder.is_dir() {
                listed.strays.push(folder.clone());
                return Ok(listed);
            }
            for path in entries(folder)? {
                let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
                match digest_of(&path, ending).filter(|_| metadata.is_file()) {
                    Some(digest) => listed.found.push((digest, path, metadata)),
                    None => listed.strays.push(path),
                }
            }
            Ok(listed)
        })
        .collect();
    let mut all = Listed { found: vec![], strays: vec![] };
    for listed in listed? {
        all.found.extend(listed.found);
        all.strays.extend(listed.strays);
    }
    Ok(all)
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
