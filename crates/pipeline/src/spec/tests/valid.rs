//! What a right pipeline means.

use std::time::Duration;

use super::*;
use crate::StageName;
use crate::spec::{Action, CommandLine, Cpus, Input, Location, OpAction, Resources, Retries};

fn stage_name(name: &str) -> StageName {
    StageName::try_from(name.to_owned()).unwrap()
}

fn op_action(pipeline: &Pipeline, stage: &str) -> OpAction {
    match &pipeline.stages[&stage_name(stage)].action {
        Action::Op(action) => action.clone(),
        Action::Command(_) => panic!("{stage} is a command"),
    }
}

#[test]
fn a_pipeline_in_full() {
    let pipeline = read(GOOD).unwrap();
    assert_eq!(pipeline.name, "tiny");
    assert_eq!(pipeline.root, PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    assert_eq!(
        pipeline.stages.keys().map(StageName::as_str).collect::<Vec<_>>(),
        ["download", "train", "package"]
    );
    let download = op_action(&pipeline, "download");
    let manifest = pipeline.root.join("Cargo.toml");
    assert_eq!(download.sources["source"], manifest);
    assert_eq!(download.params, json!({ "source": manifest, "format": "image-folder", "size": null }));
    let train = &pipeline.stages[&stage_name("train")];
    assert_eq!(
        train.inputs["dataset"],
        Input::Output { stage: stage_name("download"), output: "dataset".into() }
    );
    assert_eq!(train.outputs["weights"], "weights.safetensors");
    assert_eq!(train.resources, Resources { cpus: Cpus::All, ..Resources::default() });
    assert_eq!(train.location, Location { line: 12, column: 3 });
    let action = op_action(&pipeline, "train");
    assert_eq!(
        action.params.to_string(),
        r#"{"epochs":5,"lr":0.05,"label_smoothing":0.1,"device":"auto","network":null,"tags":[]}"#
    );
    assert_eq!(action.param_locations["epochs"], Location { line: 4, column: 11 });
    assert!(!action.param_locations.contains_key("lr"));
    let Action::Command(package) = &pipeline.stages[&stage_name("package")].action else { panic!() };
    assert_eq!(package.command, CommandLine::Shell("gzip -c ${inputs.weights} > ${outputs.bundle}".into()));
    assert_eq!(pipeline.gates[0].expression, "train.val_accuracy >= 85");
    assert_eq!(pipeline.report.rows["FP32"], "train");
    assert_eq!(pipeline.report.columns[0].metrics, ["${row}.val_accuracy"]);
    assert_eq!(pipeline.report.columns[0].reference["FP32"], 91.16);
}

#[test]
fn profile_then_set_replace_vars() {
    let with = |set: &[(&str, &str)], profile| {
        let pipeline = read_with(GOOD, &overrides(set, profile)).unwrap();
        op_action(&pipeline, "train").params["epochs"].clone()
    };
    assert_eq!(with(&[], Some("demo")), 2);
    assert_eq!(with(&[("epochs", "7")], Some("demo")), 7);
    assert_eq!(with(&[("epochs", "7"), ("epochs", "1e1")], None), 10);
}

#[test]
fn a_param_from_the_command_line_stands_where_it_is_used() {
    let pipeline = read_with(GOOD, &overrides(&[("epochs", "7")], None)).unwrap();
    assert_eq!(op_action(&pipeline, "train").param_locations["epochs"], Location { line: 16, column: 15 });
}

/// The pipeline with these lines of vars and this `with` of `train`.
fn trained(vars: &str, with: &str) -> serde_json::Value {
    let text = GOOD
        .replace("  epochs: 5\n", &format!("  epochs: 5\n{vars}"))
        .replace("      epochs: ${vars.epochs}\n", &format!("      epochs: 1\n{with}"));
    match read(&text) {
        Ok(pipeline) => op_action(&pipeline, "train").params,
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn vars_keep_their_kind_and_refer_to_earlier_ones() {
    let params = trained(
        "  width: 16\n  conv: { out: '${vars.width}' }\n  net:\n    layers:\n      - conv: ${vars.conv}\n",
        "      network: ${vars.net}\n",
    );
    assert_eq!(params["network"], json!({ "layers": [{ "conv": { "out": 16 } }] }));
}

#[test]
fn vars_within_texts_are_formatted_and_escapes_are_not_vars() {
    let params = trained(
        "  a: 1\n  b: 0.5\n  c: true\n  d: { e: x }\n",
        "      tags: ['${vars.a}-${vars.b}-${vars.c}-${vars.d.e}', '$${vars.a} $ {x} $HOME']\n",
    );
    assert_eq!(params["tags"], json!(["1-0.5-true-x", "${vars.a} $ {x} $HOME"]));
}

#[test]
fn set_and_profiles_reach_into_maps() {
    let text = GOOD
        .replace("  epochs: 5\n", "  epochs: 5\n  opt: { lr: 0.1, x: 1 }\n")
        .replace("demo: {", "demo: { opt.lr: 0.3,")
        .replace("      epochs: ${vars.epochs}\n", "      lr: ${vars.opt.lr}\n");
    let lr = |set: &[(&str, &str)], profile| {
        op_action(&read_with(&text, &overrides(set, profile)).unwrap(), "train").params["lr"].clone()
    };
    assert_eq!(lr(&[], None), 0.1);
    assert_eq!(lr(&[], Some("demo")), 0.3);
    assert_eq!(lr(&[("opt.lr", "0.2")], None), 0.2);
}

#[test]
fn commands_keep_what_is_theirs() {
    let text = GOOD
        .replace("gzip -c ${inputs.weights}", "echo ${vars.epochs} $${HOME} $HOME | cat - ${inputs.weights}");
    let pipeline = read(&text).unwrap();
    let Action::Command(package) = &pipeline.stages[&stage_name("package")].action else { panic!() };
    let expected = "echo 5 $${HOME} $HOME | cat - ${inputs.weights} > ${outputs.bundle}";
    assert_eq!(package.command, CommandLine::Shell(expected.into()));
}

#[test]
fn a_command_as_a_list_with_environment_and_resources() {
    let text = "\
version: 1
name: 1
stages:
  a:
    description: says ${vars.word}
    run: [echo, '${vars.word}', 3, '${outputs.o}']
    outputs: { o: out }
    env: { N: 1, W: '${vars.word}' }
    resources: { cpus: 3, memory: 1.5 GB, gpus: 2, mutexes: [port, db], exclusive: true }
    timeout: 10 min
    retries: { times: 3, backoff: 0.5 }
vars: { word: 'it ${inputs.x}' }
";
    let text = text.replace("it ${inputs.x}", "it $${inputs.x}");
    let pipeline = read(&text).unwrap();
    let stage = &pipeline.stages[&stage_name("a")];
    assert_eq!(stage.description.as_deref(), Some("says it ${inputs.x}"));
    let Action::Command(action) = &stage.action else { panic!() };
    let args = ["echo", "it $${inputs.x}", "3", "${outputs.o}"].map(String::from).to_vec();
    assert_eq!(action.command, CommandLine::Args(args));
    assert_eq!(action.env["N"], "1");
    assert_eq!(action.env["W"], "it ${inputs.x}");
    let resources = Resources {
        cpus: Cpus::Count(3),
        memory: 3 << 29,
        gpus: 2,
        mutexes: ["db".into(), "port".into()].into(),
        exclusive: true,
    };
    assert_eq!(stage.resources, resources);
    assert_eq!(stage.timeout, Some(Duration::from_secs(600)));
    assert_eq!(stage.retries, Retries { times: 3, backoff: Duration::from_millis(500) });
    assert_eq!(pipeline.name, "1");
}

#[test]
fn inputs_may_be_files_and_extra() {
    let text = "\
version: 1
name: x
stages:
  e:
    uses: torch/evaluate
    inputs: { dataset: ./Cargo.toml, int8: src, other: d.dataset }
  d:
    uses: data/download
    with: { source: 'https://example.org/x.tar.gz', format: cifar10-binary }
";
    let pipeline = read(text).unwrap();
    let stage = &pipeline.stages[&stage_name("e")];
    assert_eq!(stage.inputs["dataset"], Input::Path(pipeline.root.join("Cargo.toml")));
    assert_eq!(stage.inputs["int8"], Input::Path(pipeline.root.join("src")));
    assert_eq!(stage.scope, KeyScope::Hardware);
    assert!(op_action(&pipeline, "d").sources.is_empty());
    assert_eq!(op_action(&pipeline, "d").params["source"], "https://example.org/x.tar.gz");
}

#[test]
fn anchors_and_merges_work() {
    let text = GOOD
        .replace(
            "with: { source: Cargo.toml, format: image-folder }",
            "with: &w { source: Cargo.toml, format: image-folder }",
        )
        .replace(
            "  package:",
            "  again:\n    uses: data/download\n    with: { <<: *w, format: cifar10-binary }\n  package:",
        );
    let pipeline = read(&text).unwrap();
    assert_eq!(op_action(&pipeline, "again").params["format"], "cifar10-binary");
}
