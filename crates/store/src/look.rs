//! Looking at the files on which an outcome rests: what of them goes into [`Sights`], and where that is not certain enough.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use pipeline::digest::Digest;
use pipeline::spec::Ignore;

use super::folder::{Folder, Found};
use super::medium::Medium;
use super::sight::{Sights, names};
use super::stat::StatKey;
use super::{Store, StoreError};

impl Store {
    /// Adds what the file system says of a file or folder to `sights`, and the content where the last change was so recent that a
    /// later one need not show. `None` where its content is not `digest`, or what the file system says may be out of date.
    #[must_use]
    pub fn look(&self, path: &Path, digest: &Digest, sights: &mut Sights) -> Option<()> {
        self.look_at(path, digest, None, sights)
    }

    /// As [`Store::look`] for an output: what was added to a folder and counts for nothing is left out.
    #[must_use]
    pub fn look_at_output(&self, path: &Path, digest: &Digest, sights: &mut Sights) -> Option<()> {
        let before = sights.mark();
        self.ways_to_leave_out(path, digest).find_map(|ignore| {
            sights.back_to(before);
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
            let known = self.stats().get(&key);
            return match known {
                Some(known) if known != *digest => None,
                Some(_) => sights.add(path, &self.root, key, None),
                None => sights.add(path, &self.root, key, Some((*digest, metadata.len()))),
            };
        }
        let seen = Mutex::new(Vec::new());
        let visit = |found: &Found| -> Result<(Digest, u64), StoreError> {
            let (key, bytes) = (StatKey::of(&found.metadata), found.metadata.len());
            if self.is_far(&found.path, &found.metadata) {
                return Err(StoreError::Changing { path: found.path.clone() });
            }
            // What is known is asked for first: both take the same lock.
            let known = self.stats().get(&key);
            let digest = known.map_or_else(|| self.digest_path(&found.path), Ok)?;
            let content = known.is_none().then_some((digest, bytes));
            seen.lock().unwrap_or_else(PoisonError::into_inner).push((found.path.clone(), key, content));
            Ok((digest, bytes))
        };
        // The folders first: whatever is added to one or removed from it later changes it.
        for folder in Folder::folders(path, ignore).ok()? {
            let metadata = fs::metadata(&folder).ok()?;
            if self.is_far(&folder, &metadata) {
                return None;
            }
            self.look_at_names(&folder, StatKey::of(&metadata), now, sights)?;
        }
        let walked = Folder::read(path, ignore, &visit, &mut |_, _, _| ()).ok()?;
        // What a link that leads nowhere would lead to is not seen.
        if walked.has_links || Digest::of_bytes(&walked.folder.to_bytes()) != *digest {
            return None;
        }
        let mut seen = seen.into_inner().ok()?;
        seen.sort_by(|one, two| one.0.cmp(&two.0));
        seen.iter().try_for_each(|(path, key, content)| sights.add(path, &self.root, *key, *content))
    }

    /// Adds what is in a folder: it changes when something is added or removed.
    fn look_at_names(&self, folder: &Path, key: StatKey, now: SystemTime, sights: &mut Sights) -> Option<()> {
        let content = match key.is_settled(now) {
            true => None,
            false => Some((names(folder).ok()?, 0)),
        };
        sights.add(folder, &self.root, key, content)
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
                self.look_at_names(&path, StatKey::of(&fs::metadata(&path).ok()?), now, sights)?;
            }
        }
        Some(())
    }
}
