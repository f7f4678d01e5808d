//! Keeps the cache below a size: what no record names goes first, then the records whose outcomes were not used for the
//! longest time, with the objects that only they name. What is needed stays, whatever the size, and all of it where it cannot
//! be told what is. Knows no pipeline: it is told which keys are needed.
//!
//! An outcome counts as used when it is made, when it is restored, when a stage is found to have it in place that had
//! another one before, and when another one takes its place. That is one touch of the record's file for each change of
//! a stage's artifacts, and none for a run that changes nothing.
//!
//! Records go before the objects that they name, so that a kill leaves objects without a record and never the reverse.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pipeline::StageName;
use pipeline::digest::Digest;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use schemars::JsonSchema;
use serde::Serialize;
use text::clock::millis;

use super::action::remove;
use super::inventory::{Content, RecordFile, Records, Said, Unreadable, entries, lengths, or_note};
use super::lock::Alone;
use super::{Store, StoreError};

/// After so long nobody comes back for partial work, a manifest of a plugin or a damaged object.
const STALE: Duration = Duration::from_secs(4 * 7 * 24 * 3600);

/// What is removed and what is left.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Collection {
    /// The size that is not to be exceeded, bytes.
    pub limit: u64,
    /// Outcomes that were not used for the longest time, least recently used first.
    pub evicted: Vec<Evicted>,
    /// Bytes of their records, and of the objects that only they name.
    pub evicted_bytes: u64,
    /// Objects that no record names, and records that are damaged: how many.
    pub unreachable: usize,
    /// Bytes of these.
    pub unreachable_bytes: u64,
    /// Partial work, manifests of plugins and damaged objects that were left for weeks, and what was kept for pages of runs
    /// that are on record no more: how many.
    pub leftovers: usize,
    /// Bytes of these. Only outcomes that others took the place of count towards the size.
    pub leftover_bytes: u64,
    /// How many outcomes are left.
    pub records: usize,
    /// How many objects are left.
    pub objects: usize,
    /// Bytes of both.
    pub bytes: u64,
    /// How many bytes of these are needed.
    pub needed_bytes: u64,
    /// What cannot be read, so that it is not known what is needed by it.
    pub unreadable: Vec<Unreadable>,
    /// Whether all outcomes and objects were kept because of that: a record that cannot be read may name any of them.
    pub kept_in_doubt: bool,
}

/// An outcome that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Evicted {
    /// The stage that executed it.
    pub stage: StageName,
    /// Its key.
    pub key: Digest,
    /// When it was last used, milliseconds since 1970 (UTC).
    pub used_ms: u64,
}

impl Collection {
    /// Bytes that are removed.
    #[must_use]
    pub fn removed_bytes(&self) -> u64 {
        self.evicted_bytes + self.unreachable_bytes + self.leftover_bytes
    }

    /// Whether there is anything to remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.evicted.is_empty() && self.unreachable == 0 && self.leftovers == 0
    }
}

/// A record, as far as it matters to what goes.
#[derive(Debug)]
struct Candidate {
    key: Digest,
    bytes: u64,
    used: SystemTime,
    objects: Vec<Digest>,
}

/// What goes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Choice {
    /// Positions of records, least recently used first.
    records: Vec<usize>,
    /// Objects that only these name, with their length.
    objects: Vec<(Digest, u64)>,
    /// Objects that no record names at all, with their length.
    unnamed: Vec<(Digest, u64)>,
    /// Bytes of what stays.
    bytes: u64,
    /// Bytes of what is needed.
    needed_bytes: u64,
}

impl Choice {
    /// The same where nothing goes.
    fn of_nothing(self, records: &[Candidate], objects: &HashMap<Digest, u64>) -> Self {
        let bytes = objects.values().sum::<u64>() + records.iter().map(|record| record.bytes).sum::<u64>();
        Self { bytes, needed_bytes: self.needed_bytes, ..Self::default() }
    }
}

