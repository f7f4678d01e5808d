//! A plugin for tests: ops that write, count with checkpoints, wait and fail on demand. Speaks the real protocol
//! through the real SDK.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use patterns::Ignore;
use protocol::{
    CheckRequest, Failure, InputSpec, KeyScope, Manifest, Metric, OpManifest, OutputSpec, PROTOCOL_VERSION,
    Plugin, Problem, Progress, Reporter, Resources, RunRequest, Threads, TimeSpec,
};
use serde_json::{Value, json};

/// Environment variable: a file to which every execution appends a line.
const TRACE: &str = "FAKE_TRACE";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("describe") {
        trace("describe");
    }
    protocol::main(&Fake)
}

struct Fake;

impl Plugin for Fake {
    fn manifest(&self) -> Manifest {
        let ops = BTreeMap::from([
            (
                "write".to_owned(),
                op(
                    "Writes a text and the content of all inputs.",
                    json!({
                        "text": {"type": "string", "default": "hello"},
                        "source": {"type": "string", protocol::SOURCE_KEYWORD: true},
                        "folder": {
                            "type": "string",
                            protocol::SOURCE_KEYWORD: true,
                            protocol::IGNORE_KEYWORD: true
                        },
                        "nested": {
                            "type": "object",
                            "properties": {"number": {"type": "number"}},
                            "additionalProperties": false
                        },
                    }),
                ),
            ),
            (
                "count".to_owned(),
                op(
                    "Counts, keeping its place in the resume folder; waits for ever at `stick` unless it resumed.",
                    json!({
                        "to": {"type": "integer", "minimum": 1},
                        "stick": {"type": "integer"},
                    }),
                ),
            ),
            (
                "grow".to_owned(),
                OpManifest {
                    continues: vec!["to".into()],
                    ..op(
                        "Writes the numbers up to `to`; goes on from what an execution with another `to` left.",
                        json!({ "to": {"type": "integer", "minimum": 1} }),
                    )
                },
            ),
            (
                "fail".to_owned(),
                op("Fails as told.", json!({"how": {"enum": ["politely", "crash", "forget"]}})),
            ),
            (
                "tell".to_owned(),
                op(
                    "Reports the metrics and figures that it is given.",
                    json!({
                        "metrics": {"type": "object", "default": {}},
                        "figures": {"type": "array", "default": []},
                    }),
                ),
            ),
            (
                "score".to_owned(),
                op(
                    "Reports an accuracy with its interval.",
                    json!({
                        "value": {"type": "number"},
                        "interval": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
                    }),
                ),
            ),
            (
                "pick".to_owned(),
                OpManifest {
                    metrics: Some(vec!["picked".into()]),
                    checks: true,
                    time: Some(TimeSpec {
                        scales_with: vec!["with.lines".into(), "inputs.text".into()],
                        ignores: vec!["with.check".into()],
                    }),
                    ..op(
                        "Has params that may contradict each other.",
                        json!({
                            "batches": {"type": "array"},
                            "calls": {"type": "array"},
                            "lines": {"type": "integer"},
                            "check": {"enum": ["crash", "hang", "remark"]},
                            "report": {"type": "string"},
                        }),
                    )
                },
            ),
            (
                "measure".to_owned(),
                OpManifest {
                    resources: Resources { threads: Threads::All, exclusive: true },
                    scope: KeyScope::Hardware,
                    ..op(
                        "Measures the length of the file `busy`, where there is one; then that is provisional.",
                        json!({"busy": {"type": "string"}}),
                    )
                },
            ),
        ]);
        Manifest {
            protocol: PROTOCOL_VERSION,
            plugin: "fake".into(),
            version: "1".into(),
            ops,
            natives: BTreeMap::new(),
            env: vec![TRACE.into()],
        }
    }

    fn check(&self, request: &CheckRequest) -> Vec<Problem> {
        trace("check");
        check_pick(request)
    }

