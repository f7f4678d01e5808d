//! Some files of a wheel into a folder.
//!
//! A wheel is a zip file. Knows nothing of where it came from; its digest has been checked before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use zip::ZipArchive;

/// Writes what `take` names (path in the wheel → path in `folder`; `…/` for all below) and nothing else.
pub(crate) fn unpack(wheel: &Path, take: &BTreeMap<String, String>, folder: &Path) -> Result<()> {
    let name = wheel.file_name().unwrap_or_default().display();
    let file = File::open(wheel).with_context(|| format!("cannot open `{}`", wheel.display()))?;
    let mut archive = ZipArchive::new(file).with_context(|| format!("`{name}` is no zip file"))?;
    let mut found = BTreeSet::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).with_context(|| format!("`{name}` is damaged"))?;
        let inside = entry.name().with_context(|| format!("`{name}` is damaged"))?.into_owned();
        let Some((from, to)) = place(&inside, take) else { continue };
        if !entry.is_file() {
            continue;
        }
        if entry.enclosed_name().is_none() {
            bail!("`{name}` holds `{inside}`, which would be written outside of the folder");
        }
        let path = folder.join(to);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
        }
        File::create(&path)
            .and_then(|mut out| io::copy(&mut entry, &mut out))
            .with_context(|| format!("cannot unpack `{inside}` to `{}`", path.display()))?;
        found.insert(from);
    }
    match take.keys().find(|&from| !found.contains(from)) {
        Some(from) => bail!("`{name}` holds no `{from}`"),
        None => Ok(()),
    }
}

/// By which pin an entry is taken, and its path in the folder.
fn place<'pin>(entry: &str, take: &'pin BTreeMap<String, String>) -> Option<(&'pin String, PathBuf)> {
    take.iter().find_map(|(from, to)| {
        let rest = entry.strip_prefix(from)?;
        (rest.is_empty() || from.ends_with('/')).then(|| (from, Path::new(&format!("{to}{rest}")).to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    fn wheel(folder: &Path, names: &[&str]) -> PathBuf {
        let path = folder.join("a.whl");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for name in names {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    fn take(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(from, to)| (from.to_owned(), to.to_owned())).collect()
    }

    #[test]
    fn only_what_is_named_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let wheel =
            wheel(folder.path(), &["t/include/a/b.h", "t/lib/x.so", "t/lib/x.so.debug", "t/include2/c.h"]);
        let out = folder.path().join("out");
        unpack(&wheel, &take(&[("t/include/", "include/"), ("t/lib/x.so", "lib/y.so")]), &out).unwrap();
        assert_eq!(fs::read_to_string(out.join("include/a/b.h")).unwrap(), "t/include/a/b.h");
        assert_eq!(fs::read_to_string(out.join("lib/y.so")).unwrap(), "t/lib/x.so");
        assert_eq!(fs::read_dir(out.join("lib")).unwrap().count(), 1);
        assert!(!out.join("include2").exists());
    }

    #[test]
    fn a_pin_that_matches_nothing_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = wheel(folder.path(), &["t/a"]);
        let error = unpack(&wheel, &take(&[("t/a", "a"), ("t/b", "b")]), folder.path()).unwrap_err();
        assert_eq!(error.to_string(), "`a.whl` holds no `t/b`");
    }

    #[test]
    fn nothing_is_written_outside_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = wheel(folder.path(), &["t/../../evil"]);
        let error = unpack(&wheel, &take(&[("t/", "")]), &folder.path().join("out")).unwrap_err();
        assert!(error.to_string().contains("outside of the folder"), "{error}");
        assert!(!folder.path().join("evil").exists());
    }

    #[test]
    fn a_damaged_wheel_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = wheel(folder.path(), &["t/a"]);
        fs::write(&wheel, "no zip").unwrap();
        let error = unpack(&wheel, &take(&[("t/a", "a")]), folder.path()).unwrap_err();
        assert_eq!(error.to_string(), "`a.whl` is no zip file");
    }
}
