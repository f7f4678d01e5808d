//! The files in which the outcome of the last run is kept: one with what it came to and the sights that it rests on, one with
//! the pipeline, and one with the records of its stages, to which later runs add. Knows nothing of what they say.
//!
//! The first one is written last and vouches for the others: of these it has the digests.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;

use pipeline::digest::Digest;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use record::ActionRecord;

use super::error::at;
use super::sight::{Seen, Sights};
use super::stat::StatKey;
use super::{Durability, Lock, Store, StoreError};

/// The first bytes of the file that holds sights.
const MAGIC: &[u8] = b"pipe standing v3\n";
/// The last bytes of it, which vouch for the others.
const CHECKSUM: usize = 32;
/// Bytes of an [`Entry`].
const ENTRY: usize = 8 + 4 + 8;
/// The file of records is written anew when it would be longer than this many times what counts of it.
const SLACK: u64 = 3;

/// Where the record of a stage lies in the file of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    offset: u64,
    length: u32,
    /// The first bytes of its digest.
    check: u64,
}

/// Where the records of all stages lie, by position. `None` for a stage that has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records(Vec<Option<Entry>>);

/// A record to be kept.
#[derive(Debug)]
pub enum KeptRecord {
    /// The stage has none.
    None,
    /// It is the one that was kept before.
    Before,
    /// Another one.
    Anew(Vec<u8>),
}

/// What was kept of the last run, and proof that no run was under way when it was read.
#[derive(Debug)]
pub struct NullRun {
    bytes: Vec<u8>,
    text: Range<usize>,
    records: Records,
    sights: Range<usize>,
    identity: StatKey,
    lock: File,
    /// What the file system said of the lock's file.
    free: StatKey,
}

impl NullRun {
    /// What it came to.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.bytes.get(self.text.clone()).unwrap_or_default()
    }

    /// What it rests on.
    #[must_use]
    pub fn sights(&self) -> &[u8] {
        self.bytes.get(self.sights.clone()).unwrap_or_default()
    }

    /// Where the records of its stages are.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// Lets other runs begin.
    pub fn release(&self) {
        // The file is closed in the end, which does the same.
        let _ = self.lock.unlock();
    }
}

impl Store {
    /// What was kept last. `None` where there is nothing, it is damaged, or a run is under way.
    #[must_use]
    pub fn null_run(&self) -> Option<NullRun> {
        let lock = regular::open(&self.folder.join("lock")).ok()?;
        lock.try_lock_shared().ok()?;
        let free = StatKey::of(&lock.metadata().ok()?);
        let file = self.null_run_file();
        let identity = StatKey::of(&std::fs::metadata(&file).ok()?);
        let bytes = regular::read(&file).ok()?;
        let (text, records, sights) = unseal(&bytes)?;
        Some(NullRun { bytes, text, records, sights, identity, lock, free })
    }

    /// Whether nobody has held the lock since that was read, and it is there with all on which everything rests. To be called under
    /// [`Store::lock`].
    #[must_use]
    pub fn still_stands(&self, null_run: &NullRun, lock: &Lock) -> bool {
        lock.found() == Some(null_run.free)
            && std::fs::metadata(self.null_run_file()).is_ok_and(|now| StatKey::of(&now) == null_run.identity)
            // Another pipeline that shares the cache may have emptied it.
            && self.see_common(null_run.sights())
    }

    /// Looks again at all that it rests on.
    #[must_use]
    pub fn see_null_run(&self, null_run: &NullRun) -> Seen {
        self.see(null_run.sights())
    }

