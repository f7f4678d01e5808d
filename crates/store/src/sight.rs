//! What the file system said of files at one time, to be compared with what it says at another. As long as it says the
//! same, their contents are the same, and so is the list of what is in a folder. Each sight belongs to a [`Group`], so that
//! what has changed leads to who rests on it. Knows no records.
//!
//! The argument is that of the stat cache: see [`super::stat`]. Of what had been written to too recently for that the content
//! is digested each time. Thousands of files are looked at on several threads, because each look is a system call and little
//! else.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use pipeline::digest::Digest;
use rustix::fs::{AtFlags, statat};

use super::Store;
use super::stat::StatKey;

/// A thread is worth starting for so many looks.
const LOOKS_A_THREAD: usize = 1_000;
/// More threads than this only wait for each other in the kernel.
const MOST_THREADS: usize = 8;
/// Bytes of what the file system says of a file.
const KEY: usize = 7 * 8;
/// Bytes of files whose contents are digested each time: where there would be more, nothing is certain.
const MOST_DIGESTED: u64 = 16 << 20;

/// What rests on a sight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Group {
    /// Everything.
    #[default]
    All,
    /// The stage at a position.
    Stage(u32),
}

impl Group {
    fn to_bytes(self) -> [u8; 4] {
        match self {
            Self::All => u32::MAX,
            Self::Stage(position) => position,
        }
        .to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 4]) -> Self {
        match u32::from_le_bytes(bytes) {
            u32::MAX => Self::All,
            position => Self::Stage(position),
        }
    }
}

/// Files and folders as they were seen: for each, what rests on it, what the file system said, the length of the path, the path,
/// and the digest of its content where that has to be looked at.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Sights {
    bytes: Vec<u8>,
    group: Group,
    digested: u64,
}

/// How far sights were at some time.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    bytes: usize,
    digested: u64,
}

impl Sights {
    /// What is added from now on belongs to `group`.
    pub fn begin(&mut self, group: Group) {
        self.group = group;
    }

    /// Adds what was seen of the group begun last, of which no content is to be digested.
    pub fn extend(&mut self, raw: &[u8]) {
        self.bytes.extend_from_slice(raw);
    }

    /// Adds a file or folder; `content` where it had been written to too recently, of which so many bytes are to be read.
    pub(super) fn add(
        &mut self,
        path: &Path,
        root: &Path,
        key: StatKey,
        content: Option<(Digest, u64)>,
    ) -> Option<()> {
        // Relative to the root, so that the kernel walks fewer folders.
        let path = path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes();
        let length = u16::try_from(path.len()).ok()?;
        let digested = self.digested + content.map_or(0, |(_, bytes)| bytes);
        if content.is_some() && digested > MOST_DIGESTED {
            return None;
        }
        self.digested = digested;
        self.bytes.extend_from_slice(&self.group.to_bytes());
        for word in key.to_words() {
            self.bytes.extend_from_slice(&word.to_le_bytes());
        }
        self.bytes.push(u8::from(content.is_some()));
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(path);
        if let Some((digest, _)) = content {
            self.bytes.extend_from_slice(digest.as_bytes());
        }
        Some(())
    }

    /// How far it is, for [`Sights::back_to`].
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), digested: self.digested }
    }

    /// Forgets what was added since.
    pub fn back_to(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.digested = mark.digested;
    }

    /// As stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What has become of the files of which there are sights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// They are as they were.
    Same,
    /// Some on which no more than these stages rest have changed, or may have.
    Changed(BTreeSet<u32>),
    /// Something has changed on which everything rests, or the sights are damaged.
    Lost,
}

impl Store {
    /// Whether that on which everything rests is as it was.
    pub(super) fn see_common(&self, sights: &[u8]) -> bool {
        let (Ok(root), Some(sights)) = (File::open(&self.root), parse(sights)) else { return false };
        sights.iter().filter(|sight| sight.group == Group::All).all(|sight| sight.holds(&root, self))
    }

    /// Looks again at all files in `sights`, which [`Sights::as_bytes`] gave.
    #[must_use]
    pub fn see(&self, sights: &[u8]) -> Seen {
        let Ok(root) = File::open(&self.root) else { return Seen::Lost };
        let Some(sights) = parse(sights) else { return Seen::Lost };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        let share = sights.len().div_ceil(threads).max(LOOKS_A_THREAD);
        let look = |sights: &[Sight<'_>]| -> Option<BTreeSet<u32>> {
            let mut changed = BTreeSet::new();
            for sight in sights.iter().filter(|sight| !sight.holds(&root, self)) {
                match sight.group {
                    Group::All => return None,
                    Group::Stage(position) => drop(changed.insert(position)),
                }
            }
            Some(changed)
        };
        let mut shares = sights.chunks(share);
        let own = shares.next().unwrap_or_default();
        let changed = std::thread::scope(|scope| {
            let others: Vec<_> = shares.map(|share| scope.spawn(move || look(share))).collect();
            let own = look(own);
            // A thread that panicked has not seen that all is the same.
            others.into_iter().fold(own, |all, other| {
                let (mut all, other) = (all?, other.join().ok().flatten()?);
                all.extend(other);
                Some(all)
            })
        });
        match changed {
            None => Seen::Lost,
            Some(changed) if changed.is_empty() => Seen::Same,
            Some(changed) => Seen::Changed(changed),
        }
    }
}

