//! `pipe run`: executes what is stale, restores what is cached, and writes the report.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueHint;
use pipeline::gate::Judgement;
use record::{Outcome, RunRecord};
use text::clock::millis;

use super::{Context, Selection, completions, find_stages, gc, output, profile, status};
use crate::error::{Error, ExitStatus};
use crate::null_run::{self, Answer, Question, Recalled, Standing};
use crate::progress::{self, Closing, Tally};
use crate::workspace::{self, Ask, Concluded, NotPlanned, Remains, Workspace};

/// Run the stages that are stale, restore the others from the cache, and write the report
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stages to run, with all that they depend on; all of them where none is named
    #[arg(add = completions::stages())]
    pub(super) stages: Vec<String>,
    #[command(flatten)]
    pub(super) selection: Selection,
    /// How many stages at a time; as many as there are threads where not given
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Show what would run, and why, without running anything
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Execute the named stages (or all) even if their result is cached
    #[arg(long)]
    force: bool,
    /// After a failure go on with stages that do not depend on the failed one
    #[arg(short, long)]
    keep_going: bool,
    /// Report files in the project folder that the commands that are executed open without declaring them (uses
    /// strace); with --force, those of all commands
    #[arg(long, conflicts_with = "dry_run")]
    trace: bool,
    /// Print events as JSON, one a line, on standard output
    #[arg(long)]
    pub(super) json: bool,
    /// The run that gates compare with which name a metric behind `baseline.`; where not given, the last one that
    /// measured it otherwise. A run is named as in `pipe compare`
    #[arg(long, value_name = "RUN", add = completions::runs())]
    baseline: Option<String>,
    /// Fail inconclusive gates: the interval must prove that they are satisfied
    #[arg(long)]
    certain: bool,
    /// Write a recording of what the run spent its time on, for https://ui.perfetto.dev or chrome://tracing
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath, conflicts_with_all = ["dry_run", "watch"])]
    pub(super) profile_to: Option<PathBuf>,
    /// After the run wait for an edit of what it depends on, run again, and so on until Ctrl-C
    #[arg(short, long, conflicts_with = "dry_run")]
    pub(super) watch: bool,
}

/// Runs once.
///
/// # Errors
/// When the pipeline is wrong or the store fails. A failed stage or gate is an exit status.
pub fn run(args: &Args, context: &Context) -> Result<ExitStatus, Error> {
    match &args.profile_to {
        Some(file) => profile::around(file, context.recording(), || run_once(args, context)),
        None => run_once(args, context),
    }
}

fn run_once(args: &Args, context: &Context) -> Result<ExitStatus, Error> {
    let start = Instant::now();
    let question = question(args, context);
    match question.as_ref().filter(|_| !args.json).and_then(null_run::recall) {
        Some(Recalled::Answer(answer)) => return nothing_to_do(&answer, start, args.certain, context),
        Some(Recalled::Standing(standing)) => {
            if let Some(workspace) = standing_workspace(standing, args)? {
                match take_to_end(workspace, args, question.clone(), start, context) {
                    Err(NotPlanned::Outdated) => {}
                    ended => return ended.map_err(|error| refused(error, context)),
                }
            }
        }
        None => {}
    }
    let project = context.load(&args.selection)?;
    let named = find_stages(&project, &args.stages)?;
    let workspace = Workspace::open(project, named, args.force)?;
    if args.dry_run {
        let (selected, forced) = (workspace.selected(), workspace.forced());
        return status::show(workspace.project(), selected, forced, args.json, context);
    }
    take_to_end(workspace, args, question, start, context).map_err(|error| refused(error, context))
}

/// The workspace of a project that stands, without reading it. `None` where it must be read.
fn standing_workspace(mut standing: Box<Standing>, args: &Args) -> Result<Option<Workspace>, Error> {
    let Some((project, records)) = standing.project(args.selection.threads.map(usize::from)) else {
        return Ok(None);
    };
    let named = find_stages(&project, &args.stages)?;
    Ok(Some(Workspace::open(project, named, args.force)?.standing(standing, records)))
}

