//! What this repository ships is right: pipeline.yaml, the pipelines in docs/, and the JSON Schema beside them.
//! The ops are those of the committed schema, which a test with the real plugins keeps current.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::StageName;
use crate::spec::schema::OUTPUTS_KEYWORD;
use crate::spec::{keys, schema};

const PIPELINE: &str = include_str!("../../../../../pipeline.yaml");
const REFERENCE: &str = include_str!("../../../../../docs/pipeline.md");
const SCHEMA: &str = include_str!("../../../../../docs/pipeline.schema.json");

/// The ops that the committed schema describes.
struct Committed(Value);

impl Committed {
    fn new() -> Self {
        Self(serde_json::from_str(SCHEMA).unwrap())
    }
}

impl Manifests for Committed {
    fn manifest(&self, plugin: &str) -> Result<Arc<Manifest>, Unusable> {
        let definitions = &self.0["$defs"];
        let rules = definitions["stage"]["allOf"].as_array().unwrap();
        let ops: BTreeMap<String, OpManifest> = rules
            .iter()
            .filter_map(|rule| {
                let name = rule["if"]["properties"]["uses"]["const"].as_str()?;
                let (_, op_name) = name.split_once('/').filter(|(owner, _)| *owner == plugin)?;
                let mut params = definitions[name.replace('/', ".")].clone();
                params["$defs"] = definitions.clone();
                let outputs: Vec<(String, String)> =
                    serde_json::from_value::<BTreeMap<String, String>>(params[OUTPUTS_KEYWORD].clone())
                        .ok()?
                        .into_iter()
                        .collect();
                let outputs: Vec<(&str, &str)> =
                    outputs.iter().map(|(name, file)| (name.as_str(), file.as_str())).collect();
                let inputs = &rule["then"]["properties"]["inputs"];
                let needed = inputs["required"].as_array()?;
                let inputs_of_op: Vec<(&str, bool)> = inputs["properties"]
                    .as_object()?
                    .keys()
                    .map(|name| (name.as_str(), !needed.contains(&json!(name))))
                    .collect();
                let mut spec = op(params, &inputs_of_op, &outputs);
                if inputs["additionalProperties"].is_object() {
                    spec.extra_inputs = Some(InputSpec { description: "a variant".into(), optional: true });
                }
                Some((op_name.to_owned(), spec))
            })
            .collect();
        if ops.is_empty() {
            return Err(Unusable { message: format!("there is no plugin `{plugin}`"), help: None });
        }
        Ok(Arc::new(Manifest {
            protocol: 1,
            plugin: plugin.into(),
            version: "0".into(),
            ops,
            natives: [].into(),
            env: vec![],
        }))
    }
}

fn resolved(text: &str, overrides: &Overrides) -> Result<Pipeline, String> {
    parse_text(text, "pipeline.yaml", pipeline_file())
        .and_then(|parsed| resolve(parsed, overrides, &Committed::new()))
        .map_err(|problems| problems.to_string())
}

