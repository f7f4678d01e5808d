//! `pipe run`: executes what is stale, restores what is cached, and writes the report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Context, Selection, find_stages, output};
use crate::clock::{millis, now_ms};
use crate::error::{Error, ExitStatus};
use crate::event::{Event, Expectation, PlannedStage};
use crate::exec::{Engine, Options, lacking_gpus};
use crate::gate::{GateResult, Verdict};
use crate::progress::{self, Sink};
use crate::project::Project;
use crate::record::{ActionRecord, Outcome, RunRecord, StageRun};
use crate::spec::StageName;
use crate::{plan, report};

/// Run the stages that are stale, restore the others from the cache, and write the report
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stages to run, with all that they depend on; all of them where none is named
    stages: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// How many stages at a time; as many as there are threads where not given
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Show what would run, and why, without running anything
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Execute the named stages (or all) even where their outcome is known
    #[arg(long)]
    force: bool,
    /// After a failure go on with stages that do not depend on the failed one
    #[arg(short, long)]
    keep_going: bool,
    /// Print events as JSON, one a line, on standard output
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the pipeline is wrong or the store fails. A failed stage or gate is an exit status.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let project = context.load(&args.selection)?;
    let named: BTreeSet<StageName> = find_stages(&project, &args.stages)?;
    let all: BTreeSet<StageName> = project.pipeline.stages.keys().cloned().collect();
    let forced = if named.is_empty() { all.clone() } else { named.clone() };
    let selected = if named.is_empty() {
        all
    } else {
        project.graph.with_upstream(&named.into_iter().collect::<Vec<_>>())
    };
    let forced_now = if args.force { forced.clone() } else { BTreeSet::new() };
    if args.dry_run {
        let planned = plan::plan(&project, &selected, &forced_now)?;
        if args.json {
            output::print_json(&serde_json::json!({ "version": 1, "stages": planned }))?;
        } else {
            output::print(&progress::plan(&planned, context.color_stdout()))?;
        }
        return Ok(ExitStatus::Done);
    }
    let mut sink = progress::choose(args.json, context.color_stderr());
    let _lock =
        project.store.lock(&mut |message| sink.event(&Event::Notice { message: message.to_owned() }))?;
    let options = Options {
        jobs: args.jobs.map_or(project.threads, usize::from),
        force: args.force,
        keep_going: args.keep_going,
    };
    let planned = plan::plan(&project, &selected, &forced_now)?;
    refuse_lacking_gpus(&project, &planned)?;
    let run = Run { project: &project, id: run_id(), started_ms: now_ms(), start: Instant::now() };
    sink.event(&Event::RunStarted {
        run: run.id.clone(),
        pipeline: project.pipeline.name.clone(),
        stages: planned,
    });
    let mut emit = |event: Event| sink.event(&event);
    let engine = Engine::new(&project, &selected, &forced, options, &run.id, &mut emit);
    let finished = engine.run()?;
    let record = run.record(finished.stages, &finished.records);
    let report = run.keep(&record, &finished.records, &mut *sink)?;
    if let Err(error) = project.store.flush() {
        sink.event(&Event::Warning { message: format!("{error}; the next run hashes more than it had to") });
    }
    sink.event(&Event::RunFinished { record: Box::new(record.clone()), report: report.clone() });
    drop(sink);
    if !args.json {
        let (pipeline, records) = (&project.pipeline, &finished.records);
        let color = context.color_stdout();
        output::print(&progress::summary(pipeline, &record, records, report.as_deref(), color))?;
    }
    Ok(status(&record))
}

/// Refuses a run of which it is known before that a stage cannot have its GPUs.
fn refuse_lacking_gpus(project: &Project, planned: &[PlannedStage]) -> Result<(), Error> {
    for planned in planned.iter().filter(|planned| matches!(planned.expectation, Expectation::Run { .. })) {
        let stage = project.pipeline.stages.get(&planned.stage);
        if let Some(lack) = stage.and_then(|stage| lacking_gpus(&stage.resources, project.gpus.len())) {
            return Err(Error::usage(format!("stage `{}` cannot run here: {lack}", planned.stage))
                .hint("`CUDA_VISIBLE_DEVICES` names the GPUs that may be used; `resources` says how many are wanted"));
        }
    }
    Ok(())
}

