//! Reads all that the store holds and compares it with what its name, its checksum or its record says. What is damaged is
//! moved aside, so that the next run that needs it makes it anew; an object whose content is still among the artifacts
//! is made anew at once. Knows nothing of pipelines.

mod found;
mod inputs;
mod memory;
mod past;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

pub use found::{Damage, Edited, Kind, Misremembered, Origin, Remedy, Verification};
use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::spec::Ignore;
use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use record::{ActionRecord, OutputRecord};
use text::clock::now_ms;

use super::error::at;
use super::file::Durability;
use super::folder::Folder;
use super::inventory::{Content, Listed, Named, Records, Said, Unreadable, entries, or_note};
use super::{Store, StoreError};

/// How far verifying is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many more bytes are to be read.
    Total(u64),
    /// So many more have been read.
    Read(u64),
}

/// What is wrong with an object that is not there.
const MISSING: &str = "is missing";

/// Objects as they were found.
#[derive(Default)]
struct Objects {
    /// Lengths of those that are whole.
    whole: HashMap<Digest, u64>,
    /// Those that are not, with what is wrong with them.
    damaged: BTreeMap<Digest, String>,
}

/// Artifacts as they were found.
#[derive(Default)]
struct Artifacts {
    edited: Vec<Edited>,
    /// Files by their content.
    files: HashMap<Digest, PathBuf>,
    /// Whether the stat cache says something else of one of them.
    misremembered: bool,
}

impl Store {
    /// Reads and checks everything. With `mend`, for which the lock must be held, damage is moved aside or removed. `inputs`
    /// are what stages read that no stage makes, and what counts for nothing in them: whether they hold what they were last taken for. `tell` is called from several
    /// threads.
    ///
    /// # Errors
    /// When a folder cannot be listed, or damage cannot be moved aside.
    pub fn verify(
        &self,
        mend: bool,
        inputs: Option<(&BTreeMap<PathBuf, BTreeSet<StageName>>, &Ignore)>,
        tell: &(dyn Fn(Step) + Sync),
    ) -> Result<Verification, StoreError> {
        let listed = self.list_objects();
        let last: Vec<(StageName, ActionRecord)> = self
            .all_last()
            .into_iter()
            .filter_map(|(stage, key)| Some((stage, self.record(&key)?)))
            .collect();
        let outputs = last.iter().flat_map(|(_, record)| record.outputs.values()).map(|output| output.bytes);
        let objects = listed.found.iter().map(|(_, _, metadata)| metadata.len());
        tell(Step::Total(objects.sum::<u64>() + outputs.sum::<u64>()));

        let artifacts = self.read_artifacts(&last, tell);
        let mut found = Verification { objects: listed.found.len(), ..Verification::default() };
        found.notes.extend(listed.strays.iter().map(|path| not_ours(path)));
        self.tell_unreadable(&listed.unreadable, &mut found);
        let objects = read_objects(listed, tell);
        found.bytes = objects.whole.values().sum();
        let mut missing = objects.damaged.clone();
        let record_bytes = self.check_records(&objects, &mut missing, mend, &artifacts, &mut found)?;
        self.check_runs(mend, &mut found)?;
        self.check_definitions(mend, &mut found)?;
        self.check_superseded(mend, &mut found)?;
        if let Some((inputs, ignore)) = inputs {
            self.check_inputs(inputs, ignore, tell, &mut found);
        }
        let misremembered = artifacts.misremembered || !found.misremembered.is_empty();
        self.check_memory(mend, misremembered, &mut found)?;
        found.edited = artifacts.edited;
        found.damage.sort();
        found.notes.sort();
        if mend {
            self.set_size(found.bytes + record_bytes + self.superseded_bytes())?;
            self.write(&self.verified_file(), format!("{}\n", now_ms()).as_bytes(), Durability::Eventual)?;
        }
        Ok(found)
    }

    /// When everything was verified last, milliseconds since 1970 (UTC).
    #[must_use]
    pub fn verified_ms(&self) -> Option<u64> {
        regular::read_text(&self.verified_file()).ok()?.trim_end().parse().ok()
    }

    fn verified_file(&self) -> PathBuf {
        self.shared.join("verified")
    }

