//! The log of a stage: as much of it as a page holds, and what is added to it while the stage is executed. Knows no
//! requests.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;

use maud::{Markup, html};
use pipeline::StageName;
use store::Store;
use text::format;
use text::printable::clean;

use super::page::Page;
use super::request::encode;

/// Bytes of a log that a page holds, and that are read at once: the last ones.
const MOST: u64 = 256 * 1024;

/// How often it is looked for more lines before it is looked what log it is.
const LOOKS_A_HEADING: u32 = 8;

/// How much of which log a page shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Shown {
    /// None of any.
    #[default]
    Nothing,
    /// One that may grow, up to a place.
    Growing { file: u64, offset: u64 },
    /// That of an execution that came to a good end, which is known by when it began.
    Kept { started_ms: u64 },
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Growing { file, offset } => write!(f, "{file}-{offset}"),
            Self::Kept { started_ms } => write!(f, "kept-{started_ms}"),
        }
    }
}

impl FromStr for Shown {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| text.parse().map_err(|_| ());
        match text.split_once('-').ok_or(())? {
            ("kept", started_ms) => Ok(Self::Kept { started_ms: number(started_ms)? }),
            (file, offset) => Ok(Self::Growing { file: number(file)?, offset: number(offset)? }),
        }
    }
}

/// What is told to who follows a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// Another execution began: what was shown is of the one before.
    Anew,
    /// More lines, and what is shown with them.
    Lines { text: String, shown: Shown },
    /// What this log is.
    Heading(String),
}

/// A log that may grow, and up to where it was read.
struct Following {
    log: File,
    file: u64,
    offset: u64,
}

/// Follows the log of a stage, one execution after the other.
pub(super) struct LogFollower {
    stage: StageName,
    /// What the page shows that it is for.
    shown: Shown,
    following: Option<Following>,
    /// The beginning of a line that is not whole yet.
    begun: Vec<u8>,
    heading: Option<String>,
    /// How often it was looked at.
    looks: u32,
}

impl LogFollower {
    /// Follows from what a page shows.
    pub(super) fn new(stage: StageName, shown: Shown) -> Self {
        Self { stage, shown, following: None, begun: vec![], heading: None, looks: 0 }
    }

    /// What is new.
    pub(super) fn look(&mut self, store: &Store) -> Vec<Heard> {
        let mut heard = vec![];
        let current = store.unfinished_log(&self.stage).and_then(|path| regular::open(&path).ok());
        let number = current.as_ref().and_then(|file| Some(file.metadata().ok()?.ino()));
        let is_followed = self.following.as_ref().is_some_and(|following| Some(following.file) == number);
        if !is_followed && self.following.is_some() {
            // What was added since, before the file went where logs are kept.
            self.read(true, &mut heard);
            self.following = None;
        }
        if let (false, Some(file), Some(number)) = (is_followed, current, number) {
            self.follow(file, number, &mut heard);
        } else if self.looks == 0 && self.following.is_none() {
            self.catch_up(store, &mut heard);
        }
        self.read(false, &mut heard);
        // Records are read for it: not each time.
        if self.looks.is_multiple_of(LOOKS_A_HEADING) || !heard.is_empty() {
            let heading = heading(store, &self.stage).unwrap_or_default();
            if self.heading.as_ref() != Some(&heading) {
                self.heading = Some(heading.clone());
                heard.push(Heard::Heading(heading));
            }
        }
        self.looks = self.looks.wrapping_add(1);
        heard
    }

    fn follow(&mut self, mut log: File, file: u64, heard: &mut Vec<Heard>) {
        let length = log.metadata().map(|metadata| metadata.len()).unwrap_or_default();
        let offset = match self.shown {
            Shown::Growing { file: shown, offset } if shown == file && offset <= length => offset,
            Shown::Nothing | Shown::Growing { .. } | Shown::Kept { .. } => {
                heard.push(Heard::Anew);
                line_start(&mut log, length)
            }
        };
        self.begun.clear();
        self.following = Some(Following { log, file, offset });
        self.shown = Shown::Nothing;
    }

    /// The log that was kept since the page was made.
    fn catch_up(&self, store: &Store, heard: &mut Vec<Heard>) {
        let Ok(Some(Tail { text, shown, .. })) = kept(store, &self.stage) else { return };
        if shown != self.shown {
            heard.extend([Heard::Anew, Heard::Lines { text: clean(&text), shown }]);
        }
    }

