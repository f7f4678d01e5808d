//! A made-up run with every kind of figure, for tests. None of its numbers was measured.

#![expect(clippy::unwrap_used, reason = "for tests")]

mod figures;
pub mod png;

use std::collections::BTreeMap;
use std::path::PathBuf;

use indexmap::IndexMap;
use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::gate::{Better, Gate, GateResult, Verdict};
use pipeline::spec::{self, Action, Ignore, Location, OpAction, Pipeline, ReportColumn, ReportSpec, Stage};
use protocol::{Figure, Metric};
use serde_json::{Value, json};

use self::figures::figures;
use crate::{
    ActionRecord, Change, Definition, Ingredient, Machine, Outcome, OutputRecord, RunRecord, StageRun,
};

/// A run with all that belongs to it.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What the pipeline says.
    pub pipeline: Pipeline,
    /// What is kept of that.
    pub definition: Definition,
    /// The run.
    pub run: RunRecord,
    /// Records of its stages.
    pub records: BTreeMap<StageName, ActionRecord>,
    /// The run before, with records of its stages.
    pub previous: (RunRecord, BTreeMap<StageName, ActionRecord>),
    /// Logs of what failed.
    pub logs: BTreeMap<StageName, String>,
    /// Figures of what has not ended.
    pub unfinished: BTreeMap<StageName, Vec<Figure>>,
}

/// The name of a stage.
#[must_use]
pub fn name(text: &str) -> StageName {
    StageName::try_from(text.to_owned()).unwrap()
}

const STARTED: u64 = 1_795_183_380_000;

/// Stage, op, stages whose outputs it reads, output.
const STAGES: [(&str, &str, &[&str], &str); 9] = [
    ("download", "data/download", &[], "dataset"),
    ("train", "torch/train", &["download.dataset"], "weights"),
    ("torch_eval", "torch/evaluate", &["download.dataset", "train.weights"], "predictions"),
    ("export", "onnx/export", &["train.weights"], "model"),
    ("calibrate", "onnx/calibrate", &["export.model", "download.dataset"], "ranges"),
    ("quantize", "onnx/quantize", &["export.model", "calibrate.ranges"], "model"),
    ("quantize_dynamic", "onnx/quantize-dynamic", &["export.model"], "model"),
    (
        "evaluate",
        "onnx/evaluate",
        &[
            "download.dataset",
            "torch_eval.predictions",
            "export.model",
            "quantize.model",
            "quantize_dynamic.model",
        ],
        "predictions",
    ),
    (
        "bench",
        "onnx/bench",
        &["train.weights", "export.model", "quantize.model", "quantize_dynamic.model"],
        "times",
    ),
];

