//! What of a folder of pictures is not read: how much, why, and some names. Knows no files.

use std::collections::BTreeMap;
use std::fmt;

/// Most names that are shown.
const NAMES: usize = 3;

/// Files that could have been images of the set and are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Files that were read.
    read: usize,
    reasons: BTreeMap<Reason, Vec<String>>,
    /// What links that lead nowhere lead to, by path.
    targets: BTreeMap<String, String>,
}

/// Why a file is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// A picture of a format that is not read.
    Format(String),
    /// A picture of a kind of a format that is not read, where others of that format are; in words.
    Kind(String),
    /// Something else, by the ending of its name: `` `.npy` ``.
    Other(String),
    /// Called a picture, and none by its content.
    Misnamed,
    /// Without a byte in it.
    Empty,
    /// A picture that does not lie where pictures are looked for.
    Elsewhere(&'static str),
    /// A picture that is hidden, or in a hidden folder.
    Hidden,
    /// A link to what is not there.
    Lost,
}

impl LeftOut {
    pub(crate) fn add(&mut self, reason: Reason, path: &str) {
        self.reasons.entry(reason).or_default().push(path.to_owned());
    }

    /// Leaves out a link to `target`, which is not there.
    pub(crate) fn add_lost(&mut self, path: &str, target: &str) {
        self.add(Reason::Lost, path);
        self.targets.insert(path.to_owned(), target.to_owned());
    }

    pub(crate) fn has_lost(&self) -> bool {
        self.reasons.contains_key(&Reason::Lost)
    }

    pub(crate) fn set_read(&mut self, read: usize) {
        self.read = read;
    }

    /// How many files are left out.
    #[must_use]
    pub fn count(&self) -> usize {
        self.reasons.values().map(Vec::len).sum()
    }

    /// Paths of all files that are left out.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.reasons.values().flatten().map(String::as_str)
    }

    /// How many files are left out because they lie elsewhere.
    pub(crate) fn elsewhere(&self) -> usize {
        let counts = self.reasons.iter().filter(|(reason, _)| matches!(reason, Reason::Elsewhere(_)));
        counts.map(|(_, paths)| paths.len()).sum()
    }

    /// Share of all files that could be images, from 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        let count = self.count();
        count as f64 / (count + self.read).max(1) as f64
    }

    fn shown(&self, name: &str) -> String {
        match self.targets.get(name) {
            Some(target) => format!("`{name}`, a link to {target}"),
            None => format!("`{name}`"),
        }
    }

    /// The names that are shown: of each reason the first, then more of them.
    fn names(&self) -> Vec<&str> {
        let mut lists: Vec<Vec<&str>> =
            self.reasons.values().map(|paths| paths.iter().map(String::as_str).collect()).collect();
        for list in &mut lists {
            list.sort_unstable();
        }
        let most = lists.iter().map(Vec::len).max().unwrap_or(0).min(NAMES);
        let in_turn = (0..most).flat_map(|turn| lists.iter().filter_map(move |list| list.get(turn)));
        in_turn.take(NAMES).copied().collect()
    }
}

/// `5 of 88 files: 3 AVIF, 2 empty (such as …)`.
impl fmt::Display for LeftOut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        let reasons: Vec<_> =
            self.reasons.iter().map(|(reason, paths)| format!("{} {reason}", paths.len())).collect();
        let names: Vec<_> = self.names().into_iter().map(|name| self.shown(name)).collect();
        let such_as = if names.len() < count { "such as " } else { "" };
        write!(
            formatter,
            "{count} of {} files: {} ({such_as}{})",
            count + self.read,
            reasons.join(", "),
            names.join(", ")
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(name) => write!(formatter, "{name}, which is not read"),
            Self::Kind(what) => formatter.write_str(what),
            Self::Other(ending) => write!(formatter, "{ending}, no image"),
            Self::Misnamed => formatter.write_str("no image in spite of the name"),
            Self::Empty => formatter.write_str("empty"),
            Self::Elsewhere(place) => write!(formatter, "outside {place}"),
            Self::Lost => formatter.write_str("linked to what is not there"),
            Self::Hidden => formatter.write_str("hidden (by a `.` at the start of a name)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_stand_by_reason_with_three_names() {
        let mut left_out = LeftOut::default();
        left_out.set_read(80);
        left_out.add(Reason::Empty, "e");
        for name in ["c.avif", "a.avif", "b.avif"] {
            left_out.add(Reason::Format("AVIF".into()), name);
        }
        assert_eq!(
            left_out.to_string(),
            "4 of 84 files: 3 AVIF, which is not read, 1 empty (such as `a.avif`, `e`, `b.avif`)"
        );
        assert!((left_out.share() - 4.0 / 84.0).abs() < 1e-12);
    }

    #[test]
    fn links_stand_with_what_they_lead_to() {
        let mut left_out = LeftOut::default();
        left_out.set_read(9);
        left_out.add_lost("a.png", "`../gone/1`");
        let told = "1 of 10 files: 1 linked to what is not there (`a.png`, a link to `../gone/1`)";
        assert_eq!(left_out.to_string(), told);
        assert!(left_out.has_lost());
    }

    #[test]
    fn all_names_stand_where_there_are_few() {
        let mut left_out = LeftOut::default();
        left_out.add(Reason::Elsewhere("`train/CLASS/`"), "logo.png");
        assert_eq!(left_out.to_string(), "1 of 1 files: 1 outside `train/CLASS/` (`logo.png`)");
        assert_eq!((left_out.elsewhere(), left_out.share()), (1, 1.0));
    }
}
