//! The first page: the run under way, what it has shown so far, and the runs before it. Its parts are made anew when what
//! they show changes, for the page itself and for whoever follows it.

use std::collections::BTreeMap;
use std::fs;
use std::time::SystemTime;

use history::History;
use maud::{Markup, html};
use pipeline::StageName;
use record::Outcome;
use record::event::Expectation;
use store::Store;
use text::format;
use text::printable::{clean, clean_line};

use super::live::{Follower, LiveRun, LiveStage, LiveState, Pulse, last_lines};
use super::page::Page;
use super::{request, runs};
use crate::progress::{share, step};

/// Stages that are shown of a run with many.
const MOST_STAGES: usize = 60;
/// Stages of which the newest lines are shown, and how many lines.
const MOST_LOGS: usize = 8;
const LOG_LINES: usize = 5;

/// A part of the page that is replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Id of the element that holds it.
    pub(super) id: &'static str,
    pub(super) html: String,
}

/// What the first page shows, as it was when it was looked at last.
#[derive(Default)]
pub(super) struct Home {
    /// Whether all runs are listed.
    all: bool,
    follower: Follower,
    ids: Vec<String>,
    history: History,
    /// What the figures' files looked like.
    figures: Option<Vec<(StageName, SystemTime, u64)>>,
    live: String,
    unfinished: String,
    runs: String,
}

impl Home {
    /// A page that shows nothing yet.
    pub(super) fn new(all: bool) -> Self {
        Self { all, ..Self::default() }
    }

    /// The whole page.
    pub(super) fn page(mut self, store: &Store, now_ms: u64, fallback: &str) -> String {
        self.look(store, Some(now_ms));
        let latest = self.history.runs().last().map(|run| run.record.pipeline.clone());
        let title = self.follower.run().map(|run| run.pipeline.clone()).or(latest);
        let events = format!("/events?page=home{}", if self.all { "&all" } else { "" });
        let page = Page {
            title: title.as_deref().unwrap_or(fallback),
            eyebrow: "pipe ui",
            is_home: true,
            events: Some(events),
        };
        page.html(&html! {
            @for (id, part) in [("part-live", &self.live), ("part-unfinished", &self.unfinished), ("part-runs", &self.runs)] {
                div id=(id) { (maud::PreEscaped(part)) }
            }
        })
    }

    /// The parts that are not what they were. Times that pass are those of `now_ms`, or else of the run's last word, so that
    /// time alone changes nothing.
    pub(super) fn look(&mut self, store: &Store, now_ms: Option<u64>) -> Vec<Part> {
        self.follower.look(store);
        let mut parts = vec![];
        let ids = store.run_ids();
        if ids != self.ids || self.runs.is_empty() {
            self.ids = ids;
            self.history = History::load(store).unwrap_or_default();
            let html = runs::list(&self.history, store, self.all).into_string();
            replace(&mut self.runs, "part-runs", html, &mut parts);
        }
        let shown = self.shown();
        let html = shown.map(|run| live(run, self.follower.pulse(), store, now_ms.unwrap_or(run.last_ms)));
        let html = html.map(Markup::into_string).unwrap_or_default();
        let stages = shown.map(unfinished_stages).unwrap_or_default();
        let figures = Some(looks(store, &stages));
        let unfinished = (figures != self.figures).then(|| unfinished(store, &stages));
        self.figures = figures;
        replace(&mut self.live, "part-live", html, &mut parts);
        if let Some(html) = unfinished {
            replace(&mut self.unfinished, "part-unfinished", html, &mut parts);
        }
        parts
    }

    /// The run to be shown above all others: one that is under way, or that was the last one and left no record. Ids are in
    /// the order of the runs.
    fn shown(&self) -> Option<&LiveRun> {
        let is_shown = |run: &&LiveRun| match self.follower.pulse() {
            Pulse::Alive => true,
            Pulse::Over => false,
            Pulse::Gone => self.ids.last().is_none_or(|last| *last < run.id),
        };
        self.follower.run().filter(is_shown)
    }
}

fn replace(known: &mut String, id: &'static str, html: String, parts: &mut Vec<Part>) {
    if *known != html {
        known.clone_from(&html);
        parts.push(Part { id, html });
    }
}

/// Stages that may have shown something and did not come to an end, or to none that is good.
fn unfinished_stages(run: &LiveRun) -> Vec<StageName> {
    let is_unfinished = |stage: &&LiveStage| match &stage.state {
        LiveState::Planned(_) => false,
        LiveState::Running { .. } => true,
        LiveState::Ended { outcome, .. } => matches!(outcome, Outcome::Failed { .. } | Outcome::Interrupted),
    };
    run.stages.iter().filter(is_unfinished).map(|stage| stage.name.clone()).collect()
}

