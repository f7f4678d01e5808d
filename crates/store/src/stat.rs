//! Remembers digests of files by what the file system says of them, so that an unchanged file is never read again.
//!
//! The danger is an edit that leaves (dev, inode, size, mtime, ctime) as they were. Every edit sets ctime to the
//! clock, so that takes two writes within one tick of the clock. Therefore a digest is remembered only if hashing
//! began at least [`MARGIN`] after the file's ctime: whatever is written later then has a later ctime. Files younger
//! than that are remembered by path and hashed again when the cache is saved. (git calls such entries racy.)
//!
//! A mapping of a file may be written to without that, as long as the kernel has not written the page back that was written
//! to before. Therefore nothing is remembered of a file that somebody may have mapped when hashing began: what is mapped
//! later sets ctime with its first write. Where a file system is different, see [`super::medium`].
//!
//! The other danger is a power cut, after which a file may have its new size and times and not its new content; and
//! device numbers may be given anew when the machine starts. Therefore nothing is remembered across a start.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pipeline::digest::Digest;

use super::medium::Medium;
use super::writers::Mapped;

/// Longer than a tick of any kernel's clock (10 ms at 100 Hz).
pub(super) const MARGIN: Duration = Duration::from_millis(25);

/// The same where times have whole seconds only (2 s on FAT).
const COARSE_MARGIN: Duration = Duration::from_millis(2_100);

pub(super) const MAGIC: &[u8] = b"pipe stat cache v3\n";

/// Beyond this many entries those that were not asked for are dropped when it is saved: some 88 MB.
const CAPACITY: usize = 1_000_000;

const ENTRY: usize = 7 * 8 + 32;

pub(super) const CHECKSUM: usize = 32;

/// What the file system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct StatKey {
    dev: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    mtime: [i64; 2],
    /// Seconds and nanoseconds.
    ctime: [i64; 2],
}

impl StatKey {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            mtime: [metadata.mtime(), metadata.mtime_nsec()],
            ctime: [metadata.ctime(), metadata.ctime_nsec()],
        }
    }

    /// The same, as told by another call.
    pub(super) fn of_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            dev: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size.cast_unsigned(),
            mtime: [stat.st_mtime, stat.st_mtime_nsec.cast_signed()],
            ctime: [stat.st_ctime, stat.st_ctime_nsec.cast_signed()],
        }
    }

    /// The same of a file that may be another one in another mount.
    pub(super) fn within(self, mount: u64) -> Self {
        let digest = Digest::of_bytes(&[self.dev.to_le_bytes(), mount.to_le_bytes()].concat());
        let first = digest.as_bytes().first_chunk().copied().unwrap_or_default();
        Self { dev: u64::from_le_bytes(first), ..self }
    }

    /// Device and inode, which all names of a file have in common.
    pub(super) fn number(&self) -> (u64, u64) {
        (self.dev, self.inode)
    }

    /// The same without the file's number, where that may become another.
    pub(super) fn without_number(self) -> Self {
        Self { dev: 0, inode: 0, ..self }
    }

    /// Whether nothing but the time at which its properties changed tells this from `now`.
    pub(super) fn is_same_but_ctime(&self, now: &Self) -> bool {
        Self { ctime: now.ctime, ..*self } == *now
    }

    /// Whether this, a folder, has been moved, replaced or given other properties by the time of `now`. Nothing is known of a
    /// folder in which something was put or from which something was taken meanwhile.
    pub(super) fn is_moved(&self, now: &Self) -> bool {
        (self.dev, self.inode) != (now.dev, now.inode) || (self.mtime == now.mtime && self.ctime != now.ctime)
    }

    /// Whether the file had not been written to for long enough when the clock showed `then`.
    pub(super) fn is_settled(&self, then: SystemTime) -> bool {
        self.is_older(Duration::ZERO, then)
    }

    /// As long after its ctime as this, whatever is written to the file has a later one.
    pub(super) fn margin(&self) -> Duration {
        if self.ctime[1] == 0 { COARSE_MARGIN } else { MARGIN }
    }

    /// The same in whole seconds, as file systems keep times that have no room for more.
    #[cfg(test)]
    pub(super) fn coarse(self) -> Self {
        Self { mtime: [self.mtime[0], 0], ctime: [self.ctime[0], 0], ..self }
    }

    /// Whether the file had not been written to for `age` more than that.
    pub(super) fn is_older(&self, age: Duration, then: SystemTime) -> bool {
        let settled = self.changed().and_then(|changed| changed.checked_add(self.margin())?.checked_add(age));
        settled.is_some_and(|settled| settled <= then)
    }

    /// When anything of the file changed last.
    pub(super) fn changed(&self) -> Option<SystemTime> {
        let [seconds, nanos] = self.ctime;
        let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
        SystemTime::UNIX_EPOCH.checked_add(since)
    }

    pub(super) fn to_words(self) -> [u64; 7] {
        let [mtime, mtime_nanos] = self.mtime.map(i64::cast_unsigned);
        let [ctime, ctime_nanos] = self.ctime.map(i64::cast_unsigned);
        [self.dev, self.inode, self.size, mtime, mtime_nanos, ctime, ctime_nanos]
    }

    pub(super) fn from_words([dev, inode, size, mtime, mtime_nanos, ctime, ctime_nanos]: [u64; 7]) -> Self {
        Self {
            dev,
            inode,
            size,
            mtime: [mtime, mtime_nanos].map(u64::cast_signed),
            ctime: [ctime, ctime_nanos].map(u64::cast_signed),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    key: StatKey,
    digest: Digest,
    /// Asked for or made by this process.
    used: bool,
}

/// For how long a digest is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// Until the file changes.
    Lasting,
    /// Not at all, but the file is worth being hashed again in a moment: then the next edit shows.
    Later,
    /// Not at all.
    None,
}

