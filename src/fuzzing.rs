//! What the targets in `fuzz/` feed bytes to. Whatever the bytes are, nothing here may panic, and what is checked
//! besides holds. Not part of a release: compiled for tests and with the feature `fuzzing` only.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use history::{History, Now, Outcomes, Past};
use pipeline::StageName;
use pipeline::spec::{self, Diagnostics, Manifests, Overrides, Pipeline, Unusable};
use protocol::{Figure, Manifest, Metric};
use record::event::Event;
use record::{ActionRecord, Definition, Machine, Outcome, RunRecord, StageRun, key};
use serde_json::Value;

use crate::plugin;
use crate::progress::{Closing, Json, Paint, Plain, Sink, Tally, summary};

/// A pipeline with a gate, a result table and two stages.
const PIPELINE: &str = "\
version: 1
name: fuzz
stages:
  a: { uses: torch/evaluate, inputs: { dataset: ./Cargo.toml } }
  b: { run: 'true', inputs: { a: ./Cargo.toml } }
gates: [a.x < 1, a.x - 2 * a.y >= baseline.a.x * baseline.a.y]
report:
  rows: { one: x, two: y }
  columns: [{ label: l, metric: 'a.${row}', better: higher, reference: { one: 1 } }, { label: m, metric: 'a.${row}', better: lower }]
";

/// Reads bytes as `pipeline.yaml`, with the manifests in `fuzz/manifests`. Comments at its top that begin with
/// `# --profile NAME` or `# --set NAME=VALUE` count as arguments.
pub fn pipeline(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match read_pipeline(text, &arguments(text), &known_manifests()) {
        Ok(pipeline) => {
            assert!(pipeline.graph().is_ok(), "a valid pipeline has a cycle");
            let _ = report::stages_svg(&pipeline, &[]);
        }
        Err(problems) => check_problems(&problems, text),
    }
}

/// Reads bytes as what a plugin prints: its manifest, and its side of a conversation. What the runner would keep and
/// show of it is drawn.
pub fn plugin_message(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    describe(&text);
    let Some(stage) = stage_name("a") else { return };
    let events = RefCell::new(Vec::new());
    let heard = crate::exec::fuzzing::hear(&stage, &text, &|event| events.borrow_mut().push(event));
    let mut events = events.into_inner();
    let (outcome, (metrics, figures)) = match heard {
        Ok(kept) => (Outcome::Ran, kept),
        Err(failure) => (
            Outcome::Failed { message: failure.message, hint: failure.hint },
            (BTreeMap::<String, Metric>::new(), Vec::<Figure>::new()),
        ),
    };
    let duration = std::time::Duration::from_millis(1);
    events.push(Event::StageFinished { stage: stage.clone(), outcome: outcome.clone(), duration });
    show(&events);
    let record = ActionRecord {
        key: key::digest_of(&[]),
        ingredients: vec![],
        stage: stage.clone(),
        outputs: BTreeMap::new(),
        metrics,
        figures,
        log: key::digest_of(&[]),
        started_ms: 0,
        duration_ms: 1,
        machine: Machine::default(),
        run: "1".into(),
        provisional: None,
        pace: None,
    };
    if let Ok(json) = serde_json::to_vec(&record) {
        assert!(
            serde_json::from_slice(&json).ok().as_ref() == Some(&record),
            "a record changes when it is read"
        );
    }
    let run = StageRun {
        stage,
        outcome,
        key: Some(record.key),
        changes: vec![],
        offset_ms: 0,
        duration_ms: 1,
        provisional: None,
    };
    draw(&run_of(vec![run]), &record, None);
}

/// Reads bytes as each kind of record in the cache. What can be read is drawn.
pub fn cache_record(bytes: &[u8]) {
    let _ = store::fuzzing::record::<plugin::Known>(bytes);
    let records = store::fuzzing::read(bytes);
    if let Some(record) = records.action {
        let _ = key::digest_of(&record.ingredients);
        let _ = key::changes(&record.ingredients, &[]);
        let (stage, key) = (record.stage.clone(), Some(record.key));
        let run = StageRun {
            stage,
            outcome: Outcome::Ran,
            key,
            changes: vec![],
            offset_ms: 0,
            duration_ms: 1,
            provisional: None,
        };
        draw(&run_of(vec![run]), &record, None);
    }
    if let (Some(run), Some(stage)) = (records.run, stage_name("a")) {
        let record = ActionRecord {
            key: key::digest_of(&[]),
            ingredients: vec![],
            stage,
            outputs: BTreeMap::new(),
            metrics: BTreeMap::new(),
            figures: vec![],
            log: key::digest_of(&[]),
            started_ms: 0,
            duration_ms: 0,
            machine: Machine::default(),
            run: "1".into(),
            provisional: None,
            pace: None,
        };
        draw(&run, &record, None);
        draw(&run_of(vec![]), &record, Some(&run));
    }
}

