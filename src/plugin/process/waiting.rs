//! A group whose leader has ended: who is left of it, when that is told, and what each of them was told.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::super::group::Member;
use super::super::stopper::Told;

/// How long a group may go on without its leader before that is told.
const QUIET: Duration = Duration::from_secs(1);

/// What is known of a group that is waited for.
pub(super) struct Waiting {
    pub(super) members: Vec<Member>,
    /// When it is told next, and how long that is from the time before.
    pub(super) tell: Instant,
    pub(super) quiet: Duration,
    /// When it is given up, once it was killed.
    pub(super) until: Option<Instant>,
    /// What each was told, by its number. Told to end twice, many programs end at once, half way through a checkpoint.
    told: HashMap<Pid, Told>,
}

impl Waiting {
    pub(super) fn of(members: Vec<Member>) -> Self {
        Self { members, tell: Instant::now() + QUIET, quiet: QUIET, until: None, told: HashMap::new() }
    }

    /// Who is left now.
    pub(super) fn renew(&mut self, members: Vec<Member>) {
        self.members = members;
        let members = &self.members;
        // A number that nobody has may become another's.
        self.told.retain(|pid, _| members.iter().any(|member| member.pid == *pid));
    }

    /// Sees to it that all of them were told what `group` was, also those that have left it, and none of them twice.
    pub(super) fn signal(&mut self, told: Told, group: Pid) {
        let signal = match told {
            Told::Nothing => return,
            Told::ToEnd => Signal::TERM,
            Told::Killed => Signal::KILL,
        };
        for member in &self.members {
            let is_new = self.told.insert(member.pid, told).is_none_or(|before| before < told);
            // A signal to the group reached who is in it. What was started since cleans up, or is about to end.
            let was_reached = told == Told::ToEnd && member.is_in(group);
            if is_new && !was_reached {
                member.signal(signal);
            }
        }
    }
}
