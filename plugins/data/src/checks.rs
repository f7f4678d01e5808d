//! Checks of a file against the size and digests that it should have.

use std::io::Read;
use std::path::Path;

use md5::Md5;
use protocol::Failure;
use sha2::{Digest, Sha256};

use crate::params::DownloadParams;

/// What a file should be; absent is not checked. Digests in lowercase hex.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Checks {
    pub(crate) size: Option<u64>,
    pub(crate) md5: Option<String>,
    pub(crate) sha256: Option<String>,
}

impl Checks {
    /// From the params, and from the fragment of a URL.
    ///
    /// # Errors
    /// What is no digest or size, is unknown, or is given twice.
    pub(crate) fn new(params: &DownloadParams, fragment: &[(String, String)]) -> Result<Self, Failure> {
        let mut checks = Self { size: params.size, md5: None, sha256: None };
        for (name, value) in [("md5", &params.md5), ("sha256", &params.sha256)] {
            if let Some(value) = value {
                checks.set(name, value)?;
            }
        }
        for (name, value) in fragment {
            checks.set(name, value)?;
        }
        Ok(checks)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let twice = || Failure::new(format!("`{name}` is given twice: as a param and after `#` in `source`"));
        let (slot, digits) = match name {
            "md5" => (&mut self.md5, 32),
            "sha256" => (&mut self.sha256, 64),
            "size" => {
                let size = value.parse().map_err(|_| {
                    Failure::new(format!("`size={value}` in `source` is not a number of bytes"))
                })?;
                return if self.size.replace(size).is_some() { Err(twice()) } else { Ok(()) };
            }
            other => {
                return Err(Failure::new(format!("unknown check `{other}` after `#` in `source`"))
                    .hint("known are `md5`, `sha256` and `size`"));
            }
        };
        if value.len() != digits || !value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Failure::new(format!("`{name}` is `{value}`, which is not {digits} hex digits")));
        }
        if slot.replace(value.to_ascii_lowercase()).is_some() { Err(twice()) } else { Ok(()) }
    }

    /// Whether nothing is to be checked.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a digest is to be checked, so that a file that passes is the one that was meant.
    pub(crate) fn has_digest(&self) -> bool {
        self.md5.is_some() || self.sha256.is_some()
    }

    /// The first thing in which a file differs, in words.
    pub(crate) fn difference(&self, name: &str, found: &Fingerprint) -> Option<String> {
        if let Some(size) = self.size.filter(|&size| size != found.size) {
            return Some(format!("`{name}` has {} bytes, but `size` says {size}", found.size));
        }
        let digests =
            [("MD5", "md5", &self.md5, &found.md5), ("SHA-256", "sha256", &self.sha256, &found.sha256)];
        digests.into_iter().find_map(|(title, param, expected, actual)| {
            let expected = expected.as_ref().filter(|expected| *expected != actual)?;
            Some(format!("`{name}` has {title} {actual}, but `{param}` says {expected}"))
        })
    }
}

/// Size and digests of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) size: u64,
    pub(crate) md5: String,
    pub(crate) sha256: String,
}

/// Reads a file once.
///
/// # Errors
/// Where it cannot be read.
pub(crate) fn fingerprint(path: &Path) -> std::io::Result<Fingerprint> {
    let mut file = regular::open(path)?;
    let (mut size, mut md5, mut sha256) = (0, Md5::new(), Sha256::new());
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        let bytes = &buffer[..count];
        size += count as u64;
        md5.update(bytes);
        sha256.update(bytes);
    }
    Ok(Fingerprint { size, md5: hex(&md5.finalize()), sha256: hex(&sha256.finalize()) })
}

/// Bytes in lowercase hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ABC_MD5: &str = "900150983cd24fb0d6963f7d28e17f72";
    const ABC_SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn checks(params: serde_json::Value, fragment: &[(&str, &str)]) -> Result<Checks, Failure> {
        let fragment: Vec<_> =
            fragment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Checks::new(&serde_json::from_value(params).unwrap(), &fragment)
    }

    fn abc() -> Fingerprint {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        fingerprint(file.path()).unwrap()
    }

    #[test]
    fn digests_agree_with_the_standards_examples() {
        assert_eq!(abc(), Fingerprint { size: 3, md5: ABC_MD5.into(), sha256: ABC_SHA256.into() });
    }

    #[test]
    fn a_file_that_is_right_passes_whatever_the_case_of_the_digits() {
        let md5 = ABC_MD5.to_uppercase();
        let checks = checks(json!({"format": "idx", "md5": md5}), &[("sha256", ABC_SHA256), ("size", "3")]);
        let checks = checks.unwrap();
        assert_eq!(checks.difference("x", &abc()), None);
        assert!(checks.has_digest() && !checks.is_empty());
    }

    #[test]
    fn a_difference_names_expected_and_actual() {
        let difference = |params| checks(params, &[]).unwrap().difference("a.zip", &abc()).unwrap();
        let zeros = "0".repeat(32);
        assert_eq!(
            difference(json!({"format": "idx", "md5": zeros})),
            format!("`a.zip` has MD5 {ABC_MD5}, but `md5` says {zeros}")
        );
        assert_eq!(
            difference(json!({"format": "idx", "size": 4, "md5": zeros})),
            "`a.zip` has 3 bytes, but `size` says 4"
        );
        let ones = "1".repeat(64);
        assert!(difference(json!({"format": "idx", "sha256": ones})).contains("SHA-256 ba7816bf"));
    }

    #[test]
    fn checks_that_make_no_sense_are_refused() {
        let message = |params, fragment: &[_]| format!("{:?}", checks(params, fragment).unwrap_err());
        let plain = || json!({"format": "idx"});
        assert!(message(json!({"format": "idx", "md5": "12"}), &[]).contains("not 32 hex digits"));
        assert!(message(json!({"format": "idx", "size": 3}), &[("size", "3")]).contains("given twice"));
        assert!(
            message(json!({"format": "idx", "md5": ABC_MD5}), &[("md5", ABC_MD5)]).contains("given twice")
        );
        snapshots::assert_message!(message(plain(), &[("size", "x")]));
        snapshots::assert_message!(message(plain(), &[("sha1", "x")]));
    }
}
