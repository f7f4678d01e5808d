//! The log of one execution: every line with the seconds since its start.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use text::secret::Masks;

use super::Failure;

/// Bytes of a log that are kept, with the time before each line.
const LONGEST: usize = 64 << 20;

/// A log being written. What goes beyond its longest length is counted and left out, and secrets are. What cannot be written
/// is noticed once, by [`Log::close`].
pub(super) struct Log {
    file: BufWriter<File>,
    start: Instant,
    written: usize,
    left_out: usize,
    masks: Masks,
    broken: Option<io::Error>,
}

impl Log {
    /// Starts a log at `path`, replacing what is there.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub(super) fn create(path: &Path, masks: Masks) -> io::Result<Self> {
        // One that a killed run was about to keep can no longer be written to. Anything but a file is not ours to remove.
        if fs::symlink_metadata(path).is_ok_and(|there| there.is_file()) {
            fs::remove_file(path)?;
        }
        // Nobody waits for a reader of what is no file either.
        let mut options = File::options();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW);
        let file = BufWriter::new(options.open(path)?);
        Ok(Self { file, start: Instant::now(), written: 0, left_out: 0, masks, broken: None })
    }

    /// Writes one or more lines. Flushed at once, so that a log can be followed and survives a kill.
    pub(super) fn line(&mut self, text: &str) {
        let (masks, seconds) = (self.masks.clone(), self.start.elapsed().as_secs_f64());
        let text = masks.hide(text);
        // A text without anything in it is an empty line.
        for line in text.lines().chain(text.is_empty().then_some("")) {
            let line = format!("{seconds:9.3}  {line}\n");
            // What comes after a gap is not written either: a log ends where it ends.
            if self.left_out > 0 || self.written + line.len() > LONGEST {
                self.left_out += 1;
            } else {
                self.write(&line);
            }
        }
        self.note(|file| file.flush());
    }

    /// Writes why something failed.
    pub(super) fn failure(&mut self, failure: &Failure) {
        self.line(&format!("failed: {}", failure.message));
        if let Some(hint) = &failure.hint {
            self.line(&format!("help: {hint}"));
        }
    }

    fn write(&mut self, line: &str) {
        self.written += line.len();
        self.note(|file| file.write_all(line.as_bytes()));
    }

    /// Does something with the file, unless that failed before.
    fn note(&mut self, act: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        if self.broken.is_none() {
            self.broken = act(&mut self.file).err();
        }
    }

    /// Ends the log.
    ///
    /// # Errors
    /// The first error that writing met.
    pub(super) fn close(mut self) -> io::Result<()> {
        if self.left_out > 0 {
            let seconds = self.start.elapsed().as_secs_f64();
            let line = format!("{seconds:9.3}  {} more lines were left out\n", self.left_out);
            self.write(&line);
            self.note(|file| file.flush());
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
        let mut log = Log::create(&path, Masks::default()).unwrap();
        let line = "x".repeat(1 << 20);
        for _ in 0..70 {
            log.line(&line);
        }
        log.line("last words");
        log.close().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.len() < (64 << 20) + 100);
        assert!(text.ends_with("8 more lines were left out\n"), "{}", &text[text.len() - 100..]);
    }

    #[test]
    fn empty_lines_and_times_count_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Log::create(&path, Masks::default()).unwrap();
        // Twelve bytes each.
        let lines = (64 << 20) / 12;
        log.line(&"\n".repeat(lines + 1000));
        log.line("");
        log.close().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), lines + 1);
        assert!(text.len() < (64 << 20) + 100, "{}", text.len());
        assert!(text.ends_with("  1001 more lines were left out\n"), "{}", &text[text.len() - 100..]);
    }

    #[test]
    fn a_secret_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Log::create(&path, Masks::new(&["hunter2".into()], []).unwrap()).unwrap();
        log.line("the password is hunter2\nof https://me:pw@host/x?sig=1");
        log.failure(&Failure::new("no hunter2").hint("try hunter2"));
        log.close().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.trim_start().split_once("  ").unwrap().1).collect();
        assert_eq!(
            lines,
            ["the password is ***", "of https://***@host/x?***", "failed: no ***", "help: try ***"]
        );
    }

    #[test]
    fn a_log_that_can_no_longer_be_written_to_is_replaced_and_a_device_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
        let mut log = Log::create(&path, Masks::default()).unwrap();
        log.line("");
        log.line("new");
        log.close().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "an empty line is a line");
        assert!(!text.contains("old") && text.ends_with("new\n"), "{text}");
        Log::create(Path::new("/dev/null"), Masks::default()).unwrap().close().unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn every_line_has_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Log::create(&path, Masks::default()).unwrap();
        log.line("one\ntwo");
        log.line("three");
        log.close().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.trim_start().split_once("  ").unwrap()).collect();
        assert_eq!(lines.iter().map(|line| line.1).collect::<Vec<_>>(), ["one", "two", "three"]);
        assert!(lines.iter().all(|line| line.0.parse::<f64>().unwrap() < 60.0));
    }
}
