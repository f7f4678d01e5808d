//! What a gate asks of each metric that it names: to be high, or to be low. Knows no values.

use serde::{Deserialize, Serialize};

use super::Gate;
use super::expression::{Comparison, Expr, Name, Sign, Whose};

/// Which of two numbers is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Better {
    /// The higher one.
    Higher,
    /// The lower one.
    Lower,
}

/// What a gate asks of a metric of the run that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand<'a> {
    /// The metric's stage.
    pub stage: &'a str,
    /// Its name.
    pub metric: &'a str,
    /// Which numbers of it satisfy the gate sooner. `None` where it asks for equality, and where that depends on other metrics.
    pub wanted: Option<Better>,
}

impl Gate {
    /// What it asks of every metric of this run that it names, left to right.
    #[must_use]
    pub fn demands(&self) -> Vec<Demand<'_>> {
        let left = match self.comparison {
            Comparison::Greater | Comparison::GreaterOrEqual => Some(Better::Higher),
            Comparison::Less | Comparison::LessOrEqual => Some(Better::Lower),
            Comparison::Equal | Comparison::NotEqual => None,
        };
        let mut demands = Vec::new();
        walk(&self.left, left, &mut demands);
        walk(&self.right, left.map(opposite), &mut demands);
        demands
    }
}

fn walk<'a>(expr: &'a Expr, wanted: Option<Better>, demands: &mut Vec<Demand<'a>>) {
    match expr {
        Expr::Number(_) => {}
        Expr::Metric(Name { whose: Whose::Own, stage, metric }) => {
            demands.push(Demand { stage, metric, wanted });
        }
        Expr::Metric(_) => {}
        Expr::Negative(inner) => walk(inner, wanted.map(opposite), demands),
        Expr::Sum(terms) => {
            for (sign, term) in terms {
                let wanted = if *sign == Sign::Minus { wanted.map(opposite) } else { wanted };
                walk(term, wanted, demands);
            }
        }
        Expr::Product(factors) => {
            let product: f64 = factors.iter().filter_map(constant).product();
            let others = factors.iter().filter(|factor| constant(factor).is_none());
            let wanted = match (others.clone().count(), product) {
                (1, product) if product > 0.0 => wanted,
                (1, product) if product < 0.0 => wanted.map(opposite),
                _ => None,
            };
            others.for_each(|factor| walk(factor, wanted, demands));
        }
    }
}

/// The value of an expression that names no metric.
fn constant(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Number(number) => Some(*number),
        Expr::Metric(_) => None,
        Expr::Negative(inner) => constant(inner).map(|value| -value),
        Expr::Sum(terms) => terms
            .iter()
            .map(|(sign, term)| constant(term).map(|value| if *sign == Sign::Minus { -value } else { value }))
            .sum(),
        Expr::Product(factors) => factors.iter().map(constant).product(),
    }
}

fn opposite(wanted: Better) -> Better {
    match wanted {
        Better::Higher => Better::Lower,
        Better::Lower => Better::Higher,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_is_wanted_high_or_low() {
        let wanted = |text: &str| {
            let gate = Gate::parse(text).unwrap();
            let told = gate.demands().into_iter().map(|demand| {
                let sign = match demand.wanted {
                    Some(Better::Higher) => "high",
                    Some(Better::Lower) => "low",
                    None => "either",
                };
                format!("{}.{} {sign}", demand.stage, demand.metric)
            });
            told.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(wanted("a.x >= 5"), "a.x high");
        assert_eq!(wanted("5 > a.x"), "a.x low");
        assert_eq!(wanted("a.x >= b.x - 1"), "a.x high, b.x low");
        assert_eq!(wanted("b.x - a.x < 1"), "b.x low, a.x high");
        assert_eq!(wanted("-a.x < -(b.x - 2 * c.x)"), "a.x high, b.x low, c.x high");
        assert_eq!(wanted("a.x * -2 > 1"), "a.x low");
        assert_eq!(wanted("(1 - 3) * a.x > 1"), "a.x low");
        assert_eq!(wanted("a.x * b.x > 1"), "a.x either, b.x either");
        assert_eq!(wanted("a.x == baseline.a.x"), "a.x either");
        assert_eq!(wanted("a.x > baseline.a.x - 1"), "a.x high");
    }
}
