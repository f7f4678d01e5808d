//! Entries of a tar archive, in its order. The archive is a stream: nothing of it is kept.
//!
//! Links to files of the archive, as in a tree of Hugging Face or DVC, are read as those files, in a second pass.

mod links;

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Read};

use self::links::{Followed, Link, Links};
use super::{Entry, Guard, LIMITS, Real, Visitor, damage, in_the_middle_of};
use crate::DatasetError;

/// Size of a header and unit of everything in a tar file.
pub(super) const BLOCK: usize = 512;

/// Most bytes of headers (long names, extended attributes) before one entry. The `tar` crate reads them into
/// memory whole.
const HEADER_BYTES: u64 = 1 << 20;

/// Most bytes of a file that several links lead to: it is held in memory for them.
const SHARED_BYTES: u64 = 256 << 20;

/// Hands every entry to `visitor`; `open` gives the archive from its start.
pub(super) fn visit<R: Read>(
    open: &dyn Fn() -> Result<R, DatasetError>,
    guard: &mut Guard<'_>,
    visitor: &mut Visitor<'_>,
) -> Result<(), DatasetError> {
    let mut links = Links::default();
    let mut has_links = false;
    let mut number = 0;
    walk(open()?, guard.source, &mut |member| {
        number += 1;
        let shown = String::from_utf8_lossy(&member.path).into_owned();
        let is_folder = match member.kind {
            MemberKind::Folder => true,
            MemberKind::File => false,
            MemberKind::Link(link) => {
                has_links = true;
                // Its file counts when it is read.
                links.add_link(guard.admit(&member.path, false, 0)?, link);
                return Ok(shown);
            }
            MemberKind::Refused(reason) => return Err(guard.refuse(&shown, reason)),
        };
        let path = guard.admit(&member.path, is_folder, member.size)?;
        links.add(&path, is_folder);
        let content: Option<&mut dyn Read> = if is_folder { None } else { Some(&mut *member.content) };
        visitor(Entry::new(guard.source, &path, member.size, content).at(real(number, false)))?;
        Ok(path)
    })?;
    if !has_links {
        return Ok(());
    }
    let Followed { files, lost } = links.follow().map_err(|(path, reason)| guard.refuse(&path, reason))?;
    for (path, link) in lost {
        let target = format!("`{}`", link.target);
        visitor(Entry::lost(guard.source, &path, &target))?;
    }
    if files.is_empty() { Ok(()) } else { visit_linked(open()?, &files, guard, visitor) }
}

/// Hands every link to `visitor`, with the content of the file that it leads to.
fn visit_linked(
    stream: impl Read,
    links: &HashMap<String, Vec<(String, Link)>>,
    guard: &mut Guard<'_>,
    visitor: &mut Visitor<'_>,
) -> Result<(), DatasetError> {
    let mut number = 0;
    walk(stream, guard.source, &mut |member| {
        number += 1;
        let path = super::normal_path(&member.path).unwrap_or_default();
        let wanted = links.get(&path).filter(|_| matches!(member.kind, MemberKind::File));
        let Some(wanted) = wanted else { return Ok(path) };
        for _ in wanted {
            guard.take(member.size)?;
        }
        let (source, size) = (guard.source, member.size);
        if let [(name, link)] = &**wanted {
            let entry = Entry::new(source, name, size, Some(&mut *member.content));
            visitor(entry.at(real(number, link.is_symbolic)))?;
            return Ok(path);
        }
        if size > SHARED_BYTES {
            let reason = format!("is a file of {size} bytes, too long for several links to it in an archive");
            return Err(guard.refuse(&path, reason));
        }
        let bytes = Entry::new(source, &path, size, Some(&mut *member.content)).read()?;
        for (name, link) in wanted {
            let mut content = &*bytes;
            let entry = Entry::new(source, name, size, Some(&mut content));
            visitor(entry.at(real(number, link.is_symbolic)))?;
        }
        Ok(path)
    })
}

/// Which file of the archive an entry is, as for one on a disk.
fn real(number: u64, is_linked: bool) -> Real {
    Real { file: (0, number), is_linked }
}

/// What an archive has one after the other.
struct Member<'a> {
    /// As the archive says it.
    path: Vec<u8>,
    kind: MemberKind,
    size: u64,
    content: &'a mut dyn Read,
}

enum MemberKind {
    File,
    Folder,
    Link(Link),
    /// What is not read, and what it is.
    Refused(&'static str),
}

/// Hands all members to `visitor`, which says how each is called in messages.
fn walk(
    stream: impl Read,
    source: &str,
    visitor: &mut dyn FnMut(Member<'_>) -> Result<String, DatasetError>,
) -> Result<(), DatasetError> {
    let meter = Meter { budget: Cell::new(HEADER_BYTES), zeros: Cell::new(0), ended: Cell::new(false) };
    let mut archive = ::tar::Archive::new(Metered { stream, meter: &meter });
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
        let link = |is_symbolic| {
            let target = entry.link_name_bytes().unwrap_or_default();
            MemberKind::Link(Link { target: String::from_utf8_lossy(&target).into_owned(), is_symbolic })
        };
        let kind = match entry.header().entry_type() {
            ::tar::EntryType::Regular | ::tar::EntryType::Continuous if !raw.ends_with(b"/") => {
                MemberKind::File
            }
            ::tar::EntryType::Regular | ::tar::EntryType::Continuous | ::tar::EntryType::Directory => {
                MemberKind::Folder
            }
            // Comments, as `git archive` writes.
            ::tar::EntryType::XGlobalHeader => continue,
            ::tar::EntryType::Symlink => link(true),
            ::tar::EntryType::Link => link(false),
            other => MemberKind::Refused(refusal(other)),
        };
        let size = entry.size();
        meter.budget.set(size);
        let path = visitor(Member { path: raw, kind, size, content: &mut entry })?;
        place = in_the_middle_of(&path);
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
    let mut rest = archive.into_inner().stream;
    match another(&mut rest).map_err(|error| damage(&place, error))? {
        None => Ok(()),
        Some(bytes) => Err(DatasetError::Several { source_name: source.into(), place, bytes }),
    }
}

/// Reads what follows the end of an archive, but no more than makes sense; the length from the first header on where that is
/// another archive. Padding is anything, as tapes have it.
fn another(stream: &mut impl Read) -> io::Result<Option<u64>> {
    let mut block = Vec::with_capacity(BLOCK);
    let (mut bytes, mut padding): (Option<u64>, u64) = (None, 0);
    while bytes.is_none_or(|bytes| bytes < LIMITS.bytes) {
        block.clear();
        let count = stream.take(BLOCK as u64).read_to_end(&mut block)? as u64;
        if count == 0 {
            break;
        }
        padding += count;
        if bytes.is_none() && padding > HEADER_BYTES {
            return Err(more_than_said());
        }
        bytes = match bytes {
            Some(bytes) => Some(bytes + count),
            None => (block.first() != Some(&0) && is_header(&block)).then_some(count),
        };
    }
    Ok(bytes)
}

fn more_than_said() -> io::Error {
    io::Error::other("there is more data than its headers say")
}

fn refusal(kind: ::tar::EntryType) -> &'static str {
    match kind {
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
                _ => Err(more_than_said()),
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
