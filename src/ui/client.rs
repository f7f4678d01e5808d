//! The other end of a connection: what it asks is read and what it is told is sent, each within a time. Knows no requests.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::request::{LONGEST_HEAD, holds_end};

/// An answer must be taken after this, and each piece of a stream.
const LONGEST_ANSWER: Duration = Duration::from_secs(60);
/// How long a client may take to close its end once it has its answer.
pub(super) const LINGER: Duration = Duration::from_millis(500);
/// What more of it is read meanwhile.
const MOST_IGNORED: usize = 1 << 20;

/// The other end of a connection.
pub(super) struct Client<'a> {
    stream: &'a TcpStream,
}

impl<'a> Client<'a> {
    pub(super) fn new(stream: &'a TcpStream) -> Self {
        Self { stream }
    }

    /// The head of its request, as much of it as may be read. `None` where it has said nothing.
    pub(super) fn head(&mut self, longest: Duration) -> io::Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + longest;
        let mut head = Vec::new();
        let mut buffer = [0; 2048];
        let mut known = 0;
        while head.len() < LONGEST_HEAD && !holds_end(&head, known) {
            known = head.len();
            self.stream.set_read_timeout(Some(left(deadline)?))?;
            let room = buffer.len().min(LONGEST_HEAD - head.len());
            match self.stream.read(buffer.get_mut(..room).unwrap_or_default())? {
                0 => break,
                read => head.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            }
        }
        Ok((!head.is_empty()).then_some(head))
    }

    /// Sends bytes, all of them before long.
    ///
    /// # Errors
    /// When it has gone, or takes too long.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + LONGEST_ANSWER;
        let mut rest = bytes;
        while !rest.is_empty() {
            self.stream.set_write_timeout(Some(left(deadline)?))?;
            match self.stream.write(rest)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => rest = rest.get(written..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    /// Waits for so long. Whether it has gone meanwhile, or said what it has no business to say.
    pub(super) fn is_gone_within(&mut self, duration: Duration) -> bool {
        let waited =
            self.stream.set_read_timeout(Some(duration)).and_then(|()| self.stream.read(&mut [0; 64]));
        !matches!(waited, Err(error) if is_timeout(&error))
    }

    /// Ends the connection. What it has sent in vain is read first, or it would see an error instead of its answer.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let deadline = Instant::now() + LINGER;
        let mut buffer = [0; 4096];
        let mut ignored = 0;
        while ignored < MOST_IGNORED {
            self.stream.set_read_timeout(Some(left(deadline)?))?;
            match self.stream.read(&mut buffer)? {
                0 => break,
                read => ignored += read,
            }
        }
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Time until a deadline.
///
/// # Errors
/// When it is over.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
