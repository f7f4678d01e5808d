//! The run under way, read from the lines that it leaves in the store. Knows no page; of what cannot be read it says
//! nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use pipeline::StageName;
use protocol::Progress;
use record::Outcome;
use record::event::{Event, Expectation, PlannedStage};
use serde::Deserialize;
use store::{LiveFile, Store};

use crate::progress::Remaining;

/// Bytes that are read at once.
const MOST_AT_ONCE: u64 = 64 << 20;
/// Notices that are kept, the last ones.
const MOST_NOTICES: usize = 5;

/// How it is with the last run in which something was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulse {
    /// It is under way.
    Alive,
    /// It came to an end.
    Over,
    /// It is gone without a last word.
    Gone,
}

/// A run as far as it has said.
#[derive(Debug, Default)]
pub(super) struct LiveRun {
    /// Its id; empty before it has said anything.
    pub(super) id: String,
    /// Name of its pipeline.
    pub(super) pipeline: String,
    /// Its stages in the order of the file.
    pub(super) stages: Vec<LiveStage>,
    /// Its last notices and warnings.
    pub(super) notices: Vec<String>,
    /// When it said its first and its last word, milliseconds since 1970.
    pub(super) begun_ms: u64,
    pub(super) last_ms: u64,
    is_over: bool,
    index: BTreeMap<StageName, usize>,
}

/// A stage of it.
#[derive(Debug)]
pub(super) struct LiveStage {
    pub(super) name: StageName,
    pub(super) state: LiveState,
    /// How long it was foretold to take, milliseconds.
    usual_ms: Option<u64>,
}

/// What a stage is at.
#[derive(Debug)]
pub(super) enum LiveState {
    /// Nothing yet.
    Planned(Expectation),
    /// It is being executed.
    Running {
        /// Since when, milliseconds since 1970.
        since_ms: u64,
        /// How far it is, as far as it has said.
        progress: Option<Progress>,
        /// Keeps its pace.
        pace: Pace,
    },
    /// It ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// After how long.
        duration: Duration,
    },
}

/// The pace of a stage by the wall clock of the run's lines.
#[derive(Debug)]
pub(super) struct Pace {
    remaining: Remaining,
    zero: Instant,
    zero_ms: u64,
}

impl Pace {
    fn new(now_ms: u64, usual_ms: Option<u64>) -> Self {
        let zero = Instant::now();
        Self { remaining: Remaining::foretold(zero, usual_ms), zero, zero_ms: now_ms }
    }

    fn at(&self, ms: u64) -> Option<Instant> {
        self.zero.checked_add(Duration::from_millis(ms.saturating_sub(self.zero_ms)))
    }

    fn observe(&mut self, ms: u64, progress: &Progress) {
        if let Some(now) = self.at(ms) {
            self.remaining.observe(now, progress.done, progress.total);
        }
    }

    /// Time still to go.
    pub(super) fn left(&self, ms: u64) -> Option<Duration> {
        self.remaining.at(self.at(ms)?)
    }
}

/// A line as far as it matters here.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    time_ms: u64,
    #[serde(flatten)]
    event: Event,
}

impl LiveRun {
    /// Takes note of a line.
    fn hear(&mut self, line: &[u8]) {
        let Ok(Line { time_ms, event }) = serde_json::from_slice(line) else { return };
        self.last_ms = self.last_ms.max(time_ms);
        match event {
            Event::RunStarted { run, pipeline, stages } => self.begin(run, pipeline, stages, time_ms),
            Event::Notice { message } | Event::Warning { message } => {
                self.notices.push(message);
                let too_many = self.notices.len().saturating_sub(MOST_NOTICES);
                self.notices.drain(..too_many);
            }
            Event::StageStarted { stage, .. } => {
                let known = self.index.get(&stage).and_then(|index| self.stages.get(*index));
                let pace = Pace::new(time_ms, known.and_then(|stage| stage.usual_ms));
                self.set(&stage, LiveState::Running { since_ms: time_ms, progress: None, pace });
            }
            Event::StageProgress { stage, progress: now } => {
                if let Some(LiveState::Running { progress, pace, .. }) = self.state(&stage) {
                    pace.observe(time_ms, &now);
                    *progress = Some(now);
                }
            }
            Event::StageLog { .. } => {}
            Event::StageFinished { stage, outcome, duration } => {
                self.set(&stage, LiveState::Ended { outcome, duration });
            }
            Event::RunFinished { .. } => self.is_over = true,
        }
    }

