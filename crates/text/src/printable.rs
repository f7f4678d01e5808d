//! Text that others wrote, made safe for a terminal: what plugins, files and command lines say must not move the cursor, change
//! colours or turn round what follows. The one place that says which characters are shown as they are.

use std::borrow::Cow;

use crate::secret::hidden;

/// What stands for a character that is not shown.
const UNSHOWN: char = '\u{fffd}';

/// Text of others: no escape sequences, no control characters but line breaks, and nothing that is secret in a URL, which what an
/// earlier version kept may still hold.
#[must_use]
pub fn clean(text: &str) -> String {
    let shown = |c| match c {
        '\n' => c,
        c if c.is_control() => ' ',
        c => excerpt_char(c),
    };
    console::strip_ansi_codes(&hidden(text)).chars().map(shown).collect()
}

/// [`clean`] on one line.
#[must_use]
pub fn clean_line(text: &str) -> String {
    clean(text).replace('\n', " ").trim().to_owned()
}

/// [`clean`], with the lines after the first as far in as what stands before it: none passes for a message of its own.
#[must_use]
pub fn indented(text: &str, width: usize) -> String {
    clean(text).replace('\n', &format!("\n{:width$}", ""))
}

/// A line of a file, as many characters as it has, so that a place in it stays where it is.
#[must_use]
pub fn excerpt(text: &str) -> String {
    text.chars().map(excerpt_char).collect()
}

/// A character of [`excerpt`].
#[must_use]
pub fn excerpt_char(c: char) -> char {
    match c {
        '\t' => ' ',
        c if turns_round(c) || c.is_control() => UNSHOWN,
        c => c,
    }
}

/// Whether a character changes the order in which those after it are shown.
fn turns_round(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text without colours of its own, on its way out: line breaks and tabs stay, and no other control character.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    only(text, &|c| c == '\n' || c == '\t')
}

/// Text with colours of its own, on its way out: as [`plain`], and sequences that set colours stay.
#[must_use]
pub fn painted(text: &str) -> Cow<'_, str> {
    if !text.contains('\u{1b}') {
        return plain(text);
    }
    let mut parts = text.split('\u{1b}');
    let mut shown = plain(parts.next().unwrap_or_default()).into_owned();
    for part in parts {
        match color_length(part) {
            Some(length) => {
                let (color, rest) = part.split_at(length);
                shown.push('\u{1b}');
                shown.push_str(color);
                shown.push_str(&plain(rest));
            }
            None => {
                shown.push(UNSHOWN);
                shown.push_str(&plain(part));
            }
        }
    }
    Cow::Owned(shown)
}

/// How many bytes behind an escape character set a colour: `[1;31m`.
fn color_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('[')?;
    let end = inside.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    inside.get(end..)?.starts_with('m').then_some(end + 2)
}

/// JSON: what a terminal obeys and JSON leaves as it is occurs in strings only, and is escaped there.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| ('\u{7f}'..='\u{9f}').contains(&c);
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|c| {
        if obeyed(c) { Cow::Owned(format!("\\u{:04x}", u32::from(c))) } else { Cow::Owned(c.to_string()) }
    });
    Cow::Owned(escaped.collect::<Vec<Cow<'_, str>>>().concat())
}

fn only<'a>(text: &'a str, is_kept: &dyn Fn(char) -> bool) -> Cow<'a, str> {
    let is_shown = |c: char| is_kept(c) || !(c.is_control() || turns_round(c));
    if text.chars().all(is_shown) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if is_shown(c) { c } else { UNSHOWN }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        assert_eq!(clean("\u{1b}[2Jhello\u{7}\r\nworld\t!"), "hello  \nworld !");
        assert_eq!(clean_line(" a\n b \u{9b}31m"), "a  b");
        assert_eq!(clean_line("\u{1b}[1mhttps://me:pw@h/?sig=1"), "https://***@h/?***");
        assert_eq!(clean("a\u{202e}b"), "a\u{fffd}b");
        assert_eq!(indented("a\nb\u{1b}[2J", 3), "a\n   b");
        assert_eq!(excerpt("a\u{1b}\tb"), "a\u{fffd} b");
    }

    #[test]
    fn on_its_way_out_text_keeps_lines_and_tabs_and_its_own_colours_only() {
        assert_eq!(plain("a\tb\n\u{1b}[31mc\u{9b}\u{2066}"), "a\tb\n\u{fffd}[31mc\u{fffd}\u{fffd}");
        assert!(matches!(plain("nothing\n"), Cow::Borrowed(_)));
        assert_eq!(
            painted("\u{1b}[1;31mred\u{1b}[0m\u{1b}[2J\u{1b}]0;t\u{7}"),
            "\u{1b}[1;31mred\u{1b}[0m\u{fffd}[2J\u{fffd}]0;t\u{fffd}"
        );
        assert_eq!(painted("\u{1b}"), "\u{fffd}");
        assert_eq!(painted("\u{1b}[31"), "\u{fffd}[31");
    }

    #[test]
    fn json_stays_what_it_says() {
        let text = serde_json::to_string("a\u{9b}31m\u{7f}é").unwrap();
        let shown = json(&text);
        assert_eq!(shown, "\"a\\u009b31m\\u007fé\"");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), "a\u{9b}31m\u{7f}é");
    }
}
