//! How long stages will take, from how long they took: the median of the last executions of the same op on this CPU with as
//! many threads, each scaled by what the op says its time depends on, without what is done already. Where that is not known,
//! nothing is said but how long the last one took. Of a variant that was never executed it says how long the others took, and
//! nothing at all of any other stage that never was.

mod model;
mod scale;
mod variants;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use pipeline::StageName;
use pipeline::graph::StageId;
use pipeline::spec::{Action, CommandLine, Input, Stage};
use protocol::{Partial, TimeSpec};
use record::event::Expectation;
use record::{ActionRecord, Ingredient, Outcome, RunRecord};

use self::model::Sample;
use self::scale::{Sizes, Work};
use crate::project::Project;
use crate::prospect::{Decision, Prospect};

/// Executions of a stage that the median is taken of.
const SAMPLES: usize = 5;
/// Runs that are looked through, the last ones.
const RUNS: usize = 20;
/// Stages of these runs that are looked through: the record of a run of very many stages takes long to read.
const STAGES: usize = 20_000;
/// Where more stages than this want a forecast, the last execution of each has to do: a plan must not take longer than
/// what it is good for.
const MANY: usize = 200;
/// The same where the pipeline has more stages than this: the record of each of its runs takes long to read.
const LARGE: usize = 2_000;

/// Fills in how long the stages that may have to be executed will take. `prospects` holds all that they depend on.
pub(crate) fn fill(project: &Project, prospects: &mut BTreeMap<StageId, Prospect>) {
    let here = Here::new(project);
    variants::fill(&here, prospects);
    let mut wanted = wanted(project, prospects);
    if wanted.is_empty() {
        return;
    }
    if wanted.len() <= MANY && project.pipeline.stages.len() <= LARGE {
        look_back(project, &mut wanted);
    }
    let estimates: BTreeMap<StageName, Estimate> =
        wanted.into_iter().map(|(name, past)| (name, past.estimate(&here))).collect();
    for prospect in prospects.values_mut() {
        if let Some(estimate) = estimates.get(&prospect.planned.stage) {
            prospect.planned.usual_ms = estimate.usual_ms;
            prospect.planned.last_ms = Some(estimate.last_ms);
        }
    }
}

/// What is expected of a stage.
struct Estimate {
    usual_ms: Option<u64>,
    last_ms: u64,
}

/// A stage of which a forecast is wanted.
struct Past<'a> {
    stage: &'a Stage,
    time: Option<TimeSpec>,
    /// What it will be executed for, as far as that is known or stays as it is; else `None`.
    now: Option<(Vec<Ingredient>, Sizes)>,
    /// The execution that its artifacts came from.
    last: ActionRecord,
    /// How much of the work is done already, from 0 to 1.
    done: f64,
    /// Its last executions, as far as they can be scaled.
    samples: Vec<Sample>,
    /// How many executions were looked at.
    seen: usize,
}

impl Past<'_> {
    /// Takes note of an execution that read inputs of these sizes.
    fn add(&mut self, record: &ActionRecord, sizes: &Sizes) {
        self.seen += 1;
        let Some((ingredients, now)) = &self.now else { return };
        let ratio = scale::ratio(
            self.time.as_ref(),
            Work { ingredients: &record.ingredients, sizes },
            Work { ingredients, sizes: now },
        );
        self.samples.extend(ratio.map(|ratio| Sample {
            duration_ms: record.duration_ms,
            pace: record.pace,
            ratio,
        }));
    }

    fn estimate(mut self, here: &Here<'_>) -> Estimate {
        let last = self.last.clone();
        if self.samples.is_empty() && here.has_made(&last) {
            self.add(&last, &Sizes::new());
        }
        Estimate { usual_ms: model::predict(&self.samples, self.done), last_ms: last.duration_ms }
    }
}

/// This machine with the run's threads, and what was executed there.
struct Here<'a> {
    project: &'a Project,
    /// Threads of runs on record, each read once: one run may have executed thousands of stages.
    threads: RefCell<HashMap<String, Option<usize>>>,
}

impl<'a> Here<'a> {
    fn new(project: &'a Project) -> Self {
        Self { project, threads: RefCell::default() }
    }