/// Where in the bytes of sights those of each stage are, by its position, and whether of any of them the content has to be looked at.
/// `None` where they are damaged, or not in one piece.
#[must_use]
pub fn sights_by_stage(bytes: &[u8]) -> Option<BTreeMap<u32, (Range<usize>, bool)>> {
    let mut found: BTreeMap<u32, (Range<usize>, bool)> = BTreeMap::new();
    let mut at = 0;
    for sight in parse(bytes)? {
        let end = at + sight.length();
        if let Group::Stage(position) = sight.group {
            let (range, is_digested) = found.entry(position).or_insert((at..at, false));
            if range.end != at {
                return None;
            }
            range.end = end;
            *is_digested |= sight.content.is_some();
        }
        at = end;
    }
    Some(found)
}

/// One file or folder as it was seen.
struct Sight<'a> {
    group: Group,
    key: StatKey,
    path: &'a [u8],
    content: Option<Digest>,
}

impl Sight<'_> {
    fn holds(&self, root: &File, store: &Store) -> bool {
        let is_same = statat(root.as_fd(), self.path, AtFlags::empty())
            .is_ok_and(|stat| StatKey::of_stat(&stat) == self.key);
        is_same && self.content.is_none_or(|content| self.has(content, store))
    }

    fn has(&self, content: Digest, store: &Store) -> bool {
        let path = store.root.join(OsString::from_vec(self.path.to_vec()));
        let now = if path.is_dir() { names(&path).ok() } else { store.digest_path(&path).ok() };
        now == Some(content)
    }

    /// Bytes that it takes.
    fn length(&self) -> usize {
        4 + KEY + 1 + 2 + self.path.len() + self.content.map_or(0, |_| 32)
    }
}

/// A digest of what is in a folder: names, and what they are names of.
pub(super) fn names(folder: &Path) -> io::Result<Digest> {
    let entries = fs::read_dir(folder)?.map(|entry| {
        let entry = entry?;
        let kind = entry.file_type()?;
        let kind = [u8::from(kind.is_dir()), u8::from(kind.is_symlink()), 0];
        Ok([entry.file_name().as_bytes(), &[0], kind.as_slice()].concat())
    });
    let mut entries = entries.collect::<io::Result<Vec<Vec<u8>>>>()?;
    entries.sort_unstable();
    Ok(Digest::of_bytes(&entries.concat()))
}