fn stage_name(name: &str) -> Option<StageName> {
    StageName::try_from(name.to_owned()).ok()
}

/// This package's folder, in which the paths of examples lead somewhere.
fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("p.yaml")
}

fn read_pipeline(
    text: &str,
    overrides: &Overrides,
    manifests: &dyn Manifests,
) -> Result<Pipeline, Diagnostics> {
    spec::parse_text(text, "p.yaml", file()).and_then(|parsed| spec::resolve(parsed, overrides, manifests))
}

fn arguments(text: &str) -> Overrides {
    let mut overrides = Overrides::default();
    for line in text.lines().map_while(|line| line.strip_prefix("# --")) {
        if let Some(profile) = line.strip_prefix("profile ") {
            overrides.profile = Some(profile.into());
        } else if let Some((name, value)) = line.strip_prefix("set ").and_then(|set| set.split_once('=')) {
            overrides.set.push((name.into(), value.into()));
        }
    }
    overrides
}

/// Manifests by plugin.
struct Fixed(BTreeMap<String, Arc<Manifest>>);

impl Manifests for Fixed {
    fn manifest(&self, plugin: &str) -> Result<Arc<Manifest>, Unusable> {
        let missing = || Unusable { message: format!("there is no plugin `{plugin}`"), help: None };
        self.0.get(plugin).cloned().ok_or_else(missing)
    }

    fn known(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

fn known_manifests() -> Fixed {
    static KNOWN: OnceLock<BTreeMap<String, Arc<Manifest>>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        let texts = [
            ("data", include_str!("../fuzz/manifests/data.json")),
            ("torch", include_str!("../fuzz/manifests/torch.json")),
        ];
        let manifests =
            texts.map(|(name, text)| Some((name.to_owned(), Arc::new(plugin::parse(name, text).ok()?))));
        manifests.into_iter().flatten().collect()
    });
    assert_eq!(known.len(), 2, "a manifest in fuzz/manifests is out of date");
    Fixed(known.clone())
}

/// Problems print without anything a terminal obeys, and point into the text.
fn check_problems(problems: &Diagnostics, text: &str) {
    let _ = problems.render(true);
    let printed = problems.render(false);
    assert!(
        !printed.chars().any(|c| c.is_control() && c != '\n'),
        "a control character is printed: {printed:?}"
    );
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.lines().collect();
    for problem in problems.problems() {
        let (Some(location), Some(snippet)) = (problem.location, &problem.snippet) else { continue };
        let line =
            location.line.checked_sub(1).and_then(|index| lines.get(index)).copied().unwrap_or_default();
        let length = line.chars().count();
        assert!((1..=length + 1).contains(&location.column), "{problem:?} is outside of its line");
        // Of a long line only what surrounds the place is shown.
        let left_out = (location.column - 1).checked_sub(snippet.start);
        let shown = left_out.and_then(|left_out| {
            let start = line.char_indices().map(|(index, _)| index).chain([line.len()]).nth(left_out)?;
            line.get(start..)
        });
        assert!(
            shown.is_some_and(|shown| shown.starts_with(&snippet.line)),
            "{problem:?} is not in the text"
        );
    }
}

/// Reads a manifest, and pipelines that use its ops.
fn describe(text: &str) {
    let name = serde_json::from_str::<Value>(text).ok();
    let name = name.as_ref().and_then(|value| value.get("plugin")?.as_str()).unwrap_or("fuzz");
    let Ok(manifest) = plugin::parse(name, text) else { return };
    let manifests = Fixed([(name.to_owned(), Arc::new(manifest.clone()))].into());
    let _ = spec::schema(&manifests.0);
    let files: Vec<&str> =
        manifest.ops.values().flat_map(|op| &op.outputs).map(|(output, _)| output.as_str()).collect();
    for (op, spec) in manifest.ops.iter().take(4) {
        let inputs: serde_json::Map<String, Value> = spec
            .inputs
            .keys()
            .chain([&"x".to_owned()])
            .map(|input| (input.clone(), "./Cargo.toml".into()))
            .collect();
        for with in
            [serde_json::json!({}), serde_json::json!({ "a": 1, "b": "./Cargo.toml", "c": [{ "d": 0.5 }] })]
        {
            let stage = serde_json::json!({ "uses": format!("{name}/{op}"), "with": with, "inputs": inputs });
            let reader = serde_json::json!({ "run": "true", "inputs": { "a": format!("s.{}", files.first().unwrap_or(&"o")) } });
            // JSON is YAML.
            let text =
                serde_json::json!({ "version": 1, "name": "fuzz", "stages": { "s": stage, "r": reader } });
            let text = text.to_string();
            if let Err(problems) = read_pipeline(&text, &Overrides::default(), &manifests) {
                check_problems(&problems, &text);
            }
        }
    }
}

