//! What an evaluation says in words: whether the variants predict what the baseline predicts. Knows outcomes, not how
//! they came about.

use protocol::{Content, Figure};

use super::{Comparison, Outcome, TestSet};
use crate::request::{counted, grouped};

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
        .filter_map(|(outcome, comparison)| Some(sentence(&outcome.name, comparison.as_ref()?, total)))
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

fn sentence(name: &str, comparison: &Comparison, total: usize) -> String {
    let others = total.saturating_sub(usize::try_from(comparison.agreeing).unwrap_or(total));
    if others == 0 {
        return format!("`{name}` predicts the same class for every one of them.");
    }
    let [low, high] = comparison.interval;
    let drop = comparison.drop;
    let (points, direction) = (drop.abs(), if drop > 0.0 { "lower" } else { "higher" });
    let verdict = match (low > 0.0, high < 0.0) {
        (true, _) => "the loss is real",
        (_, true) => "the gain is real",
        _ => "too little to tell from chance",
    };
    format!(
        "`{name}` predicts another class for {} of {}; its accuracy is {points:.2} points {direction} (95 % interval of the drop {low:.2} to \
         {high:.2}): {verdict}.",
        counted(others, "image", "images"),
        grouped(total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(drop: f64, interval: [f64; 2], agreeing: u64) -> String {
        sentence("int8", &Comparison { drop, interval, agreeing, lost: 0, won: 0, p: 1.0 }, 10_000)
    }

    #[test]
    fn a_difference_is_called_real_only_where_its_interval_says_so() {
        assert_eq!(told(0.0, [-0.03, 0.03], 10_000), "`int8` predicts the same class for every one of them.");
        assert_eq!(
            told(0.02, [-0.1, 0.2], 9_900),
            "`int8` predicts another class for 100 images of 10,000; its accuracy is 0.02 points lower (95 % interval of the drop -0.10 to \
             0.20): too little to tell from chance."
        );
        assert!(
            told(0.5, [0.2, 0.8], 9_000)
                .ends_with("0.50 points lower (95 % interval of the drop 0.20 to 0.80): the loss is real.")
        );
        assert!(
            told(-0.5, [-0.8, -0.2], 9_999)
                .contains("another class for 1 image of 10,000; its accuracy is 0.50 points higher")
        );
    }
}
