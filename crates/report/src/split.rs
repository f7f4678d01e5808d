//! On which images a metric was measured, as far as its basis or its name says so. Knows the words that machine learning has
//! for splits of a dataset, and no metric.

use pipeline::StageName;
use protocol::Metric;

/// A split of a dataset that no training saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// What settings, epochs and variants may be chosen by.
    Validation,
    /// What is looked at once: whatever chose by it makes it look better than it is.
    Test,
}

/// What stands behind the name of a split in a basis, as in `10,000 test images`.
const PARTS: [&str; 9] =
    ["image", "images", "sample", "samples", "example", "examples", "split", "set", "data"];

/// The split that a stage's metric was measured on, where that is said.
pub(super) fn split_of(stage: &StageName, name: &str, metric: &Metric) -> Option<Split> {
    let basis = words(&metric.basis);
    let named = basis.windows(2).filter_map(|pair| match pair {
        [split, part] if PARTS.contains(&part.as_str()) => split_named(split),
        _ => None,
    });
    let of_basis = named.reduce(stricter);
    let of_name = || words(name).iter().filter_map(|word| split_named(word)).reduce(stricter);
    let of_stage = || words(stage.family()).iter().filter_map(|word| split_named(word)).reduce(stricter);
    of_basis.or_else(of_name).or_else(of_stage)
}

/// Whether a metric says that the images it was measured on, which are test images, chose something, such as the epoch.
pub(super) fn has_chosen(stage: &StageName, name: &str, metric: &Metric) -> bool {
    let says_so = words(&metric.basis).windows(2).any(|pair| pair == ["which", "chose"]);
    says_so && split_of(stage, name, metric) == Some(Split::Test)
}

/// What was measured on both is as good as measured on the test images.
fn stricter(one: Split, other: Split) -> Split {
    if one == Split::Test { one } else { other }
}

fn split_named(word: &str) -> Option<Split> {
    match word {
        "test" | "testing" => Some(Split::Test),
        "val" | "valid" | "validation" | "dev" => Some(Split::Validation),
        _ => None,
    }
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basis_or_a_name_tells_the_split() {
        let of = |stage: &str, name: &str, basis: &str| {
            let stage = StageName::try_from(stage.to_owned()).unwrap();
            split_of(&stage, name, &Metric::new(1.0, "%").basis(basis))
        };
        let (test, validation) = (Some(Split::Test), Some(Split::Validation));
        assert_eq!(of("evaluate", "fp32.accuracy", "10,000 test images"), test);
        assert_eq!(of("evaluate", "fp32.drop", "10,000 test images, paired"), test);
        assert_eq!(of("train", "val_accuracy", "5,000 validation images"), validation);
        assert_eq!(of("train", "test_accuracy", "100 test images, which chose the epoch"), test);
        assert_eq!(of("s", "fp32.accuracy", "90 images of the test split that were not calibrated on"), test);
        assert_eq!(of("train", "images_per_second", "training, without validation"), None);
        assert_eq!(of("fit", "test_accuracy", ""), test);
        assert_eq!(of("fit", "acc.val", ""), validation);
        assert_eq!(of("test[lr=0.1]", "accuracy", ""), test);
        assert_eq!(of("bench", "latest_ms", "7 rounds"), None);
    }

    #[test]
    fn test_images_that_chose_are_told_from_others() {
        let stage = StageName::try_from("train".to_owned()).unwrap();
        let of = |name: &str, basis: &str| has_chosen(&stage, name, &Metric::new(1.0, "%").basis(basis));
        assert!(of("test_accuracy", "100 test images, which chose the epoch"));
        assert!(!of("test_accuracy", "100 test images"));
        assert!(!of("val_accuracy", "100 validation images, which chose the epoch"));
    }
}
