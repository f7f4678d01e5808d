//! The names of the metrics that an op declares, filled in for one stage, and why one of them is not reported. Knows no values.

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
        let all: Vec<&str> = inputs.into_iter().collect();
        let extra = self.extra(&all);
        let given = (!params.is_null()).then_some(Given { inputs: &all, params });
        let patterns = self.metrics.as_ref()?.iter();
        Some(MetricNames(patterns.flat_map(|pattern| filled(pattern, &extra, given)).collect()))
    }

    /// What inputs or params a metric wants that these are not, in words; `None` where that is not what is the matter with it.
    #[must_use]
    pub fn missing_for_metric<'n>(
        &self,
        inputs: impl IntoIterator<Item = &'n str>,
        params: &Value,
        metric: &str,
    ) -> Option<String> {
        let all: Vec<&str> = inputs.into_iter().collect();
        let extra = self.extra(&all);
        let given = Given { inputs: &all, params };
        let patterns = self.metrics.iter().flatten();
        patterns
            .filter(|pattern| filled(pattern, &extra, None).iter().any(|name| matches(name, metric)))
            .find_map(|pattern| condition(pattern, given))
    }

    /// Of some inputs those that are not named by it.
    fn extra<'n>(&self, inputs: &[&'n str]) -> Vec<&'n str> {
        inputs.iter().copied().filter(|name| !self.inputs.contains_key(*name)).collect()
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

/// What a stage gives its op.
#[derive(Clone, Copy)]
struct Given<'a> {
    inputs: &'a [&'a str],
    params: &'a Value,
}