fn choose(
    records: &[Candidate],
    objects: &HashMap<Digest, u64>,
    needed: &HashSet<Digest>,
    limit: u64,
) -> Choice {
    // By object, how many records name it.
    let mut named: HashMap<Digest, usize> = HashMap::new();
    let mut needed_objects = HashSet::new();
    for record in records {
        let own: HashSet<&Digest> = record.objects.iter().collect();
        own.iter().for_each(|digest| *named.entry(**digest).or_default() += 1);
        if needed.contains(&record.key) {
            needed_objects.extend(own.into_iter().copied());
        }
    }
    let length = |digest: &Digest| objects.get(digest).copied().unwrap_or(0);
    let is_needed = |record: &&Candidate| needed.contains(&record.key);
    let mut choice = Choice {
        unnamed: objects
            .iter()
            .filter(|(digest, _)| !named.contains_key(digest))
            .map(|(d, bytes)| (*d, *bytes))
            .collect(),
        needed_bytes: needed_objects.iter().map(length).sum::<u64>()
            + records.iter().filter(is_needed).map(|record| record.bytes).sum::<u64>(),
        ..Choice::default()
    };
    choice.bytes =
        named.keys().map(length).sum::<u64>() + records.iter().map(|record| record.bytes).sum::<u64>();
    let mut order: Vec<(usize, &Candidate)> = records.iter().enumerate().collect();
    order.retain(|(_, record)| !needed.contains(&record.key));
    // The next one to go is the last.
    order.sort_by_key(|(_, record)| Reverse((record.used, record.key)));
    while choice.bytes > limit
        && let Some((position, record)) = order.pop()
    {
        choice.records.push(position);
        choice.bytes -= record.bytes;
        for digest in record.objects.iter().collect::<HashSet<_>>() {
            // What nothing is known of stays.
            let Some(count) = named.get_mut(digest) else { continue };
            *count -= 1;
            if *count == 0
                && let Some(bytes) = objects.get(digest)
            {
                choice.objects.push((*digest, *bytes));
                choice.bytes -= bytes;
            }
        }
    }
    choice
}

impl Store {
    /// Removes what can never be used again, then what was not used for the longest time until objects and records
    /// take `limit` bytes at most. `needed` are the keys whose outcomes, and partial work, stay in any case; those that
    /// other pipelines made their artifacts from last are added. With `dry_run` it is only said what would go.
    ///
    /// # Errors
    /// When something cannot be read or removed, or it cannot be told what another pipeline needs. What has been removed
    /// by then is what was to be.
    pub fn collect(
        &self,
        _alone: &Alone<'_>,
        needed: &HashSet<Digest>,
        limit: u64,
        dry_run: bool,
    ) -> Result<Collection, StoreError> {
        let mut needed = needed.clone();
        needed.extend(self.keys_of_others()?);
        let listed = self.list_objects();
        let objects = lengths(&listed);
        let Records { files, unreadable: mut doubtful, .. } = self.list_records();
        let (whole, mut damaged) = split(files, &mut doubtful);
        let candidates = self.candidates(&whole, &mut doubtful);
        let mut unread = Vec::new();
        let of_no_run = self.of_no_run(&self.others()?, &mut unread);
        let counting = of_no_run.iter().filter(|path| path.starts_with(&self.shared));
        let counting = counting.filter(|path| !path.starts_with(self.definitions_folder()));
        let superseded_gone: u64 = counting.map(|path| size(path)).sum();
        // They stay as long as the runs do that show them.
        let superseded = self.superseded_bytes().saturating_sub(superseded_gone);
        let mut choice = choose(&candidates, &objects, &needed, limit.saturating_sub(superseded));
        let kept_in_doubt = !doubtful.is_empty();
        if kept_in_doubt {
            choice = choice.of_nothing(&candidates, &objects);
            damaged.clear();
        }
        let mut unreadable = [listed.unreadable, doubtful, unread].concat();
        let evicted = choice.records.iter().filter_map(|position| whole.get(*position));
        let evicted: Vec<&(RecordFile, Content)> = evicted.collect();
        let finished: HashSet<Digest> = whole.iter().map(|(_, content)| content.key).collect();
        let mut leftovers = self.leftovers(&needed, &finished, &mut unreadable);
        leftovers.extend(of_no_run);
        unreadable.sort();
        let sum = |objects: &[(Digest, u64)]| objects.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let collection = Collection {
            limit,
            evicted: evicted
                .iter()
                .map(|(file, content)| Evicted {
                    stage: content.stage.clone(),
                    key: content.key,
                    used_ms: millis(file.used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()),
                })
                .collect(),
            evicted_bytes: evicted.iter().map(|(file, _)| file.bytes).sum::<u64>() + sum(&choice.objects),
            unreachable: choice.unnamed.len() + damaged.len(),
            unreachable_bytes: sum(&choice.unnamed) + damaged.iter().map(|file| file.bytes).sum::<u64>(),
            leftovers: leftovers.len(),
            leftover_bytes: leftovers.iter().map(|path| size(path)).sum(),
            records: whole.len() - evicted.len(),
            objects: objects.len() - choice.objects.len() - choice.unnamed.len(),
            bytes: choice.bytes + superseded,
            needed_bytes: choice.needed_bytes + superseded,
            unreadable,
            kept_in_doubt,
        };
        if !dry_run {
            let records =
                evicted.iter().map(|(file, _)| &file.path).chain(damaged.iter().map(|file| &file.path));
            remove_all(&records.collect::<Vec<_>>())?;
            let gone = choice.objects.iter().chain(&choice.unnamed).map(|(digest, _)| self.object(digest));
            remove_all(&gone.collect::<Vec<_>>())?;
            remove_all(&leftovers)?;
            self.set_size(collection.bytes)?;
        }
        Ok(collection)
    }

