//! Searches that look at each byte of a text once, however often they are asked.

/// The first place of something in a text, asked for at places that mostly grow: then each byte is looked at once, however
/// many URLs there are.
pub(super) struct Ahead<'t> {
    text: &'t str,
    find: fn(&str) -> Option<usize>,
    /// From where the last search went, and what it found.
    known: Option<(usize, Option<usize>)>,
}

impl<'t> Ahead<'t> {
    pub(super) fn new(text: &'t str, find: fn(&str) -> Option<usize>) -> Self {
        Self { text, find, known: None }
    }

    /// The first place at `from` or behind it.
    pub(super) fn at(&mut self, from: usize) -> Option<usize> {
        if let Some((since, found)) = self.known
            && since <= from
            && found.is_none_or(|found| found >= from)
        {
            return found;
        }
        let found = self.text.get(from..).and_then(self.find).map(|at| from + at);
        self.known = Some((from, found));
        found
    }
}
