//! Gathers what a report is made from out of the store, and writes the file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use maud::Markup;
use protocol::Figure;

use super::comparison::{Versus, comparison};
use super::front::{directions, past_runs};
use super::page::page;
use super::{Brief, Input, html};
use crate::history::{History, Past, Side, compare, known_record, known_records};
use crate::project::Project;
use crate::record::{ActionRecord, Outcome, RunRecord};
use crate::spec::{ReportSpec, StageName};
use crate::store::Store;

/// The end of a failed stage's log that is read, in bytes.
const MOST_LOG: usize = 256 * 1024;

/// Writes the report of a run to `file`, whole or not at all, making its folder where there is none.
///
/// # Errors
/// When the folder or the file cannot be written. What is no longer in the store is left out.
pub fn write(
    project: &Project,
    run: &RunRecord,
    records: &BTreeMap<StageName, ActionRecord>,
    previous: Option<&RunRecord>,
    file: &Path,
) -> io::Result<()> {
    let history = History::load(&project.store).unwrap_or_default();
    latest(project, &history, run, records, previous, |input| write_whole(file, html(input).as_bytes()))
}

/// A run in short, from the same as its report. `None` where the run is not on record.
#[must_use]
pub fn brief(
    project: &Project,
    run: &RunRecord,
    records: &BTreeMap<StageName, ActionRecord>,
    previous: Option<&RunRecord>,
) -> Option<Brief> {
    let history = History::load(&project.store).unwrap_or_default();
    let past = history.find(&run.id).ok()?;
    let digest = history.digest(past, &|stage| known_record(&project.store, stage));
    let before = previous.and_then(|run| history.find(&run.id).ok());
    let make = |input: &Input| Brief::new(input, digest, before.map(|past| &past.name));
    Some(latest(project, &history, run, records, previous, make))
}

/// The report of a run on record as a page, with `above` over its head. What only the store's latest state tells, such as
/// logs of failed stages, is left out of the report of an earlier run.
pub(crate) fn of_past(project: &Project, history: &History, past: &Past, above: &Markup) -> String {
    let run = &past.record;
    let records = known_records(&project.store, run);
    let previous = history.before(past).map(|past| &past.record);
    let make = |input: &Input| page(input, above).into_string();
    if history.runs().last().is_some_and(|last| last.name == past.name) {
        latest(project, history, run, &records, previous, make)
    } else {
        let found = Found { records: &records, logs: &BTreeMap::new(), unfinished: &BTreeMap::new() };
        gather(project, history, run, previous, &found, make)
    }
}

/// Two runs on record side by side as a page, with `above` over its head.
pub(crate) fn of_two(
    store: &Store,
    history: &History,
    old: &Past,
    new: &Past,
    spec: &ReportSpec,
    above: &Markup,
) -> String {
    let [old_records, new_records] = [old, new].map(|past| known_records(store, &past.record));
    let old_side = Side { run: &old.record, records: &old_records };
    let new_side = Side { run: &new.record, records: &new_records };
    let digest = |past| history.digest(past, &|stage| known_record(store, stage));
    let versus = Versus {
        title: spec.title.as_deref().unwrap_or(&new.record.pipeline),
        old: (&digest(old), old_side),
        new: (&digest(new), new_side),
        comparison: &compare(old_side, new_side),
        past: &past_runs(store, history, spec),
        spec,
        directions: &directions(spec),
    };
    comparison(&versus, above)
}

/// What was found of a run.
struct Found<'a> {
    records: &'a BTreeMap<StageName, ActionRecord>,
    logs: &'a BTreeMap<StageName, String>,
    unfinished: &'a BTreeMap<StageName, Vec<Figure>>,
}

/// Makes something from all that the store knows of the latest run.
fn latest<T>(
    project: &Project,
    history: &History,
    run: &RunRecord,
    records: &BTreeMap<StageName, ActionRecord>,
    previous: Option<&RunRecord>,
    make: impl FnOnce(&Input) -> T,
) -> T {
    let last = |stage: &StageName| project.store.last(stage);
    let found = Found {
        records: &with_others(records, run, project.pipeline.stages.keys(), last),
        logs: &failed_logs(project, run),
        unfinished: &unfinished_figures(project, run),
    };
    gather(project, history, run, previous, &found, make)
}

