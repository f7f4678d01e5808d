//! Names of stages, and what names several of them at once. Knows their form; knows no pipeline.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest name of a stage as written, input or output, in bytes.
const LONGEST: usize = 100;
/// Longest name of a variant: what is left of the 255 bytes of a file name is for a digest beside it.
const LONGEST_VARIANT: usize = 180;

/// Name of a stage: letters, digits, `_` and `-`, starting with a letter; for a variant of a sweep its values behind it
/// in brackets, as in `train[width=0.75,lr=0.1]`. Safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct StageName(String);

impl StageName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the stage as written, of which this may be a variant.
    #[must_use]
    pub fn family(&self) -> &str {
        split_bracket(&self.0).0
    }

    /// The variables of a sweep with their values as the name has them; empty for a stage that is no variant.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        labels(split_bracket(&self.0).1.unwrap_or_default())
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<StageName> for String {
    fn from(name: StageName) -> Self {
        name.0
    }
}

impl TryFrom<String> for StageName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let (family, bracket) = split_bracket(&name);
        let bracket_is_right = match bracket {
            None => !name.contains(['[', ']']),
            Some(bracket) => {
                name.len() <= LONGEST_VARIANT
                    && bracket.split(',').all(|part| {
                        part.split_once('=').is_some_and(|(name, value)| is_name(name) && is_label(value))
                    })
            }
        };
        if is_name(family) && bracket_is_right {
            Ok(Self(name))
        } else {
            Err(format!(
                "`{}` is not a stage name: letters, digits, `_` and `-`, starting with a letter",
                name.chars().take(100).collect::<String>()
            ))
        }
    }
}

/// Whether `text` can name a stage in the file, a plugin, an op, an input, an output or a variable of a sweep.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && text.len() <= LONGEST
}

/// Whether `text` can stand for a value in a variant's name.
pub(super) fn is_label(text: &str) -> bool {
    const LONGEST: usize = 40;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    !text.is_empty() && text.len() <= LONGEST && text.chars().all(plain)
}

/// `train[lr=0.1]` as `train` and `lr=0.1`.
fn split_bracket(text: &str) -> (&str, Option<&str>) {
    let inside = text.strip_suffix(']').and_then(|text| text.split_once('['));
    inside.map_or((text, None), |(family, bracket)| (family, Some(bracket)))
}

fn labels(bracket: &str) -> impl Iterator<Item = (&str, &str)> {
    bracket
        .split(',')
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
}

/// `STAGE.REST` as stage and rest. The stage may be followed by values in brackets, which may hold dots.
#[must_use]
pub fn split_reference(text: &str) -> Option<(&str, &str)> {
    match (text.find('['), text.find('.')) {
        (Some(open), Some(dot)) if open < dot => {
            let close = open + text.get(open..)?.find(']')?;
            Some((text.get(..=close)?, text.get(close + 1..)?.strip_prefix('.')?))
        }
        _ => text.split_once('.'),
    }
}

/// What names a stage, all variants of one, or those with some values: `train`, `train[lr=0.1]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selector<'a> {
    family: &'a str,
    bracket: Option<&'a str>,
}

impl<'a> Selector<'a> {
    /// Reads a selector. Any text is one, though not of a stage that exists.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let (family, bracket) = split_bracket(text);
        Self { family, bracket }
    }

    /// The name of the stage as written in the file.
    #[must_use]
    pub fn family(&self) -> &'a str {
        self.family
    }

    /// Whether it asks for certain values.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.bracket.is_some()
    }

    /// The variables that it asks for, with the value of each.
    pub fn wanted(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        labels(self.bracket.unwrap_or_default())
    }

    /// Whether it names this stage.
    #[must_use]
    pub fn matches(&self, name: &StageName) -> bool {
        name.family() == self.family
            && self.bracket.is_none_or(|bracket| bracket.split(',').all(|part| part.contains('=')))
            && self.wanted().all(|(variable, value)| {
                name.labels().any(|(has, label)| has == variable && same_label(label, value))
            })
    }
}

/// Whether two labels stand for one value: `1` and `1.0` do.
pub(super) fn same_label(one: &str, other: &str) -> bool {
    let number = |text: &str| text.parse::<f64>().ok();
    one == other || number(one).is_some_and(|value| Some(value) == number(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Result<StageName, String> {
        StageName::try_from(text.to_owned())
    }

    #[test]
    fn variants_have_names_too() {
        let variant = name("train[width=0.75,lr=1e-3]").unwrap();
        assert_eq!(variant.family(), "train");
        assert_eq!(variant.labels().collect::<Vec<_>>(), [("width", "0.75"), ("lr", "1e-3")]);
        assert_eq!(name("train").unwrap().labels().count(), 0);
        for wrong in [
            "",
            "1a",
            "a b",
            "a/b",
            "a[",
            "a]",
            "a[]",
            "a[b]",
            "a[b=]",
            "a[b=/]",
            "a[b=c",
            "a[b=c]d",
            "a[b=c][d=e]",
            "a[1=2]",
            "a[b=c,]",
            "[b=c]",
            "a[b=..%]",
        ] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
        assert!(name(&format!("a[b={}]", "c".repeat(40))).is_ok());
        assert!(name(&format!("a[b={}]", "c".repeat(41))).is_err());
        assert!(name(&format!("a[{}]", ["b=c"; 44].join(","))).is_ok());
        assert!(name(&format!("a[{}]", ["b=c"; 45].join(","))).is_err());
    }

    #[test]
    fn a_reference_splits_behind_the_values() {
        assert_eq!(split_reference("train.weights"), Some(("train", "weights")));
        assert_eq!(split_reference("train[lr=0.1].a.b"), Some(("train[lr=0.1]", "a.b")));
        assert_eq!(split_reference("a.b[c=1.5]"), Some(("a", "b[c=1.5]")));
        assert_eq!(split_reference("train[lr=0.1]"), None);
        assert_eq!(split_reference("train[lr=0.1"), None);
        assert_eq!(split_reference("train"), None);
    }

    #[test]
    fn a_selector_names_one_some_or_all() {
        let variant = name("train[width=0.75,lr=0.1]").unwrap();
        let matches = |text| Selector::new(text).matches(&variant);
        for text in ["train", "train[lr=0.1]", "train[lr=0.10, width=.75]", "train[width=0.75,lr=0.1]"] {
            assert!(matches(text), "{text}");
        }
        for text in ["trai", "train[lr=0.2]", "train[x=0.1]", "train[lr]", "train[]", "train[lr=0.1"] {
            assert!(!matches(text), "{text}");
        }
        assert!(Selector::new("train").matches(&name("train").unwrap()));
        assert!(!Selector::new("train[lr=0.1]").matches(&name("train").unwrap()));
    }
}
