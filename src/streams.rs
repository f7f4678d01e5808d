//! Standard output and standard error: nothing else writes to them. A reader that has read enough, such as `head`, is no error;
//! a device that is full is one, which is told once everything else is done, because what was run is kept whatever becomes of
//! what was printed. Text is made harmless on its way out.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use text::printable;

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Out => "standard output",
            Self::Err => "standard error",
        }
    }

    fn write(self, bytes: &[u8]) -> io::Result<()> {
        // Whole lines in one go, so that those of processes that share a file do not mix.
        match self {
            Self::Out => {
                let stdout = io::stdout().lock();
                write_whole(stdout.as_fd(), bytes)
            }
            Self::Err => {
                let stderr = io::stderr().lock();
                write_whole(stderr.as_fd(), bytes)
            }
        }
    }
}

/// Writes all of it, also to what another program that has the same terminal or pipe has set not to block, as Node, ssh and
/// editors do: there it waits until more can be written. The buffers of the standard library would lose count of what was.
fn write_whole(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => match poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            },
            // Whoever has closed it wants none.
            Err(Errno::BADF) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Something that was to be written and is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    stream: Stream,
    why: String,
}

impl Lost {
    /// What happened, in words.
    pub(crate) fn message(&self) -> String {
        format!("cannot write to {}, where something is missing now: {}", self.stream.name(), self.why)
    }
}

/// The first thing that was lost.
static LOST: Mutex<Option<Lost>> = Mutex::new(None);

/// What was lost so far, if anything was.
pub(crate) fn lost() -> Option<Lost> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Remembers that something is lost, unless its reader has gone away, who wants no more.
fn note(stream: Stream, error: &io::Error) {
    if error.kind() != ErrorKind::BrokenPipe {
        let lost = Lost { stream, why: error.to_string() };
        LOST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(lost);
    }
}

fn write(stream: Stream, text: &str) {
    if let Err(error) = stream.write(text.as_bytes()) {
        note(stream, &error);
    }
}

/// Writes text to standard output. A reader that has read enough is no error.
///
/// # Errors
/// When it cannot be written, for example on a full disk.
pub(crate) fn print(text: &Shown<'_>) -> io::Result<()> {
    let safe = match text {
        Shown::Plain(text) => printable::plain(text),
        Shown::Painted(text) => printable::painted(text),
        Shown::Json(text) => printable::json(text),
    };
    match Stream::Out.write(safe.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// What is printed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shown<'a> {
    /// Text without colours.
    Plain(&'a str),
    /// Text that may have colours of its own; that of others in it is clean.
    Painted(&'a str),
    /// JSON.
    Json(&'a str),
}

/// Writes a message to standard error, which may have colours of its own.
pub(crate) fn tell(text: &str) {
    write(Stream::Err, &printable::painted(text));
}

/// Writes JSON to standard error.
pub(crate) fn tell_json(text: &str) {
    write(Stream::Err, &printable::json(text));
}

/// A stream for whoever writes on for as long as a run lasts: never fails, and remembers what is lost.
#[derive(Debug)]
pub(crate) struct Steady {
    stream: Stream,
    safe: fn(&str) -> Cow<'_, str>,
}

impl Steady {
    /// JSON lines on standard output.
    pub(crate) fn json() -> Self {
        Self { stream: Stream::Out, safe: printable::json }
    }

    /// Messages on standard error.
    pub(crate) fn messages() -> Self {
        Self { stream: Stream::Err, safe: printable::painted }
    }
}

impl Write for Steady {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(self.stream, &(self.safe)(&String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Read;

    #[test]
    fn what_does_not_block_is_written_to_as_its_reader_reads() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        // It is full before anything is written to it.
        let mut filled = 0;
        while let Ok(written) = rustix::io::write(&writer, &[7; 4096]) {
            filled += written;
        }
        let sent: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
        let expected = [vec![7; filled], sent.clone()].concat();
        let writing = std::thread::spawn(move || write_whole(writer.as_fd(), &sent));
        let mut got = vec![];
        reader.read_to_end(&mut got).unwrap();
        writing.join().unwrap().unwrap();
        assert!(got == expected, "{} of {} bytes, or others", got.len(), expected.len());
    }

    #[test]
    fn a_reader_that_has_gone_away_is_told_from_a_full_device() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert_eq!(write_whole(writer.as_fd(), b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(write_whole(full.as_fd(), b"x").unwrap_err().kind(), ErrorKind::StorageFull);
    }
}