    /// Keeps what a run came to together with the sights that it rests on, and the records of its stages by their position.
    /// `before` is what was kept last, if that still stands.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_null_run(
        &self,
        text: &[u8],
        records: Vec<KeptRecord>,
        before: Option<&NullRun>,
        sights: &Sights,
    ) -> Result<(), StoreError> {
        let records = self.keep_records(records, before)?;
        self.write(&self.null_run_file(), &seal(text, &records, sights), Durability::Eventual)
    }

    /// Forgets what was kept last: to be called before anything is changed on which that rests.
    ///
    /// # Errors
    /// When there is something that cannot be removed.
    pub fn forget_null_run(&self) -> Result<(), StoreError> {
        let file = self.null_run_file();
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at("remove", &file)(error)),
            _ => Ok(()),
        }
    }

    /// Keeps a pipeline as lines, unless they are there already, and gives their digest.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep_pipeline(&self, lines: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of_bytes(lines);
        if self.kept_pipeline(&digest).is_none() {
            self.write(&self.pipeline_file(), lines, Durability::Eventual)?;
        }
        Ok(digest)
    }

    /// The pipeline with that digest, if that is what was kept last.
    #[must_use]
    pub fn kept_pipeline(&self, digest: &Digest) -> Option<Vec<u8>> {
        let lines = regular::read(&self.pipeline_file()).ok()?;
        (Digest::of_bytes(&lines) == *digest).then_some(lines)
    }

    /// The records that were kept of stages, by their position. `None` where one is damaged.
    #[must_use]
    pub fn kept_records(&self, records: &Records) -> Option<Vec<Option<ActionRecord>>> {
        let bytes = regular::read(&self.records_file()).ok()?;
        let read = |entry: &Option<Entry>| match entry {
            None => Some(None),
            Some(entry) => Some(Some(serde_json::from_slice(line(&bytes, entry)?).ok()?)),
        };
        records.0.par_iter().map(read).collect()
    }

    /// Adds records to the file of those before, or writes it anew.
    fn keep_records(
        &self,
        records: Vec<KeptRecord>,
        before: Option<&NullRun>,
    ) -> Result<Records, StoreError> {
        let file = self.records_file();
        let kept = before.and_then(|before| Some((&before.records.0, regular::open(&file).ok()?)));
        let size = kept.as_ref().and_then(|(_, file)| Some(file.metadata().ok()?.len()));
        let entry = |position: usize| kept.as_ref().and_then(|(entries, _)| *entries.get(position)?);
        let lengths = records.iter().enumerate().map(|(position, record)| match record {
            KeptRecord::None => 0,
            KeptRecord::Before => entry(position).map_or(0, |entry| u64::from(entry.length)),
            KeptRecord::Anew(line) => line.len() as u64,
        });
        let needed: u64 = lengths.sum();
        let added: u64 = records
            .iter()
            .map(|record| if let KeptRecord::Anew(line) = record { line.len() as u64 } else { 0 })
            .sum();
        let is_longer = |size: u64| size + added > SLACK * needed;
        let (mut entries, mut bytes) = (Vec::with_capacity(records.len()), Vec::new());
        let start = size.filter(|size| !is_longer(*size));
        let old = match start {
            Some(_) => Vec::new(),
            None if before.is_some() => regular::read(&file).map_err(at("read", &file))?,
            None => Vec::new(),
        };
        for (position, record) in records.into_iter().enumerate() {
            let anew: &[u8] = match &record {
                KeptRecord::None => {
                    entries.push(None);
                    continue;
                }
                KeptRecord::Before if start.is_some() => {
                    entries.push(entry(position));
                    continue;
                }
                KeptRecord::Before => match entry(position).and_then(|entry| line(&old, &entry)) {
                    Some(line) => line,
                    None => return Err(StoreError::Changing { path: file }),
                },
                KeptRecord::Anew(line) => line,
            };
            let offset = start.unwrap_or(0) + bytes.len() as u64;
            let length =
                u32::try_from(anew.len()).map_err(|_| StoreError::Changing { path: file.clone() })?;
            entries.push(Some(Entry { offset, length, check: check(anew) }));
            bytes.extend_from_slice(anew);
        }
        match start {
            None => self.write(&file, &bytes, Durability::Eventual)?,
            Some(_) if bytes.is_empty() => {}
            Some(_) => {
                let add = |mut file: File| file.write_all(&bytes);
                regular::append(&file).and_then(add).map_err(at("write", &file))?;
            }
        }
        Ok(Records(entries))
    }

    fn null_run_file(&self) -> PathBuf {
        self.folder.join("standing")
    }

    fn pipeline_file(&self) -> PathBuf {
        self.folder.join("standing-pipeline")
    }

    fn records_file(&self) -> PathBuf {
        self.folder.join("standing-records")
    }
}

