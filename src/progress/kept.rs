//! Keeps the events of a run in a file while passing them on, so that another process can follow the run. Logs are left
//! out, because they have files of their own. Nothing is written before something is executed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::time::Instant;

use pipeline::StageName;
use record::Outcome;
use record::event::Event;
use store::StoreError;

use super::{Json, Sink};

/// So much progress of a stage is kept at once.
const BURST: f64 = 20.0;
/// And so much a second after that: a run of days is not to fill the disk.
const PER_SECOND: f64 = 2.0;

/// Passes events on and keeps them.
pub struct Kept<B> {
    shown: Box<dyn Sink>,
    begin: B,
    keeping: Keeping,
    paces: BTreeMap<StageName, Pace>,
}

enum Keeping {
    /// Nothing was executed yet: what there is to say then.
    NotYet(Vec<Event>),
    Begun(Json<BufWriter<File>>),
    /// It cannot be written. The run goes on all the same.
    Not,
}

impl<B> Kept<B> {
    /// Passes events on to `shown`; `begin` makes the file once something is executed.
    pub fn new(shown: Box<dyn Sink>, begin: B) -> Self {
        Self { shown, begin, keeping: Keeping::NotYet(vec![]), paces: BTreeMap::new() }
    }
}

impl<B: Fn() -> Result<File, StoreError> + Send> Sink for Kept<B> {
    fn event(&mut self, event: &Event) {
        self.shown.event(event);
        if let Event::StageStarted { .. } = event
            && let Keeping::NotYet(before) = &self.keeping
        {
            self.keeping = match (self.begin)() {
                Ok(file) => {
                    let mut json = Json::new(BufWriter::new(file));
                    before.iter().for_each(|event| json.event(event));
                    Keeping::Begun(json)
                }
                Err(_) => Keeping::Not,
            };
        }
        match &mut self.keeping {
            Keeping::NotYet(before) if tells_of_more_than_the_plan(event) => before.push(event.clone()),
            Keeping::Begun(json) if is_due(event, &mut self.paces) => json.event(event),
            Keeping::NotYet(_) | Keeping::Begun(_) | Keeping::Not => {}
        }
    }
}

/// Stages that stay as they are were planned to: there may be thousands of them.
fn tells_of_more_than_the_plan(event: &Event) -> bool {
    !matches!(event, Event::StageFinished { outcome: Outcome::Fresh, .. })
}

fn is_due(event: &Event, paces: &mut BTreeMap<StageName, Pace>) -> bool {
    match event {
        Event::StageLog { .. } => false,
        Event::StageProgress { stage, .. } => {
            let now = Instant::now();
            paces.entry(stage.clone()).or_insert(Pace { left: BURST, at: now }).takes(now)
        }
        _ => true,
    }
}

/// How much may be kept of what comes often.
struct Pace {
    left: f64,
    at: Instant,
}

impl Pace {
    fn takes(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = since.mul_add(PER_SECOND, self.left).min(BURST);
        self.at = now;
        let takes = self.left >= 1.0;
        if takes {
            self.left -= 1.0;
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::{LogLevel, Progress};

    use super::*;

    struct Nowhere;

    impl Sink for Nowhere {
        fn event(&mut self, _: &Event) {}
    }

    fn stage() -> StageName {
        StageName::try_from("train".to_owned()).unwrap()
    }

    fn finished(outcome: Outcome) -> Event {
        Event::StageFinished { stage: stage(), outcome, duration: Duration::ZERO }
    }

    fn started() -> Event {
        Event::RunStarted { run: "1-1".into(), pipeline: "p".into(), stages: vec![] }
    }

    #[test]
    fn nothing_is_written_before_something_is_executed_and_no_log_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("live");
        let begin = || Ok(File::create(&path).unwrap());
        let mut kept = Kept::new(Box::new(Nowhere), begin);
        for event in [started(), finished(Outcome::Fresh), finished(Outcome::Restored)] {
            kept.event(&event);
        }
        assert!(!path.exists());
        kept.event(&Event::StageStarted { stage: stage(), changes: vec![] });
        kept.event(&Event::StageLog { stage: stage(), level: LogLevel::Info, message: "much".into() });
        kept.event(&finished(Outcome::Ran));
        let text = std::fs::read_to_string(&path).unwrap();
        let events: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(matches!(
            events.as_slice(),
            [
                Event::RunStarted { .. },
                Event::StageFinished { outcome: Outcome::Restored, .. },
                Event::StageStarted { .. },
                Event::StageFinished { outcome: Outcome::Ran, .. }
            ]
        ));
    }

    #[test]
    fn progress_is_kept_as_it_comes_unless_it_comes_often() {
        let mut paces = BTreeMap::new();
        let progress =
            Progress { done: 1.0, total: 2.0, unit: String::new(), text: String::new(), milestone: true };
        let event = Event::StageProgress { stage: stage(), progress };
        let due = (0..10_000).filter(|_| is_due(&event, &mut paces)).count();
        assert!((20..1000).contains(&due), "{due}");
        let now = Instant::now();
        let mut pace = Pace { left: 0.0, at: now };
        assert!(!pace.takes(now) && pace.takes(now + Duration::from_millis(500)));
        assert!(!pace.takes(now + Duration::from_millis(501)), "one a time");
    }

    #[test]
    fn a_run_goes_on_where_nothing_can_be_kept() {
        let mut kept = Kept::new(Box::new(Nowhere), || Err(StoreError::Name { name: "x".into() }));
        kept.event(&started());
        kept.event(&Event::StageStarted { stage: stage(), changes: vec![] });
        kept.event(&finished(Outcome::Ran));
        assert!(matches!(kept.keeping, Keeping::Not));
    }
}
