//! Stopping a child from another thread, with all of its process group, and without ever reaching a group that is not its
//! own. Knows nothing of what a child says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

/// A handle that stops a child from another thread. Held from before the child is started, so that no signal falls
/// between its start and somebody's knowing of it.
#[derive(Debug, Clone, Default)]
pub struct Stopper {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    target: Target,
    /// The strongest signal to end that reached the child's group.
    told: Told,
}

/// Whom a stopper reaches.
#[derive(Debug, Clone, Copy, Default)]
enum Target {
    /// Nobody: the child is not started, or is reaped, and its number may be another's.
    #[default]
    Nobody,
    /// The process group of this number.
    Group(Pid),
    /// Nobody, and no child may be started any more.
    Stopped,
}

/// What a group was told while something of it was still there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    /// Nothing: it ends by itself.
    #[default]
    Nothing,
    /// To end.
    ToEnd,
    /// It was killed.
    Killed,
}

impl Stopper {
    /// Sends `signal` to the child's whole process group. A child that is not running will not be started any more
    /// where the signal is one to end it.
    pub fn signal(&self, signal: Signal) {
        let told = match signal {
            Signal::TERM => Told::ToEnd,
            Signal::KILL => Told::Killed,
            _ => Told::Nothing,
        };
        let mut state = self.state();
        match state.target {
            Target::Group(group) => {
                // A group that is gone already is what was wanted.
                let _ = kill_process_group(group, signal);
                state.told = state.told.max(told);
            }
            Target::Nobody if told != Told::Nothing => state.target = Target::Stopped,
            Target::Nobody | Target::Stopped => {}
        }
    }

    /// Starts a child with `spawn`, unless none may be started any more, and reaches its group from then on.
    pub(super) fn start<T>(
        &self,
        spawn: impl FnOnce() -> std::io::Result<(T, Pid)>,
    ) -> std::io::Result<(T, Pid)> {
        let mut state = self.state();
        if let Target::Stopped = state.target {
            let why = "it is not to be started any more";
            return Err(std::io::Error::new(std::io::ErrorKind::Interrupted, why));
        }
        let (child, group) = spawn()?;
        *state = State { target: Target::Group(group), told: Told::Nothing };
        Ok((child, group))
    }

    /// What the group was told so far.
    pub(super) fn told(&self) -> Told {
        self.state().told
    }

    /// Reaches nobody any more, and says what the group was told. To be called before its number may become another's.
    pub(super) fn let_go(&self) -> Told {
        let mut state = self.state();
        state.target = Target::Nobody;
        state.told
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
