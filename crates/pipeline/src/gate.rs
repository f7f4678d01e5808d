//! Gates: what the result must satisfy, as comparisons of metrics of this run, and of an earlier one. A metric that comes
//! with an interval decides a gate only where the whole interval does; see `uncertain` for how intervals combine.

mod demand;
mod expression;
mod judgement;
mod uncertain;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use protocol::Metric;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use demand::{Better, Demand};
pub(crate) use expression::BASELINE;
pub use expression::GateError;
use expression::{Comparison, Expr, Name, Whose};
pub use judgement::{Judgement, sorted};
use uncertain::{Known, Uncertain};

/// A gate: `expr CMP expr`, with CMP one of `<`, `<=`, `>`, `>=`, `==`, `!=`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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
    /// Pass, fail, inconclusive or not known.
    pub verdict: Verdict,
    /// Value of the left side, where it is known.
    pub value: Option<f64>,
    /// Value of the right side, where it is known.
    pub limit: Option<f64>,
    /// The 95 % interval that decided, on the scale of `value`, to be compared with `limit`: it holds what is uncertain on
    /// both sides. `null` where nothing is uncertain.
    #[serde(default)]
    pub interval: Option<[f64; 2]>,
    /// Whether `value` as measured satisfies the gate, however uncertain it is; `null` where it is not known.
    #[serde(default)]
    pub satisfied: Option<bool>,
    /// The earlier run that metrics behind `baseline.` were taken from; `null` where there are none.
    #[serde(default)]
    pub baseline: Option<BaselineRun>,
    /// In words, such as `79.29 is not >= 85`, or what is missing.
    pub message: String,
}

impl GateResult {
    /// Says that it rests on numbers of these stages that are provisional. Where certainty is asked for, it passes by no such
    /// number, nor by one of the run that it was compared with.
    pub fn rest_on_provisional(&mut self, own: &BTreeSet<&str>, baseline: bool, certain: bool) {
        self.message.push_str(&words::provisional(own));
        if certain && self.verdict == Verdict::Pass && (baseline || !own.is_empty()) {
            self.verdict = Verdict::Inconclusive;
        }
    }

    /// Whether it passes only because there is no earlier run to compare with.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.verdict == Verdict::Pass && (self.value.is_none() || self.limit.is_none())
    }
}

/// How a gate came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Satisfied, by the whole interval of what was measured.
    Pass,
    /// Not satisfied, by nothing in that interval.
    Fail,
    /// Satisfied by a part of that interval only.
    Inconclusive,
    /// A metric it names is not there.
    Unknown,
}

/// An earlier run that a gate was compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BaselineRun {
    /// What it was called on the command line then.
    pub run: String,
    /// Its id, for good.
    pub id: String,
    /// Whether it was named with `--baseline`: where the gate let the run pass then, the run was accepted.
    #[serde(default)]
    pub named: bool,
}

/// An earlier run, and what it knows of the metrics that a gate names behind `baseline.`.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    /// Which run.
    pub run: BaselineRun,
    /// Its metrics, by stage and name.
    pub metrics: BTreeMap<(String, String), Earlier>,
    /// The CPU that any of them belongs to, where it is not the one of the run at hand.
    pub other_cpu: Option<String>,
    /// Stages of which it knows provisional metrics alone.
    pub provisional: BTreeSet<String>,
}

/// A metric of an earlier run.
#[derive(Debug, Clone, PartialEq)]
pub struct Earlier {
    /// The metric.
    pub metric: Metric,
    /// Whether it is the very measurement that the run at hand has as well, because nothing was executed in between.
    pub is_own: bool,
}

impl Gate {
    /// Reads a gate.
    ///
    /// # Errors
    /// When `text` is not a comparison of two sums, differences or products of metrics (`stage.metric`, or
    /// `baseline.stage.metric` of an earlier run) and numbers.
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

    /// The stages whose metrics it names, of this run or of an earlier one.
    #[must_use]
    pub fn stages(&self) -> BTreeSet<&str> {
        self.names().into_iter().map(|name| name.stage.as_str()).collect()
    }

    /// Stage and metric of every metric of this run that it names, left to right.
    #[must_use]
    pub fn metrics(&self) -> Vec<(&str, &str)> {
        self.of(Whose::Own)
    }

    /// Stage and metric of every metric of an earlier run that it names, left to right.
    #[must_use]
    pub fn baseline_metrics(&self) -> Vec<(&str, &str)> {
        self.of(Whose::Baseline)
    }

    fn of(&self, whose: Whose) -> Vec<(&str, &str)> {
        let names = self.names().into_iter().filter(|name| name.whose == whose);
        names.map(|name| (name.stage.as_str(), name.metric.as_str())).collect()
    }

    fn names(&self) -> Vec<&Name> {
        let mut names = Vec::new();
        for side in [&self.left, &self.right] {
            side.visit(&mut |name| names.push(name));
        }
        names
    }

