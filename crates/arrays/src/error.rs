//! Why arrays cannot be read or written. The messages name the file and the array.

use std::io;
use std::path::PathBuf;

/// Why arrays cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArraysError {
    /// The file or folder cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is neither an archive of arrays, nor an array, nor a folder with some.
    #[error("`{}` holds no arrays: {reason}", path.display())]
    NoArrays {
        /// The file or folder.
        path: PathBuf,
        /// What it is.
        reason: String,
    },
    /// The archive is damaged, or packed in a way that is not read.
    #[error("`{}` cannot be unpacked: {reason}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An array is not one that can be read.
    #[error("array `{name}` of `{}`: {reason}", path.display())]
    Array {
        /// The file or folder.
        path: PathBuf,
        /// The array.
        name: String,
        /// Why.
        reason: String,
    },
    /// Arrays have different numbers of samples.
    #[error(
        "the arrays of `{}` have different numbers of samples, which their first axes count: {one} of `{name}`, {other} of \
         `{other_name}`",
        path.display()
    )]
    Samples {
        /// The file or folder.
        path: PathBuf,
        /// An array.
        name: String,
        /// Its samples.
        one: usize,
        /// Another.
        other_name: String,
        /// Its samples.
        other: usize,
    },
}
