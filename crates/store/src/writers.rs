//! Who may still write to a file: whoever has it open for that, or mapped. The kernel answers for all processes by a lease,
//! which it grants for reading only while nobody may write (`fcntl(2)`, F_SETLEASE). Where it cannot, `/proc` tells of the
//! processes that may be looked at, and it tells who they are.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pipeline::digest::Digest;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use regular::open;

use super::error::at;
use super::folder::Folder;
use super::medium::Medium;
use super::{Store, StoreError};

/// Of `linux/fcntl.h`: which signal tells the holder of a lease.
const F_SETSIG: libc::c_int = 10;

/// Whether anybody may write to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writers {
    Nobody,
    Somebody,
    /// It cannot be told here.
    Unknown,
}

/// A process that may still write to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The file.
    pub path: PathBuf,
    /// The process and its program, the latter unless it has ended since; `None` where no process that may be looked at has it
    /// open.
    pub process: Option<(i32, Option<String>)>,
}

/// Asks the kernel whether anybody may write to a file, which is open for reading.
pub(super) fn of(file: &File, medium: Medium) -> Writers {
    if !matches!(medium, Medium::Disk | Medium::Image | Medium::Memory) {
        return Writers::Unknown;
    }
    // Who opens it for writing while the lease lasts waits until it is given back, and this process gets a signal: one that
    // does nothing by default.
    let lease = fcntl(file, F_SETSIG, libc::SIGURG)
        .and_then(|()| fcntl(file, libc::F_SETLEASE, libc::F_RDLCK))
        .and_then(|()| fcntl(file, libc::F_SETLEASE, libc::F_UNLCK));
    match lease {
        Ok(()) => Writers::Nobody,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Writers::Somebody,
        // Not one's own file, or leases are switched off.
        Err(_) => Writers::Unknown,
    }
}

fn fcntl(file: &File, command: libc::c_int, argument: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and these commands take a number and touch no memory
    // of this process.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The files that are mapped shared and writable by the processes that may be looked at.
#[derive(Debug)]
pub(super) struct Mapped {
    /// By inode alone: what a mapping tells of the device is another number than a file's on some file systems.
    inodes: HashSet<u64>,
    when: SystemTime,
}

impl Mapped {
    /// Looks at all processes.
    pub(super) fn now() -> Self {
        let when = SystemTime::now();
        let mut inodes = HashSet::new();
        for pid in processes() {
            inodes.extend(mappings(pid).into_iter().map(|mapping| mapping.inode));
        }
        Self { inodes, when }
    }

    pub(super) fn holds(&self, inode: u64) -> bool {
        self.inodes.contains(&inode)
    }

    pub(super) fn when(&self) -> SystemTime {
        self.when
    }
}

/// A file that a process has mapped shared and writable.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    inode: u64,
    /// Its name, as the kernel has it for whoever reads the list.
    path: PathBuf,
}

impl Mapping {
    /// Whether it is of the file at `path`, which has this device and inode. The inode alone is not enough: every file system
    /// counts from small numbers.
    fn is_of(&self, path: &Path, file: (u64, u64)) -> bool {
        if self.inode != file.1 {
            return false;
        }
        match fs::metadata(&self.path) {
            Ok(found) => (found.dev(), found.ino()) == file,
            // It has another path where the process sees other mounts, as in a container, and none once its name is gone.
            Err(_) => self.path.file_name() == path.file_name(),
        }
    }
}

/// The files that a process has mapped shared and writable.
fn mappings(pid: i32) -> Vec<Mapping> {
    let text = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    text.split(|byte| *byte == b'\n').filter_map(parse_mapping).collect()
}

/// A line such as `7f0f74d02000-7f0f74d04000 rw-s 00000000 fe:00 10010709   /tmp/x`. `None` for what is mapped otherwise, and
/// for memory that has a number and no place in a folder.
fn parse_mapping(line: &[u8]) -> Option<Mapping> {
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let permissions = words.nth(1)?;
    if permissions.get(1) != Some(&b'w') || permissions.get(3) != Some(&b's') {
        return None;
    }
    let inode = std::str::from_utf8(words.nth(2)?).ok()?.parse().ok().filter(|inode| *inode != 0)?;
    // Nothing before the path has a slash in it; `anon_inode:[io_uring]` has none at all.
    let path = line.get(line.iter().position(|byte| *byte == b'/')?..)?;
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let is_memory = [&b"/memfd:"[..], b"/SYSV", b"/["].iter().any(|start| path.starts_with(start));
    (!is_memory && path != b"/dev/zero")
        .then(|| Mapping { inode, path: Path::new(OsStr::from_bytes(path)).to_owned() })
}

