//! What is advised, on records.

use pipeline::gate::{Better, Gate, Verdict};
use pipeline::spec::ReportSpec;
use record::{Source, StageDefinition};

use super::*;
use crate::sample::{self, Sample};

const STATIC: &str = "evaluate.int8_static.accuracy >= 85";

fn told(sample: &Sample) -> String {
    advice(&sample.input()).unwrap()
}

/// The sample with these gates, as its records satisfy them.
fn gated(gates: &[&str]) -> Sample {
    let mut sample = sample::tinynet();
    let lookup = |stage: &str, metric: &str| {
        Some(crate::results::find(&sample.base.records, stage, metric)?.1.clone())
    };
    let results = gates.iter().map(|gate| Gate::parse(gate).unwrap().evaluate(&lookup, None)).collect();
    sample.definition.gates = gates.iter().map(ToString::to_string).collect();
    sample.run.gates = results;
    sample
}

#[test]
fn without_gates_what_nothing_beats_is_to_be_shipped_and_what_it_loses_is_said() {
    assert_eq!(
        told(&gated(&[])),
        "INT8 static: the best in size KB and batch 128 ms. In accuracy %: 91.80 against 91.82 of torch FP32, each within the \
         other's 95 % interval."
    );
}

#[test]
fn a_row_that_no_gate_looks_at_is_not_preferred_to_one_that_gates_accept() {
    // Of all rows it is the best in nothing.
    assert_eq!(
        told(&gated(&["evaluate.fp32.accuracy >= 85"])),
        "ONNX FP32, the only one that gates accept: the best in accuracy %. Behind in size KB: 325.2 against 104.8 of INT8 static. \
         Behind in batch 128 ms: 30.8 against 14.9 of INT8 static. No gate looks at torch FP32, INT8 static and INT8 dynamic."
    );
}

#[test]
fn what_fails_a_gate_is_named_with_the_gate_and_what_is_left_is_compared_with_it() {
    let two = [
        "evaluate.fp32.accuracy >= 85",
        "evaluate.int8_static.accuracy >= 99.99",
        "evaluate.int8_static.drop < 5",
    ];
    let text = told(&gated(&two));
    snapshots::assert_message!(text);
}

#[test]
fn where_no_row_is_accepted_the_answer_is_none_and_says_why() {
    // As the demo with `--set min_accuracy=99.99`.
    let gates = [
        "export.size_kb < 500",
        "evaluate.fp32.accuracy >= 99.99",
        "evaluate.int8_static.accuracy >= 99.99",
        "evaluate.int8_static.drop < -5",
    ];
    assert_eq!(
        told(&gated(&gates)),
        "None of them: ONNX FP32 fails `evaluate.fp32.accuracy >= 99.99`; INT8 static fails \
         `evaluate.int8_static.accuracy >= 99.99` and `evaluate.int8_static.drop < -5`. No gate looks at torch FP32 and \
         INT8 dynamic."
    );
}

#[test]
fn a_gate_that_is_about_no_row_stands_against_all() {
    let text = told(&gated(&[STATIC, "export.size_kb < 5"]));
    assert_eq!(
        text,
        "None of them: the run fails `export.size_kb < 5`, about no row alone. No gate looks at torch FP32, ONNX FP32 and \
         INT8 dynamic."
    );
    let text = told(&gated(&[STATIC, "export.nothing < 5"]));
    snapshots::assert_message!(text);
}

#[test]
fn a_comparison_of_rows_judges_the_one_that_is_asked_to_be_good() {
    for gate in [
        "evaluate.int8_static.accuracy >= evaluate.int8_dynamic.accuracy + 5",
        "evaluate.int8_dynamic.accuracy - evaluate.int8_static.accuracy < -5",
        "evaluate.int8_static.size_kb < evaluate.int8_dynamic.size_kb * 0.1",
    ] {
        let text = told(&gated(&["evaluate.int8_dynamic.accuracy >= 85", gate]));
        assert!(text.starts_with("INT8 dynamic, the only one that gates accept"), "{gate}: {text}");
        assert!(text.contains(&format!("INT8 static fails `{gate}`.")), "{text}");
    }
}

#[test]
fn a_run_that_did_not_check_all_gates_chooses_nothing() {
    let mut sample = gated(&[STATIC]);
    sample.definition.gates = vec![STATIC.into(), "evaluate.int8_static.drop < 5".into()];
    assert_eq!(told(&sample), "Not chosen: this run did not check `evaluate.int8_static.drop < 5`.");
}

#[test]
fn a_gate_without_an_earlier_run_accepts_nothing_yet() {
    let gate = "evaluate.int8_dynamic.accuracy >= baseline.evaluate.int8_dynamic.accuracy";
    let sample = gated(&[gate]);
    assert!(sample.run.gates[0].verdict == Verdict::Pass && sample.run.gates[0].is_first());
    let text = told(&sample);
    snapshots::assert_message!(text);
    assert!(text.ends_with(&format!(" There was no earlier run to compare with in `{gate}`.")), "{text}");
}

