//! `pipe run`: executes what is stale, restores what is cached, and writes the report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use history::{History, Now, Outcomes, Past, RunName, definition};
use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::gate::{Gate, GateResult, Judgement};
use pipeline::graph::StageId;
use pipeline::spec::Action;
use protocol::Metric;
use record::event::Event;
use record::{ActionRecord, Definition, Outcome, RunRecord, StageRun};
use text::clock::{millis, now_ms};
use text::secret::hidden;

use super::{Context, Selection, completions, find_stages, gc, output, status};
use crate::error::{Error, ExitStatus};
use crate::exec::{self, Options, Order};
use crate::progress::{self, Closing, Kept, Sink, Tally};
use crate::project::Project;
use crate::standing::{self, Answer, Question};
use crate::{check, plan};

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
    /// After the run wait for an edit of what it depends on, run again, and so on until Ctrl-C
    #[arg(short, long, conflicts_with = "dry_run")]
    pub(super) watch: bool,
}

/// Runs once.
///
/// # Errors
/// When the pipeline is wrong or the store fails. A failed stage or gate is an exit status.
pub fn run(args: &Args, context: &Context) -> Result<ExitStatus, Error> {
    let start = Instant::now();
    let question = question(args, context);
    if let Some(answer) = question.as_ref().filter(|_| !args.json).and_then(standing::recall) {
        return nothing_to_do(&answer, start, args.certain, context);
    }
    let project = context.load(&args.selection)?;
    project.store.check_artifacts()?;
    let named = find_stages(&project, &args.stages)?;
    let selected = selected(&project, &named);
    let forced = match (args.force, named.is_empty()) {
        (false, _) => BTreeSet::new(),
        (true, true) => selected.clone(),
        (true, false) => named,
    };
    if args.dry_run {
        return status::show(&project, &selected, &forced, args.json, context);
    }
    if args.trace {
        exec::check_trace()?;
    }
    let limit = gc::limit()?;
    let mut sink = progress::choose(args.json, context.color_stderr());
    // Another run's time is none of this one's.
    let before = start.elapsed();
    let mut lock =
        project.store.lock(&mut |message| sink.event(&Event::Notice { message: message.to_owned() }))?;
    let start = Instant::now().checked_sub(before).unwrap_or(start);
    let earlier = Earlier::load(&project, args.baseline.as_deref())?;
    if args.baseline.is_some() && !earlier.is_asked_for {
        let message = "no gate uses `baseline.`: `--baseline` has no effect";
        sink.event(&Event::Notice { message: message.into() });
    }
    let store = project.store.clone();
    let mut sink = Kept::new(sink, move || store.begin_live());
    let options = Options {
        jobs: args.jobs.map_or(project.threads, usize::from),
        keep_going: args.keep_going,
        trace: args.trace,
    };
    let prospects = plan::prospects(&project, &selected, &forced)?;
    let checked = check::check(&project, &prospects, &selected);
    if let Some(problems) = checked.problems {
        return Err(Error::pipeline(problems.render(context.color_stderr())));
    }
    let run = Run {
        project: &project,
        id: project.store.next_run_id(),
        started_ms: now_ms().saturating_sub(millis(start.elapsed())),
        start,
        earlier,
        certain: args.certain,
    };
    sink.event(&Event::RunStarted {
        run: run.id.clone(),
        pipeline: project.pipeline.name.clone(),
        stages: prospects.values().map(|prospect| prospect.planned.clone()).collect(),
    });
    for message in project.pipeline.warnings.iter().cloned().chain(checked.warnings) {
        sink.event(&Event::Warning { message });
    }
    let mut emit = |event: Event| sink.event(&event);
    let order = Order { prospects, forced: &forced, run: &run.id };
    let finished = exec::run(&project, order, options, &mut emit)?;
    if args.trace && !finished.stages.iter().any(|run| is_executed_command(&project, run)) {
        let message =
            "no command was executed, so none was traced; `--force` executes them whatever is cached";
        sink.event(&Event::Notice { message: message.into() });
    }
    let mut record = run.record(finished.stages, &finished.records);
    let report = run.keep(&mut record, &finished.records, &mut sink)?;
    if let Some(trouble) = project.store.salt().trouble() {
        sink.event(&Event::Warning { message: trouble.to_owned() });
    }
    gc::after_run(&project, &mut lock, limit, &mut sink);
    standing::prepare(&project);
    if let Err(error) = project.store.flush() {
        sink.event(&Event::Warning { message: format!("{error}; the next run hashes more than it had to") });
    }
    let is_done = record.stages.iter().all(|stage| stage.outcome.is_done());
    if let (Some(question), Some(report), true) = (&question, &report, is_done) {
        standing::keep(&project, question, &record, &finished.records, report);
    }
    sink.event(&Event::RunFinished { record: Box::new(record.clone()), report: report.clone() });
    drop(sink);
    if !args.json {
        let closing = Closing {
            root: &project.pipeline.root,
            table: &project.pipeline.report,
            records: &finished.records,
            gates: &record.gates,
            certain: args.certain,
            tally: Tally::of(&record),
            duration_ms: record.duration_ms,
            report: report.as_deref(),
        };
        output::print_painted(&progress::summary(&closing, context.color_stdout()))?;
    }
    Ok(exit_status(&record))
}