    /// Reads on, at its end the last line, too, that is not whole.
    fn read(&mut self, is_end: bool, heard: &mut Vec<Heard>) {
        let Some(Following { log, file, offset }) = &mut self.following else { return };
        loop {
            let before = self.begun.len();
            // What cannot be read now is read the next time.
            let _ = log.seek(SeekFrom::Start(*offset));
            let _ = log.by_ref().take(MOST).read_to_end(&mut self.begun);
            let read = self.begun.len() - before;
            *offset += size(read);
            let whole = if is_end || size(self.begun.len()) >= MOST {
                self.begun.len()
            } else {
                self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
            };
            let lines: Vec<u8> = self.begun.drain(..whole).collect();
            if !lines.is_empty() {
                let text = clean(&String::from_utf8_lossy(&lines));
                let told = offset.saturating_sub(size(self.begun.len()));
                heard.push(Heard::Lines { text, shown: Shown::Growing { file: *file, offset: told } });
            }
            if read == 0 || !is_end {
                return;
            }
        }
    }
}

fn size(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The beginning of the first line of which a page holds the whole.
fn line_start(file: &mut File, length: u64) -> u64 {
    let from = length.saturating_sub(MOST);
    if from == 0 {
        return 0;
    }
    let mut bytes = Vec::new();
    let read = file.seek(SeekFrom::Start(from)).and_then(|_| file.take(MOST).read_to_end(&mut bytes));
    from + read.map(|_| size(first_line(&bytes))).unwrap_or_default()
}

/// Where in the end of a log the first whole line begins: at once where there is none.
fn first_line(end: &[u8]) -> usize {
    let begin = end.iter().position(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    if begin < end.len() { begin } else { 0 }
}

/// As much of the end of a log as a page holds, and whether it began before.
fn end_of(text: &str) -> (&str, bool) {
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    let (before, end) = text.split_at(text.ceil_char_boundary(text.len().saturating_sub(most)));
    if before.is_empty() {
        (text, false)
    } else {
        (end.get(first_line(end.as_bytes())..).unwrap_or(end), true)
    }
}

/// The end of a log.
struct Tail {
    text: String,
    /// Whether it began before.
    is_cut: bool,
    shown: Shown,
}

/// Of a log that may grow, its whole lines; of a line that fills the page, what is there.
fn growing(mut log: File) -> io::Result<Tail> {
    let metadata = log.metadata()?;
    let start = line_start(&mut log, metadata.len());
    let mut bytes = Vec::new();
    log.seek(SeekFrom::Start(start))?;
    log.take(MOST).read_to_end(&mut bytes)?;
    let unended = if start > 0 { bytes.len() } else { 0 };
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(unended, |end| end + 1);
    bytes.truncate(whole);
    let shown = Shown::Growing { file: metadata.ino(), offset: start + size(whole) };
    Ok(Tail { text: String::from_utf8_lossy(&bytes).into_owned(), is_cut: start > 0, shown })
}

/// Of the log of the last execution that came to a good end. `None` where there was none.
fn kept(store: &Store, stage: &StageName) -> io::Result<Option<Tail>> {
    let Some(record) = store.last(stage) else { return Ok(None) };
    let text = store.log(&record).map_err(io::Error::other)?;
    let (end, is_cut) = end_of(&text);
    let shown = Shown::Kept { started_ms: record.started_ms };
    Ok(Some(Tail { text: end.to_owned(), is_cut, shown }))
}

/// A log's page. `None` where the stage has no log.
pub(super) fn page(store: &Store, stage: &StageName) -> io::Result<Option<String>> {
    let tail = match store.unfinished_log(stage).and_then(|path| regular::open(&path).ok()) {
        Some(log) => Some(growing(log)?),
        None => kept(store, stage)?,
    };
    let Some(Tail { text, is_cut, shown }) = tail else { return Ok(None) };
    let events = format!("/events?log={}&from={shown}", encode(stage.as_str()));
    let page = Page { title: stage.as_str(), eyebrow: "log", is_home: false, events: Some(events) };
    Ok(Some(page.html(&body(stage, &heading(store, stage).unwrap_or_default(), &clean(&text), is_cut))))
}

fn body(stage: &StageName, heading: &str, text: &str, is_cut: bool) -> Markup {
    html! {
        p #log-heading { (heading) }
        @if is_cut {
            p.small { "Its end; " code { "pipe log " (stage) } " prints the whole log." }
        }
        // A line break that follows the tag is not part of the text.
        pre #log tabindex="0" role="log" aria-label={ "log of " (stage) } { "\n" (text) }
    }
}

/// What log it is.
fn heading(store: &Store, stage: &StageName) -> Option<String> {
    if store.unfinished_log(stage).is_some() {
        return Some("Of an execution that is under way, failed or was stopped.".into());
    }
    let record = store.last(stage)?;
    let (when, took) = (format::date_time(record.started_ms), format::millis(record.duration_ms));
    Some(format!("Executed {when} UTC in {took}."))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn stage() -> StageName {
        StageName::try_from("train".to_owned()).unwrap()
    }

    fn lines(heard: &[Heard]) -> String {
        let lines = heard.iter().filter_map(|heard| match heard {
            Heard::Lines { text, .. } => Some(text.as_str()),
            Heard::Anew => Some("anew:"),
            Heard::Heading(_) => None,
        });
        lines.collect()
    }

    #[test]
    fn a_log_is_followed_from_where_the_page_ends_through_its_end_and_the_next_execution() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        assert_eq!(page(&store, &stage()).unwrap(), None);
        let path = store.log_path(&stage()).unwrap();
        let mut log = File::create(&path).unwrap();
        write!(log, "one <1>\n\u{1b}[31mtwo\u{1b}[0m\nhal").unwrap();
        let page = page(&store, &stage()).unwrap().unwrap();
        assert!(page.contains("one &lt;1&gt;\ntwo\n</pre>"), "{page}");
        let from = page.split_once("from=").unwrap().1.split_once('"').unwrap().0;
        let mut follower = LogFollower::new(stage(), from.parse().unwrap());
        assert_eq!(lines(&follower.look(&store)), "");
        write!(log, "f\nthree").unwrap();
        let heard = follower.look(&store);
        assert_eq!(lines(&heard), "half\n");
        let [Heard::Lines { shown, .. }, ..] = heard.as_slice() else { panic!("{heard:?}") };
        let mut again = LogFollower::new(stage(), shown.to_string().parse().unwrap());
        assert_eq!(lines(&again.look(&store)), "", "who comes back has heard that");
        assert!(follower.look(&store).is_empty());
        log.write_all(b" and the end").unwrap();
        fs::rename(&path, root.path().join("kept")).unwrap();
        assert_eq!(lines(&follower.look(&store)), "three and the end");
        fs::write(&path, "again\n").unwrap();
        assert_eq!(lines(&follower.look(&store)), "anew:again\n");
    }

    #[test]
    fn of_a_long_log_the_end_is_shown() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let text: String = (0..100_000).map(|number| format!("line {number}\n")).collect();
        fs::write(store.log_path(&stage()).unwrap(), text).unwrap();
        let page = page(&store, &stage()).unwrap().unwrap();
        assert!(page.contains("line 99999\n") && !page.contains("line 500\n") && page.contains("Its end"));
        assert!(page.len() < 400_000);
        let mut follower = LogFollower::new(stage(), Shown::Nothing);
        let heard = lines(&follower.look(&store));
        assert!(heard.starts_with("anew:line ") && heard.ends_with("line 99999\n"), "{}", heard.len());
    }

    #[test]
    fn the_end_of_a_long_line_is_shown_wherever_it_is_cut() {
        let most = usize::try_from(MOST).unwrap();
        for line in ["é".repeat(most), format!("{}x", "é".repeat(most)), format!("{}\n", "€".repeat(most))]
        {
            let (end, is_cut) = end_of(&line);
            assert!(is_cut && end.len() > most - 4 && end.len() <= most, "{}", end.len());
            let root = tempfile::tempdir().unwrap();
            let store = Store::open(root.path()).unwrap();
            fs::write(store.log_path(&stage()).unwrap(), &line).unwrap();
            assert!(page(&store, &stage()).unwrap().unwrap().len() > most, "while it grows, too");
        }
        assert_eq!(end_of("a\nb"), ("a\nb", false));
        assert_eq!(end_of(&format!("{}\nb\n", "a".repeat(most))), ("b\n", true));
    }

    #[test]
    fn what_is_shown_is_said_in_an_address() {
        for shown in [Shown::Growing { file: 3, offset: 4 }, Shown::Kept { started_ms: 5 }] {
            assert_eq!(shown.to_string().parse(), Ok(shown));
        }
        for text in ["", "-", "3", "3-x", "-1-2", "99999999999999999999-1", "kept", "kept-", "kept-x"] {
            assert_eq!(text.parse::<Shown>(), Err(()), "{text}");
        }
    }
}