    fn run(&self, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        // Native libraries print; the protocol must not notice.
        println!("this goes to standard error");
        let out = request.outputs.get("out").ok_or("no output `out`")?;
        match request.op.as_str() {
            "write" => {
                trace(&format!("write {}", request.params["text"].as_str().unwrap_or_default()));
                write(request, out, reporter)
            }
            "count" => {
                trace("count");
                count(request, out, reporter)
            }
            "grow" => {
                trace("grow");
                grow(request, out, reporter)
            }
            "tell" => {
                trace("tell");
                tell(&request.params, reporter)?;
                Ok(fs::write(out, "told")?)
            }
            "score" => {
                trace("score");
                score(request, out, reporter)
            }
            "pick" => {
                trace("pick");
                reporter.metric("picked", Metric::new(1.0, ""));
                if let Some(name) = request.params["report"].as_str() {
                    (0..2).for_each(|value| reporter.metric(name, Metric::new(f64::from(value), "")));
                }
                Ok(fs::write(out, "picked")?)
            }
            "measure" => {
                trace("measure");
                reporter.metric("threads", Metric::new(request.threads as f64, ""));
                let busy = request.params["busy"].as_str().and_then(|path| fs::metadata(path).ok());
                reporter
                    .metric("others", Metric::new(busy.as_ref().map_or(0.0, |file| file.len() as f64), ""));
                if busy.is_some() {
                    reporter.provisional("others were at work");
                }
                Ok(fs::write(out, "measured")?)
            }
            "fail" => {
                trace("fail");
                fail(request.params["how"].as_str())
            }
            other => Err(Failure::new(format!("no op `{other}`"))),
        }
    }
}

fn op(description: &str, properties: Value) -> OpManifest {
    OpManifest {
        description: description.into(),
        version: 1,
        params: json!({"type": "object", "properties": properties, "additionalProperties": false}),
        inputs: BTreeMap::new(),
        extra_inputs: Some(InputSpec { description: "Anything.".into(), optional: true }),
        outputs: BTreeMap::from([(
            "out".to_owned(),
            OutputSpec { description: "The outcome.".into(), file: "out.txt".into() },
        )]),
        resources: Resources::default(),
        scope: KeyScope::Portable,
        natives: vec![],
        companions: vec![],
        continues: vec![],
        metrics: None,
        checks: false,
        time: None,
    }
}

/// What is wrong with `batches` and `calls`, with `lines` of input `text`, and with the plugin itself if told so.
fn check_pick(request: &CheckRequest) -> Vec<Problem> {
    match request.params["check"].as_str() {
        Some("crash") => std::process::abort(),
        Some("hang") => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        _ => {}
    }
    if request.params["check"].as_str() == Some("remark") {
        return vec![Problem::new("`check` changes nothing").param("check").hint("leave it out").harmless()];
    }
    let count = |name: &str| request.params[name].as_array().map_or(0, Vec::len);
    let mut problems = vec![];
    if count("batches") != count("calls") {
        problems.push(
            Problem::new(format!("`batches` has {} values and `calls` {}", count("batches"), count("calls")))
                .param("calls")
                .hint("give one number of calls for each batch size"),
        );
    }
    let text = request.present.get("text").and_then(|path| fs::read_to_string(path).ok());
    if let (Some(lines), Some(text)) = (request.params["lines"].as_u64(), text) {
        let there = text.lines().count();
        if lines > there as u64 {
            problems.push(
                Problem::new(format!("`lines` asks for {lines}, but there are {there}")).param("lines"),
            );
        }
    }
    problems
}

/// Names and contents of the files right in a folder.
fn contents(folder: &Path, ignore: Option<&Ignore>) -> std::io::Result<String> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    let mut text = String::new();
    for path in paths {
        if !ignore.is_some_and(|ignore| ignore.hides(folder, &path, path.is_dir())) && !path.is_dir() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            text.push_str(&format!("{name}={} ", fs::read_to_string(&path)?));
        }
    }
    Ok(text)
}