/// The fenced YAML blocks of a page.
fn examples(page: &str) -> Vec<&str> {
    page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn params(pipeline: &Pipeline, stage: &str) -> Value {
    let name = StageName::try_from(stage.to_owned()).unwrap();
    match &pipeline.stages[&name].action {
        crate::spec::Action::Op(action) => action.params.clone(),
        crate::spec::Action::Command(_) => panic!("{stage} is a command"),
    }
}

#[test]
fn the_pipeline_is_right_by_itself_and_as_a_demo() {
    for (profile, epochs) in [(None, 75), (Some("demo"), 6)] {
        let pipeline =
            resolved(PIPELINE, &overrides(&[], profile)).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(params(&pipeline, "train")["epochs"], epochs);
        let graph = pipeline.graph().unwrap();
        assert_eq!(graph.order().first().map(|id| pipeline[*id].name.as_str()), Some("download"));
        assert_eq!(pipeline.gates.len(), 4);
        assert_eq!(pipeline.report.rows.len(), 4);
    }
}

#[test]
fn another_source_comes_without_the_official_checksum() {
    let official = resolved(PIPELINE, &Overrides::default()).unwrap();
    let source = params(&official, "download")["source"].as_str().unwrap().to_owned();
    snapshots::assert_message!(source);
    let set = [("source", "Cargo.toml"), ("format", "image-folder"), ("epochs", "2")];
    let local = resolved(PIPELINE, &overrides(&set, None)).unwrap();
    let download = params(&local, "download");
    assert_eq!(download["source"], json!(official.root.join("Cargo.toml")));
    assert_eq!(download["md5"], Value::Null);
}

#[test]
fn every_example_is_right() {
    let examples = examples(REFERENCE);
    assert!(examples.len() >= 6);
    for example in examples {
        if let Err(problems) = resolved(example, &Overrides::default()) {
            panic!("{example}\n{problems}");
        }
    }
    let large = examples_with("profiles:");
    let pipeline = resolved(large, &overrides(&[("seed", "8"), ("set.test", "100")], Some("large"))).unwrap();
    assert_eq!(params(&pipeline, "download")["synthetic"], json!({ "test": 100, "train": 50_000 }));
}

/// Pages beside the reference that show whole pipelines.
const PAGES: &[(&str, &str)] = &[
    ("tutorial.md", include_str!("../../../../../docs/tutorial.md")),
    ("from-a-notebook.md", include_str!("../../../../../docs/from-a-notebook.md")),
    ("from-dvc.md", include_str!("../../../../../docs/from-dvc.md")),
    ("howto/gates-in-ci.md", include_str!("../../../../../docs/howto/gates-in-ci.md")),
    ("howto/gpu.md", include_str!("../../../../../docs/howto/gpu.md")),
    ("howto/own-stage.md", include_str!("../../../../../docs/howto/own-stage.md")),
    ("howto/sweep.md", include_str!("../../../../../docs/howto/sweep.md")),
];

#[test]
fn pipelines_on_other_pages_are_right() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("images")).unwrap();
    for (name, page) in PAGES {
        let pipelines: Vec<&str> =
            examples(page).into_iter().filter(|example| example.contains("version: 1\n")).collect();
        assert!(!pipelines.is_empty(), "{name}");
        for text in pipelines {
            let words = text.split([' ', ',', '\n']).filter(|word| word.starts_with("./"));
            for file in words {
                std::fs::write(folder.path().join(file), "").unwrap();
            }
            let resolved = parse_text(text, name, folder.path().join("pipeline.yaml"))
                .and_then(|parsed| resolve(parsed, &Overrides::default(), &Committed::new()));
            if let Err(problems) = resolved {
                panic!("{name}: {text}\n{problems}");
            }
        }
    }
}

fn examples_with(part: &str) -> &'static str {
    examples(REFERENCE).into_iter().find(|example| example.contains(part)).unwrap()
}

#[test]
fn every_key_is_documented() {
    let tables = [keys::FILE, keys::STAGE, keys::RESOURCES, keys::REPORT, keys::COLUMN];
    for key in tables.into_iter().flatten() {
        let row = REFERENCE.lines().find(|line| line.starts_with(&format!("| `{}` |", key.name)));
        let row = row.unwrap_or_else(|| panic!("docs/pipeline.md lacks a row for `{}`", key.name));
        assert!(!key.required || row.contains("required"), "{row}");
    }
    for key in keys::RETRIES {
        assert!(REFERENCE.contains(&format!(" {}: ", key.name)), "{}", key.name);
    }
}

#[test]
fn what_resolves_also_satisfies_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::draft202012::options().offline().build(&schema).unwrap();
    for text in examples(REFERENCE).into_iter().chain([PIPELINE]) {
        let document = crate::spec::yaml::read(text, 0, 0).unwrap().to_json();
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(errors, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn the_schema_refuses_what_is_wrong() {
    let manifests = ["data", "torch"].map(|name| (name.to_owned(), Fakes.manifest(name).unwrap()));
    let schema = schema(&BTreeMap::from(manifests));
    let validator = jsonschema::draft202012::options().offline().build(&schema).unwrap();
    let is_valid = |text: &str| validator.is_valid(&crate::spec::yaml::read(text, 0, 0).unwrap().to_json());
    assert!(is_valid(GOOD));
    for (from, to) in [
        ("label_smoothing:", "lable_smoothing:"),
        ("${vars.epochs}", "many"),
        ("${vars.epochs}", "0"),
        ("epochs: ${vars.epochs}", "network: { layers: [ { conb: { out: 3 } } ] }"),
        ("uses: torch/train", "use: torch/train"),
        ("    uses: torch/train\n", "    uses: torch/train\n    run: ls\n"),
        ("dataset: download", "dataste: download"),
        ("source: Cargo.toml, ", ""),
        ("name: tiny\n", ""),
        ("version: 1", "version: 2"),
        ("report:", "reports:"),
        ("label: accuracy, ", ""),
    ] {
        assert!(!is_valid(&GOOD.replacen(from, to, 1)), "{from} → {to}");
    }
    // An op of a plugin that the schema does not know is not a mistake.
    assert!(is_valid(&GOOD.replace("uses: torch/train", "uses: mine/train")));
}
