//! Bars on a terminal: stages that ended scroll by above, below is only what is alive and what comes next. Knows
//! the terminal through `indicatif`; the lines themselves come from `live` and `words`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use console::{Term, truncate_str};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use pipeline::StageName;
use protocol::LogLevel;
use record::Outcome;
use record::event::{Event, PlannedStage};
use text::printable::{clean, clean_line};

use super::live::{Live, pad};
use super::plan::opening;
use super::{Paint, Sink, words};

const TICK: Duration = Duration::from_millis(100);

/// Shows bars on standard error.
#[derive(Debug)]
pub struct Terminal {
    bars: MultiProgress,
    width: fn() -> usize,
    paint: Paint,
    /// Whether what fails says where its log is.
    points_to_logs: bool,
    name_width: usize,
    running: BTreeMap<StageName, (ProgressBar, Arc<Mutex<Live>>)>,
    ahead: Vec<StageName>,
    /// How long stages were foretold to take, milliseconds.
    usual_ms: BTreeMap<StageName, u64>,
    next: ProgressBar,
}

impl Terminal {
    /// Shows bars on standard error.
    #[must_use]
    pub fn new(paint: Paint) -> Self {
        Self::on(ProgressDrawTarget::stderr_with_hz(15), terminal_width, paint)
    }

    /// For a run whose logs are not kept.
    #[must_use]
    pub fn without_logs(mut self) -> Self {
        self.points_to_logs = false;
        self
    }

    fn on(target: ProgressDrawTarget, width: fn() -> usize, paint: Paint) -> Self {
        Self {
            bars: MultiProgress::with_draw_target(target),
            width,
            paint,
            points_to_logs: true,
            name_width: 8,
            running: BTreeMap::new(),
            ahead: vec![],
            usual_ms: BTreeMap::new(),
            next: ProgressBar::hidden(),
        }
    }

    fn print(&self, line: &str) {
        // A terminal that went away is no reason to stop the run.
        let _ = self.bars.println(line);
    }

    fn print_stage(&self, mark: &str, stage: &StageName, text: &str) {
        self.print(&format!(" {mark} {}  {text}", pad(stage.as_str(), self.name_width)));
    }

    fn begin(&mut self, pipeline: &str, stages: &[PlannedStage]) {
        let widest = stages.iter().map(|stage| stage.stage.as_str().len()).max().unwrap_or(0);
        self.name_width = widest.clamp(8, 40);
        let mut parts = vec![self.paint.strong(&clean_line(pipeline))];
        parts.extend(opening(stages));
        self.print(&format!(" {}", parts.join(" · ")));
        self.print("");
        self.ahead = stages.iter().map(|stage| stage.stage.clone()).collect();
        self.usual_ms = words::foretold(stages);
        self.next = self.bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            self.next.set_style(style);
        }
        // A single draw may fall to the limit of draws a second.
        self.next.enable_steady_tick(TICK);
        self.show_next();
    }

    /// The line of stages still to come.
    fn show_next(&self) {
        let names: Vec<&str> = self.ahead.iter().map(StageName::as_str).collect();
        let line = match names.as_slice() {
            [] => String::new(),
            names => format!("   then {}", names.join(", ")),
        };
        let line = truncate_str(&line, (self.width)().saturating_sub(1), "…").into_owned();
        self.next.set_message(self.paint.faint(&line));
    }

    fn start(&mut self, stage: &StageName, why: String) {
        self.ahead.retain(|waiting| waiting != stage);
        let usual = self.usual_ms.get(stage).copied();
        let live = Arc::new(Mutex::new(Live::new(stage.clone(), why, usual, Instant::now())));
        let bar = self.bars.insert_before(&self.next, ProgressBar::new_spinner());
        let (shared, width, name_width, paint) = (Arc::clone(&live), self.width, self.name_width, self.paint);
        let draw = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let live = shared.lock().unwrap_or_else(PoisonError::into_inner);
            // One column short of the width: a full line would wrap on some terminals.
            let line = live.line(Instant::now(), name_width, width().saturating_sub(1), paint);
            let _ = out.write_str(&line);
        };
        if let Ok(style) = ProgressStyle::with_template("{live}") {
            bar.set_style(style.with_key("live", draw));
        }
        bar.enable_steady_tick(TICK);
        self.running.insert(stage.clone(), (bar, live));
        self.show_next();
    }

    fn finish(&mut self, stage: &StageName, outcome: &Outcome, duration: Duration) {
        self.ahead.retain(|waiting| waiting != stage);
        if let Some((bar, _)) = self.running.remove(stage) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
        let paint = self.paint;
        let text = words::outcome(outcome, duration);
        match outcome {
            Outcome::Fresh => self.print_stage(&paint.good("✔"), stage, &paint.faint(&text)),
            Outcome::Restored | Outcome::Ran => self.print_stage(&paint.good("✔"), stage, &text),
            Outcome::Failed { message, hint } => {
                self.print_stage(&paint.bad("✖"), stage, &paint.bad(&text));
                let log_of = self.points_to_logs.then_some(stage.as_str());
                for line in words::failure(log_of, message, hint.as_deref()) {
                    self.print(&format!("   {line}"));
                }
            }
            Outcome::Blocked { .. } | Outcome::Interrupted => {
                self.print_stage(&paint.warn("·"), stage, &paint.faint(&text));
            }
        }
        self.show_next();
    }

    fn end(&mut self) {
        for (bar, _) in std::mem::take(&mut self.running).into_values() {
            bar.finish_and_clear();
        }
        self.next.finish_and_clear();
        // What comes next is the summary, on standard output.
        self.print("");
        let _ = self.bars.clear();
    }
}

