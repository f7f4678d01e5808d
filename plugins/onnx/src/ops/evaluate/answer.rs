//! What an evaluation says in words: whether the variants predict what the baseline predicts. Knows outcomes, not how
//! they came about.

use protocol::{Content, Figure, counted, grouped};

use super::{Comparison, Outcome, TestSet};

/// Every variant against the baseline, in a sentence each; none where nothing was compared.
pub(crate) fn kept(
    test_set: &TestSet,
    baseline: &Outcome,
    outcomes: &[Outcome],
    comparisons: &[Option<Comparison>],
) -> Option<Figure> {
    let total = test_set.indices.len();
    let sentences: Vec<String> = outcomes
        .iter()
        .zip(comparisons)
        .filter_map(|(outcome, comparison)| {
            Some(sentence(&outcome.name, comparison.as_ref()?, total, ["image", "images"]))
        })
        .collect();
    if sentences.is_empty() {
        return None;
    }
    let text = format!(
        "`{}` gets {:.2} % of {} right. {}",
        baseline.name,
        baseline.predictions.accuracy(),
        test_set.basis(),
        sentences.join(" ")
    );
    Some(Figure {
        id: "kept".into(),
        title: "Is the accuracy kept?".into(),
        caption: String::new(),
        content: Content::Answer { text },
    })
}

/// A variant against the baseline; `unit` is what is classified, one and several.
pub(super) fn sentence(name: &str, comparison: &Comparison, total: usize, unit: [&str; 2]) -> String {
    let others = total.saturating_sub(usize::try_from(comparison.agreeing).unwrap_or(total));
    if others == 0 {
        return format!("`{name}` predicts the same class for every one of them.");
    }
    let Comparison { drop, interval: [low, high], p, .. } = *comparison;
    let size = format!("{:.2}", drop.abs());
    let accuracy = match size.as_str() {
        "0.00" => "the same".to_owned(),
        size if drop > 0.0 => format!("{size} points lower"),
        size => format!("{size} points higher"),
    };
    // Two tests that need not agree near their limits: both have to say so.
    let verdict = match p < 0.05 {
        true if low > 0.0 => "chance alone does not explain the loss",
        true if high < 0.0 => "chance alone does not explain the gain",
        _ => "no difference is shown",
    };
    let p = if p < 0.001 { "below 0.001".to_owned() } else { format!("{p:.3}") };
    format!(
        "`{name}` predicts another class for {} of {}; its accuracy is {accuracy} (95 % interval of the drop {low:.2} to {high:.2}, \
         McNemar's p {p}): {verdict}.",
        counted(others, unit[0], unit[1]),
        grouped(total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(drop: f64, interval: [f64; 2], p: f64, agreeing: u64) -> String {
        let comparison = Comparison { drop, interval, agreeing, lost: 0, won: 0, p };
        sentence("int8", &comparison, 10_000, ["image", "images"])
    }

    #[test]
    fn a_difference_is_shown_only_where_interval_and_test_agree() {
        let same = told(0.0, [-0.03, 0.03], 1.0, 10_000);
        assert_eq!(same, "`int8` predicts the same class for every one of them.");
        assert_eq!(
            told(0.02, [-0.1, 0.2], 0.8, 9_900),
            "`int8` predicts another class for 100 images of 10,000; its accuracy is 0.02 points lower (95 % interval of the drop -0.10 to \
             0.20, McNemar's p 0.800): no difference is shown."
        );
        let lost = told(0.5, [0.2, 0.8], 0.0001, 9_000);
        assert!(
            lost.ends_with("McNemar's p below 0.001): chance alone does not explain the loss."),
            "{lost}"
        );
        let won = told(-0.5, [-0.8, -0.2], 0.001, 9_999);
        assert!(
            won.contains("another class for 1 image of 10,000; its accuracy is 0.50 points higher"),
            "{won}"
        );
        assert!(won.ends_with("does not explain the gain."), "{won}");
        // Lost 5 and won 0 of 10,000: the interval alone would call it a loss.
        assert!(told(0.05, [0.002, 0.1], 0.0625, 9_990).ends_with("no difference is shown."));
    }

    #[test]
    fn a_drop_that_rounds_to_nothing_has_no_direction() {
        for drop in [0.0, 0.004, -0.004] {
            let text = told(drop, [-0.1, 0.1], 1.0, 9_000);
            assert!(text.contains("its accuracy is the same (95 %"), "{text}");
        }
    }
}