/// Digests by file. Read from its file when first asked.
#[derive(Debug)]
pub(super) struct StatCache {
    file: PathBuf,
    /// By device and inode.
    entries: Option<HashMap<(u64, u64), Entry>>,
    dirty: bool,
    young: BTreeSet<PathBuf>,
    /// What is not a digest of contents, and goes with this process.
    presumed: HashMap<StatKey, Digest>,
    /// By device.
    media: HashMap<u64, Medium>,
    /// What was mapped when somebody asked for it last.
    mapped: Option<Mapped>,
}

impl StatCache {
    pub(super) fn new(file: PathBuf) -> Self {
        Self {
            file,
            entries: None,
            dirty: false,
            young: BTreeSet::new(),
            presumed: HashMap::new(),
            media: HashMap::new(),
            mapped: None,
        }
    }

    /// The digest of a file that has not changed since.
    pub(super) fn get(&mut self, key: &StatKey) -> Option<Digest> {
        if let Some(presumed) = self.presumed.get(key) {
            return Some(*presumed);
        }
        let entry = self.entries().get_mut(&(key.dev, key.inode)).filter(|entry| entry.key == *key)?;
        entry.used = true;
        Some(entry.digest)
    }

    /// Remembers the digest of a file.
    pub(super) fn put(&mut self, path: &Path, key: StatKey, digest: Digest, memory: Memory) {
        match memory {
            Memory::Lasting => {
                self.entries().insert((key.dev, key.inode), Entry { key, digest, used: true });
                self.dirty = true;
            }
            Memory::Later => drop(self.young.insert(path.to_owned())),
            // What is remembered of it as it was before is of no use any more.
            Memory::None => {}
        }
    }

    /// The medium that a file is on which the file system says to be on device `dev`.
    pub(super) fn medium(&mut self, dev: u64, path: &Path) -> Medium {
        *self.media.entry(dev).or_insert_with(|| Medium::on(dev, path))
    }

