//! A download on disk: the bytes so far, and beside them what the server said of the file, so that a later
//! attempt knows what it continues. Knows no network.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a server said of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remote {
    pub(crate) url: String,
    /// `ETag`, where it is a strong one, or else `Last-Modified`: what `If-Range` takes.
    pub(crate) validator: Option<String>,
    /// Size in bytes.
    pub(crate) total: Option<u64>,
}

/// Files of one download in a folder.
#[derive(Debug)]
pub(crate) struct Partial {
    whole: PathBuf,
    part: PathBuf,
    state: PathBuf,
}

impl Partial {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let file = |suffix: &str| folder.join(format!("{name}{suffix}"));
        Self { whole: file(""), part: file(".part"), state: file(".json") }
    }

    /// The finished file, where there is one.
    pub(crate) fn finished(&self) -> Option<&Path> {
        self.whole.is_file().then_some(&*self.whole)
    }

    /// What is known of the file, and how many bytes are there; nothing where it is of another URL.
    pub(crate) fn resume(&self, url: &str) -> (Remote, u64) {
        let fresh = || (Remote { url: url.into(), ..Remote::default() }, 0);
        let read = || -> Option<(Remote, u64)> {
            let remote: Remote = serde_json::from_slice(&fs::read(&self.state).ok()?).ok()?;
            let have = self.part.metadata().ok()?.len();
            (remote.url == url).then_some((remote, have))
        };
        read().unwrap_or_else(fresh)
    }

    /// Opens the part: to add to it, or as an empty one with what the server says now.
    pub(crate) fn open(&self, remote: &Remote, resume: bool) -> io::Result<File> {
        if resume {
            return OpenOptions::new().append(true).open(&self.part);
        }
        // The bytes of an older file must be gone before its description is.
        let file = File::create(&self.part)?;
        fs::write(&self.state, serde_json::to_vec(remote)?)?;
        Ok(file)
    }

    /// Makes the part the finished file.
    pub(crate) fn finish(&self) -> io::Result<PathBuf> {
        fs::rename(&self.part, &self.whole)?;
        fs::remove_file(&self.state)?;
        Ok(self.whole.clone())
    }

    /// Deletes everything.
    pub(crate) fn discard(&self) -> io::Result<()> {
        for path in [&self.state, &self.part, &self.whole] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
