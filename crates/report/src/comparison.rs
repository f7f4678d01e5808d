//! Two runs side by side as one page, in the report's style. Pure: what was compared in, markup out.

use std::collections::BTreeMap;

use history::{Comparison, GatePair, MetricPair, ParamPair, RunDigest, Side, StageEnd, StagePair};
use maud::{Markup, html};
use pipeline::StageName;
use pipeline::gate::{Better, GateResult, Judgement};
use pipeline::spec::ReportSpec;
use record::Outcome;
use text::format;

use super::changes::{moved, value};
use super::document::document;
use super::front::PastRun;
use super::{prose, tradeoff};

/// Two runs, compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Versus<'a> {
    /// Heading: the pipeline's title or name.
    pub(super) title: &'a str,
    /// The first run in short, and its records.
    pub(super) old: (&'a RunDigest, Side<'a>),
    /// The second run, likewise.
    pub(super) new: (&'a RunDigest, Side<'a>),
    /// What differs, and what does not.
    pub(super) comparison: &'a Comparison,
    /// What the result table shows; empty where the pipeline is not valid.
    pub(super) spec: &'a ReportSpec,
    /// Which numbers are better, by `STAGE.METRIC`, as far as the pipeline says so.
    pub(super) directions: &'a BTreeMap<String, Better>,
    /// All runs on record, where the result table names a trade-off.
    pub(super) past: &'a [PastRun],
}

/// The comparison as an HTML document, with `above` over its head.
pub(super) fn comparison(versus: &Versus, above: &Markup) -> String {
    let (old, new) = (&versus.old.0.run, &versus.new.0.run);
    let results = results(versus);
    let tradeoff = tradeoff::section(versus.spec, versus.past, versus.new.1.run, "the new run");
    let body = html! {
        (above)
        header.top {
            p.eyebrow { "pipe compare" span.sep { "·" } code { (old) } " → " code { (new) } }
            h1 { (versus.title) }
        }
        nav aria-label="Sections" {
            a href="#runs" { "Runs" }
            @if !versus.comparison.gates.is_empty() { a href="#gates" { "Gates" } }
            @if results.is_some() { a href="#results" { "Results" } }
            a href="#params" { "Params" }
            a href="#metrics" { "Metrics" }
            a href="#stages" { "Stages" }
            @if tradeoff.is_some() { a href="#tradeoff" { "Trade-off" } }
        }
        main {
            section #runs {
                h2.sr { "Runs" }
                div.pair { (run("Old", versus.old.0)) (run("New", versus.new.0)) }
                (evicted(versus))
            }
            (gates(versus))
            @if let Some(results) = &results { (results) }
            (params(&versus.comparison.params))
            (metrics(versus))
            (stages(&versus.comparison.stages))
            @if let Some(tradeoff) = &tradeoff { (tradeoff) }
        }
        footer {
            p { "Made by pipe " (env!("CARGO_PKG_VERSION")) " from the records of runs " code { (versus.old.0.id) } " and "
                code { (versus.new.0.id) } ". This file is whole: it needs no network." }
        }
    };
    document(&format!("{} · {old} → {new}", versus.title), &body).into_string()
}

fn run(label: &str, run: &RunDigest) -> Markup {
    let words = run.stages.words();
    html! {
        div.card {
            h3 { (label) " run " code { (run.run) } }
            dl.values {
                dt { "started" } dd { time datetime=(format::rfc3339(run.started_ms)) { (format::date_time(run.started_ms)) " UTC" } }
                dt { "took" } dd { (format::millis(run.duration_ms)) }
                @if let Some(profile) = &run.profile { dt { "profile" } dd { (profile) } }
                dt { "stages" } dd { @if words.is_empty() { "none" } @else { (words.join(", ")) } }
                @if !run.provisional.is_empty() { dt { "provisional" } dd { (names(run.provisional.iter())) } }
                @if !run.failed.is_empty() { dt { "failed" } dd.worse { (names(run.failed.iter())) } }
            }
        }
    }
}

