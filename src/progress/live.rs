//! The line of a running stage, fitted to a width: name, step, bar, percent, text, remaining time. Pure: state and
//! clock in, text out.

use std::time::{Duration, Instant};

use console::{measure_text_width, truncate_str};
use pipeline::StageName;
use protocol::Progress;
use text::format;
use text::printable::clean_line;

use super::remaining::Remaining;
use super::{Paint, words};

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const BAR: std::ops::RangeInclusive<usize> = 10..=28;

/// A running stage.
#[derive(Debug)]
pub(super) struct Live {
    stage: StageName,
    started: Instant,
    why: String,
    progress: Option<Progress>,
    remaining: Remaining,
}

impl Live {
    /// A stage that started at `now` because of `why` (may be empty), and was foretold to take as long as `usual_ms`.
    pub(super) fn new(stage: StageName, why: String, usual_ms: Option<u64>, now: Instant) -> Self {
        Self { stage, started: now, why, progress: None, remaining: Remaining::foretold(now, usual_ms) }
    }

    /// Takes note of progress.
    pub(super) fn observe(&mut self, now: Instant, progress: &Progress) {
        self.remaining.observe(now, progress.done, progress.total);
        self.progress = Some(progress.clone());
    }

    /// The line at `now`, at most `width` columns wide, with the stage's name in `name_width` columns.
    pub(super) fn line(&self, now: Instant, name_width: usize, width: usize, paint: Paint) -> String {
        let elapsed = now.saturating_duration_since(self.started);
        let frame = usize::try_from(elapsed.as_millis() / 100).unwrap_or(0) % FRAMES.len();
        let spinner = FRAMES.get(frame).copied().unwrap_or_default();
        let head =
            format!(" {} {}", paint.live(spinner), paint.strong(&pad(self.stage.as_str(), name_width)));
        let room = width.saturating_sub(measure_text_width(&head) + 2);
        let tail = match &self.progress {
            Some(progress) => self.body(progress, now, room, paint),
            None => self.waiting(elapsed, now, room, paint),
        };
        truncate_str(&format!("{head}  {tail}"), width, "…").into_owned()
    }

    fn waiting(&self, elapsed: Duration, now: Instant, room: usize, paint: Paint) -> String {
        let time = format::duration(Duration::from_secs(elapsed.as_secs()));
        let time = if elapsed < Duration::from_secs(1) { String::new() } else { time };
        let left = self.left(now).unwrap_or_default();
        let taken = [&time, &left].into_iter().filter(|part| !part.is_empty()).map(|part| part.len() + 2);
        let why = truncate_str(&self.why, room.saturating_sub(taken.sum()), "…");
        let parts = [paint.faint(&why), time, paint.faint(&left)];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
    }

    fn left(&self, now: Instant) -> Option<String> {
        self.remaining.at(now).map(|left| format!("{} left", format::duration_rough(left)))
    }

    /// Of step, bar, percent, text and remaining time, what fits. Percent comes first, then the remaining time,
    /// the step, the text, and the bar takes what is left.
    fn body(&self, progress: &Progress, now: Instant, room: usize, paint: Paint) -> String {
        let share = words::share(progress);
        let percent = format!("{:>3.0} %", (share * 100.0).floor());
        let step = words::step(progress);
        let left = self.left(now);
        let text = clean_line(&progress.text);

        let mut free = room.saturating_sub(width_of(&percent));
        let mut take = |wanted: usize| {
            let fits = wanted > 0 && wanted + 2 <= free;
            if fits {
                free -= wanted + 2;
            }
            fits
        };
        let left = left.filter(|left| take(width_of(left)));
        let step = Some(step).filter(|step| take(width_of(step)));
        let bar_least = take(*BAR.start()).then_some(*BAR.start());
        let text_width = width_of(&text).min(free.saturating_sub(2));
        let text = if text_width >= width_of(&text).min(8) && text_width > 0 {
            free = free.saturating_sub(text_width + 2);
            Some(truncate_str(&text, text_width, "…").into_owned())
        } else {
            None
        };
        let bar = bar_least.map(|least| bar(share, (least + free).min(*BAR.end()), paint));
        let percent_joined = bar.map_or_else(|| percent.clone(), |bar| format!("{bar} {percent}"));
        let parts = [step, Some(percent_joined), text, left.map(|left| paint.faint(&left))];
        parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
    }
}

