//! Files that are there whole or not at all, whatever happens meanwhile. Knows nothing of what they hold.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes a file beside its place first, then renames it, so that a reader never sees half of it, and neither does anybody after a
/// kill or a power cut.
///
/// # Errors
/// When it cannot be written; what was there is there still.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole_with(path, |unfinished| std::fs::write(unfinished, bytes))
}

/// As [`write_whole`], of a file that `write` writes at the path that it is given: to the empty one there, or by one of its own.
///
/// # Errors
/// As [`write_whole`], and what `write` returns.
pub fn write_whole_with<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The permissions of any other new file: by default nobody else could read it.
    let mut builder = tempfile::Builder::new();
    let unfinished = builder.permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
    let permissions = unfinished.as_file().metadata()?.permissions();
    write(unfinished.path())?;
    // It may be another file under the same name now.
    let written = File::open(unfinished.path())?;
    written.set_permissions(permissions)?;
    written.sync_all()?;
    unfinished.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "old").unwrap();
        let failed = write_whole_with(&path, |unfinished| {
            fs::write(unfinished, "half")?;
            Err(io::Error::other("full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "full");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(write_whole(&folder.path().join("missing/f"), b"").is_err());
    }

    #[test]
    fn others_may_read_it_as_any_other_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let [plain, whole, moved] = ["plain", "whole", "moved"].map(|name| folder.path().join(name));
        fs::write(&plain, "").unwrap();
        write_whole(&whole, b"").unwrap();
        write_whole_with(&moved, |unfinished| {
            let own = tempfile::NamedTempFile::new_in(unfinished.parent().unwrap_or(unfinished))?;
            own.persist(unfinished).map(drop).map_err(|error| error.error)
        })
        .unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions();
        assert_eq!(mode(&whole), mode(&plain));
        assert_eq!(mode(&moved), mode(&plain));
    }
}
