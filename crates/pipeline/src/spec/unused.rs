//! Vars that nothing uses: a name that was mistyped, or that what used it has gone. Knows texts with `${vars.NAME}` in them.

use std::collections::{BTreeMap, BTreeSet};

use super::parse::Parsed;
use super::suggest::did_you_mean;
use super::tree::{Data, Node, Problem};

/// What to say of each var of which nothing is made, where stages, gates and the report name `used`. What only another
/// profile's or an overridden var's value names counts as used by that var: another command line may want it.
pub(super) fn unused(parsed: &Parsed, used: &BTreeSet<String>) -> Vec<Problem> {
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let overlays = parsed.profiles.iter().flat_map(|(_, overlay)| overlay);
    for (key, value) in parsed.vars.iter().chain(overlays) {
        // `model.layers` is a part of `model`.
        let var = key.name.split('.').next().unwrap_or(&key.name);
        vars_in(value, names.entry(var).or_default());
    }
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut waiting: Vec<&str> = used.iter().map(String::as_str).collect();
    while let Some(var) = waiting.pop() {
        if reached.insert(var) {
            waiting.extend(names.get(var).into_iter().flatten());
        }
    }
    let unused = parsed.vars.iter().filter(|(key, _)| !reached.contains(key.name.as_str()));
    let told = unused.map(|(key, _)| {
        let name = &key.name;
        let help = did_you_mean(name, reached.iter().copied())
            .unwrap_or_else(|| format!("write `${{vars.{name}}}` where it is to stand, or take it out"));
        Problem::new(key.span, format!("var `{name}` is used by nothing")).help(help)
    });
    told.collect()
}

/// Adds the names of the vars that stand in texts of a value.
fn vars_in<'n>(node: &'n Node, names: &mut BTreeSet<&'n str>) {
    match &node.data {
        Data::Text(text) => {
            for (at, sign) in text.match_indices("${vars.") {
                let is_escaped = text.get(..at).is_some_and(|before| before.ends_with('$'));
                let rest = text.get(at + sign.len()..).unwrap_or_default();
                names.extend(rest.split(['.', '}']).next().filter(|_| !is_escaped));
            }
        }
        Data::List(items) => items.iter().for_each(|item| vars_in(item, names)),
        Data::Map(entries) => entries.iter().for_each(|(_, value)| vars_in(value, names)),
        Data::Null | Data::Bool(_) | Data::Number(_) | Data::Broken => {}
    }
}
