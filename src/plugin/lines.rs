//! One stream of a child, read as it comes and cut into lines. Knows no processes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use text::secret::Masks;

/// Longest line of a conversation: a figure is far smaller.
const MAX_MESSAGE: usize = 64 << 20;

/// Longest line of a log; a longer one becomes several.
const MAX_LOG_LINE: usize = 1 << 20;

/// How much is read at a time: a pipe holds no more.
const CHUNK: usize = 64 << 10;

/// What standard output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// A conversation: a line beyond all measure breaks it.
    Messages,
    /// A log: a line beyond all measure becomes several.
    Log,
}

/// A stream being read.
pub(super) struct Lines {
    stream: Option<OwnedFd>,
    kind: Stdout,
    /// Read, without an end of line yet.
    begun: Vec<u8>,
    masks: Masks,
    broken: Option<String>,
}

impl Lines {
    /// Lines of `stream`. Without one it is closed from the start.
    pub(super) fn new(stream: Option<OwnedFd>, kind: Stdout) -> Self {
        Self { stream, kind, begun: Vec::new(), masks: Masks::default(), broken: None }
    }

    /// Takes secrets out of the lines of a log from now on. Messages are taken apart first by who reads them.
    pub(super) fn hide(&mut self, masks: &Masks) {
        if self.kind == Stdout::Log {
            self.masks = masks.clone();
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_ref().map(OwnedFd::as_fd)
    }

    /// Reads no more.
    pub(super) fn close(&mut self) {
        self.stream = None;
    }

    /// Why it was closed before its end.
    pub(super) fn broken(&mut self) -> Option<String> {
        self.broken.take()
    }

    /// The lines that can be read now; to be called when `poll` says that there is something to read, or it waits.
    /// Closed afterwards where the stream has ended or broke.
    pub(super) fn read(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let Some(stream) = &self.stream else { return lines };
        let start = self.begun.len();
        self.begun.resize(start + CHUNK, 0);
        let read = rustix::io::read(stream, &mut self.begun[start..]);
        self.begun.truncate(start + read.unwrap_or(0));
        match read {
            Ok(0) => self.stream = None,
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => {
                self.stream = None;
                self.broken = Some(error.to_string());
            }
        }
        self.cut(start, &mut lines);
        lines
    }

    /// Moves whole lines out of what was read; what was there up to `seen` holds no end of line.
    fn cut(&mut self, seen: usize, lines: &mut Vec<String>) {
        let (kind, masks) = (self.kind, self.masks.clone());
        let text = |bytes: &[u8]| match (String::from_utf8_lossy(bytes), kind) {
            (text, Stdout::Messages) => text.into_owned(),
            (text, Stdout::Log) => masks.hide(&text).into_owned(),
        };
        let (mut from, mut search) = (0, seen);
        while let Some(end) = self.begun[search..].iter().position(|byte| *byte == b'\n') {
            lines.push(text(&self.begun[from..search + end]));
            from = search + end + 1;
            search = from;
        }
        self.begun.drain(..from);
        match self.kind {
            Stdout::Messages if self.begun.len() > MAX_MESSAGE => {
                self.stream = None;
                self.broken = Some(format!("a line is longer than {} MB", MAX_MESSAGE >> 20));
                self.begun = Vec::new();
            }
            Stdout::Log => {
                // Of a secret that is cut neither part would be found.
                while self.begun.len() >= MAX_LOG_LINE + self.masks.longest() {
                    let at = self.masks.cut_before(&self.begun, MAX_LOG_LINE);
                    lines.push(text(&self.begun[..at]));
                    self.begun.drain(..at);
                }
            }
            Stdout::Messages => {}
        }
        if self.stream.is_none() && !self.begun.is_empty() {
            lines.push(text(&std::mem::take(&mut self.begun)));
        }
    }
}
