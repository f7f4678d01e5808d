//! Gates: what the result must satisfy, as comparisons of metrics.

mod expression;

use std::collections::BTreeSet;
use std::fmt;

use protocol::Metric;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use expression::GateError;
use expression::{Comparison, Expr};

/// A gate: `expr CMP expr`, with CMP one of `<`, `<=`, `>`, `>=`, `==`, `!=`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// As written.
    pub expression: String,
    left: Expr,
    comparison: Comparison,
    right: Expr,
}

/// How a gate came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateResult {
    /// The gate as written.
    pub expression: String,
    /// Pass, fail or not known.
    pub verdict: Verdict,
    /// Value of the left side, where it is known.
    pub value: Option<f64>,
    /// Value of the right side, where it is known.
    pub limit: Option<f64>,
    /// In words, such as `79.29 is not >= 85`, or what is missing.
    pub message: String,
}

/// How a gate came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Satisfied.
    Pass,
    /// Not satisfied.
    Fail,
    /// A metric it names is not there.
    Unknown,
}

impl Gate {
    /// Reads a gate.
    ///
    /// # Errors
    /// When `text` is not a comparison of two sums, differences or products of metrics (`stage.metric`) and numbers.
    pub fn parse(text: &str) -> Result<Self, GateError> {
        let (left, comparison, right) = expression::parse(text)?;
        Ok(Self { expression: text.trim().into(), left, comparison, right })
    }

    /// The gate with another stage in each metric for which `rename` knows one.
    ///
    /// # Errors
    /// When it becomes too long.
    pub fn renamed(&self, rename: &dyn Fn(&str) -> Option<String>) -> Result<Self, GateError> {
        Self::parse(&expression::renamed(&self.expression, rename)?)
    }

    /// The stages whose metrics it names.
    #[must_use]
    pub fn stages(&self) -> BTreeSet<&str> {
        self.metrics().into_iter().map(|(stage, _)| stage).collect()
    }

    /// Stage and metric of every metric it names, left to right.
    #[must_use]
    pub fn metrics(&self) -> Vec<(&str, &str)> {
        let mut metrics = Vec::new();
        for side in [&self.left, &self.right] {
            side.visit(&mut |stage, metric| metrics.push((stage, metric)));
        }
        metrics
    }

    /// Decides the gate. `lookup` yields the metric of a stage, by stage and metric name.
    pub fn evaluate(&self, lookup: &dyn Fn(&str, &str) -> Option<Metric>) -> GateResult {
        let left = self.left.value(lookup);
        let right = self.right.value(lookup);
        let value = left.as_ref().ok().copied().filter(|value| value.is_finite());
        let limit = right.as_ref().ok().copied().filter(|limit| limit.is_finite());
        let (verdict, message) = match (value, limit) {
            (Some(value), Some(limit)) => self.decide(value, limit),
            _ => (Verdict::Unknown, explain_missing(left.err(), right.err())),
        };
        GateResult { expression: self.expression.clone(), verdict, value, limit, message }
    }

    fn decide(&self, value: f64, limit: f64) -> (Verdict, String) {
        let passes = self.comparison.holds(value, limit);
        let (value, limit) = readable(value, limit);
        let comparison = self.comparison;
        if passes {
            (Verdict::Pass, format!("{value} {comparison} {limit}"))
        } else {
            (Verdict::Fail, format!("{value} is not {comparison} {limit}"))
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.expression)
    }
}

fn explain_missing(left: Option<Vec<String>>, right: Option<Vec<String>>) -> String {
    let missing: BTreeSet<String> = left.into_iter().chain(right).flatten().collect();
    let names = missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match missing.len() {
        0 => "the value is too large to compare".into(),
        1 => format!("metric {names} is not there"),
        _ => format!("metrics {names} are not there"),
    }
}

