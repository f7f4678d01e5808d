//! Asks plugins again what is wrong with stages one of whose inputs has been made: a number above what there is of it is to be
//! told before a training is started, not after it. Nothing is started until they have answered, and nothing else waits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use pipeline::graph::StageId;
use pipeline::spec::{Action, Input};
use protocol::{CheckRequest, Problem};
use record::event::Event;

use super::super::Failure;
use super::super::state::State;
use super::{Engine, Message};
use crate::check::{cannot_ask, is_checked, request};
use crate::error::Error;
use crate::plugin::{self, Program};

/// What is to be asked again, and what is being asked.
#[derive(Default)]
pub(super) struct Checks {
    /// Stages that have got an input since they were asked about.
    due: BTreeSet<StageId>,
    /// Plugins that are being asked: how many.
    asked: usize,
    /// Plugins that did not answer.
    silent: BTreeSet<String>,
}

/// What a plugin said of each stage that it was asked about.
pub(super) struct Answer {
    plugin: String,
    stages: Vec<StageId>,
    said: Result<Vec<Vec<Problem>>, String>,
}

impl Checks {
    /// A stage has got an input that was not there before.
    pub(super) fn is_due(&mut self, id: StageId) {
        self.due.insert(id);
    }

    /// Whether an answer is awaited.
    pub(super) fn is_asking(&self) -> bool {
        self.asked > 0
    }
}

impl Engine<'_> {
    /// Asks about what is due, of stages that are not about to say it themselves.
    pub(super) fn ask_again(&mut self) {
        if self.given_up().is_some() {
            return;
        }
        let mut requests: BTreeMap<String, Vec<(StageId, CheckRequest)>> = BTreeMap::new();
        for id in std::mem::take(&mut self.checks.due) {
            let stage = self.stage(id);
            if let Action::Op(action) = &stage.action
                && self.is_to_wait(id)
                && is_checked(self.project, action)
                && !self.checks.silent.contains(&action.plugin)
            {
                let request = request(self.project, stage, action, &|input| self.present(input));
                requests.entry(action.plugin.clone()).or_default().push((id, request));
            }
        }
        for (plugin, asked) in requests {
            if let Err(why) = self.ask(&plugin, asked) {
                self.cannot_ask(plugin, &why);
            }
        }
    }

    /// Whether something else may be started before a stage: it waits for others, or others are as ready as it is.
    fn is_to_wait(&self, id: StageId) -> bool {
        match self.tasks.get(&id).map(|task| &task.state) {
            Some(State::Waiting) => true,
            Some(State::Queued) => self.queued.len() > 1 || !self.running.is_empty(),
            Some(State::Running | State::Ended(_)) | None => false,
        }
    }

    /// Where an input lies, if it is there by now.
    fn present(&self, input: &Input) -> Option<PathBuf> {
        match input {
            Input::Path(path) => Some(path.clone()),
            Input::Output { stage: from, output } => {
                let id = self.project.pipeline.id(from)?;
                let record = self.record(id)?;
                Some(self.project.store.artifacts(from).join(&record.outputs.get(output)?.file))
            }
        }
    }

    fn ask(&mut self, plugin: &str, asked: Vec<(StageId, CheckRequest)>) -> Result<(), String> {
        let registry = &self.project.registry;
        let executable = registry.find(plugin).map_err(|error| error.to_string())?;
        let env = registry.manifest(plugin).map_err(|error| error.to_string())?.env.clone();
        let plugin = plugin.to_owned();
        let (stages, requests): (Vec<StageId>, Vec<CheckRequest>) = asked.into_iter().unzip();
        let sender = self.sender.clone();
        // Nobody waits for its end: after an interrupt it is none of the run's business what it says.
        let ask = move || {
            let said = plugin::check(Program { executable: &executable, env: &env }, &requests);
            drop(sender.send(Message::Checked(Box::new(Answer { plugin, stages, said }))));
        };
        std::thread::Builder::new()
            .name("pipe check".into())
            .spawn(ask)
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        self.checks.asked += 1;
        Ok(())
    }

    /// Says that a plugin did not answer, and asks it no more.
    fn cannot_ask(&mut self, plugin: String, why: &str) {
        (self.emit)(Event::Warning { message: cannot_ask(&plugin, why) });
        self.checks.silent.insert(plugin);
    }

    /// Ends stages of which something is wrong.
    pub(super) fn checked(&mut self, answer: Answer) -> Result<(), Error> {
        self.checks.asked = self.checks.asked.saturating_sub(1);
        let Answer { plugin, stages, said } = answer;
        let said = match said {
            Ok(said) => said,
            Err(why) => {
                self.cannot_ask(plugin, &why);
                return Ok(());
            }
        };
        for (id, problems) in stages.into_iter().zip(said) {
            // What is harmless was said before the run, or does not matter any more.
            let problems: Vec<Problem> = problems.into_iter().filter(|problem| !problem.harmless).collect();
            if problems.is_empty() || !self.is_not_begun(id) {
                continue;
            }
            self.ready.remove(id);
            if let Some(queued) = self.queued.remove(&id) {
                self.release(queued.miss.key().digest());
            }
            let failure = self.failure(id, problems);
            self.fail_before_start(id, failure, Instant::now())?;
        }
        Ok(())
    }

    fn is_not_begun(&self, id: StageId) -> bool {
        self.tasks.get(&id).is_some_and(|task| matches!(task.state, State::Waiting | State::Queued))
    }

    /// All that is wrong, each where it is written, and what to do about the first of it for which that is said.
    fn failure(&self, id: StageId, problems: Vec<Problem>) -> Failure {
        let hint = problems.iter().find_map(|problem| problem.hint.clone());
        let located = |problem| self.project.pipeline.locate(self.stage(id), problem).framed();
        let messages: Vec<String> = problems.into_iter().map(located).collect();
        Failure { message: messages.join("\n"), hint }
    }
}
