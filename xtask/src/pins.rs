//! `xtask/natives.json`: which native libraries, out of which wheels, with which digests.
//!
//! Knows the file's form; fetches and unpacks nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// The file, below the root of the repository.
pub(crate) const FILE: &str = "xtask/natives.json";
const STAMP: &str = ".pins.json";

/// All that is pinned.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pins {
    pub(crate) pip: Pip,
    pub(crate) libtorch: Library,
    pub(crate) onnxruntime: Library,
}

/// For which interpreter pip picks wheels: the libraries inside need none, so the one that runs pip may be another.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pip {
    pub(crate) python_version: String,
    pub(crate) implementation: String,
    pub(crate) abi: String,
    /// Tags of PEP 600 and before; pip expands none of them.
    pub(crate) platforms: Vec<String>,
}

/// One folder below `native/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Library {
    pub(crate) version: String,
    /// Disk space that the folder takes.
    pub(crate) unpacked_bytes: u64,
    pub(crate) wheels: Vec<Wheel>,
    /// Small files that no wheel holds: path in the folder → text.
    #[serde(default)]
    pub(crate) write: BTreeMap<String, String>,
}

/// One wheel on PyPI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wheel {
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) file: String,
    /// Lower-case hexadecimal.
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
    /// Path in the wheel → path in the folder; a path ending in `/` stands for all below it.
    pub(crate) take: BTreeMap<String, String>,
}

impl Pins {
    /// Reads [`FILE`] at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("`{}` is malformed", path.display()))
    }
}

impl Library {
    /// Whether `folder` is what these pins ask for: the stamp is written last, before the folder gets its name, so a
    /// folder that has it was complete. Files that were deleted by hand since are noticed as well.
    pub(crate) fn is_in(&self, folder: &Path) -> bool {
        let stamped = fs::read(folder.join(STAMP)).ok();
        let stamped = stamped.and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        stamped.as_ref() == Some(self) && self.paths().all(|path| folder.join(path).exists())
    }

    fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let taken = self.wheels.iter().flat_map(|wheel| wheel.take.values());
        taken.chain(self.write.keys()).map(PathBuf::from)
    }

    /// Writes the files that no wheel holds, then the stamp.
    pub(crate) fn complete(&self, folder: &Path) -> Result<()> {
        let stamp = serde_json::to_string_pretty(self)?;
        let texts = self.write.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        for (path, text) in texts.chain([(STAMP, stamp.as_str())]) {
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library() -> Library {
        Library {
            version: "1".to_owned(),
            unpacked_bytes: 0,
            wheels: Vec::new(),
            write: BTreeMap::from([("lib/a.so".to_owned(), "INPUT(b.so)\n".to_owned())]),
        }
    }

    #[test]
    fn the_pins_in_the_repository_are_well_formed() {
        let pins = Pins::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("natives.json")).unwrap();
        for wheel in pins.libtorch.wheels.iter().chain(&pins.onnxruntime.wheels) {
            assert!(
                wheel.sha256.len() == 64 && wheel.sha256.bytes().all(|b| b"0123456789abcdef".contains(&b))
            );
            let prefix = format!("{}-{}-", wheel.package.replace('-', "_"), wheel.version);
            assert!(wheel.file.starts_with(&prefix), "{}", wheel.file);
        }
        assert_eq!(pins.libtorch.write.get("build-version"), Some(&format!("{}\n", pins.libtorch.version)));
        let runtime = format!("libonnxruntime.so.{}", pins.onnxruntime.version);
        assert!(pins.onnxruntime.paths().any(|path| path == Path::new(&runtime)));
    }

    #[test]
    fn a_folder_counts_only_with_its_stamp_its_files_and_the_same_pins() {
        let folder = tempfile::tempdir().unwrap();
        let mut library = library();
        assert!(!library.is_in(folder.path()));
        library.complete(folder.path()).unwrap();
        assert!(library.is_in(folder.path()));
        library.version = "2".to_owned();
        assert!(!library.is_in(folder.path()));
        library.version = "1".to_owned();
        fs::remove_file(folder.path().join("lib/a.so")).unwrap();
        assert!(!library.is_in(folder.path()));
    }
}
