//! Plain lines with a time stamp, for log files and continuous integration: one line a change of state, one a
//! milestone. Keeps the pace of each stage for the remaining time; everything else is a function of the event.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use pipeline::StageName;
use protocol::{LogLevel, Progress};
use record::Outcome;
use record::event::Event;
use text::format;
use text::printable::{clean, clean_line};

use super::plan::{MANY, opening};
use super::remaining::Remaining;
use super::{Paint, Sink, words};

/// Writes plain lines.
#[derive(Debug)]
pub struct Plain<W> {
    out: W,
    lines: Lines,
}

impl<W: Write> Plain<W> {
    /// Writes to `out`.
    pub fn new(out: W, paint: Paint) -> Self {
        Self { out, lines: Lines::new(paint) }
    }

    /// For a run whose logs are not kept.
    #[must_use]
    pub fn without_logs(mut self) -> Self {
        self.lines.points_to_logs = false;
        self
    }
}

impl<W: Write + Send> Sink for Plain<W> {
    fn event(&mut self, event: &Event) {
        if !self.lines.shows(event) {
            return;
        }
        let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        for line in self.lines.of(event, Instant::now(), &time) {
            // Progress that cannot be shown is no reason to stop the run.
            let _ = self.out.write_all(format!("{line}\n").as_bytes());
        }
        let _ = self.out.flush();
    }
}

/// Events to lines.
#[derive(Debug)]
struct Lines {
    paint: Paint,
    /// Whether what fails says where its log is.
    points_to_logs: bool,
    name_width: usize,
    /// Whether there are so many stages that those which stay as they are go without a line.
    is_large: bool,
    /// How long stages were foretold to take, milliseconds.
    usual_ms: BTreeMap<StageName, u64>,
    pace: BTreeMap<StageName, Remaining>,
}

impl Lines {
    fn new(paint: Paint) -> Self {
        Self {
            paint,
            points_to_logs: true,
            name_width: 8,
            is_large: false,
            usual_ms: BTreeMap::new(),
            pace: BTreeMap::new(),
        }
    }

    /// Whether an event has any lines.
    fn shows(&self, event: &Event) -> bool {
        match event {
            Event::StageLog { level, .. } => *level == LogLevel::Warn,
            Event::StageFinished { outcome: Outcome::Fresh, .. } => !self.is_large,
            _ => true,
        }
    }

    /// The lines of an event that happens `now`, which reads `time` on the clock.
    fn of(&mut self, event: &Event, now: Instant, time: &str) -> Vec<String> {
        let paint = self.paint;
        let stamp = paint.faint(time);
        match event {
            Event::RunStarted { pipeline, stages, .. } => {
                let widest = stages.iter().map(|stage| stage.stage.as_str().len()).max().unwrap_or(0);
                self.name_width = widest.clamp(4, 40);
                self.is_large = stages.len() > MANY;
                self.usual_ms = words::foretold(stages);
                vec![format!("{stamp} {}: {}", clean_line(pipeline), opening(stages).join(", "))]
            }
            Event::Notice { message } => self.block(&stamp, &clean(message)),
            Event::Warning { message } => {
                self.block(&stamp, &format!("{} {}", paint.warn("warning:"), clean(message)))
            }
            Event::StageStarted { stage, changes } => {
                let usual = self.usual_ms.get(stage).copied();
                self.pace.insert(stage.clone(), Remaining::foretold(now, usual));
                let why =
                    if changes.is_empty() { String::new() } else { format!(": {}", words::changes(changes)) };
                vec![self.stage(&stamp, stage, &format!("started{why}"))]
            }
            Event::StageProgress { stage, progress } => {
                let pace = self.pace.entry(stage.clone()).or_default();
                pace.observe(now, progress.done, progress.total);
                if !progress.milestone {
                    return vec![];
                }
                let left = pace.at(now).filter(|left| !left.is_zero());
                let left = left.map(|left| format!("{} left", format::duration_rough(left)));
                vec![self.stage(&stamp, stage, &milestone(progress, left))]
            }
            Event::StageLog { stage, level: LogLevel::Warn, message } => {
                let text = clean(message);
                let mut lines = text.lines();
                let first = format!("{} {}", paint.warn("warning:"), lines.next().unwrap_or_default());
                let mut all = vec![self.stage(&stamp, stage, &first)];
                all.extend(lines.map(|line| format!("{}{line}", self.indent())));
                all
            }
            Event::StageLog { .. } => vec![],
            Event::StageFinished { stage, outcome, duration } => {
                let text = words::outcome(outcome, *duration);
                let Outcome::Failed { message, hint } = outcome else {
                    return vec![self.stage(&stamp, stage, &text)];
                };
                let mut all = vec![self.stage(&stamp, stage, &paint.bad(&text))];
                let log_of = self.points_to_logs.then_some(stage.as_str());
                let failure = words::failure(log_of, message, hint.as_deref());
                all.extend(failure.into_iter().map(|line| format!("{}{line}", self.indent())));
                all
            }
            // Who keeps nothing of a run says what came of it.
            Event::RunFinished { .. } if !self.points_to_logs => vec![],
            Event::RunFinished { record, .. } => {
                vec![format!("{stamp} finished in {}", format::millis(record.duration_ms))]
            }
        }
    }