fn names<'a>(stages: impl Iterator<Item = &'a StageName>) -> String {
    format::list(&stages.map(ToString::to_string).collect::<Vec<_>>())
}

/// What cannot be compared, because the cache no longer has it.
fn evicted(versus: &Versus) -> Markup {
    let gone = |end: &Option<StageEnd>| end.as_ref().is_some_and(|end| end.evicted);
    let stages = &versus.comparison.stages;
    let of = |side: fn(&StagePair) -> &Option<StageEnd>| {
        let gone: Vec<&StageName> =
            stages.iter().filter(|pair| gone(side(pair))).map(|pair| &pair.stage).collect();
        (!gone.is_empty()).then(|| names(gone.into_iter()))
    };
    let sides = [(versus.old.0, of(|pair| &pair.old)), (versus.new.0, of(|pair| &pair.new))];
    html! {
        @for (run, gone) in &sides {
            @if let Some(gone) = gone {
                p.small { "Results of " (gone) " in " code { (run.run) }
                    " are no longer cached: params and metrics are not compared." }
            }
        }
    }
}

/// A table that can be scrolled, with its name for who cannot see it.
fn scroll(label: &str, table: &Markup) -> Markup {
    html! { div.scroll tabindex="0" role="region" aria-label=(label) { (table) } }
}

fn gates(versus: &Versus) -> Markup {
    let (old, new) = (versus.old.0.certain, versus.new.0.certain);
    let mut sorted: Vec<&GatePair> = versus.comparison.gates.iter().collect();
    sorted.sort_by_key(|pair| match &pair.new_result {
        Some(gate) => (false, Some(gate.judgement(new))),
        None => (true, None),
    });
    html! {
        @if !sorted.is_empty() {
            section #gates {
                h2 { "Gates" }
                (scroll("Gates", &html! { table.versus.stack {
                    thead { tr { th scope="col" { "gate" } th scope="col" { "old" } th scope="col" { "new" } } }
                    tbody { @for pair in sorted { tr {
                        th scope="row" { code { (pair.expression) } }
                        td.wide data-label="old" { (verdict(pair.old_result.as_ref(), old)) }
                        td.wide data-label="new" { (verdict(pair.new_result.as_ref(), new)) }
                    } } }
                } }))
            }
        }
    }
}

fn verdict(gate: Option<&GateResult>, certain: bool) -> Markup {
    let Some(gate) = gate else { return html! { span.missing { "–" } } };
    let judgement = gate.judgement(certain);
    let class = match judgement {
        Judgement::Holds => "better",
        Judgement::Fails | Judgement::Missed => "worse",
        Judgement::Unknown | Judgement::Inconclusive => "unsure",
    };
    html! { strong.(class) { (judgement.light_mark()) " " (judgement.word()) } @if !gate.message.is_empty() { span.message { (prose(&gate.message)) } } }
}

