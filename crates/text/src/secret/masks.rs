//! Secrets that are known by their value, taken out of texts in every form in which programs print them. Knows which these
//! forms are from [`forms`](super::forms).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use serde_json::Value;

use protocol::masking::{hidden, secrets as secrets_of_urls};

use super::forms::{self, Parts, add_forms};
use super::{MASK, in_any_colour, with_texts};

/// Secrets that cannot be looked for.
#[derive(Debug, thiserror::Error)]
#[error("the secrets of a stage, and what is secret in its URLs, are too many or too long to be hidden: {0}")]
pub struct TooLarge(#[from] BuildError);

/// What finds any of these texts, of those that begin at the same place the longest.
pub(super) fn automaton<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Result<AhoCorasick, TooLarge> {
    Ok(AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts)?)
}

/// What is to be taken out of the texts of one stage. Cheap to clone.
#[derive(Clone, Default)]
pub struct Masks {
    found: Option<Arc<AhoCorasick>>,
    /// Bytes of the longest form of a secret.
    longest: usize,
}

/// Says nothing of what it hides.
impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masks").field("longest", &self.longest).finish_non_exhaustive()
    }
}

impl Masks {
    /// Takes out `secrets`, whatever they are, and what is secret in the URLs that stand in `texts`.
    ///
    /// # Errors
    /// When they are too many or too long to be looked for.
    pub fn new<'t>(secrets: &[String], texts: impl IntoIterator<Item = &'t str>) -> Result<Self, TooLarge> {
        let of_urls = texts.into_iter().flat_map(secrets_of_urls);
        let mut forms = BTreeSet::new();
        for secret in secrets.iter().cloned().chain(of_urls) {
            add_forms(&secret, Parts::Small, &mut forms);
        }
        forms.remove(MASK);
        let Some(longest) = forms.iter().map(String::len).max() else { return Ok(Self::default()) };
        Ok(Self { found: Some(Arc::new(automaton(&forms)?)), longest })
    }

    /// Whether a secret of this value is too short to be looked for.
    #[must_use]
    pub fn is_too_short(secret: &str) -> bool {
        forms::is_too_short(secret)
    }

    /// Bytes of the longest text that is taken out as a whole; 0 where there is none.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Where to cut bytes in two at `at` or before, so that no secret is cut.
    #[must_use]
    pub fn cut_before(&self, bytes: &[u8], at: usize) -> usize {
        let start = at.saturating_sub(self.longest);
        let end = bytes.len().min(at + self.longest);
        let (Some(found), Some(around)) = (&self.found, bytes.get(start..end)) else { return at };
        let cut = found.find_iter(around).map(|found| start + found.start()..start + found.end());
        cut.into_iter()
            .find(|found| found.start < at && at < found.end)
            .map_or(at, |found| found.start.max(1))
    }

    /// A text without secrets, and without what is secret in any URL.
    #[must_use]
    pub fn hide<'t>(&self, text: &'t str) -> Cow<'t, str> {
        in_any_colour(text, &|text| self.hide_as_it_is(text))
    }

    fn hide_as_it_is<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let Some(found) = self.found.as_ref().filter(|found| found.is_match(text)) else {
            return hidden(text);
        };
        let mut shown = String::with_capacity(text.len());
        found.replace_all_with(text, &mut shown, |_, _, shown| {
            shown.push_str(MASK);
            true
        });
        Cow::Owned(hidden(&shown).into_owned())
    }

    /// A value without secrets, or none where it holds none.
    #[must_use]
    pub fn hide_in(&self, value: &Value) -> Value {
        with_texts(value, &|text| self.hide(text).into_owned())
    }

    /// Whether a text may hold something to hide. Says yes in doubt.
    #[must_use]
    pub fn concern(&self, text: &str) -> bool {
        matches!(self.hide(text), Cow::Owned(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::json;

    fn masks(secrets: &[&str]) -> Masks {
        Masks::new(&secrets.iter().map(|secret| (*secret).to_owned()).collect::<Vec<_>>(), []).unwrap()
    }

    #[test]
    fn a_secret_is_hidden_in_every_form_that_programs_print() {
        let secret = "s3cr/t \"é'";
        let masks = masks(&[secret]);
        let encoded = STANDARD.encode(format!("user:{secret}"));
        for (text, shown) in [
            (format!("token={secret}!"), "token=***!"),
            (format!("{}", json!({ "token": secret })), r#"{"token":"***"}"#),
            (r#"{"t":"s3cr/t \"\u00e9'"}"#.into(), r#"{"t":"***"}"#),
            ("?t=s3cr%2Ft%20%22%C3%A9%27".into(), "?t=***"),
            ("?t=s3cr%2ft+%22%c3%a9%27".into(), "?t=***"),
            (r#"curl 's3cr/t "é'\'''"#.into(), "curl '***'"),
            (format!("{secret}{secret}"), "******"),
            ("nothing".into(), "nothing"),
        ] {
            assert_eq!(masks.hide(&text), shown, "{text}");
        }
        let shown = masks.hide(&encoded).into_owned();
        assert!(shown.contains(MASK) && shown.len() < encoded.len(), "{shown}");
    }

    #[test]
    fn each_line_of_a_secret_is_one() {
        let masks = masks(&["-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhk\n}\n"]);
        assert_eq!(masks.hide("  MIIEvQIBADANBg"), "  ***");
        assert_eq!(masks.hide("kqhk"), "***");
        assert_eq!(masks.hide("}"), "}", "a line that is too short is not looked for");
    }

    #[test]
    fn what_is_secret_in_a_url_is_hidden_where_the_url_is_not_printed() {
        let masks = Masks::new(&[], ["https://me:hunter2@h/x?sig=abcdefgh"]).unwrap();
        assert_eq!(masks.hide("GET /x?sig=abcdefgh HTTP/1.1"), "GET /x?*** HTTP/1.1");
        assert_eq!(masks.hide("Signature abcdefgh of me: hunter2"), "Signature *** of me: ***");
        let basic = STANDARD.encode("me:hunter2");
        assert!(!masks.hide(&format!("Authorization: Basic {basic}")).contains(&basic[..8]));
        assert_eq!(masks.hide("http://other/?k=v"), "http://other/?***");
    }

    #[test]
    fn nothing_is_hidden_where_nothing_is_secret() {
        let masks = masks(&["abc", "", "\n"]);
        assert_eq!(masks.longest(), 0);
        assert!(!masks.concern("abc"));
        assert!(Masks::is_too_short("abc") && !Masks::is_too_short("abcd"));
        assert_eq!(
            format!("{:?}", super::Masks::new(&["hunter22".into()], []).unwrap()).find("hunter"),
            None
        );
    }

    #[test]
    fn no_secret_is_cut() {
        let masks = masks(&["hunter2"]);
        assert_eq!(masks.longest(), "hunter2".len().max(9));
        let text = b"aaaa hunter2 bbbb";
        for at in 0..=text.len() {
            let expected = if (6..12).contains(&at) { 5 } else { at };
            assert_eq!(masks.cut_before(text, at), expected, "{at}");
        }
        assert_eq!(Masks::default().cut_before(text, 7), 7);
    }

    proptest! {
        #[test]
        fn base64_of_any_text_around_a_secret_shows_nothing_of_it(before in "[ -~]{0,7}", secret in "[!-~]{9,20}", after in "[ -~]{0,7}") {
            let masks = masks(&[&secret]);
            let encoded = STANDARD.encode(format!("{before}{secret}{after}"));
            let shown = masks.hide(&encoded).into_owned();
            prop_assert!(shown.contains(MASK), "{encoded}");
            let left: String = shown.replace(MASK, "");
            // What is left are the digits at both ends, in which neighbours have a part.
            prop_assert!(left.len() <= (before.len() + after.len() + 2) * 4 / 3 + 6, "{encoded} {shown}");
        }

        #[test]
        fn no_value_is_left_in_a_text(secret in "[ -~]{4,20}", around in "[a-z]{0,5}") {
            let masks = masks(&[&secret]);
            if !Masks::is_too_short(&secret) && !MASK.contains(secret.trim()) {
                let text = format!("{around}{secret}{around}");
                prop_assert!(!masks.hide(&text).contains(secret.trim()), "{text}");
            }
        }
    }
}
