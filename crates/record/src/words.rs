//! How a changed ingredient is told in a few words. Pure text; knows no colours and no widths.

use text::printable::clean_line;

use crate::Change;

/// A changed ingredient: `with.lr 0.05 → 0.08`. Digests and long values are shortened.
#[must_use]
pub fn change(change: &Change) -> String {
    change_of(change, None)
}

/// [`change`] with what the ingredient is: `inputs.data (data/raw.txt) 7f50268a4ac6… → cbeb7950aa32…`.
#[must_use]
pub fn change_of(change: &Change, from: Option<&str>) -> String {
    let from = from.map(|from| format!(" ({})", clean_line(from))).unwrap_or_default();
    let (old, new) = values(change);
    format!("{}{from} {old} → {new}", clean_line(&change.name))
}

/// Both values of a change, shortened; `(none)` where there is none.
#[must_use]
pub fn values(change: &Change) -> (String, String) {
    let value = |value: &Option<String>| value.as_deref().map_or_else(|| "(none)".into(), short_value);
    (value(&change.old), value(&change.new))
}

/// A value on one line: of digests the first digits, of long values the beginning.
#[must_use]
pub fn short_value(value: &str) -> String {
    let value = clean_line(value);
    let digest = value.strip_prefix("content ").unwrap_or(&value);
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (value, limit) = if is_digest { (digest, 12) } else { (value.as_str(), 40) };
    match value.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", value.get(..end).unwrap_or(value)),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_short() {
        let lr = Change { name: "with.lr".into(), old: Some("0.05".into()), new: Some("0.08".into()) };
        let input = Change { name: "inputs.model".into(), old: None, new: Some("ab".repeat(32)) };
        assert_eq!(change(&lr), "with.lr 0.05 → 0.08");
        assert_eq!(change(&input), "inputs.model (none) → abababababab…");
    }
}