/// The numbers of the result table that read otherwise; nothing where there are none.
fn results(versus: &Versus) -> Option<Markup> {
    let moved = moved(versus.spec, versus.old.1.records, versus.new.1.records);
    if moved.is_empty() {
        return None;
    }
    let rows = html! { table.versus {
        thead { tr { th scope="col" { "result" } th.num scope="col" { "old" } th.num scope="col" { "new" } th.num scope="col" { "difference" } } }
        tbody { @for number in &moved { tr {
            th scope="row" { (number.row) ", " (number.column.label) }
            td.num.old { (number.text(number.old.value)) }
            td.num { (number.text(number.new.value)) }
            td.num.(judged(number.column.better, number.new.value - number.old.value)) { (number.difference()) }
        } } }
    } };
    Some(html! { section #results { h2 { "Results" } (scroll("Results that differ", &rows)) } })
}

/// The class of a difference, where the pipeline says what is better.
fn judged(better: Option<Better>, difference: f64) -> &'static str {
    match better {
        Some(_) if difference == 0.0 => "same",
        Some(better) if (better == Better::Higher) == (difference > 0.0) => "better",
        Some(_) => "worse",
        None => "same",
    }
}

/// Params that differ; inputs that other stages made only follow from these, and are folded away.
fn params(pairs: &[ParamPair]) -> Markup {
    let (follow, by_hand): (Vec<&ParamPair>, Vec<&ParamPair>) =
        pairs.iter().partition(|pair| pair.from.is_some());
    let rows = |pairs: &[&ParamPair]| {
        html! { table.versus {
            thead { tr { th scope="col" { "param" } th scope="col" { "old" } th scope="col" { "new" } td {} } }
            tbody { @for pair in pairs { tr {
                th scope="row" { code { (pair.path()) } }
                td.old { (value(pair.old.as_deref())) }
                td { (value(pair.new.as_deref())) }
                td.from { @if let Some(from) = &pair.from { "from " (from) } }
            } } }
        } }
    };
    html! {
        section #params {
            h2 { "Params" }
            @if by_hand.is_empty() { p.empty { "No difference." } } @else { (scroll("Params that differ", &rows(&by_hand))) }
            @if !follow.is_empty() {
                details { summary { "In consequence, " (format::count(follow.len(), "input")) " of other stages" }
                    (scroll("Inputs that differ in consequence", &rows(&follow))) }
            }
        }
    }
}

fn metrics(versus: &Versus) -> Markup {
    let (same, differ): (Vec<&MetricPair>, Vec<&MetricPair>) =
        versus.comparison.metrics.iter().partition(|pair| pair.is_same());
    html! {
        section #metrics {
            h2 { "Metrics" }
            @if differ.is_empty() { p.empty { "No difference." } } @else {
                (scroll("Metrics that differ", &metric_table(versus, &differ)))
                p.small { "[low, high]: 95 % intervals" }
            }
            @if !same.is_empty() {
                details { summary { (format::count(same.len(), "metric")) " the same" }
                    (scroll("Metrics that are the same", &metric_table(versus, &same))) }
            }
        }
    }
}

fn metric_table(versus: &Versus, pairs: &[&MetricPair]) -> Markup {
    let number = |value: Option<f64>| value.map_or_else(|| "–".into(), format::number_auto);
    let interval =
        |interval: Option<[f64; 2]>| interval.map(|ends| format!(" {}", format::interval_auto(ends)));
    html! { table.versus {
        thead { tr { th scope="col" { "metric" } th.num scope="col" { "old" } th.num scope="col" { "new" } td {} th.num scope="col" { "difference" } td {} } }
        tbody { @for pair in pairs {
            @let path = pair.path();
            tr {
                th scope="row" { code { (path) } }
                td.num.old { (number(pair.old)) (interval(pair.old_interval).unwrap_or_default()) }
                td.num { (number(pair.new)) (interval(pair.new_interval).unwrap_or_default()) }
                td.unit { (pair.unit) }
                td.num.(judged(versus.directions.get(&path).copied(), pair.difference.unwrap_or_default())) {
                    @if let Some(difference) = pair.difference.filter(|_| !pair.is_same()) {
                        @if difference > 0.0 { "+" } (format::number_auto(difference))
                    }
                }
                td.from { @if pair.within_intervals == Some(true) && !pair.is_same() { "in both intervals" } }
            }
        } }
    } }
}

fn stages(pairs: &[StagePair]) -> Markup {
    let quiet = |end: &Option<StageEnd>| end.as_ref().is_some_and(|end| end.outcome == Outcome::Fresh);
    let (same, shown): (Vec<&StagePair>, Vec<&StagePair>) =
        pairs.iter().partition(|pair| quiet(&pair.old) && quiet(&pair.new));
    let rows = |pairs: &[&StagePair]| {
        html! { table.versus {
            thead { tr { th scope="col" { "stage" } th scope="col" { "old" } th scope="col" { "new" } } }
            tbody { @for pair in pairs { tr {
                th scope="row" { (pair.stage) }
                td.old { (end(pair.old.as_ref())) }
                td { (end(pair.new.as_ref())) }
            } } }
        } }
    };
    html! {
        section #stages {
            h2 { "Stages" }
            @if !shown.is_empty() { (scroll("Stages", &rows(&shown))) }
            @if !same.is_empty() {
                details { summary { (format::count(same.len(), "stage")) " fresh in both" }
                    (scroll("Stages that were fresh in both", &rows(&same))) }
            }
        }
    }
}

