//! How the run went: counts, duration, what failed and why, the graph of stages and the timeline.

use maud::{Markup, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use record::Outcome;
use text::format;

use super::chart::{Span, timeline};
use super::shown::Shown;
use super::stages_graph::{StageState, stages_graph};
use super::{Input, mention, prose};

/// Lines of a failed stage's log that are shown.
const LOG_LINES: usize = 30;

/// The section on the run.
pub(super) fn section(input: &Input, shown: &Shown) -> Markup {
    let run = input.run;
    let mut states: Vec<StageState> = shown
        .runs
        .iter()
        .map(|stage| StageState {
            stage: stage.stage.clone(),
            class: mention::class(&stage.outcome),
            note: mention::note(&stage.outcome, stage.duration_ms),
        })
        .collect();
    states.extend(shown.others.iter().map(|(stage, _)| StageState {
        stage: (*stage).clone(),
        class: "st-none",
        note: mention::NOT_PART.into(),
    }));
    let spans: Vec<Span> = shown
        .runs
        .iter()
        .filter(|stage| {
            matches!(
                stage.outcome,
                Outcome::Ran | Outcome::Restored | Outcome::Failed { .. } | Outcome::Interrupted
            )
        })
        .filter(|stage| stage.duration_ms > 0 || stage.outcome == Outcome::Ran)
        .map(|stage| Span {
            label: stage.stage.to_string(),
            class: mention::class(&stage.outcome),
            start: stage.offset_ms,
            length: stage.duration_ms,
        })
        .collect();
    html! {
        section #run {
            h2 { "How the run went" }
            p { (counts(input)) " in " strong { (format::millis(run.duration_ms)) }
                " on " (machine(input)) "."
            }
            ul.states {
                @for (class, word) in [
                    ("st-ran", "ran"), ("st-restored", "restored from the cache"), ("st-fresh", "fresh"),
                    ("st-failed", "failed"), ("st-blocked", "not reached"), ("st-interrupted", "interrupted"),
                    ("st-none", mention::NOT_PART),
                ] {
                    @if states.iter().any(|state| state.class == class) {
                        li.(class) { span.swatch aria-hidden="true" {} (word) }
                    }
                }
            }
            div.pair {
                figure.card {
                    figcaption { strong { "Stages" } }
                    @if input.undefined.is_some() {
                        p.empty { "Which stage read what of which other one is not known of this run." }
                    } @else {
                        div.scroll.flow tabindex="0" role="region" aria-label="Stages" {
                            (stages_graph(input.definition, &states, true))
                        }
                    }
                }
                figure.card {
                    figcaption { strong { "Timeline" } }
                    (timeline("Timeline", &spans, run.duration_ms))
                    @if let Some(recording) = &run.recording {
                        p.small { "Every step of it is recorded in " (link(recording, input.depth)) ", for "
                            code { "https://ui.perfetto.dev" } " or " code { "chrome://tracing" } "."
                        }
                    }
                }
            }
        }
    }
}

/// A file of the pipeline's folder, which lies `depth` folders above the page; only its name where the page lies elsewhere.
fn link(file: &str, depth: Option<usize>) -> Markup {
    /// What a path in a URL has as it is.
    const AS_IT_IS: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');
    match depth {
        Some(depth) => {
            html! { a href={ ("../".repeat(depth)) (utf8_percent_encode(file, AS_IT_IS)) } { code { (file) } } }
        }
        None => html! { code { (file) } },
    }
}

fn counts(input: &Input) -> String {
    let count = |word: &str| input.run.stages.iter().filter(|stage| stage.outcome.word() == word).count();
    let parts: Vec<String> = ["ran", "restored", "fresh", "failed", "blocked", "interrupted"]
        .into_iter()
        .map(|word| (count(word), word))
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| match word {
            "ran" => format!("{} ran", format::count(n, "stage")),
            "restored" => format!("{n} restored from the cache"),
            "fresh" => format!("{n} fresh"),
            "blocked" => format!("{n} not reached"),
            _ => format!("{n} {word}"),
        })
        .collect();
    if parts.is_empty() { "No stages".into() } else { format::list(&parts) }
}

fn machine(input: &Input) -> String {
    let machine = &input.run.machine;
    let cpu = if machine.cpu.is_empty() { "an unknown CPU" } else { machine.cpu.as_str() };
    format!("{cpu}, {}", format::count(input.run.threads, "thread"))
}

/// A box for each failed stage: what happened, what to do, the end of the log.
pub(super) fn failures(input: &Input) -> Markup {
    html! {
        @for stage in &input.run.stages {
            @if let Outcome::Failed { message, hint } = &stage.outcome {
                div.failure role="alert" {
                    h3 { a href={ "#" (mention::anchor(&stage.stage)) } { (stage.stage) } " failed after " (format::millis(stage.duration_ms)) }
                    p.message { (prose(message)) }
                    @if let Some(hint) = hint { p { strong { "What to do: " } (prose(hint)) } }
                    @if let Some(log) = input.logs.get(&stage.stage) {
                        @let (tail, left_out) = tail(log);
                        details open {
                            summary { "End of the log" @if left_out > 0 { " (" (format::count(left_out, "line")) " before)" } }
                            pre { (tail) }
                        }
                    }
                    p.small { "Whole log: " code { "pipe log " (stage.stage) } }
                }
            }
        }
    }
}

/// The last lines of a log, and how many were left out.
fn tail(log: &str) -> (String, usize) {
    let clean = text::printable::clean(log);
    let lines: Vec<&str> = clean.lines().collect();
    let left_out = lines.len().saturating_sub(LOG_LINES);
    let shown: Vec<String> =
        lines.iter().skip(left_out).map(|line| line.chars().take(400).collect::<String>()).collect();
    (shown.join("\n"), left_out)
}
