//! The states of a stage in a run, and the one function that moves between them.

use record::Outcome;

/// Where a stage stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for stages it depends on.
    Waiting,
    /// All its inputs are known; must be executed as soon as there is room.
    Queued,
    /// Is being executed.
    Running,
    /// Over.
    Ended(Outcome),
}

/// What happens to a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It was looked at and must be executed.
    Queue,
    /// It was to be executed, and somebody else has done it or is at it: it is looked at again.
    Reconsider,
    /// Its execution begins.
    Start,
    /// It is over.
    End(Outcome),
}

impl State {
    /// The state after `step`, or `None` where that cannot happen.
    #[must_use]
    pub(super) fn after(&self, step: Step) -> Option<Self> {
        match (self, step) {
            (Self::Waiting, Step::Queue) => Some(Self::Queued),
            (Self::Queued, Step::Reconsider) => Some(Self::Waiting),
            (Self::Queued, Step::Start) => Some(Self::Running),
            // Without being executed: in place, restored, or never reached.
            (
                Self::Waiting,
                Step::End(
                    outcome @ (Outcome::Fresh
                    | Outcome::Restored
                    | Outcome::Blocked { .. }
                    | Outcome::Interrupted
                    | Outcome::Failed { .. }),
                ),
            )
            | (
                Self::Queued,
                Step::End(
                    outcome @ (Outcome::Interrupted | Outcome::Failed { .. } | Outcome::Blocked { .. }),
                ),
            )
            | (
                Self::Running,
                Step::End(outcome @ (Outcome::Ran | Outcome::Failed { .. } | Outcome::Interrupted)),
            ) => Some(Self::Ended(outcome)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_stage_stays_ended() {
        let ended = State::Ended(Outcome::Ran);
        for step in [Step::Queue, Step::Start, Step::End(Outcome::Fresh)] {
            assert_eq!(ended.after(step), None);
        }
    }

    #[test]
    fn only_a_running_stage_has_run() {
        assert_eq!(State::Waiting.after(Step::End(Outcome::Ran)), None);
        assert_eq!(State::Queued.after(Step::End(Outcome::Ran)), None);
        assert_eq!(State::Running.after(Step::End(Outcome::Fresh)), None);
        assert_eq!(State::Running.after(Step::End(Outcome::Ran)), Some(State::Ended(Outcome::Ran)));
    }
}
