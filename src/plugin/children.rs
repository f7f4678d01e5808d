//! The children of this process: those that it has started, and the orphans that it was given. What a stage leaves running when
//! its own process ends becomes a child of this process's first thread instead of init's (`PR_SET_CHILD_SUBREAPER`, see
//! prctl(2)), whatever group, session or environment it has. So one short read says that a stage has left nothing behind, and
//! nothing is missed of what it has. Of who has started an orphan it knows when it came, and which worker it must have been where there was
//! but one.
//!
//! The kernel's list of children is complete as long as none of them is reaped while it is read (proc_pid_task_children(5)):
//! that is what the lock is for.

use std::collections::HashMap;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::{fs, io};

use rustix::process::{Pid, WaitId, WaitIdOptions, set_child_subreaper, waitid};

/// Held by who starts or reaps a child, exclusively by who reads the list of them.
static ACCESS: RwLock<()> = RwLock::new(());

/// How often the list is read at once.
const MOST_LOOKS: usize = 1_000;

/// The children cannot be listed.
struct Unlisted;

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

/// What is known of the children.
#[derive(Default)]
struct Known {
    /// Those that this process has started through [`spawn`] and not reaped.
    own: HashMap<Pid, Role>,
    /// All others that were seen and are not reaped.
    orphans: HashMap<Pid, Orphan>,
    now: u64,
}

/// A child that this process has not started.
#[derive(Debug, Clone, Copy)]
struct Orphan {
    /// When it was seen first.
    came: Moment,
    /// The only worker that there was then. One that has ended is reaped only after its orphans were seen.
    from: Option<Pid>,
}

/// What a child was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// To do a stage's work, or to be asked something. What it starts is its own business.
    Worker,
    /// To serve this process. It leaves no orphans.
    Servant,
}

/// A point in the life of this process, later than all that were asked for before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

/// Starts a child.
///
/// # Errors
/// When the program cannot be started.
pub(super) fn spawn(command: &mut Command, role: Role) -> io::Result<Child> {
    let _shared = ACCESS.read().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn()?;
    if let Some(pid) = number(&child) {
        known().get_or_insert_default().own.insert(pid, role);
    }
    Ok(child)
}

/// Reaps a child that has ended, or waits until it does.
///
/// # Errors
/// When the operating system cannot say how it ended.
pub(super) fn reap(child: &mut Child) -> io::Result<ExitStatus> {
    let _shared = ACCESS.read().unwrap_or_else(PoisonError::into_inner);
    // Before its number may become another's. Nobody looks meanwhile.
    if let Some(pid) = number(child) {
        known().get_or_insert_default().own.remove(&pid);
    }
    child.wait()
}

/// From now on this process is given the orphans of its children. What is an orphan already came before the moment returned.
/// `None` where the kernel does not do that, or does not list them.
pub(super) fn adopt() -> Option<Moment> {
    static IS_SUBREAPER: OnceLock<bool> = OnceLock::new();
    // The number is a flag here. Orphans that were not listed could not be reaped.
    let become_one = || first_threads_children().is_some() && set_child_subreaper(Pid::from_raw(1)).is_ok();
    if !IS_SUBREAPER.get_or_init(become_one) {
        return None;
    }
    let _alone = ACCESS.write().unwrap_or_else(PoisonError::into_inner);
    let mut known = known();
    let known = known.get_or_insert_default();
    known.look()?;
    Some(Moment(known.now))
}

/// Reaps the orphans that have ended: whoever asks for them by number, as a stage that has told one to end, is to know.
pub(super) fn sweep() {
    let _alone = ACCESS.write().unwrap_or_else(PoisonError::into_inner);
    // What cannot be read now is read the next time.
    let _ = known().get_or_insert_default().look();
}

