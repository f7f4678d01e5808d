//! What counts for nothing in folders: the list of patterns.

use patterns::Ignore;

use super::super::tree::{Data, Node, Problem, shortened};
use super::super::vars::Also;
use super::Resolver;

impl Resolver<'_> {
    /// The patterns of `ignore`. None where something is wrong with them, which is told.
    pub(super) fn ignore(&mut self, written: Option<&Node>) -> Option<Ignore> {
        let node = written.map(|node| self.fill(node, Also::Nothing));
        let items = match node.as_ref().map(|node| (node, &node.data)) {
            None | Some((_, Data::Null)) => &[],
            Some((_, Data::List(items))) => items.as_slice(),
            Some((_, Data::Broken)) => return None,
            Some((node, _)) => {
                let message = format!("`ignore` is a list of patterns, not {}", node.describe());
                self.tell(Problem::at(node, message).help("such as `ignore: [\"*.log\", /scratch/]`"));
                return None;
            }
        };
        let mut patterns = Vec::with_capacity(items.len());
        for item in items {
            match item.text() {
                Some(text) if !text.trim().is_empty() && !text.contains(['\n', '\0']) => patterns.push(text),
                _ if item.is_broken() => return None,
                _ => {
                    let message = format!("a pattern is a text on one line, not {}", item.describe());
                    self.tell(Problem::at(item, message));
                    return None;
                }
            }
        }
        match Ignore::new(self.root, patterns.iter().copied()) {
            Ok(ignore) => Some(ignore),
            Err((index, reason)) => {
                let item = items.get(index).or(node.as_deref())?;
                let pattern = patterns.get(index).map(|pattern| shortened(pattern)).unwrap_or_default();
                let message = format!("the pattern `{pattern}` cannot be read: {reason}");
                self.tell(Problem::at(item, message).help("patterns are those of `.gitignore`"));
                None
            }
        }
    }
}
