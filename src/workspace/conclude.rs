//! What stays of a run: its record, the report, a cache that is not too large, and what a null run answers with. What
//! cannot be kept is told, and fails no run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use history::definition;
use pipeline::StageName;
use record::event::Event;
use record::{ActionRecord, Definition, Outcome, RunRecord};
use text::clock::millis;
use text::secret::hidden;
use tracing::{debug_span, info_span};

use super::{Executed, Remains, collect};
use crate::null_run::{self, Standing};
use crate::progress::Sink;
use crate::project::Project;

/// A run that is over.
pub struct Concluded {
    /// The project.
    pub project: Project,
    /// What the run came to.
    pub record: RunRecord,
    /// Records of the stages that are done.
    pub records: BTreeMap<StageName, ActionRecord>,
    /// Where the report is, if there is one.
    pub report: Option<PathBuf>,
}

impl Executed {
    /// Judges gates, keeps what is to stay of the run, and ends it.
    #[must_use]
    pub fn conclude(mut self) -> Concluded {
        let _within = self.run.span.clone().entered();
        let _conclude = info_span!("conclude").entered();
        let mut record = self.record();
        let Self { project, standing, ask, mut sink, mut lock, records, .. } = self;
        let report = match ask.remains {
            Remains::Nothing => None,
            Remains::All { cache_limit, question } => {
                let before = standing.as_deref();
                let (report, latest) = debug_span!("report")
                    .in_scope(|| keep(&project, &mut record, &records, before, &mut *sink));
                if let Some(trouble) = project.store.salt().trouble() {
                    sink.event(&Event::Warning { message: trouble.to_owned() });
                }
                debug_span!("collect")
                    .in_scope(|| collect::after_run(&project, &mut lock, cache_limit, &mut *sink));
                let _snapshot = debug_span!("snapshot").entered();
                let (settled, trouble) = null_run::prepare(&project).flush();
                if let Some(error) = trouble {
                    let message = format!("{error}; the next run hashes more than it had to");
                    sink.event(&Event::Warning { message });
                }
                if let (Some(question), Some(report)) = (&question, &report) {
                    settled.keep(question, &record, &records, report, latest, before);
                }
                report
            }
        };
        sink.event(&Event::RunFinished { record: Box::new(record.clone()), report: report.clone() });
        Concluded { project, record, records, report }
    }

    fn record(&mut self) -> RunRecord {
        let stages = std::mem::take(&mut self.stages);
        let (project, pipeline) = (&self.project, &self.project.pipeline);
        RunRecord {
            id: self.run.id.clone(),
            pipeline: pipeline.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            profile: pipeline.profile.clone(),
            vars: project.recorded_vars(),
            started_ms: self.run.started_ms,
            duration_ms: millis(self.run.start.elapsed()),
            machine: project.machine.clone(),
            threads: project.threads,
            gates: self.earlier.judge(project, self.ask.certain, &stages, &self.records),
            stages,
            certain: self.ask.certain,
            definition: None,
            recording: self.ask.recording.as_deref().and_then(|file| below(&project.pipeline.root, file)),
        }
    }
}

/// Writes the run's record and the report, and gives the last run on record without its stages. A run in which nothing happened is not
/// worth a record of its own: the report of the run that made the outputs stays, unless the pipeline tells other things in
/// it now.
fn keep(
    project: &Project,
    record: &mut RunRecord,
    records: &BTreeMap<StageName, ActionRecord>,
    before: Option<&Standing>,
    sink: &mut dyn Sink,
) -> (Option<PathBuf>, Option<RunRecord>) {
    let store = &project.store;
    let file = project.report_file();
    let idle = record.stages.iter().all(|run| run.outcome == Outcome::Fresh);
    // The record of a run of very many stages takes long to read. What its stages gave is only asked for by a result table.
    let is_enough = !idle && project.pipeline.report.rows.is_empty();
    let known = before.and_then(Standing::latest).filter(|_| is_enough).cloned();
    let previous = known.or_else(|| store.latest_run(&hidden(&record.pipeline)).unwrap_or_default());
    let said = Definition::of(&project.pipeline);
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
    if idle && same && is_newer(&file, &project.pipeline.file) {
        return (Some(file), previous.map(without_stages));
    }
    let mut warn = |message: String| sink.event(&Event::Warning { message });
    // An answer that was kept is that of the run before.
    if let Err(error) = store.forget_null_run() {
        warn(format!("{error}; the next run may repeat what an earlier one said"));
    }
    // What was not read anew says what it said.
    let known = before.and_then(Standing::latest).and_then(|latest| latest.definition);
    match known
        .filter(|known| store.definition(known).is_some())
        .map_or_else(|| store.keep_definition(&said), Ok)
    {
        Ok(digest) => record.definition = Some(digest),
        Err(error) => warn(format!("what the pipeline said is not recorded with this run: {error}")),
    }
    let saved = store.save_run(record);
    let is_saved = saved.is_ok();
    if let Err(error) = saved {
        warn(format!("this run is not recorded: {error}"));
    }
    match report::make_room(&file) {
        Ok(None) => {}
        Ok(Some(to)) => {
            let shown =
                |path: &Path| path.strip_prefix(&project.pipeline.root).unwrap_or(path).display().to_string();
            warn(format!("`{}` was not written by `pipe`; moved to `{}`", shown(&file), shown(&to)));
        }
        Err(error) => {
            warn(format!("`{}` is in the way of the report: {error}", file.display()));
            return (None, None);
        }
    }
    match report::write(store, record, Some(&said), records, previous.as_ref(), &file) {
        Ok(()) => (Some(file), is_saved.then(|| without_stages(record.clone()))),
        Err(error) => {
            warn(format!("cannot write the report: {error}"));
            (None, None)
        }
    }
}

fn without_stages(run: RunRecord) -> RunRecord {
    RunRecord { stages: vec![], ..run }
}

/// A file as it is named from `folder`, where it lies in there and its name is text.
fn below(folder: &Path, file: &Path) -> Option<String> {
    let file = std::path::absolute(file).ok()?;
    let below = file.strip_prefix(folder).ok()?;
    let is_plain = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    below.to_str().filter(|_| is_plain).map(str::to_owned)
}

fn is_newer(file: &Path, than: &Path) -> bool {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified());
    matches!((modified(file), modified(than)), (Ok(file), Ok(than)) if file > than)
}
