//! Opening something in the browser, as the desktop does it.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// Opens a file or an address.
///
/// # Errors
/// Why it did not work, in words.
pub(super) fn open(target: &OsStr) -> Result<(), String> {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let started = Command::new(opener)
        .arg(target)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match started {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{opener}` ended with {status}")),
        Err(error) => Err(format!("`{opener}`: {error}")),
    }
}
