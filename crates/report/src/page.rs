//! The report's sections from top to bottom.

use history::Undefined;
use maud::{Markup, html};
use text::format;

use super::document::document;
use super::figures::Budget;
use super::shown::Shown;
use super::{Input, answers, changes, environment, gates, prose, run, stage, table, tradeoff, unfinished};

/// The whole document, with `above` over its head.
pub(super) fn page(input: &Input, above: &Markup) -> Markup {
    let title = title(input);
    let budget = Budget::default();
    let shown = Shown::new(input);
    let changes = changes::section(input, &shown);
    let tradeoff = tradeoff::section(&input.definition.report, input.past, input.run, "this run");
    let answers = answers::section(input);
    let body = html! {
                (above)
                header.top {
                    p.eyebrow { "pipe report" span.sep { "·" }
                        time datetime=(format::rfc3339(input.run.started_ms)) { (format::date_time(input.run.started_ms)) " UTC" }
                        @if let Some(profile) = &input.run.profile { span.sep { "·" } "profile " (profile) }
                    }
                    h1 { (title) }
                    @if let Some(description) = &input.definition.report.description { p.lead { (prose(description)) } }
                    @if let Some(undefined) = input.undefined { (self::undefined(undefined)) }
                }
                nav aria-label="Sections" {
                    a href="#result" { "Result" }
                    @if answers.is_some() { a href="#answers" { "What it means" } }
                    @if !input.unfinished.is_empty() { a href="#unfinished" { "Not finished" } }
                    @if tradeoff.is_some() { a href="#tradeoff" { "Trade-off" } }
                    @if changes.is_some() { a href="#changes" { "Changes" } }
                    a href="#stages" { "Stages" }
                    a href="#run" { "Run" }
                    a href="#environment" { "Environment" }
                }
                main {
                    section #result {
                        h2.sr { "Result" }
                        (gates::verdict(input))
                        (run::failures(input))
                        (table::results(input))
                    }
                    @if let Some(answers) = &answers { (answers) }
                    (unfinished::section(input.unfinished, Some(input.definition), &budget))
                    @if let Some(tradeoff) = &tradeoff { (tradeoff) }
                    @if let Some(changes) = &changes { (changes) }
                    section #stages {
                        h2 { "Stages" }
                        @if shown.left_out > 0 {
                            p.small { "The " (format::count(shown.runs.len(), "stage")) " most worth a look: those that failed, gave "
                                "metrics or figures, or took longest. " (format::count(shown.left_out, "more stage"))
                                " can be looked at with " code { "pipe log" } " and " code { "pipe why" } "." }
                        }
                        @for stage in &shown.runs { (stage::section(input, &shown, stage, &budget)) }
                        @for (name, record) in &shown.others { (stage::other(input, name, record, &budget)) }
                    }
                    (run::section(input, &shown))
                    (environment::section(input))
                }
                footer {
                    p { "Made by pipe " (input.run.version) " from the records of run " code { (input.run.id) } ". "
                        "This file is whole: it needs no network." }
                }
    };
    document(&format!("{title} · report"), &body)
}

/// What a page lacks of a run of which it is not known what the pipeline said. What it says now would be no answer.
fn undefined(why: Undefined) -> Markup {
    html! {
        p.small { (prose(&format::sentence(&why.to_string()))) " So this page has no result table and no descriptions of stages, and does not tell "
            "which params were defaults. The parameters are those of each stage's key, the numbers those of its record." }
    }
}

pub(super) fn title<'a>(input: &'a Input) -> &'a str {
    input.definition.report.title.as_deref().unwrap_or(&input.run.pipeline)
}
