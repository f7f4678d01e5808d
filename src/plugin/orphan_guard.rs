//! Children do not outlive this process, however it dies. A small shell waits for the end of a pipe that only this
//! process holds open; when it comes, it kills the process groups whose numbers stand in a file in memory that both share.
//! It need not wake up when a child starts or ends.
//!
//! The kernel could do that for a child (`PR_SET_PDEATHSIG`), but not for what the child started, and only at the price
//! of starting children by a copy of this process, which is several times slower than `posix_spawn`.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Pid;

use super::children::{self, Role};

/// Standard output is the file, from its start.
const SCRIPT: &str = r#"
while read -r line; do :; done
while read -r group; do
    [ "$group" -gt 1 ] && kill -s KILL -- "-$group"
done <&1
"#;

/// Bytes of a line: a number of at most ten digits after blanks, and the end of the line.
const LINE: usize = 12;

/// What a guard is spoken to through.
struct OrphanGuard {
    /// One line for each group, 0 where a group has ended.
    groups: File,
    /// The group of each line.
    lines: Vec<Option<Pid>>,
    /// Ends with this process.
    _end: OwnedFd,
}

enum State {
    /// Nobody needed it yet.
    Absent,
    Watching(OrphanGuard),
    /// It could not be started, or told.
    Lost,
}

static GUARD: Mutex<State> = Mutex::new(State::Absent);

/// Makes sure that there is a guard. To be called before a child is started, so that the child need not live unwatched
/// for longer than it takes to write a line.
pub(super) fn wake() {
    let mut state = lock();
    if let State::Absent = *state {
        *state = start().map_or(State::Lost, State::Watching);
    }
}

/// Has a process group killed when this process dies. Without a shell to do it, children may outlive a kill.
pub(super) fn watch(group: Pid) {
    replace(None, Some(group));
}

/// The group has ended.
pub(super) fn forget(group: Pid) {
    replace(Some(group), None);
}

fn replace(before: Option<Pid>, after: Option<Pid>) {
    let mut state = lock();
    if let State::Watching(guard) = &mut *state
        && guard.replace(before, after).is_err()
    {
        *state = State::Lost;
    }
}

impl OrphanGuard {
    fn replace(&mut self, before: Option<Pid>, after: Option<Pid>) -> io::Result<()> {
        let line = match self.lines.iter().position(|group| *group == before) {
            Some(line) => line,
            None if after.is_none() => return Ok(()),
            None => {
                self.lines.push(None);
                self.lines.len() - 1
            }
        };
        if let Some(known) = self.lines.get_mut(line) {
            *known = after;
        }
        let number = after.map_or(0, Pid::as_raw_pid);
        self.groups
            .write_all_at(format!("{number:>width$}\n", width = LINE - 1).as_bytes(), (line * LINE) as u64)
    }
}

fn lock() -> MutexGuard<'static, State> {
    GUARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In a process group of its own, out of reach of Ctrl-C.
fn start() -> io::Result<OrphanGuard> {
    let groups = File::from(memfd_create("pipe-groups", MemfdFlags::CLOEXEC)?);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT, "pipe-orphan-guard"]).env_clear().current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(groups.try_clone()?).stderr(Stdio::null());
    let end = children::spawn(&mut command, Role::Servant)?
        .stdin
        .take()
        .ok_or_else(|| io::Error::other("no standard input"))?;
    Ok(OrphanGuard { groups, lines: Vec::new(), _end: end.into() })
}
