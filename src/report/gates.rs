//! The verdict: did the run do what was asked, and which gates hold. Failing ones first.

use maud::{Markup, html};
use protocol::Metric;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Input, prose, results};
use crate::format;
use crate::gate::{Gate, GateResult, Verdict};
use crate::record::Outcome;

/// A sentence, then the gates.
pub(super) fn verdict(input: &Input) -> Markup {
    let (state, sentence) = sentence(input);
    html! {
        div.verdict.(state.class()) {
            p.headline { (sentence) }
            @if !input.run.gates.is_empty() {
                ul.gates {
                    @for gate in sorted(&input.run.gates) { (item(input, gate)) }
                }
            }
        }
    }
}

/// The gates, those to look at first.
pub(crate) fn sorted(gates: &[GateResult]) -> Vec<&GateResult> {
    let mut gates: Vec<&GateResult> = gates.iter().collect();
    gates.sort_by_key(|gate| gate.rank());
    gates
}

/// What a run came to, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RunState")]
pub enum State {
    /// All stages are done, and there are no gates.
    Done,
    /// All stages are done, and all gates hold.
    Pass,
    /// A gate fails, or is inconclusive and not satisfied as measured.
    GateFailed,
    /// A gate is inconclusive, though satisfied as measured; none fails.
    Inconclusive,
    /// A gate names what is not known; none fails.
    Unknown,
    /// A stage failed.
    Failed,
    /// The run was interrupted.
    Interrupted,
}

impl State {
    fn class(self) -> &'static str {
        match self {
            Self::Done => "plain",
            Self::Pass => "holds",
            Self::GateFailed | Self::Failed => "fails",
            Self::Inconclusive | Self::Unknown | Self::Interrupted => "unknown",
        }
    }
}

/// What the run came to, in a sentence.
pub(super) fn sentence(input: &Input) -> (State, String) {
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
        return (State::Failed, format!("The run failed in {}{rest}.", format::list(&failed)));
    }
    if !interrupted.is_empty() {
        return (State::Interrupted, "The run was interrupted before all stages were done.".into());
    }
    match run.gates.as_slice() {
        [] => (State::Done, format!("All {} are done.", format::count(run.stages.len(), "stage"))),
        gates => judged(gates),
    }
}

/// The sentence on gates.
fn judged(gates: &[GateResult]) -> (State, String) {
    let all = gates.len();
    let count = |wanted: &dyn Fn(&GateResult) -> bool| gates.iter().filter(|gate| wanted(gate)).count();
    let of = |verdict| count(&|gate| gate.verdict == verdict);
    let (fail, inconclusive, unknown) = (of(Verdict::Fail), of(Verdict::Inconclusive), of(Verdict::Unknown));
    let missed = count(&|gate| gate.verdict == Verdict::Inconclusive && !gate.lets_pass(false));
    let some = |n: usize, one: &str, more: &str| match (all, n) {
        (1, _) => format!("The gate {one}"),
        (_, 1) => format!("One of {all} gates {one}"),
        _ => format!("{n} of {all} gates {more}"),
    };
    let also = |n: usize, what: &str| match n {
        0 => String::new(),
        1 => format!("; one {what}"),
        n => format!("; {n} {what}"),
    };
    if fail > 0 {
        let rest = also(inconclusive, if inconclusive == 1 { "is inconclusive" } else { "are inconclusive" });
        return (State::GateFailed, format!("{}{rest}.", some(fail, "fails", "fail")));
    }
    if inconclusive > 0 {
        let which = some(inconclusive, "is inconclusive", "are inconclusive");
        return match (missed, inconclusive) {
            (0, 1) => (
                State::Inconclusive,
                format!("{which}: what was measured satisfies it, but not for certain."),
            ),
            (0, _) => (
                State::Inconclusive,
                format!("{which}: what was measured satisfies them, but not for certain."),
            ),
            (1, 1) => (
                State::GateFailed,
                format!("{which}: what was measured does not satisfy it, but not for certain."),
            ),
            (missed, _) => {
                let verb = if missed == 1 { "is" } else { "are" };
                (State::GateFailed, format!("{which}; {missed} {verb} not satisfied by what was measured."))
            }
        };
    }
    match (all, unknown) {
        (1, 0) => (State::Pass, "The gate holds.".into()),
        (all, 0) => (State::Pass, format!("All {all} gates hold.")),
        (1, _) => (State::Unknown, "The gate could not be judged.".into()),
        (all, unknown) => (State::Unknown, format!("{unknown} of {all} gates could not be judged.")),
    }
}