fn looks(store: &Store, stages: &[StageName]) -> Vec<(StageName, SystemTime, u64)> {
    let look = |stage: &StageName| {
        let metadata = fs::metadata(store.figures_path(stage)).ok()?;
        Some((stage.clone(), metadata.modified().ok()?, metadata.len()))
    };
    stages.iter().filter_map(look).collect()
}

fn unfinished(store: &Store, stages: &[StageName]) -> String {
    let figures = stages.iter().filter_map(|stage| Some((stage.clone(), store.unfinished_figures(stage)?)));
    report::unfinished(&figures.collect::<BTreeMap<_, _>>()).into_string()
}

/// A run that is under way, or that is gone.
fn live(run: &LiveRun, pulse: Pulse, store: &Store, now_ms: u64) -> Markup {
    let is_alive = pulse == Pulse::Alive;
    let many = run.stages.len() > MOST_STAGES;
    let is_told = |stage: &&LiveStage| match &stage.state {
        LiveState::Running { .. } => true,
        LiveState::Ended { outcome, .. } => !many || matches!(outcome, Outcome::Failed { .. }),
        LiveState::Planned(_) => !many,
    };
    let told: Vec<&LiveStage> = run.stages.iter().filter(is_told).take(MOST_STAGES).collect();
    let logs = run.running().take(MOST_LOGS).map(|stage| {
        let log = store.unfinished_log(&stage.name).and_then(|path| regular::open(&path).ok());
        (&stage.name, log.map(|mut log| last_lines(&mut log, LOG_LINES)).unwrap_or_default())
    });
    let logs: BTreeMap<&StageName, Vec<String>> = logs.collect();
    html! {
        section #live aria-label=(if is_alive { "The run under way" } else { "The last run" }) {
            h2 { @if is_alive { "Under way" } @else { "Did not end" } }
            p.small {
                "Began " (format::date_time(run.begun_ms)) " UTC"
                @if is_alive { span.sep { "·" } (elapsed(run.begun_ms, now_ms)) }
                span.sep { "·" } (run.ended()) " of " (format::count(run.stages.len(), "stage")) " done"
            }
            @if !is_alive {
                p { "The run's process was killed, or could not go on. What was finished is kept: "
                    code { "pipe run" } " goes on from there." }
            }
            @for notice in &run.notices { p.notice { (clean(notice)) } }
            ul.live-stages {
                @for stage in &told { (live_stage(stage, logs.get(&stage.name), is_alive, now_ms)) }
            }
            @if told.len() < run.stages.len() {
                p.small { "and " (format::count(run.stages.len() - told.len(), "more stage")) }
            }
        }
    }
}

fn live_stage(stage: &LiveStage, log: Option<&Vec<String>>, is_alive: bool, now_ms: u64) -> Markup {
    let (class, note) = match &stage.state {
        LiveState::Planned(expectation) => ("st-none", expected(expectation)),
        LiveState::Running { .. } if !is_alive => ("st-interrupted", "did not end".into()),
        LiveState::Running { .. } => ("st-running", String::new()),
        LiveState::Ended { outcome, duration } => {
            (report::class(outcome), report::note(outcome, text::clock::millis(*duration)))
        }
    };
    let has_log = !matches!(stage.state, LiveState::Planned(_));
    html! {
        li.(class) data-stage=(stage.name) {
            div.live-head {
                span.swatch aria-hidden="true" {}
                @if has_log { a.live-name href=(log_address(&stage.name)) { (stage.name) } }
                @else { span.live-name { (stage.name) } }
                span.live-note {
                    (note)
                    @if let LiveState::Running { since_ms, progress, pace } = &stage.state {
                        @if let Some(progress) = progress { (step(progress)) span.sep { "·" } }
                        @if is_alive {
                            (elapsed(*since_ms, now_ms))
                            @if let Some(left) = pace.left(now_ms) { span.sep { "·" } (format::duration_rough(left)) " left" }
                        }
                    }
                }
            }
            @if let LiveState::Running { progress: Some(progress), .. } = &stage.state {
                progress max="1" value=(format!("{:.4}", share(progress))) aria-label={ "progress of " (stage.name) } {}
                @if !progress.text.is_empty() { p.small { (clean_line(&progress.text)) } }
            }
            @if let LiveState::Ended { outcome: Outcome::Failed { message, .. }, .. } = &stage.state {
                p.message { (clean(message)) }
            }
            @if let Some(lines) = log.filter(|lines| !lines.is_empty()) { pre.tail { (lines.join("\n")) } }
        }
    }
}

/// Where a stage's log is shown.
pub(super) fn log_address(stage: &StageName) -> String {
    format!("/stages/{}/log", request::encode(stage.as_str()))
}

