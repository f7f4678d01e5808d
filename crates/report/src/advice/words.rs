//! The answer to what to ship where it is none, in words, and the words for gates and columns in it.

use std::collections::BTreeSet;

use pipeline::gate::{GateResult, Verdict};
use text::format;

use super::MOST_NAMED;
use super::criteria::Criterion;

/// Why nothing is chosen in a run of some stages.
pub(super) fn not_checked(gates: &[String]) -> String {
    let more = gates.len().saturating_sub(MOST_NAMED);
    let mut named: Vec<String> = gates.iter().take(MOST_NAMED).map(|gate| format!("`{gate}`")).collect();
    if more > 0 {
        named.push(format::count(more, "more gate"));
    }
    format!("Not chosen: this run did not check {}.", format::list(&named))
}

/// Why variants of a sweep are not chosen from.
pub(super) fn not_chosen(tested: &[&Criterion<'_>]) -> String {
    let were = if tested.len() == 1 { "was" } else { "were" };
    format!(
        "Not chosen: {} {were} measured on test images, and the best of many variants on the test images looks better than it \
         is. A column with `better` that shows a metric of validation images chooses.",
        labels(tested)
    )
}

/// Why variants of which test images chose something already are not chosen from.
pub(super) fn not_chosen_again(said: &BTreeSet<String>) -> String {
    let more = said.len().saturating_sub(MOST_NAMED);
    let mut named: Vec<String> = said.iter().take(MOST_NAMED).cloned().collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    format!(
        "Not chosen: test images chose in what the variants were made from ({}), and the best of many on the test images looks \
         better than it is.",
        named.join("; ")
    )
}

/// `fails \`a.x > 1\` and \`a.y > 1\``; where what a gate names was not measured, `is not known to satisfy \`a.x > 1\``.
pub(super) fn fails(gates: &[&GateResult]) -> String {
    let (unknown, failed): (Vec<&GateResult>, Vec<&GateResult>) =
        gates.iter().partition(|gate| gate.verdict == Verdict::Unknown);
    let kinds = [(failed, "fails"), (unknown, "is not known to satisfy")];
    let said: Vec<String> = kinds
        .iter()
        .filter(|(gates, _)| !gates.is_empty())
        .map(|(gates, verb)| format!("{verb} {}", named(gates)))
        .collect();
    format::list(&said)
}

/// `\`a.x > 1\` and \`a.y > 1\``
pub(super) fn named(gates: &[&GateResult]) -> String {
    let gates: Vec<String> = gates.iter().map(|gate| format!("`{}`", gate.expression)).collect();
    format::list(&gates)
}

pub(super) fn labels(criteria: &[&Criterion<'_>]) -> String {
    let labels: Vec<String> = criteria.iter().map(|it| it.label.clone()).collect();
    format::list(&labels)
}
