//! `pipe status`: what a run would do, why, and how long it would take. `pipe run --dry-run` asks plugins besides, as a run
//! does, whether anything is wrong with that.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::output::{Version, print_json, print_painted};
use super::{Context, Selection, completions, find_stages};
use crate::error::{Error, ExitStatus};
use crate::event::{Expectation, PlannedStage};
use crate::progress::{self, Origin, Total};
use crate::project::Project;
use crate::spec::{Pipeline, StageId, StageName};
use crate::{check, plan};

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
/// When the pipeline is wrong, or an input or a plugin cannot be read.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let project = context.load(&args.selection)?;
    let mut selected = find_stages(&project, &args.stages)?;
    if selected.is_empty() {
        selected = project.pipeline.ids().collect();
    }
    show(&project, &selected, &BTreeSet::new(), args.json, context)
}

/// As [`show`], but for what plugins say of the stages that would be executed: where they find anything wrong that is told
/// instead, as a run would.
///
/// # Errors
/// As [`show`]; whatever plugins find wrong.
pub(super) fn show_checked(
    project: &Project,
    selected: &BTreeSet<StageId>,
    forced: &BTreeSet<StageId>,
    json: bool,
    context: &Context,
) -> Result<ExitStatus, Error> {
    let prospects = plan::prospects(project, selected, forced)?;
    // Who cannot be asked will tell when the stage runs.
    if let Some(problems) = check::check(project, &prospects).problems {
        return Err(Error::pipeline(problems.render(context.color_stderr())));
    }
    print_plan(project, prospects.into_values().map(|prospect| prospect.planned).collect(), json, context)
}

/// Plans and prints the plan. Asks no plugin.
///
/// # Errors
/// When an input or a plugin cannot be read.
pub(super) fn show(
    project: &Project,
    selected: &BTreeSet<StageId>,
    forced: &BTreeSet<StageId>,
    json: bool,
    context: &Context,
) -> Result<ExitStatus, Error> {
    print_plan(project, plan::plan(project, selected, forced)?, json, context)
}

fn print_plan(
    project: &Project,
    planned: Vec<PlannedStage>,
    json: bool,
    context: &Context,
) -> Result<ExitStatus, Error> {
    // What could not be remembered costs the next command time, nothing else.
    let _ = project.store.flush();
    if json {
        print_json(&Answer::new(&project.pipeline, planned))?;
    } else {
        print_painted(&progress::plan(&project.pipeline, &planned, context.color_stdout()))?;
    }
    Ok(ExitStatus::Done)
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
