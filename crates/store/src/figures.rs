//! The figures of an execution that is under way, for whoever looks meanwhile: one line for each that was shown, of which the
//! last with an id counts. Written at a bounded cost: a figure is added, not all written again, and only once most of the file
//! is out of date it is written anew. Nothing is lost where that fails: figures are kept with the outcome, too.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use pipeline::StageName;
use protocol::Figure;

use super::Store;

/// The file is written anew when it has this many times the bytes of what counts, and never below [`SMALL`].
const SLACK: u64 = 2;
/// A file of so many bytes is not worth writing anew.
const SMALL: u64 = 64 * 1024;

/// Ending of the name of a file that is being written anew.
const UNFINISHED: &str = "new";

/// The file of an execution's figures.
#[derive(Debug)]
pub struct FigureFile {
    path: PathBuf,
    state: State,
    /// Bytes of the line that counts, by id.
    lines: HashMap<String, u64>,
    /// Bytes of all that count.
    counting: u64,
    /// Bytes of the file.
    written: u64,
}

#[derive(Debug)]
enum State {
    NotYet,
    Open(File),
    /// It cannot be written.
    Unwritable,
}

impl FigureFile {
    /// A file that is made when there is something to show.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, state: State::NotYet, lines: HashMap::new(), counting: 0, written: 0 }
    }

    /// Shows a figure, the new one or one in the place of an earlier one; `all` are those that count, this one among them.
    pub fn show(&mut self, figure: &Figure, all: &[Figure]) {
        if matches!(self.state, State::Unwritable) {
            return;
        }
        if self.try_show(figure, all).is_err() {
            self.state = State::Unwritable;
        }
    }

    fn try_show(&mut self, figure: &Figure, all: &[Figure]) -> io::Result<()> {
        let line = line(figure)?;
        let length = line.len() as u64;
        let before = self.lines.insert(figure.id.clone(), length).unwrap_or_default();
        self.counting = self.counting + length - before;
        // The first appears with the file: whoever sees that can read it, even if the execution is killed right then.
        let is_first = matches!(self.state, State::NotYet);
        if is_first || self.written + length > SMALL.max(SLACK * self.counting) {
            return self.write_anew(all);
        }
        if let State::Open(file) = &mut self.state {
            file.write_all(&line)?;
            self.written += length;
        }
        Ok(())
    }

    fn write_anew(&mut self, all: &[Figure]) -> io::Result<()> {
        let temporary = self.path.with_extension(UNFINISHED);
        let write = || {
            let mut file = io::BufWriter::new(regular::create(&temporary)?);
            for figure in all {
                file.write_all(&line(figure)?)?;
            }
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            fs::rename(&temporary, &self.path)?;
            Ok(file)
        };
        let file = write().inspect_err(|_: &io::Error| {
            // On a full disk it would be in the way. The error at hand says more than one of tidying up.
            let _ = fs::remove_file(&temporary);
        })?;
        self.written = file.metadata()?.len();
        self.state = State::Open(file);
        Ok(())
    }
}

fn line(figure: &Figure) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(figure)?;
    line.push(b'\n');
    Ok(line)
}

/// What a file shows. A line that is torn, the last one while it is being written, is passed over.
fn read(path: &Path) -> Option<Vec<Figure>> {
    let bytes = regular::read(path).ok()?;
    // As earlier versions wrote it: all of them in one list.
    if bytes.starts_with(b"[") {
        return serde_json::from_slice(&bytes).ok();
    }
    let mut figures: IndexMap<String, Figure> = IndexMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(figure) = serde_json::from_slice::<Figure>(line) {
            figures.insert(figure.id.clone(), figure);
        }
    }
    (!figures.is_empty()).then(|| figures.into_values().collect())
}

impl Store {
    /// Where the figures of an execution that is under way are kept, beside its log.
    #[must_use]
    pub fn figures_path(&self, stage: &StageName) -> PathBuf {
        self.log_file(stage).with_extension("figures")
    }

    /// The figures so far of an execution of a stage that is under way, failed or was killed, unless a later one succeeded.
    /// None where they cannot be read.
    #[must_use]
    pub fn unfinished_figures(&self, stage: &StageName) -> Option<Vec<Figure>> {
        read(&self.figures_path(stage))
    }

