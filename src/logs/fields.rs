//! The fields of spans and events as JSON, without secrets of URLs, and harmless wherever they are written.

use std::fmt;

use serde_json::{Map, Value};
use text::printable::clean_line;
use text::secret::hidden;
use tracing::field::{Field, Visit};

/// What belongs to all that happens within a span, too.
const INHERITED: [&str; 2] = ["run", "stage"];

/// What a span or an event says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    /// What is no field, but the text of an event.
    pub(super) message: String,
    pub(super) named: Map<String, Value>,
}

impl Fields {
    /// Takes over what belongs to all within `outer`, unless it says that itself.
    pub(super) fn inherit(&mut self, outer: &Self) {
        for name in INHERITED {
            if let (None, Some(value)) = (self.named.get(name), outer.named.get(name)) {
                self.named.insert(name.to_owned(), value.clone());
            }
        }
    }

    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.named.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let shown = clean_line(&hidden(value));
        match field.name() {
            "message" => self.message = shown,
            _ => self.put(field, shown),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}
