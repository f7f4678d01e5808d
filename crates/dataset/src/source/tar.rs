//! Entries of a tar archive, in its order. The archive is a stream: nothing of it is kept.

use std::cell::Cell;
use std::io::{self, Read};

use super::{Entry, Guard, Visitor, damage, in_the_middle_of};
use crate::DatasetError;

/// Size of a header and unit of everything in a tar file.
pub(super) const BLOCK: usize = 512;

/// Most bytes of headers (long names, extended attributes) before one entry. The `tar` crate reads them into
/// memory whole.
const HEADER_BYTES: u64 = 1 << 20;

pub(super) fn visit(
    stream: impl Read,
    guard: &mut Guard<'_>,
    visitor: &mut Visitor<'_>,
) -> Result<(), DatasetError> {
    let meter = Meter { budget: Cell::new(HEADER_BYTES), zeros: Cell::new(0), ended: Cell::new(false) };
    let mut archive = ::tar::Archive::new(Metered { stream, meter: &meter });
    let source = guard.source;
    let damage = |place: &str, error: io::Error| {
        let early = meter.ended.get().then(|| io::ErrorKind::UnexpectedEof.into());
        damage(source, place, early.unwrap_or(error))
    };
    let mut place = "at its start".to_owned();
    let mut entries = archive.entries().map_err(|error| damage(&place, error))?;
    loop {
        meter.budget.set(HEADER_BYTES);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(|error| damage(&place, error))?;
        let raw = entry.path_bytes().into_owned();
        let is_folder = match entry.header().entry_type() {
            ::tar::EntryType::Regular | ::tar::EntryType::Continuous => raw.ends_with(b"/"),
            ::tar::EntryType::Directory => true,
            // Comments, as `git archive` writes.
            ::tar::EntryType::XGlobalHeader => continue,
            other => return Err(guard.refuse(&String::from_utf8_lossy(&raw), refusal(other))),
        };
        let size = entry.size();
        let path = guard.admit(&raw, is_folder, size)?;
        place = in_the_middle_of(&path);
        meter.budget.set(size);
        if is_folder {
            visitor(Entry::new(guard.source, &path, size, None))?;
        } else {
            visitor(Entry::new(guard.source, &path, size, Some(&mut entry)))?;
        }
        io::copy(&mut entry, &mut io::sink()).map_err(|error| damage(&place, error))?;
        if meter.budget.get() > 0 {
            return Err(damage(&place, io::ErrorKind::UnexpectedEof.into()));
        }
        place = format!("after `{path}`");
    }
    if meter.zeros.get() < BLOCK as u64 {
        // An end without the block of zeros that marks it.
        return Err(damage(&place, io::ErrorKind::UnexpectedEof.into()));
    }
    // Reads what is left, so that a compressed stream checks its checksum.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| damage(&place, error))?;
    Ok(())
}

fn refusal(kind: ::tar::EntryType) -> &'static str {
    match kind {
        ::tar::EntryType::Symlink => "is a symbolic link",
        ::tar::EntryType::Link => "is a hard link",
        ::tar::EntryType::Char | ::tar::EntryType::Block => "is a device",
        ::tar::EntryType::Fifo => "is a named pipe",
        ::tar::EntryType::GNUSparse => "is a sparse file; pack it without `--sparse`",
        _ => "is neither a file nor a folder",
    }
}

/// Whether `block` starts a tar file: its checksum (the sum of the header's bytes, with its own field taken as
/// spaces) is right.
pub(super) fn is_header(block: &[u8]) -> bool {
    let Some(block) = block.first_chunk::<BLOCK>() else { return false };
    let (before, rest) = block.split_at(148);
    let (field, after) = rest.split_at(8);
    let digits: String =
        field.iter().filter(|byte| byte.is_ascii_digit()).map(|&byte| byte as char).collect();
    let sum: u32 = before.iter().chain(after).map(|&byte| u32::from(byte)).sum();
    u32::from_str_radix(&digits, 8) == Ok(sum + 8 * u32::from(b' '))
}

/// What is known of a stream while others read it.
struct Meter {
    /// Bytes that may still be read.
    budget: Cell<u64>,
    /// Zeros at the end of what was read.
    zeros: Cell<u64>,
    /// Whether its end was seen.
    ended: Cell<bool>,
}

/// A stream that gives no more than its budget.
struct Metered<'a, R> {
    stream: R,
    meter: &'a Meter,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Meter { budget, zeros, ended } = self.meter;
        if buffer.is_empty() {
            return Ok(0);
        }
        let allowed = usize::try_from(budget.get()).unwrap_or(usize::MAX).min(buffer.len());
        if allowed == 0 {
            // A stream at its end may be asked again.
            return match self.stream.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(io::Error::other("there is more data than its headers say")),
            };
        }
        let buffer = &mut buffer[..allowed];
        let count = self.stream.read(buffer)?;
        ended.set(count == 0);
        budget.set(budget.get() - count as u64);
        let new = buffer[..count].iter().rev().take_while(|&&byte| byte == 0).count();
        let carried = if new == count { zeros.get() } else { 0 };
        zeros.set(carried + new as u64);
        Ok(count)
    }
}
