//! What a gate says of its outcome. Pure text.

use std::collections::BTreeSet;

use super::expression::Comparison;
use super::{Baseline, Verdict};

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

/// Which earlier run it was.
pub(super) fn compared(baseline: &Baseline) -> String {
    let elsewhere = baseline.other_cpu.as_ref().map(|cpu| format!(", measured on another CPU, {cpu}"));
    let provisional = match named(baseline.provisional.iter().map(String::as_str)) {
        None => String::new(),
        Some(stages) => format!(", in which {stages} was provisional"),
    };
    format!(" (compared with run {}{}{provisional})", baseline.run.run, elsewhere.unwrap_or_default())
}

/// That numbers of these stages are no answer yet.
pub(super) fn provisional(stages: &BTreeSet<&str>) -> String {
    let Some(stages) = named(stages.iter().copied()) else { return String::new() };
    format!("; {stages} is provisional, and measured again by the next run")
}

/// `bench` and others, if there are any.
fn named<'a>(stages: impl Iterator<Item = &'a str>) -> Option<String> {
    let stages: Vec<String> = stages.map(|stage| format!("`{stage}`")).collect();
    (!stages.is_empty()).then(|| stages.join(", "))
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
    for more in 0..16 {
        let shown = rounded(limit, more);
        let differs = |number: f64, text: &str| {
            number.total_cmp(&limit).is_eq() || text.parse::<f64>().ok() != shown.parse::<f64>().ok()
        };
        let text = rounded(value, more);
        let ends = interval.map(|ends| (ends, both(ends, more)));
        let mut all = ends.iter().flat_map(|(ends, texts)| ends.iter().zip(texts));
        if differs(value, &text) && all.all(|(end, text)| differs(*end, text)) {
            return Shown { value: text, interval: ends.map(|(_, texts)| texts), limit: shown };
        }
    }
    Shown {
        value: value.to_string(),
        interval: interval.map(|ends| ends.map(|end| end.to_string())),
        limit: limit.to_string(),
    }
}

/// Both with as many decimals as the larger one deserves, and no zeros at the end that both have.
fn both(numbers: [f64; 2], more: usize) -> [String; 2] {
    let [low, high] = numbers;
    let Some(decimals) = decimals(low.abs().max(high.abs())) else {
        return numbers.map(|number| rounded(number, more));
    };
    let mut texts = numbers.map(|number| format!("{number:.*}", decimals + more));
    while texts.iter().all(|text| text.contains('.') && text.ends_with(['0', '.'])) {
        for text in &mut texts {
            text.pop();
        }
    }
    texts
}

/// `number` with about four significant digits, `more` decimals beyond that, and no zeros at the end.
fn rounded(number: f64, more: usize) -> String {
    let Some(decimals) = decimals(number.abs()) else { return format!("{number:e}") };
    let text = format!("{number:.*}", decimals + more);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".into() } else { text.into() }
}

/// How many decimals a number of this size is shown with; `None` where it is too large or too small to be written out.
fn decimals(size: f64) -> Option<usize> {
    Some(match size {
        size if size >= 1e15 || (size > 0.0 && size < 1e-6) => return None,
        size if size >= 1000.0 => 1,
        size if size >= 10.0 => 2,
        size if size >= 1.0 => 3,
        size if size >= 0.01 => 4,
        _ => 7,
    })
}