    /// Checks that records are whole and that all objects which they name are. Damaged objects are told here, because
    /// here it is known whose they are. Gives the bytes of the records that stay.
    fn check_records(
        &self,
        objects: &Objects,
        missing: &mut BTreeMap<Digest, String>,
        mend: bool,
        artifacts: &Artifacts,
        found: &mut Verification,
    ) -> Result<u64, StoreError> {
        let Records { files, strays, unreadable } = self.list_records();
        found.records = files.len();
        found.notes.extend(strays.iter().map(|path| not_ours(path)));
        self.tell_unreadable(&unreadable, found);
        let mut origins: BTreeMap<Digest, BTreeSet<Origin>> = BTreeMap::new();
        let mut incomplete = Vec::new();
        let mut bytes = 0;
        for file in files {
            let content = match file.said {
                Said::Whole(content) => content,
                Said::Damaged => {
                    let name = name_of(&file.path);
                    let aside = format!("{name}.json");
                    let remedy = if mend { self.set_aside(&file.path, &aside)? } else { Remedy::None };
                    found.damage.push(Damage::alone(Kind::Record, name, "is damaged", remedy));
                    continue;
                }
                // It may be whole, and stays where it is.
                Said::Unreadable(why) => {
                    let problem = format!("cannot be read: {why}");
                    found.damage.push(Damage::alone(
                        Kind::Record,
                        name_of(&file.path),
                        problem,
                        Remedy::None,
                    ));
                    continue;
                }
            };
            bytes += file.bytes;
            let mut is_lacking = false;
            // What a folder holds whose manifest cannot be read is not known; that it cannot is told below.
            for named in self.named_by(&content).unwrap_or_else(|_| content.heads()) {
                let there = match objects.whole.get(&named.digest) {
                    Some(bytes) => Ok(*bytes),
                    None if objects.damaged.contains_key(&named.digest) => Err(String::new()),
                    // A run that shares the cache may have written it after all objects were read.
                    None => match fs::metadata(self.object(&named.digest)) {
                        Ok(metadata) => Ok(metadata.len()),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(MISSING.to_owned()),
                        Err(error) => Err(format!("cannot be read: {error}")),
                    },
                };
                let problem = match there {
                    Ok(there) if named.bytes.is_none_or(|bytes| bytes == there) => continue,
                    Ok(_) => "has a length that differs from its record".to_owned(),
                    Err(problem) => problem,
                };
                is_lacking |= named.output.is_some();
                missing.entry(named.digest).or_insert(problem);
                origins.entry(named.digest).or_default().insert(origin(&content, named.output));
            }
            if is_lacking {
                incomplete.push((file.path, file.bytes, content));
            }
        }
        for (digest, problem) in missing {
            let of = origins.remove(digest).unwrap_or_default();
            let lost_log = problem == MISSING && of.iter().all(|origin| origin.output.is_none());
            if lost_log {
                // Worth nothing compared with the outcome, which is whole.
                found
                    .notes
                    .extend(of.iter().map(|of| format!("the log of a result of `{}` is lost", of.stage)));
                continue;
            }
            let remedy = if mend { self.mend_object(digest, artifacts)? } else { Remedy::None };
            let (name, problem) = (digest.to_string(), problem.clone());
            found.damage.push(Damage { kind: Kind::Object, name, problem, of, remedy });
        }
        if mend {
            for (path, length, content) in incomplete {
                if self.lacks_output(&content) {
                    self.set_aside(&path, &format!("{}.json", content.key))?;
                    bytes -= length;
                }
            }
        }
        Ok(bytes)
    }

    /// Whether an output of a record is not there any more, or cut short. What cannot be looked at may be there.
    fn lacks_output(&self, content: &Content) -> bool {
        let named = self.named_by(content).unwrap_or_else(|_| content.heads());
        let is_gone = |named: &Named| match fs::metadata(self.object(&named.digest)) {
            Ok(there) => !there.is_file() || named.bytes.is_some_and(|bytes| bytes != there.len()),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        named.iter().any(|named| named.output.is_some() && is_gone(named))
    }

    /// Tells of what cannot be listed or looked at.
    fn tell_unreadable(&self, unreadable: &[Unreadable], found: &mut Verification) {
        found.damage.extend(unreadable.iter().map(|Unreadable { path, why }| {
            let name = self.shown(path).display().to_string();
            Damage::alone(Kind::Place, name, format!("cannot be read: {why}"), Remedy::None)
        }));
    }

    /// What is in a folder. Tells where that cannot be read.
    fn entries_or_tell(&self, folder: &Path, found: &mut Verification) -> Vec<PathBuf> {
        let mut unreadable = Vec::new();
        let entries = or_note(entries(folder), folder, &mut unreadable);
        self.tell_unreadable(&unreadable, found);
        entries
    }

    /// Moves an object aside, and makes it anew where an artifact has its content.
    fn mend_object(&self, digest: &Digest, artifacts: &Artifacts) -> Result<Remedy, StoreError> {
        let path = self.object(digest);
        let aside = match Digest::of_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Remedy::None,
            // A run that shares the cache has made it anew meanwhile.
            Ok(there) if there == *digest => return Ok(Remedy::Replaced),
            // It may be whole, and stays where it is.
            Err(_) => return Ok(Remedy::None),
            Ok(_) => self.set_aside(&path, &digest.to_string())?,
        };
        let Some(from) = artifacts.files.get(digest) else { return Ok(aside) };
        // What is put is digested again: an artifact that changes meanwhile becomes another object.
        let (renewed, _) = self.put_file(from, Durability::Synced)?;
        Ok(if renewed == *digest { Remedy::Renewed { from: self.shown(from) } } else { aside })
    }

