//! What the file system said of files at one time, to be compared with what it says at another. As long as it says the
//! same, their contents are the same, and so is the list of what is in a folder. Knows no digests and no stages.
//!
//! The argument is that of the stat cache: see [`super::stat`]. Thousands of files are looked at on several threads,
//! because each look is a system call and little else.

use std::fs::{self, File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use pipeline::digest::Digest;
use pipeline::spec::Ignore;
use rustix::fs::{AtFlags, statat};

use super::Store;
use super::folder::{Folder, Found};
use super::medium::Medium;
use super::stat::StatKey;

/// A thread is worth starting for so many looks.
const LOOKS_A_THREAD: usize = 1_000;

/// More threads than this only wait for each other in the kernel.
const MOST_THREADS: usize = 8;

/// The first bytes of a file that holds sights.
const MAGIC: &[u8] = b"pipe standing v2\n";

/// The last bytes of it, which vouch for the others.
const CHECKSUM: usize = 32;

/// Bytes of what the file system says of a file.
const KEY: usize = 7 * 8;

/// Files and folders as they were seen: for each, what the file system said, the length of the path and the path.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Sights {
    bytes: Vec<u8>,
}

impl Sights {
    fn add(&mut self, path: &Path, root: &Path, key: StatKey) -> Option<()> {
        // Relative to the root, so that the kernel walks fewer folders.
        let path = path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes();
        let length = u16::try_from(path.len()).ok()?;
        for word in key.to_words() {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(path);
        Some(())
    }

    /// As stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the file system says the same again of all files in `bytes`, which [`Sights::as_bytes`] gave. `root` is
    /// the folder that their paths start from.
    #[must_use]
    pub fn hold(bytes: &[u8], root: &Path) -> bool {
        let Ok(root) = File::open(root) else { return false };
        let Some(sights) = parse(bytes) else { return false };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        let share = sights.len().div_ceil(threads).max(LOOKS_A_THREAD);
        let same = |sights: &[Sight<'_>]| sights.iter().all(|sight| sight.holds(&root));
        let mut shares = sights.chunks(share);
        let own = shares.next().unwrap_or_default();
        std::thread::scope(|scope| {
            let others: Vec<_> = shares.map(|share| scope.spawn(move || same(share))).collect();
            let own = same(own);
            // A thread that panicked has not seen that all is the same.
            others.into_iter().fold(own, |all, other| other.join().unwrap_or(false) && all)
        })
    }
}

/// One file or folder as it was seen.
struct Sight<'a> {
    key: StatKey,
    path: &'a [u8],
}

impl Sight<'_> {
    fn holds(&self, root: &File) -> bool {
        statat(root.as_fd(), self.path, AtFlags::empty())
            .is_ok_and(|stat| StatKey::of_stat(&stat) == self.key)
    }
}

fn parse(mut bytes: &[u8]) -> Option<Vec<Sight<'_>>> {
    let mut sights = Vec::with_capacity(bytes.len() / (KEY + 32));
    while !bytes.is_empty() {
        let (words, rest) = bytes.split_at_checked(KEY)?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (path, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let (words, _) = words.as_chunks::<8>();
        let words: [[u8; 8]; 7] = words.try_into().ok()?;
        sights.push(Sight { key: StatKey::from_words(words.map(u64::from_le_bytes)), path });
        bytes = rest;
    }
    Some(sights)
}

impl Store {
    /// Adds what the file system says of a file or folder to `sights`. `None` where its content is not `digest`, or a later
    /// change need not show: because the last one was too recent, or where it lies.
    #[must_use]
    pub fn look(&self, path: &Path, digest: &Digest, sights: &mut Sights) -> Option<()> {
        self.look_at(path, digest, None, sights)
    }