/// Makes something from what was found of a run, and from the runs before it.
fn gather<T>(
    project: &Project,
    history: &History,
    run: &RunRecord,
    previous: Option<&RunRecord>,
    found: &Found<'_>,
    make: impl FnOnce(&Input) -> T,
) -> T {
    let previous_records = previous.map(|run| known_records(&project.store, run)).unwrap_or_default();
    make(&Input {
        pipeline: &project.pipeline,
        run,
        records: found.records,
        previous: previous.map(|run| (run, &previous_records)),
        past: &past_runs(&project.store, history, &project.pipeline.report),
        logs: found.logs,
        unfinished: found.unfinished,
    })
}

/// The records, and the last ones of those stages that were not part of the run: a report on two stages would be
/// almost empty without.
fn with_others<'a>(
    records: &BTreeMap<StageName, ActionRecord>,
    run: &RunRecord,
    stages: impl Iterator<Item = &'a StageName>,
    last: impl Fn(&StageName) -> Option<ActionRecord>,
) -> BTreeMap<StageName, ActionRecord> {
    let parts: BTreeSet<&StageName> = run.stages.iter().map(|run| &run.stage).collect();
    let others = stages.filter(|stage| !parts.contains(stage));
    let mut records = records.clone();
    records.extend(others.filter_map(|stage| Some((stage.clone(), last(stage)?))));
    records
}

fn failed_logs(project: &Project, run: &RunRecord) -> BTreeMap<StageName, String> {
    let failed = run.stages.iter().filter(|stage| matches!(stage.outcome, Outcome::Failed { .. }));
    failed
        .filter_map(|stage| {
            let bytes = std::fs::read(project.store.unfinished_log(&stage.stage)?).ok()?;
            let end = bytes.get(bytes.len().saturating_sub(MOST_LOG)..).unwrap_or(&bytes);
            Some((stage.stage.clone(), String::from_utf8_lossy(end).into_owned()))
        })
        .collect()
}

/// Figures of executions that did not end, but for those that the run has settled since: a stage that failed once and is
/// restored now is finished.
fn unfinished_figures(project: &Project, run: &RunRecord) -> BTreeMap<StageName, Vec<Figure>> {
    let begin = std::time::UNIX_EPOCH + std::time::Duration::from_millis(run.started_ms);
    let settled = |stage: &StageName| {
        let done = |part: &&crate::record::StageRun| {
            part.stage == *stage && matches!(part.outcome, Outcome::Fresh | Outcome::Restored | Outcome::Ran)
        };
        let written = std::fs::metadata(project.store.figures_path(stage)).and_then(|file| file.modified());
        run.stages.iter().any(|part| done(&part)) && written.is_ok_and(|written| written < begin)
    };
    let stages = project.pipeline.stages.keys().filter(|stage| !settled(stage));
    stages.filter_map(|stage| Some((stage.clone(), project.store.unfinished_figures(stage)?))).collect()
}

/// Writes a file whole or not at all, making its folder where there is none.
pub(crate) fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temporary = tempfile::Builder::new().prefix(".report").suffix(".html").tempfile_in(folder)?;
    temporary.write_all(bytes)?;
    // Temporary files are made for their owner only; a report is for showing.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        temporary.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    temporary.persist(file).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stages_that_were_not_part_of_the_run_are_looked_up() {
        let mut sample = crate::report::sample::train_fails();
        sample.run.stages.retain(|run| !matches!(run.stage.as_str(), "evaluate" | "bench"));
        let all = crate::report::sample::tinynet().records;
        let last = |stage: &StageName| all.get(stage).filter(|_| stage.as_str() != "bench").cloned();
        let records = with_others(&sample.records, &sample.run, sample.pipeline.stages.keys(), last);
        assert_eq!(records.keys().map(StageName::as_str).collect::<Vec<_>>(), ["download", "evaluate"]);
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("artifacts/report.html");
        write_whole(&file, b"one").unwrap();
        write_whole(&file, b"two").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path().join("artifacts")).unwrap().count(), 1);
    }
}