    /// Names of stages that have such figures.
    #[must_use]
    pub fn stages_with_unfinished_figures(&self) -> HashSet<String> {
        let entries = fs::read_dir(self.folder.join("logs")).into_iter().flatten().flatten();
        let name =
            |entry: fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".figures")?.to_owned());
        entries.filter_map(name).collect()
    }

    /// Removes what a killed run was about to write anew. What cannot be removed costs space.
    pub(super) fn clear_unfinished_figures(&self) {
        for entry in fs::read_dir(self.folder.join("logs")).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::Content;

    use super::*;

    fn figure(id: usize, text: &str) -> Figure {
        let content = Content::Answer { text: text.into() };
        Figure { id: id.to_string(), title: String::new(), caption: String::new(), content }
    }

    /// Shows figures; all bytes that were ever written, and what is read of them afterwards.
    fn shown(figures: impl Iterator<Item = Figure>) -> (u64, Vec<Figure>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut file = FigureFile::new(path.clone());
        let mut all: Vec<Figure> = vec![];
        let mut bytes = 0;
        for figure in figures {
            match all.iter_mut().rev().find(|known| known.id == figure.id) {
                Some(known) => known.clone_from(&figure),
                None => all.push(figure.clone()),
            }
            let before = file.written;
            file.show(&figure, &all);
            // Written anew, or added to.
            bytes += if file.written > before { file.written - before } else { file.written };
        }
        assert!(!path.with_extension("new").exists());
        assert_eq!(fs::metadata(&path).unwrap().len(), file.written);
        (bytes, read(&path).unwrap())
    }

    #[test]
    fn many_figures_are_written_once_each() {
        let (bytes, read) = shown((0..2_000).map(|id| figure(id, &"x".repeat(1_000))));
        assert_eq!((read.len(), read[1_999].id.as_str()), (2_000, "1999"));
        assert!((2_000_000..2_300_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn one_that_is_shown_again_and_again_takes_its_own_place_and_bounded_bytes() {
        let (bytes, read) =
            shown((0..5_000).map(|step| figure(step % 2, &format!("{step} {}", "x".repeat(1_000)))));
        let texts: Vec<_> = read.iter().map(|figure| (figure.id.as_str(), &figure.content)).collect();
        let text = |text: &str| Content::Answer { text: format!("{text} {}", "x".repeat(1_000)) };
        assert_eq!(texts, [("0", &text("4998")), ("1", &text("4999"))]);
        assert!(bytes < 3 * 5_000 * 1_100, "{bytes}");
    }

    #[test]
    fn torn_lines_are_passed_over_and_lists_of_earlier_versions_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let (one, two) = (figure(1, "one"), figure(2, "two"));
        let lines = [line(&one).unwrap(), line(&two).unwrap()].concat();
        fs::write(&path, &lines[..lines.len() - 5]).unwrap();
        assert_eq!(read(&path), Some(vec![one.clone()]));
        fs::write(&path, serde_json::to_vec(&[&one, &two]).unwrap()).unwrap();
        assert_eq!(read(&path), Some(vec![one, two]));
        fs::write(&path, "").unwrap();
        assert_eq!(read(&path), None);
    }

    #[test]
    fn what_could_not_be_written_anew_is_not_left_lying_about() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let stage = StageName::try_from("s".to_owned()).unwrap();
        let path = store.figures_path(&stage);
        let unfinished = path.with_extension(UNFINISHED);
        // A folder is where the file is to get its name.
        fs::create_dir_all(path.join("in the way")).unwrap();
        let mut file = FigureFile::new(path);
        let large = figure(1, &"x".repeat(100_000));
        file.show(&large, std::slice::from_ref(&large));
        assert!(matches!(file.state, State::Unwritable) && !unfinished.exists());
        fs::write(&unfinished, "of a run that was killed").unwrap();
        drop(store.lock(&mut |line| panic!("waits: {line}")).unwrap());
        assert!(!unfinished.exists());
    }

    #[test]
    fn the_file_is_never_there_without_a_figure() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        // The first cannot be written out.
        fs::create_dir_all(path.with_extension(UNFINISHED).join("in the way")).unwrap();
        FigureFile::new(path.clone()).show(&figure(1, "a"), &[figure(1, "a")]);
        assert!(!path.exists());
    }

    #[test]
    fn where_nothing_can_be_written_nothing_is_tried_again() {
        let root = tempfile::tempdir().unwrap();
        let mut file = FigureFile::new(root.path().join("nowhere/f"));
        file.show(&figure(1, "a"), &[figure(1, "a")]);
        assert!(matches!(file.state, State::Unwritable));
    }
}
