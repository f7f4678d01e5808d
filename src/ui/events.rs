//! What happens, told to a page as server-sent events. Looks at files from time to time; a client that goes away, or sends
//! anything more, ends it.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Ui;
use super::client::Client;
use super::home::{Home, Part};
use super::log::{Heard, LogFollower, Shown};

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// After so long without news a line says that there is still somebody.
const SILENCE: Duration = Duration::from_secs(15);

/// What a page wants to be told of.
pub(super) enum Subject {
    /// The first page.
    Home(Box<Home>),
    /// The log of a stage.
    Log(Box<LogFollower>),
}

impl Subject {
    fn look(&mut self, ui: &Ui) -> Vec<String> {
        let Ok(store) = ui.store() else { return vec![] };
        match self {
            Self::Home(home) => {
                let parts = home.look(&store, None);
                parts
                    .iter()
                    .map(|Part { id, html }| event("part", None, &json!({ "id": id, "html": html })))
                    .collect()
            }
            Self::Log(log) => {
                let heard = log.look(&store).into_iter().map(|heard| match heard {
                    Heard::Anew => event("anew", None, &json!({})),
                    Heard::Lines { text, shown } => event("lines", Some(shown), &json!({ "text": text })),
                    Heard::Heading(text) => event("heading", None, &json!({ "text": text })),
                });
                heard.collect()
            }
        }
    }
}

/// One event. JSON has no line breaks. A page whose connection broke asks again with what it has been shown, its last id.
fn event(name: &str, shown: Option<Shown>, data: &Value) -> String {
    let id = shown.map(|shown| format!("id: {shown}\n")).unwrap_or_default();
    format!("event: {name}\n{id}data: {data}\n\n")
}

/// Tells a client of a subject until it goes away.
///
/// # Errors
/// When it cannot be written to any more.
pub(super) fn tell(mut subject: Subject, ui: &Ui, client: &mut Client<'_>) -> io::Result<()> {
    client.send(b"retry: 2000\n\n")?;
    let mut told = Instant::now();
    loop {
        let events = subject.look(ui);
        if !events.is_empty() {
            client.send(events.concat().as_bytes())?;
            told = Instant::now();
        } else if told.elapsed() > SILENCE {
            client.send(b": still here\n\n")?;
            told = Instant::now();
        }
        if client.is_gone_within(INTERVAL) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_data() {
        let data = json!({ "text": "a\nb\r\n" });
        let line = "data: {\"text\":\"a\\nb\\r\\n\"}\n\n";
        assert_eq!(event("heading", None, &data), format!("event: heading\n{line}"));
        let shown = Shown::Growing { file: 1, offset: 2 };
        assert_eq!(event("lines", Some(shown), &data), format!("event: lines\nid: 1-2\n{line}"));
    }
}
