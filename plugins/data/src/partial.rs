//! A download on disk: the bytes so far, and beside them what the server said of the file, so that a later
//! attempt knows what it continues. Knows no network.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::validator::Validator;

/// What a server said of a file. Nothing in it is secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Remote {
    /// Digest of the URL that it came from in the end, without its query.
    pub(crate) place: String,
    /// What holds parts of it together; absent where the server has said nothing that does.
    pub(crate) validator: Option<Validator>,
    /// `Content-Encoding`.
    pub(crate) encoding: Option<String>,
    /// Size in bytes.
    pub(crate) total: Option<u64>,
}

/// The file beside the part.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// What was asked for, as [`crate::url::Url::identity`] says it.
    source: String,
    remote: Remote,
}

/// Files of one download in a folder.
#[derive(Debug)]
pub(crate) struct Partial {
    source: String,
    whole: PathBuf,
    part: PathBuf,
    state: PathBuf,
}

impl Partial {
    /// Those of the file `name`; `source` is the identity of the URL that it is fetched from.
    pub(crate) fn new(folder: &Path, name: &str, source: String) -> Self {
        let file = |suffix: &str| folder.join(format!("{name}{suffix}"));
        Self { source, whole: file(""), part: file(".part"), state: file(".json") }
    }

    /// The finished file and what the server said of it, where there is one, of the URL that is asked for.
    pub(crate) fn finished(&self) -> Option<(&Path, Remote)> {
        let remote = self.described().filter(|_| self.whole.is_file())?;
        Some((&self.whole, remote))
    }

    /// What is known of the file that is there, finished or not; nothing where it is of another URL.
    fn described(&self) -> Option<Remote> {
        let State { source, remote } = serde_json::from_slice(&regular::read(&self.state).ok()?).ok()?;
        (source == self.source).then_some(remote)
    }

    /// What is known of the file, and how many bytes are there; nothing where it is of another URL.
    pub(crate) fn resume(&self) -> (Remote, u64) {
        let read = || -> Option<(Remote, u64)> {
            let remote = self.described()?;
            let have = self.part.metadata().ok()?.len();
            remote.total.is_none_or(|total| have <= total).then_some((remote, have))
        };
        read().unwrap_or_default()
    }

    /// Opens the part: to add to it, or as an empty one with what the server says now.
    pub(crate) fn open(&self, remote: &Remote, resume: bool) -> io::Result<File> {
        if resume {
            return regular::append(&self.part);
        }
        // The bytes of an older file must be gone before its description is.
        remove(&self.whole)?;
        let file = regular::create(&self.part)?;
        let state = State { source: self.source.clone(), remote: remote.clone() };
        regular::write_whole(&self.state, &serde_json::to_vec(&state)?)?;
        Ok(file)
    }

    /// Makes the part the finished file. What the server said of it stays, so that it can be asked whether that is so still.
    pub(crate) fn finish(&self) -> io::Result<PathBuf> {
        fs::rename(&self.part, &self.whole)?;
        Ok(self.whole.clone())
    }

    /// Deletes everything.
    pub(crate) fn discard(&self) -> io::Result<()> {
        [&self.state, &self.part, &self.whole].into_iter().try_for_each(|path| remove(path))
    }
}

/// Deletes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
