//! Edits of files and folders: what they looked like, and waiting until they look different. Notifications of the system
//! only say when to look again; what counts is what the file system says of each file. Knows paths only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use pipeline::spec::Ignore;
use walkdir::WalkDir;

/// An edit is over when nothing has happened for this long: an editor may remove a file and write it anew.
const QUIET: Duration = Duration::from_millis(100);

/// But it is not waited for longer than this.
const LONGEST: Duration = Duration::from_secs(2);

/// Something to wake up for.
pub(super) enum Wake {
    /// Something happened to what is watched.
    Touched,
    /// It was asked to end.
    Stop,
}

/// Files and folders, with all that is in these, whether they exist or not.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// Absolute.
    pub(super) paths: BTreeSet<PathBuf>,
    /// What does not count where it lies inside of a watched folder.
    pub(super) except: BTreeSet<PathBuf>,
    /// What counts for nothing within folders.
    pub(super) ignore: Option<Ignore>,
    /// Folders in which everything counts all the same.
    pub(super) whole: BTreeSet<PathBuf>,
}

/// What places look like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Looks(BTreeMap<PathBuf, Look>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Its permissions. What is in it is looked at by itself.
    Folder(u32),
    File {
        device: u64,
        inode: u64,
        bytes: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
}

impl Look {
    fn of(metadata: &Metadata) -> Self {
        if metadata.is_dir() {
            return Self::Folder(metadata.mode());
        }
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Looks {
    /// Both; where something is in both, as in `other`.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// What looks different in `now`, was not there, or is gone; sorted.
    pub(super) fn differences(&self, now: &Self) -> Vec<PathBuf> {
        let both: BTreeSet<&PathBuf> = self.0.keys().chain(now.0.keys()).collect();
        both.into_iter().filter(|path| self.0.get(*path) != now.0.get(*path)).cloned().collect()
    }
}

impl Places {
    pub(super) fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            paths: paths.into_iter().collect(),
            except: BTreeSet::new(),
            ignore: None,
            whole: BTreeSet::new(),
        }
    }

    fn ignore_in(&self, place: &Path) -> Option<&Ignore> {
        self.ignore.as_ref().filter(|_| !self.whole.contains(place))
    }

    /// What they look like now. Links are followed.
    pub(super) fn look(&self) -> Looks {
        let mut looks = BTreeMap::new();
        for place in &self.paths {
            let entries = WalkDir::new(place).follow_links(true).into_iter();
            let counts = |path: &Path, is_folder: bool| {
                !self.except.contains(path)
                    && !self.ignore_in(place).is_some_and(|ignore| ignore.hides(place, path, is_folder))
            };
            let inner = entries
                .filter_entry(|entry| entry.depth() == 0 || counts(entry.path(), entry.file_type().is_dir()));
            // What cannot be read looks as if it were not there.
            for entry in inner {
                let (path, metadata) = match entry {
                    Ok(entry) => (entry.path().to_owned(), entry.metadata().ok()),
                    // A link that leads nowhere or in circles is what it is.
                    Err(error) => {
                        let Some(path) = error.path().filter(|path| counts(path, false)) else { continue };
                        (path.to_owned(), std::fs::symlink_metadata(path).ok())
                    }
                };
                looks.extend(metadata.map(|metadata| (path, Look::of(&metadata))));
            }
        }
        Looks(looks)
    }

    /// Tells `wake` when something happens to these places, as long as what is returned lives. What appears in a folder
    /// that was not there when it began may be missed: so begin anew, then look, whenever there was something to tell.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub(super) fn watch(&self, wake: Sender<Wake>) -> notify::Result<RecommendedWatcher> {
        // Links lead to places of their own.
        let real = self.paths.iter().filter_map(|path| path.canonicalize().ok());
        let all: BTreeSet<PathBuf> = self.paths.iter().cloned().chain(real).collect();
        let folders = all.iter().flat_map(|path| folders_of(path)).collect::<BTreeMap<_, _>>();
        let places = Arc::new(Self { paths: all, ..self.clone() });
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let concerns = event.map_or(true, |event| {
                event.need_rescan()
                    || is_edit(event.kind) && event.paths.iter().any(|path| places.concern(path))
            });
            if concerns {
                // Nobody listens any more after the last edit.
                let _ = wake.send(Wake::Touched);
            }
        })?;
        for (folder, mode) in folders {
            match watcher.watch(&folder, mode) {
                // It is gone by now, which looking will show, or nobody may read it.
                Err(notify::Error { kind: notify::ErrorKind::PathNotFound, .. }) => {}
                Err(notify::Error { kind: notify::ErrorKind::Io(error), .. })
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
                watched => watched?,
            }
        }
        Ok(watcher)
    }

    /// Whether something that happened to `path` may have changed what these places look like.
    fn concern(&self, path: &Path) -> bool {
        let inside = path.ancestors().find(|above| self.paths.contains(*above));
        let is_excepted = |place: &Path| {
            self.except.iter().any(|except| except.starts_with(place) && path.starts_with(except))
        };
        // The path may be gone, and who looks again sees that nothing has changed.
        let is_ignored = |place: &Path| {
            let ignore = self.ignore_in(place);
            ignore.is_some_and(|ignore| ignore.hides_on_the_way(place, path, path.is_dir()))
        };
        inside.is_some_and(|place| !is_excepted(place) && !is_ignored(place))
            || self.paths.range(path.to_owned()..).next().is_some_and(|place| place.starts_with(path))
    }
}