/// Time that passes, also in the browser.
pub(super) fn elapsed(since_ms: u64, now_ms: u64) -> Markup {
    let seconds = now_ms.saturating_sub(since_ms) / 1000;
    let text =
        if seconds < 60 { format!("{seconds} s") } else { format::millis(seconds.saturating_mul(1000)) };
    html! { span data-since=(since_ms) { (text) } }
}

fn expected(expectation: &Expectation) -> String {
    match expectation {
        Expectation::Fresh => "fresh".into(),
        Expectation::Restorable { .. } => "in the cache".into(),
        Expectation::Run { .. } => "to run".into(),
        Expectation::Maybe { after } => {
            let after: Vec<String> = after.iter().map(ToString::to_string).collect();
            format!("depends on {}", format::list(&after))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    use record::RunRecord;
    use std::fs::File;

    fn begin(store: &Store) -> File {
        let mut file = store.begin_live().unwrap();
        let stages = r#"[{"stage":"a","expectation":{"kind":"run","changes":[],"reason":null},"usual_ms":null},
            {"stage":"b","expectation":{"kind":"maybe","after":["a"]},"usual_ms":5}]"#;
        let stages = stages.replace('\n', "");
        writeln!(
            file,
            r#"{{"time_ms":1000,"event":"run_started","run":"1-1","pipeline":"p<","stages":{stages}}}"#
        )
        .unwrap();
        writeln!(file, r#"{{"time_ms":1000,"event":"stage_started","stage":"a","changes":[]}}"#).unwrap();
        file
    }

    #[test]
    fn only_what_changed_is_made_anew_and_time_alone_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let mut home = Home::new(false);
        let ids = |parts: Vec<Part>| parts.iter().map(|part| part.id).collect::<Vec<_>>();
        assert_eq!(ids(home.look(&store, None)), ["part-runs"]);
        let mut file = begin(&store);
        let parts = home.look(&store, None);
        assert!(parts[0].html.contains("Under way") && parts[0].html.contains("depends on a"));
        assert_eq!(ids(parts), ["part-live"]);
        assert!(home.look(&store, None).is_empty());

        fs::write(store.log_path(&home.follower.run().unwrap().stages[0].name).unwrap(), "0.1  <b>\n")
            .unwrap();
        let parts = home.look(&store, None);
        assert!(parts[0].html.contains("0.1  &lt;b&gt;"), "{parts:?}");
        let figure = protocol::Figure {
            id: "loss".into(),
            title: "The loss".into(),
            caption: String::new(),
            content: protocol::Content::Table { columns: vec![], rows: vec![] },
        };
        let path = store.figures_path(&home.follower.run().unwrap().stages[0].name);
        fs::write(path, serde_json::to_vec(&[figure]).unwrap()).unwrap();
        let parts = home.look(&store, None);
        assert!(parts[0].html.contains("The loss"), "{parts:?}");
        assert_eq!(ids(parts), ["part-unfinished"]);

        writeln!(
            file,
            r#"{{"time_ms":2000,"event":"stage_progress","stage":"a","progress":{{"done":3,"total":4,"unit":"epoch","text":"<i>"}}}}"#
        )
        .unwrap();
        let parts = home.look(&store, None);
        assert!(
            parts[0].html.contains("epoch 3/4") && parts[0].html.contains("value=\"0.7500\""),
            "{parts:?}"
        );
        assert!(!parts[0].html.contains("<i>"));
        assert!(home.look(&store, None).is_empty());
        let page = home.page(&store, 63_000, "");
        assert!(page.contains("<h1>p&lt;</h1>") && page.contains("1 min 2 s"), "{page}");
    }

    #[test]
    fn a_run_that_was_killed_is_told_of_until_the_next() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        drop(begin(&store));
        let mut home = Home::new(false);
        let parts = home.look(&store, None);
        assert!(parts.iter().any(|part| part.html.contains("Did not end")), "{parts:?}");
        let record = |id: &str| RunRecord { id: id.into(), ..record::sample::tinynet().run };
        store.save_run(&record("0-9")).unwrap();
        let parts = home.look(&store, None);
        assert!(parts.iter().all(|part| part.id == "part-runs"), "an earlier run changes nothing: {parts:?}");
        // In one where nothing is executed nothing more is said.
        store.save_run(&record("2-1")).unwrap();
        let parts = home.look(&store, None);
        assert!(parts.contains(&Part { id: "part-live", html: String::new() }), "{parts:?}");
        let mut file = begin(&store);
        assert!(home.look(&store, None)[0].html.contains("Under way"));
        let record = record("1-1");
        let event = record::event::Event::RunFinished { record: Box::new(record), report: None };
        writeln!(file, "{}", serde_json::to_string(&event).unwrap()).unwrap();
        assert_eq!(home.look(&store, None)[0], Part { id: "part-live", html: String::new() });
    }
}