/// Events as plain lines and as JSON: nothing a terminal obeys, and one value a line.
fn show(events: &[Event]) {
    let (mut plain, mut json) = (Vec::new(), Vec::new());
    for event in events {
        Plain::new(&mut plain, Paint::new(false)).event(event);
        Json::new(&mut json).event(event);
    }
    let plain = String::from_utf8_lossy(&plain);
    assert!(!plain.chars().any(|c| c.is_control() && c != '\n'), "a control character is printed: {plain:?}");
    let lines = json.split_inclusive(|byte| *byte == b'\n');
    assert_eq!(lines.filter(|line| serde_json::from_slice::<Value>(line).is_ok()).count(), events.len());
}

fn run_of(stages: Vec<StageRun>) -> RunRecord {
    RunRecord {
        id: "1".into(),
        pipeline: "fuzz".into(),
        version: "0".into(),
        profile: None,
        vars: BTreeMap::new(),
        started_ms: 0,
        duration_ms: 1,
        machine: Machine::default(),
        threads: 1,
        stages,
        gates: vec![],
        certain: false,
        definition: None,
        recording: None,
    }
}

/// Draws the report and the summary of a run of which one stage's record is known.
fn draw(run: &RunRecord, record: &ActionRecord, previous: Option<&RunRecord>) {
    thread_local! {
        // Read once: it took a third of the time of an execution.
        static SHOWN: Result<Pipeline, Diagnostics> =
            read_pipeline(PIPELINE, &Overrides::default(), &known_manifests());
    }
    SHOWN.with(|pipeline| {
        assert!(
            pipeline.is_ok(),
            "the pipeline that records are shown with is wrong: {:?}",
            pipeline.as_ref().err()
        );
        if let Ok(pipeline) = pipeline {
            draw_with(pipeline, run, record, previous);
        }
    });
}

fn draw_with(pipeline: &Pipeline, run: &RunRecord, record: &ActionRecord, previous: Option<&RunRecord>) {
    let records = BTreeMap::from([(record.stage.clone(), record.clone())]);
    let none = BTreeMap::new();
    let previous = previous.map(|run| (run, &records));
    let runs = previous.iter().map(|(run, _)| *run).chain([run]).cloned().collect();
    let past = |past: &Past| report::PastRun {
        name: past.name.clone(),
        run: past.record.clone(),
        records: records.clone(),
    };
    let history = History::new(runs);
    let past: Vec<report::PastRun> = history.runs().iter().map(past).collect();
    let input = report::Input {
        definition: &Definition::of(pipeline),
        undefined: None,
        run,
        records: &records,
        previous,
        logs: &none,
        past: &past,
        unfinished: &BTreeMap::new(),
        depth: Some(1),
    };
    let html = report::html(&input);
    assert!(
        html.ends_with("</html>") && html.matches("<script").count() == 1,
        "the report is not the report"
    );
    let text = summary(
        &Closing {
            root: &pipeline.root,
            table: &pipeline.report,
            records: &records,
            gates: &run.gates,
            certain: true,
            tally: Tally::of(run),
            duration_ms: run.duration_ms,
            report: None,
        },
        false,
    );
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "a control character is printed: {text:?}");
    for gate in &pipeline.gates {
        let lookup = |_: &str, metric: &str| record.metrics.get(metric).cloned();
        let _ = gate.evaluate(&lookup, None);
        let now = Now { pipeline: &run.pipeline, stages: &run.stages, cpu: &record.machine.cpu };
        let earlier = history.baseline(gate, now, &Outcomes::new(&|_| vec![record.clone()]));
        let _ = gate.evaluate(&lookup, earlier.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds every file kept for a target to it.
    fn replay(target: &str, feed: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let files: Vec<PathBuf> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 10, "{} holds {} files", folder.display(), files.len());
        for file in files {
            // Shown where the test fails.
            println!("{}", file.display());
            feed(&std::fs::read(&file).unwrap());
        }
    }

    #[test]
    fn what_was_fuzzed_once_is_read_as_a_pipeline() {
        replay("pipeline", pipeline);
    }

    #[test]
    fn what_was_fuzzed_once_is_heard_from_a_plugin() {
        replay("plugin_message", plugin_message);
    }

    #[test]
    fn what_was_fuzzed_once_is_read_from_the_cache() {
        replay("cache_record", cache_record);
    }

    #[test]
    fn comments_at_the_top_are_arguments() {
        let overrides = arguments("# --profile demo\n# --set a.b=1\nversion: 1\n# --set c=2\n");
        assert_eq!(overrides.profile.as_deref(), Some("demo"));
        assert_eq!(overrides.set, [("a.b".to_owned(), "1".to_owned())]);
    }
}