/// The names that a pattern stands for, with what is given or with anything: braces around something that is known are filled in, one
/// after the other. None where a condition does not hold.
fn filled(pattern: &str, inputs: &[&str], given: Option<Given<'_>>) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, what, after)) = braces(rest) {
        let all = inputs.iter().map(ToString::to_string);
        let known = match (Braces::of(what), given) {
            (Braces::Param(name), Some(given)) => given.params.get(name).and_then(items),
            (Braces::Input, _) | (Braces::InputBut(_), None) => Some(all.collect()),
            (Braces::InputBut(param), Some(given)) => Some(match given.text(param) {
                Some(but) => all.filter(|input| *input != but).collect(),
                None => vec![],
            }),
            (Braces::If(condition), Some(given)) if !given.meets(condition) => Some(vec![]),
            (Braces::If(_), _) => Some(vec![String::new()]),
            (Braces::Param(_), None) | (Braces::Other, _) => None,
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

/// What stands in braces.
enum Braces<'a> {
    /// `input`: the name of each input that the op does not name.
    Input,
    /// `input but with.NAME`: of each but the one that the param names; none where it names none.
    InputBut(&'a str),
    /// `with.NAME`: each item of the param.
    Param(&'a str),
    /// `if …`: nothing where that holds; no metric where not.
    If(Condition<'a>),
    /// Any text.
    Other,
}

#[derive(Clone, Copy)]
enum Condition<'a> {
    /// `inputs.NAME`: the stage has that input.
    Input(&'a str),
    /// `with.NAME`: the param is given, and not `false`.
    Param(&'a str),
    /// `with.NAME=VALUE`: the param is this.
    Is(&'a str, &'a str),
    /// `with.NAME!=VALUE`: it is not.
    IsNot(&'a str, &'a str),
}

impl<'a> Braces<'a> {
    fn of(what: &'a str) -> Self {
        if what == "input" {
            return Self::Input;
        }
        if let Some(param) = what.strip_prefix("input but with.") {
            return Self::InputBut(param);
        }
        if let Some(param) = what.strip_prefix("with.") {
            return Self::Param(param);
        }
        if let Some(input) = what.strip_prefix("if inputs.") {
            return Self::If(Condition::Input(input));
        }
        let Some(condition) = what.strip_prefix("if with.") else { return Self::Other };
        Self::If(match (condition.split_once("!="), condition.split_once('=')) {
            (Some((param, value)), _) => Condition::IsNot(param, value),
            (_, Some((param, value))) => Condition::Is(param, value),
            _ => Condition::Param(condition),
        })
    }
}

impl<'a> Given<'a> {
    /// The text that a param is.
    fn text(self, param: &str) -> Option<&'a str> {
        self.params.get(param).and_then(Value::as_str)
    }

    /// Whether a param, or an item of it, is this.
    fn is(self, param: &str, value: &str) -> bool {
        let items = self.params.get(param).and_then(items);
        items.is_some_and(|items| items.iter().any(|item| item == value))
    }

    fn meets(self, condition: Condition<'_>) -> bool {
        match condition {
            Condition::Input(name) => self.inputs.contains(&name),
            Condition::Param(param) => {
                !matches!(self.params.get(param), None | Some(Value::Null | Value::Bool(false)))
            }
            Condition::Is(param, value) => self.is(param, value),
            Condition::IsNot(param, value) => !self.is(param, value),
        }
    }
}

/// The first condition of a pattern that is not met, in words.
fn condition(pattern: &str, given: Given<'_>) -> Option<String> {
    let mut rest = pattern;
    while let Some((_, what, after)) = braces(rest) {
        match Braces::of(what) {
            Braces::If(condition) if !given.meets(condition) => {
                return Some(match condition {
                    Condition::Input(name) => format!("it is reported with an input `{name}` only"),
                    Condition::Param(param) => format!("it is reported with `{param}` only"),
                    Condition::Is(param, value) => format!("it is reported with `{param}: {value}` only"),
                    Condition::IsNot(param, value) => {
                        format!("it is reported with another `{param}` than {value} only")
                    }
                });
            }
            Braces::InputBut(param) => {
                return Some(match given.text(param) {
                    Some(but) => format!("it is reported of every input but `{but}`, the `{param}`"),
                    None => format!("it is reported where `{param}` names an input only"),
                });
            }
            _ => rest = after,
        }
    }
    None
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
        let given = Given { inputs: &[], params: &params };
        let filled = |pattern: &str| filled(pattern, &["fp32", "int8"], Some(given));
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
    fn a_condition_that_does_not_hold_leaves_no_name_and_is_told() {
        let params = json!({"baseline": "fp32", "select": "test", "threads": null, "off": false, "none": 0, "list": [8]});
        let given = Given { inputs: &["reference"], params: &params };
        let filled = |pattern: &str, given| filled(pattern, &["fp32", "int8"], given);
        for (pattern, names, said) in [
            (
                "{input but with.baseline}.drop",
                &["int8.drop"][..],
                "of every input but `fp32`, the `baseline`",
            ),
            ("{input but with.threads}.drop", &[], "where `threads` names an input only"),
            ("m{if with.select=test}", &["m"], ""),
            ("m{if with.select=last}", &[], "with `select: last` only"),
            ("m{if with.list=8}", &["m"], ""),
            ("m{if with.list}", &["m"], ""),
            ("m{if with.threads}.{with.threads}", &[], "with `threads` only"),
            ("m{if with.off}", &[], "with `off` only"),
            ("m{if with.none!=0}", &[], "with another `none` than 0 only"),
            ("m{if with.threads!=0}", &["m"], ""),
            ("m{if with.gone=1}", &[], "with `gone: 1` only"),
            ("m{if inputs.reference}", &["m"], ""),
            ("m{if inputs.teacher}", &[], "with an input `teacher` only"),
        ] {
            assert_eq!(filled(pattern, Some(given)), names, "{pattern}");
            let told = condition(pattern, given).unwrap_or_default();
            assert!(told.contains(said), "{pattern}: {told}");
            assert!(!filled(pattern, None).is_empty(), "{pattern}: with others there is one");
        }
        assert_eq!(filled("{input but with.baseline}.drop", None), ["fp32.drop", "int8.drop"]);
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