/// The orphans that run and came after a moment, with the worker that must have left each behind; `None` where it was one of several.
/// Those that have ended are reaped. `None` where nothing can be told.
pub(super) fn orphans(since: Moment) -> Option<HashMap<Pid, Option<Pid>>> {
    let _alone = ACCESS.write().unwrap_or_else(PoisonError::into_inner);
    let mut known = known();
    let known = known.get_or_insert_default();
    known.look()?;
    let younger = known.orphans.iter().filter(|(_, orphan)| orphan.came > since);
    Some(younger.map(|(pid, orphan)| (*pid, orphan.from)).collect())
}

/// Whether a process is a worker that is not reaped.
pub(super) fn is_worker(pid: Pid) -> bool {
    known().as_ref().is_some_and(|known| known.own.get(&pid) == Some(&Role::Worker))
}

impl Known {
    /// Takes note of who is there now, and reaps who has ended. `None` where nothing can be told: so many generations end one after
    /// the other that none is there for long enough.
    fn look(&mut self) -> Option<()> {
        self.now += 1;
        // What one that has ended left behind came after the list was read.
        (0..MOST_LOOKS).find_map(|_| self.look_once().transpose())?.ok()
    }

    /// The same once. `Ok(None)` where one has ended meanwhile.
    fn look_once(&mut self) -> Result<Option<()>, Unlisted> {
        let listed = first_threads_children().ok_or(Unlisted)?;
        let mut workers = self.own.iter().filter(|(_, role)| **role == Role::Worker).map(|(pid, _)| *pid);
        let from = workers.next().filter(|_| workers.next().is_none());
        let (mut running, mut any_ended) = (HashMap::new(), false);
        for pid in listed.into_iter().filter(|pid| !self.own.contains_key(pid)) {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            if let Ok(None) = waitid(WaitId::Pid(pid), options) {
                let new = Orphan { came: Moment(self.now), from };
                running.insert(pid, self.orphans.get(&pid).copied().unwrap_or(new));
            } else {
                any_ended = true;
            }
        }
        self.orphans = running;
        Ok((!any_ended).then_some(()))
    }
}

/// Of all threads it is the first to which the kernel gives orphans.
fn first_threads_children() -> Option<Vec<Pid>> {
    let listed = fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id())).ok()?;
    listed.split_whitespace().map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

fn number(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

fn known() -> MutexGuard<'static, Option<Known>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Read;
    use std::process::Stdio;

    use rustix::process::{Signal, kill_process};

    /// Starts an orphan in a session of its own with an empty environment.
    fn orphan() -> Pid {
        let mut command = Command::new("sh");
        command.args(["-c", "setsid env -i sleep 1000 > /dev/null & echo $!"]).stdout(Stdio::piped());
        let mut child = spawn(&mut command, Role::Worker).unwrap();
        let mut pid = String::new();
        child.stdout.take().unwrap().read_to_string(&mut pid).unwrap();
        assert!(reap(&mut child).unwrap().success());
        Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
    }

    #[test]
    fn an_orphan_is_known_by_when_it_came_and_until_it_ends() {
        let Some(first) = adopt() else {
            println!("NOT TESTED: this kernel does not list children");
            return;
        };
        let mut command = Command::new("sleep");
        let mut own = spawn(command.arg("1000"), Role::Worker).unwrap();
        let one = orphan();
        let sleeper = number(&own).unwrap();
        assert!(is_worker(sleeper) && !is_worker(one));
        let since = |moment| orphans(moment).unwrap();
        assert!(since(first).contains_key(&one) && !since(first).contains_key(&sleeper));
        let second = adopt().unwrap();
        let two = orphan();
        assert!(since(second).contains_key(&two) && !since(second).contains_key(&one));
        assert!(since(first).contains_key(&one) && since(first).contains_key(&two));
        kill_process(two, Signal::KILL).unwrap();
        while since(second).contains_key(&two) {
            sweep();
        }
        assert!(!fs::exists(format!("/proc/{}", two.as_raw_pid())).unwrap(), "it is reaped");
        kill_process(one, Signal::KILL).unwrap();
        own.kill().unwrap();
        assert!(!reap(&mut own).unwrap().success());
    }
}
