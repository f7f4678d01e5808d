//! Numbers that are known to within an interval, and what sums and products of them are known to. Knows no gate.
//!
//! **Sums and differences.** The interval of a sum is not the sum of intervals: its ends lie at the root of the sum of
//! squares of the distances from each value to its own end, each side on its own (the method of variance estimates
//! recovery, MOVER: Zou and Donner, Statistics in Medicine 27, 2008). It takes the metrics for independent. A metric that
//! is named twice is not independent of itself, so what is linear is gathered first: one coefficient for each metric.
//!
//! **Products** of a number and something uncertain are linear. Of two uncertain factors the interval is spanned by the
//! products of their ends, which is too wide rather than too narrow, and what it adds to a sum is added outright.

use std::collections::BTreeMap;

use protocol::Metric;

use super::expression::{Expr, Name, Sign};

/// What is known of a metric, and under which name: two names for one measurement are given the same.
pub(super) type Known = (Name, Metric);

/// A number with what is known of how far off it may be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Uncertain {
    pub(super) value: f64,
    /// By metric, the coefficient of each that has an interval.
    linear: BTreeMap<Name, Term>,
    /// How far below and above what is not linear may be.
    rest: [f64; 2],
}

#[derive(Debug, Clone, PartialEq)]
struct Term {
    coefficient: f64,
    /// From the metric's value to the lower and to the upper end of its interval.
    distances: [f64; 2],
}

impl Uncertain {
    /// The value of an expression, or the names of the metrics that are not there.
    pub(super) fn of(expr: &Expr, known: &dyn Fn(&Name) -> Option<Known>) -> Result<Self, Vec<String>> {
        match expr {
            Expr::Number(number) => Ok(Self::exact(*number)),
            Expr::Metric(name) => match known(name) {
                Some((name, metric)) => Ok(Self::measured(name, &metric)),
                None => Err(vec![name.to_string()]),
            },
            Expr::Negative(inner) => Ok(Self::of(inner, known)?.scaled(-1.0)),
            Expr::Sum(terms) => {
                let terms = terms.iter().map(|(sign, term)| {
                    let term = Self::of(term, known)?;
                    Ok(if *sign == Sign::Plus { term } else { term.scaled(-1.0) })
                });
                fold(terms, Self::exact(0.0), Self::plus)
            }
            Expr::Product(factors) => {
                fold(factors.iter().map(|factor| Self::of(factor, known)), Self::exact(1.0), Self::times)
            }
        }
    }

    fn exact(value: f64) -> Self {
        Self { value, linear: BTreeMap::new(), rest: [0.0; 2] }
    }

    fn measured(name: Name, metric: &Metric) -> Self {
        let mut number = Self::exact(metric.value);
        if let Some([low, high]) = metric.interval {
            // An interval beside its value is stretched to hold it.
            let distances = [(metric.value - low).max(0.0), (high - metric.value).max(0.0)];
            number.linear.insert(name, Term { coefficient: 1.0, distances });
        }
        number
    }

    fn scaled(mut self, factor: f64) -> Self {
        self.value *= factor;
        self.linear.values_mut().for_each(|term| term.coefficient *= factor);
        self.rest = oriented(factor, self.rest);
        self
    }

    fn plus(mut self, other: Self) -> Self {
        self.value += other.value;
        for (name, term) in other.linear {
            self.linear.entry(name).and_modify(|own| own.coefficient += term.coefficient).or_insert(term);
        }
        self.rest = [self.rest[0] + other.rest[0], self.rest[1] + other.rest[1]];
        self
    }

    /// `self - other`.
    pub(super) fn minus(self, other: Self) -> Self {
        self.plus(other.scaled(-1.0))
    }

    fn times(self, other: Self) -> Self {
        match (self.is_exact(), other.is_exact()) {
            (true, _) => other.scaled(self.value),
            (_, true) => self.scaled(other.value),
            _ => {
                let value = self.value * other.value;
                let (ours, theirs) = (self.interval(), other.interval());
                let corners = ours.iter().flat_map(|one| theirs.iter().map(move |other| one * other));
                let (low, high) = corners.fold((value, value), |(low, high), corner| {
                    // Infinity times zero: nothing is known.
                    if corner.is_nan() {
                        (f64::NEG_INFINITY, f64::INFINITY)
                    } else {
                        (low.min(corner), high.max(corner))
                    }
                });
                Self { value, linear: BTreeMap::new(), rest: [value - low, high - value] }
            }
        }
    }

    /// Whether it is known without any doubt.
    pub(super) fn is_exact(&self) -> bool {
        self.distances() == [0.0; 2]
    }

    /// How far below and above its value it may be.
    pub(super) fn distances(&self) -> [f64; 2] {
        let root = |side: usize| {
            let sides = self.linear.values().map(|term| oriented(term.coefficient, term.distances)[side]);
            sides.fold(0.0, f64::hypot)
        };
        [root(0) + self.rest[0], root(1) + self.rest[1]]
    }

    fn interval(&self) -> [f64; 2] {
        let [below, above] = self.distances();
        [self.value - below, self.value + above]
    }
}

/// Distances below and above after multiplication: a negative factor exchanges them.
fn oriented(factor: f64, [below, above]: [f64; 2]) -> [f64; 2] {
    let sides = if factor < 0.0 { [above, below] } else { [below, above] };
    // Zero times an unbounded distance is zero: the factor is exact.
    sides.map(|distance| if factor == 0.0 { 0.0 } else { distance * factor.abs() })
}

/// Combines all, or gathers the names that are missing.
fn fold(
    values: impl Iterator<Item = Result<Uncertain, Vec<String>>>,
    start: Uncertain,
    combine: impl Fn(Uncertain, Uncertain) -> Uncertain,
) -> Result<Uncertain, Vec<String>> {
    let mut total = start;
    let mut missing = Vec::new();
    for value in values {
        match value {
            Ok(value) => total = combine(total, value),
            Err(names) => missing.extend(names),
        }
    }
    if missing.is_empty() { Ok(total) } else { Err(missing) }
}
