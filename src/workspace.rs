//! A run as a library call: [`Workspace::open`] → [`Workspace::plan`] → [`Planned::execute`] → [`Executed::conclude`].
//! Each step consumes the one before, so that none is left out, repeated or taken too early, and the events of a run
//! leave from here alone. Knows no command line and no terminal: whoever calls chooses where events go, and says what
//! the outcome means.

mod collect;
mod conclude;
mod gates;
mod reads;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use pipeline::StageName;
use pipeline::graph::StageId;
use pipeline::spec::{Action, Diagnostics};
use record::event::{Event, Expectation};
use record::{ActionRecord, Outcome, StageRun};
use store::{Lock, StoreError};
use text::clock::{millis, now_ms};
use tracing::{Span, debug_span, info_span};

use self::gates::Earlier;
use crate::check::{self, Checked};
use crate::error::Error;
use crate::exec::{self, Options, Order};
use crate::null_run::{Question, Standing, StandingRecords};
use crate::plan;
use crate::progress::{Kept, Sink};
use crate::project::Project;
use crate::prospect::Prospect;

pub(crate) use self::collect::needed;
pub use self::conclude::Concluded;
pub use self::reads::{Reads, reads};

/// A project, and which of its stages are meant.
pub struct Workspace {
    project: Project,
    /// What of the last run the project was made of, where it was not read.
    standing: Option<Box<Standing>>,
    records: StandingRecords,
    selected: BTreeSet<StageId>,
    forced: BTreeSet<StageId>,
}

/// What is asked of a run.
pub struct Ask {
    /// How many stages at a time; as many as there are threads where absent.
    pub jobs: Option<usize>,
    /// After a failure go on with stages that do not depend on it.
    pub keep_going: bool,
    /// Tell which files commands open without declaring them.
    pub trace: bool,
    /// The run that gates compare with, as in `pipe compare`.
    pub baseline: Option<String>,
    /// Whether gates that are inconclusive fail.
    pub certain: bool,
    /// Where a recording of it will be written.
    pub recording: Option<PathBuf>,
    /// When it was asked for: reading the pipeline is part of the run's time.
    pub began: Instant,
    /// What stays of it.
    pub remains: Remains,
}

impl Ask {
    /// A run of which nothing stays.
    #[must_use]
    pub fn in_passing() -> Self {
        Self {
            jobs: None,
            keep_going: false,
            trace: false,
            baseline: None,
            certain: false,
            recording: None,
            began: Instant::now(),
            remains: Remains::Nothing,
        }
    }
}

/// What stays of a run beside what its stages made.
pub enum Remains {
    /// Its record, the report, what a null run answers with, and what it said, for others to follow.
    All {
        /// How large the cache may get, in bytes.
        cache_limit: u64,
        /// What a null run would answer. `None` where there is no such question.
        question: Option<Question>,
    },
    /// Nothing: its folder is a temporary one.
    Nothing,
}

/// Why there is no plan.
pub enum NotPlanned {
    /// What stood does not stand any more, or does not suffice: the pipeline must be read.
    Outdated,
    /// What would be executed is wrong.
    Refused(Diagnostics),
    /// Something failed.
    Failed(Error),
}

/// What to say where it must be read and was.
pub(crate) fn outdated() -> Error {
    Error::failed("the pipeline changed while it was read").hint("run again")
}

impl<E: Into<Error>> From<E> for NotPlanned {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A run that may begin: the pipeline is locked, and nothing is known to be wrong.
pub struct Planned {
    workspace: Workspace,
    ask: Ask,
    /// The time since is the run's.
    start: Instant,
    sink: Box<dyn Sink>,
    lock: Lock,
    earlier: Earlier,
    prospects: BTreeMap<StageId, Prospect>,
    warnings: Vec<String>,
}

/// A run all of whose stages have come to their ends.
pub struct Executed {
    project: Project,
    standing: Option<Box<Standing>>,
    ask: Ask,
    sink: Box<dyn Sink>,
    lock: Lock,
    earlier: Earlier,
    run: Begun,
    stages: Vec<StageRun>,
    records: BTreeMap<StageName, ActionRecord>,
}

/// Which run it is.
struct Begun {
    id: String,
    started_ms: u64,
    start: Instant,
    /// What all that happens in it happens within.
    span: Span,
}

impl Workspace {
    /// Opens a project for the stages in `named` and all that these depend on, or for all stages where none is named. With
    /// `force` those that are named, or all, are executed whatever the cache holds.
    ///
    /// # Errors
    /// When artifacts cannot lie where they belong.
    pub fn open(project: Project, named: BTreeSet<StageId>, force: bool) -> Result<Self, StoreError> {
        project.store.check_artifacts()?;
        let selected = project.selected(&named);
        let forced = match (force, named.is_empty()) {
            (false, _) => BTreeSet::new(),
            (true, true) => selected.clone(),
            (true, false) => named,
        };
        Ok(Self { project, standing: None, records: StandingRecords::default(), selected, forced })
    }

