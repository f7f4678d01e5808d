//! What a pipeline said when it was run, as far as a page tells of it: what its result table shows, and what its stages did
//! with which parameters and inputs. Kept with each run, because the pipeline goes on to say something else. Knows no
//! places in files, no absolute paths, no plugins and no secrets.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use pipeline::StageName;
use pipeline::digest::Digest;
use pipeline::spec::{Action, CommandLine, Input, Pipeline, ReportSpec, Stage};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use text::secret::hidden_in;

use crate::{ActionRecord, RunRecord};

/// A pipeline as a run found it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// What the result table shows.
    #[serde(default)]
    pub report: ReportSpec,
    /// Its gates as written, also those that the run did not check because not all of their stages were part of it.
    #[serde(default)]
    pub gates: Vec<String>,
    /// All stages, also those that were no part of the run, in the order of the file.
    #[serde(default)]
    pub stages: IndexMap<StageName, StageDefinition>,
}

/// A stage as a run found it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageDefinition {
    /// What it does: `plugin/op`, or its command as written.
    pub action: String,
    /// Whether that is a command.
    pub is_command: bool,
    /// What it is for, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Params, with defaults filled in and vars put in.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub params: IndexMap<String, Param>,
    /// Declared environment variables of a command.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Inputs by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Source>,
}

/// The value of a param.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// The value.
    pub value: Value,
    /// Whether the op's default filled it in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_default: bool,
}

/// Where an input came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Another stage's output.
    Output {
        /// The stage.
        stage: StageName,
        /// Its output.
        output: String,
    },
    /// A file or folder. The name alone: where it lies on a machine is nobody's business.
    Path {
        /// Its name.
        name: String,
    },
    /// Not known; only what was in it.
    Content {
        /// Digest of that.
        digest: String,
    },
}

impl Definition {
    /// What a pipeline says, without what is secret in URLs.
    #[must_use]
    pub fn of(pipeline: &Pipeline) -> Self {
        let stages = pipeline.stages.iter();
        hidden_in(Self {
            report: pipeline.report.clone(),
            gates: pipeline.gates.iter().map(|gate| gate.expression.clone()).collect(),
            stages: stages.map(|(name, stage)| (name.clone(), StageDefinition::of(stage))).collect(),
        })
    }

    /// What the records of a run's stages tell of a pipeline of which nothing else is known: what was executed with which
    /// parameters, but neither what the result table showed nor where inputs came from.
    #[must_use]
    pub fn of_records(run: &RunRecord, records: &BTreeMap<StageName, ActionRecord>) -> Self {
        let known = |name: &StageName| records.get(name).map(StageDefinition::of_record).unwrap_or_default();
        let stages = run.stages.iter().map(|stage| (stage.stage.clone(), known(&stage.stage)));
        Self { stages: stages.collect(), ..Self::default() }
    }

    /// As it is kept, with the digest that it is found by: equal ones have equal bytes.
    ///
    /// # Errors
    /// When a value cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<(Digest, Vec<u8>), serde_json::Error> {
        let bytes = serde_json::to_vec(self)?;
        Ok((Digest::of_bytes(&bytes), bytes))
    }
}

impl StageDefinition {
    fn of(stage: &Stage) -> Self {
        let (params, is_given, env): (_, &dyn Fn(&str) -> bool, _) = match &stage.action {
            Action::Op(op) => (&op.params, &|name| op.param_locations.contains_key(name), BTreeMap::new()),
            Action::Command(command) => (&command.params, &|_| true, command.env.clone()),
        };
        let params =
            params.as_object().into_iter().flatten().map(|(name, value)| {
                (name.clone(), Param { value: value.clone(), is_default: !is_given(name) })
            });
        let inputs = stage.inputs.iter().map(|(name, input)| {
            let source = match input {
                Input::Output { stage, output } => {
                    Source::Output { stage: stage.clone(), output: output.clone() }
                }
                Input::Path(path) => {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    Source::Path { name }
                }
            };
            (name.clone(), source)
        });
        Self {
            action: action(stage),
            is_command: matches!(stage.action, Action::Command(_)),
            description: stage.description.clone(),
            params: params.collect(),
            env,
            inputs: inputs.collect(),
        }
    }

