//! A sweep: the values of a stage's `matrix`, the combinations of them, and how a variant is called. Knows values and
//! names; knows neither YAML nor stages.

use serde_json::Value;

use super::tree::Node;
use crate::StageName;
use crate::name::{is_label, same_label};

/// The values over which one stage is fanned out.
#[derive(Debug)]
pub(super) struct Matrix {
    axes: Vec<Axis>,
    /// For each combination the index of its value on each axis.
    combinations: Vec<Vec<usize>>,
}

/// A variable with its values.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) name: String,
    pub(super) values: Vec<AxisValue>,
}

/// A value as written and as compared.
#[derive(Debug)]
pub(super) struct AxisValue {
    pub(super) node: Node,
    pub(super) json: Value,
    /// How it stands in a variant's name.
    label: String,
}

impl Axis {
    pub(super) fn new(name: String) -> Self {
        Self { name, values: Vec::new() }
    }

    /// Where the value stands among those of this axis.
    pub(super) fn position(&self, json: &Value) -> Option<usize> {
        self.values.iter().position(|value| value.json == *json)
    }

    /// Adds a value, and says where it stands.
    pub(super) fn push(&mut self, node: Node) -> usize {
        let json = node.to_json();
        self.values.push(AxisValue { node, json, label: String::new() });
        self.values.len() - 1
    }

    /// Calls each value by its text where all are short and plain and no two look alike, else by its number from 1.
    fn label(&mut self) {
        let texts: Option<Vec<String>> = self
            .values
            .iter()
            .map(|value| match &value.json {
                Value::Null => Some("null".into()),
                _ => value.node.scalar_text().filter(|text| is_label(text)),
            })
            .collect();
        let distinct = |texts: &Vec<String>| {
            let sorted: std::collections::BTreeSet<&String> = texts.iter().collect();
            sorted.len() == texts.len()
        };
        let texts = texts.filter(distinct);
        for (index, value) in self.values.iter_mut().enumerate() {
            let text = texts.as_ref().and_then(|texts| texts.get(index)).cloned();
            value.label = text.unwrap_or_else(|| (index + 1).to_string());
        }
    }
}

impl Matrix {
    pub(super) fn new(mut axes: Vec<Axis>, combinations: Vec<Vec<usize>>) -> Self {
        axes.iter_mut().for_each(Axis::label);
        Self { axes, combinations }
    }

    /// How many combinations there are.
    pub(super) fn len(&self) -> usize {
        self.combinations.len()
    }

    /// Names of its variables.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.axes.iter().map(|axis| axis.name.as_str())
    }

    /// The variables of a combination with their values.
    pub(super) fn values(&self, combination: usize) -> impl Iterator<Item = (&str, &AxisValue)> {
        let indices = self.combinations.get(combination).map(Vec::as_slice).unwrap_or_default();
        let values = self.axes.iter().zip(indices);
        values.filter_map(|(axis, index)| Some((axis.name.as_str(), axis.values.get(*index)?)))
    }

    /// Whether a combination has the values of `wanted` that are values of this matrix.
    pub(super) fn has(&self, combination: usize, wanted: &[(&str, &str)]) -> bool {
        self.values(combination).all(|(name, value)| {
            wanted
                .iter()
                .filter(|(wants, _)| *wants == name)
                .all(|(_, label)| same_label(&value.label, label))
        })
    }
}

/// `family[lr=0.1,…]` for the values chosen; an error where that is too long.
pub(super) fn variant_name<'v>(
    family: &str,
    values: impl Iterator<Item = (&'v str, &'v AxisValue)>,
) -> Result<StageName, String> {
    let bracket = bracket(values);
    StageName::try_from(format!("{family}{bracket}"))
        .map_err(|_| format!("the name `{family}{bracket}` of a variant is too long"))
}

/// `[lr=0.1,…]`, or nothing where there are no values.
pub(super) fn bracket<'v>(values: impl Iterator<Item = (&'v str, &'v AxisValue)>) -> String {
    let parts: Vec<String> = values.map(|(name, value)| format!("{name}={}", value.label)).collect();
    if parts.is_empty() { String::new() } else { format!("[{}]", parts.join(",")) }
}

/// All tuples with one number below each of `sizes`, the last one running fastest.
pub(super) fn product(sizes: Vec<usize>) -> impl Iterator<Item = Vec<usize>> {
    let mut next = (!sizes.contains(&0)).then(|| vec![0; sizes.len()]);
    std::iter::from_fn(move || {
        let current = next.take()?;
        let mut after = current.clone();
        for (digit, size) in after.iter_mut().zip(&sizes).rev() {
            *digit += 1;
            if *digit < *size {
                next = Some(after);
                break;
            }
            *digit = 0;
        }
        Some(current)
    })
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn axis(name: &str, values: &str) -> Axis {
        let mut axis = Axis::new(name.into());
        for node in yaml::read(values, 0, 0).unwrap().items().unwrap() {
            axis.push(node.clone());
        }
        axis
    }

    fn names(axis: Axis) -> Vec<String> {
        let combinations = (0..axis.values.len()).map(|index| vec![index]).collect();
        let matrix = Matrix::new(vec![axis], combinations);
        (0..matrix.len()).map(|index| variant_name("s", matrix.values(index)).unwrap().to_string()).collect()
    }

    #[test]
    fn values_are_called_as_they_are_written_or_by_number() {
        assert_eq!(
            names(axis("a", "[0.75, 1.0, 1e-3, true, null, sgd]")).join(" "),
            "s[a=0.75] s[a=1.0] s[a=0.001] s[a=true] s[a=null] s[a=sgd]"
        );
        assert_eq!(names(axis("a", "[{flip: true}, none]")), ["s[a=1]", "s[a=2]"]);
        assert_eq!(names(axis("a", "['a/b', b]")), ["s[a=1]", "s[a=2]"]);
        assert_eq!(names(axis("a", "['1', 1]")), ["s[a=1]", "s[a=2]"]);
        assert_eq!(names(axis("a", "['', x]")), ["s[a=1]", "s[a=2]"]);
    }

    #[test]
    fn all_tuples_in_order() {
        let all = |sizes: &[usize]| product(sizes.to_vec()).collect::<Vec<_>>();
        assert_eq!(all(&[2, 2]), [[0, 0], [0, 1], [1, 0], [1, 1]]);
        assert_eq!(all(&[]), [Vec::<usize>::new()]);
        assert!(all(&[3, 0]).is_empty());
        assert_eq!(all(&[3, 4, 5]).len(), 60);
    }
}