    fn begin(&mut self, run: String, pipeline: String, stages: Vec<PlannedStage>, time_ms: u64) {
        let planned = |PlannedStage { stage, expectation, usual_ms, .. }| LiveStage {
            name: stage,
            usual_ms: usual_ms.filter(|_| expectation.may_execute()),
            state: LiveState::Planned(expectation),
        };
        let stages: Vec<LiveStage> = stages.into_iter().map(planned).collect();
        let index = stages.iter().enumerate().map(|(index, stage)| (stage.name.clone(), index)).collect();
        *self =
            Self { id: run, pipeline, stages, index, begun_ms: time_ms, last_ms: time_ms, ..Self::default() };
    }

    fn state(&mut self, stage: &StageName) -> Option<&mut LiveState> {
        let index = self.index.get(stage)?;
        self.stages.get_mut(*index).map(|stage| &mut stage.state)
    }

    fn set(&mut self, stage: &StageName, state: LiveState) {
        if let Some(known) = self.state(stage) {
            *known = state;
        }
    }

    /// The stages that are being executed.
    pub(super) fn running(&self) -> impl Iterator<Item = &LiveStage> {
        self.stages.iter().filter(|stage| matches!(stage.state, LiveState::Running { .. }))
    }

    /// How many stages have ended, or stay as they are.
    pub(super) fn ended(&self) -> usize {
        let is_over = |stage: &&LiveStage| {
            matches!(stage.state, LiveState::Ended { .. } | LiveState::Planned(Expectation::Fresh))
        };
        self.stages.iter().filter(is_over).count()
    }
}

/// Follows what a store's runs say, one run after the other.
#[derive(Default)]
pub(super) struct Follower {
    /// Which file is read. It stays open, so that its number is not given to another one.
    following: Option<(File, u64)>,
    /// The beginning of a line that is not whole yet.
    begun: Vec<u8>,
    run: LiveRun,
    is_growing: bool,
}

impl Follower {
    /// Reads what was added. Whether there was anything new.
    pub(super) fn look(&mut self, store: &Store) -> bool {
        let Some(LiveFile { file, is_growing }) = store.live() else {
            let was_any = self.following.is_some();
            *self = Self::default();
            return was_any;
        };
        let mut is_new = std::mem::replace(&mut self.is_growing, is_growing) != is_growing;
        let number = file.metadata().map(|metadata| metadata.ino()).unwrap_or_default();
        if !matches!(&self.following, Some((_, known)) if *known == number) {
            *self = Self { following: Some((file, number)), is_growing, ..Self::default() };
            is_new = true;
        }
        let before = self.begun.len();
        if let Some((file, _)) = &mut self.following {
            // What was read stays read; the rest comes the next time.
            let _ = file.by_ref().take(MOST_AT_ONCE).read_to_end(&mut self.begun);
        }
        is_new |= self.begun.len() > before;
        let whole = self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.begun.drain(..whole).collect();
        lines.split(|byte| *byte == b'\n').for_each(|line| self.run.hear(line));
        is_new
    }

    /// The run, once it has said something.
    pub(super) fn run(&self) -> Option<&LiveRun> {
        Some(&self.run).filter(|run| !run.id.is_empty())
    }

    /// How it is with the run.
    pub(super) fn pulse(&self) -> Pulse {
        match (self.run.is_over, self.is_growing) {
            (true, _) => Pulse::Over,
            (false, true) => Pulse::Alive,
            (false, false) => Pulse::Gone,
        }
    }
}

