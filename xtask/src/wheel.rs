//! One wheel from the package index into a folder, by pip, with its digest checked.
//!
//! Knows pip's command line; knows nothing of what is inside.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::pins::{self, Pip, Wheel};
use crate::requirements::megabytes;
use crate::workspace::say;

/// The wheel's path in `folder`. One that lies there already is kept if its digest is right and replaced if not.
pub(crate) fn fetch(wheel: &Wheel, pip: &Pip, python: &Path, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(&wheel.file);
    if path.is_file() {
        if digest(&path)? == wheel.sha256 {
            say(&format!("{} {} is downloaded already", wheel.package, wheel.version));
            return Ok(path);
        }
        say(&format!("`{}` is damaged: fetching it again", path.display()));
        fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
    }
    say(&format!("fetching {} {} ({})", wheel.package, wheel.version, megabytes(wheel.bytes)));
    download(wheel, pip, python, folder)?;
    if !path.is_file() {
        bail!(
            "pip fetched {} {}, but not as `{}`, which `{}` pins",
            wheel.package,
            wheel.version,
            wheel.file,
            pins::FILE
        );
    }
    let found = digest(&path)?;
    if found != wheel.sha256 {
        fs::remove_file(&path).with_context(|| format!("cannot remove `{}`", path.display()))?;
        bail!(
            "`{}` came with SHA-256 {found}, but `{}` pins {}: it was removed and nothing of it unpacked; try again, \
             and distrust the package index if it happens twice",
            wheel.file,
            pins::FILE,
            wheel.sha256
        );
    }
    Ok(path)
}

/// pip writes to `folder` only: its temporary files too, because `/tmp` may be small or in memory.
fn download(wheel: &Wheel, pip: &Pip, python: &Path, folder: &Path) -> Result<()> {
    let requirement = folder.join("requirement.txt");
    fs::write(&requirement, format!("{}=={} --hash=sha256:{}\n", wheel.package, wheel.version, wheel.sha256))
        .with_context(|| format!("cannot write `{}`", requirement.display()))?;
    let mut command = Command::new(python);
    command
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"])
        .args(["--no-input", "--disable-pip-version-check"])
        .args(["--python-version", &pip.python_version])
        .args(["--implementation", &pip.implementation, "--abi", &pip.abi]);
    for platform in &pip.platforms {
        command.args(["--platform", platform]);
    }
    command.arg("--dest").arg(folder).arg("--requirement").arg(&requirement);
    // Standard output is for results.
    let messages = io::stderr().as_fd().try_clone_to_owned()?;
    let status = command.env("TMPDIR", folder).stdin(Stdio::null()).stdout(messages).status();
    let status = status.with_context(|| format!("cannot start `{}`", python.display()))?;
    if !status.success() {
        bail!(
            "pip could not fetch {} {} ({status}); its messages are above, and what was fetched before is kept",
            wheel.package,
            wheel.version
        );
    }
    Ok(())
}

/// SHA-256 of a file, in lower-case hexadecimal.
fn digest(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let file = File::open(path);
    file.and_then(|mut file| io::copy(&mut file, &mut hasher))
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_sha256_in_hexadecimal() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("abc");
        fs::write(&file, "abc").unwrap();
        assert_eq!(
            digest(&file).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