    fn candidates(
        &self,
        records: &[(RecordFile, Content)],
        doubtful: &mut Vec<Unreadable>,
    ) -> Vec<Candidate> {
        let candidate = |(file, content): &(RecordFile, Content)| {
            let (named, doubt) = match self.named_by(content) {
                Ok(named) => (named, None),
                Err(StoreError::Io { path, source, .. }) => {
                    (content.heads(), Some(Unreadable::new(&path, source)))
                }
                Err(error) => (content.heads(), Some(Unreadable::new(&file.path, error))),
            };
            let objects = named.into_iter().map(|named| named.digest).collect();
            (Candidate { key: content.key, bytes: file.bytes, used: file.used, objects }, doubt)
        };
        let (candidates, doubts): (Vec<_>, Vec<_>) = records.par_iter().map(candidate).unzip();
        doubtful.extend(doubts.into_iter().flatten());
        candidates
    }

    /// What has been lying about beside objects and records: partial work of keys that are finished, and anything that
    /// was left for weeks and is not `needed`.
    fn leftovers(
        &self,
        needed: &HashSet<Digest>,
        finished: &HashSet<Digest>,
        unreadable: &mut Vec<Unreadable>,
    ) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut read = |folder: &Path| or_note(entries(folder), folder, unreadable);
        for path in read(&self.folder.join("resume")) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let key: Option<Digest> = name.rsplit('-').next().and_then(|key| key.parse().ok());
            let is_needed = key.is_some_and(|key| needed.contains(&key));
            let is_finished = key.is_some_and(|key| finished.contains(&key));
            if is_finished || (!is_needed && is_stale(&path)) {
                found.push(path);
            }
        }
        let kept_for_a_while =
            [self.folder.join("manifests"), self.folder.join("continue"), self.shared.join("corrupt")];
        for folder in kept_for_a_while {
            found.extend(read(&folder).into_iter().filter(|path| is_stale(path)));
        }
        found
    }

    /// What was kept for pages of runs, of this pipeline and of `others`, that are on record no more: what their pipelines said, and
    /// outcomes that others took the place of. All of it stays where a record of a run cannot be read: it may be of that.
    fn of_no_run(&self, others: &[PathBuf], unreadable: &mut Vec<Unreadable>) -> Vec<PathBuf> {
        let mut doubts = Vec::new();
        let runs = self.all_runs(others, &mut doubts);
        let is_known = doubts.is_empty();
        unreadable.append(&mut doubts);
        if !is_known {
            return Vec::new();
        }
        let said: HashSet<PathBuf> =
            runs.iter().filter_map(|run| Some(self.definition_file(run.definition.as_ref()?))).collect();
        let is_named = |path: &Path| {
            let name = path.file_stem().and_then(|name| name.to_str());
            name.is_some_and(|name| name.parse::<Digest>().is_ok())
        };
        let folder = self.definitions_folder();
        let definitions = or_note(entries(&folder), &folder, unreadable).into_iter();
        // What has another name is nothing of ours.
        let mut found: Vec<PathBuf> =
            definitions.filter(|path| is_named(path) && !said.contains(path)).collect();
        found.extend(self.superseded_of_none(&runs, unreadable));
        found
    }
}

/// Records that are whole, with what they say, and those that are damaged. Those that cannot be read are neither.
fn split(
    files: Vec<RecordFile>,
    unreadable: &mut Vec<Unreadable>,
) -> (Vec<(RecordFile, Content)>, Vec<RecordFile>) {
    let (mut whole, mut damaged) = (Vec::new(), Vec::new());
    for mut file in files {
        match std::mem::replace(&mut file.said, Said::Damaged) {
            Said::Whole(content) => whole.push((file, content)),
            Said::Damaged => damaged.push(file),
            Said::Unreadable(why) => unreadable.push(Unreadable { path: file.path, why }),
        }
    }
    (whole, damaged)
}

fn remove_all<P: AsRef<Path> + Sync>(paths: &[P]) -> Result<(), StoreError> {
    paths.par_iter().try_for_each(|path| remove(path.as_ref()))
}

/// Whether nothing in it was written to, or moved there, for weeks.
fn is_stale(path: &Path) -> bool {
    let walk = walkdir::WalkDir::new(path).into_iter().flatten();
    let changed = walk.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.ctime()).max();
    let changed = changed.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    changed.is_some_and(|changed| changed + STALE < now)
}

/// Bytes of the files below a path, or of the file there. What cannot be read counts for nothing.
fn size(path: &Path) -> u64 {
    let walk = walkdir::WalkDir::new(path).into_iter().flatten();
    walk.filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests;