fn terminal_width() -> usize {
    usize::from(Term::stderr().size().1).max(20)
}

impl Sink for Terminal {
    fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { pipeline, stages, .. } => self.begin(pipeline, stages),
            Event::Notice { message } => self.print(&format!(" {}", clean(message))),
            Event::Warning { message } => {
                self.print(&format!(" {} {}", self.paint.warn("!"), clean(message)));
            }
            Event::StageStarted { stage, changes } => self.start(stage, words::changes(changes)),
            Event::StageProgress { stage, progress } => {
                if let Some((_, live)) = self.running.get(stage) {
                    live.lock().unwrap_or_else(PoisonError::into_inner).observe(Instant::now(), progress);
                }
            }
            Event::StageLog { stage, level: LogLevel::Warn, message } => {
                self.print_stage(&self.paint.warn("!"), stage, &clean(message));
            }
            Event::StageLog { .. } => {}
            Event::StageFinished { stage, outcome, duration } => self.finish(stage, outcome, *duration),
            Event::RunFinished { .. } => self.end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;
    use protocol::Progress;

    use super::*;
    use record::event::Expectation;

    fn name(text: &str) -> StageName {
        StageName::try_from(text.to_owned()).unwrap()
    }

    fn planned(text: &str, expectation: Expectation) -> PlannedStage {
        PlannedStage {
            stage: name(text),
            expectation,
            usual_ms: Some(120_000),
            last_ms: None,
            variants_ms: None,
        }
    }

    #[test]
    fn ended_stages_stand_above_and_the_living_below() {
        let screen = InMemoryTerm::new(20, 70);
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
        let mut terminal = Terminal::on(target, || 70, Paint::new(false));
        let run = || Expectation::Run { changes: vec![], reason: None };
        terminal.event(&Event::RunStarted {
            run: "r".into(),
            pipeline: "tinynet".into(),
            stages: vec![
                planned("download", Expectation::Fresh),
                planned("train", run()),
                planned("export", run()),
            ],
        });
        terminal.event(&Event::StageFinished {
            stage: name("download"),
            outcome: Outcome::Fresh,
            duration: Duration::ZERO,
        });
        terminal.event(&Event::StageStarted { stage: name("train"), changes: vec![] });
        let progress = Progress {
            done: 3.0,
            total: 10.0,
            unit: "epoch".into(),
            text: "loss 0.9".into(),
            milestone: false,
        };
        terminal.event(&Event::StageProgress { stage: name("train"), progress });
        if let Some((bar, _)) = terminal.running.get(&name("train")) {
            bar.disable_steady_tick();
            bar.tick();
        }
        terminal.next.disable_steady_tick();
        terminal.next.tick();
        let shown = screen.contents();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.first().copied(), Some(" tinynet · 3 stages · 1 fresh · 2 to run ≈ 4 min"));
        assert_eq!(lines.get(2).copied(), Some(" ✔ download  fresh"));
        let train = lines.iter().find(|line| line.contains("train  ")).unwrap();
        snapshots::assert_message!(train);
        assert_eq!(lines.last().copied(), Some("   then export"));

        terminal.event(&Event::StageFinished {
            stage: name("train"),
            outcome: Outcome::Failed { message: "loss became NaN".into(), hint: Some("lower `lr`".into()) },
            duration: Duration::from_secs(723),
        });
        terminal.event(&Event::StageFinished {
            stage: name("export"),
            outcome: Outcome::Blocked { by: name("train") },
            duration: Duration::ZERO,
        });
        let shown = screen.contents();
        let rest: Vec<&str> = shown.lines().skip(2).collect();
        assert_eq!(
            rest,
            [
                " ✔ download  fresh",
                " ✖ train     failed after 12 min 3 s",
                "   loss became NaN",
                "   help: lower `lr`",
                "   log: pipe log train",
                " · export    not reached: train failed",
            ]
        );
    }
}