/// The folders to watch for a place: itself with all in it, if it is a folder, and those in which it could be replaced,
/// removed or appear. Of these the nearest two that exist: what is done further up is seen when something else happens.
fn folders_of(place: &Path) -> Vec<(PathBuf, RecursiveMode)> {
    let mut folders: Vec<(PathBuf, RecursiveMode)> = place
        .ancestors()
        .skip(1)
        .filter(|above| above.is_dir())
        .take(2)
        .map(|above| (above.to_owned(), RecursiveMode::NonRecursive))
        .collect();
    if place.is_dir() {
        folders.push((place.to_owned(), RecursiveMode::Recursive));
    }
    folders
}

/// Whether it is more than a look: those who look at the places would wake themselves.
fn is_edit(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Waits until something happened and it is quiet again. Whether it was; else it was asked to end.
pub(super) fn wait(woken: &Receiver<Wake>) -> bool {
    let Ok(Wake::Touched) = woken.recv() else { return false };
    let latest = Instant::now() + LONGEST;
    loop {
        let left = latest.saturating_duration_since(Instant::now());
        match woken.recv_timeout(QUIET.min(left)) {
            Ok(Wake::Touched) => {}
            Ok(Wake::Stop) => return false,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::mpsc;

    use super::*;

    fn places(paths: &[&Path], except: &[&Path]) -> Places {
        let set = |paths: &[&Path]| paths.iter().map(|path| (*path).to_owned()).collect();
        let ignore = Ignore::new(Path::new("/p"), []).ok();
        Places { paths: set(paths), except: set(except), ignore, whole: BTreeSet::new() }
    }

    #[test]
    fn looks_differ_where_something_was_done() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("in/deep")).unwrap();
        fs::create_dir_all(at("in/cache")).unwrap();
        fs::write(at("in/deep/x"), "x").unwrap();
        fs::write(at("file"), "x").unwrap();
        let places = places(&[&at("in"), &at("file"), &at("later")], &[&at("in/cache")]);
        let before = places.look();
        fs::write(at("in/cache/y"), "made by itself").unwrap();
        fs::write(at("other"), "not watched").unwrap();
        fs::read(at("file")).unwrap();
        fs::create_dir(at("in/__pycache__")).unwrap();
        fs::write(at("in/__pycache__/x.pyc"), "made by Python").unwrap();
        symlink("me@here.1", at("in/.#x")).unwrap();
        assert_eq!(before.differences(&places.look()), Vec::<PathBuf>::new());
        symlink("nowhere", at("in/link")).unwrap();
        let linked = places.look();
        assert_eq!(before.differences(&linked), [at("in/link")]);
        fs::remove_file(at("in/link")).unwrap();
        fs::write(at("in/deep/y"), "new").unwrap();
        fs::remove_file(at("in/deep/x")).unwrap();
        fs::write(at("file.new"), "x").unwrap();
        fs::rename(at("file.new"), at("file")).unwrap();
        fs::write(at("later"), "").unwrap();
        let edited = [at("file"), at("in/deep/x"), at("in/deep/y"), at("later")];
        assert_eq!(before.differences(&places.look()), edited);
        fs::remove_dir_all(at("in")).unwrap();
        assert!(before.differences(&places.look()).contains(&at("in/deep")));
    }

    #[test]
    fn what_lies_in_above_or_at_a_place_concerns_it() {
        let places = places(&[Path::new("/p/in"), Path::new("/p/a/f")], &[Path::new("/p/in/cache")]);
        for path in ["/p/in", "/p/in/x/y", "/p/a", "/p/a/f", "/p"] {
            assert!(places.concern(Path::new(path)), "{path}");
        }
        for path in [
            "/p/in/.#f",
            "/p/in/__pycache__/x.pyc",
            "/p/in/cache/x",
            "/p/in/cache",
            "/p/a/g",
            "/p/b",
            "/p/inn",
        ] {
            assert!(!places.concern(Path::new(path)), "{path}");
        }
        let whole = Places { whole: [PathBuf::from("/p/in")].into(), ..places };
        assert!(whole.concern(Path::new("/p/in/.#f")), "who reads it leaves nothing out");
        // What lies in the cache and is read all the same.
        let inside = super::tests::places(&[Path::new("/p/in/cache/x")], &[Path::new("/p/in/cache")]);
        assert!(inside.concern(Path::new("/p/in/cache/x")));
    }

    #[test]
    fn edits_wake_and_looks_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("in")).unwrap();
        fs::write(at("in/x"), "x").unwrap();
        let places = places(&[&at("in"), &at("no/such/file")], &[]);
        let (wake, woken) = mpsc::channel();
        let watcher = places.watch(wake.clone()).unwrap();
        places.look();
        fs::read(at("in/x")).unwrap();
        fs::write(at("other"), "").unwrap();
        // Were one of these told, it would come before the edit.
        fs::write(at("in/x"), "y").unwrap();
        assert!(wait(&woken));
        fs::create_dir(at("no")).unwrap();
        assert!(wait(&woken), "a folder in which a place may appear");
        drop(watcher);
        let _watcher = places.watch(wake.clone()).unwrap();
        fs::create_dir(at("no/such")).unwrap();
        assert!(wait(&woken));
        wake.send(Wake::Stop).unwrap();
        assert!(!wait(&woken));
    }
}
