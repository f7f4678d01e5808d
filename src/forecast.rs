//! How long stages will take, from how long they took: the median of the last executions of the same op on this CPU.
//! Says nothing of a stage that was never executed.

use std::collections::BTreeMap;

use crate::plan::Prospect;
use crate::project::Project;
use crate::record::{ActionRecord, Ingredient, Outcome};
use crate::spec::{Action, CommandLine, Stage, StageId, StageName};

/// Executions of a stage that the median is taken of.
const SAMPLES: usize = 5;
/// Runs that are looked through, the last ones.
const RUNS: usize = 20;
/// Where more stages than this want a forecast, the last execution of each has to do: a plan must not take longer than
/// what it is good for.
const MANY: usize = 200;

/// Fills in how long the stages that may have to be executed usually take.
pub(crate) fn fill(project: &Project, prospects: &mut BTreeMap<StageId, Prospect>) {
    let mut wanted: BTreeMap<StageName, Past> = BTreeMap::new();
    for prospect in prospects.values_mut() {
        let stage = project.pipeline.stages.get(&prospect.planned.stage);
        let Some(stage) = stage.filter(|_| prospect.planned.expectation.may_execute()) else { continue };
        let last = prospect.last.as_ref().filter(|last| does(stage, &last.ingredients));
        prospect.planned.usual_ms = last.map(|last| last.duration_ms);
        if last.is_some() {
            wanted.insert(stage.name.clone(), Past { stage, durations: vec![] });
        }
    }
    if wanted.is_empty() || wanted.len() > MANY {
        return;
    }
    look_back(project, &mut wanted);
    for prospect in prospects.values_mut() {
        let past = wanted.get(&prospect.planned.stage);
        if let Some(median) = past.and_then(|past| median(&past.durations)) {
            prospect.planned.usual_ms = Some(median);
        }
    }
}

/// A stage with the durations of its last executions, milliseconds.
struct Past<'a> {
    stage: &'a Stage,
    durations: Vec<u64>,
}

fn look_back(project: &Project, wanted: &mut BTreeMap<StageName, Past<'_>>) {
    let counts = |stage: &Stage, record: &ActionRecord| {
        does(stage, &record.ingredients) && record.machine.cpu == project.machine.cpu
    };
    for run in project.store.latest_runs().take(RUNS) {
        for stage in run.stages.iter().filter(|stage| stage.outcome == Outcome::Ran) {
            let Some(past) = wanted.get_mut(&stage.stage).filter(|past| past.durations.len() < SAMPLES)
            else {
                continue;
            };
            let record = stage.key.and_then(|key| project.store.record(&key));
            past.durations
                .extend(record.filter(|record| counts(past.stage, record)).map(|record| record.duration_ms));
        }
        if wanted.values().all(|past| past.durations.len() >= SAMPLES) {
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

/// The middle one; of an even number the mean of the middle two.
fn median(durations: &[u64]) -> Option<u64> {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(lower.midpoint(*upper))
}

#[cfg(test)]
mod tests;
