//! The Python packages that differential tests compare with: a virtual environment in `native/peers`.
//!
//! Knows pip and venv; knows nothing of the tests. Nothing but tests needs any of this.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::requirements;
use crate::workspace::{Workspace, say};

/// Tells the tests which Python to start. Set by hand, it is used as it is.
pub(crate) const VARIABLE: &str = "PIPE_PEERS_PYTHON";
const REQUIREMENTS: &str = "tests/peers/requirements.txt";
/// A copy of the requirements that were installed, written last.
const STAMP: &str = ".requirements.txt";

/// A Python that has the packages, installed now if need be; the error says why there is none.
pub(crate) fn prepare(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(given) = std::env::var_os(VARIABLE) {
        let python = PathBuf::from(given);
        check_imports(&python).with_context(|| format!("`{VARIABLE}` is `{}`", python.display()))?;
        say(&format!("Python is yours: `{VARIABLE}` is `{}`", python.display()));
        return Ok(python);
    }
    let list = workspace.path(REQUIREMENTS);
    let wanted = fs::read(&list).with_context(|| format!("cannot read `{}`", list.display()))?;
    let folder = workspace.path("native/peers");
    let python = folder.join("bin/python");
    let is_there = || python.exists() && fs::read(folder.join(STAMP)).is_ok_and(|stamp| stamp == wanted);
    if is_there() {
        return Ok(python);
    }
    let _lock = workspace.lock_native()?;
    if is_there() {
        return Ok(python);
    }
    let base = requirements::pip(std::env::var_os("PATH").as_deref())?;
    if !imports(&base, "ensurepip, venv")? {
        bail!(
            "`{}` cannot make virtual environments: install its module venv, on Debian with \
             `apt-get install python3-venv`",
            base.display()
        );
    }
    say(&format!("installing `{REQUIREMENTS}` into `{}`", folder.display()));
    if !succeeds(Command::new(&base).args(["-m", "venv", "--clear"]).arg(&folder))? {
        bail!("`{} -m venv` could not make `{}`", base.display(), folder.display());
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    pip.args(["--no-deps", "--only-binary=:all:", "--requirement"]).arg(&list);
    if !succeeds(&mut pip)? {
        bail!("pip could not install `{REQUIREMENTS}`; its messages are above");
    }
    check_imports(&python)?;
    fs::write(folder.join(STAMP), wanted).context("cannot write the stamp of `native/peers`")?;
    Ok(python)
}

fn check_imports(python: &Path) -> Result<()> {
    if !imports(python, "numpy, onnx, onnxruntime")? {
        bail!("`{}` does not have the packages of `{REQUIREMENTS}`", python.display());
    }
    Ok(())
}

fn imports(python: &Path, modules: &str) -> Result<bool> {
    succeeds(Command::new(python).args(["-c", &format!("import {modules}")]).stderr(Stdio::null()))
}

/// Standard output is for results, so that of the command is dropped; its messages are shown.
fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
    Ok(status.success())
}
