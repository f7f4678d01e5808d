//! What must be neither shown nor kept: credentials and queries of URLs, wherever they stand in a text, and the values of
//! environment variables that a stage declares as secrets. Knows texts; knows no stages, no files but that of the salt,
//! and not where a text is going.
//!
//! Where the secrets of URLs are is known to [`protocol::masking`], for plugins say it, too. Three things can be done with a text. [`hidden`] takes out what is secret in its URLs, for whatever is shown. [`Salt::sealed`]
//! puts a keyed digest of it in its place, for what is hashed *and* shown: another secret is another text. [`Masks`] also
//! takes out secrets that are known by their value, in the encodings in which programs print them.

mod masks;
mod salt;

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use masks::Masks;
pub use protocol::masking::{MASK, hidden, secret_parts, without_credentials, without_secrets};
pub use salt::{Salt, visible};

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
pub(crate) fn hidden_in<T: Serialize + DeserializeOwned>(record: T) -> T {
    // Few hold any.
    let text = serde_json::to_string(&record).unwrap_or_default();
    if matches!(hidden(&text), Cow::Borrowed(_)) {
        return record;
    }
    let Ok(value) = serde_json::from_str::<Value>(&text) else { return record };
    serde_json::from_value(with_texts(&value, &|text| hidden(text).into_owned())).unwrap_or(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_text_of_a_record_is_looked_at() {
        let value = json!({ "vars": { "url": "https://a:b@h/x" }, "list": ["http://h/?q=1", 2, null] });
        let hidden = hidden_in(value);
        assert_eq!(
            hidden,
            json!({ "vars": { "url": "https://***@h/x" }, "list": ["http://h/?***", 2, null] })
        );
    }
}
