//! The document: head, sections from top to bottom, and the policy that lets it load nothing.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::figures::Budget;
use super::shown::Shown;
use super::{Input, answers, changes, chart, environment, gates, prose, run, stage, table, tradeoff};
use crate::format;

/// The one script.
pub(super) const SCRIPT: &str = include_str!("page.js");

/// The whole document.
pub(super) fn page(input: &Input) -> Markup {
    let style = format!("{}{}", chart::STYLE, include_str!("page.css"));
    let title = title(input);
    let budget = Budget::default();
    let shown = Shown::new(input);
    let changes = changes::section(input, &shown);
    let tradeoff = tradeoff::section(input);
    let answers = answers::section(input);
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
                    @if !input.unfinished.is_empty() {
                        section #unfinished {
                            h2 { "Not finished" }
                            p.small { "What stages have shown so far that are being executed, or whose execution did not end." }
                            @for (name, figures) in input.unfinished { (stage::unfinished(input, name, figures, &budget)) }
                        }
                    }
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
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn title<'a>(input: &'a Input) -> &'a str {
    input.pipeline.report.title.as_deref().unwrap_or(&input.pipeline.name)
}

/// Nothing may be loaded; the one style sheet and the one script are named by their digests, pictures come inside the file.
fn policy(style: &str) -> String {
    let digest = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'",
        digest(style),
        digest(SCRIPT)
    )
}
