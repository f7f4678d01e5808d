//! The verdict: did the run do what was asked, and which gates hold. Failing ones first.

use maud::{Markup, html};
use protocol::Metric;

use super::{Input, prose, results};
use crate::format;
use crate::gate::{Gate, GateResult, Verdict};
use crate::record::Outcome;

/// A sentence, then the gates.
pub(super) fn verdict(input: &Input) -> Markup {
    let (class, sentence) = sentence(input);
    let mut gates: Vec<&GateResult> = input.run.gates.iter().collect();
    gates.sort_by_key(|gate| match gate.verdict {
        Verdict::Fail => 0,
        Verdict::Unknown => 1,
        Verdict::Pass => 2,
    });
    html! {
        div.verdict.(class) {
            p.headline { (sentence) }
            @if !gates.is_empty() {
                ul.gates {
                    @for gate in gates { (item(input, gate)) }
                }
            }
        }
    }
}

fn sentence(input: &Input) -> (&'static str, String) {
    let run = input.run;
    let names = |wanted: fn(&Outcome) -> bool| -> Vec<String> {
        run.stages.iter().filter(|s| wanted(&s.outcome)).map(|s| s.stage.to_string()).collect()
    };
    let failed = names(|outcome| matches!(outcome, Outcome::Failed { .. }));
    let blocked = names(|outcome| matches!(outcome, Outcome::Blocked { .. }));
    let interrupted = names(|outcome| matches!(outcome, Outcome::Interrupted));
    if !failed.is_empty() {
        let rest = match blocked.len() {
            0 => String::new(),
            1 => "; 1 stage was not reached".into(),
            n => format!("; {n} stages were not reached"),
        };
        return ("fails", format!("The run failed in {}{rest}.", format::list(&failed)));
    }
    if !interrupted.is_empty() {
        return ("unknown", "The run was interrupted before all stages were done.".into());
    }
    let count = |verdict| run.gates.iter().filter(|gate| gate.verdict == verdict).count();
    let (all, fail, unknown) = (run.gates.len(), count(Verdict::Fail), count(Verdict::Unknown));
    match (all, fail, unknown) {
        (0, ..) => ("plain", format!("All {} are done.", format::count(run.stages.len(), "stage"))),
        (1, 0, 0) => ("holds", "The gate holds.".into()),
        (all, 0, 0) => ("holds", format!("All {all} gates hold.")),
        (1, 1, _) => ("fails", "The gate fails.".into()),
        (all, 1, _) => ("fails", format!("One of {all} gates fails.")),
        (all, fail, _) if fail > 0 => ("fails", format!("{fail} of {all} gates fail.")),
        (1, ..) => ("unknown", "The gate could not be judged.".into()),
        (all, _, unknown) => ("unknown", format!("{unknown} of {all} gates could not be judged.")),
    }
}

fn item(input: &Input, gate: &GateResult) -> Markup {
    let (class, mark, word) = match gate.verdict {
        Verdict::Pass => ("holds", "✓", "holds"),
        Verdict::Fail => ("fails", "✕", "fails"),
        Verdict::Unknown => ("unknown", "?", "not known"),
    };
    html! {
        li.(class) {
            span.mark aria-hidden="true" { (mark) }
            div {
                code { (gate.expression) }
                p.small {
                    strong { (word) }
                    @match (gate.verdict, gate.value) {
                        (Verdict::Pass, Some(value)) => { ": " (format::number_auto(value)) }
                        _ => { @if !gate.message.is_empty() { ": " (prose(&gate.message)) } }
                    }
                    @for text in certainties(input, gate) { " · " (text) }
                }
            }
        }
    }
}

/// The metrics that an expression names, as far as they are known.
fn metrics<'a>(input: &'a Input, expression: &str) -> Vec<(String, &'a Metric)> {
    let Ok(gate) = Gate::parse(expression) else { return Vec::new() };
    let named = gate.metrics().into_iter().filter_map(|(stage, name)| {
        let (_, metric) = results::find(input.records, stage, name)?;
        Some((format!("{stage}.{name}"), metric))
    });
    named.collect()
}

/// With what certainty the metrics of a gate are known. Where the gate judges one metric as it is, its name and
/// value are not repeated.
fn certainties(input: &Input, gate: &GateResult) -> Vec<String> {
    let metrics = metrics(input, &gate.expression);
    let alone = matches!(metrics.as_slice(), [(_, metric)] if gate.value == Some(metric.value));
    let number = |value| format::number_auto(value);
    let text = |(name, metric): &(String, &Metric)| {
        let range = |[low, high]: [f64; 2]| format!("95 % interval {} to {}", number(low), number(high));
        let basis = Some(metric.basis.clone()).filter(|basis| !basis.is_empty());
        let parts: Vec<String> = [metric.interval.map(range), basis].into_iter().flatten().collect();
        let known = parts.join(", ");
        match (known.is_empty(), alone) {
            (true, _) => None,
            (false, true) => Some(known),
            (false, false) => Some(format!("{name} {} {} ({known})", number(metric.value), metric.unit)),
        }
    };
    metrics.iter().filter_map(text).collect()
}
