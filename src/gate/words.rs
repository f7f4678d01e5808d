//! What a gate says of its outcome. Pure text.

use std::collections::BTreeSet;

use super::Verdict;
use super::expression::Comparison;

/// A gate of which something is uncertain.
pub(super) struct Decided {
    pub(super) value: f64,
    pub(super) interval: Option<[f64; 2]>,
    pub(super) comparison: Comparison,
    pub(super) limit: f64,
    pub(super) verdict: Verdict,
    /// What the uncertain metrics are based on.
    pub(super) bases: Vec<String>,
}

/// `325.2 < 500`, or `79.29 is not >= 85`.
pub(super) fn exact(value: f64, comparison: Comparison, limit: f64, satisfied: bool) -> String {
    let Shown { value, limit, .. } = readable(value, limit, None);
    let verb = if satisfied { "" } else { "is not " };
    format!("{value} {verb}{comparison} {limit}")
}

/// `84.62, 95 % interval 83.90 to 85.31, is not shown to be >= 85: evaluate more images`.
pub(super) fn uncertain(decided: &Decided) -> String {
    let Shown { value, interval, limit } = readable(decided.value, decided.limit, decided.interval);
    let interval = match interval {
        Some([low, high]) => format!("95 % interval {low} to {high}"),
        None => "without bounds".into(),
    };
    let comparison = decided.comparison;
    let (verb, next) = match decided.verdict {
        Verdict::Pass => ("is", String::new()),
        Verdict::Fail => ("is not", String::new()),
        Verdict::Inconclusive | Verdict::Unknown => ("is not shown to be", format!(": {}", next(decided))),
    };
    format!("{value}, {interval}, {verb} {comparison} {limit}{next}")
}

/// What makes a gate conclusive.
fn next(decided: &Decided) -> &'static str {
    if decided.comparison.is_about_equality() {
        "an interval can show a difference only; compare with `<=` or `>=`"
    } else if !decided.bases.is_empty() && decided.bases.iter().all(|basis| basis.contains("image")) {
        "evaluate more images"
    } else {
        "measure more"
    }
}

/// Which metrics are not there.
pub(super) fn missing(names: impl IntoIterator<Item = String>) -> String {
    let missing: BTreeSet<String> = names.into_iter().collect();
    let names = missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match missing.len() {
        0 => "the value is too large to compare".into(),
        1 => format!("metric {names} is not there"),
        _ => format!("metrics {names} are not there"),
    }
}

/// Numbers as people read them.
struct Shown {
    value: String,
    interval: Option<[String; 2]>,
    limit: String,
}

/// The numbers, rounded for people, but never so far that different numbers look the same as the limit.
fn readable(value: f64, limit: f64, interval: Option<[f64; 2]>) -> Shown {
    let numbers = || std::iter::once(value).chain(interval.into_iter().flatten());
    for more in 0..16 {
        let shown = rounded(limit, more);
        if numbers().all(|number| number.total_cmp(&limit).is_eq() || rounded(number, more) != shown) {
            let ends = interval.map(|ends| even(ends.map(|end| rounded(end, more))));
            return Shown { value: rounded(value, more), interval: ends, limit: shown };
        }
    }
    Shown {
        value: value.to_string(),
        interval: interval.map(|ends| ends.map(|end| end.to_string())),
        limit: limit.to_string(),
    }
}

/// Both with as many decimals as the one that has more.
fn even(numbers: [String; 2]) -> [String; 2] {
    if numbers.iter().any(|number| number.contains('e')) {
        return numbers;
    }
    let decimals = |number: &String| number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let most = numbers.iter().map(decimals).max().unwrap_or(0);
    numbers.map(|number| {
        let lacking = most - decimals(&number);
        let point = if decimals(&number) == 0 && lacking > 0 { "." } else { "" };
        format!("{number}{point}{}", "0".repeat(lacking))
    })
}

/// `number` with about four significant digits, `more` decimals beyond that, and no zeros at the end.
fn rounded(number: f64, more: usize) -> String {
    let decimals = match number.abs() {
        size if size >= 1e15 || (size > 0.0 && size < 1e-6) => return format!("{number:e}"),
        size if size >= 1000.0 => 1,
        size if size >= 10.0 => 2,
        size if size >= 1.0 => 3,
        size if size >= 0.01 => 4,
        _ => 7,
    };
    let text = format!("{number:.*}", decimals + more);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".into() } else { text.into() }
}
