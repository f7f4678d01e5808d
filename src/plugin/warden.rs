//! Children do not outlive this process, however it dies. A small shell waits for the end of a pipe that only this
//! process holds open; when it comes, it kills the process groups that it was told of and not told to forget.
//!
//! The kernel could do that for a child (`PR_SET_PDEATHSIG`), but not for what the child started, and only at the price
//! of starting children by a copy of this process, which is several times slower than `posix_spawn`.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::Pid;

const SCRIPT: &str = r#"
live=" "
while read -r what group; do
    case $what in
        +) live="$live$group " ;;
        -) live="${live%%" $group "*} ${live#*" $group "}" ;;
    esac
done
for group in $live; do kill -s KILL -- "-$group" 2>/dev/null; done
"#;

enum Warden {
    /// Nobody needed it yet.
    Absent,
    Listening(ChildStdin),
    /// It could not be started, or is gone.
    Lost,
}

static WARDEN: Mutex<Warden> = Mutex::new(Warden::Absent);

/// Makes sure that there is a warden. To be called before a child is started, so that the child need not live unwatched
/// for longer than it takes to write a line.
pub(super) fn wake() {
    let mut warden = lock();
    if let Warden::Absent = *warden {
        *warden = start().map_or(Warden::Lost, Warden::Listening);
    }
}

/// Has a process group killed when this process dies. Without a shell to do it, children may outlive a kill.
pub(super) fn watch(group: Pid) {
    tell('+', group);
}

/// The group has ended.
pub(super) fn forget(group: Pid) {
    tell('-', group);
}

fn tell(what: char, group: Pid) {
    let mut warden = lock();
    if let Warden::Listening(stdin) = &mut *warden
        && stdin.write_all(format!("{what} {}\n", group.as_raw_nonzero()).as_bytes()).is_err()
    {
        *warden = Warden::Lost;
    }
}

fn lock() -> MutexGuard<'static, Warden> {
    WARDEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In a process group of its own, out of reach of Ctrl-C.
fn start() -> io::Result<ChildStdin> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT, "pipe-warden"]).env_clear().current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn()?.stdin.take().ok_or_else(|| io::Error::other("no standard input"))
}
