//! The list of runs, newest first, with what was changed before each. Knows records only.

use history::{Counts, Gates, History, RunDigest, key_record};
use maud::{Markup, html};
use pipeline::gate::Judgement;
use record::words::change;
use store::Store;
use text::format;

use super::request::encode;

/// Runs that are listed where not all are asked for.
const MOST_RUNS: usize = 100;
/// Changes of a run that are listed.
const MOST_CHANGES: usize = 4;

/// The list.
pub(super) fn list(history: &History, store: &Store, all: bool) -> Markup {
    let runs = history.runs();
    let most = if all { runs.len() } else { MOST_RUNS };
    let shown: Vec<RunDigest> = runs
        .iter()
        .rev()
        .take(most)
        .map(|run| history.digest(run, &|stage| key_record(store, stage)))
        .collect();
    let earlier = runs.len().saturating_sub(most);
    let is_of_several = history.is_of_several();
    html! {
        section #runs {
            h2 { "Runs" }
            @if shown.is_empty() {
                p { "No runs yet: " code { "pipe run" } " makes the first." }
            } @else {
                form action="/compare" method="get" {
                    div.scroll tabindex="0" role="region" aria-label="Runs" { table.runs {
                        thead { tr {
                            td {}
                            th scope="col" { "run" }
                            th scope="col" { "started (UTC)" }
                            th.num scope="col" { "took" }
                            th scope="col" { "stages" }
                            th scope="col" { "gates" }
                            @if is_of_several { th scope="col" { "pipeline" } }
                            th scope="col" { "what was changed before it" }
                        } }
                        tbody { @for run in &shown { (row(run, is_of_several)) } }
                    } }
                    @if runs.len() > 1 {
                        p.actions { button type="submit" { "Compare the two chosen" } }
                    }
                }
                @if earlier > 0 {
                    p.small { a href="/?all" { "and " (format::count(earlier, "earlier run")) } }
                }
            }
        }
    }
}

fn row(run: &RunDigest, is_of_several: bool) -> Markup {
    let more = run.changes.len().saturating_sub(MOST_CHANGES);
    html! {
        tr {
            td { input type="checkbox" name="run" value=(run.run) aria-label={ "choose run " (run.run) " to compare" }; }
            th scope="row" { a href={ "/runs/" (encode(run.run.as_str())) } { code { (run.run) } } }
            td.nowrap { time datetime=(format::rfc3339(run.started_ms)) { (format::date_time(run.started_ms)) } }
            td.num { (format::millis(run.duration_ms)) }
            td { (stages(run)) }
            td.nowrap { (gates(&run.gates)) }
            @if is_of_several { td { (run.pipeline) } }
            td.small {
                @if let Some(profile) = &run.profile { div { "profile " (profile) } }
                @for changed in run.changes.iter().take(MOST_CHANGES) { div { (change(changed)) } }
                @if more > 0 { div { "and " (more) " more" } }
            }
        }
    }
}

/// `6 ran, 1 restored, 2 fresh`, before it what went wrong.
pub(super) fn stages(run: &RunDigest) -> Markup {
    let Counts { ran, restored, fresh, failed: _, blocked, interrupted } = run.stages;
    let failed = match run.failed.as_slice() {
        [] => None,
        [stage] => Some(format!("{stage} failed")),
        several => Some(format!("{} failed", format::count(several.len(), "stage"))),
    };
    let counts = [(ran, "ran"), (restored, "restored"), (fresh, "fresh"), (blocked, "not reached")];
    let counts: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    html! {
        @if let Some(failed) = &failed { span.bad { (failed) } @if !counts.is_empty() { ", " } }
        @if interrupted > 0 { span.warn { "interrupted" } @if !counts.is_empty() { ", " } }
        (counts.join(", "))
    }
}

/// `✓ 3 hold`, or how many of all came to what.
fn gates(gates: &Gates) -> Markup {
    let class = |judgement| match judgement {
        Judgement::Holds => "good",
        Judgement::Fails | Judgement::Missed => "bad",
        Judgement::Unknown | Judgement::Inconclusive => "warn",
    };
    let all = gates.all();
    let judged = gates.judged();
    let bad = judged.iter().filter(|(judgement, _)| *judgement != Judgement::Holds);
    html! {
        @if let [(Judgement::Holds, all)] = judged.as_slice() {
            span.good { (Judgement::Holds.light_mark()) " " (all) " " (Judgement::Holds.counted()) }
        }
        @for (index, (judgement, count)) in bad.enumerate() {
            @if index > 0 { ", " }
            span.(class(*judgement)) {
                (judgement.light_mark()) " " (count) @if index == 0 { " of " (all) } " " (judgement.counted())
            }
        }
    }
}
