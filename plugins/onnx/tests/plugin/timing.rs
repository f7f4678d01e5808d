//! `pipe-onnx time` and the bench that is made of it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use protocol::{Content, TimeRequest, TimeResult};
use serde_json::json;

use crate::support::{EXECUTABLE, run, runtime, shared};

fn time(model: &Path, batches: Vec<usize>) -> Output {
    let request =
        TimeRequest { model: model.into(), batches, threads: 1, warmup_calls: 1, calls: 3, seed: 1 };
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
        assert!(cfg!(not(target_os = "linux")) || result.peak_memory_kb.is_some());
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

#[test]
fn a_bench_measures_every_variant_at_every_batch_size() {
    let (Some(()), Some(model)) = (runtime(), shared("reference/model/tinynet.onnx")) else { return };
    let params = json!({
        "batches": [1, 4], "calls": [4, 2], "warmup_calls": [1, 1], "rounds": 3, "baseline": "one"
    });
    let said = run("bench", params, &[("one", &model), ("two", &model)], &[]).done();
    for variant in ["one", "two"] {
        for batch in [1, 4] {
            let metric = &said.metrics[&format!("{variant}.batch{batch}.median_ms")];
            let [low, high] = metric.interval.unwrap();
            assert!(low > 0.0 && low <= metric.value && metric.value <= high);
            assert!(said.value(&format!("{variant}.batch{batch}.p95_ms")) > 0.0);
        }
        assert!(said.value(&format!("{variant}.load_ms")) > 0.0);
    }
    assert!(
        said.metrics.contains_key("two.batch4.speedup") && !said.metrics.contains_key("one.batch4.speedup")
    );
    assert!(said.metrics["two.batch1.median_ms"].basis.starts_with("3 rounds of 4 calls, 2 threads, "));
    let Content::Distribution { groups, .. } = &said.figures["latency.batch1"].content else { panic!() };
    assert_eq!(groups.iter().map(|group| group.values.len()).collect::<Vec<_>>(), [12, 12]);
    assert!(said.figures.contains_key("latency") && !said.logs.is_empty());
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