/// Whether `/proc` tells of the processes that this one sees. Where none is mounted, or that of another namespace, it would seem
/// as if nobody held anything, and numbers in it would be those of others.
///
/// # Errors
/// When it does not, with what to do.
pub fn check_proc() -> io::Result<()> {
    let own = fs::read_link("/proc/self").ok();
    check_self(own.as_deref(), std::process::id())
}

fn check_self(own: Option<&Path>, number: u32) -> io::Result<()> {
    if own.and_then(Path::to_str).and_then(|own| own.parse().ok()) == Some(number) {
        return Ok(());
    }
    let what = "`/proc` is needed to see what a stage leaves running, and does not show this process: mount it \
                (`mount -t proc proc /proc`)";
    Err(io::Error::new(io::ErrorKind::NotFound, what))
}

/// All processes but this one.
fn processes() -> Vec<i32> {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| *name != own).filter_map(|name| name.parse().ok()).collect()
}

impl Store {
    /// Who may still write to what lies at `paths`, files and folders. Takes note of those that have other names.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn writers<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) -> Result<Vec<Holder>, StoreError> {
        let held = std::sync::Mutex::new(HashMap::new());
        let ask = |path: &Path, metadata: &Metadata| {
            self.note_links(path, metadata);
            // What cannot be opened cannot be kept either, and that is told elsewhere.
            let Ok(file) = open(path) else { return };
            let writers = of(&file, Medium::of(&file));
            if writers != Writers::Nobody {
                let mut held = held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                held.insert((metadata.dev(), metadata.ino()), (path.to_owned(), writers));
            }
        };
        for path in paths {
            let Ok(metadata) = fs::metadata(path) else { continue };
            if metadata.is_dir() {
                Folder::walk(path, &|found| {
                    ask(&found.path, &found.metadata);
                    Ok((Digest::of_bytes(&[]), 0))
                })?;
            } else {
                ask(path, &metadata);
            }
        }
        let held = held.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if held.is_empty() {
            return Ok(vec![]);
        }
        check_proc().map_err(at("look at", Path::new("/proc")))?;
        Ok(holders(&held))
    }
}

/// Finds out who has the files open for writing. Of those of which it is certain that somebody has, at least that is told.
fn holders(files: &HashMap<(u64, u64), (PathBuf, Writers)>) -> Vec<Holder> {
    let mut found: Vec<(i32, (u64, u64))> =
        processes().into_par_iter().flat_map_iter(|pid| held_by(pid, files)).collect();
    found.sort_unstable();
    found.dedup();
    let mut holders = Vec::new();
    for (file, (path, writers)) in files {
        let mut named = found.iter().filter(|(_, held)| held == file).peekable();
        let is_held = || open(path).is_ok_and(|opened| of(&opened, Medium::of(&opened)) == Writers::Somebody);
        // A process may have ended since.
        if named.peek().is_none() && *writers == Writers::Somebody && is_held() {
            holders.push(Holder { path: path.clone(), process: None });
        }
        holders.extend(
            named.map(|(pid, _)| Holder { path: path.clone(), process: Some((*pid, program(*pid))) }),
        );
    }
    holders.sort_by(|one, two| (&one.path, &one.process).cmp(&(&two.path, &two.process)));
    holders
}

/// The files among `files` that a process has open for writing, or mapped.
fn held_by(pid: i32, files: &HashMap<(u64, u64), (PathBuf, Writers)>) -> Vec<(i32, (u64, u64))> {
    let mut held = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        let file = (metadata.dev(), metadata.ino());
        if files.contains_key(&file) && is_writable(pid, &entry.file_name().to_string_lossy()) {
            held.push((pid, file));
        }
    }
    let mapped = mappings(pid);
    if !mapped.is_empty() {
        let is_mapped =
            |path: &Path, file: (u64, u64)| mapped.iter().any(|mapping| mapping.is_of(path, file));
        let mapped = files.iter().filter(|(file, (path, _))| is_mapped(path, **file));
        held.extend(mapped.map(|(file, _)| (pid, *file)));
    }
    held
}

/// Whether a descriptor of a process may be written to.
fn is_writable(pid: i32, descriptor: &str) -> bool {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
}

/// The name of a process's program; none where it has ended.
fn program(pid: i32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    Some(name.trim_end_matches('\n').chars().map(|c| if c.is_control() { '?' } else { c }).collect())
}

#[cfg(test)]
pub(super) mod tests;