fn width_of(text: &str) -> usize {
    measure_text_width(text)
}

/// `text` in exactly `width` columns.
pub(super) fn pad(text: &str, width: usize) -> String {
    console::pad_str(text, width, console::Alignment::Left, Some("…")).into_owned()
}

fn bar(share: f64, width: usize, paint: Paint) -> String {
    let halves = (share * (width * 2) as f64).floor() as usize;
    let full = (halves / 2).min(width);
    let half = if halves % 2 == 1 && full < width { "╸" } else { "" };
    let rest = width - full - half.chars().count();
    format!("{}{}", paint.live(&format!("{}{half}", "━".repeat(full))), paint.faint(&"─".repeat(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn training() -> (Live, Instant) {
        let start = Instant::now();
        let mut live = Live::new(
            StageName::try_from("train".to_owned()).unwrap(),
            "with.lr 0.05 → 0.08".into(),
            None,
            start,
        );
        for (second, done) in [(0, 0.0), (600, 36.4)] {
            let progress = Progress {
                done,
                total: 150.0,
                unit: "epoch".into(),
                text: "loss 0.912  val 86.41 %  1,630 img/s".into(),
                milestone: false,
            };
            live.observe(start + Duration::from_secs(second), &progress);
        }
        (live, start + Duration::from_secs(600))
    }

    #[test]
    fn wide_and_narrow() {
        let (live, now) = training();
        let plain = Paint::new(false);
        let at = |width| live.line(now, 10, width, plain);
        assert_eq!(
            at(120),
            " ⠋ train       epoch 37/150  ━━━━━━╸─────────────────────  24 %  loss 0.912  val 86.41 %  1,630 img/s  31 min left"
        );
        assert_eq!(at(80), " ⠋ train       epoch 37/150  ━━────────  24 %  loss 0.912  val 86…  31 min left");
        assert_eq!(at(50), " ⠋ train       epoch 37/150   24 %  31 min left");
        assert_eq!(at(30), " ⠋ train        24 %  loss 0.…");
        for width in 1..200 {
            assert!(width_of(&at(width)) <= width, "{width}");
            assert!(width_of(&live.line(now, 10, width, Paint::new(true))) <= width, "{width}");
        }
    }

    #[test]
    fn before_the_first_progress_it_says_why() {
        let start = Instant::now();
        let live = Live::new(
            StageName::try_from("export".to_owned()).unwrap(),
            "inputs.weights changed".into(),
            None,
            start,
        );
        let plain = Paint::new(false);
        assert_eq!(live.line(start, 6, 80, plain), " ⠋ export  inputs.weights changed");
        let later = start + Duration::from_millis(72_300);
        assert_eq!(live.line(later, 6, 80, plain), " ⠸ export  inputs.weights changed  1 min 12 s");
    }

    #[test]
    fn what_was_foretold_is_told_before_the_first_progress() {
        let start = Instant::now();
        let name = StageName::try_from("train".to_owned()).unwrap();
        let live = Live::new(name, "with.epochs 6 → 75".into(), Some(1_500_000), start);
        let at =
            |seconds, width| live.line(start + Duration::from_secs(seconds), 5, width, Paint::new(false));
        assert_eq!(at(0, 80), " ⠋ train  with.epochs 6 → 75  25 min left");
        assert_eq!(at(600, 80), " ⠋ train  with.epochs 6 → 75  10 min  15 min left");
        assert_eq!(at(600, 40), " ⠋ train  with.epo…  10 min  15 min left");
        assert_eq!(at(1_600, 80), " ⠋ train  with.epochs 6 → 75  26 min 40 s");
    }

    #[test]
    fn bars_are_as_long_as_asked() {
        for width in 1..40 {
            for share in [0.0, 0.013, 0.5, 0.99, 1.0] {
                assert_eq!(width_of(&bar(share, width, Paint::new(false))), width);
            }
        }
    }
}
