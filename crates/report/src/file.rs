//! Gathers what a report is made from out of the store, and writes the file.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use history::{History, Past, Side, compare, definition, key_record, known_records, known_records_beside};
use maud::Markup;
use pipeline::StageName;
use pipeline::spec::ReportSpec;
use protocol::Figure;
use record::{ActionRecord, Definition, Outcome, RunRecord};
use store::{Store, free_name};
use text::secret::hidden;

use super::comparison::{Versus, comparison};
use super::document::is_document;
use super::front::{directions, has_tradeoff, past_runs};
use super::page::page;
use super::{Brief, Input, html};

/// The end of a failed stage's log that is read, in bytes.
const MOST_LOG: usize = 256 * 1024;

/// Writes the report of the run that was the last one to `file`, whole or not at all, making its folder where there is none.
/// `said` is what the pipeline said; what the cache knows of that where it is absent.
///
/// # Errors
/// When the folder or the file cannot be written. What is no longer in the store is left out.
pub fn write(
    store: &Store,
    run: &RunRecord,
    said: Option<&Definition>,
    records: &BTreeMap<StageName, ActionRecord>,
    previous: Option<&RunRecord>,
    file: &Path,
) -> io::Result<()> {
    // Earlier runs are only in the trade-off, and take long to read where stages are many.
    let history = match said {
        Some(said) if !has_tradeoff(&said.report) => History::default(),
        _ => History::load(store).unwrap_or_default(),
    };
    let told = Told { run, said, records, previous, is_latest: true, compares_all: false };
    let depth = depth(store, file);
    told.with_input(store, &history, |input| write_whole(file, html(&Input { depth, ..*input }).as_bytes()))
}

/// How many folders a report lies below the pipeline's, which is two above the store's.
fn depth(store: &Store, file: &Path) -> Option<usize> {
    let folder = std::path::absolute(file).ok()?;
    let below = folder.parent()?.strip_prefix(store.folder().parent()?.parent()?).ok()?;
    let is_plain = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    is_plain.then(|| below.components().count())
}

/// A run on record in short, from the same as its report.
#[must_use]
pub fn brief(store: &Store, history: &History, past: &Past) -> Brief {
    let digest = history.digest(past, &|stage| key_record(store, stage));
    let before = history.before(past);
    let make = |input: &Input| Brief::new(input, digest, before.map(|past| &past.name));
    with_past(store, history, past, make)
}

/// The report of a run on record as a page, with `above` over its head. What only the store's latest state tells, such as
/// logs of failed stages, is left out of the report of an earlier run.
#[must_use]
pub fn of_past(store: &Store, history: &History, past: &Past, above: &Markup) -> String {
    with_past(store, history, past, |input| page(input, above).into_string())
}

fn with_past<T>(store: &Store, history: &History, past: &Past, make: impl FnOnce(&Input) -> T) -> T {
    let told = Told {
        run: &past.record,
        said: None,
        records: &known_records(store, &past.record),
        previous: history.before(past).map(|past| &past.record),
        is_latest: history.runs().last().is_some_and(|last| last.name == past.name),
        compares_all: true,
    };
    told.with_input(store, history, make)
}

/// Two runs on record side by side as a page, with `above` over its head.
#[must_use]
pub fn of_two(store: &Store, history: &History, old: &Past, new: &Past, above: &Markup) -> String {
    let [old_records, new_records] = [old, new].map(|past| known_records(store, &past.record));
    let old_side = Side { run: &old.record, records: &old_records };
    let new_side = Side { run: &new.record, records: &new_records };
    let digest = |past| history.digest(past, &|stage| key_record(store, stage));
    let spec = spec_of_two(store, old, new);
    let versus = Versus {
        title: spec.title.as_deref().unwrap_or(&new.record.pipeline),
        old: (&digest(old), old_side),
        new: (&digest(new), new_side),
        comparison: &compare(old_side, new_side),
        past: &past_runs(store, history, &spec, &new.record, false),
        spec: &spec,
        directions: &directions(&spec),
    };
    comparison(&versus, above)
}

/// What the result table of two runs shows: that of the later one, of the earlier one where that is not known, else nothing.
#[must_use]
pub fn spec_of_two(store: &Store, old: &Past, new: &Past) -> ReportSpec {
    let of = |past: &Past| definition(store, &past.record);
    of(new).or_else(|_| of(old)).map(|definition| definition.report).unwrap_or_default()
}