#[test]
fn rows_that_read_alike_and_rows_that_were_not_measured_are_named() {
    let mut sample = gated(&[STATIC, "evaluate.int8_dynamic.accuracy >= 85"]);
    let evaluate = sample.records.get_mut(&sample::name("evaluate")).unwrap();
    let same = evaluate.metrics["int8_static.accuracy"].clone();
    evaluate.metrics.insert("int8_dynamic.accuracy".into(), same);
    evaluate.metrics.remove("fp32.accuracy");
    for column in &mut sample.definition.report.columns {
        column.better = (column.label == "accuracy %").then_some(Better::Higher);
    }
    let text = told(&sample);
    snapshots::assert_message!(text);
}

#[test]
fn what_was_not_measured_does_not_fail_but_is_not_known() {
    let text = told(&gated(&[STATIC, "evaluate.fp32.lost < 5"]));
    snapshots::assert_message!(text);
    let text = told(&gated(&["evaluate.fp32.accuracy >= 99.9", "evaluate.fp32.lost < 5"]));
    let expected = "ONNX FP32 fails `evaluate.fp32.accuracy >= 99.9` and is not known to satisfy `evaluate.fp32.lost < 5`";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn what_is_not_known_of_every_row_does_not_decide() {
    let mut sample = gated(&[]);
    let bench = sample.records.get_mut(&sample::name("bench")).unwrap();
    bench.metrics.retain(|name, _| !name.starts_with("fp32"));
    let text = told(&sample);
    snapshots::assert_message!(text);
}

#[test]
fn what_is_provisional_does_not_decide() {
    let mut sample = gated(&[]);
    let bench = sample.records.get_mut(&sample::name("bench")).unwrap();
    bench.provisional = Some("the machine was busy".into());
    let text = told(&sample);
    snapshots::assert_message!(text);
}

#[test]
fn where_rows_are_missing_it_is_said_which_and_why() {
    let mut sample = gated(&[]);
    let spec = &mut sample.definition.report;
    spec.rows.truncate(2);
    let labels: Vec<String> = spec.rows.keys().cloned().collect();
    spec.rows.insert_full(labels[0].clone(), "evaluate.fp32".into());
    spec.rows.insert_full(labels[1].clone(), "bench.fp32".into());
    spec.columns.retain(|column| column.better.is_some());
    spec.columns.truncate(1);
    spec.columns[0].metrics = vec!["${row}.accuracy".into(), "${row}.batch128.median_ms".into()];
    let all = sample.clone();
    sample.records.get_mut(&sample::name("bench")).unwrap().provisional = Some("the machine was busy".into());
    assert_eq!(
        told(&sample),
        format!(
            "Not chosen: {} alone was measured, and there is nothing to choose from. Not measured: {} (bench is provisional).",
            labels[0], labels[1]
        )
    );
    let mut sample = all;
    for name in ["bench", "evaluate"] {
        sample.records.remove(&sample::name(name));
        let run = sample.run.stages.iter_mut().find(|run| run.stage.as_str() == name).unwrap();
        run.outcome = record::Outcome::Failed { message: "no".into(), hint: None };
    }
    assert_eq!(
        told(&sample),
        format!(
            "Not chosen: no row was measured. Not measured: {} (evaluate failed) and {} (bench failed).",
            labels[0], labels[1]
        )
    );
}

#[test]
fn one_row_is_no_choice() {
    let mut sample = sample::tinynet();
    sample.definition.report.rows.truncate(1);
    assert_eq!(advice(&sample.input()), None);
    sample.definition.report = ReportSpec::default();
    assert_eq!(advice(&sample.input()), None);
}

#[test]
fn a_choice_that_test_images_made_says_so() {
    let mut sample = gated(&[]);
    for column in &mut sample.definition.report.columns {
        column.better = (column.label == "accuracy %").then_some(Better::Higher);
    }
    assert_eq!(
        told(&sample),
        "torch FP32: the best in accuracy %. ONNX FP32 is as good, and further down in the table. The choice rests on accuracy %, measured on test images, which so make it look a \
         little better than it is."
    );
}

const VALIDATION: &str = "500 validation images";
const TEST: &str = "500 test images";

/// A sweep over learning rates: the last does best on the test images, the second on the validation images.
fn sweep(basis: &str) -> Sample {
    let mut sample = gated(&[]);
    let spec = &mut sample.definition.report;
    let column = spec.columns.iter().find(|column| column.label == "accuracy %").unwrap().clone();
    spec.columns = vec![column];
    spec.rows.clear();
    spec.variants.clear();
    sample.definition.stages.clear();
    let (train, evaluate) =
        (sample.records[&sample::name("train")].clone(), sample.records[&sample::name("evaluate")].clone());
    sample.records.clear();
    for (lr, val, test) in [("0.1", 90.0, 91.0), ("0.2", 93.0, 92.0), ("0.4", 91.0, 99.0)] {
        let [trained, evaluated] = ["train", "evaluate"].map(|it| sample::name(&format!("{it}[lr={lr}]")));
        let label = format!("FP32 [lr={lr}]");
        sample.definition.report.rows.insert(label.clone(), "fp32".into());
        let variants = [("evaluate".to_owned(), evaluated.clone())].into();
        sample.definition.report.variants.insert(label, variants);
        let source = Source::Output { stage: trained.clone(), output: "weights".into() };
        let reads =
            StageDefinition { inputs: [("weights".into(), source)].into(), ..StageDefinition::default() };
        sample.definition.stages.insert(trained.clone(), StageDefinition::default());
        sample.definition.stages.insert(evaluated.clone(), reads);
        let mut train = train.clone();
        train.metrics.clear();
        train.metrics.insert("val_accuracy".into(), Metric::new(val, "%").basis(basis));
        train
            .metrics
            .insert("images_per_second".into(), Metric::new(9.0, "img/s").basis("without validation"));
        let mut evaluate = evaluate.clone();
        evaluate.metrics.clear();
        evaluate.metrics.insert("fp32.accuracy".into(), Metric::new(test, "%").basis("500 test images"));
        sample.records.extend([(trained, train), (evaluated, evaluate)]);
    }
    sample
}

#[test]
fn a_sweep_is_chosen_by_validation_images_of_the_trainings_behind_it() {
    assert_eq!(
        told(&sweep(VALIDATION)),
        "FP32 [lr=0.2]: the best in train.val_accuracy. Its accuracy %, 92.00, was measured on test images, which chose nothing."
    );
}

#[test]
fn a_sweep_that_was_measured_on_test_images_alone_is_not_chosen_from() {
    let text = told(&sweep(TEST));
    snapshots::assert_message!(text);
}

#[test]
fn a_sweep_with_a_column_of_validation_images_is_chosen_by_that() {
    let mut sample = sweep(TEST);
    for (_, record) in sample.records.iter_mut().filter(|(stage, _)| stage.family() == "evaluate") {
        let value = record.metrics["fp32.accuracy"].value;
        record.metrics.insert("fp32.val".into(), Metric::new(-value, "%").basis("500 validation images"));
    }
    let mut column = sample.definition.report.columns[0].clone();
    (column.label, column.metrics) = ("held out".into(), vec!["evaluate.${row}.val".into()]);
    sample.definition.report.columns.push(column);
    let text = told(&sample);
    snapshots::assert_message!(text);
}

#[test]
fn what_gates_accept_of_a_sweep_alone_is_not_a_choice() {
    let mut sample = sweep(TEST);
    let mut gate = gated(&[STATIC]).run.gates[0].clone();
    gate.expression = "evaluate[lr=0.2].fp32.accuracy >= 80".into();
    sample.run.gates = vec![gate];
    assert_eq!(
        told(&sample),
        "FP32 [lr=0.2], the only one that gates accept. Behind in accuracy %: 92.00 against 99.00 of FP32 [lr=0.4]. \
         No gate looks at FP32 [lr=0.1] and FP32 [lr=0.4]."
    );
}

/// The sweep with a gate on the accuracy of each variant, on test images.
fn gated_sweep(least: f64) -> String {
    let mut sample = sweep(VALIDATION);
    let lookup =
        |stage: &str, metric: &str| Some(crate::results::find(&sample.records, stage, metric)?.1.clone());
    let gates = ["0.1", "0.2", "0.4"].map(|lr| format!("evaluate[lr={lr}].fp32.accuracy >= {least}"));
    let results = gates.iter().map(|gate| Gate::parse(gate).unwrap().evaluate(&lookup, None)).collect();
    (sample.run.gates, sample.definition.gates) = (results, gates.to_vec());
    told(&sample)
}

#[test]
fn gates_that_rule_out_variants_by_test_images_chose() {
    let all = gated_sweep(80.0);
    snapshots::assert_message!(all);
    let two = gated_sweep(91.5);
    let ruled_out = "was measured on test images, by which gates ruled out other variants, so that it may look a little better \
                     than it is.";
    snapshots::assert_message!(two);
    assert!(two.contains(&format!("Its accuracy %, 92.00, {ruled_out}")), "{two}");
    let one = gated_sweep(95.0);
    snapshots::assert_message!(one);
    assert!(one.contains(&format!("Its accuracy %, 99.00, {ruled_out}")), "{one}");
}

/// Says of each training of a sample that test images chose its epoch.
fn choose_epochs_by_test(sample: &mut Sample) {
    let trained = sample.records.iter_mut().filter(|(stage, _)| stage.family() == "train");
    for (_, record) in trained {
        let metric = Metric::new(95.0, "%").basis("500 test images, which chose the epoch");
        record.metrics.insert("test_accuracy".into(), metric);
    }
}

#[test]
fn where_test_images_chose_epochs_they_choose_no_variant() {
    let mut sample = sweep(VALIDATION);
    choose_epochs_by_test(&mut sample);
    let text = told(&sample);
    snapshots::assert_message!(text);
    let mut single = gated(&[]);
    assert!(!told(&single).contains("Test images chose"), "{}", told(&single));
    choose_epochs_by_test(&mut single);
    snapshots::assert_message!(told(&single));
}
