//! Two runs side by side as a page. Knows what the comparison says, and no files.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::page::Page;
use super::request::encode;
use super::runs;
use crate::format;
use crate::gate::Verdict;
use crate::history::{Comparison, MetricPair, ParamPair, RunDigest, StageEnd, StagePair};
use crate::progress::short_value;
use crate::record::Outcome;
use crate::report;
use crate::spec::{Better, StageName};

/// What the page shows.
pub(super) struct Compared<'a> {
    pub(super) old: &'a RunDigest,
    pub(super) new: &'a RunDigest,
    pub(super) comparison: &'a Comparison,
    /// Which numbers are better, by `STAGE.METRIC`, as far as the pipeline says so.
    pub(super) directions: &'a BTreeMap<String, Better>,
}

impl Compared<'_> {
    /// The page.
    pub(super) fn page(&self) -> String {
        let title = format!("{} and {}", self.old.run, self.new.run);
        let page = Page { title: &title, eyebrow: "two runs side by side", is_home: false, events: None };
        page.html(&html! { (self.runs()) (self.params()) (self.metrics()) (self.stages()) (self.gates()) })
    }

    fn runs(&self) -> Markup {
        html! {
            (table("Runs", &["", "run", "started (UTC)", "took", "stages"], &html! {
                @for (label, run) in [("old", self.old), ("new", self.new)] {
                    tr {
                        th scope="row" { (label) }
                        td { a href={ "/runs/" (encode(run.run.as_str())) } { code { (run.run) } } }
                        td.nowrap { (format::date_time(run.started_ms)) }
                        td.nowrap { (format::millis(run.duration_ms)) }
                        td { (runs::stages(run)) }
                    }
                }
            }))
            @for (run, gone) in [(self.old, self.evicted(|pair| &pair.old)), (self.new, self.evicted(|pair| &pair.new))] {
                @if !gone.is_empty() {
                    p.notice { "The cache no longer has what " (format::list(&gone)) " gave in " (run.run)
                        ": params and metrics are not compared." }
                }
            }
        }
    }

    /// Stages whose outcome the cache no longer has.
    fn evicted(&self, side: impl Fn(&StagePair) -> &Option<StageEnd>) -> Vec<String> {
        let gone = |pair: &&StagePair| side(pair).as_ref().is_some_and(|end| end.evicted);
        self.comparison.stages.iter().filter(gone).map(|pair| pair.stage.to_string()).collect()
    }

    /// What was changed; inputs that follow from what other stages did are folded.
    fn params(&self) -> Markup {
        let (follow, by_hand): (Vec<&ParamPair>, Vec<&ParamPair>) =
            self.comparison.params.iter().partition(|pair| pair.from.is_some());
        html! {
            section #params {
                h2 { "What was changed" }
                @if by_hand.is_empty() { p { "Nothing." } } @else { (params(&by_hand)) }
                @if !follow.is_empty() {
                    details {
                        summary { "and, in consequence, " (format::count(follow.len(), "input")) " of other stages" }
                        (params(&follow))
                    }
                }
            }
        }
    }

    fn metrics(&self) -> Markup {
        let (both, one): (Vec<&MetricPair>, Vec<&MetricPair>) =
            self.comparison.metrics.iter().partition(|pair| pair.old.is_some() && pair.new.is_some());
        let (same, differ): (Vec<&MetricPair>, Vec<&MetricPair>) =
            both.into_iter().partition(|pair| pair.is_same());
        let rows = |pairs: &[&MetricPair]| {
            table(
                "Metrics",
                &["metric", "#old", "#new", "", "#difference", ""],
                &html! {
                    @for pair in pairs { (self.metric(pair)) }
                },
            )
        };
        html! {
            @if !self.comparison.metrics.is_empty() {
                section #metrics {
                    h2 { "What came of it" }
                    @if differ.is_empty() { p { "No metric of both differs." } } @else { (rows(&differ)) }
                    @if !same.is_empty() {
                        details { summary { (format::count(same.len(), "metric")) " the same" } (rows(&same)) }
                    }
                    @if !one.is_empty() {
                        details { summary { (format::count(one.len(), "metric")) " of one run alone" } (rows(&one)) }
                    }
                }
            }
        }
    }

    fn metric(&self, pair: &MetricPair) -> Markup {
        let number = |value: Option<f64>| value.map_or_else(|| "–".into(), format::number_auto);
        let path = format!("{}.{}", pair.stage, pair.name);
        let difference = pair.difference.unwrap_or_default();
        let class = match self.directions.get(&path) {
            Some(better) if difference != 0.0 => {
                if (*better == Better::Higher) == (difference > 0.0) {
                    "good"
                } else {
                    "bad"
                }
            }
            _ => "",
        };
        html! {
            tr {
                th scope="row" { code { (path) } }
                td.num.old { (number(pair.old)) }
                td.num { (number(pair.new)) }
                td.unit { (pair.unit) }
                td.num { @if let Some(difference) = pair.difference {
                    span.(class) { @if difference > 0.0 { "+" } (format::number_auto(difference)) }
                } }
                td.small { @if pair.within_intervals == Some(true) && !pair.is_same() { "in both intervals" } }
            }
        }
    }

    fn stages(&self) -> Markup {
        html! {
            section #stages {
                h2 { "Stages" }
                (table("Stages", &["stage", "old", "new", "#execution"], &html! {
                    @for pair in &self.comparison.stages {
                        tr {
                            th scope="row" { (pair.stage) }
                            td { (end(pair.old.as_ref())) }
                            td { (end(pair.new.as_ref())) }
                            td.num { (longer(pair).unwrap_or_default()) }
                        }
                    }
                }))
            }
        }
    }

    fn gates(&self) -> Markup {
        html! {
            @if !self.comparison.gates.is_empty() {
                section #gates {
                    h2 { "Gates" }
                    (table("Gates", &["gate", "old", "new"], &html! {
                        @for pair in &self.comparison.gates {
                            tr {
                                th scope="row" { code { (pair.expression) } }
                                td { (verdict(pair.old)) }
                                td { (verdict(pair.new)) }
                            }
                        }
                    }))
                }
            }
        }
    }
}