    fn stage(&self, stamp: &str, stage: &StageName, text: &str) -> String {
        format!("{stamp} {stage:<width$}  {text}", width = self.name_width)
    }

    fn block(&self, stamp: &str, text: &str) -> Vec<String> {
        let mut lines = text.lines();
        let mut all = vec![format!("{stamp} {}", lines.next().unwrap_or_default())];
        all.extend(lines.map(|line| format!("{:9}{line}", "")));
        all
    }

    fn indent(&self) -> String {
        " ".repeat(9 + self.name_width + 2)
    }
}

fn milestone(progress: &Progress, left: Option<String>) -> String {
    let percent = format!("{:.0} %", words::share(progress) * 100.0);
    let text = clean_line(&progress.text);
    let parts = [Some(words::step(progress)), Some(percent), Some(text), left];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use record::Change;
    use record::event::{Expectation, PlannedStage};

    fn name(text: &str) -> StageName {
        StageName::try_from(text.to_owned()).unwrap()
    }

    fn epoch(done: f64, milestone: bool) -> Event {
        let progress = Progress {
            done,
            total: 150.0,
            unit: "epoch".into(),
            text: "loss 0.912  val 86.41 %".into(),
            milestone,
        };
        Event::StageProgress { stage: name("train"), progress }
    }

    #[test]
    fn a_run_reads_like_a_diary() {
        let start = Instant::now();
        let mut lines = Lines::new(Paint::new(false));
        let planned = |stage: &str, expectation| PlannedStage {
            stage: name(stage),
            expectation,
            usual_ms: None,
            last_ms: None,
            variants_ms: None,
        };
        let changes =
            vec![Change { name: "with.lr".into(), old: Some("0.05".into()), new: Some("0.08".into()) }];
        let run = |changes: &[Change]| Expectation::Run { changes: changes.to_vec(), reason: None };
        let events = [
            (0, Event::Notice { message: "waiting for another run\n(process 812)".into() }),
            (
                0,
                Event::RunStarted {
                    run: "r".into(),
                    pipeline: "tinynet".into(),
                    stages: vec![
                        planned("download", Expectation::Fresh),
                        planned("train", run(&changes)),
                        planned("export", Expectation::Maybe { after: vec![name("train")] }),
                    ],
                },
            ),
            (
                0,
                Event::StageFinished {
                    stage: name("download"),
                    outcome: Outcome::Fresh,
                    duration: Duration::ZERO,
                },
            ),
            (0, Event::StageStarted { stage: name("train"), changes }),
            (0, epoch(0.0, false)),
            (60, epoch(1.0, true)),
            (70, Event::Warning { message: "a damaged cache entry was set aside".into() }),
            (
                80,
                Event::StageLog {
                    stage: name("train"),
                    level: LogLevel::Warn,
                    message: "slow\u{1b}[31m disk".into(),
                },
            ),
            (
                90,
                Event::StageFinished {
                    stage: name("train"),
                    outcome: Outcome::Failed {
                        message: "loss became NaN at step 8,190".into(),
                        hint: Some("lower `lr`".into()),
                    },
                    duration: Duration::from_secs(90),
                },
            ),
            (
                90,
                Event::StageFinished {
                    stage: name("export"),
                    outcome: Outcome::Blocked { by: name("train") },
                    duration: Duration::ZERO,
                },
            ),
        ];
        let text: Vec<String> = events
            .iter()
            .flat_map(|(second, event)| lines.of(event, start + Duration::from_secs(*second), "14:03:12"))
            .collect();
        let expected = "\
14:03:12 waiting for another run
         (process 812)
14:03:12 tinynet: 3 stages, 1 fresh, 1 to run, time not known, 1 that depend on their outputs, time not known
14:03:12 download  fresh
14:03:12 train     started: with.lr 0.05 → 0.08
14:03:12 train     epoch 1/150  1 %  loss 0.912  val 86.41 %  2 h 29 min left
14:03:12 warning: a damaged cache entry was set aside
14:03:12 train     warning: slow disk
14:03:12 train     failed after 1 min 30 s
                   loss became NaN at step 8,190
                   help: lower `lr`
                   log: pipe log train
14:03:12 export    not reached: train failed";
        assert_eq!(text.join("\n"), expected);
    }

    #[test]
    fn a_sink_stamps_the_time() {
        let mut plain = Plain::new(Vec::new(), Paint::new(false));
        plain.event(&Event::Notice { message: "hello".into() });
        let text = String::from_utf8(plain.out).unwrap();
        let (time, rest) = text.split_at(8);
        assert_eq!(time.bytes().filter(|byte| *byte == b':').count(), 2, "{time}");
        assert_eq!(rest, " hello\n");
    }
}