/// A run in which all went well.
#[must_use]
pub fn tinynet() -> Sample {
    let pipeline = pipeline();
    let machine = machine();
    let records: BTreeMap<StageName, ActionRecord> =
        pipeline.stages.values().map(|stage| (stage.name.clone(), record(stage, &machine))).collect();
    let mut previous_records = records.clone();
    if let Some(record) = previous_records.get_mut(&name("evaluate")) {
        for metric in record.metrics.values_mut().filter(|metric| metric.unit == "%") {
            metric.value -= 0.37;
        }
    }
    let changes = vec![Change {
        name: "with.label_smoothing".into(),
        old: Some("0.1".into()),
        new: Some("0.05".into()),
    }];
    let stages = pipeline.stages.keys().enumerate().map(|(index, stage)| {
        let (outcome, offset_ms, duration_ms, changes) = match stage.as_str() {
            "download" => (Outcome::Fresh, 0, 0, vec![]),
            "train" => (Outcome::Ran, 12, 2_042_310, changes.clone()),
            "quantize_dynamic" => (Outcome::Restored, 2_043_500, 184, vec![]),
            "bench" => (Outcome::Ran, 2_066_000, 52_180, vec![]),
            _ => (Outcome::Ran, 2_042_400 + index as u64 * 2_100, 900 + index as u64 * 1_700, vec![]),
        };
        let key = records.get(stage).map(|record| record.key);
        StageRun { stage: stage.clone(), outcome, key, changes, offset_ms, duration_ms, provisional: None }
    });
    let gate = |expression: &str, value: f64, limit: f64, verdict| GateResult {
        expression: expression.into(),
        verdict,
        value: Some(value),
        limit: Some(limit),
        interval: None,
        satisfied: Some(verdict == Verdict::Pass),
        baseline: None,
        message: format!("{value} {}", expression.split_once(' ').unwrap().1),
    };
    let run = RunRecord {
        id: "1795183380000-4711".into(),
        pipeline: "tinynet".into(),
        version: "0.1.0".into(),
        profile: None,
        vars: vars("0.05"),
        started_ms: STARTED,
        duration_ms: 2_472_000,
        machine: machine.clone(),
        threads: 2,
        stages: stages.collect(),
        gates: vec![
            gate("export.size_kb < 500", 325.2, 500.0, Verdict::Pass),
            gate("evaluate.int8_static.accuracy >= 85", 91.8, 85.0, Verdict::Pass),
            gate("evaluate.int8_static.drop < 5", -0.02, 5.0, Verdict::Pass),
        ],
        certain: false,
        definition: None,
        recording: None,
    };
    let previous = RunRecord {
        id: "1794901380000-812".into(),
        started_ms: STARTED - 282_000_000,
        vars: vars("0.1"),
        ..run.clone()
    };
    Sample {
        definition: Definition::of(&pipeline),
        pipeline,
        run,
        records,
        previous: (previous, previous_records),
        logs: BTreeMap::new(),
        unfinished: BTreeMap::new(),
    }
}

/// The same run, in which a gate fails.
#[must_use]
pub fn gate_fails() -> Sample {
    let mut sample = tinynet();
    if let Some(gate) = sample.run.gates.get_mut(1) {
        gate.verdict = Verdict::Fail;
        gate.satisfied = Some(false);
        gate.value = Some(79.29);
        gate.message = "79.29 is not >= 85".into();
    }
    sample
}

/// The same run with narrower gates, of which two are inconclusive: one is not satisfied by what was measured.
#[must_use]
pub fn gate_inconclusive() -> Sample {
    let mut sample = tinynet();
    let lookup =
        |stage: &str, metric: &str| Some(sample.records.get(&name(stage))?.metrics.get(metric)?.clone());
    let gates =
        ["export.size_kb < 500", "evaluate.int8_static.drop < 0.05", "evaluate.int8_static.accuracy >= 92"];
    sample.run.gates = gates.map(|gate| Gate::parse(gate).unwrap().evaluate(&lookup, None)).into();
    sample
}

/// The same run, in which training fails.
#[must_use]
pub fn train_fails() -> Sample {
    let mut sample = tinynet();
    sample.records.retain(|stage, _| stage.as_str() == "download");
    for run in &mut sample.run.stages {
        run.changes.truncate(1);
        match run.stage.as_str() {
            "download" => {}
            "train" => {
                run.duration_ms = 723_000;
                run.outcome = Outcome::Failed {
                    message: "loss became NaN at step 8,190 (lr 0.8)".into(),
                    hint: Some("lower `lr` or set `clip_grad`; the next run continues from the checkpoint of epoch 20".into()),
                };
            }
            _ => {
                run.outcome = Outcome::Blocked { by: name("train") };
                (run.offset_ms, run.duration_ms) = (0, 0);
            }
        }
    }
    sample.run.gates.clear();
    let log: Vec<String> = (1..=21)
        .map(|epoch| format!("epoch {epoch}/150  loss {:.3}  lr 0.8", 2.3 + f64::from(epoch) * 0.11))
        .collect();
    sample.logs.insert(name("train"), format!("{}\nloss is NaN\n", log.join("\n")));
    sample
}