/// The stages that are asked for: those in `named` and what they depend on, or all.
pub(super) fn selected(project: &Project, named: &BTreeSet<StageId>) -> BTreeSet<StageId> {
    if named.is_empty() {
        project.pipeline.ids().collect()
    } else {
        project.graph.with_upstream(named.iter().copied())
    }
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

/// The run being made.
struct Run<'a> {
    project: &'a Project,
    id: String,
    started_ms: u64,
    start: Instant,
    earlier: Earlier,
    certain: bool,
}

/// The earlier runs that gates may be compared with.
#[derive(Debug, Default)]
struct Earlier {
    /// Whether any gate asks for one; else none is known.
    is_asked_for: bool,
    history: History,
    /// The run that was named.
    named: Option<RunName>,
}

impl Earlier {
    fn load(project: &Project, named: Option<&str>) -> Result<Self, Error> {
        let is_asked_for = project.pipeline.gates.iter().any(|gate| !gate.baseline_metrics().is_empty());
        if !is_asked_for && named.is_none() {
            return Ok(Self::default());
        }
        let history = History::load(&project.store)?.of(Some(&project.pipeline.name));
        let named = named.map(|text| history.find(text).map(|run| run.name.clone())).transpose()?;
        Ok(Self { is_asked_for, history, named })
    }

    /// What the gate comes to, and whether that rests on provisional numbers of the run that it is compared with.
    fn decide(
        &self,
        gate: &Gate,
        lookup: &dyn Fn(&str, &str) -> Option<Metric>,
        now: Now<'_>,
        outcomes: &Outcomes<'_>,
    ) -> (GateResult, bool) {
        let is_named = |run: &&Past| Some(&run.name) == self.named.as_ref();
        let baseline = if gate.baseline_metrics().is_empty() {
            None
        } else {
            match self.history.runs().iter().find(is_named) {
                Some(run) => {
                    let mut baseline = run.baseline(gate, now, outcomes);
                    baseline.run.named = true;
                    Some(baseline)
                }
                None => self.history.baseline(gate, now, outcomes),
            }
        };
        let is_from_provisional = baseline.as_ref().is_some_and(|baseline| !baseline.provisional.is_empty());
        (gate.evaluate(lookup, baseline.as_ref()), is_from_provisional)
    }
}

