//! Sweeps: what is fanned out, how variants are called and read, and mistakes.

use super::*;
use crate::spec::{Action, Input};

/// A diamond below `train`, and `other` beside it.
pub(super) const SWEEP: &str = "\
version: 1
name: sweep
vars: { rates: [0.1, 0.05] }
stages:
  pack:
    run: pack ${inputs.a} ${inputs.b} ${params.lr} > ${outputs.o}
    description: width ${matrix.width}
    params: { lr: '${matrix.lr}' }
    inputs: { a: export.model, b: check.o }
    outputs: { o: o }
  download:
    uses: data/download
    with: { source: Cargo.toml, format: image-folder }
  train:
    uses: torch/train
    matrix: { width: [1, 2], lr: '${vars.rates}' }
    inputs: { dataset: download.dataset }
    with: { lr: '${matrix.lr}', epochs: '${matrix.width}' }
  export:
    run: cp ${inputs.weights} ${outputs.model}
    inputs: { weights: train.weights }
    outputs: { model: m }
  check:
    run: cp ${inputs.weights} ${outputs.o} # ${matrix.kind}
    matrix: { kind: [fast, slow] }
    inputs: { weights: train.weights }
    outputs: { o: o }
  other:
    run: ls > ${outputs.o}
    outputs: { o: o }
";

fn names(pipeline: &Pipeline) -> Vec<&str> {
    pipeline.stages.keys().map(|name| name.as_str()).collect()
}

fn stage<'p>(pipeline: &'p Pipeline, name: &str) -> &'p crate::spec::Stage {
    let found = pipeline.stages.iter().find(|(known, _)| known.as_str() == name);
    found.unwrap_or_else(|| panic!("{:?}", names(pipeline))).1
}

fn reads(pipeline: &Pipeline, name: &str) -> Vec<String> {
    let inputs = stage(pipeline, name).inputs.values();
    inputs
        .map(|input| match input {
            Input::Output { stage, output } => format!("{stage}.{output}"),
            Input::Path(path) => path.display().to_string(),
        })
        .collect()
}

fn params(pipeline: &Pipeline, name: &str) -> serde_json::Value {
    match &stage(pipeline, name).action {
        Action::Op(action) => action.params.clone(),
        Action::Command(action) => action.params.clone(),
    }
}

#[test]
fn what_is_below_is_fanned_out_and_what_is_above_is_not() {
    let pipeline = read(SWEEP).unwrap();
    let names = names(&pipeline);
    let count = |family: &str| pipeline.select(family).len();
    assert_eq!([count("download"), count("train"), count("export"), count("check")], [1, 4, 4, 8]);
    assert_eq!((count("pack"), count("other"), names.len()), (8, 1, 26));
    assert_eq!(names[0], "pack[width=1,lr=0.1,kind=fast]");
    assert_eq!(names[1], "pack[width=1,lr=0.1,kind=slow]");
    assert_eq!(
        names[9..13],
        [
            "train[width=1,lr=0.1]",
            "train[width=1,lr=0.05]",
            "train[width=2,lr=0.1]",
            "train[width=2,lr=0.05]"
        ]
    );
}

#[test]
fn variants_read_the_variants_with_their_values() {
    let pipeline = read(SWEEP).unwrap();
    assert_eq!(reads(&pipeline, "train[width=2,lr=0.05]"), ["download.dataset"]);
    assert_eq!(reads(&pipeline, "export[width=2,lr=0.05]"), ["train[width=2,lr=0.05].weights"]);
    assert_eq!(
        reads(&pipeline, "pack[width=2,lr=0.05,kind=slow]"),
        ["export[width=2,lr=0.05].model", "check[width=2,lr=0.05,kind=slow].o"]
    );
}