/// `ran 12 min 3 s`, `fresh (12 min 3 s)`: in brackets how long the execution took that its outputs are from.
fn end(end: Option<&StageEnd>) -> Markup {
    let Some(end) = end else { return html! { span.missing { "–" } } };
    html! {
        @if end.outcome.is_done() { (end.words()) } @else { span.worse { (end.words()) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, Sample};
    use crate::tests::check;
    use history::{History, compare};
    use record::RunRecord;

    fn page(sample: &Sample, spec: &ReportSpec) -> String {
        let (before, old_records) = &sample.previous;
        let history = History::new(vec![before.clone(), sample.run.clone()]);
        let digest = |run: &RunRecord| history.digest(history.find(&run.id).unwrap(), &|_| None);
        let (old, new) = (digest(before), digest(&sample.run));
        let sides =
            [Side { run: before, records: old_records }, Side { run: &sample.run, records: &sample.records }];
        comparison(
            &Versus {
                title: &sample.run.pipeline,
                old: (&old, sides[0]),
                new: (&new, sides[1]),
                comparison: &compare(sides[0], sides[1]),
                spec,
                directions: &crate::front::directions(spec),
                past: &sample.past,
            },
            &Markup::default(),
        )
    }

    #[test]
    fn every_section_is_there() {
        let sample = sample::gate_inconclusive();
        let html = page(&sample, &sample.definition.report);
        check(&html);
        for text in [
            "<h2>Gates</h2>",
            "~ inconclusive",
            "is not shown to be &gt;= 92",
            "INT8 static, accuracy %",
            "<td class=\"num better\">+0.37</td>",
            "vars.label_smoothing",
            "91.43 [91.25, 92.32]",
            "in both intervals",
            "1 stage fresh in both",
            "<h2>Trade-off</h2>",
            "ringed: the new run",
        ] {
            assert!(html.contains(text), "no {text}");
        }
    }

    /// Renders a page where a person can look at it, as the report's samples are.
    #[test]
    fn a_sample_is_written_on_demand() {
        let Some(folder) = std::env::var_os("PIPE_REPORT_SAMPLES") else { return };
        let sample = sample::gate_inconclusive();
        let html = page(&sample, &sample.definition.report);
        std::fs::write(std::path::PathBuf::from(folder).join("comparison.html"), html).unwrap();
    }

    #[test]
    fn without_a_valid_pipeline_there_is_the_rest() {
        let html = page(&sample::tinynet(), &ReportSpec::default());
        check(&html);
        assert!(
            html.contains("vars.label_smoothing")
                && !html.contains("id=\"results\"")
                && !html.contains("Trade-off")
        );
    }

    #[test]
    fn hostile_text_stays_text() {
        let evil = "<script>alert(1)</script>\"onload=\"x' onerror='y<!--";
        let mut sample = sample::gate_fails();
        sample.run.pipeline = evil.into();
        sample.run.vars.insert(evil.into(), evil.into());
        sample.run.profile = Some(evil.into());
        for gate in &mut sample.run.gates {
            (gate.expression, gate.message) = (evil.into(), evil.into());
        }
        for record in sample.records.values_mut() {
            record.metrics.insert(evil.into(), protocol::Metric::new(1.0, evil));
        }
        for column in &mut sample.definition.report.columns {
            (column.label, column.prefix) = (evil.into(), evil.into());
        }
        let html = page(&sample, &sample.definition.report);
        check(&html);
        assert_eq!(html.matches("<script").count(), 1, "the page's own");
    }
}