fn write(request: &RunRequest, out: &Path, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
    let mut text = request.params["text"].as_str().unwrap_or_default().to_owned();
    for path in request.inputs.values() {
        text.push_str(&fs::read_to_string(path)?);
    }
    match request.params["source"].as_str() {
        // No test needs a network.
        Some(source) if source.contains("://") => text.push_str("from elsewhere"),
        Some(source) if Path::new(source).is_dir() => text.push_str(&contents(Path::new(source), None)?),
        Some(source) => text.push_str(&fs::read_to_string(source)?),
        None => {}
    }
    if let Some(folder) = request.params["folder"].as_str() {
        let ignored = request.ignore.as_ref().ok_or("nothing was said of what counts for nothing")?;
        let patterns = ignored.patterns.iter().map(String::as_str);
        let ignore = Ignore::exactly(&ignored.root, patterns).map_err(|(_, reason)| reason)?;
        text.push_str(&contents(Path::new(folder), Some(&ignore))?);
    }
    reporter.metric("bytes", Metric::new(text.len() as f64, "B"));
    reporter.info(format!("wrote {} bytes", text.len()));
    Ok(fs::write(out, text)?)
}

fn tell(params: &Value, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
    for (name, metric) in params["metrics"].as_object().into_iter().flatten() {
        reporter.metric(name, serde_json::from_value(metric.clone())?);
    }
    for figure in params["figures"].as_array().into_iter().flatten() {
        reporter.figure(serde_json::from_value(figure.clone())?);
    }
    Ok(())
}

fn count(request: &RunRequest, out: &Path, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
    let to = request.params["to"].as_u64().ok_or("no `to`")?;
    let checkpoint = request.resume_dir.join("count");
    let start = match fs::read_to_string(&checkpoint) {
        Ok(text) => text.parse::<u64>()?,
        Err(_) => 0,
    };
    if start > 0 {
        reporter.info(format!("resumed at {start}"));
    }
    for number in start..to {
        if start == 0 && request.params["stick"].as_u64() == Some(number) {
            loop {
                std::thread::sleep(Duration::from_secs(3600));
            }
        }
        keep(&checkpoint, &(number + 1).to_string())?;
        reporter.progress(Progress {
            done: (number + 1) as f64,
            total: to as f64,
            unit: "number".into(),
            text: String::new(),
            milestone: true,
        });
    }
    reporter.metric("resumed_at", Metric::new(start as f64, ""));
    Ok(fs::write(out, to.to_string())?)
}

fn grow(request: &RunRequest, out: &Path, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
    let to = request.params["to"].as_u64().ok_or("no `to`")?;
    let kept = request.continue_dir.as_ref().ok_or("no folder to continue from")?.join("numbers");
    let numbers = fs::read_to_string(&kept).unwrap_or_default();
    let start = to.min(numbers.lines().count() as u64);
    let numbers: String = (1..=to).map(|number| format!("{number}\n")).collect();
    reporter.metric("went_on_from", Metric::new(start as f64, ""));
    keep(&kept, &numbers)?;
    Ok(fs::write(out, numbers)?)
}

fn score(request: &RunRequest, out: &Path, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
    let value = request.params["value"].as_f64().ok_or("no `value`")?;
    let end = |index: usize| request.params["interval"][index].as_f64();
    let accuracy = Metric::new(value, "%").basis("2,000 test images");
    let accuracy = match (end(0), end(1)) {
        (Some(low), Some(high)) => accuracy.interval(low, high),
        _ => accuracy,
    };
    reporter.metric("accuracy", accuracy);
    Ok(fs::write(out, value.to_string())?)
}

/// Writes a checkpoint whole or not at all: a kill may come at any moment.
fn keep(checkpoint: &Path, text: &str) -> std::io::Result<()> {
    let unfinished = checkpoint.with_extension("unfinished");
    fs::write(&unfinished, text)?;
    fs::rename(unfinished, checkpoint)
}

fn fail(how: Option<&str>) -> Result<(), Failure> {
    match how {
        Some("crash") => {
            eprintln!("about to crash");
            std::process::abort();
        }
        Some("forget") => Ok(()),
        _ => Err(Failure::new("it did not work").hint("try something else")),
    }
}

fn trace(line: &str) {
    if let Some(path) = std::env::var_os(TRACE) {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        // In one piece: several plugins may be at it.
        if let Err(error) = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())) {
            eprintln!("cannot trace: {error}");
        }
    }
}
