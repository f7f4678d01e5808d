//! Spans as Chrome's trace event format, for Perfetto and chrome://tracing: what each thread did and when, and beside that
//! what waited for room. Spans of one thread lie within each other, so that each is one complete event (`X`); what waits
//! does not, and has a beginning (`b`) and an end (`e`) with an id.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use tracing::Subscriber;
use tracing::span::{Attributes, Id};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::fields::Fields;

/// How every recording begins, so that one is known from what somebody else wrote.
const BEGIN: &str = "{\"otherData\":{\"writtenBy\":\"pipe ";

/// The span that lies within no other, and in which others of its thread need not lie.
const WAITS: &str = "wait";

/// What was recorded so far.
#[derive(Debug, Clone)]
pub struct Recording(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    start: Instant,
    spans: Mutex<Vec<Span>>,
    threads: Mutex<BTreeMap<u64, String>>,
}

/// A span that has ended.
#[derive(Debug)]
struct Span {
    kind: &'static str,
    fields: Fields,
    thread: u64,
    /// Microseconds since the recording began, both rounded down, so that what lies within something still does.
    begin: u64,
    end: u64,
}

/// A span that has not.
struct Open {
    fields: Fields,
    thread: u64,
    begin: u64,
}

static THREADS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static THREAD: u64 = THREADS.fetch_add(1, Ordering::Relaxed);
}

impl Default for Recording {
    fn default() -> Self {
        let (spans, threads) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { start: Instant::now(), spans, threads }))
    }
}

impl Recording {
    /// Whether `bytes` are one, or what is left of one.
    #[must_use]
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(BEGIN.as_bytes())
    }

    /// What has ended so far, as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut spans = self.0.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.sort_by_key(|span| (span.begin, Reverse(span.end)));
        let mut events = vec![named("process_name", 1, "pipe")];
        let threads = self.0.threads.lock().unwrap_or_else(PoisonError::into_inner);
        events.extend(threads.iter().map(|(id, name)| named("thread_name", *id, name)));
        for (id, span) in spans.iter().enumerate() {
            events.extend(span.events(id));
        }
        let whole = json!({
            "otherData": { "writtenBy": concat!("pipe ", env!("CARGO_PKG_VERSION")) },
            "displayTimeUnit": "ms",
            "traceEvents": events,
        });
        format!("{whole}\n")
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn thread(&self) -> u64 {
        let thread = THREAD.with(|thread| *thread);
        let mut threads = self.0.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.entry(thread).or_insert_with(|| std::thread::current().name().unwrap_or("helper").to_owned());
        thread
    }
}

/// What a process or a thread is called.
fn named(what: &str, thread: u64, name: &str) -> Value {
    json!({ "ph": "M", "name": what, "pid": 1, "tid": thread, "args": { "name": name } })
}

impl Span {
    fn events(&self, id: usize) -> Vec<Value> {
        let name = match ["stage", "unit", "plugin"].iter().find_map(|field| self.fields.named.get(*field)) {
            Some(Value::String(of)) => format!("{} {of}", self.kind),
            _ => self.kind.to_owned(),
        };
        let event = |phase: &str, at: u64| {
            json!({
                "ph": phase, "name": name, "cat": self.kind, "pid": 1, "tid": self.thread, "ts": at,
                "args": self.fields.named,
            })
        };
        if self.kind == WAITS {
            let with_id = |mut event: Value| {
                event["id"] = id.into();
                event
            };
            return vec![with_id(event("b", self.begin)), with_id(event("e", self.end))];
        }
        let mut whole = event("X", self.begin);
        whole["dur"] = (self.end - self.begin).into();
        vec![whole]
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recording {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let (thread, begin) = (self.thread(), self.now());
        span.extensions_mut().replace(Open { fields, thread, begin });
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let ended = span.extensions_mut().remove::<Open>();
        if let Some(Open { fields, thread, begin }) = ended {
            let span = Span { kind: span.metadata().name(), fields, thread, begin, end: self.now() };
            self.0.spans.lock().unwrap_or_else(PoisonError::into_inner).push(span);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry;

    #[test]
    fn a_recording_is_what_threads_did_and_what_waited() {
        let recording = Recording::default();
        tracing::subscriber::with_default(registry().with(recording.clone()), || {
            let _run = tracing::info_span!("run", run = "7-1").entered();
            let waits = tracing::debug_span!("wait", stage = "b");
            let execute = tracing::info_span!("execute", stage = "a", url = "https://me:pw@h/x").entered();
            drop(waits);
            drop(execute);
        });
        let text = recording.to_json();
        assert!(Recording::is_one(text.as_bytes()) && !Recording::is_one(b"{\"traceEvents\":[]}"));
        assert!(!text.contains("pw"), "{text}");
        let json: Value = serde_json::from_str(&text).unwrap();
        let events = json["traceEvents"].as_array().unwrap();
        let of =
            |phase: &str| -> Vec<&Value> { events.iter().filter(|event| event["ph"] == phase).collect() };
        let names: Vec<&Value> = of("X").iter().map(|event| &event["name"]).collect();
        assert_eq!(names, ["run", "execute a"]);
        let end = |event: &Value| event["ts"].as_u64().unwrap() + event["dur"].as_u64().unwrap();
        let [run, execute] = of("X")[..] else { panic!("{text}") };
        assert!(run["ts"].as_u64() <= execute["ts"].as_u64() && end(execute) <= end(run));
        let [begin, finish] = [of("b"), of("e")];
        assert_eq!(
            (begin.len(), &begin[0]["id"], &begin[0]["name"]),
            (1, &finish[0]["id"], &json!("wait b"))
        );
        assert_eq!(of("M").len(), 2);
    }
}