/// The run being made.
struct Run<'a> {
    project: &'a Project,
    id: String,
    started_ms: u64,
    start: Instant,
}

impl Run<'_> {
    fn record(&self, stages: Vec<StageRun>, records: &BTreeMap<StageName, ActionRecord>) -> RunRecord {
        let pipeline = &self.project.pipeline;
        RunRecord {
            id: self.id.clone(),
            pipeline: pipeline.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            profile: pipeline.profile.clone(),
            vars: pipeline.vars.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            started_ms: self.started_ms,
            duration_ms: millis(self.start.elapsed()),
            machine: self.project.machine.clone(),
            threads: self.project.threads,
            gates: self.gates(&stages, records),
            stages,
        }
    }

    /// The gates whose stages were all selected.
    fn gates(&self, stages: &[StageRun], records: &BTreeMap<StageName, ActionRecord>) -> Vec<GateResult> {
        let selected: BTreeSet<&str> = stages.iter().map(|run| run.stage.as_str()).collect();
        let lookup = |stage: &str, metric: &str| {
            let record = records.iter().find(|(name, _)| name.as_str() == stage)?.1;
            record.metrics.get(metric).cloned()
        };
        let gates = self.project.pipeline.gates.iter();
        gates
            .filter(|gate| gate.stages().iter().all(|stage| selected.contains(&**stage)))
            .map(|gate| gate.evaluate(&lookup))
            .collect()
    }

    /// Writes the run's record and the report. A run in which nothing happened is not worth a record of its own: the
    /// report of the run that made the outputs stays.
    fn keep(
        &self,
        record: &RunRecord,
        records: &BTreeMap<StageName, ActionRecord>,
        sink: &mut dyn Sink,
    ) -> Result<Option<PathBuf>, Error> {
        let store = &self.project.store;
        let file = self.project.report_file();
        let previous = store.latest_run().unwrap_or_default();
        let idle = record.stages.iter().all(|run| run.outcome == Outcome::Fresh);
        let same = previous.as_ref().is_some_and(|previous| {
            let keys = |run: &RunRecord| -> Vec<_> {
                run.stages.iter().map(|stage| (stage.stage.clone(), stage.key)).collect()
            };
            keys(previous) == keys(record) && previous.gates == record.gates && previous.vars == record.vars
        });
        if idle && same && is_newer(&file, &self.project.pipeline.file) {
            return Ok(Some(file));
        }
        if let Err(error) = store.save_run(record) {
            sink.event(&Event::Warning { message: format!("this run is not recorded: {error}") });
        }
        match report::write(self.project, record, records, previous.as_ref(), &file) {
            Ok(()) => Ok(Some(file)),
            Err(error) => {
                sink.event(&Event::Warning { message: format!("cannot write the report: {error}") });
                Ok(None)
            }
        }
    }
}

fn is_newer(file: &Path, than: &Path) -> bool {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified());
    matches!((modified(file), modified(than)), (Ok(file), Ok(than)) if file > than)
}

fn status(record: &RunRecord) -> ExitStatus {
    let outcomes = || record.stages.iter().map(|run| &run.outcome);
    if outcomes().any(|outcome| *outcome == Outcome::Interrupted) {
        ExitStatus::Interrupted
    } else if outcomes().any(|outcome| !outcome.is_done()) {
        ExitStatus::Failed
    } else if record.gates.iter().any(|gate| gate.verdict != Verdict::Pass) {
        ExitStatus::GateFailed
    } else {
        ExitStatus::Done
    }
}

/// Sortable by start, and unique: two runs of one folder never run at the same time.
fn run_id() -> String {
    format!("{:013}-{}", now_ms(), std::process::id())
}
