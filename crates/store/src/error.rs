//! What can go wrong in the store: always with the path, and with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use pipeline::digest::Digest;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Something else is where the cache or the artifacts belong.
    #[error("`{}` is {what}, and not a folder", path.display())]
    NotAFolder {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A file or folder that cannot be content, such as a socket or a link that leads to itself.
    #[error("`{}` is {what}", path.display())]
    Irregular {
        /// Which.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A file changed while it was being read.
    #[error("`{}` changed while it was being stored", path.display())]
    Changing {
        /// Which.
        path: PathBuf,
    },
    /// An object is gone, or does not hold what its name says. If it was there, it has been moved aside.
    #[error("cache object {} is {what}", digest.short())]
    Corrupt {
        /// The object.
        digest: Digest,
        /// `missing` or `damaged`.
        what: &'static str,
    },
    /// A stage ended without one of its outputs.
    #[error("output `{output}` was not written: nothing is at `{}`", path.display())]
    NoOutput {
        /// Name of the output.
        output: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// A file name that leads out of its folder.
    #[error("`{name}` is not a file name below a folder")]
    Name {
        /// The name.
        name: String,
    },
    /// Something could not be written as JSON.
    #[error("cannot write `{}`: {source}", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl StoreError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { path, source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some("check the path".into()),
                io::ErrorKind::PermissionDenied => Some(format!(
                    "give yourself the right to read and write `{}` and the folder it is in, and run again",
                    path.display()
                )),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("free disk space and run again: what was finished is kept".into())
                }
                io::ErrorKind::ReadOnlyFilesystem => Some(
                    "the pipeline's folder, and that of a shared cache, must be on a file system that can be written to"
                        .into(),
                ),
                io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => {
                    Some(format!("move `{}` away and run again", path.display()))
                }
                _ => None,
            },
            Self::NotAFolder { path, .. } => Some(format!("move `{}` away and run again", path.display())),
            Self::Irregular { path, what } if what.starts_with("made by the kernel") => Some(format!(
                "have a stage write what `{}` says to a file, and read that",
                path.display()
            )),
            Self::Irregular { path, .. } => {
                Some(format!("name a file instead, or leave `{}` out", path.display()))
            }
            Self::Changing { .. } => Some("wait until nothing writes to it and run again".into()),
            Self::Corrupt { .. } => Some("run again: the stage that made it is executed anew".into()),
            Self::NoOutput { .. } | Self::Name { .. } | Self::Json { .. } => None,
        }
    }
}

impl StoreError {
    /// What the file system said, where it is that, without what was tried and with what.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Io { source, .. } => source.to_string(),
            other => other.to_string(),
        }
    }
}

/// Adds what was tried and with what to an error of the file system.
pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_its_path_and_a_remedy() {
        let error = at("write", Path::new("cache/v1/tmp/1"))(io::Error::from(io::ErrorKind::StorageFull));
        assert!(error.to_string().starts_with("cannot write `cache/v1/tmp/1`: "), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.starts_with("free disk space")));
    }

    #[test]
    fn a_folder_that_may_not_be_written_is_named_in_the_remedy() {
        let error = at("create", Path::new("cache/v1"))(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(error.hint().is_some_and(|hint| hint.contains("`cache/v1`")));
    }
}