fn item(input: &Input, gate: &GateResult) -> Markup {
    let (class, mark, word) = match gate.verdict {
        Verdict::Pass => ("holds", "✓", "holds"),
        Verdict::Fail => ("fails", "✕", "fails"),
        Verdict::Inconclusive if !gate.lets_pass(false) => ("fails", "✕", "inconclusive"),
        Verdict::Inconclusive => ("unknown", "~", "inconclusive"),
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
                        (Verdict::Pass, Some(value)) if !gate.is_first() => {
                            ": " (format::number_auto(value))
                            @if let Some(interval) = gate.interval { ", " (range(interval)) }
                            @if let Some(baseline) = &gate.baseline { " (compared with run " (baseline.run) ")" }
                        }
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

fn range([low, high]: [f64; 2]) -> String {
    format!("95 % interval {} to {}", format::number_auto(low), format::number_auto(high))
}

/// With what certainty the metrics of a gate are known. Where the gate judges one metric as it is, its name and
/// value are not repeated, nor the interval that decided.
fn certainties(input: &Input, gate: &GateResult) -> Vec<String> {
    let metrics = metrics(input, &gate.expression);
    let alone = matches!(metrics.as_slice(), [(_, metric)] if gate.value == Some(metric.value));
    let text = |(name, metric): &(String, &Metric)| {
        let interval = metric.interval.filter(|_| !(alone && gate.interval.is_some()));
        let basis = Some(metric.basis.clone()).filter(|basis| !basis.is_empty());
        let parts: Vec<String> = [interval.map(range), basis].into_iter().flatten().collect();
        let known = parts.join(", ");
        match (known.is_empty(), alone) {
            (true, _) => None,
            (false, true) => Some(known),
            (false, false) => {
                Some(format!("{name} {} {} ({known})", format::number_auto(metric.value), metric.unit))
            }
        }
    };
    metrics.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn said(change: impl Fn(&mut Vec<GateResult>)) -> (State, String) {
        let mut sample = sample::gate_inconclusive();
        change(&mut sample.run.gates);
        sentence(&sample.input())
    }

    #[test]
    fn the_sentence_agrees_with_the_exit_code() {
        assert_eq!(
            said(|_| ()),
            (
                State::GateFailed,
                "2 of 3 gates are inconclusive; 1 is not satisfied by what was measured.".into()
            )
        );
        let (state, sentence) = said(|gates| gates.truncate(2));
        assert_eq!(state, State::Inconclusive);
        assert_eq!(
            sentence,
            "One of 2 gates is inconclusive: what was measured satisfies it, but not for certain."
        );
        let (state, sentence) = said(|gates| drop(gates.drain(..2)));
        assert_eq!(state, State::GateFailed);
        assert_eq!(
            sentence,
            "The gate is inconclusive: what was measured does not satisfy it, but not for certain."
        );
        let (state, sentence) = said(|gates| gates[0].verdict = Verdict::Fail);
        assert_eq!(
            (state, sentence.as_str()),
            (State::GateFailed, "One of 3 gates fails; 2 are inconclusive.")
        );
        assert_eq!(said(|gates| gates.truncate(1)), (State::Pass, "The gate holds.".into()));
        assert_eq!(said(Vec::clear), (State::Done, "All 9 stages are done.".into()));
    }

    #[test]
    fn what_fails_stands_first_and_intervals_are_said_once() {
        let sample = sample::gate_inconclusive();
        let html = verdict(&sample.input()).into_string();
        let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("no {text}: {html}"));
        assert!(
            at("accuracy &gt;= 92") < at("drop &lt; 0.05") && at("drop &lt; 0.05") < at("size_kb &lt; 500")
        );
        assert_eq!(html.matches("95 % interval 91.25 to 92.32").count(), 1, "{html}");
        assert!(
            html.contains("is not shown to be &gt;= 92: evaluate more images · 10,000 test images"),
            "{html}"
        );
    }
}
