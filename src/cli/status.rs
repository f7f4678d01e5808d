//! `pipe status` and `pipe run --dry-run`: what a run would do, why, how long it would take, and what it would be refused for.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::StageName;
use pipeline::graph::StageId;
use pipeline::spec::{Diagnostic, Diagnostics, Pipeline};
use record::event::{Expectation, PlannedStage};
use schemars::JsonSchema;
use serde::Serialize;
use text::printable::clean_line;

use super::output::{Version, print_json, print_painted, tell};
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
    let said = if json {
        let said = Said::of(project, &prospects, selected);
        print_json(&Answer::new(&project.pipeline, planned, &said))?;
        said
    } else {
        print_painted(&progress::plan(&project.pipeline, &planned, context.color_stdout()))?;
        Said::of(project, &prospects, selected)
    };
    said.tell(context)?;
    Ok(ExitStatus::Done)
}

/// What a run would say before it begins.
pub(super) struct Said {
    warnings: Vec<String>,
    problems: Option<Diagnostics>,
}

impl Said {
    /// Of those of `stages` that would be executed, and of the pipeline.
    pub(super) fn of(
        project: &Project,
        prospects: &BTreeMap<StageId, Prospect>,
        stages: &BTreeSet<StageId>,
    ) -> Self {
        let check::Checked { problems, warnings } = check::check(project, prospects, stages);
        let warnings = project.pipeline.warnings.iter().cloned().chain(warnings).collect();
        Self { warnings, problems }
    }

    /// Prints warnings to standard error.
    ///
    /// # Errors
    /// What a run would be refused for.
    pub(super) fn tell(self, context: &Context) -> Result<(), Error> {
        for warning in &self.warnings {
            tell(&format!("warning: {}", clean_line(warning)));
        }
        match self.problems {
            Some(problems) => Err(Error::pipeline(problems.render(context.color_stderr()))),
            None => Ok(()),
        }
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    pub(super) fn problems(&self) -> Vec<Refusal> {
        self.problems.iter().flat_map(Diagnostics::problems).map(Refusal::of).collect()
    }
}

/// What a run would be refused for.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Refusal {
    /// What is wrong.
    message: String,
    /// The pipeline's file, or `command line`.
    file: String,
    /// The line in the file, from 1; `null` for what is written nowhere in it.
    line: Option<usize>,
    /// The column in the line, from 1.
    column: Option<usize>,
    /// What to do about it.
    help: Vec<String>,
}

impl Refusal {
    fn of(problem: &Diagnostic) -> Self {
        Self {
            message: problem.message.clone(),
            file: problem.file.clone(),
            line: problem.location.map(|location| location.line),
            column: problem.location.map(|location| location.column),
            help: problem.help.clone(),
        }
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
    /// What is odd, but no reason to refuse a run.
    warnings: Vec<String>,
    /// What a run would be refused for; the command ends with 2 where there is anything.
    problems: Vec<Refusal>,
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
    /// How long other variants of a stage that was never executed took, milliseconds: the median of the last execution of each, on
    /// the same CPU with as many threads. `null` where it was, or none of them was.
    variants_ms: Option<u64>,
    /// Where changed ingredients come from, as far as that is known.
    origins: BTreeMap<String, Origin>,
}

impl Answer {
    fn new(pipeline: &Pipeline, planned: Vec<PlannedStage>, said: &Said) -> Self {
        let total = Total::of(&planned);
        let stages = planned.into_iter().map(|planned| {
            let PlannedStage { stage, expectation, usual_ms, last_ms, variants_ms } = planned;
            Planned {
                origins: origins(pipeline, &stage, &expectation),
                stage,
                expectation,
                usual_ms,
                last_ms,
                variants_ms,
            }
        });
        Self {
            version: Version,
            pipeline: pipeline.name.clone(),
            stages: stages.collect(),
            total,
            warnings: said.warnings(),
            problems: said.problems(),
        }
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
