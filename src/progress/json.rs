//! One JSON object a line for programs, without what is secret in URLs. Each has `version` and `time_ms` before the event's own fields.

use std::borrow::Cow;
use std::io::Write;

use record::event::Event;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;
use text::clock::now_ms;
use text::secret::{hidden, with_texts};

use super::Sink;

/// Version of the lines, in each of them. A change that could break a reader increases it.
const VERSION: u32 = 1;

/// The schema of a line.
#[derive(Debug)]
pub struct Line;

impl JsonSchema for Line {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EventLine".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "pipe run --json: one line",
            "description": "An event of a run. A reader skips events that it does not know.",
            "type": "object",
            "properties": {
                "version": { "const": VERSION },
                "time_ms": {
                    "description": "When it was written, milliseconds since 1970 (UTC).",
                    "type": "integer",
                    "minimum": 0
                },
            },
            "required": ["version", "time_ms"],
            "allOf": [generator.subschema_for::<Event>()],
        })
    }
}

/// Writes JSON lines.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
    now: fn() -> u64,
}

impl<W: Write> Json<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, now: now_ms }
    }
}

impl<W: Write + Send> Sink for Json<W> {
    fn event(&mut self, event: &Event) {
        let fields = serde_json::to_string(event).unwrap_or_default();
        let fields = fields.strip_prefix('{').unwrap_or("}");
        let comma = if fields == "}" { "" } else { "," };
        let mut text = format!("{{\"version\":{VERSION},\"time_ms\":{}{comma}{fields}", (self.now)());
        // Few hold anything that is secret in a URL.
        if let Cow::Owned(_) = hidden(&text)
            && let Ok(line) = serde_json::from_str::<Value>(&text)
        {
            text = with_texts(&line, &|text| hidden(text).into_owned()).to_string();
        }
        text.push('\n');
        // What cannot be written is no reason to stop the run: standard output remembers that it lacks something.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::StageName;

    #[test]
    fn one_line_an_event() {
        let mut sink = Json { out: Vec::new(), now: || 1_795_183_380_000 };
        sink.event(&Event::Notice { message: "two\nlines".into() });
        sink.event(&Event::StageStarted {
            stage: StageName::try_from("train".to_owned()).unwrap(),
            changes: vec![],
        });
        assert_eq!(
            String::from_utf8(sink.out).unwrap(),
            "{\"version\":1,\"time_ms\":1795183380000,\"event\":\"notice\",\"message\":\"two\\nlines\"}\n\
             {\"version\":1,\"time_ms\":1795183380000,\"event\":\"stage_started\",\"stage\":\"train\",\"changes\":[]}\n"
        );
    }
}