fn parse(mut bytes: &[u8]) -> Option<Vec<Sight<'_>>> {
    let mut sights = Vec::with_capacity(bytes.len() / (KEY + 32));
    while !bytes.is_empty() {
        let (group, rest) = bytes.split_first_chunk::<4>()?;
        let (words, rest) = rest.split_at_checked(KEY)?;
        let (is_digested, rest) = rest.split_first()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (path, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let (content, rest) = match is_digested {
            0 => (None, rest),
            1 => rest
                .split_first_chunk::<32>()
                .map(|(digest, rest)| (Some(Digest::from_bytes(*digest)), rest))?,
            _ => return None,
        };
        let (words, _) = words.as_chunks::<8>();
        let words: [[u8; 8]; 7] = words.try_into().ok()?;
        let key = StatKey::from_words(words.map(u64::from_le_bytes));
        sights.push(Sight { group: Group::from_bytes(*group), key, path, content });
        bytes = rest;
    }
    Some(sights)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_is_read_again(
            files in proptest::collection::vec(
                (any::<[u64; 7]>(), "[a-z/é ]{0,12}", proptest::option::of(any::<[u8; 32]>()), proptest::option::of(0..9u32)),
                0..5,
            ),
        ) {
            let mut sights = Sights::default();
            for (words, path, content, stage) in &files {
                sights.begin(stage.map_or(Group::All, Group::Stage));
                let content = content.map(|content| (Digest::from_bytes(content), 1));
                sights.add(Path::new(path), Path::new("/root"), StatKey::from_words(*words), content).unwrap();
            }
            let kept = parse(sights.as_bytes()).unwrap();
            prop_assert_eq!(kept.len(), files.len());
            for (sight, (words, path, content, stage)) in kept.iter().zip(&files) {
                prop_assert_eq!((sight.key.to_words(), sight.path), (*words, path.as_bytes()));
                prop_assert_eq!(sight.content, content.map(Digest::from_bytes));
                prop_assert_eq!(sight.group, stage.map_or(Group::All, Group::Stage));
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
        // Until it is known of every file and folder without looking at its content.
        let deadline = Instant::now() + Duration::from_secs(60);
        let is_settled = || {
            let mut sights = Sights::default();
            store.look(&data, &digest, &mut sights).unwrap();
            parse(sights.as_bytes()).unwrap().iter().all(|sight| sight.content.is_none())
        };
        while !is_settled() {
            assert!(Instant::now() < deadline, "files do not settle");
            store.flush().unwrap();
        }
        (root, store, digest)
    }

    const CHANGES: [fn(&Path); 5] = [
        |data| fs::write(data.join("one"), "3").unwrap(),
        |data| fs::write(data.join("inner/three"), "").unwrap(),
        |data| fs::remove_file(data.join("inner/two")).unwrap(),
        |data| fs::rename(data.join("one"), data.join("other")).unwrap(),
        |data| fs::create_dir(data.join("inner/empty")).unwrap(),
    ];

    #[test]
    fn what_stays_as_it_is_is_the_same_and_what_changes_leads_to_who_rests_on_it() {
        for (number, change) in CHANGES.iter().enumerate() {
            let (root, store, digest) = settled();
            let data = root.path().join("data");
            let [of_stage, of_all] = [Group::Stage(7), Group::All].map(|group| {
                let mut sights = Sights::default();
                sights.begin(group);
                store.look(&data, &digest, &mut sights).unwrap();
                assert_eq!(store.see(sights.as_bytes()), Seen::Same);
                sights
            });
            assert!(store.see_common(of_all.as_bytes()));
            change(&data);
            assert_eq!(store.see(of_stage.as_bytes()), Seen::Changed(BTreeSet::from([7])), "change {number}");
            assert_eq!(store.see(of_all.as_bytes()), Seen::Lost, "change {number}");
            assert!(!store.see_common(of_all.as_bytes()) && store.see_common(of_stage.as_bytes()));
            assert_eq!(store.look(&data, &digest, &mut Sights::default()), None, "change {number}");
        }
    }

    #[test]
    fn of_what_was_just_written_the_content_counts() {
        for (number, change) in CHANGES.iter().enumerate() {
            let root = super::super::tests::disk();
            let data = root.path().join("data");
            fs::create_dir_all(data.join("inner")).unwrap();
            fs::write(data.join("one"), "1").unwrap();
            fs::write(data.join("inner/two"), "2").unwrap();
            let store = Store::open(root.path()).unwrap();
            let digest = store.digest_path(&data).unwrap();
            let mut sights = Sights::default();
            sights.begin(Group::Stage(1));
            store.look(&data, &digest, &mut sights).unwrap();
            assert_eq!(store.see(sights.as_bytes()), Seen::Same);
            change(&data);
            assert_eq!(store.see(sights.as_bytes()), Seen::Changed(BTreeSet::from([1])), "change {number}");
        }
    }

    #[test]
    fn too_much_to_digest_each_time_is_not_certain() {
        let (path, root, key) = (Path::new("/r/f"), Path::new("/r"), StatKey::from_words([1; 7]));
        let content = Some((Digest::of_bytes(b""), MOST_DIGESTED));
        let mut sights = Sights::default();
        assert_eq!(sights.add(path, root, key, content), Some(()));
        assert_eq!(sights.add(path, root, key, Some((Digest::of_bytes(b""), 1))), None);
    }

    #[test]
    fn the_sights_of_a_stage_are_found_where_they_are_in_one_piece() {
        let (path, root, key) = (Path::new("/r/f"), Path::new("/r"), StatKey::from_words([1; 7]));
        let made = |groups: &[Group]| {
            let mut sights = Sights::default();
            for group in groups {
                sights.begin(*group);
                sights.add(path, root, key, None).unwrap();
            }
            sights
        };
        let (all, one, two) = (Group::All, Group::Stage(1), Group::Stage(2));
        let sights = made(&[all, one, one, two, all]);
        let size = sights.as_bytes().len() / 5;
        let found = sights_by_stage(sights.as_bytes()).unwrap();
        assert_eq!(
            found,
            [(1, (size..3 * size, false)), (2, (3 * size..4 * size, false))].into_iter().collect()
        );
        assert_eq!(sights_by_stage(made(&[one, two, one]).as_bytes()), None);
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
        let store = Store::open(root.path()).unwrap();
        let mut sights = Sights::default();
        let key = StatKey::of(&fs::metadata(&file).unwrap());
        for position in 0..5 * LOOKS_A_THREAD {
            sights.begin(Group::Stage(u32::try_from(position).unwrap()));
            sights.add(&file, root.path(), key, None).unwrap();
        }
        assert_eq!(store.see(sights.as_bytes()), Seen::Same);
        for position in [3, 1, 3] {
            sights.begin(Group::Stage(position));
            sights.add(&root.path().join("nothing"), root.path(), key, None).unwrap();
        }
        assert_eq!(store.see(sights.as_bytes()), Seen::Changed(BTreeSet::from([1, 3])));
        assert_eq!(store.see(&[1, 2, 3]), Seen::Lost);
    }
}
