//! From how long a stage took to how long it will take: by what its op says its time depends on. Knows keys and sizes; knows
//! no clock and no store.

use std::collections::BTreeMap;

use protocol::TimeSpec;
use record::{Change, Ingredient, key};

/// Inputs that are no more apart than this share are of one size.
const SAME: f64 = 0.1;

/// Bytes of inputs by name, as far as they are known.
pub(super) type Sizes = BTreeMap<String, u64>;

/// An execution, or what will be one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) ingredients: &'a [Ingredient],
    pub(super) sizes: &'a Sizes,
}

/// How many times as long `now` takes as `past` took; `None` where that is not known. Without `spec` it takes as long where
/// nothing of it is another, and is not known otherwise.
pub(super) fn ratio(spec: Option<&TimeSpec>, past: Work<'_>, now: Work<'_>) -> Option<f64> {
    let changes = key::changes(past.ingredients, now.ingredients);
    let mut ratio = 1.0;
    for change in changes.iter().filter(|change| !is_of_program(&change.name)) {
        ratio *= factor(spec?, change, past.sizes, now.sizes)?;
    }
    Some(ratio).filter(|ratio| ratio.is_finite() && *ratio >= 0.0)
}

/// Whether the outputs stay of the size that they had, for all that is known, if a stage is executed for these changes.
pub(super) fn keeps_sizes(spec: Option<&TimeSpec>, changes: &[Change]) -> bool {
    let is_named = |spec: &TimeSpec, name: &str| {
        let mut names = spec.ignores.iter().chain(&spec.scales_with);
        name.starts_with("with.") && names.any(|listed| is_below(name, listed))
    };
    changes
        .iter()
        .all(|change| is_of_program(&change.name) || spec.is_some_and(|spec| is_named(spec, &change.name)))
}

/// What a changed ingredient makes of the time.
fn factor(spec: &TimeSpec, change: &Change, past: &Sizes, now: &Sizes) -> Option<f64> {
    let name = change.name.as_str();
    if spec.ignores.iter().any(|ignored| is_below(name, ignored)) {
        return Some(1.0);
    }
    let scales = spec.scales_with.iter().any(|factor| factor == name);
    let Some(input) = name.strip_prefix("inputs.") else {
        let number =
            |text: &Option<String>| text.as_ref()?.parse::<f64>().ok().filter(|number| *number > 0.0);
        return scales.then_some(number(&change.new)? / number(&change.old)?);
    };
    let (past, now) = (*past.get(input)? as f64, *now.get(input)? as f64);
    if scales {
        return (past > 0.0).then_some(now / past);
    }
    ((now - past).abs() <= SAME * past).then_some(1.0)
}

/// Whether an ingredient tells one build of a program from another, or one machine from another: executions elsewhere do not
/// count anyway, and a new version is not expected to be much faster or slower.
fn is_of_program(name: &str) -> bool {
    ["op.version", "natives.", "companion.", "machine."].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether an ingredient is of the param or input at `path`, or of a part of it.
fn is_below(name: &str, path: &str) -> bool {
    name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TimeSpec {
        TimeSpec {
            scales_with: vec!["with.epochs".into(), "inputs.dataset".into()],
            ignores: vec!["with.seed".into(), "with.augment".into(), "inputs.weights".into()],
        }
    }

    fn list(ingredients: &[(&str, &str)]) -> Vec<Ingredient> {
        let made = |(name, value): &(&str, &str)| Ingredient { name: (*name).into(), value: (*value).into() };
        ingredients.iter().map(made).collect()
    }

    const BEFORE: &[(&str, &str)] = &[
        ("op", "torch/train"),
        ("op.version", "3"),
        ("with.augment.flip", "true"),
        ("with.epochs", "6"),
        ("with.network", "small"),
        ("with.seed", "1"),
        ("inputs.dataset", "a"),
        ("inputs.teacher", "t"),
        ("inputs.weights", "w"),
    ];

    /// The ratio after these ingredients became those, the dataset 100 and 300 bytes, the teacher 100 and 105.
    fn after(spec: Option<&TimeSpec>, changes: &[(&str, &str)]) -> Option<f64> {
        let mut now = list(BEFORE);
        for (name, value) in changes {
            now.iter_mut().find(|it| it.name == *name).unwrap().value = (*value).into();
        }
        let sizes =
            |dataset, teacher| Sizes::from([("dataset".into(), dataset), ("teacher".into(), teacher)]);
        let (past, sizes) = (sizes(100, 100), sizes(300, 105));
        ratio(
            spec,
            Work { ingredients: &list(BEFORE), sizes: &past },
            Work { ingredients: &now, sizes: &sizes },
        )
    }

    #[test]
    fn time_is_in_proportion_to_each_factor() {
        let spec = Some(spec());
        let after = |changes: &[(&str, &str)]| after(spec.as_ref(), changes);
        assert_eq!(after(&[]), Some(1.0));
        assert_eq!(after(&[("with.epochs", "75")]), Some(12.5));
        assert_eq!(after(&[("with.epochs", "75"), ("inputs.dataset", "b")]), Some(37.5));
        assert_eq!(after(&[("with.epochs", "3")]), Some(0.5));
    }

    #[test]
    fn what_does_not_matter_changes_nothing_and_what_else_may_makes_it_unknown() {
        let spec = Some(spec());
        let after = |changes: &[(&str, &str)]| after(spec.as_ref(), changes);
        assert_eq!(after(&[("with.seed", "2"), ("with.augment.flip", "false")]), Some(1.0));
        assert_eq!(after(&[("inputs.weights", "v"), ("op.version", "4")]), Some(1.0));
        assert_eq!(after(&[("inputs.teacher", "u")]), Some(1.0), "of nearly the same size");
        assert_eq!(after(&[("with.network", "large")]), None);
        assert_eq!(after(&[("with.epochs", "null")]), None);
        assert_eq!(after(&[("with.epochs", "0")]), None);
    }

    #[test]
    fn of_what_says_nothing_only_the_same_is_known() {
        assert_eq!(after(None, &[]), Some(1.0));
        assert_eq!(after(None, &[("op.version", "4")]), Some(1.0));
        assert_eq!(after(None, &[("with.seed", "2")]), None);
    }

    #[test]
    fn outputs_keep_their_size_where_only_what_is_named_was_changed() {
        let change = |name: &str| Change { name: name.into(), old: None, new: None };
        let spec = spec();
        assert!(keeps_sizes(Some(&spec), &[change("with.epochs"), change("with.augment.flip")]));
        assert!(keeps_sizes(None, &[change("natives.libtorch")]));
        assert!(!keeps_sizes(Some(&spec), &[change("with.network")]));
        assert!(!keeps_sizes(Some(&spec), &[change("inputs.dataset")]));
        assert!(!keeps_sizes(None, &[change("run")]));
    }
}
