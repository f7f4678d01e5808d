//! What is wrong with a run and can be known before anything of it is executed: what stages lack that would be executed, and
//! what plugins say of these. A stage whose outcome is in the cache was right when that was made: nobody is
//! asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use pipeline::graph::StageId;
use pipeline::spec::{Action, Diagnostics, Fault, Input, OpAction, Stage};
use protocol::{CheckRequest, Problem};
use record::event::Expectation;

use crate::exec::{lacking_gpus, missing_secrets};
use crate::plugin::{self, Program};
use crate::project::Project;
use crate::prospect::{Decision, Prospect};

/// What a check came to.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is wrong, if anything is.
    pub problems: Option<Diagnostics>,
    /// What is odd and no reason to refuse anything, and plugins that could not be asked: the stages themselves will tell.
    pub warnings: Vec<String>,
}

/// Looks at those of `stages` that would be executed: whether they have what they want, and what their plugins say, each asked
/// once and all at a time. `prospects` holds what these stages read from as well, as far as that counts.
///
/// Starts no process where nothing would be executed, or no op that would be declares that it can be checked.
#[must_use]
pub fn check(
    project: &Project,
    prospects: &BTreeMap<StageId, Prospect>,
    stages: &BTreeSet<StageId>,
) -> Checked {
    let mut faults = Vec::new();
    let mut asked: BTreeMap<&str, Vec<(&Stage, CheckRequest)>> = BTreeMap::new();
    for (id, prospect) in prospects.iter().filter(|(id, _)| stages.contains(id)) {
        let lacking = lacking(project, &project.pipeline[*id], &prospect.planned.expectation);
        faults.extend(lacking.into_iter().map(|problem| Fault { stage: &project.pipeline[*id], problem }));
        let stage = &project.pipeline[*id];
        if let (Action::Op(action), Expectation::Run { .. }) = (&stage.action, &prospect.planned.expectation)
            && is_checked(project, action)
        {
            let request = request(project, stage, action, &|input| present(project, input, prospects));
            asked.entry(&action.plugin).or_default().push((stage, request));
        }
    }
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = |(plugin, stages)| scope.spawn(move || (plugin, ask(project, plugin, stages)));
        let threads: Vec<_> = asked.into_iter().map(ask).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let mut checked = Checked::default();
    for (plugin, answer) in answers {
        match answer {
            Ok(found) => faults.extend(found),
            Err(why) => checked.warnings.push(cannot_ask(plugin, &why)),
        }
    }
    let (harmless, faults): (Vec<_>, Vec<_>) = faults.into_iter().partition(|fault| fault.problem.harmless);
    checked.warnings.extend(warnings(project, harmless));
    if !faults.is_empty() {
        checked.problems = Some(project.pipeline.diagnose(faults));
    }
    checked
}

/// A line for each of what is harmless; of variants of a stage the first is told, and how many others there are.
fn warnings(project: &Project, faults: Vec<Fault<'_>>) -> Vec<String> {
    let mut told: Vec<(&Stage, String, usize)> = Vec::new();
    for Fault { stage, problem } in faults {
        let line = project.pipeline.locate(stage, problem).line();
        match told.iter_mut().find(|(first, said, _)| first.family == stage.family && *said == line) {
            Some((.., others)) => *others += 1,
            None => told.push((stage, line, 0)),
        }
    }
    let line = |(stage, line, others): (&Stage, String, usize)| match others {
        0 => format!("stage `{}`: {line}", stage.name),
        1 => format!("stage `{}`: {line}; the same applies to 1 other variant", stage.name),
        _ => format!("stage `{}`: {line}; the same applies to {others} other variants", stage.name),
    };
    told.into_iter().map(line).collect()
}

/// What a stage wants and does not get here.
fn lacking(project: &Project, stage: &Stage, expectation: &Expectation) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Expectation::Run { .. } = expectation
        && let Some(lack) = lacking_gpus(&stage.resources, project.gpus.len())
    {
        problems.push(Problem::new(lack).hint(
            "`CUDA_VISIBLE_DEVICES` names the GPUs that may be used; `resources` says how many are wanted",
        ));
    }
    if expectation.may_execute() {
        problems.extend(missing_secrets(stage).into_iter().map(|name| {
            Problem::new(format!("secret `{name}` is not set"))
                .hint(format!("set the environment variable: `{name}=… pipe run`, or export it before"))
        }));
    }
    problems
}

/// What to say where a plugin was asked and gave no answer.
pub(crate) fn cannot_ask(plugin: &str, why: &str) -> String {
    format!("plugin `{plugin}` did not complete the check of its stages: {why}")
}

/// Whether an op can be asked about.
pub(crate) fn is_checked(project: &Project, action: &OpAction) -> bool {
    let manifest = project.registry.manifest(&action.plugin);
    manifest.is_ok_and(|manifest| manifest.ops.get(&action.op).is_some_and(|op| op.checks))
}

fn ask<'a>(
    project: &'a Project,
    plugin: &str,
    stages: Vec<(&'a Stage, CheckRequest)>,
) -> Result<Vec<Fault<'a>>, String> {
    let executable = project.registry.find(plugin).map_err(|error| error.to_string())?;
    let manifest = project.registry.manifest(plugin).map_err(|error| error.to_string())?;
    let (stages, requests): (Vec<&Stage>, Vec<CheckRequest>) = stages.into_iter().unzip();
    let answers = plugin::check(Program { executable: &executable, env: &manifest.env }, &requests)?;
    let faults = stages
        .into_iter()
        .zip(answers)
        .flat_map(|(stage, problems)| problems.into_iter().map(move |problem| Fault { stage, problem }));
    Ok(faults.collect())
}

/// What a plugin is asked of a stage; `present` says where an input lies that is there and stays as it is.
pub(crate) fn request(
    project: &Project,
    stage: &Stage,
    action: &OpAction,
    present: &dyn Fn(&Input) -> Option<PathBuf>,
) -> CheckRequest {
    let there = stage.inputs.iter().filter_map(|(name, input)| Some((name.clone(), present(input)?)));
    CheckRequest {
        op: action.op.clone(),
        params: action.params.clone(),
        inputs: stage.inputs.keys().cloned().collect(),
        present: there.collect(),
        threads: stage.resources.threads(project.threads),
    }
}

/// Where an input lies before anything is executed, if it stays as it is then.
fn present(project: &Project, input: &Input, prospects: &BTreeMap<StageId, Prospect>) -> Option<PathBuf> {
    match input {
        Input::Path(path) => Some(path.clone()),
        Input::Output { stage: from, output } => {
            let producer = prospects.get(&project.pipeline.id(from)?)?;
            match (&producer.planned.expectation, &producer.decision) {
                (Expectation::Fresh, Some(Decision::Fresh(record))) => {
                    Some(project.store.artifacts(from).join(&record.outputs.get(output)?.file))
                }
                (Expectation::Restorable { .. }, Some(Decision::Restorable { record, .. })) => {
                    project.store.content(record.outputs.get(output)?)
                }
                _ => None,
            }
        }
    }
}
