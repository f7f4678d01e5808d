//! Metrics that gates and columns name.

use super::*;

/// A pipeline with an op that says what it reports, one that says it by its inputs, one that does not say, and a command.
fn with(rest: &str) -> Result<Pipeline, String> {
    read(&format!(
        "version: 1
name: m
stages:
  download: {{ uses: data/download, with: {{ source: Cargo.toml, format: image-folder }} }}
  train: {{ uses: torch/train, inputs: {{ dataset: download.dataset }} }}
  evaluate:
    uses: torch/evaluate
    inputs: {{ dataset: download.dataset, fp32: train.weights, int8: train.weights }}
  pack: {{ run: 'true' }}
{rest}"
    ))
}

fn refused(rest: &str) -> String {
    with(rest).map(drop).expect_err("nothing was found wrong")
}

#[test]
fn what_stages_report_is_accepted() {
    for gate in [
        "train.val_accuracy > 1",
        "train.top5 - baseline.train.top1 > 1",
        "evaluate.fp32.accuracy - evaluate.int8.accuracy < 1",
        "download.anything.at.all > 1",
    ] {
        with(&format!("gates: ['{gate}']\n")).unwrap_or_else(|problem| panic!("{gate}\n{problem}"));
    }
}

#[test]
fn a_gate_on_what_no_op_reports_is_told_where_it_is_written() {
    assert_eq!(
        refused("gates:\n  - 1 < train.val_acuracy\n"),
        "error: gate names metric `val_acuracy`, but stage `train` has no such metric
  ┌─ p.yaml:11:9
11│   - 1 < train.val_acuracy
  │         ^^^^^^^^^^^^^^^^^
  = help: did you mean `val_accuracy`?
"
    );
    let listed = refused("gates: ['train.speed > 1']\n");
    snapshots::assert_message!(listed);
    let inputs = refused("gates: ['evaluate.fp23.accuracy > 1']\n");
    snapshots::assert_message!(inputs);
    snapshots::assert_message!(refused("gates: ['evaluate.dataset.accuracy > 1']\n"));
    let earlier = refused("gates: ['train.train_loss < baseline.train.trian_loss']\n");
    snapshots::assert_message!(earlier);
}

#[test]
fn a_command_reports_none() {
    let told = refused("gates: ['pack.size > 1']\n");
    snapshots::assert_message!(told);
}

#[test]
fn a_column_needs_a_row_whose_stage_reports_its_metric() {
    let table = |metric: &str| {
        format!(
            "report:\n  rows: {{ FP32: fp32, INT8: int8, net: train }}\n  columns:\n    - {{ label: l, metric: {metric} }}\n"
        )
    };
    with(&table("'evaluate.${row}.accuracy'")).unwrap();
    with(&table("['${row}.val_accuracy', 'evaluate.${row}.accuracy', 'download.x']")).unwrap();
    let told = refused(&table("'evaluate.${row}.acuracy'"));
    snapshots::assert_message!(told);
    let second = refused(&table("['evaluate.${row}.accuracy', '${row}.val_acc']"));
    snapshots::assert_message!(second);
    snapshots::assert_message!(refused(&table("pack.size")));
}

#[test]
fn a_row_that_stays_empty_is_warned_of_where_it_is_written() {
    let warnings = |rows: &str, metric: &str| {
        let text =
            format!("report:\n  rows:\n    {rows}\n  columns:\n    - {{ label: l, metric: {metric} }}\n");
        with(&text).unwrap_or_else(|problem| panic!("{problem}")).warnings
    };
    let several = "['${row}.val_accuracy', 'evaluate.${row}.accuracy']";
    assert_eq!(warnings("FP32: fp32\n    net: train", several), [""; 0]);
    assert_eq!(
        warnings("any: download\n    net: train", "'${row}.top1'"),
        [""; 0],
        "an op that does not say"
    );
    assert_eq!(
        warnings("FP32: fp32\n    INT8: in8", "'evaluate.${row}.accuracy'"),
        [
            "p.yaml:13:11: row `INT8` stays empty: it names metric `in8.accuracy`, but stage `evaluate` has no such metric; did you mean `int8.accuracy`?"
        ]
    );
    let told = warnings("net: train\n    other: trian", "'${row}.top1'");
    assert_eq!(
        told,
        ["p.yaml:13:12: row `other` stays empty: it names unknown stage `trian`; did you mean `train`?"]
    );
    let told = warnings("net: train\n    pack: pack", "'${row}.top1'");
    assert!(told.len() == 1 && told[0].contains("but a command reports none"), "{told:?}");
}

#[test]
fn what_depends_on_a_param_is_wanted_of_a_gate_and_may_be_missing_in_a_column() {
    let text = |rest: &str| {
        format!(
            "version: 1\nname: m\nstages:\n  download: {{ uses: data/download, with: {{ source: Cargo.toml, format: image-folder }} }}\n  \
             train: {{ uses: torch/train, inputs: {{ dataset: download.dataset }}, with: {{ tags: ['1', '8'] }} }}\n{rest}"
        )
    };
    read(&text("gates: [train.batch8.ms < 1]\n")).unwrap();
    let told = read(&text("gates: [train.batch2.ms < 1]\n")).map(drop).unwrap_err();
    snapshots::assert_message!(told);
    let table = |metric: &str| {
        text(&format!(
            "report: {{ rows: {{ a: train }}, columns: [{{ label: l, metric: '${{row}}.{metric}' }}] }}\n"
        ))
    };
    read(&table("batch2.ms")).unwrap();
    let told = read(&text("gates: [train.gpu_ms < 1]\n")).map(drop).unwrap_err();
    snapshots::assert_message!(told);
    read(&text("gates: [train.gpu_ms < 1]\n").replace("tags: [", "device: cuda, tags: [")).unwrap();
    read(&table("gpu_ms")).unwrap();
    let listed = read(&table("speed")).map(drop).unwrap_err();
    snapshots::assert_message!(listed);
    assert!(read(&table("batch2.s")).is_err());
}

#[test]
fn a_gate_on_a_sweep_is_told_once() {
    let text = "version: 1
name: m
stages:
  download: { uses: data/download, with: { source: Cargo.toml, format: image-folder } }
  train:
    uses: torch/train
    matrix: { lr: [0.1, 0.2] }
    inputs: { dataset: download.dataset }
    with: { lr: '${matrix.lr}' }
gates: [train.val_acc > 1]
";
    let told = read(text).map(drop).unwrap_err();
    assert_eq!(told.matches("error:").count(), 1, "{told}");
    snapshots::assert_message!(told);
    read(&text.replace("val_acc ", "val_accuracy ")).unwrap();
}

#[test]
fn all_that_is_wrong_is_told_together_each_at_its_place() {
    let told = refused(
        "report:
  rows: { FP32: fp32, INT8: int8 }
  columns: [{ label: l, metric: 'evaluate.${row}.acuracy' }]
gates:
  - train.top5 > train.top + baseline.train.trian_loss
  - pack.size > 1
",
    );
    let places: Vec<&str> = told.lines().filter_map(|line| line.trim().strip_prefix("┌─ ")).collect();
    assert_eq!(places, ["p.yaml:12:33", "p.yaml:14:18", "p.yaml:14:39", "p.yaml:15:5"], "{told}");
    // Of a stage with which something is wrong nothing is known.
    let told = refused(
        "  odd: { uses: torch/train, inputs: { datase: download.dataset } }
report: { rows: { a: odd, b: train }, columns: [{ label: l, metric: '${row}.val_acc' }] }
",
    );
    assert!(!told.contains("val_acc"), "{told}");
}
