//! `pipe status` and `pipe run --dry-run`: what a run would do, why, how long it would take, and what it would be refused for.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::StageName;
use pipeline::graph::StageId;
use pipeline::spec::Pipeline;
use record::event::{Expectation, PlannedStage};
use schemars::JsonSchema;
use serde::Serialize;

use super::output::{Version, print_json, print_painted};
use super::{Context, Selection, completions, find_stages};
use crate::check;
use crate::error::{Error, ExitStatus};
use crate::plan::{self};
use crate::progress::{self, Origin, Total};
use crate::project::Project;
use crate::prospect::Prospect;

/// Show which stages are stale, what changed, and how long they will take
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stages to show; all of them where none is named
    #[arg(add = completions::stages())]
    stages: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the pipeline is wrong, an input or a plugin cannot be read, or a run would be refused.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let project = context.load(&args.selection)?;
    let mut selected = find_stages(&project, &args.stages)?;
    if selected.is_empty() {
        selected = project.pipeline.ids().collect();
    }
    show(&project, &selected, &BTreeSet::new(), args.json, context)
}

/// Plans and prints the plan, and then what is wrong with it, as a run would.
///
/// # Errors
/// When an input or a plugin cannot be read, and whatever is wrong with stages that would be executed.
pub(super) fn show(
    project: &Project,
    selected: &BTreeSet<StageId>,
    forced: &BTreeSet<StageId>,
    json: bool,
    context: &Context,
) -> Result<ExitStatus, Error> {
    let prospects = plan::prospects(project, selected, forced)?;
    let planned = prospects.values().map(|prospect| prospect.planned.clone()).collect();
    // What could not be remembered costs the next command time, nothing else.
    let _ = project.store.flush();
    if json {
        print_json(&Answer::new(&project.pipeline, planned))?;
    } else {
        print_painted(&progress::plan(&project.pipeline, &planned, context.color_stdout()))?;
    }
    refuse(project, &prospects, selected, context)?;
    Ok(ExitStatus::Done)
}

/// Tells what a run would be refused for. Who cannot be asked will tell when the stage runs.
///
/// # Errors
/// Whatever is wrong with those of `stages` that would be executed.
pub(super) fn refuse(
    project: &Project,
    prospects: &BTreeMap<StageId, Prospect>,
    stages: &BTreeSet<StageId>,
    context: &Context,
) -> Result<(), Error> {
    match check::check(project, prospects, stages).problems {
        Some(problems) => Err(Error::pipeline(problems.render(context.color_stderr()))),
        None => Ok(()),
    }
}

/// What `pipe status --json` and `pipe run --dry-run --json` print.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Plan", title = "pipe status --json, pipe run --dry-run --json")]
pub(super) struct Answer {
    version: Version,
    /// Name of the pipeline.
    pipeline: String,
    /// What is expected of each stage, in the order of the file.
    stages: Vec<Planned>,
    /// What it comes to, one stage after another.
    total: Total,
}

/// What is expected of a stage.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PlanStage")]
struct Planned {
    /// The stage.
    stage: StageName,
    /// What is expected.
    expectation: Expectation,
    /// How long it will take if it is executed, milliseconds: the median of its last executions, scaled by what its op says
    /// its time depends on. `null` where that is not known, or it stays as it is.
    usual_ms: Option<u64>,
    /// How long its last execution took, milliseconds. `null` where there was none, or it stays as it is.
    last_ms: Option<u64>,
    /// Where changed ingredients come from, as far as that is known.
    origins: BTreeMap<String, Origin>,
}

impl Answer {
    fn new(pipeline: &Pipeline, planned: Vec<PlannedStage>) -> Self {
        let total = Total::of(&planned);
        let stages = planned.into_iter().map(|planned| {
            let PlannedStage { stage, expectation, usual_ms, last_ms } = planned;
            Planned {
                origins: origins(pipeline, &stage, &expectation),
                stage,
                expectation,
                usual_ms,
                last_ms,
            }
        });
        Self { version: Version, pipeline: pipeline.name.clone(), stages: stages.collect(), total }
    }
}

fn origins(pipeline: &Pipeline, stage: &StageName, expectation: &Expectation) -> BTreeMap<String, Origin> {
    let changes = match expectation {
        Expectation::Run { changes, .. } | Expectation::Restorable { changes } => changes.as_slice(),
        Expectation::Fresh | Expectation::Maybe { .. } => &[],
    };
    let Some(stage) = pipeline.stages.get(stage) else { return BTreeMap::new() };
    let origins =
        changes.iter().map(|change| (change.name.clone(), Origin::of(pipeline, stage, &change.name)));
    origins.filter(|(_, origin)| !origin.is_unknown()).collect()
}