#[test]
fn values_keep_their_kind_and_reach_all_that_is_below() {
    let pipeline = read(SWEEP).unwrap();
    let train = params(&pipeline, "train[width=2,lr=0.05]");
    assert_eq!((&train["lr"], &train["epochs"]), (&json!(0.05), &json!(2)));
    let pack = stage(&pipeline, "pack[width=2,lr=0.1,kind=fast]");
    assert_eq!(pack.description.as_deref(), Some("width 2"));
    assert_eq!(params(&pipeline, pack.name.as_str()), json!({ "lr": 0.1 }));
    assert_eq!(pack.family.as_str(), "pack");
    let variant = [("width".to_owned(), json!(2)), ("lr".into(), json!(0.1)), ("kind".into(), json!("fast"))];
    assert_eq!(pack.variant, variant);
    assert!(stage(&pipeline, "other").variant.is_empty());
}

#[test]
fn inputs_may_be_a_var() {
    let text = SWEEP.replace("vars: {", "vars: { inputs: { weights: train.weights },").replace(
        "    inputs: { weights: train.weights }\n    outputs: { model",
        "    inputs: ${vars.inputs}\n    outputs: { model",
    );
    let pipeline = read(&text).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(reads(&pipeline, "export[width=2,lr=0.05]"), ["train[width=2,lr=0.05].weights"]);
}