/// A record in the bytes of its file, unless it is damaged.
fn line<'b>(bytes: &'b [u8], entry: &Entry) -> Option<&'b [u8]> {
    let start = usize::try_from(entry.offset).ok()?;
    let line = bytes.get(start..start.checked_add(usize::try_from(entry.length).ok()?)?)?;
    (check(line) == entry.check).then_some(line)
}

fn check(line: &[u8]) -> u64 {
    let digest = Digest::of_bytes(line);
    u64::from_le_bytes(digest.as_bytes().first_chunk().copied().unwrap_or_default())
}

/// All that is kept, as one file.
fn seal(text: &[u8], records: &Records, sights: &Sights) -> Vec<u8> {
    let table = records.0.len() * ENTRY;
    let mut bytes =
        Vec::with_capacity(MAGIC.len() + 16 + text.len() + table + sights.as_bytes().len() + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&(records.0.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text);
    for entry in &records.0 {
        let entry = entry.unwrap_or(Entry { offset: u64::MAX, length: 0, check: 0 });
        bytes.extend_from_slice(&entry.offset.to_le_bytes());
        bytes.extend_from_slice(&entry.length.to_le_bytes());
        bytes.extend_from_slice(&entry.check.to_le_bytes());
    }
    bytes.extend_from_slice(sights.as_bytes());
    let checksum = Digest::of_bytes(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

/// Where text and sights of a file are, and its table, unless it is damaged.
fn unseal(bytes: &[u8]) -> Option<(Range<usize>, Records, Range<usize>)> {
    let end = bytes.len().checked_sub(CHECKSUM)?;
    let (body, checksum) = bytes.split_at_checked(end)?;
    if Digest::of_bytes(body).as_bytes() != checksum {
        return None;
    }
    let (length, rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    let (count, _) = rest.split_first_chunk::<8>()?;
    let text = MAGIC.len() + 16;
    let table = text.checked_add(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let count = usize::try_from(u64::from_le_bytes(*count)).ok()?;
    let sights = table.checked_add(count.checked_mul(ENTRY)?)?;
    let (entries, rest) = body.get(table..sights)?.as_chunks::<ENTRY>();
    let entry = |bytes: &[u8; ENTRY]| -> Option<Entry> {
        let (offset, rest) = bytes.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let entry = Entry {
            offset: u64::from_le_bytes(*offset),
            length: u32::from_le_bytes(*length),
            check: u64::from_le_bytes(*rest.first_chunk::<8>()?),
        };
        (entry.offset != u64::MAX).then_some(entry)
    };
    rest.is_empty().then(|| (text..table, Records(entries.iter().map(entry).collect()), sights..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    use record::arbitrary::action_records;

    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    fn lines(count: usize) -> Vec<(ActionRecord, Vec<u8>)> {
        let mut runner = TestRunner::deterministic();
        let record = || action_records().new_tree(&mut runner).unwrap().current();
        let records: Vec<ActionRecord> = std::iter::repeat_with(record).take(count).collect();
        records.into_iter().map(|record| (record.clone(), serde_json::to_vec(&record).unwrap())).collect()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        drop(store.lock(&mut |_| ()).unwrap());
        (root, store)
    }

    #[test]
    fn records_are_added_and_the_file_is_written_anew_before_it_is_mostly_waste() {
        let (_root, store) = store();
        let all = lines(40);
        let (first, rest) = all.split_first().unwrap();
        let (second, rest) = rest.split_first().unwrap();
        let anew = |line: &Vec<u8>| KeptRecord::Anew(line.clone());
        let kept = vec![anew(&first.1), KeptRecord::None, anew(&second.1)];
        store.keep_null_run(b"text", kept, None, &Sights::default()).unwrap();
        let mut sizes = Vec::new();
        for (record, line) in rest {
            let before = store.null_run().unwrap();
            assert_eq!(before.text(), b"text");
            let kept = vec![KeptRecord::Before, KeptRecord::None, anew(line)];
            store.keep_null_run(b"text", kept, Some(&before), &Sights::default()).unwrap();
            let now = store.null_run().unwrap();
            let read = store.kept_records(now.records()).unwrap();
            assert_eq!(read, [Some(first.0.clone()), None, Some(record.clone())]);
            sizes.push(std::fs::metadata(store.records_file()).unwrap().len());
        }
        assert!(
            sizes.windows(2).any(|pair| pair[0] < pair[1]) && sizes.windows(2).any(|pair| pair[0] > pair[1])
        );
    }

    #[test]
    fn a_damaged_record_or_pipeline_is_none() {
        let (_root, store) = store();
        let all = lines(2);
        let kept = all.iter().map(|(_, line)| KeptRecord::Anew(line.clone())).collect();
        store.keep_null_run(b"", kept, None, &Sights::default()).unwrap();
        let digest = store.keep_pipeline(b"lines").unwrap();
        let read = || store.kept_records(store.null_run().unwrap().records());
        assert_eq!(read().unwrap().len(), 2);
        assert_eq!(store.kept_pipeline(&digest).as_deref(), Some(&b"lines"[..]));
        for (file, is_read) in [(store.records_file(), true), (store.pipeline_file(), false)] {
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[1] ^= 1;
            std::fs::write(&file, bytes).unwrap();
            if is_read {
                assert_eq!(read(), None);
            } else {
                assert_eq!(store.kept_pipeline(&digest), None);
            }
        }
    }

    #[test]
    fn nothing_is_read_while_a_run_lasts_and_what_was_read_stands_until_it_is_forgotten() {
        let (_root, store) = store();
        store.keep_null_run(b"text", vec![], None, &Sights::default()).unwrap();
        let read = store.null_run().unwrap();
        assert_eq!(store.see_null_run(&read), Seen::Same);
        read.release();
        let lock = store.lock(&mut |_| ()).unwrap();
        assert!(store.null_run().is_none() && store.still_stands(&read, &lock));
        store.forget_null_run().unwrap();
        assert!(!store.still_stands(&read, &lock));
    }

    #[test]
    fn nothing_stands_once_somebody_held_the_lock() {
        let (_root, store) = store();
        store.keep_null_run(b"text", vec![], None, &Sights::default()).unwrap();
        let read = store.null_run().unwrap();
        read.release();
        // The clock of files may stand still for some milliseconds.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while store.still_stands(&read, &store.lock(&mut |_| ()).unwrap()) {
            assert!(std::time::Instant::now() < until, "it is not noticed");
        }
        let later = store.null_run().unwrap();
        later.release();
        assert!(store.still_stands(&later, &store.lock(&mut |_| ()).unwrap()));
    }

    proptest! {
        #[test]
        fn what_is_kept_is_read_again_and_damage_is_noticed(
            text in any::<Vec<u8>>(),
            entries in proptest::collection::vec(proptest::option::of((0..1_000_000u64, any::<u32>(), any::<u64>())), 0..4),
            at in any::<prop::sample::Index>(),
        ) {
            let entry = |(offset, length, check)| Entry { offset, length, check };
            let records = Records(entries.into_iter().map(|one| one.map(entry)).collect());
            let mut sights = Sights::default();
            sights.extend(b"sights");
            let mut sealed = seal(&text, &records, &sights);
            let (read, table, seen) = unseal(&sealed).unwrap();
            prop_assert_eq!((&sealed[read], &table, &sealed[seen]), (&text[..], &records, &b"sights"[..]));
            let index = at.index(sealed.len());
            prop_assert_eq!(unseal(&sealed[..index]), None);
            sealed[index] ^= 1;
            prop_assert_eq!(unseal(&sealed), None);
        }
    }
}
