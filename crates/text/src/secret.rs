//! What must be neither shown nor kept: credentials and queries of URLs, wherever they stand in a text, and the values of
//! environment variables that a stage declares as secrets. Knows texts; knows no stages, no files but that of the salt,
//! and not where a text is going.
//!
//! Where the secrets of URLs are is known to [`protocol::masking`], for plugins say it, too. Three things can be done with a
//! text. [`hidden`] takes out what is secret in its URLs, for whatever is shown. [`Salt::sealed`] puts a keyed digest of it in
//! its place, for what is hashed *and* shown: another secret is another text. [`Masks`] also takes out secrets that are known by
//! their value, in the encodings in which programs print them. What is no text to be changed, as the outputs of a stage, is
//! looked through by [`Search`].

mod forms;
mod line;
mod masks;
mod salt;
mod search;

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use line::{hidden_line, secret_parts_of_line};
pub use masks::{Masks, TooLarge};
pub use protocol::masking::{MASK, without_credentials, without_secrets};
pub use salt::{Salt, visible};
pub use search::{Leak, Search};

/// A text without what is secret in its URLs: `https://***@host/path?***`. Where a secret is found only without the colours that a
/// program has put into it, the text is without colours, too.
#[must_use]
pub fn hidden(text: &str) -> Cow<'_, str> {
    in_any_colour(text, &protocol::masking::hidden)
}

/// [`hidden`] of a text that is one value, such as a param: if it begins as a URL it is one, blanks included.
#[must_use]
pub fn hidden_value(text: &str) -> Cow<'_, str> {
    in_any_colour(text, &protocol::masking::hidden_value)
}

/// What `hide` makes of a text as it is seen, where that hides something, and else of the text itself.
fn in_any_colour<'t>(text: &'t str, hide: &dyn for<'a> Fn(&'a str) -> Cow<'a, str>) -> Cow<'t, str> {
    let is_unseen = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(is_unseen) {
        let seen: String = console::strip_ansi_codes(text).chars().filter(|c| !is_unseen(*c)).collect();
        if let Cow::Owned(hidden) = hide(&seen) {
            return Cow::Owned(hidden);
        }
    }
    hide(text)
}

/// `value` with every text in it, names of fields too, as `change` makes it.
#[must_use]
pub fn with_texts(value: &Value, change: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(text)),
        Value::Array(items) => Value::Array(items.iter().map(|item| with_texts(item, change)).collect()),
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(name, field)| (change(name), with_texts(field, change))).collect(),
        ),
        other => other.clone(),
    }
}

/// A record of an earlier version, which may hold secrets, without them. As it is where it cannot be read back, which a
/// text in the place of a text cannot bring about.
pub fn hidden_in<T: Serialize + DeserializeOwned>(record: T) -> T {
    // Few hold any.
    let text = serde_json::to_string(&record).unwrap_or_default();
    if matches!(hidden(&text), Cow::Borrowed(_)) {
        return record;
    }
    let Ok(value) = serde_json::from_str::<Value>(&text) else { return record };
    serde_json::from_value(with_texts(&value, &|text| hidden_value(text).into_owned())).unwrap_or(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_is_found_through_colours() {
        let masks = Masks::new(&["SekretTok/en+99".to_owned()], []).unwrap();
        let painted = [
            "https://\u{1b}[01;31m\u{1b}[Kuser:SEK\u{1b}[m\u{1b}[KRET\u{8}@h.org/x?sig=SEKRET&b=1",
            "https\u{1b}[1m://\u{1b}[0muser:SEKRET@h.org/x\u{1b}[31m?sig=SEKRET&b=1\r",
        ];
        for text in painted {
            for shown in [hidden(text), masks.hide(text)] {
                assert_eq!(shown, "https://***@h.org/x?***", "{text:?}");
            }
        }
        assert_eq!(masks.hide("\u{1b}[31mSekret\u{1b}[0mTok/en+99 \u{1b}[1mx"), "*** x");
        assert!(masks.concern("\u{1b}[31mSekret\u{1b}[0mTok/en+99"));
        for text in ["\u{1b}[31mred\u{1b}[0m", "https://\u{1b}[1mh\u{1b}[0m/x", "plain"] {
            assert_eq!(masks.hide(text), text, "colours stay where there is no secret");
        }
    }

    #[test]
    fn every_text_of_a_record_is_looked_at() {
        let value = json!({ "vars": { "url": "https://a:b c@h/x?d e" }, "list": ["http://h/?q=1", 2, null] });
        let hidden = hidden_in(value);
        assert_eq!(
            hidden,
            json!({ "vars": { "url": "https://***@h/x?***" }, "list": ["http://h/?***", 2, null] })
        );
    }
}