#[test]
fn some_can_be_left_out_and_some_added() {
    let with = |matrix: &str| {
        let text = SWEEP.replace("{ width: [1, 2], lr: '${vars.rates}' }", matrix);
        let pipeline = read(&text).unwrap_or_else(|problems| panic!("{problems}"));
        pipeline
            .select("train")
            .iter()
            .map(|name| name.as_str()["train".len()..].to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let matrix = "{ width: [1, 2], lr: [0.1, 0.2], exclude: [{ width: 2.0, lr: 0.1 }], include: [{ lr: 9, width: 3 }] }";
    assert_eq!(with(matrix), "[width=1,lr=0.1] [width=1,lr=0.2] [width=2,lr=0.2] [width=3,lr=9]");
    assert_eq!(with("{ width: [1, 2], lr: [0.1], exclude: [{ width: 1 }] }"), "[width=2,lr=0.1]");
    assert_eq!(
        with("{ include: [{ width: 1, lr: 2 }, { lr: 3, width: 1 }] }"),
        "[width=1,lr=2] [width=1,lr=3]"
    );
}

#[test]
fn values_that_are_no_short_texts_are_numbered() {
    let text = SWEEP
        .replace("width: [1, 2]", "width: [1, 2], net: [{ layers: [{ conv: { out: 3 } }] }, null]")
        .replace("epochs: '${matrix.width}'", "network: '${matrix.net}'");
    let pipeline = read(&text).unwrap();
    assert_eq!(pipeline.select("train[net=1]").len(), 4);
    let network = params(&pipeline, "train[width=1,net=1,lr=0.1]")["network"].clone();
    assert_eq!(network, json!({ "layers": [{ "conv": { "out": 3 } }] }));
    assert_eq!(params(&pipeline, "train[width=1,net=2,lr=0.1]")["network"], json!(null));
}

#[test]
fn a_variant_can_be_read_by_name() {
    let text = SWEEP.replace(
        "    run: ls > ${outputs.o}\n",
        "    run: ls > ${outputs.o}\n    inputs: { a: 'train[width=1,lr=0.1].weights', b: 'check[lr=0.05,kind=fast,width=2].o' }\n",
    );
    let pipeline = read(&text).unwrap();
    assert_eq!(
        reads(&pipeline, "other"),
        ["train[width=1,lr=0.1].weights", "check[width=2,lr=0.05,kind=fast].o"]
    );
    let problems = read(&text.replace("train[width=1,lr=0.1]", "train[width=1]")).unwrap_err();
    snapshots::assert_message!(problems);
    let problems = read(&text.replace("train[width=1,lr=0.1]", "train[width=7]")).unwrap_err();
    snapshots::assert_message!(problems);
    let few = |values: &str| {
        let text = format!(
            "version: 1\nname: x\nstages:\n  t:\n    run: ls > ${{outputs.o}}\n    matrix: {{ e: {values} }}\n    outputs: {{ o: o }}\n  \
             u:\n    run: ls ${{inputs.i}}\n    inputs: {{ i: 't[e=9].o' }}\n"
        );
        read(&text).unwrap_err()
    };
    let told = |problems: &str, help: &str| assert!(problems.contains(help), "{problems}");
    told(&few("[1, 2]"), "there are `t[e=1]` and `t[e=2]`\n");
    told(&few("[1]"), "there is `t[e=1]`\n");
    told(&few("[1, 2, 3, 4, 5]"), "`t[e=4]` and `t[e=5]`\n");
    told(&few("[1, 2, 3, 4, 5, 6]"), "`t[e=5]`, …\n");
}

#[test]
fn a_matrix_can_choose_the_stage_that_is_read() {
    let text = SWEEP.replace(
        "    run: ls > ${outputs.o}\n",
        "    run: ls > ${outputs.o}\n    matrix: { from: [export.model, check.o] }\n    inputs: { a: '${matrix.from}' }\n",
    );
    let problems = read(&text).map(|pipeline| pipeline.select("other").len());
    // `export.model` has a dot, so that the name has the value's number.
    let pipeline = read(&text).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(problems.unwrap(), 16);
    assert_eq!(
        reads(&pipeline, "other[width=1,lr=0.1,kind=fast,from=export.model]"),
        ["export[width=1,lr=0.1].model"]
    );
}

#[test]
fn gates_and_rows_are_fanned_out() {
    let more = "\
gates:
  - train.val_accuracy - check.loss >= 85
  - check[kind=slow].loss < 1
  - train[lr=0.1,width=1].val_accuracy > train[lr=0.05].val_accuracy
  - other.size < 3
  - train[width=2].val_accuracy >= baseline.train[width=2].val_accuracy - 1
  - other.size <= baseline.other.size
report:
  rows: { all: train, one: 'train[lr=0.1,width=2]', no: other }
  columns:
    - { label: x, metric: ['${row}.val_accuracy', other.size], reference: { all: 3, no: 4 } }
";
    // Commands report no metrics.
    let sweep = SWEEP
        .replace("run: cp ${inputs.weights} ${outputs.o} # ${matrix.kind}", "uses: tool/any")
        .replace(
            "inputs: { weights: train.weights }\n    outputs: { o: o }",
            "inputs: { weights: train.weights }",
        )
        .replace("run: ls > ${outputs.o}\n    outputs: { o: o }", "uses: tool/any");
    let pipeline = read(&format!("{sweep}{more}")).unwrap();
    let gates: Vec<&str> = pipeline.gates.iter().map(|gate| gate.expression.as_str()).collect();
    assert_eq!(gates.len(), 8 + 4 + 2 + 1 + 2 + 1);
    assert_eq!(gates[1], "train[width=1,lr=0.1].val_accuracy - check[width=1,lr=0.1,kind=slow].loss >= 85");
    assert_eq!(gates[8], "check[width=1,lr=0.1,kind=slow].loss < 1");
    assert_eq!(gates[12], "train[width=1,lr=0.1].val_accuracy > train[width=1,lr=0.05].val_accuracy");
    assert_eq!(gates[14], "other.size < 3");
    assert_eq!(
        gates[16],
        "train[width=2,lr=0.05].val_accuracy >= baseline.train[width=2,lr=0.05].val_accuracy - 1"
    );
    assert_eq!(gates[17], "other.size <= baseline.other.size");
    let report = &pipeline.report;
    let rows: Vec<&String> = report.rows.keys().collect();
    assert_eq!(rows[0], "all [width=1,lr=0.1]");
    assert_eq!((rows.len(), rows[4].as_str(), rows[5].as_str()), (6, "one", "no"));
    let metric = |row: &str, index: usize| report.metric_of(row, &report.columns[0].metrics[index]).unwrap();
    assert_eq!(metric("all [width=2,lr=0.1]", 0), ("train[width=2,lr=0.1]".into(), "val_accuracy".into()));
    assert_eq!(metric("all [width=2,lr=0.1]", 1), ("other".into(), "size".into()));
    assert_eq!(metric("one", 0).0, "train[width=2,lr=0.1]");
    assert_eq!(metric("no", 0).0, "other");
    assert_eq!(report.columns[0].reference["all [width=2,lr=0.05]"], 3.0);
    assert_eq!(report.columns[0].reference["no"], 4.0);
}

fn refused(from: &str, to: &str, message: &str) -> String {
    assert!(SWEEP.contains(from), "{from}");
    let problems = read(&SWEEP.replace(from, to)).expect_err(to);
    assert!(problems.contains(&format!("error: {message}\n  ┌─ p.yaml:")), "{to}\n{problems}");
    problems
}

#[test]
fn mistakes_in_a_matrix() {
    let spoilt = |to: &str, message: &str| refused("{ width: [1, 2], lr: '${vars.rates}' }", to, message);
    spoilt("[1]", "`matrix` is a map of names to lists of values, not a list");
    spoilt("{}", "the matrix has no combination");
    spoilt("{ width: [], lr: [1] }", "`width` has no values");
    spoilt("{ width: 3, lr: [1] }", "`width` is a list of values, not 3");
    spoilt("{ width: [1, 1.0], lr: [1] }", "1.0 is a value of `width` already");
    spoilt("{ 'wi dth': [1] }", "`wi dth` is not a name for a variable of a matrix");
    spoilt(
        "{ width: [1], lr: [1], exclude: { width: 1 } }",
        "`exclude` is a list of maps of values, not a map",
    );
    let problems = spoilt("{ width: [1, 2], lr: [1], exclude: [{ width: 3 }] }", "`width` has no value 3");
    snapshots::assert_message!(problems);
    spoilt("{ width: [1, 2], lr: [1], exclude: [{ lr: 1 }] }", "the matrix has no combination");
    let twice = "{ width: [1, 2], lr: [1], exclude: [{ width: 1 }, { width: 1 }] }";
    spoilt(twice, "no combination that is left has these values");
    let problems =
        spoilt("{ width: [1], lr: [1], exclude: [{ widht: 1 }] }", "the matrix has no variable `widht`");
    snapshots::assert_message!(problems);
    let part = "{ width: [1], lr: [1], include: [{ width: 2 }] }";
    spoilt(part, "a combination names every variable: `lr` is missing");
    spoilt("{ width: [1], lr: [1], include: [{ width: 1, lr: 1 }] }", "this combination is there already");
    let many: Vec<String> = (0..200).map(|value| value.to_string()).collect();
    let many = many.join(", ");
    spoilt(&format!("{{ width: [{many}], lr: [{many}] }}"), "the matrix has more than 10,000 combinations");
}

#[test]
fn mistakes_with_what_a_matrix_holds() {
    let problems =
        refused("lr: '${matrix.lr}', ep", "lr: '${matrix.rate}', ep", "no matrix has a variable `rate`");
    snapshots::assert_message!(problems);
    assert_eq!(problems.matches("error:").count(), 1, "{problems}");
    let problems = refused("run: ls >", "run: ls ${matrix.lr} >", "no matrix has a variable `lr`");
    snapshots::assert_message!(problems);
    refused("outputs: { model: m }", "outputs: { model: 'm${matrix.lr}' }", "no matrix has a variable `lr`");
    refused(
        "matrix: { kind: [",
        "matrix: { lr: [",
        "stage `check` is fanned out over two matrices that both have `lr`",
    );
    refused("width ${matrix.width}", "width ${matrix.width.x}", "matrix variable `width` is 1, not a map");
    let problems = refused("[0.1, 0.05]", "[0.1, -1]", "`lr` must be more than 0, not -1");
    snapshots::assert_message!(problems);
    refused(
        "  other:",
        "  1other:",
        "`1other` is not a stage name: letters, digits, `_` and `-`, starting with a letter",
    );
    refused("  other:", "  other[a=1]:", "`other[a=1]` is the name of a variant");
    let many: Vec<String> = (0..5_001).map(|value| value.to_string()).collect();
    let many = format!("kind: [{}]", many.join(", "));
    refused("kind: [fast, slow]", &many, "stage `check` has more than 10,000 variants");
    let deep = "a: export.model, b: check.o, c: '${matrix.kind}.o'";
    refused("a: export.model, b: check.o", deep, "there is neither a stage `fast` nor a file `fast.o`");
}

#[test]
fn stages_that_wait_for_each_other_are_told_once() {
    let problems = refused(
        "inputs: { dataset: download.dataset }",
        "inputs: { dataset: export.model }",
        "stages wait for each other: train → export → train",
    );
    assert_eq!(problems.matches("error:").count(), 1, "{problems}");
}

#[test]
fn mistakes_in_gates_and_rows_of_a_sweep() {
    let refused = |more: &str, message: &str| {
        let problems = read(&format!("{SWEEP}{more}")).unwrap_err();
        assert!(problems.contains(message), "{problems}");
    };
    refused("gates: ['train[lr=7].x > 1']\n", "no variant of `train` has these values");
    refused("gates: ['train[lr=0.1].x > train[lr=0.05].x']\n", "no variant has all the values named here");
    refused("gates: ['1 > baseline.train[lr=7].x']\n", "no variant of `train` has these values");
    refused("gates: ['1 > baseline.tarin.x']\n", "gate names unknown stage `tarin`");
    refused("gates: ['tarin[lr=0.1].x > 1']\n", "gate names unknown stage `tarin[lr=0.1]`");
    refused("gates: ['other[lr=0.1].x > 1']\n", "`other` has no variants");
    refused("gates: ['train.x > ${matrix.lr}']\n", "no matrix has a variable `lr`");
}

/// A sweep over so many numbers, with another over two below it.
fn many(values: usize, text: usize) -> String {
    let list: Vec<String> = (0..values).map(|value| value.to_string()).collect();
    format!(
        "version: 1\nname: many\nstages:\n  a:\n    run: echo ${{matrix.v}} > ${{outputs.o}}\n    description: {}\n    \
         matrix: {{ v: [{}] }}\n    outputs: {{ o: o }}\n  b:\n    run: cp ${{inputs.i}} ${{outputs.o}}\n    \
         inputs: {{ i: a.o }}\n    outputs: {{ o: o }}\n",
        "x".repeat(text),
        list.join(", ")
    )
}

#[test]
fn a_sweep_has_as_many_variants_as_the_docs_say() {
    let pipeline = read(&many(10_000, 1)).unwrap();
    assert_eq!(pipeline.stages.len(), 20_000);
    assert_eq!(reads(&pipeline, "b[v=9999]"), ["a[v=9999].o"]);
    let error = read(&many(10_001, 1)).unwrap_err();
    snapshots::assert_message!(error);
}

#[test]
fn what_all_variants_would_take_is_bounded() {
    let error = read(&many(10_000, 200_000)).unwrap_err();
    snapshots::assert_message!(error);
    // Values count, too: each stands in half of the variants.
    let long = "y".repeat(300_000);
    let rows: Vec<String> = (0..5_000).map(|row| row.to_string()).collect();
    let sweep = format!(
        "version: 1\nname: s\nstages:\n  a:\n    run: echo ${{matrix.v}}\n    matrix: {{ v: [{long}, z{long}], w: [{}] }}\n",
        rows.join(", ")
    );
    let error = read(&sweep).unwrap_err();
    snapshots::assert_message!(error);
}