    /// Whether something was executed on this CPU, with as many threads as far as that is on record.
    fn has_made(&self, record: &ActionRecord) -> bool {
        record.machine.cpu == self.project.machine.cpu
            && self.threads_of(&record.run).is_none_or(|threads| threads == self.project.threads)
    }

    fn threads_of(&self, run: &str) -> Option<usize> {
        if let Some(known) = self.threads.borrow().get(run) {
            return *known;
        }
        let threads = self.project.store.run(run).map(|run| run.threads);
        self.threads.borrow_mut().insert(run.to_owned(), threads);
        threads
    }
}

/// The stages that may be executed and once were.
fn wanted<'a>(
    project: &'a Project,
    prospects: &BTreeMap<StageId, Prospect>,
) -> BTreeMap<StageName, Past<'a>> {
    let open: BTreeMap<StageId, &Prospect> = prospects
        .iter()
        .filter(|(_, prospect)| prospect.planned.expectation.may_execute())
        .map(|(id, prospect)| (*id, prospect))
        .collect();
    let times: BTreeMap<StageId, Option<TimeSpec>> =
        open.keys().map(|id| (*id, time_of(project, &project.pipeline[*id]))).collect();
    let keeping = keeping_sizes(project, prospects, &open, &times);
    let mut wanted = BTreeMap::new();
    for (id, prospect) in &open {
        let stage = &project.pipeline[*id];
        let Some(last) = prospect.last.as_deref().filter(|last| does(stage, &last.ingredients)) else {
            continue;
        };
        let time = times.get(id).cloned().flatten();
        let is_same = |name: &String| {
            let is_ignored =
                time.as_ref().is_some_and(|time| time.ignores.contains(&format!("inputs.{name}")));
            is_ignored || producer(project, stage, name).is_some_and(|id| keeping.holds(id))
        };
        // What an input will be that is not made yet is known only as far as it stays as large as it is.
        let is_known = !prospect.ingredients().is_empty() && prospect.unknown.iter().all(is_same);
        let now = is_known.then(|| (prospect.ingredients().to_vec(), sizes_now(project, stage, prospects)));
        let done = done(project, stage, prospect);
        let past = Past { stage, time, now, last: last.clone(), done, samples: vec![], seen: 0 };
        wanted.insert(stage.name.clone(), past);
    }
    wanted
}

/// Of which stages the outputs stay as large as they are.
struct Keeping<'p> {
    prospects: &'p BTreeMap<StageId, Prospect>,
    /// Of those that may be executed.
    open: BTreeMap<StageId, bool>,
}

impl Keeping<'_> {
    fn holds(&self, id: StageId) -> bool {
        let is_known = || self.prospects.get(&id).is_some_and(Prospect::is_known);
        self.open.get(&id).copied().unwrap_or_else(is_known)
    }
}

fn keeping_sizes<'p>(
    project: &Project,
    prospects: &'p BTreeMap<StageId, Prospect>,
    open: &BTreeMap<StageId, &Prospect>,
    times: &BTreeMap<StageId, Option<TimeSpec>>,
) -> Keeping<'p> {
    let mut keeping = Keeping { prospects, open: open.keys().map(|id| (*id, false)).collect() };
    for id in project.graph.order() {
        let Some(prospect) = open.get(id) else { continue };
        let stage = &project.pipeline[*id];
        let keeps = |name: &String| producer(project, stage, name).is_some_and(|id| keeping.holds(id));
        let upstream = prospect.unknown.iter().all(keeps);
        let own = match &prospect.planned.expectation {
            Expectation::Fresh | Expectation::Restorable { .. } => true,
            Expectation::Maybe { .. } => upstream,
            Expectation::Run { changes, .. } => {
                let time = times.get(id).and_then(Option::as_ref);
                upstream
                    && prospect.last.is_some()
                    && prospect.decision.is_some()
                    && scale::keeps_sizes(time, changes)
            }
        };
        keeping.open.insert(*id, own);
    }
    keeping
}

