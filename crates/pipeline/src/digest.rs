//! BLAKE3 digests: of bytes and of files. Knows nothing of caches or of what is digested.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes that are read and digested at a time: they stay in the cache of a core between the two. Reading them takes less
/// time than mapping the file, whose pages are faulted in one by one, and a file that is cut short meanwhile is an error
/// and not a signal.
const PIECE: u64 = 512 << 10;

/// A BLAKE3 digest. Printed and stored as 64 lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digest of bytes in memory.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Digest of a file's content, on all cores where it is large.
    ///
    /// # Errors
    /// When it is no file, or cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let mut file = regular::open(path)?;
        let length = file.metadata()?.len();
        Self::of_open(&mut file, length)
    }

    /// As [`Digest::of_file`], of a file that was just opened and has this length. One that has grown since is digested
    /// as far as that, or whole where it is small.
    ///
    /// # Errors
    /// When the file cannot be read, or has become shorter.
    pub fn of_open(file: &mut File, length: u64) -> io::Result<Self> {
        if length <= PIECE {
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
            file.read_to_end(&mut bytes)?;
            return Ok(Self::of_bytes(&bytes));
        }
        let middle = left_subtree_len(length);
        let (left, right) = rayon::join(|| subtree(file, 0, middle), || subtree(file, middle, length));
        Ok(merge_subtrees_root(&left?, &right?, Mode::Hash).into())
    }

    /// The digest that these bytes are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve hex digits: enough for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }
}

/// The chaining value of a part of a file that is a subtree of BLAKE3's tree (BLAKE3 specification, section 2.1), on all
/// cores.
fn subtree(file: &File, start: u64, end: u64) -> io::Result<ChainingValue> {
    thread_local! {
        /// Made once for each thread: to fill it with zeros takes a tenth of the time that digesting it does.
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE as usize]);
    }
    let length = end - start;
    if length <= PIECE {
        return BUFFER.with_borrow_mut(|buffer| {
            let bytes = &mut buffer[..length as usize];
            file.read_exact_at(bytes, start)?;
            Ok(blake3::Hasher::new().set_input_offset(start).update(bytes).finalize_non_root())
        });
    }
    let middle = start + left_subtree_len(length);
    let (left, right) = rayon::join(|| subtree(file, start, middle), || subtree(file, middle, end));
    Ok(merge_subtrees_non_root(&left?, &right?, Mode::Hash))
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        blake3::Hash::from_hex(text)
            .map(Self::from)
            .map_err(|_| format!("`{}` is not a digest", text.chars().take(80).collect::<String>()))
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let digest = Digest::of_bytes(b"abc");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert_eq!(digest.short().len(), 12);
        assert!("abc".parse::<Digest>().is_err());
        assert!("é".repeat(32).parse::<Digest>().is_err());
    }

    #[test]
    fn files_and_bytes_agree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        for size in [0, 1, 100_000, 524_288, 524_289, 1_048_576, 1_500_000, 3_000_000] {
            let bytes: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Digest::of_file(&path).unwrap(), Digest::of_bytes(&bytes));
        }
    }
}
