//! `pipe-onnx time` and the bench that is made of it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use protocol::{Cell, Content, TimeRequest, TimeResult};
use serde_json::{Value, json};

use crate::support::{EXECUTABLE, run, runtime, shared};

fn time(model: &Path, batches: Vec<usize>) -> Output {
    let request = TimeRequest {
        model: model.into(),
        data: BTreeMap::new(),
        arrays: None,
        size: None,
        batches,
        threads: 1,
        warmup_calls: 1,
        calls: 3,
        seed: 1,
    };
    let mut child = Command::new(EXECUTABLE)
        .arg("time")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let line = serde_json::to_string(&request).unwrap() + "\n";
    child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_model_that_takes_single_images_is_timed_with_them_alone() {
    let (Some(()), Some(model)) = (runtime(), shared("reference/model/tinynet.onnx")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let single = folder.path().join("single.onnx");
    let mut model = onnx::Model::read(&model).unwrap();
    model.graph.inputs[0].shape.as_mut().unwrap()[0] = onnx::Dim::Known(1);
    model.write(&single).unwrap();
    assert!(time(&single, vec![1]).status.success());
    let output = time(&single, vec![2]);
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("takes one image at a time: set `batches: [1]`"), "{error}");
}

#[test]
fn every_batch_size_is_timed_in_the_order_asked() {
    let (Some(()), Some(model)) = (runtime(), shared("reference/model/tinynet.onnx")) else { return };
    let output = time(&model, vec![4, 1]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let results: Vec<TimeResult> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results.iter().map(|result| result.batch).collect::<Vec<_>>(), [4, 1]);
    for result in results {
        assert_eq!(result.times_ms.len(), 3);
        assert!(result.times_ms.iter().all(|time| *time > 0.0) && result.load_ms > 0.0);
        // Two windows of five calls at least.
        assert!(result.warmup_calls >= 10 && result.first_result_ms > result.load_ms);
        assert!(
            cfg!(not(target_os = "linux")) || result.peak_memory_kb.is_some() && result.switches.is_some()
        );
    }
}

#[test]
fn a_model_that_is_missing_ends_with_a_line_on_standard_error() {
    let Some(()) = runtime() else { return };
    let output = time(Path::new("/no/such.onnx"), vec![1]);
    assert!(!output.status.success() && output.stdout.is_empty());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("/no/such.onnx") && errors.lines().count() == 1, "{errors}");
}

/// Params of a short bench that states whatever it measures, however busy this machine is.
fn undaunted(more: Value) -> Value {
    let mut params = json!({
        "batches": [1, 4], "calls": [4, 2], "warmup_calls": [1, 1], "rounds": 3, "baseline": "one",
        "max_interval": 1e6, "max_others": 1e6, "patience": 1e6
    });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

#[test]
fn a_bench_measures_every_variant_at_every_batch_size() {
    let (Some(()), Some(model)) = (runtime(), shared("reference/model/tinynet.onnx")) else { return };
    let said =
        run("bench", undaunted(json!({ "rounds": 6 })), &[("one", &model), ("two", &model)], &[]).done();
    for variant in ["one", "two"] {
        for batch in [1, 4] {
            let metric = &said.metrics[&format!("{variant}.batch{batch}.median_ms")];
            let [low, high] = metric.interval.unwrap();
            assert!(low > 0.0 && low <= metric.value && metric.value <= high);
            assert!(said.value(&format!("{variant}.batch{batch}.p95_ms")) > 0.0);
            let first = said.value(&format!("{variant}.batch{batch}.first_result_ms"));
            assert!(first > 0.0);
        }
        assert!(said.value(&format!("{variant}.load_ms")) > 0.0);
    }
    assert!(
        said.metrics.contains_key("two.batch4.speedup") && !said.metrics.contains_key("one.batch4.speedup")
    );
    assert!(said.metrics["two.batch1.median_ms"].basis.starts_with("6 rounds of 4 calls, 2 threads, "));
    let Content::Distribution { groups, .. } = &said.figures["latency.batch1"].content else { panic!() };
    assert_eq!(groups.iter().map(|group| group.values.len()).collect::<Vec<_>>(), [24, 24]);
    assert!(said.figures.contains_key("latency") && !said.logs.is_empty());
    assert_eq!((said.value("measured_again"), said.value("disturbed")), (0.0, 0.0));
    assert_eq!(said.provisional, None);
}

#[test]
fn a_bench_times_with_every_number_of_threads_that_the_stage_has() {
    let (Some(()), Some(model)) = (runtime(), shared("reference/model/tinynet.onnx")) else { return };
    let params = undaunted(json!({ "threads": [1, 2, 64], "rounds": 1 }));
    let said = run("bench", params, &[("one", &model), ("two", &model)], &[]).done();
    for name in ["one.batch1.median_ms", "two.batch4.threads1.speedup", "one.batch1.threads1.p95_ms"] {
        assert!(said.value(name) > 0.0);
    }
    assert!(!said.metrics.keys().any(|name| name.contains("threads2") || name.contains("threads64")));
    assert!(said.figures.contains_key("latency.batch4.threads1"), "{:?}", said.figures.keys());
    assert!(
        said.logs.iter().any(|line| line.contains("asks for 64, but this stage has 2 threads")),
        "{:?}",
        said.logs
    );
    let message = run("bench", json!({ "threads": [3] }), &[("one", &model)], &[]).failed();
    assert!(message.contains("pipe run --threads"), "{message}");
}

/// A process that keeps a CPU busy for as long as this lives.
struct Neighbour(Child);

impl Neighbour {
    fn start() -> Self {
        Self(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_stays_disturbed_is_measured_again_and_not_stated() {
    let (Some(()), Some(model)) = (runtime(), shared("reference/model/tinynet.onnx")) else { return };
    let neighbour = Neighbour::start();
    let params = undaunted(json!({ "max_others": 0, "batches": [4], "calls": [200], "warmup_calls": [1] }));
    let said = run("bench", params, &[("one", &model)], &[]).done();
    drop(neighbour);
    assert_eq!((said.value("measured_again"), said.value("disturbed")), (3.0, 3.0));
    assert!(!said.metrics.contains_key("one.batch4.median_ms") && !said.metrics.contains_key("one.load_ms"));
    let why = said.provisional.as_deref().unwrap_or_default();
    let expected = "too noisy to state a latency: `one` at batch 4 (3 of 3 rounds disturbed)";
    assert!(why.starts_with(expected), "{why}");
    let Content::Table { rows, .. } = &said.figures["latency"].content else { panic!() };
    assert!(
        matches!(&rows[0][2], Cell::Text(median) if median.ends_with(" (disturbed)")),
        "what was seen is shown: {rows:?}"
    );
}

#[test]
fn a_variant_whose_process_fails_is_named() {
    let Some(()) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.onnx");
    std::fs::write(&garbage, "this is no model").unwrap();
    let message = run("bench", json!({}), &[("broken", &garbage)], &[]).failed();
    assert!(message.contains("cannot time `broken`") && message.contains("garbage.onnx"), "{message}");
}