    /// Reads the artifacts of all stages.
    fn read_artifacts(&self, last: &[(StageName, ActionRecord)], tell: &(dyn Fn(Step) + Sync)) -> Artifacts {
        let seen = Mutex::new(HashMap::new());
        let misremembered = AtomicBool::new(false);
        let read = |path: &Path, metadata: &fs::Metadata| {
            let digest = Digest::of_file(path).map_err(at("read", path))?;
            let key = self.key_of(path, metadata);
            let known = self.stats().get(&key);
            let unchanged = fs::metadata(path).is_ok_and(|now| self.key_of(path, &now) == key);
            if unchanged && known.is_some_and(|known| known != digest) {
                misremembered.store(true, Ordering::Relaxed);
            }
            tell(Step::Read(metadata.len()));
            seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(digest, path.to_owned());
            Ok(digest)
        };
        let digest = |path: &Path, output: &OutputRecord| -> Result<Digest, StoreError> {
            let metadata = fs::metadata(path).map_err(at("read", path))?;
            if !output.folder {
                return read(path, &metadata);
            }
            let walk = |found: &super::folder::Found| {
                Ok((read(&found.path, &found.metadata)?, found.metadata.len()))
            };
            let digest = |ignore: Option<Ignore>| -> Result<Digest, StoreError> {
                let walked = Folder::read(path, ignore.as_ref(), &walk, &mut |_, _, _| ())?;
                Ok(Digest::of_bytes(&walked.folder.to_bytes()))
            };
            let mut last = None;
            for ignore in self.ways_to_leave_out(path, &output.digest) {
                let there = digest(ignore);
                if there.as_ref().is_ok_and(|there| *there == output.digest) {
                    return there;
                }
                last = Some(there);
            }
            last.unwrap_or_else(|| digest(None))
        };
        let edited = last.par_iter().flat_map_iter(|(stage, record)| {
            record.outputs.iter().filter_map(|(name, output)| {
                let path = self.artifacts(stage).join(&output.file);
                // What is not there will be restored.
                let there = fs::symlink_metadata(&path).is_ok();
                let is_edited = there && !digest(&path, output).is_ok_and(|digest| digest == output.digest);
                is_edited.then(|| Edited {
                    stage: stage.clone(),
                    output: name.clone(),
                    path: self.shown(&path),
                })
            })
        });
        let edited = edited.collect();
        let files = seen.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Artifacts { edited, files, misremembered: misremembered.into_inner() }
    }

    /// Moves a damaged file to where nothing looks for it.
    fn set_aside(&self, path: &Path, name: &str) -> Result<Remedy, StoreError> {
        let to = self.shared.join("corrupt").join(name);
        super::file::with_parent(&to, || fs::rename(path, &to)).map_err(at("move", path))?;
        Ok(Remedy::Aside { to: self.shown(&to) })
    }

    /// A path as the user would write it.
    fn shown(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }
}

fn read_objects(listed: Listed, tell: &(dyn Fn(Step) + Sync)) -> Objects {
    let read = |(digest, path, metadata): (Digest, PathBuf, fs::Metadata)| {
        let problem = match Digest::of_file(&path) {
            Ok(read) if read == digest => None,
            Ok(_) => Some("has content that does not match its digest".to_owned()),
            Err(error) => Some(format!("cannot be read: {error}")),
        };
        tell(Step::Read(metadata.len()));
        (digest, metadata.len(), problem)
    };
    let all: Vec<_> = listed.found.into_par_iter().map(read).collect();
    let mut objects = Objects::default();
    for (digest, bytes, problem) in all {
        match problem {
            None => drop(objects.whole.insert(digest, bytes)),
            Some(problem) => drop(objects.damaged.insert(digest, problem)),
        }
    }
    objects
}

fn origin(content: &Content, output: Option<String>) -> Origin {
    Origin { stage: content.stage.clone(), output, run: content.run.clone() }
}

fn not_ours(path: &Path) -> String {
    format!("`{}` is not a cache file", path.display())
}

/// The digest that a path stands for.
fn name_of(path: &Path) -> String {
    let part = |path: Option<&std::ffi::OsStr>| path.unwrap_or_default().to_string_lossy().into_owned();
    part(path.parent().and_then(Path::file_name)) + &part(path.file_stem())
}