/// The last whole lines of a file, `most` at most, read from its last bytes alone.
pub(super) fn last_lines(file: &mut File, most: usize) -> Vec<String> {
    const MOST_BYTES: u64 = 16 * 1024;
    let length = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    let from = length.saturating_sub(MOST_BYTES);
    let mut bytes = Vec::new();
    let read = file.seek(SeekFrom::Start(from)).and_then(|_| file.take(MOST_BYTES).read_to_end(&mut bytes));
    if read.is_err() {
        return vec![];
    }
    let text = String::from_utf8_lossy(&bytes);
    let text = text::printable::clean(&text);
    // The first line may have begun before.
    let lines: Vec<&str> = text.lines().skip(usize::from(from > 0)).collect();
    lines.iter().skip(lines.len().saturating_sub(most)).map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const BEGIN: &str = r#"{"version":1,"time_ms":1000,"event":"run_started","run":"1-1","pipeline":"p","stages":[
        {"stage":"a","expectation":{"kind":"run","changes":[],"reason":null},"usual_ms":null},
        {"stage":"b","expectation":{"kind":"maybe","after":["a"]},"usual_ms":5}]}"#;

    fn progress(done: u32, time_ms: u32) -> String {
        format!(
            r#"{{"version":1,"time_ms":{time_ms},"event":"stage_progress","stage":"a","progress":{{"done":{done},"total":10,"unit":"epoch"}}}}"#
        )
    }

    #[test]
    fn a_run_is_followed_through_half_lines_and_rubbish_until_it_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let mut follower = Follower::default();
        assert!(!follower.look(&store) && follower.run().is_none());
        let mut file = store.begin_live().unwrap();
        let begin = BEGIN.replace('\n', "");
        let (half, rest) = begin.split_at(50);
        file.write_all(half.as_bytes()).unwrap();
        assert!(follower.look(&store) && follower.run().is_none());
        writeln!(file, "{rest}\nrubbish\n{{\"event\":\"unheard_of\"}}").unwrap();
        writeln!(file, r#"{{"time_ms":2000,"event":"stage_started","stage":"a","changes":[]}}"#).unwrap();
        writeln!(file, "{}\n{}", progress(0, 2000), progress(5, 12_000)).unwrap();
        assert!(follower.look(&store) && !follower.look(&store));
        assert_eq!(follower.pulse(), Pulse::Alive);
        let run = follower.run().unwrap();
        assert_eq!((run.stages.len(), run.ended(), run.running().count(), run.last_ms), (2, 0, 1, 12_000));
        let LiveState::Running { since_ms: 2000, progress: Some(progress), pace } = &run.stages[0].state
        else {
            panic!("{:?}", run.stages[0]);
        };
        assert_eq!((progress.done, pace.left(13_000)), (5.0, Some(Duration::from_secs(9))));
        drop(file);
        assert!(follower.look(&store));
        assert_eq!(follower.pulse(), Pulse::Gone);
    }

    #[test]
    fn the_next_run_takes_the_place_of_the_one_before() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let mut follower = Follower::default();
        for id in ["1-1", "2-1"] {
            let mut file = store.begin_live().unwrap();
            writeln!(file, "{}", BEGIN.replace('\n', "").replace("1-1", id)).unwrap();
            assert!(follower.look(&store));
            assert_eq!(follower.run().map(|run| run.id.as_str()), Some(id));
            let finished = Event::StageFinished {
                stage: StageName::try_from("b".to_owned()).unwrap(),
                outcome: Outcome::Ran,
                duration: Duration::from_millis(7),
            };
            writeln!(file, "{}", serde_json::to_string(&finished).unwrap()).unwrap();
            assert!(follower.look(&store));
            assert_eq!(follower.run().map(LiveRun::ended), Some(1));
        }
    }

    #[test]
    fn of_a_file_its_last_lines_are_read() {
        let mut file = tempfile::tempfile().unwrap();
        assert!(last_lines(&mut file, 3).is_empty());
        for number in 0..5000 {
            writeln!(file, "line {number}").unwrap();
        }
        assert_eq!(last_lines(&mut file, 2), ["line 4998", "line 4999"]);
        assert!(last_lines(&mut file, usize::MAX)[0].starts_with("line "));
    }
}
