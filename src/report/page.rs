//! The document: head, sections from top to bottom, and the policy that lets it load nothing.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::figures::Budget;
use super::shown::Shown;
use super::{Input, changes, chart, environment, gates, prose, run, stage, table, tradeoff, unfinished};
use crate::format;

/// The one style sheet.
pub(crate) fn style() -> String {
    format!("{}{}", chart::STYLE, include_str!("page.css"))
}

/// The whole document, with `above` over its head.
pub(super) fn page(input: &Input, above: &Markup) -> Markup {
    let style = style();
    let title = title(input);
    let budget = Budget::default();
    let shown = Shown::new(input);
    let changes = changes::section(input, &shown);
    let tradeoff = tradeoff::section(input);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy(&style));
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                meta name="generator" content={ "pipe " (input.run.version) };
                title { (title) " · report" }
                style { (PreEscaped(&style)) }
            }
            body {
                (above)
                header.top {
                    p.eyebrow { "pipe report" span.sep { "·" }
                        time datetime=(format::rfc3339(input.run.started_ms)) { (format::date_time(input.run.started_ms)) " UTC" }
                        @if let Some(profile) = &input.run.profile { span.sep { "·" } "profile " (profile) }
                    }
                    h1 { (title) }
                    @if let Some(description) = &input.pipeline.report.description { p.lead { (prose(description)) } }
                }
                nav aria-label="Sections" {
                    a href="#result" { "Result" }
                    @if !input.unfinished.is_empty() { a href="#unfinished" { "Not finished" } }
                    @if tradeoff.is_some() { a href="#tradeoff" { "Trade-off" } }
                    @if changes.is_some() { a href="#changes" { "Changes" } }
                    a href="#run" { "Run" }
                    a href="#stages" { "Stages" }
                    a href="#environment" { "Environment" }
                }
                main {
                    section #result {
                        h2.sr { "Result" }
                        (gates::verdict(input))
                        (run::failures(input))
                        (table::results(input))
                    }
                    (unfinished::section(input.unfinished, Some(input.pipeline), &budget))
                    @if let Some(tradeoff) = &tradeoff { (tradeoff) }
                    @if let Some(changes) = &changes { (changes) }
                    (run::section(input, &shown))
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
                    (environment::section(input))
                }
                footer {
                    p { "Made by pipe " (input.run.version) " from the records of run " code { (input.run.id) } ". "
                        "This file is whole: it needs no network and runs no scripts." }
                }
            }
        }
    }
}

fn title<'a>(input: &'a Input) -> &'a str {
    input.pipeline.report.title.as_deref().unwrap_or(&input.pipeline.name)
}

/// Nothing may be loaded or run; the one style sheet is named by its digest, pictures come inside the file.
pub(crate) fn policy(style: &str) -> String {
    let digest = BASE64_STANDARD.encode(Sha256::digest(style.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
}