fn refused(why: NotPlanned, context: &Context) -> Error {
    match why {
        NotPlanned::Refused(problems) => Error::pipeline(problems.render(context.color_stderr())),
        NotPlanned::Outdated => workspace::outdated(),
        NotPlanned::Failed(error) => error,
    }
}

/// Plans, executes and concludes.
fn take_to_end(
    workspace: Workspace,
    args: &Args,
    question: Option<Question>,
    start: Instant,
    context: &Context,
) -> Result<ExitStatus, NotPlanned> {
    let ask = Ask {
        jobs: args.jobs.map(usize::from),
        keep_going: args.keep_going,
        trace: args.trace,
        baseline: args.baseline.clone(),
        began: start,
        certain: args.certain,
        recording: args.profile_to.clone(),
        remains: Remains::All { cache_limit: gc::limit()?, question },
    };
    let planned = workspace.plan(ask, progress::choose(args.json, context.color_stderr()))?;
    let concluded = planned.execute()?.conclude();
    if !args.json {
        say(&concluded, context)?;
    }
    let status = exit_status(&concluded.record);
    if !args.watch {
        // The process ends. Freeing what thousands of stages hold takes longer than leaving it to the kernel.
        std::mem::forget(concluded);
    }
    Ok(status)
}

/// Prints what a run came to.
fn say(Concluded { project, record, records, report }: &Concluded, context: &Context) -> Result<(), Error> {
    let closing = Closing {
        root: &project.pipeline.root,
        table: &project.pipeline.report,
        records,
        gates: &record.gates,
        certain: record.certain,
        tally: Tally::of(record),
        duration_ms: record.duration_ms,
        report: report.as_deref(),
    };
    output::print_painted(&progress::summary(&closing, context.color_stdout()))
}

/// What is asked for, as far as the answer depends on it. `None` where it is not only for what is stale, or where a run
/// is named, which may mean another one each time.
fn question(args: &Args, context: &Context) -> Option<Question> {
    if args.force || args.dry_run || args.trace || args.baseline.is_some() {
        return None;
    }
    Some(Question {
        file: std::path::absolute(&context.global.file).ok()?,
        cache: context.cache().map(std::path::absolute).transpose().ok()?,
        set: args.selection.set.clone(),
        profile: args.selection.profile.clone(),
        stages: args.stages.clone(),
        threads: args.selection.threads,
        certain: args.certain,
    })
}

/// Says what an earlier run came to, where nothing has changed since.
fn nothing_to_do(
    answer: &Answer,
    start: Instant,
    certain: bool,
    context: &Context,
) -> Result<ExitStatus, Error> {
    let closing = Closing {
        root: answer.report.parent().and_then(Path::parent).unwrap_or(Path::new("")),
        table: &answer.table,
        records: &answer.records,
        gates: &answer.gates,
        certain,
        tally: Tally { fresh: answer.fresh, ..Tally::default() },
        duration_ms: millis(start.elapsed()),
        report: Some(&answer.report),
    };
    for warning in &answer.warnings {
        output::tell(&format!("warning: {}", text::printable::clean_line(warning)));
    }
    output::print_painted(&progress::summary(&closing, context.color_stdout()))?;
    let holds = answer.gates.iter().all(|gate| gate.judgement(certain).lets_pass());
    Ok(if holds { ExitStatus::Done } else { ExitStatus::GateFailed })
}

fn exit_status(record: &RunRecord) -> ExitStatus {
    let outcomes = || record.stages.iter().map(|run| &run.outcome);
    if outcomes().any(|outcome| *outcome == Outcome::Interrupted) {
        ExitStatus::Interrupted
    } else if outcomes().any(|outcome| !outcome.is_done()) {
        ExitStatus::Failed
    } else if !record.judgements().into_iter().all(Judgement::lets_pass) {
        ExitStatus::GateFailed
    } else {
        ExitStatus::Done
    }
}