    /// Whether a process that may be looked at has the file mapped, so that it can write to it.
    pub(super) fn is_mapped(&mut self, key: &StatKey) -> bool {
        // What is mapped after all were looked at sets a later time of change when it is written to.
        let known = self.mapped.take().filter(|mapped| key.is_settled(mapped.when()));
        self.mapped.insert(known.unwrap_or_else(Mapped::now)).holds(key.inode)
    }

    /// Takes `digest` for a file's until it changes or this process ends, if it had not been written to for long enough by
    /// `then`.
    pub(super) fn presume(&mut self, key: StatKey, digest: Digest, then: SystemTime) {
        if key.is_settled(then) {
            self.presumed.insert(key, digest);
        }
    }

    /// Has a file or folder hashed when the cache is saved.
    pub(super) fn remember_later(&mut self, path: &Path) {
        self.young.insert(path.to_owned());
    }

    /// Files and folders that were too young to be remembered.
    pub(super) fn take_young(&mut self) -> BTreeSet<PathBuf> {
        std::mem::take(&mut self.young)
    }

    /// What to write, if there is anything new.
    pub(super) fn unsaved(&mut self) -> Option<Vec<u8>> {
        if !self.dirty {
            return None;
        }
        let entries = self.entries();
        if entries.len() > CAPACITY {
            entries.retain(|_, entry| entry.used);
        }
        let mut bytes = Vec::with_capacity(MAGIC.len() + entries.len() * ENTRY + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(boot().as_bytes());
        for entry in entries.values() {
            for word in entry.key.to_words() {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            bytes.extend_from_slice(entry.digest.as_bytes());
        }
        let checksum = Digest::of_bytes(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        Some(bytes)
    }

    /// What [`StatCache::unsaved`] gave has been written.
    pub(super) fn saved(&mut self) {
        self.dirty = false;
    }

    fn entries(&mut self) -> &mut HashMap<(u64, u64), Entry> {
        self.entries.get_or_insert_with(|| {
            // A cache that is missing or damaged knows nothing, and is written anew.
            regular::read(&self.file).ok().and_then(|bytes| parse(&bytes, &boot())).unwrap_or_default()
        })
    }
}

/// Which start of the machine this is; the same for all where the system does not tell.
pub(super) fn boot() -> Digest {
    Digest::of_bytes(&fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default())
}

pub(super) fn parse(bytes: &[u8], boot: &Digest) -> Option<HashMap<(u64, u64), Entry>> {
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
    if Digest::of_bytes(body).as_bytes() != checksum {
        return None;
    }
    let (entries, rest) = body.strip_prefix(MAGIC)?.strip_prefix(boot.as_bytes())?.as_chunks::<ENTRY>();
    if !rest.is_empty() {
        return None;
    }
    let entry = |bytes: &[u8; ENTRY]| {
        let (words, digest) = bytes.split_at_checked(ENTRY - 32)?;
        let (words, _) = words.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next();
        let words = [next()?, next()?, next()?, next()?, next()?, next()?, next()?];
        let key = StatKey::from_words(words);
        let digest = Digest::from_bytes(digest.try_into().ok()?);
        Some(((key.dev, key.inode), Entry { key, digest, used: false }))
    };
    entries.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn key(ctime: [i64; 2]) -> StatKey {
        StatKey { dev: 1, inode: 2, size: 3, mtime: [4, 5], ctime }
    }

    fn after(seconds: u64, millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(seconds * 1_000 + millis)
    }

    #[test]
    fn a_file_is_settled_once_the_clock_has_moved_on() {
        assert!(!key([100, 1]).is_settled(after(100, 10)));
        assert!(key([100, 1]).is_settled(after(100, 26)));
        assert!(!key([200, 1]).is_settled(after(100, 0)), "a clock that was set back proves nothing");
    }

    #[test]
    fn a_file_can_be_asked_to_be_older() {
        let age = Duration::from_secs(35);
        assert!(!key([100, 1]).is_older(age, after(135, 10)));
        assert!(key([100, 1]).is_older(age, after(135, 26)));
        assert!(!key([100, 1]).is_older(Duration::MAX, after(1_000_000, 0)));
    }

    #[test]
    fn a_folder_in_which_something_is_put_has_not_moved() {
        let before = key([100, 1]);
        assert!(!before.is_moved(&StatKey { mtime: [6, 7], ctime: [101, 0], size: 9, ..before }));
        assert!(before.is_moved(&StatKey { ctime: [101, 0], ..before }));
        assert!(before.is_moved(&StatKey { inode: 9, mtime: [6, 7], ctime: [101, 0], ..before }));
    }

    #[test]
    fn whole_seconds_take_longer_to_settle() {
        assert!(!key([100, 0]).is_settled(after(101, 0)));
        assert!(key([100, 0]).is_settled(after(103, 0)));
    }

    #[test]
    fn a_young_file_is_not_remembered_but_kept_in_mind() {
        let mut cache = StatCache::new("/nowhere/stat".into());
        cache.put(Path::new("f"), key([100, 1]), Digest::of_bytes(b""), Memory::Later);
        assert_eq!(cache.get(&key([100, 1])), None);
        assert_eq!(cache.take_young().into_iter().collect::<Vec<_>>(), [Path::new("f")]);
        assert_eq!(cache.unsaved(), None);
    }

    #[test]
    fn any_difference_is_a_miss() {
        let mut cache = StatCache::new("/nowhere/stat".into());
        let known = key([100, 1]);
        cache.put(Path::new("f"), known, Digest::of_bytes(b"x"), Memory::Lasting);
        assert_eq!(cache.get(&known), Some(Digest::of_bytes(b"x")));
        for other in [
            StatKey { dev: 9, ..known },
            StatKey { inode: 9, ..known },
            StatKey { size: 9, ..known },
            StatKey { mtime: [4, 9], ..known },
            StatKey { ctime: [100, 2], ..known },
        ] {
            assert_eq!(cache.get(&other), None);
        }
    }

    #[test]
    fn another_start_of_the_machine_knows_nothing() {
        let mut cache = StatCache::new("/nowhere/stat".into());
        cache.put(Path::new("f"), key([100, 1]), Digest::of_bytes(b"x"), Memory::Lasting);
        assert_eq!(parse(&cache.unsaved().unwrap(), &Digest::of_bytes(b"another")), None);
    }

    fn caches() -> impl Strategy<Value = StatCache> {
        proptest::collection::vec((any::<[u64; 3]>(), any::<[i64; 2]>(), any::<u8>()), 1..5).prop_map(
            |files| {
                let mut cache = StatCache::new("/nowhere/stat".into());
                for ([dev, inode, size], mtime, content) in files {
                    let key = StatKey { dev, inode, size, mtime, ctime: [100, 1] };
                    cache.put(Path::new("f"), key, Digest::of_bytes(&[content]), Memory::Lasting);
                }
                cache
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_saved_is_read_again(mut cache in caches()) {
            let mut read = parse(&cache.unsaved().unwrap(), &boot()).unwrap();
            read.values_mut().for_each(|entry| entry.used = true);
            prop_assert_eq!(Some(read), cache.entries);
        }

        #[test]
        fn a_changed_byte_spoils_it_all(mut cache in caches(), at in any::<prop::sample::Index>(), flip in 1u8..) {
            let mut bytes = cache.unsaved().unwrap();
            let index = at.index(bytes.len());
            bytes[index] ^= flip;
            prop_assert_eq!(parse(&bytes, &boot()), None);
        }

        #[test]
        fn so_does_a_lost_one(mut cache in caches(), at in any::<prop::sample::Index>()) {
            let mut bytes = cache.unsaved().unwrap();
            bytes.truncate(at.index(bytes.len()));
            prop_assert_eq!(parse(&bytes, &boot()), None);
        }
    }
}