fn producer(project: &Project, stage: &Stage, input: &str) -> Option<StageId> {
    match stage.inputs.get(input)? {
        Input::Output { stage, .. } => project.pipeline.id(stage),
        Input::Path(_) => None,
    }
}

fn time_of(project: &Project, stage: &Stage) -> Option<TimeSpec> {
    let Action::Op(action) = &stage.action else { return None };
    project.registry.manifest(&action.plugin).ok()?.ops.get(&action.op)?.time.clone()
}

/// Bytes of the inputs as they are, or were made last.
fn sizes_now(project: &Project, stage: &Stage, prospects: &BTreeMap<StageId, Prospect>) -> Sizes {
    let bytes = |input: &Input| match input {
        Input::Path(path) => {
            std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|it| it.len())
        }
        Input::Output { stage, output } => {
            let producer = prospects.get(&project.pipeline.id(stage)?)?;
            let record = producer.record().or(producer.last.as_deref())?;
            record.outputs.get(output).map(|output| output.bytes)
        }
    };
    stage.inputs.iter().filter_map(|(name, input)| Some((name.clone(), bytes(input)?))).collect()
}

/// Bytes that the inputs had in a run, where other stages made them.
fn sizes_then(project: &Project, stage: &Stage, run: &RunRecord) -> Sizes {
    let bytes = |input: &Input| match input {
        Input::Path(_) => None,
        Input::Output { stage, output } => {
            let producer = run.stages.iter().find(|it| it.stage == *stage)?;
            project.store.record(&producer.key?)?.outputs.get(output).map(|output| output.bytes)
        }
    };
    stage.inputs.iter().filter_map(|(name, input)| Some((name.clone(), bytes(input)?))).collect()
}

fn look_back(project: &Project, wanted: &mut BTreeMap<StageName, Past<'_>>) {
    let mut stages = 0;
    for run in project.store.latest_runs().take(RUNS) {
        // With another number of threads it takes another time.
        if run.threads == project.threads {
            for ran in run.stages.iter().filter(|stage| stage.outcome == Outcome::Ran) {
                let Some(past) = wanted.get_mut(&ran.stage).filter(|past| past.seen < SAMPLES) else {
                    continue;
                };
                let record = ran.key.and_then(|key| project.store.record(&key)).filter(|record| {
                    does(past.stage, &record.ingredients) && record.machine.cpu == project.machine.cpu
                });
                if let Some(record) = record {
                    past.add(&record, &sizes_then(project, past.stage, &run));
                }
            }
        }
        stages += run.stages.len();
        if stages >= STAGES || wanted.values().all(|past| past.seen >= SAMPLES) {
            break;
        }
    }
}

/// Whether a key is of the op that a stage has now, or of a command where it has one.
fn does(stage: &Stage, ingredients: &[Ingredient]) -> bool {
    let is = |name: &str, value: Option<&str>| {
        ingredients.iter().any(|it| it.name == name && value.is_none_or(|value| it.value == value))
    };
    match &stage.action {
        Action::Op(action) => is("op", Some(&format!("{}/{}", action.plugin, action.op))),
        Action::Command(action) => match &action.command {
            CommandLine::Shell(_) => is("run", None),
            CommandLine::Args(_) => is("run.args", None),
        },
    }
}

/// How much of a stage's work an earlier execution has left done, as far as its op says: one that did not come to its end, or
/// one for other values of a param that may change on the way.
fn done(project: &Project, stage: &Stage, prospect: &Prospect) -> f64 {
    let (Action::Op(action), Some(Decision::Run { miss, .. })) = (&stage.action, &prospect.decision) else {
        return 0.0;
    };
    let share = |partial: &Partial| {
        let whole = prospect.ingredients().iter().find(|it| it.name == partial.of)?;
        let share = partial.done / whole.value.parse::<f64>().ok()?;
        (share.is_finite() && share > 0.0).then_some(share)
    };
    let resumed = project.store.resumable(miss).as_ref().and_then(share).map(|share| share.min(1.0));
    // What went further than this one is of no use to it.
    let continued = project.store.continuable(miss, &action.continues).as_ref().and_then(share);
    resumed.into_iter().chain(continued.filter(|share| *share < 1.0)).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests;
