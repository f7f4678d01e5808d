//! The log of one execution: every line with the seconds since its start.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use super::Failure;

/// Bytes of a log that are kept.
const LONGEST: usize = 64 << 20;

/// A log being written. What goes beyond its longest length is counted and left out. What cannot be written is noticed once, by [`Log::close`].
pub(super) struct Log {
    file: BufWriter<File>,
    start: Instant,
    written: usize,
    left_out: usize,
    broken: Option<io::Error>,
}

impl Log {
    /// Starts a log at `path`, replacing what is there.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        // One that a killed run was about to keep can no longer be written to. Anything but a file is not ours to remove.
        if fs::symlink_metadata(path).is_ok_and(|there| there.is_file()) {
            fs::remove_file(path)?;
        }
        let file = BufWriter::new(File::create(path)?);
        Ok(Self { file, start: Instant::now(), written: 0, left_out: 0, broken: None })
    }

    /// Writes one or more lines. Flushed at once, so that a log can be followed and survives a kill.
    pub(super) fn line(&mut self, text: &str) {
        if self.written > LONGEST {
            self.left_out += text.lines().count().max(1);
        } else {
            self.write(text);
        }
    }

    /// Writes why something failed.
    pub(super) fn failure(&mut self, failure: &Failure) {
        self.line(&format!("failed: {}", failure.message));
        if let Some(hint) = &failure.hint {
            self.line(&format!("help: {hint}"));
        }
    }

    fn write(&mut self, text: &str) {
        if self.broken.is_some() {
            return;
        }
        self.written += text.len();
        let seconds = self.start.elapsed().as_secs_f64();
        let mut write = || {
            // A text without anything in it is an empty line.
            for line in text.lines().chain(text.is_empty().then_some("")) {
                writeln!(self.file, "{seconds:9.3}  {line}")?;
            }
            self.file.flush()
        };
        self.broken = write().err();
    }

    /// Ends the log.
    ///
    /// # Errors
    /// The first error that writing met.
    pub(super) fn close(mut self) -> io::Result<()> {
        if self.left_out > 0 {
            self.write(&format!("{} more lines were left out", self.left_out));
        }
        self.broken.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Log::create(&path).unwrap();
        let line = "x".repeat(1 << 20);
        for _ in 0..70 {
            log.line(&line);
        }
        log.line("last words");
        log.close().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.len() < 70 << 20);
        assert!(text.ends_with("6 more lines were left out\n"), "{}", &text[text.len() - 100..]);
    }

    #[test]
    fn a_log_that_can_no_longer_be_written_to_is_replaced_and_a_device_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
        let mut log = Log::create(&path).unwrap();
        log.line("");
        log.line("new");
        log.close().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "an empty line is a line");
        assert!(!text.contains("old") && text.ends_with("new\n"), "{text}");
        Log::create(Path::new("/dev/null")).unwrap().close().unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn every_line_has_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Log::create(&path).unwrap();
        log.line("one\ntwo");
        log.line("three");
        log.close().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.trim_start().split_once("  ").unwrap()).collect();
        assert_eq!(lines.iter().map(|line| line.1).collect::<Vec<_>>(), ["one", "two", "three"]);
        assert!(lines.iter().all(|line| line.0.parse::<f64>().unwrap() < 60.0));
    }
}
