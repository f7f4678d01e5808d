//! What is secret in a line of a pipeline, where a URL is a value without quotes more often than not.

use std::ops::Range;

use protocol::masking::{apart, secret_parts, secret_parts_of_value};

use super::{MASK, hidden};

/// The byte ranges of a line in which secrets of URLs stand, first to last. A URL that is a value goes on to where that ends.
#[must_use]
pub fn secret_parts_of_line(line: &str) -> Vec<Range<usize>> {
    let mut parts = secret_parts(line);
    for value in urls_as_values(line) {
        let within = secret_parts_of_value(line.get(value.clone()).unwrap_or_default());
        parts.extend(within.into_iter().map(|part| value.start + part.start..value.start + part.end));
    }
    apart(parts)
}

/// A line of a pipeline without what is secret in its URLs.
#[must_use]
pub fn hidden_line(line: &str) -> String {
    let mut shown = line.to_owned();
    for part in secret_parts_of_line(line).into_iter().rev() {
        shown.replace_range(part, MASK);
    }
    // One that colours are in the middle of is found without them.
    hidden(&shown).into_owned()
}

/// Where values without quotes are that begin as URLs.
fn urls_as_values(line: &str) -> Vec<Range<usize>> {
    let mut values: Vec<Range<usize>> = Vec::new();
    for (at, _) in line.match_indices("://") {
        if values.last().is_some_and(|value| at < value.end) {
            continue;
        }
        let Some(before) = line.get(..at) else { continue };
        let before = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "+.-".contains(c));
        let start = before.len();
        let begins = before.trim_end().is_empty()
            || [": ", "- ", ", "].iter().any(|sign| before.ends_with(sign))
            || before.trim_end().ends_with(['[', '{']);
        if !begins {
            continue;
        }
        let rest = line.get(start..).unwrap_or_default();
        let is_listed = before.contains(['[', '{']);
        let ends = [", ", "}", "]"].into_iter().filter_map(|sign| rest.find(sign).filter(|_| is_listed));
        values.push(start..start + ends.min().unwrap_or(rest.len()));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_hidden_up_to_the_end_of_its_value() {
        for (line, shown) in [
            ("      source: https://h/x?t=a b c", "      source: https://h/x?***"),
            ("- https://me:p w@h/x?t=a b", "- https://***@h/x?***"),
            ("https://h/x?t=a b", "https://h/x?***"),
            (
                "with: { source: https://my own t0ken@h/x?a b, formt: x }",
                "with: { source: https://***@h/x?***, formt: x }",
            ),
            ("urls: [https://h/?a b, http://i/?c d]", "urls: [https://h/?***, http://i/?***]"),
            ("run: curl https://h/x?a=b -o x", "run: curl https://h/x?*** -o x"),
            ("é: https://u:ü ö@h", "é: https://***@h"),
            ("a: b", "a: b"),
        ] {
            assert_eq!(hidden_line(line), shown, "{line}");
        }
    }
}
