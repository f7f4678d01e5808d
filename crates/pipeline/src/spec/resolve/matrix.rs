//! Reads a `matrix`: its variables with their values, what is excluded and what is included.

use std::collections::{BTreeMap, BTreeSet};

use super::super::matrix::{Axis, Matrix, product};
use super::super::suggest::{did_you_mean_or_list, list};
use super::super::tree::{Data, Key, Node, Problem, shortened};
use super::super::vars::Also;
use super::Resolver;
use super::command::wrong_name;
use super::fan_out::MOST_VARIANTS;
use crate::name::is_name;

impl Resolver<'_> {
    /// A `matrix` as written, or none where something is wrong with it.
    pub(super) fn matrix(&mut self, key: &Key, written: &Node) -> Option<Matrix> {
        let node = self.fill(written, Also::Nothing).into_owned();
        let Data::Map(entries) = &node.data else {
            if !node.is_broken() {
                let message =
                    format!("`matrix` is a map of names to lists of values, not {}", node.describe());
                self.tell(Problem::at(&node, message).help("such as `matrix: { lr: [0.1, 0.05] }`"));
            }
            return None;
        };
        let before = self.problems.len();
        let mut axes = Vec::new();
        for (key, values) in
            entries.iter().filter(|(key, _)| !matches!(key.name.as_str(), "include" | "exclude"))
        {
            axes.push(self.axis(key, values));
        }
        let included = self.maps(node.get("include"), "include");
        if let (true, Some(first)) = (axes.is_empty(), included.first()) {
            axes.extend(first.iter().map(|(key, _)| Axis::new(key.name.clone())));
        }
        if self.problems.len() > before {
            return None;
        }
        let only_included = axes.iter().all(|axis| axis.values.is_empty());
        let sizes: Vec<usize> = axes.iter().map(|axis| axis.values.len()).collect();
        let count = sizes.iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
        if count.is_none_or(|count| count + included.len() > MOST_VARIANTS) {
            self.tell(
                Problem::new(key.span, "the matrix has more than 10,000 combinations")
                    .help("sweep over less"),
            );
            return None;
        }
        let mut combinations: Vec<Vec<usize>> =
            if only_included { Vec::new() } else { product(sizes).collect() };
        for excluded in self.maps(node.get("exclude"), "exclude") {
            if self.has_given_up() {
                return None;
            }
            let wanted = self.picked(&axes, excluded)?;
            let count = combinations.len();
            combinations.retain(|combination| {
                !wanted.iter().all(|(axis, value)| combination.get(*axis) == Some(value))
            });
            if let (true, Some((first, _))) = (combinations.len() == count, excluded.first()) {
                let message = "no combination that is left has these values".to_owned();
                self.tell(Problem::new(first.span, message).help("take it away, or correct it"));
            }
        }
        let mut known: BTreeSet<Vec<usize>> = combinations.iter().cloned().collect();
        for entries in included {
            let combination = self.included(&mut axes, entries)?;
            if known.insert(combination.clone()) {
                combinations.push(combination);
            } else if let Some((first, _)) = entries.first() {
                self.tell(Problem::new(first.span, "this combination is there already"));
            }
        }
        if combinations.is_empty() && self.problems.len() == before {
            let problem = Problem::new(key.span, "the matrix has no combination");
            self.tell(problem.help("give a variable a list of values: `matrix: { lr: [0.1, 0.05] }`"));
        }
        (self.problems.len() == before).then(|| Matrix::new(axes, combinations))
    }

    fn axis(&mut self, key: &Key, values: &Node) -> Axis {
        let mut axis = Axis::new(key.name.clone());
        if !is_name(&key.name) {
            self.tell(wrong_name(&key.name, "a variable of a matrix", key.span));
        }
        let items = match &values.data {
            Data::List(items) => items.as_slice(),
            Data::Broken => &[],
            _ => {
                let message =
                    format!("`{}` is a list of values, not {}", shortened(&key.name), values.describe());
                self.tell(Problem::at(values, message));
                return axis;
            }
        };
        if items.is_empty() {
            self.tell(Problem::at(values, format!("`{}` has no values", shortened(&key.name))));
        }
        let mut seen = BTreeSet::new();
        for item in items {
            if !item.is_broken() && !seen.insert(item.to_json().to_string()) {
                let message = format!("{} is a value of `{}` already", item.describe(), shortened(&key.name));
                self.tell(Problem::at(item, message));
            }
            axis.push(item.clone());
        }
        axis
    }

    /// The maps that a list holds.
    fn maps<'n>(&mut self, node: Option<&'n Node>, what: &str) -> Vec<&'n [(Key, Node)]> {
        let items = match node.map(|node| (node, &node.data)) {
            None | Some((_, Data::Null | Data::Broken)) => &[],
            Some((_, Data::List(items))) => items.as_slice(),
            Some((node, _)) => {
                let message = format!("`{what}` is a list of maps of values, not {}", node.describe());
                self.tell(Problem::at(node, message));
                &[]
            }
        };
        let mut maps = Vec::with_capacity(items.len());
        for item in items {
            match item.entries().filter(|entries| !entries.is_empty()) {
                Some(entries) => maps.push(entries),
                None if item.is_broken() => {}
                None => {
                    let message = format!(
                        "`{what}` has maps of values, such as `{{ lr: 0.1 }}`, not {}",
                        item.describe()
                    );
                    self.tell(Problem::at(item, message));
                }
            }
        }
        maps
    }

    /// Axis and index of each value in a map; none where one is unknown, which is told.
    fn picked(&mut self, axes: &[Axis], entries: &[(Key, Node)]) -> Option<Vec<(usize, usize)>> {
        let mut picked = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let axis = self.axis_of(axes, key)?;
            let values = axes.get(axis)?;
            let Some(index) = values.position(&value.to_json()) else {
                let message = format!("`{}` has no value {}", key.name, value.describe());
                let known: Vec<String> = values.values.iter().map(|value| value.json.to_string()).collect();
                let help = list("its values are", known.iter().map(String::as_str));
                self.tell(Problem::at(value, message).help(help));
                return None;
            };
            picked.push((axis, index));
        }
        Some(picked)
    }

    /// A combination that names each variable once; its values may be new.
    fn included(&mut self, axes: &mut [Axis], entries: &[(Key, Node)]) -> Option<Vec<usize>> {
        let mut found: BTreeMap<usize, usize> = BTreeMap::new();
        for (key, value) in entries {
            let axis = self.axis_of(axes, key)?;
            let values = axes.get_mut(axis)?;
            let index = values.position(&value.to_json()).unwrap_or_else(|| values.push(value.clone()));
            found.insert(axis, index);
        }
        let missing = axes.iter().enumerate().find(|(index, _)| !found.contains_key(index));
        if let (Some((_, missing)), Some((first, _))) = (missing, entries.first()) {
            let message = format!("a combination names every variable: `{}` is missing", missing.name);
            self.tell(Problem::new(first.span, message));
            return None;
        }
        (0..axes.len()).map(|axis| found.get(&axis).copied()).collect()
    }

    fn axis_of(&mut self, axes: &[Axis], key: &Key) -> Option<usize> {
        let found = axes.iter().position(|axis| axis.name == key.name);
        if found.is_none() {
            let known = axes.iter().map(|axis| axis.name.as_str());
            let help = did_you_mean_or_list(&key.name, "its variables are", known);
            let message = format!("the matrix has no variable `{}`", shortened(&key.name));
            self.tell(Problem::new(key.span, message).help(help));
        }
        found
    }
}
