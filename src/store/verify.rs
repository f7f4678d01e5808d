//! Reads all that the store holds and compares it with what its name, its checksum or its record says. What is damaged is
//! moved aside, so that the next run that needs it makes it anew; an object whose content is still among the artifacts
//! is made anew at once. Knows nothing of pipelines.

mod found;
mod past;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::iter::{IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

pub use found::{Damage, Edited, Kind, Misremembered, Origin, Remedy, Verification};

use super::action::remove;
use super::error::at;
use super::file::{Durability, Record, read_record};
use super::folder::Folder;
use super::inventory::{Content, Listed, entries};
use super::stat::StatKey;
use super::{Store, StoreError, last};
use crate::clock::now_ms;
use crate::digest::Digest;
use crate::record::{ActionRecord, OutputRecord, RunRecord};
use crate::regular;
use crate::spec::{Ignore, StageName};

/// How far verifying is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many more bytes are to be read.
    Total(u64),
    /// So many more have been read.
    Read(u64),
}

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
        let listed = self.list_objects()?;
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
            self.set_size(found.bytes + record_bytes)?;
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
        let (files, strays) = self.list_records()?;
        found.records = files.len();
        found.notes.extend(strays.iter().map(|path| not_ours(path)));
        let mut origins: BTreeMap<Digest, BTreeSet<Origin>> = BTreeMap::new();
        let mut incomplete = Vec::new();
        let mut bytes = 0;
        for file in files {
            let Some(content) = file.content else {
                let key = name_of(&file.path);
                let remedy =
                    if mend { self.set_aside(&file.path, &format!("{key}.json"))? } else { Remedy::None };
                let problem = "is damaged".to_owned();
                found.damage.push(Damage {
                    kind: Kind::Record,
                    name: key,
                    problem,
                    of: BTreeSet::new(),
                    remedy,
                });
                continue;
            };
            bytes += file.bytes;
            let mut is_lacking = false;
            for named in self.named_by(&content)? {
                let there = match objects.whole.get(&named.digest) {
                    Some(bytes) => Some(*bytes),
                    None if objects.damaged.contains_key(&named.digest) => None,
                    // A run that shares the cache may have written it after all objects were read.
                    None => fs::metadata(self.object(&named.digest)).ok().map(|metadata| metadata.len()),
                };
                if there.is_some_and(|there| named.bytes.is_none_or(|bytes| bytes == there)) {
                    continue;
                }
                is_lacking |= named.output.is_some();
                missing.entry(named.digest).or_insert_with(|| "is missing".into());
                origins.entry(named.digest).or_default().insert(origin(&content, named.output));
            }
            if is_lacking {
                incomplete.push((file.path, file.bytes, content));
            }
        }
        for (digest, problem) in missing {
            let of = origins.remove(digest).unwrap_or_default();
            let lost_log = problem == "is missing" && of.iter().all(|origin| origin.output.is_none());
            if lost_log {
                // Worth nothing compared with the outcome, which is whole.
                found
                    .notes
                    .extend(of.iter().map(|of| format!("the log of an outcome of `{}` is lost", of.stage)));
                continue;
            }
            let remedy = if mend { self.mend_object(digest, artifacts)? } else { Remedy::None };
            let (name, problem) = (digest.to_string(), problem.clone());
            found.damage.push(Damage { kind: Kind::Object, name, problem, of, remedy });
        }
        if mend {
            for (path, length, content) in incomplete {
                let outputs = content.outputs.values();
                if !outputs.into_iter().all(|output| self.has_output(output)) {
                    self.set_aside(&path, &format!("{}.json", content.key))?;
                    bytes -= length;
                }
            }
        }
        Ok(bytes)
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

    fn check_runs(&self, mend: bool, found: &mut Verification) -> Result<(), StoreError> {
        for path in self.run_files()? {
            found.runs += 1;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let (problem, remedy) = match read_record::<RunRecord>(&path) {
                Record::Whole(run) if run.id == name => continue,
                Record::Absent => continue,
                // It may be whole, and stays where it is.
                Record::Unreadable(why) => (format!("cannot be read: {why}"), Remedy::None),
                Record::Whole(_) | Record::Damaged if mend => {
                    ("is damaged".to_owned(), self.set_aside(&path, &format!("run-{name}.json"))?)
                }
                Record::Whole(_) | Record::Damaged => ("is damaged".to_owned(), Remedy::None),
            };
            found.damage.push(Damage { kind: Kind::Run, name, problem, of: BTreeSet::new(), remedy });
        }
        Ok(())
    }

    /// Reads inputs, and compares them with what is remembered of them. What cannot be read is told by the next run.
    fn check_inputs(
        &self,
        inputs: &BTreeMap<PathBuf, BTreeSet<StageName>>,
        ignore: &Ignore,
        tell: &(dyn Fn(Step) + Sync),
        found: &mut Verification,
    ) {
        let read = Mutex::new((0, BTreeMap::new()));
        inputs.par_iter().for_each(|(input, stages)| {
            let look = |path: &Path, metadata: &fs::Metadata| {
                let is_other = self.is_misremembered(path, metadata, tell)?;
                let mut read = read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                read.0 += 1;
                if is_other {
                    read.1.insert(self.shown(path), stages.clone());
                }
                Ok::<(), StoreError>(())
            };
            let Ok(metadata) = fs::metadata(input) else { return };
            if metadata.is_dir() {
                let visit = |found: &super::folder::Found| {
                    look(&found.path, &found.metadata).map(|()| (Digest::of_bytes(&[]), 0))
                };
                let _ = Folder::walk_input(input, ignore, &visit);
            } else {
                let _ = look(input, &metadata);
            }
        });
        let (files, misremembered) = read.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        found.inputs = files;
        found.misremembered = misremembered
            .into_iter()
            .map(|(path, stages)| Misremembered { path, stages: stages.into_iter().collect() })
            .collect();
    }

    /// Whether a file, read anew, holds something else than is remembered of it.
    fn is_misremembered(
        &self,
        path: &Path,
        metadata: &fs::Metadata,
        tell: &(dyn Fn(Step) + Sync),
    ) -> Result<bool, StoreError> {
        tell(Step::Total(metadata.len()));
        let known = self.stats().get(&StatKey::of(metadata));
        let digest = Digest::of_file(path).map_err(at("read", path))?;
        tell(Step::Read(metadata.len()));
        let unchanged = fs::metadata(path).is_ok_and(|now| StatKey::of(&now) == StatKey::of(metadata));
        Ok(unchanged && known.is_some_and(|known| known != digest))
    }

    /// Checks what only saves time.
    fn check_memory(
        &self,
        mend: bool,
        misremembered: bool,
        found: &mut Verification,
    ) -> Result<(), StoreError> {
        let mut damaged: Vec<(PathBuf, &str)> = Vec::new();
        for name in ["stat", "standing"] {
            let path = self.folder.join(name);
            match regular::read(&path) {
                Ok(bytes) if !ends_in_checksum(&bytes) => damaged.push((path, "is damaged")),
                Ok(_) if misremembered => {
                    damaged.push((path, "rests on a file that changed without its time of change"));
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(at("read", &path)(error));
                }
                _ => {}
            }
        }
        for path in entries(&self.folder.join("manifests"))? {
            if read_record::<serde_json::Value>(&path) == Record::Damaged {
                damaged.push((path, "is damaged"));
            }
        }
        for (path, problem) in damaged {
            if mend {
                remove(&path)?;
            }
            let name = path.strip_prefix(&self.folder).unwrap_or(&path).display().to_string();
            let remedy = if mend { Remedy::Removed } else { Remedy::None };
            let (of, problem) = (BTreeSet::new(), problem.to_owned());
            found.damage.push(Damage { kind: Kind::Memory, name, problem, of, remedy });
        }
        let path = self.folder.join("last-keys");
        let text = regular::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let torn = text.lines().filter(|line| !line.is_empty() && last::parse(line).is_none()).count();
        if torn > 0 {
            // A kill or a power cut may tear the line that is being added.
            found
                .notes
                .push(format!("`last-keys`: {} torn, and passed over", crate::format::count(torn, "line")));
        }
        Ok(())
    }

    /// Reads the artifacts of all stages.
    fn read_artifacts(&self, last: &[(StageName, ActionRecord)], tell: &(dyn Fn(Step) + Sync)) -> Artifacts {
        let seen = Mutex::new(HashMap::new());
        let misremembered = AtomicBool::new(false);
        let read = |path: &Path, metadata: &fs::Metadata| {
            let digest = Digest::of_file(path).map_err(at("read", path))?;
            let known = self.stats().get(&StatKey::of(metadata));
            let unchanged = fs::metadata(path).is_ok_and(|now| StatKey::of(&now) == StatKey::of(metadata));
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
            Ok(Digest::of_bytes(&Folder::walk(path, &walk)?.to_bytes()))
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
            Ok(_) => Some("does not hold what its name says".to_owned()),
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
    format!("`{}` is nothing of the cache's", path.display())
}

/// The digest that a path stands for.
fn name_of(path: &Path) -> String {
    let part = |path: Option<&std::ffi::OsStr>| path.unwrap_or_default().to_string_lossy().into_owned();
    part(path.parent().and_then(Path::file_name)) + &part(path.file_stem())
}

/// Whether the last 32 bytes are the digest of the others.
fn ends_in_checksum(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<32>().is_some_and(|(body, sum)| Digest::of_bytes(body).as_bytes() == sum)
}
