//! Where the repository lies, and how its programs are started.
//!
//! Knows that cargo sets variables for the programs it runs, which must not be mistaken for the user's own.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// The repository this `xtask` belongs to.
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Found by the folder of this package, which `cargo run` puts into the environment.
    pub(crate) fn find() -> Result<Self> {
        let package =
            std::env::var_os("CARGO_MANIFEST_DIR").context("start this program as `cargo xtask`")?;
        let root =
            Path::new(&package).parent().context("`CARGO_MANIFEST_DIR` names no folder in a repository")?;
        Ok(Self::at(root))
    }

    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Where set-up puts libtorch, and what `.cargo/config.toml` sets `LIBTORCH` to.
    pub(crate) fn libtorch(&self) -> PathBuf {
        self.path("native/libtorch")
    }

    pub(crate) fn onnxruntime(&self) -> PathBuf {
        self.path("native/onnxruntime")
    }

    /// The value of `LIBTORCH` if the user set it: cargo itself sets it to [`Self::libtorch`] for every program it
    /// runs.
    pub(crate) fn libtorch_of_user(&self) -> Option<OsString> {
        self.unless_default(std::env::var_os("LIBTORCH")?)
    }

    fn unless_default(&self, value: OsString) -> Option<OsString> {
        (Path::new(&value) != self.libtorch()).then_some(value)
    }

    /// A command in the root of the repository.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// The cargo that runs this program.
    pub(crate) fn cargo(&self) -> Command {
        self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// Waits until no other `cargo xtask` is changing `native/`; held until dropped, also by a sudden death.
    pub(crate) fn lock_native(&self) -> Result<File> {
        let folder = self.path("native");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        let path = folder.join(".lock");
        let lock = File::create(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
        if lock.try_lock().is_err() {
            say("waiting for another `cargo xtask` to finish its set-up");
            lock.lock().with_context(|| format!("cannot lock `{}`", path.display()))?;
        }
        Ok(lock)
    }
}

/// One line about what is being done.
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_that_cargo_sets_is_not_the_users_own() {
        let workspace = Workspace::at(Path::new("/repo"));
        assert_eq!(workspace.unless_default("/repo/native/libtorch".into()), None);
        assert_eq!(workspace.unless_default("/repo/native/libtorch/".into()), None);
        assert_eq!(workspace.unless_default("/opt/libtorch".into()), Some("/opt/libtorch".into()));
        assert_eq!(workspace.unless_default("".into()), Some("".into()));
    }
}