    /// What a key tells of its stage.
    fn of_record(record: &ActionRecord) -> Self {
        let mut known = Self::default();
        for ingredient in &record.ingredients {
            let (name, text) = (ingredient.name.as_str(), &ingredient.value);
            let value = || serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()));
            match name.split_once('.') {
                None if name == "op" => known.action.clone_from(text),
                None if name == "run" => (known.action, known.is_command) = (text.clone(), true),
                Some(("run", "args")) => {
                    let args: Vec<String> = serde_json::from_str(text).unwrap_or_default();
                    (known.action, known.is_command) = (args.join(" "), true);
                }
                Some(("with" | "params", param)) => {
                    known.params.insert(param.to_owned(), Param { value: value(), is_default: false });
                }
                Some(("env", variable)) => drop(known.env.insert(variable.to_owned(), text.clone())),
                Some(("inputs", input)) => {
                    known.inputs.insert(input.to_owned(), Source::Content { digest: text.clone() });
                }
                _ => {}
            }
        }
        known
    }
}

/// What a stage does: `plugin/op`, or its command.
#[must_use]
pub fn action(stage: &Stage) -> String {
    match &stage.action {
        Action::Op(op) => format!("{}/{}", op.plugin, op.op),
        Action::Command(command) => match &command.command {
            CommandLine::Shell(text) => text.clone(),
            CommandLine::Args(args) => args.join(" "),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sample;

    #[test]
    fn a_definition_is_read_as_it_was_written_and_one_of_fewer_fields_too() {
        let definition = Definition::of(&sample::tinynet().pipeline);
        let (digest, bytes) = definition.to_bytes().unwrap();
        assert_eq!(serde_json::from_slice::<Definition>(&bytes).unwrap(), definition);
        assert_eq!(digest, Digest::of_bytes(&bytes));
        let few: Definition =
            serde_json::from_value(json!({ "report": {}, "stages": { "a": { "action": "x/y" } } })).unwrap();
        assert_eq!(few.stages[0].action, "x/y");
    }

    #[test]
    fn what_is_secret_in_a_url_is_not_kept() {
        let mut pipeline = sample::tinynet().pipeline;
        let Some(Action::Op(op)) = pipeline.stages.first_mut().map(|(_, stage)| &mut stage.action) else {
            panic!()
        };
        op.params = json!({ "deep": [{ "url": "https://me:hunter2@h/x?sig=abc#md5=1" }] });
        let definition = Definition::of(&pipeline);
        assert_eq!(
            definition.stages[0].params["deep"].value,
            json!([{ "url": "https://***@h/x?***#md5=1" }])
        );
    }

    #[test]
    fn params_say_whether_they_were_written_down_and_inputs_where_they_came_from() {
        let definition = Definition::of(&sample::tinynet().pipeline);
        let train = &definition.stages[&sample::name("train")];
        assert_eq!((train.action.as_str(), train.is_command), ("torch/train", false));
        assert_eq!(train.params["seed"], Param { value: json!(42), is_default: false });
        assert_eq!(train.params["lr"], Param { value: json!(0.05), is_default: true });
        let source = Source::Output { stage: sample::name("download"), output: "dataset".into() };
        assert_eq!(train.inputs["download_dataset"], source);
    }

    #[test]
    fn of_a_run_without_one_its_keys_tell_the_parameters() {
        let sample = sample::tinynet();
        let mut record = sample.records[&sample::name("train")].clone();
        let ingredient =
            |name: &str, value: &str| crate::Ingredient { name: name.into(), value: value.into() };
        record.ingredients = vec![
            ingredient("op", "torch/train"),
            ingredient("with.epochs", "6"),
            ingredient("with.network.name", "\"tiny\""),
            ingredient("inputs.dataset", "abc"),
        ];
        let known = StageDefinition::of_record(&record);
        assert_eq!(known.action, "torch/train");
        assert_eq!(known.params["epochs"].value, json!(6));
        assert_eq!(known.params["network.name"].value, json!("tiny"));
        assert_eq!(known.inputs["dataset"], Source::Content { digest: "abc".into() });
        record.ingredients = vec![ingredient("run.args", r#"["cp","a","b"]"#), ingredient("env.HOME", "/x")];
        let known = StageDefinition::of_record(&record);
        assert_eq!((known.action.as_str(), known.is_command), ("cp a b", true));
        assert_eq!(known.env["HOME"], "/x");
    }
}
