//! Searches that look at each byte of a text once, however often they are asked.

/// Finds the first place in a text.
type Find<'t> = dyn Fn(&str) -> Option<usize> + 't;

/// The first place of something in a text, asked for at places that mostly grow: then each byte is looked at once, however
/// many URLs there are.
pub(super) struct Ahead<'t> {
    text: &'t str,
    find: Box<Find<'t>>,
    /// From where the last search went, and what it found.
    known: Option<(usize, Option<usize>)>,
}

impl<'t> Ahead<'t> {
    pub(super) fn new(text: &'t str, find: impl Fn(&str) -> Option<usize> + 't) -> Self {
        Self { text, find: Box::new(find), known: None }
    }

    /// The first place at `from` or behind it.
    pub(super) fn at(&mut self, from: usize) -> Option<usize> {
        if let Some((since, found)) = self.known
            && since <= from
            && found.is_none_or(|found| found >= from)
        {
            return found;
        }
        let found = self.text.get(from..).and_then(|text| (self.find)(text)).map(|at| from + at);
        self.known = Some((from, found));
        found
    }
}
