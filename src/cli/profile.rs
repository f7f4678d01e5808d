//! `pipe run --profile-to FILE`: where the recording goes, which is looked at before anything runs. Knows no recording's
//! content.

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::output;
use crate::error::{Error, ExitStatus};
use crate::logs::Recording;

/// Runs, and writes what was recorded of it, also where it failed.
///
/// # Errors
/// When the file cannot be written or is somebody else's; then nothing runs. As `run` does.
pub(super) fn around(
    file: &Path,
    recording: Option<&Recording>,
    run: impl FnOnce() -> Result<ExitStatus, Error>,
) -> Result<ExitStatus, Error> {
    check(file)?;
    let ended = run();
    let text = recording.map(Recording::to_json).unwrap_or_default();
    let written = report::write_whole(file, text.as_bytes()).map_err(|error| cannot_write(file, &error));
    match (ended, written) {
        // What ended the run says more.
        (Err(error), _) => Err(error),
        (Ok(status), Ok(())) => Ok(status),
        (Ok(ExitStatus::Done), Err(error)) => Err(error),
        (Ok(status), Err(error)) => {
            crate::streams::tell(&error.to_string());
            Ok(status)
        }
    }
}

/// Looks whether the file can be written, and may.
fn check(file: &Path) -> Result<(), Error> {
    let elsewhere = |error: Error| error.hint("name another file");
    output::is_replaceable(file, "recording of `pipe`", &Recording::is_one).map_err(elsewhere)?;
    // What a link leads to is what is written.
    let target = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let is_folder = target.is_dir() || file.as_os_str().as_encoded_bytes().ends_with(b"/");
    if is_folder || file.file_name().is_none() {
        let message = format!("`{}` is not the name of a file", file.display());
        return Err(elsewhere(Error::usage(message)));
    }
    let there = std::fs::metadata(&target);
    if there.is_err() && std::fs::symlink_metadata(file).is_ok_and(|link| link.is_symlink()) {
        let message = format!("`{}` is a link that leads nowhere", file.display());
        return Err(elsewhere(Error::usage(message)));
    }
    // One that a shell holds open (`--profile-to >(gzip > FILE)`) can be opened at any time; of another, whoever reads it would have
    // to come and go with this process.
    let is_held = ["/dev/fd", "/proc"].iter().any(|folder| file.starts_with(folder));
    if !is_held && there.as_ref().is_ok_and(|there| there.file_type().is_fifo()) {
        let message =
            format!("`{}` is a pipe: a recording is written once the run has ended", file.display());
        return Err(elsewhere(Error::usage(message)));
    }
    let is_special = there.is_ok_and(|there| !there.is_file());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = |why: String| elsewhere(Error::usage(format!("cannot write `{}`: {why}", file.display())));
    if is_special {
        let opened = std::fs::File::options().write(true).open(&target);
        return opened.map(drop).map_err(|error| cannot(error.to_string()));
    }
    std::fs::metadata(folder).map_err(|error| cannot(error.to_string()))?;
    // Made and gone at once. Its message has the name of the temporary file.
    let made = tempfile::Builder::new().prefix(".pipe-").tempfile_in(folder);
    made.map(drop).map_err(|error| cannot(error.kind().to_string()))
}

fn cannot_write(file: &Path, error: &std::io::Error) -> Error {
    Error::failed(format!("cannot write `{}`: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_or_may_not_be_written_is_refused_before_anything_runs() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("notes"), "mine").unwrap();
        std::fs::write(at("empty"), "").unwrap();
        std::fs::write(at("earlier"), Recording::default().to_json()).unwrap();
        std::os::unix::fs::symlink("gone/trace.json", at("link")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        for (name, said) in [
            ("notes", "is there already"),
            ("gone/trace.json", "No such file"),
            ("", "not the name of a file"),
            ("new/", "not the name of a file"),
            ("link", "a link that leads nowhere"),
            ("pipe", "is a pipe"),
        ] {
            let mut ran = false;
            let ended = around(&at(name), None, || {
                ran = true;
                Ok(ExitStatus::Done)
            });
            let message = ended.unwrap_err().to_string();
            assert!(!ran && message.contains(said) && !message.contains(".pipe-"), "{name}: {message}");
        }
        for name in ["empty", "earlier", "new"] {
            let recording = Recording::default();
            around(&at(name), Some(&recording), || Ok(ExitStatus::Done)).unwrap();
            assert!(Recording::is_one(&std::fs::read(at(name)).unwrap()), "{name}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 6, "nothing is left behind");
    }
}