impl Run<'_> {
    fn record(&self, stages: Vec<StageRun>, records: &BTreeMap<StageName, ActionRecord>) -> RunRecord {
        let pipeline = &self.project.pipeline;
        RunRecord {
            id: self.id.clone(),
            pipeline: pipeline.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            profile: pipeline.profile.clone(),
            vars: self.project.recorded_vars(),
            started_ms: self.started_ms,
            duration_ms: millis(self.start.elapsed()),
            machine: self.project.machine.clone(),
            threads: self.project.threads,
            gates: self.gates(&stages, records),
            stages,
            certain: self.certain,
            definition: None,
        }
    }

    /// The gates whose stages were all selected.
    fn gates(&self, stages: &[StageRun], records: &BTreeMap<StageName, ActionRecord>) -> Vec<GateResult> {
        let selected: BTreeSet<&str> = stages.iter().map(|run| run.stage.as_str()).collect();
        let lookup = |stage: &str, metric: &str| {
            let record = records.iter().find(|(name, _)| name.as_str() == stage)?.1;
            record.metrics.get(metric).cloned()
        };
        let pipeline = hidden(&self.project.pipeline.name);
        let now = Now { pipeline: &pipeline, stages, cpu: &self.project.machine.cpu };
        let is_provisional = |stage: &str| {
            records.iter().any(|(name, record)| name.as_str() == stage && record.provisional.is_some())
        };
        let records_of = |key: &Digest| self.project.store.outcomes(key);
        let outcomes = Outcomes::new(&records_of);
        let gates = self.project.pipeline.gates.iter();
        gates
            .filter(|gate| gate.stages().iter().all(|stage| selected.contains(&**stage)))
            .map(|gate| {
                let (mut result, is_from_provisional) = self.earlier.decide(gate, &lookup, now, &outcomes);
                let own =
                    gate.metrics().into_iter().map(|(stage, _)| stage).filter(|stage| is_provisional(stage));
                result.rest_on_provisional(&own.collect(), is_from_provisional, self.certain);
                result
            })
            .collect()
    }

    /// Writes the run's record and the report. A run in which nothing happened is not worth a record of its own: the
    /// report of the run that made the outputs stays, unless the pipeline tells other things in it now.
    fn keep(
        &self,
        record: &mut RunRecord,
        records: &BTreeMap<StageName, ActionRecord>,
        sink: &mut dyn Sink,
    ) -> Result<Option<PathBuf>, Error> {
        let store = &self.project.store;
        let file = self.project.report_file();
        let previous = store.latest_run(&hidden(&record.pipeline)).unwrap_or_default();
        let said = Definition::of(&self.project.pipeline);
        let idle = record.stages.iter().all(|run| run.outcome == Outcome::Fresh);
        let same = previous.as_ref().is_some_and(|previous| {
            let keys = |run: &RunRecord| -> Vec<_> {
                run.stages.iter().map(|stage| (stage.stage.clone(), stage.key)).collect()
            };
            keys(previous) == keys(record)
                && previous.gates == record.gates
                && previous.judgements() == record.judgements()
                && previous.vars == record.vars
                && definition(store, previous).is_ok_and(|before| before == said)
        });
        if idle && same && is_newer(&file, &self.project.pipeline.file) {
            return Ok(Some(file));
        }
        // An answer that was kept is that of the run before.
        if let Err(error) = store.forget_standing() {
            sink.event(&Event::Warning {
                message: format!("{error}; the next run may repeat what an earlier one said"),
            });
        }
        match store.keep_definition(&said) {
            Ok(digest) => record.definition = Some(digest),
            Err(error) => {
                let message = format!("what the pipeline said is not recorded with this run: {error}");
                sink.event(&Event::Warning { message });
            }
        }
        if let Err(error) = store.save_run(record) {
            sink.event(&Event::Warning { message: format!("this run is not recorded: {error}") });
        }
        match report::make_room(&file) {
            Ok(None) => {}
            Ok(Some(to)) => {
                let shown = |path: &Path| {
                    path.strip_prefix(&self.project.pipeline.root).unwrap_or(path).display().to_string()
                };
                let message =
                    format!("`{}` was not written by `pipe`; moved to `{}`", shown(&file), shown(&to));
                sink.event(&Event::Warning { message });
            }
            Err(error) => {
                let message = format!("`{}` is in the way of the report: {error}", file.display());
                sink.event(&Event::Warning { message });
                return Ok(None);
            }
        }
        match report::write(store, record, Some(&said), records, previous.as_ref(), &file) {
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

fn is_executed_command(project: &Project, run: &StageRun) -> bool {
    let action = project.pipeline.stages.get(&run.stage).map(|stage| &stage.action);
    matches!(action, Some(Action::Command(_)))
        && matches!(run.outcome, Outcome::Ran | Outcome::Failed { .. } | Outcome::Interrupted)
}