/// A run to be told of.
struct Told<'a> {
    run: &'a RunRecord,
    /// What the pipeline said, where that is known already.
    said: Option<&'a Definition>,
    records: &'a BTreeMap<StageName, ActionRecord>,
    previous: Option<&'a RunRecord>,
    /// Whether the store's latest state, such as logs of failed stages, belongs to it.
    is_latest: bool,
    /// Whether it is compared with the run before in all, and not in what its result table shows.
    compares_all: bool,
}

impl Told<'_> {
    /// Makes something from all that the records tell of the run, and of the runs before it.
    fn with_input<T>(&self, store: &Store, history: &History, make: impl FnOnce(&Input) -> T) -> T {
        let run = self.run;
        let recorded = match self.said {
            Some(said) => Ok(said.clone()),
            None => definition(store, run),
        };
        let undefined = recorded.as_ref().err().copied();
        let definition = recorded.unwrap_or_else(|_| Definition::of_records(run, self.records));
        let stages = || definition.stages.keys();
        let last = |stage: &StageName| store.last(stage);
        let (records, logs, unfinished) = if self.is_latest {
            let records = with_others(self.records, run, stages(), last);
            (records, failed_logs(store, run), unfinished_figures(store, run, stages()))
        } else {
            (Cow::Borrowed(self.records), BTreeMap::new(), BTreeMap::new())
        };
        let shown = definition.report.stages();
        let counts = |stage: &StageName| self.compares_all || shown.contains(stage.as_str());
        let previous_records = self
            .previous
            .map(|run| known_records_beside(store, run, self.records, &counts))
            .unwrap_or_default();
        make(&Input {
            definition: &definition,
            undefined,
            run,
            records: &records,
            previous: self.previous.map(|run| (run, &previous_records)),
            // What came later is nothing of this run.
            past: &past_runs(store, history, &definition.report, run, true),
            logs: &logs,
            unfinished: &unfinished,
            depth: None,
        })
    }
}

/// The records, and the last ones of those stages that were not part of the run: a report on two stages would be
/// almost empty without.
fn with_others<'r, 'a>(
    records: &'r BTreeMap<StageName, ActionRecord>,
    run: &RunRecord,
    stages: impl Iterator<Item = &'a StageName>,
    last: impl Fn(&StageName) -> Option<ActionRecord>,
) -> Cow<'r, BTreeMap<StageName, ActionRecord>> {
    let parts: BTreeSet<&StageName> = run.stages.iter().map(|run| &run.stage).collect();
    let others = stages.filter(|stage| !parts.contains(stage));
    let others: Vec<_> = others.filter_map(|stage| Some((stage.clone(), last(stage)?))).collect();
    if others.is_empty() {
        return Cow::Borrowed(records);
    }
    let mut records = records.clone();
    records.extend(others);
    Cow::Owned(records)
}

fn failed_logs(store: &Store, run: &RunRecord) -> BTreeMap<StageName, String> {
    let failed = run.stages.iter().filter(|stage| matches!(stage.outcome, Outcome::Failed { .. }));
    failed
        .filter_map(|stage| {
            let bytes = regular::read(&store.unfinished_log(&stage.stage)?).ok()?;
            let end = bytes.get(bytes.len().saturating_sub(MOST_LOG)..).unwrap_or(&bytes);
            Some((stage.stage.clone(), hidden(&String::from_utf8_lossy(end)).into_owned()))
        })
        .collect()
}

/// Figures of executions that did not end, but for those that the run has settled since: a stage that failed once and is
/// restored now is finished.
fn unfinished_figures<'a>(
    store: &Store,
    run: &RunRecord,
    stages: impl Iterator<Item = &'a StageName>,
) -> BTreeMap<StageName, Vec<Figure>> {
    let begin = std::time::UNIX_EPOCH + std::time::Duration::from_millis(run.started_ms);
    let done = run.stages.iter().filter(|part| part.outcome.is_done());
    let done: BTreeSet<&StageName> = done.map(|part| &part.stage).collect();
    let settled = |stage: &StageName| {
        let written = std::fs::metadata(store.figures_path(stage)).and_then(|file| file.modified());
        done.contains(stage) && written.is_ok_and(|written| written < begin)
    };
    // Few stages have any.
    let there = store.stages_with_unfinished_figures();
    let stages = stages.filter(|stage| there.contains(stage.as_str()));
    let stages = stages.filter_map(|stage| Some((stage, store.unfinished_figures(stage)?)));
    stages.filter(|(stage, _)| !settled(stage)).map(|(stage, figures)| (stage.clone(), figures)).collect()
}