fn vars(smoothing: &str) -> BTreeMap<String, Value> {
    [
        ("epochs", json!(150)),
        ("label_smoothing", serde_json::from_str(smoothing).unwrap()),
        ("source", json!("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn machine() -> Machine {
    Machine {
        cpu: "AMD EPYC 9B14".into(),
        features: "avx2 avx512f avx512_vnni".into(),
        cores: 2,
        system: "linux x86_64".into(),
    }
}

fn pipeline() -> Pipeline {
    let stages: IndexMap<StageName, Stage> = STAGES
        .iter()
        .enumerate()
        .map(|(index, (stage, op, reads, output))| {
            let (plugin, op) = op.split_once('/').unwrap();
            let inputs = reads.iter().map(|path| {
                let (stage, output) = path.split_once('.').unwrap();
                let input = spec::Input::Output { stage: name(stage), output: output.into() };
                (format!("{stage}_{output}"), input)
            });
            let param_locations = [("seed".to_owned(), Location { line: 10, column: 7 })];
            let action = OpAction {
                plugin: plugin.into(),
                op: op.into(),
                params: params(op),
                param_locations: param_locations.into(),
                sources: BTreeMap::new(),
                filtered: [].into(),
                continues: vec![],
            };
            let stage = Stage {
                location: Location { line: index * 8 + 10, column: 3 },
                inputs: inputs.collect(),
                outputs: [((*output).to_owned(), format!("{output}.bin"))].into(),
                ..Stage::doing(name(stage), Action::Op(action))
            };
            (stage.name.clone(), stage)
        })
        .collect();
    Pipeline {
        ignore: Ignore::new(&PathBuf::from("/"), []).unwrap(),
        name: "tinynet".into(),
        file: PathBuf::from("/home/somebody/tinynet/pipeline.yaml"),
        digest: Digest::of_bytes(b"pipeline"),
        root: PathBuf::from("/home/somebody/tinynet"),
        vars: IndexMap::new(),
        profile: None,
        stages,
        gates: vec![Gate::parse("export.size_kb < 500").unwrap()],
        report: report_spec(),
        warnings: vec![],
        texts: spec::Texts::default(),
    }
}

fn params(op: &str) -> Value {
    match op {
        "train" => json!({
            "seed": 42, "epochs": 150, "lr": 0.05, "label_smoothing": 0.05, "device": "auto",
            "network": { "input": [3, 32, 32], "layers": [
                { "conv": { "out": 16, "kernel": 3, "activation": "relu6", "name": "stem" } },
                { "inverted_residual": { "out": 24, "expand": 48, "stride": 1, "se": 4 } },
                { "global_average_pool": {} }, { "linear": {} },
            ] },
        }),
        _ => json!({ "seed": 42, "threads": 2 }),
    }
}

fn report_spec() -> ReportSpec {
    let column =
        |label: &str, metrics: &[&str], digits, prefix: &str, reference: &[(&str, f64)]| ReportColumn {
            better: match label {
                "accuracy %" => Some(Better::Higher),
                "size KB" | "batch 128 ms" => Some(Better::Lower),
                _ => None,
            },
            label: label.into(),
            metrics: metrics.iter().map(ToString::to_string).collect(),
            digits,
            prefix: prefix.into(),
            reference: reference.iter().map(|(row, value)| ((*row).to_owned(), *value)).collect(),
        };
    let (torch, fp32, int8, dynamic) = ("torch FP32", "ONNX FP32", "INT8 static", "INT8 dynamic");
    ReportSpec {
        variants: BTreeMap::new(),
        title: Some("TinyNet on CIFAR-10".into()),
        description: Some(
            "A compact CNN of 78,630 parameters, from images to an INT8 model for CPUs. All numbers are invented.".into(),
        ),
        rows: [(torch, "torch"), (fp32, "fp32"), (int8, "int8_static"), (dynamic, "int8_dynamic")]
            .map(|(label, text)| (label.to_owned(), text.to_owned()))
            .into(),
        columns: vec![
            column(
                "size KB",
                &["evaluate.${row}.size_kb"],
                1,
                "",
                &[(torch, 318.3), (fp32, 325.2), (int8, 176.0), (dynamic, 169.9)],
            ),
            column(
                "accuracy %",
                &["evaluate.${row}.accuracy"],
                2,
                "",
                &[(torch, 91.16), (fp32, 91.16), (int8, 90.91), (dynamic, 90.92)],
            ),
            column("Δ points", &["evaluate.${row}.drop"], 2, "", &[]),
            column("batch 1 ms", &["bench.${row}.batch1.median_ms"], 2, "", &[]),
            column(
                "batch 128 ms",
                &["bench.${row}.batch128.median_ms"],
                1,
                "",
                &[(torch, 244.46), (fp32, 25.73), (int8, 22.81), (dynamic, 321.2)],
            ),
            column("vs FP32", &["bench.${row}.batch128.speedup"], 2, "×", &[]),
        ],
        reference_name: Some("notebook".into()),
    }
}

fn record(stage: &Stage, machine: &Machine) -> ActionRecord {
    let text = stage.name.as_str();
    let ingredients = [
        ("op", "torch/train v3".to_owned()),
        ("natives.libtorch", "2.11.0".to_owned()),
        ("with.seed", "42".to_owned()),
        ("inputs.dataset", Digest::of_bytes(b"dataset").to_string()),
    ];
    let file = stage.outputs.iter().next();
    let output = file.map(|(name, file)| {
        let digest = Digest::of_bytes(text.as_bytes());
        (
            name.clone(),
            OutputRecord { file: file.clone(), digest, bytes: 107_315, folder: false, executable: false },
        )
    });
    ActionRecord {
        key: Digest::of_bytes(format!("key {text}").as_bytes()),
        ingredients: ingredients.map(|(name, value)| Ingredient { name: name.into(), value }).into(),
        stage: stage.name.clone(),
        outputs: output.into_iter().collect(),
        metrics: metrics(text),
        figures: figures(text),
        log: Digest::of_bytes(b"log"),
        started_ms: STARTED,
        duration_ms: 2_042_310,
        machine: machine.clone(),
        run: "1795183380000-4711".into(),
        provisional: None,
        pace: None,
    }
}

/// Name, size in KB, accuracy in %, median milliseconds at batch 1 and at batch 128.
const VARIANTS: [(&str, f64, f64, f64, f64); 4] = [
    ("torch", 318.3, 91.82, 2.31, 71.2),
    ("fp32", 325.2, 91.82, 0.20, 30.8),
    ("int8_static", 104.8, 91.80, 0.13, 14.9),
    ("int8_dynamic", 160.1, 91.79, 0.21, 31.0),
];

fn metrics(stage: &str) -> BTreeMap<String, Metric> {
    let mut metrics = BTreeMap::new();
    match stage {
        "train" => {
            metrics.insert("parameters".into(), Metric::new(78_630.0, ""));
            metrics.insert("val_accuracy".into(), Metric::new(92.04, "%").basis("5,000 validation images"));
            metrics.insert("best_epoch".into(), Metric::new(147.0, ""));
        }
        "export" => {
            metrics.insert("size_kb".into(), Metric::new(325.2, "KB"));
            metrics.insert("max_logit_difference".into(), Metric::new(3.1e-6, ""));
        }
        "evaluate" => {
            for (variant, size, accuracy, ..) in VARIANTS {
                let basis = "10,000 test images";
                let accuracy =
                    Metric::new(accuracy, "%").interval(accuracy - 0.55, accuracy + 0.52).basis(basis);
                metrics.insert(format!("{variant}.accuracy"), accuracy);
                metrics.insert(format!("{variant}.size_kb"), Metric::new(size, "KB"));
            }
            for (variant, drop) in [("int8_static", -0.02), ("int8_dynamic", -0.03)] {
                let drop = Metric::new(drop, "points")
                    .interval(drop - 0.19, drop + 0.12)
                    .basis("paired, 10,000 test images");
                metrics.insert(format!("{variant}.drop"), drop);
            }
        }
        "bench" => {
            for (variant, _, _, one, many) in VARIANTS {
                let basis = "7 rounds of 20 calls, 2 threads";
                metrics.insert(format!("{variant}.batch1.median_ms"), Metric::new(one, "ms").basis(basis));
                metrics.insert(format!("{variant}.batch128.median_ms"), Metric::new(many, "ms").basis(basis));
                metrics.insert(format!("{variant}.batch128.speedup"), Metric::new(30.8 / many, "×"));
            }
        }
        _ => {}
    }
    metrics
}
