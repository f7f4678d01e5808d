//! The verdict: did the run do what was asked, and which gates hold. Failing ones first.

use maud::{Markup, html};
use pipeline::gate::{Gate, GateResult, Judgement, sorted};
use protocol::Metric;
use record::Outcome;
use schemars::JsonSchema;
use serde::Serialize;
use text::format;

use super::{Input, prose, results};

/// A sentence, then the gates.
pub(super) fn verdict(input: &Input) -> Markup {
    let (state, sentence) = sentence(input);
    html! {
        div.verdict.(state.class()) {
            p.headline { (sentence) }
            @if !input.run.gates.is_empty() {
                ul.gates {
                    @for gate in sorted(&input.run.gates, input.run.certain) { (item(input, gate)) }
                }
            }
        }
    }
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
    /// A gate fails, or is inconclusive and not satisfied as measured, or only that where certainty was asked for.
    GateFailed,
    /// A gate is inconclusive, though satisfied as measured; the others hold.
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
        [] if run.stages.is_empty() => (State::Unknown, "No stage has ended yet.".into()),
        [] if run.stages.len() == 1 => (State::Done, "The one stage is done.".into()),
        [] => (State::Done, format!("All {} are done.", format::count(run.stages.len(), "stage"))),
        _ => judged(&run.judgements(), run.certain),
    }
}

/// The sentence on gates: how many came to what that is not good, what ends the run badly first.
fn judged(gates: &[Judgement], certain: bool) -> (State, String) {
    let all = gates.len();
    let kinds = [Judgement::Fails, Judgement::Missed, Judgement::Unknown, Judgement::Inconclusive];
    let counts = kinds.map(|kind| (kind, gates.iter().filter(|gate| **gate == kind).count()));
    let counts: Vec<(Judgement, usize)> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    let Some(((worst, count), rest)) = counts.split_first() else {
        let sentence = if all == 1 { "The gate holds.".into() } else { format!("All {all} gates hold.") };
        return (State::Pass, sentence);
    };
    let first = match (all, *count) {
        (1, _) => "The gate".into(),
        (_, 1) => format!("One of {all} gates"),
        (_, count) => format!("{count} of {all} gates"),
    };
    let clause = |kind: Judgement, count: usize| {
        let be = if count == 1 { "is" } else { "are" };
        let it = if count == 1 { "it" } else { "them" };
        match kind {
            Judgement::Fails => if count == 1 { "fails" } else { "fail" }.to_owned(),
            Judgement::Missed if certain => format!("{be} inconclusive, and certainty was asked for"),
            Judgement::Missed if counts.len() == 1 => {
                format!("{be} inconclusive: what was measured does not satisfy {it}, but not for certain")
            }
            Judgement::Missed => format!("{be} inconclusive and not satisfied by what was measured"),
            Judgement::Unknown => "could not be judged".to_owned(),
            Judgement::Inconclusive if counts.len() == 1 => {
                format!("{be} inconclusive: what was measured satisfies {it}, but not for certain")
            }
            Judgement::Inconclusive => format!("{be} inconclusive but satisfied"),
            Judgement::Holds => if count == 1 { "holds" } else { "hold" }.to_owned(),
        }
    };
    let mut sentence = format!("{first} {}", clause(*worst, *count));
    for (kind, count) in rest {
        let number = if *count == 1 { "one".to_owned() } else { count.to_string() };
        sentence.push_str(&format!("; {number} {}", clause(*kind, *count)));
    }
    sentence.push('.');
    let state = match worst {
        Judgement::Fails | Judgement::Missed => State::GateFailed,
        Judgement::Unknown => State::Unknown,
        Judgement::Inconclusive => State::Inconclusive,
        Judgement::Holds => State::Pass,
    };
    (state, sentence)
}

fn item(input: &Input, gate: &GateResult) -> Markup {
    let judgement = gate.judgement(input.run.certain);
    let class = match judgement {
        Judgement::Holds => "holds",
        Judgement::Fails | Judgement::Missed => "fails",
        Judgement::Unknown | Judgement::Inconclusive => "unknown",
    };
    html! {
        li.(class) {
            span.mark aria-hidden="true" { (judgement.light_mark()) }
            div {
                code { (gate.expression) }
                p.small {
                    strong { (judgement.word()) }
                    @if !gate.message.is_empty() { ": " (prose(&gate.message)) }
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
    use crate::sample;
    use pipeline::gate::Verdict;
    use record::RunRecord;

    #[test]
    fn the_sentence_agrees_with_the_exit_code() {
        let said = |change: fn(&mut RunRecord), state: State, sentence: &str| {
            let mut sample = sample::gate_inconclusive();
            change(&mut sample.run);
            assert_eq!(super::sentence(&sample.input()), (state, sentence.into()));
            let passes = sample.run.judgements().into_iter().all(Judgement::lets_pass);
            assert_eq!(
                passes,
                matches!(state, State::Pass | State::Inconclusive | State::Done),
                "{sentence}"
            );
        };
        let failed = State::GateFailed;
        let both = "One of 3 gates is inconclusive and not satisfied by what was measured; one is inconclusive but \
                    satisfied.";
        said(|_| (), failed, both);
        let met = "One of 2 gates is inconclusive: what was measured satisfies it, but not for certain.";
        said(|run| run.gates.truncate(2), State::Inconclusive, met);
        let missed = "The gate is inconclusive: what was measured does not satisfy it, but not for certain.";
        said(|run| drop(run.gates.drain(..2)), failed, missed);
        let fails = "One of 3 gates fails; one is inconclusive and not satisfied by what was measured; one is \
                     inconclusive but satisfied.";
        said(|run| run.gates[0].verdict = Verdict::Fail, failed, fails);
        let unknown = "One of 2 gates could not be judged; one is inconclusive but satisfied.";
        let change = |run: &mut RunRecord| {
            run.gates.truncate(2);
            run.gates[0].verdict = Verdict::Unknown;
        };
        said(change, State::Unknown, unknown);
        let fails = "One of 2 gates fails; one could not be judged.";
        let change = |run: &mut RunRecord| {
            run.gates.truncate(2);
            run.gates[0].verdict = Verdict::Unknown;
            run.gates[1].verdict = Verdict::Fail;
        };
        said(change, failed, fails);
        let certain = "2 of 3 gates are inconclusive, and certainty was asked for.";
        said(|run| run.certain = true, failed, certain);
        said(|run| run.gates.truncate(1), State::Pass, "The gate holds.");
        said(|run| run.gates.clear(), State::Done, "All 9 stages are done.");
        let one_stage = |run: &mut RunRecord| {
            run.gates.clear();
            run.stages.truncate(1);
        };
        said(one_stage, State::Done, "The one stage is done.");
    }

    #[test]
    fn rounding_never_hides_a_difference_from_the_limit() {
        let mut sample = sample::tinynet();
        let lookup = |_: &str, _: &str| Some(Metric::new(84.9999, "%"));
        sample.run.gates = vec![Gate::parse("a.x < 85").unwrap().evaluate(&lookup, None)];
        let html = verdict(&sample.input()).into_string();
        assert!(html.contains("<strong>holds</strong>: 84.9999 &lt; 85"), "{html}");
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