    /// As [`Store::look`] for an output: what was added to a folder and counts for nothing is left out.
    #[must_use]
    pub fn look_at_output(&self, path: &Path, digest: &Digest, sights: &mut Sights) -> Option<()> {
        let before = sights.bytes.len();
        self.ways_to_leave_out(path, digest).find_map(|ignore| {
            sights.bytes.truncate(before);
            self.look_at(path, digest, ignore.as_ref(), sights)
        })
    }

    /// As [`Store::look`] for what a stage reads: of a folder, what counts.
    #[must_use]
    pub fn look_at_input(
        &self,
        path: &Path,
        digest: &Digest,
        ignore: &Ignore,
        sights: &mut Sights,
    ) -> Option<()> {
        self.look_at(path, digest, Some(ignore), sights)
    }

    fn look_at(
        &self,
        path: &Path,
        digest: &Digest,
        ignore: Option<&Ignore>,
        sights: &mut Sights,
    ) -> Option<()> {
        let now = SystemTime::now();
        let metadata = fs::metadata(path).ok()?;
        let key = StatKey::of(&metadata);
        if self.is_far(path, &metadata) {
            return None;
        }
        if metadata.is_file() {
            let known = self.stats().get(&key)?;
            return if known == *digest { sights.add(path, &self.root, key) } else { None };
        }
        let seen = std::sync::Mutex::new(Vec::new());
        let visit = |found: &Found| -> Result<(Digest, u64), super::StoreError> {
            let key = StatKey::of(&found.metadata);
            // What is known is asked for first: both take the same lock.
            let known = self.stats().get(&key);
            let digest = known.filter(|_| !self.is_far(&found.path, &found.metadata));
            let unknown = || super::StoreError::Changing { path: found.path.clone() };
            seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((found.path.clone(), key));
            Ok((digest.ok_or_else(unknown)?, found.metadata.len()))
        };
        // The folders first: whatever is added to one or removed from it later changes it.
        for folder in Folder::folders(path, ignore).ok()? {
            let metadata = fs::metadata(&folder).ok()?;
            let key = StatKey::of(&metadata);
            if !key.is_settled(now) || self.is_far(&folder, &metadata) {
                return None;
            }
            sights.add(&folder, &self.root, key)?;
        }
        let walked = Folder::read(path, ignore, &visit, &mut |_, _, _| ()).ok()?;
        // What a link that leads nowhere would lead to is not seen.
        if walked.has_links || Digest::of_bytes(&walked.folder.to_bytes()) != *digest {
            return None;
        }
        let mut seen = seen.into_inner().ok()?;
        seen.sort_by(|one, two| one.0.cmp(&two.0));
        seen.iter().try_for_each(|(path, key)| sights.add(path, &self.root, *key))
    }

    /// Whether what is said of a file or folder may be out of date until it is opened, or be said of another one in its place.
    fn is_far(&self, path: &Path, metadata: &Metadata) -> bool {
        matches!(self.stats().medium(metadata.dev(), path), Medium::Remote | Medium::Image)
    }

    /// Adds what the file system says of the folders that hold objects and records: it changes when one is added or
    /// removed.
    #[must_use]
    pub fn look_at_cache(&self, sights: &mut Sights) -> Option<()> {
        let now = SystemTime::now();
        for kind in ["actions", "objects"] {
            let all = self.shared.join(kind);
            for entry in fs::read_dir(&all).ok()? {
                let path = entry.ok()?.path();
                let key = StatKey::of(&fs::metadata(&path).ok()?);
                if !key.is_settled(now) {
                    return None;
                }
                sights.add(&path, &self.root, key)?;
            }
        }
        Some(())
    }
}