    /// The same for a project that was made of what stands.
    #[must_use]
    pub fn standing(self, standing: Box<Standing>, records: StandingRecords) -> Self {
        let records = records.without(&self.forced);
        Self { standing: Some(standing), records, ..self }
    }

    /// The project.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// The stages that are to be up to date in the end.
    #[must_use]
    pub fn selected(&self) -> &BTreeSet<StageId> {
        &self.selected
    }

    /// Those that are executed whatever the cache holds.
    #[must_use]
    pub fn forced(&self) -> &BTreeSet<StageId> {
        &self.forced
    }

    /// Locks the pipeline, which may have to be waited for, looks at what would happen to each stage, and asks plugins
    /// what is wrong with those that would be executed. What the run says goes to `sink`.
    ///
    /// # Errors
    /// When the run is refused; when the cache, an input, a plugin or the run to compare with cannot be read.
    pub fn plan(self, ask: Ask, mut sink: Box<dyn Sink>) -> Result<Planned, NotPlanned> {
        if ask.trace {
            exec::check_trace()?;
        }
        let project = &self.project;
        let waiting = &mut |message: &str| sink.event(&Event::Notice { message: message.to_owned() });
        // Another run's time is none of this one's.
        let before = ask.began.elapsed();
        let lock = debug_span!("lock").in_scope(|| project.store.lock(waiting))?;
        if self.standing.as_ref().is_some_and(|standing| !standing.still_stands(&lock)) {
            return Err(NotPlanned::Outdated);
        }
        let start = Instant::now().checked_sub(before).unwrap_or(ask.began);
        let earlier = Earlier::load(project, ask.baseline.as_deref())?;
        if ask.baseline.is_some() && !earlier.is_asked_for() {
            let message = "no gate uses `baseline.`: `--baseline` has no effect";
            sink.event(&Event::Notice { message: message.into() });
        }
        if let Remains::All { .. } = ask.remains {
            let store = project.store.clone();
            sink = Box::new(Kept::new(sink, move || store.begin_live()));
        }
        let _plan = info_span!("plan", stages = self.selected.len()).entered();
        let prospects = plan::prospects_beside(project, &self.selected, &self.forced, &self.records)?;
        let checked = debug_span!("check").in_scope(|| check::check(project, &prospects, &self.selected));
        let Checked { problems, warnings } = checked;
        if let Some(problems) = problems {
            // It is not known where they are written.
            if self.standing.is_some() {
                return Err(NotPlanned::Outdated);
            }
            return Err(NotPlanned::Refused(problems));
        }
        Ok(Planned { workspace: self, ask, start, sink, lock, earlier, prospects, warnings })
    }
}

impl Planned {
    /// Takes every stage to its end, or to where an interrupt leaves it.
    ///
    /// # Errors
    /// When the cache cannot be read or written. A stage that fails is an outcome, not an error.
    pub fn execute(self) -> Result<Executed, Error> {
        let Self { workspace, ask, start, mut sink, lock, earlier, prospects, warnings } = self;
        let Workspace { project, standing, records, forced, .. } = workspace;
        let id = project.store.next_run_id();
        let span = info_span!("run", run = id);
        let started_ms = now_ms().saturating_sub(millis(start.elapsed()));
        let run = Begun { id, started_ms, start, span: span.clone() };
        let _within = span.entered();
        sink.event(&Event::RunStarted {
            run: run.id.clone(),
            pipeline: project.pipeline.name.clone(),
            stages: prospects.values().map(|prospect| prospect.planned.clone()).collect(),
        });
        // A pipeline that nobody wrote warns nobody.
        if let Remains::All { .. } = ask.remains {
            for message in project.pipeline.warnings.iter().cloned().chain(warnings) {
                sink.event(&Event::Warning { message });
            }
        }
        if let Remains::All { .. } = ask.remains
            && !prospects.values().all(|prospect| prospect.planned.expectation == Expectation::Fresh)
        {
            // What it rests on is about to change. Killed in the middle, nobody may believe it.
            project.store.forget_null_run()?;
        }
        let options = Options {
            jobs: ask.jobs.unwrap_or(project.threads),
            keep_going: ask.keep_going,
            trace: ask.trace,
        };
        let still = |id| standing.as_ref().is_some_and(|standing| standing.still_holds(id));
        let order = Order { prospects, standing: records, still: &still, forced: &forced, run: &run.id };
        let finished = exec::run(&project, order, options, &mut |event| sink.event(&event))?;
        if ask.trace && !finished.stages.iter().any(|run| is_executed_command(&project, run)) {
            let message =
                "no command was executed, so none was traced; `--force` executes them whatever is cached";
            sink.event(&Event::Notice { message: message.into() });
        }
        let (stages, records) = (finished.stages, finished.records);
        Ok(Executed { project, standing, ask, sink, lock, earlier, run, stages, records })
    }
}

fn is_executed_command(project: &Project, run: &StageRun) -> bool {
    let action = project.pipeline.stages.get(&run.stage).map(|stage| &stage.action);
    matches!(action, Some(Action::Command(_)))
        && matches!(run.outcome, Outcome::Ran | Outcome::Failed { .. } | Outcome::Interrupted)
}

#[cfg(test)]
mod tests;