/// Both numbers, rounded for people, but never so far that different numbers look the same.
fn readable(value: f64, limit: f64) -> (String, String) {
    let differ = value.total_cmp(&limit).is_ne();
    for more in 0..16 {
        let texts = (rounded(value, more), rounded(limit, more));
        if !differ || texts.0 != texts.1 {
            return texts;
        }
    }
    (value.to_string(), limit.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn metrics(stage: &str, metric: &str) -> Option<Metric> {
        let value = match (stage, metric) {
            ("export", "size_kb") => 325.2,
            ("evaluate", "onnx_fp32.accuracy") => 91.82,
            ("evaluate", "int8-static.accuracy") => 79.291,
            ("bench", "batch128.median_ms") => 84.999_9,
            ("a-b", "x") => 2.0,
            ("bad", "infinite") => f64::INFINITY,
            _ => return None,
        };
        Some(Metric::new(value, ""))
    }

    fn outcome(text: &str) -> (Verdict, String) {
        let result = Gate::parse(text).unwrap().evaluate(&metrics);
        (result.verdict, result.message)
    }

    #[test]
    fn verdicts_in_words() {
        assert_eq!(outcome("export.size_kb < 500"), (Verdict::Pass, "325.2 < 500".into()));
        assert_eq!(
            outcome("evaluate.int8-static.accuracy >= 85"),
            (Verdict::Fail, "79.29 is not >= 85".into())
        );
        assert_eq!(
            outcome("evaluate.onnx_fp32.accuracy - evaluate.int8-static.accuracy < 5"),
            (Verdict::Fail, "12.53 is not < 5".into())
        );
        assert_eq!(outcome("a-b.x == 2").0, Verdict::Pass);
        assert_eq!(outcome("a-b.x != 2"), (Verdict::Fail, "2 is not != 2".into()));
    }

    #[test]
    fn rounding_never_hides_a_difference() {
        assert_eq!(outcome("bench.batch128.median_ms >= 85"), (Verdict::Fail, "84.9999 is not >= 85".into()));
    }

    #[test]
    fn arithmetic() {
        assert_eq!(outcome("1 + 2 * 3 - 4 == 3").0, Verdict::Pass);
        assert_eq!(outcome("(1 + 2) * -(3 - 4) == 3").0, Verdict::Pass);
        assert_eq!(outcome("1e3 <= 2.5e+2 * 4").0, Verdict::Pass);
        assert_eq!(outcome("10 - 4 - 3 == 3").0, Verdict::Pass);
        assert_eq!(outcome("a-b.x - a-b.x ≥ 0").0, Verdict::Pass);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            outcome("evaluate.int9.accuracy > 1"),
            (Verdict::Unknown, "metric `evaluate.int9.accuracy` is not there".into())
        );
        assert_eq!(
            outcome("a.x + b.y < c.z * 2"),
            (Verdict::Unknown, "metrics `a.x`, `b.y`, `c.z` are not there".into())
        );
        assert_eq!(outcome("bad.infinite > 1").0, Verdict::Unknown);
    }

    #[test]
    fn stages_and_metrics() {
        let gate = Gate::parse("a.x.y - b.z > a.w").unwrap();
        assert_eq!(gate.stages().into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(gate.metrics(), [("a", "x.y"), ("b", "z"), ("a", "w")]);
    }

    #[test]
    fn variants_have_metrics_and_stages_can_be_renamed() {
        let gate = Gate::parse("a[lr=1e-3,w=-1].x.y - b.z > 2*a.x").unwrap();
        assert_eq!(gate.metrics(), [("a[lr=1e-3,w=-1]", "x.y"), ("b", "z"), ("a", "x")]);
        let renamed = gate.renamed(&|stage| (stage == "a").then(|| "a[w=2]".into())).unwrap();
        assert_eq!(renamed.expression, "a[lr=1e-3,w=-1].x.y - b.z > 2*a[w=2].x");
        assert!(Gate::parse("a[lr=1.x > 3").is_err());
    }

    #[test]
    fn mistakes_are_placed() {
        let wrong = |text: &str| {
            let error = Gate::parse(text).unwrap_err();
            (error.start, error.length, error.message)
        };
        let comparison = "expected a comparison: `<`, `<=`, `>`, `>=`, `==` or `!=`";
        let operand = "expected a metric such as `train.val_accuracy`, a number or `(`";
        assert_eq!(wrong("a.x"), (3, 1, comparison.into()));
        assert_eq!(wrong("a.x >"), (5, 1, operand.into()));
        assert_eq!(wrong(""), (0, 1, operand.into()));
        assert_eq!(wrong("a.x = 3"), (4, 1, "write `==`".into()));
        assert_eq!(wrong("accuracy > 3"), (0, 8, "a metric is `stage.metric`".into()));
        assert_eq!(wrong("1 < a.x < 3"), (8, 1, "a gate compares once: write two gates".into()));
        assert_eq!(wrong("a.x > 3 %"), (8, 1, "leave out units: metrics are plain numbers".into()));
        assert_eq!(wrong("(a.x > 3"), (5, 1, "expected `)`".into()));
        assert_eq!(wrong("a.x > 1.2.3"), (6, 5, "`1.2.3` is not a number".into()));
        assert_eq!(wrong("a.x > 3 4"), (8, 1, "expected the end, `+`, `-` or `*`".into()));
        assert_eq!(wrong("a.x / 2 > 3"), (4, 1, "`/` does not belong here".into()));
        assert!(Gate::parse(&"(".repeat(1000)).is_err());
        assert!(Gate::parse(&"-".repeat(1000)).is_err());
        assert!(Gate::parse(&"1+".repeat(10_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            let _ = Gate::parse(&text);
        }

        #[test]
        fn any_sequence_of_parts_is_read_or_refused(
            parts in proptest::collection::vec(
                prop_oneof!["<=?", ">=?", "[=!]=", "[-+*()]", "[a-c]\\.[x-z.-]{0,4}", "[0-9.e]{1,6}", " "], 0..20),
        ) {
            if let Ok(gate) = Gate::parse(&parts.concat()) {
                let result = gate.evaluate(&|_, _| Some(Metric::new(1e300, "")));
                prop_assert!(!result.message.is_empty());
            }
        }
    }
}