/// Whether a file is one of these pages, or as good as none.
#[must_use]
pub fn is_page(file: &Path) -> bool {
    regular::read(file).is_ok_and(|bytes| bytes.is_empty() || is_document(&bytes))
}

/// Moves what is where a page is to be written, and is none, to another name beside it, which it gives: no link is written through,
/// and no pipe or device is written into.
///
/// # Errors
/// When it cannot be moved.
pub fn make_room(file: &Path) -> io::Result<Option<PathBuf>> {
    match std::fs::symlink_metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(there) if there.is_file() && is_page(file) => return Ok(None),
        Ok(_) => {}
    }
    let to = free_name(file, |_| false);
    std::fs::rename(file, &to)?;
    Ok(Some(to))
}

/// Writes a file whole or not at all, making its folder where there is none. A device or a pipe is written into, and what a
/// link leads to is replaced, not the link.
///
/// # Errors
/// When it cannot be written.
pub fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let target = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let file = target.as_path();
    if let Ok(metadata) = std::fs::metadata(file) {
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !metadata.is_file() {
            return std::fs::File::options().write(true).open(file)?.write_all(bytes);
        }
    }
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
    fn whatever_is_no_page_is_moved_and_nothing_is_written_through_it() {
        let folder = tempfile::tempdir().unwrap();
        let (file, target) = (folder.path().join("report.html"), folder.path().join("target"));
        assert_eq!(make_room(&file).unwrap(), None);
        std::fs::write(&target, "mine").unwrap();
        for number in 1..=3 {
            match number {
                1 => assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success()),
                2 => std::os::unix::fs::symlink(&target, &file).unwrap(),
                _ => std::fs::create_dir(&file).unwrap(),
            }
            let kept = folder.path().join(format!("report.html.kept-{number}"));
            assert_eq!(make_room(&file).unwrap(), Some(kept));
            write_whole(&file, b"page").unwrap();
            std::fs::remove_file(&file).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "mine");
    }

    #[test]
    fn only_stages_that_were_not_part_of_the_run_are_looked_up() {
        let mut sample = crate::sample::train_fails();
        sample.run.stages.retain(|run| !matches!(run.stage.as_str(), "evaluate" | "bench"));
        let all = crate::sample::tinynet().base.records;
        let last = |stage: &StageName| all.get(stage).filter(|_| stage.as_str() != "bench").cloned();
        let records = with_others(&sample.records, &sample.run, sample.definition.stages.keys(), last);
        assert_eq!(records.keys().map(StageName::as_str).collect::<Vec<_>>(), ["download", "evaluate"]);
    }

    /// A store with a run that was recorded as by a version that kept nothing of the pipeline, and the run.
    fn recorded_before() -> (tempfile::TempDir, Store, History) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let sample = crate::sample::tinynet();
        let mut json = serde_json::to_value(&sample.run).unwrap();
        assert_eq!(json.as_object_mut().unwrap().remove("definition"), None);
        store.save_run(&serde_json::from_value(json).unwrap()).unwrap();
        let history = History::load(&store).unwrap();
        (root, store, history)
    }

    #[test]
    fn of_a_run_recorded_before_it_is_said_what_is_not_known() {
        let (_root, store, history) = recorded_before();
        let past = history.runs().last().unwrap();
        let page = of_past(&store, &history, past, &Markup::default());
        crate::tests::check(&page);
        assert!(
            page.contains("What the pipeline said was not recorded with this run. So this page has no"),
            "{page}"
        );
        assert!(page.contains("Which stage read what of which other one is not known"));
        assert!(page.contains("<h1>tinynet</h1>") && page.contains("All 3 gates hold."));
        assert_eq!(spec_of_two(&store, past, past), ReportSpec::default());
    }

    #[test]
    fn a_device_is_written_into_and_a_folder_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        write_whole(Path::new("/dev/null"), b"one").unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
        assert_eq!(write_whole(folder.path(), b"x").unwrap_err().kind(), io::ErrorKind::IsADirectory);
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_whole(&link, b"new").unwrap();
        assert_eq!((std::fs::read(&real).unwrap(), link.is_symlink()), (b"new".to_vec(), true));
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
