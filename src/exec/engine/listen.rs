//! What the engine hears while stages run: their notices, their ends, and signals.

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use pipeline::graph::StageId;
use record::event::Event;
use record::{ActionRecord, Outcome};
use rustix::process::Signal;

use super::super::interrupt::{self, Request};
use super::super::{Failure, Notice};
use super::{Engine, Message};
use crate::error::Error;

/// How long stages may take to stop after an interrupt before they are killed.
const STOP_GRACE: Duration = Duration::from_secs(5);

impl Engine<'_> {
    /// Waits for one message and acts on it.
    pub(super) fn listen(&mut self) -> Result<(), Error> {
        let message = match self.interrupted {
            None => self.receiver.recv().ok(),
            Some(when) => {
                let left = (when + STOP_GRACE).saturating_duration_since(Instant::now());
                match self.receiver.recv_timeout(left.max(Duration::from_millis(100))) {
                    Err(RecvTimeoutError::Timeout) => {
                        self.signal_all(Signal::KILL);
                        return Ok(());
                    }
                    other => other.ok(),
                }
            }
        };
        match message {
            Some(Message::Notice(id, notice)) => self.notice(id, notice),
            Some(Message::Ended(id, result)) => self.ended(id, *result)?,
            Some(Message::KeyFree(id)) => {
                self.elsewhere.remove(&id);
                self.undecided.push_back(id);
            }
            Some(Message::Checked(answer)) => self.checked(*answer)?,
            Some(Message::Signal(Request::Suspend)) => {
                self.signal_all(Signal::STOP);
                interrupt::sleep();
                self.signal_all(Signal::CONT);
            }
            Some(Message::Signal(Request::Stop)) if self.interrupted.is_some() => {
                self.signal_all(Signal::KILL);
            }
            Some(Message::Signal(Request::Stop)) => {
                self.interrupted = Some(Instant::now());
                self.stopping.stop();
                let message = "interrupted: stopping, the next run continues from here".into();
                (self.emit)(Event::Notice { message });
                self.signal_all(Signal::TERM);
            }
            // The engine holds a sender itself, so the channel cannot close.
            None => {}
        }
        Ok(())
    }

    pub(super) fn signal_all(&self, signal: Signal) {
        for running in self.running.values() {
            running.stopper.signal(signal);
        }
    }

    fn ended(&mut self, id: StageId, result: Result<ActionRecord, Failure>) -> Result<(), Error> {
        let Some(running) = self.running.remove(&id) else { return Ok(()) };
        self.budget.give_back(running.grant);
        self.release(running.key);
        self.tell_asides();
        match result {
            Ok(record) => self.end_with(id, Outcome::Ran, Arc::new(record), running.changes, running.begin),
            Err(failure) => self.fail(id, failure, running.begin),
        }
    }

    fn notice(&mut self, id: StageId, notice: Notice) {
        let stage = self.stage(id).name.clone();
        match notice {
            Notice::Progress(progress) => (self.emit)(Event::StageProgress { stage, progress }),
            Notice::Log(level, message) => (self.emit)(Event::StageLog { stage, level, message }),
        }
    }
}