    /// Decides the gate. `lookup` yields the metric of a stage, by stage and metric name; metrics behind `baseline.` come
    /// from `baseline`. Where there is no earlier run, such a gate passes: a first run cannot be worse than one before.
    pub fn evaluate(
        &self,
        lookup: &dyn Fn(&str, &str) -> Option<Metric>,
        baseline: Option<&Baseline>,
    ) -> GateResult {
        let known = |name: &Name| known(name, lookup, baseline);
        let (left, right) = (Uncertain::of(&self.left, &known), Uncertain::of(&self.right, &known));
        let finite = |side: &Result<Uncertain, _>| {
            side.as_ref().ok().map(|side| side.value).filter(|value| value.is_finite())
        };
        let mut result = GateResult {
            expression: self.expression.clone(),
            verdict: Verdict::Unknown,
            value: finite(&left),
            limit: finite(&right),
            interval: None,
            satisfied: None,
            baseline: None,
            message: String::new(),
        };
        let is_first = baseline.is_none() && !self.baseline_metrics().is_empty();
        match (left, right) {
            (Ok(left), Ok(right)) if result.value.is_some() && result.limit.is_some() => {
                self.decide(left, right, &known, &mut result);
            }
            _ if is_first => self.decide_first(lookup, &mut result),
            (left, right) => {
                result.message = words::missing(left.err().into_iter().chain(right.err()).flatten());
            }
        }
        if let Some(baseline) = baseline.filter(|_| !self.baseline_metrics().is_empty()) {
            result.message.push_str(&words::compared(baseline));
            result.baseline = Some(baseline.run.clone());
        }
        result
    }

    fn decide(
        &self,
        left: Uncertain,
        right: Uncertain,
        known: &dyn Fn(&Name) -> Option<Known>,
        result: &mut GateResult,
    ) {
        let (value, limit) = (left.value, right.value);
        let satisfied = self.comparison.holds(value, limit);
        result.satisfied = Some(satisfied);
        let difference = left.minus(right);
        if difference.is_exact() {
            result.verdict = if satisfied { Verdict::Pass } else { Verdict::Fail };
            result.message = words::exact(value, self.comparison, limit, satisfied);
            return;
        }
        let [below, above] = difference.distances();
        result.verdict =
            match self.comparison.holds_within([difference.value - below, difference.value + above]) {
                Some(true) => Verdict::Pass,
                Some(false) => Verdict::Fail,
                None => Verdict::Inconclusive,
            };
        let interval = [tidy(value - below), tidy(value + above)];
        result.interval = interval.iter().all(|end| end.is_finite()).then_some(interval);
        result.message = words::uncertain(&words::Decided {
            value,
            interval: result.interval,
            comparison: self.comparison,
            limit,
            verdict: result.verdict,
            bases: self.bases(known),
        });
    }

    /// Without an earlier run: what this run does not know either is misspelt, or was not measured.
    fn decide_first(&self, lookup: &dyn Fn(&str, &str) -> Option<Metric>, result: &mut GateResult) {
        let names = self.names().into_iter();
        let missing: Vec<String> = names
            .filter(|name| lookup(&name.stage, &name.metric).is_none())
            .map(|name| format!("{}.{}", name.stage, name.metric))
            .collect();
        if missing.is_empty() {
            result.verdict = Verdict::Pass;
            result.message = "no earlier run to compare with".into();
        } else {
            result.message = words::missing(missing);
        }
    }

    /// What the metrics are based on that are uncertain.
    fn bases(&self, known: &dyn Fn(&Name) -> Option<Known>) -> Vec<String> {
        let metrics = self.names().into_iter().filter_map(known).map(|(_, metric)| metric);
        metrics.filter(|metric| metric.interval.is_some()).map(|metric| metric.basis).collect()
    }
}

impl From<Gate> for String {
    fn from(gate: Gate) -> Self {
        gate.expression
    }
}

impl TryFrom<String> for Gate {
    type Error = String;

    fn try_from(expression: String) -> Result<Self, String> {
        Self::parse(&expression).map_err(|error| error.to_string())
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.expression)
    }
}

/// What is known of a metric. A measurement of the earlier run that is this run's own goes by this run's name.
fn known(
    name: &Name,
    lookup: &dyn Fn(&str, &str) -> Option<Metric>,
    baseline: Option<&Baseline>,
) -> Option<Known> {
    match name.whose {
        Whose::Own => Some((name.clone(), lookup(&name.stage, &name.metric)?)),
        Whose::Baseline => {
            let earlier = baseline?.metrics.get(&(name.stage.clone(), name.metric.clone()))?;
            let whose = if earlier.is_own { Whose::Own } else { Whose::Baseline };
            Some((Name { whose, ..name.clone() }, earlier.metric.clone()))
        }
    }
}

/// Without what arithmetic adds behind the twelfth digit.
fn tidy(number: f64) -> f64 {
    format!("{number:.11e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests;