/// A text and the sights that it rests on, as one file.
pub(super) fn seal(text: &[u8], sights: &Sights) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + 8 + text.len() + sights.bytes.len() + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text);
    bytes.extend_from_slice(&sights.bytes);
    let checksum = Digest::of_bytes(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

/// The text and the sights of a file, unless it is damaged.
pub(super) fn unseal(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
    if Digest::of_bytes(body).as_bytes() != checksum {
        return None;
    }
    let (length, rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_is_read_again(
            text in any::<Vec<u8>>(),
            files in proptest::collection::vec((any::<[u64; 7]>(), "[a-z/é ]{0,12}"), 0..5),
        ) {
            let mut sights = Sights::default();
            for (words, path) in &files {
                sights.add(Path::new(path), Path::new("/root"), StatKey::from_words(*words)).unwrap();
            }
            let sealed = seal(&text, &sights);
            let (read, kept) = unseal(&sealed).unwrap();
            prop_assert_eq!(read, text);
            let kept = parse(kept).unwrap();
            prop_assert_eq!(kept.len(), files.len());
            for (sight, (words, path)) in kept.iter().zip(&files) {
                prop_assert_eq!((sight.key.to_words(), sight.path), (*words, path.as_bytes()));
            }
        }
    }

    /// A store in a folder whose files have not changed for long enough, and a folder in it with two files.
    fn settled() -> (tempfile::TempDir, Store, Digest) {
        let root = super::super::tests::disk();
        fs::create_dir_all(root.path().join("data/inner")).unwrap();
        fs::write(root.path().join("data/one"), "1").unwrap();
        fs::write(root.path().join("data/inner/two"), "2").unwrap();
        let store = Store::open(root.path()).unwrap();
        let data = root.path().join("data");
        let digest = store.digest_path(&data).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while store.look(&data, &digest, &mut Sights::default()).is_none() {
            assert!(Instant::now() < deadline, "files do not settle");
            store.flush().unwrap();
        }
        (root, store, digest)
    }

    #[test]
    fn what_stays_as_it_is_holds_and_what_changes_does_not() {
        let changes: [fn(&Path); 5] = [
            |data| fs::write(data.join("one"), "3").unwrap(),
            |data| fs::write(data.join("inner/three"), "").unwrap(),
            |data| fs::remove_file(data.join("inner/two")).unwrap(),
            |data| fs::rename(data.join("one"), data.join("other")).unwrap(),
            |data| fs::create_dir(data.join("inner/empty")).unwrap(),
        ];
        for (number, change) in changes.iter().enumerate() {
            let (root, store, digest) = settled();
            let data = root.path().join("data");
            let mut sights = Sights::default();
            store.look(&data, &digest, &mut sights).unwrap();
            assert!(Sights::hold(sights.as_bytes(), root.path()));
            change(&data);
            assert!(!Sights::hold(sights.as_bytes(), root.path()), "change {number}");
            assert_eq!(store.look(&data, &digest, &mut sights), None, "change {number}");
        }
    }

    #[test]
    fn another_content_than_was_expected_is_not_looked_at() {
        let (root, store, _) = settled();
        let other = Digest::of_bytes(b"other");
        for path in ["data", "data/one", "nothing"] {
            assert_eq!(store.look(&root.path().join(path), &other, &mut Sights::default()), None);
        }
    }

    #[test]
    fn thousands_are_compared_on_several_threads() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("f");
        fs::write(&file, "x").unwrap();
        let mut sights = Sights::default();
        for _ in 0..5 * LOOKS_A_THREAD {
            sights.add(&file, root.path(), StatKey::of(&fs::metadata(&file).unwrap())).unwrap();
        }
        assert!(Sights::hold(sights.as_bytes(), root.path()));
        sights
            .add(&root.path().join("nothing"), root.path(), StatKey::of(&fs::metadata(&file).unwrap()))
            .unwrap();
        assert!(!Sights::hold(sights.as_bytes(), root.path()));
    }

    #[test]
    fn damage_is_noticed() {
        let sealed = seal(b"text", &Sights { bytes: vec![1, 2, 3] });
        assert_eq!(unseal(&sealed), Some((&b"text"[..], &[1, 2, 3][..])));
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            assert_eq!(unseal(&damaged), None);
            assert_eq!(unseal(&sealed[..index]), None);
        }
        assert!(!Sights::hold(&[1, 2, 3], Path::new("/")));
    }
}
