//! Spans and events as lines on standard error: a span when it ends, with how long it took.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use text::clock::now_ms;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::fields::Fields;
use crate::streams;

/// Version of the JSON lines, in each of them.
const VERSION: u32 = 1;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Writes lines.
pub(super) struct Lines {
    format: Format,
}

/// A span that has not ended.
struct Open {
    since: Instant,
    fields: Fields,
}

impl Lines {
    pub(super) fn new(format: Format) -> Self {
        Self { format }
    }

    fn write(&self, metadata: &Metadata<'_>, fields: &Fields, took: Option<Duration>) {
        match self.format {
            Format::Text => streams::tell(&text(now_ms(), metadata, fields, took)),
            Format::Json => streams::tell_json(&json(now_ms(), metadata, fields, took)),
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(parent) = span.parent() {
            inherit(&mut fields, &parent);
        }
        span.extensions_mut().replace(Open { since: Instant::now(), fields });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            values.record(&mut open.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(within) = context.event_span(event) {
            inherit(&mut fields, &within);
        }
        self.write(event.metadata(), &fields, None);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let ended = span.extensions_mut().remove::<Open>();
        if let Some(Open { since, fields }) = ended {
            self.write(span.metadata(), &fields, Some(since.elapsed()));
        }
    }
}

/// What belongs to all that happens within a span has been handed down to that already.
fn inherit<'a, S: LookupSpan<'a>>(fields: &mut Fields, within: &SpanRef<'a, S>) {
    if let Some(outer) = within.extensions().get::<Open>() {
        fields.inherit(&outer.fields);
    }
}

fn text(now_ms: u64, metadata: &Metadata<'_>, fields: &Fields, took: Option<Duration>) -> String {
    let now = i64::try_from(now_ms).ok().and_then(|now| jiff::Timestamp::from_millisecond(now).ok());
    let now = now.map(|now| format!("{now:.3}")).unwrap_or_default();
    let mut line = format!("{now} {:<5} {}", metadata.level().as_str(), metadata.target());
    if took.is_some() {
        line.push(' ');
        line.push_str(metadata.name());
    }
    // Writing to a string cannot fail.
    for (name, value) in &fields.named {
        let _ = match value {
            Value::String(text) if is_bare(text) => write!(line, " {name}={text}"),
            value => write!(line, " {name}={value}"),
        };
    }
    if !fields.message.is_empty() {
        let _ = write!(line, ": {}", fields.message);
    }
    if let Some(took) = took {
        let _ = write!(line, " took {took:.1?}");
    }
    line.push('\n');
    line
}

/// Whether a value can be told from what stands around it without quotes.
fn is_bare(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '"' || c == '=')
}

fn json(now_ms: u64, metadata: &Metadata<'_>, fields: &Fields, took: Option<Duration>) -> String {
    let mut line = json!({
        "version": VERSION,
        "time_ms": now_ms,
        "level": level(*metadata.level()),
        "target": metadata.target(),
    });
    if let Some(took) = took {
        line["span"] = metadata.name().into();
        line["took_us"] = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).into();
    }
    if !fields.message.is_empty() {
        line["message"] = fields.message.as_str().into();
    }
    if !fields.named.is_empty() {
        line["fields"] = fields.named.clone().into();
    }
    format!("{line}\n")
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry;

    /// Keeps lines instead of writing them.
    #[derive(Clone)]
    struct Kept(Arc<Mutex<Vec<(String, Value)>>>);

    impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Kept {
        fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
            Lines::new(Format::Text).on_new_span(attributes, id, context);
        }

        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            if let Some(within) = context.event_span(event) {
                inherit(&mut fields, &within);
            }
            let lines = (
                text(1_500, event.metadata(), &fields, None),
                serde_json::from_str(&json(1_500, event.metadata(), &fields, None)).unwrap(),
            );
            self.0.lock().unwrap().push(lines);
        }

        fn on_close(&self, id: Id, context: Context<'_, S>) {
            let span = context.span(&id).unwrap();
            let Open { fields, .. } = span.extensions_mut().remove().unwrap();
            let took = Some(Duration::from_millis(1500));
            let lines = (
                text(1_500, span.metadata(), &fields, took),
                serde_json::from_str(&json(1_500, span.metadata(), &fields, took)).unwrap(),
            );
            self.0.lock().unwrap().push(lines);
        }
    }

    #[test]
    fn what_happens_within_a_stage_has_its_name_and_nothing_has_a_secret() {
        let kept = Kept(Arc::default());
        tracing::subscriber::with_default(registry().with(kept.clone()), || {
            let _run = tracing::info_span!(target: "pipe", "run", run = "7-1").entered();
            let _stage = tracing::info_span!(target: "pipe", "execute", stage = "train").entered();
            let path = "https://me:pw@host/x\u{1b}[31m y";
            let _hash = tracing::debug_span!(target: "store", "hash", path, bytes = 3_u64).entered();
            tracing::warn!(target: "plugin", "two\nlines of http://a:b@h/");
        });
        let lines = kept.0.lock().unwrap().clone();
        let texts: Vec<&str> = lines.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "1970-01-01T00:00:01.500Z WARN  plugin run=7-1 stage=train: two lines of http://***@h/\n",
                "1970-01-01T00:00:01.500Z DEBUG store hash path=\"https://***@host/x y\" bytes=3 run=7-1 stage=train \
                 took 1.5s\n",
                "1970-01-01T00:00:01.500Z INFO  pipe execute stage=train run=7-1 took 1.5s\n",
                "1970-01-01T00:00:01.500Z INFO  pipe run run=7-1 took 1.5s\n",
            ]
        );
        let expected = json!({
            "version": 1, "time_ms": 1500, "level": "debug", "target": "store", "span": "hash", "took_us": 1_500_000,
            "fields": { "path": "https://***@host/x y", "bytes": 3, "run": "7-1", "stage": "train" },
        });
        assert_eq!(lines[1].1, expected);
        assert_eq!(lines[0].1["message"], "two lines of http://***@h/");
    }
}