/// A table that may be wider than the page. A heading that begins with `#` is over numbers.
fn table(label: &str, headings: &[&str], rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) { table.data {
            thead { tr { @for heading in headings {
                @if heading.is_empty() { td {} }
                @else if let Some(heading) = heading.strip_prefix('#') { th.num scope="col" { (heading) } }
                @else { th scope="col" { (heading) } }
            } } }
            tbody { (rows) }
        } }
    }
}

fn params(pairs: &[&ParamPair]) -> Markup {
    let value = |value: &Option<String>| match value {
        None => html! { span.missing { "–" } },
        Some(value) => {
            let short = short_value(value);
            let whole = (short != *value).then(|| value.chars().take(2000).collect::<String>());
            html! { code title=[whole] { (short) } }
        }
    };
    let name = |stage: &Option<StageName>, name: &str| match stage {
        Some(stage) => format!("{stage}.{name}"),
        None => name.to_owned(),
    };
    table(
        "Params",
        &["what", "old", "new", ""],
        &html! {
            @for pair in pairs {
                tr {
                    th scope="row" { code { (name(&pair.stage, &pair.name)) } }
                    td.old { (value(&pair.old)) }
                    td { (value(&pair.new)) }
                    td.small { @if let Some(from) = &pair.from { "from " (from) } }
                }
            }
        },
    )
}

fn end(end: Option<&StageEnd>) -> Markup {
    let Some(end) = end else { return html! { span.missing { "–" } } };
    let took = match &end.outcome {
        Outcome::Ran | Outcome::Failed { .. } => Some(end.execution_ms.unwrap_or(end.duration_ms)),
        Outcome::Fresh | Outcome::Restored => end.execution_ms,
        Outcome::Blocked { .. } | Outcome::Interrupted => None,
    };
    html! {
        span.state.(report::class(&end.outcome)) {
            span.swatch aria-hidden="true" {}
            (end.outcome.word())
            @if let Some(took) = took { span.sep { "·" } (format::millis(took)) }
        }
    }
}

/// By how much longer the execution took, where the two runs have their outputs from different ones.
fn longer(pair: &StagePair) -> Option<String> {
    let took = |end: &Option<StageEnd>| end.as_ref()?.execution_ms;
    let (old, new) = (took(&pair.old)?, took(&pair.new)?);
    let sign = if new < old { "−" } else { "+" };
    (old != new).then(|| format!("{sign}{}", format::millis(new.abs_diff(old))))
}

fn verdict(verdict: Option<Verdict>) -> Markup {
    match verdict {
        Some(Verdict::Pass) => html! { span.good { "✓ holds" } },
        Some(Verdict::Fail) => html! { span.bad { "✕ fails" } },
        Some(Verdict::Unknown) => html! { span.warn { "? not known" } },
        None => html! { span.missing { "–" } },
    }
}
