//! What a bench says in words: how fast each variant is against the baseline, and what ONNX Runtime computes for it.
//! Knows ratios and counts of operators, not how they were measured.

use std::collections::BTreeMap;

use protocol::{Content, Figure, counted};

use crate::executed::Counts;

/// A variant's ratio to the baseline at one batch size.
pub(crate) struct Ratio {
    pub(crate) batch: usize,
    /// How many times faster it is.
    pub(crate) faster: f64,
    /// 95 % interval, where there is one.
    pub(crate) interval: Option<[f64; 2]>,
}

/// Every variant in a sentence each, by name; `executed` has those that ONNX Runtime runs.
pub(crate) fn why(
    baseline: &str,
    ratios: &BTreeMap<String, Vec<Ratio>>,
    executed: &BTreeMap<String, Counts>,
) -> Option<Figure> {
    let sentences: Vec<String> = ratios
        .iter()
        .filter(|(_, ratios)| !ratios.is_empty())
        .map(|(name, ratios)| sentence(name, ratios, executed.get(name)))
        .collect();
    if sentences.is_empty() {
        return None;
    }
    let of_baseline =
        executed.get(baseline).map(|counts| format!(" ({})", operators(counts))).unwrap_or_default();
    Some(Figure {
        id: "why".into(),
        title: "Why is each variant as fast as it is?".into(),
        caption: String::new(),
        content: Content::Answer {
            text: format!("Against `{baseline}`{of_baseline}: {}", sentences.join(" ")),
        },
    })
}

fn sentence(name: &str, ratios: &[Ratio], executed: Option<&Counts>) -> String {
    let speeds: Vec<String> = ratios.iter().map(speed).collect();
    let runs = match executed {
        Some(counts) => format!("ONNX Runtime runs {}", operators(counts)),
        None => "what is executed for it is not known here".into(),
    };
    format!("`{name}` has {}: {runs}.", speeds.join(" and "))
}

/// `×1.50 the speed at batch 128 (1.40 to 1.60)`.
fn speed(ratio: &Ratio) -> String {
    let Ratio { batch, faster, interval } = ratio;
    match interval {
        None => format!("×{faster:.2} the speed at batch {batch} (of too few rounds for an interval)"),
        Some([low, high]) if *low <= 1.0 && 1.0 <= *high => {
            format!("a speed at batch {batch} that is not told apart from it (×{low:.2} to ×{high:.2})")
        }
        Some([low, high]) => format!("×{faster:.2} the speed at batch {batch} ({low:.2} to {high:.2})"),
    }
}

/// `36 operators in integers, 2 in floats, 2 conversions`.
fn operators(counts: &Counts) -> String {
    let Counts { integers, floats, conversions } = *counts;
    if integers == 0 && conversions == 0 {
        return format!("{} in floats", counted(floats, "operator", "operators"));
    }
    let between = match conversions {
        0 => "without conversions".into(),
        several => format!("with {} between them", counted(several, "conversion", "conversions")),
    };
    format!("{} in integers and {floats} in floats {between}", counted(integers, "operator", "operators"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ratio: Ratio, executed: Option<Counts>) -> String {
        let executed = executed.map(|counts| ("int8".to_owned(), counts)).into_iter().collect();
        let ratios = BTreeMap::from([("int8".to_owned(), vec![ratio])]);
        match why("fp32", &ratios, &executed).map(|figure| figure.content) {
            Some(Content::Answer { text }) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_speed_is_told_with_what_is_executed() {
        let counts = Counts { integers: 36, floats: 0, conversions: 2 };
        let faster = Ratio { batch: 128, faster: 1.5, interval: Some([1.4, 1.6]) };
        assert_eq!(
            text(faster, Some(counts)),
            "Against `fp32`: `int8` has ×1.50 the speed at batch 128 (1.40 to 1.60): ONNX Runtime runs 36 operators in integers and 0 in \
             floats with 2 conversions between them."
        );
        let slower = Ratio { batch: 1, faster: 0.5, interval: Some([0.4, 0.6]) };
        assert!(text(slower, None).ends_with("(0.40 to 0.60): what is executed for it is not known here."));
    }

    #[test]
    fn what_the_interval_does_not_tell_is_not_told() {
        let ratio = Ratio { batch: 1, faster: 1.02, interval: Some([0.7, 1.6]) };
        let counts = Counts { integers: 0, floats: 50, conversions: 0 };
        let text_of = text(ratio, Some(counts));
        assert!(
            text_of.contains(
                "that is not told apart from it (×0.70 to ×1.60): ONNX Runtime runs 50 operators in floats."
            ),
            "{text_of}"
        );
        let alone = Ratio { batch: 1, faster: 1.02, interval: None };
        assert!(
            text(alone, Some(counts))
                .contains("×1.02 the speed at batch 1 (of too few rounds for an interval)")
        );
    }

    #[test]
    fn nothing_compared_is_nothing_said() {
        assert!(why("fp32", &BTreeMap::new(), &BTreeMap::new()).is_none());
    }
}
