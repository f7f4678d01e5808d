//! The names of the metrics that an op declares, filled in for one stage. Knows no values.

use serde_json::Value;

use crate::OpManifest;

/// Most names that one pattern stands for.
const MOST_NAMES: usize = 1_000;

/// What [`OpManifest::metrics`] comes to for a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricNames(Vec<String>);

impl OpManifest {
    /// The metrics that it declares for a stage with these inputs and params; `None` where it says nothing of its metrics.
    /// With `Value::Null` for params, those that it declares for any.
    #[must_use]
    pub fn metric_names<'n>(
        &self,
        inputs: impl IntoIterator<Item = &'n str>,
        params: &Value,
    ) -> Option<MetricNames> {
        let extra: Vec<&str> = inputs.into_iter().filter(|name| !self.inputs.contains_key(*name)).collect();
        let patterns = self.metrics.as_ref()?.iter();
        Some(MetricNames(patterns.flat_map(|pattern| filled(pattern, &extra, params)).collect()))
    }
}

impl MetricNames {
    /// Whether a metric of this name is among them.
    #[must_use]
    pub fn contain(&self, metric: &str) -> bool {
        self.0.iter().any(|name| matches(name, metric))
    }

    /// The names, where what could not be filled in is left in braces.
    pub fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.iter().map(String::as_str)
    }
}

/// The names that a pattern stands for: braces around something that is known are filled in, one after the other.
fn filled(pattern: &str, inputs: &[&str], params: &Value) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, what, after)) = braces(rest) {
        let known = match what.strip_prefix("with.") {
            Some(param) => params.get(param).and_then(items),
            None if what == "input" => Some(inputs.iter().map(ToString::to_string).collect()),
            None => None,
        };
        let known = known.unwrap_or_else(|| vec![format!("{{{what}}}")]);
        let longer =
            |name: &String| known.iter().map(|known| format!("{name}{before}{known}")).collect::<Vec<_>>();
        names = names.iter().flat_map(longer).take(MOST_NAMES + 1).collect();
        if names.len() > MOST_NAMES {
            // Any text: what cannot be listed is not told to be wrong.
            return vec!["{any}".into()];
        }
        rest = after;
    }
    names.into_iter().map(|name| name + rest).collect()
}

/// The text before the first pair of braces, what is in it and the text behind it.
fn braces(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (what, after) = rest.split_once('}')?;
    Some((before, what, after))
}

/// The items of a list, or the one that a number or a text is.
fn items(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        other => text(other).map(|one| vec![one]),
    }
}

/// Whether `name` is one that a pattern stands for, in which braces stand for any text but none.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, _, after)) = braces(pattern) else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    let mut starts = rest.char_indices().map(|(at, _)| at).skip(1).chain([rest.len()]);
    !rest.is_empty() && starts.any(|at| rest.get(at..).is_some_and(|rest| matches(after, rest)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn braces_are_filled_by_inputs_and_items_and_else_stand_for_any_text() {
        let params = json!({"batches": [1, 128], "one": 7, "none": null});
        let filled = |pattern: &str| filled(pattern, &["fp32", "int8"], &params);
        assert_eq!(filled("accuracy"), ["accuracy"]);
        assert_eq!(
            filled("{input}.batch{with.batches}.ms"),
            ["fp32.batch1.ms", "fp32.batch128.ms", "int8.batch1.ms", "int8.batch128.ms"]
        );
        assert_eq!(filled("a{with.one}"), ["a7"]);
        assert_eq!(filled("a{with.none}.{else}"), ["a{with.none}.{else}"]);
        assert_eq!(filled("a{"), ["a{"]);
        assert_eq!(filled(&"{input}".repeat(40)), ["{any}"]);
    }

    #[test]
    fn names_match_whole() {
        assert!(matches("accuracy", "accuracy"));
        assert!(!matches("accuracy", "accuracy.top1"));
        assert!(matches("{a}.top{k}", "fp32.top5"));
        assert!(!matches("{a}.top{k}", "fp32.top"));
        assert!(!matches("{a}.top", ".top"));
        assert!(matches("{any}", "é.x"));
    }
}
