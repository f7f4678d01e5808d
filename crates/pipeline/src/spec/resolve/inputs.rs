//! What a stage reads: outputs of other stages, and files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use protocol::OpManifest;

use super::super::Input;
use super::super::parse::ParsedStage;
use super::super::suggest::{did_you_mean, did_you_mean_or_list};
use super::super::tree::{Data, Node, Problem, shortened};
use super::super::vars::Also;
use super::command::wrong_name;
use super::{Read, Resolver};
use crate::StageName;
use crate::name::{Selector, is_name, split_reference};

impl Resolver<'_> {
    /// The inputs of a stage that are right. `op` is absent for a command, which may read anything.
    pub(super) fn inputs(
        &mut self,
        stage: &StageName,
        parsed: &ParsedStage,
        op: Option<&OpManifest>,
    ) -> BTreeMap<String, Input> {
        let mut inputs = BTreeMap::new();
        let node = parsed.get("inputs").map(|node| self.fill(node, Also::Nothing));
        let empty = Vec::new();
        let entries = match node.as_ref().map(|node| (node, &node.data)) {
            Some((_, Data::Map(entries))) => entries,
            None | Some((_, Data::Null)) => &empty,
            Some((_, Data::Broken)) => return inputs,
            Some((node, _)) => {
                let message =
                    format!("`inputs` is a map of names to `STAGE.OUTPUT` or paths, not {}", node.describe());
                self.tell(Problem::at(node, message));
                return inputs;
            }
        };
        for (key, value) in entries {
            if !is_name(&key.name) {
                self.tell(wrong_name(&key.name, "an input", key.span));
            }
            if let Some(op) = op.filter(|op| op.extra_inputs.is_none() && !op.inputs.contains_key(&key.name))
            {
                let what = self.outlines.get(stage.family()).map_or("", |outline| &outline.what);
                let help = did_you_mean_or_list(&key.name, "it reads", op.inputs.keys().map(String::as_str));
                let label = format!("{what} reads no such input");
                let message = format!("unknown input `{}`", shortened(&key.name));
                self.tell(Problem::new(key.span, message).label(label).help(help));
                continue;
            }
            if let Some(input) = self.input(stage, value) {
                inputs.insert(key.name.clone(), input);
            }
        }
        let missing = op
            .into_iter()
            .flat_map(|op| &op.inputs)
            .filter(|(name, input)| !input.optional && !entries.iter().any(|(key, _)| key.name == **name));
        for (name, input) in missing {
            let message = format!("stage `{stage}` lacks its input `{name}`");
            let sources = self.producers_of(name, stage);
            let help = match sources.as_slice() {
                [] => format!("it is: {}", input.description),
                some => format!("it is: {}; perhaps `{name}: {}`", input.description, some.join("` or `")),
            };
            let span = parsed.entry("inputs").map_or(parsed.name.span, |(key, _)| key.span);
            self.tell(Problem::new(span, message).help(help));
        }
        inputs
    }

    /// `STAGE.OUTPUT` of every other stage that produces something of this name.
    fn producers_of(&self, output: &str, reader: &StageName) -> Vec<String> {
        self.outlines
            .iter()
            .filter(|(stage, outline)| {
                stage.as_str() != reader.family()
                    && outline.outputs.as_ref().is_some_and(|outputs| outputs.contains_key(output))
            })
            .map(|(stage, _)| format!("{stage}.{output}"))
            .collect()
    }

    fn input(&mut self, reader: &StageName, node: &Node) -> Option<Input> {
        let text = match &node.data {
            Data::Text(text) if !text.is_empty() => text,
            Data::Broken => return None,
            _ => {
                let message = format!("an input is `STAGE.OUTPUT` or a path, not {}", node.describe());
                self.tell(Problem::at(node, message));
                return None;
            }
        };
        let reference = split_reference(text)
            .map(|(stage, output)| (Selector::new(stage), output))
            .filter(|(selector, _)| self.outlines.contains_key(selector.family()));
        match reference {
            Some((selector, output)) => self.output(reader, selector, output, node),
            None => self.path(text, node).map(Input::Path),
        }
    }

    fn output(
        &mut self,
        reader: &StageName,
        selector: Selector<'_>,
        output: &str,
        node: &Node,
    ) -> Option<Input> {
        let stage = selector.family();
        let producer = match self.producer(selector) {
            Ok(producer) => producer?,
            Err((message, help)) => {
                self.tell(Problem::at(node, message).help(help));
                return None;
            }
        };
        self.reads.push(Read { reader: reader.clone(), producer: producer.clone(), span: node.span });
        let outline = self.outlines.get(stage)?;
        // What a broken stage produces is not known; that it is broken has been told.
        let outputs = outline.outputs.as_ref()?;
        if outputs.contains_key(output) {
            return Some(Input::Output { stage: producer, output: output.into() });
        }
        let message = format!(
            "stage `{reader}` reads `{stage}.{}`, which `{stage}` does not produce",
            shortened(output)
        );
        let names: Vec<&str> = outputs.keys().map(String::as_str).collect();
        let produced = if names.is_empty() { "nothing".into() } else { names.join(", ") };
        let help = format!("{} produces: {produced}", outline.what);
        let near = did_you_mean(output, names);
        let problem = Problem::at(node, message).help(help).maybe_help(near);
        self.tell(problem);
        None
    }

    /// An existing path, absolute.
    fn path(&mut self, text: &str, node: &Node) -> Option<PathBuf> {
        let path = self.absolute(text);
        let error = match path.try_exists() {
            Ok(true) => return Some(path),
            Ok(false) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            self.tell(Problem::at(node, format!("cannot look at `{}`: {error}", shortened(text))));
            return None;
        }
        let names: Vec<String> = self.stage_names().map(Into::into).collect();
        let names = names.iter().map(String::as_str);
        let problem = match text.split_once('.') {
            _ if self.outlines.contains_key(text) => {
                let outputs = self.outlines.get(text).and_then(|outline| outline.outputs.as_ref());
                let outputs: Vec<String> =
                    outputs.into_iter().flatten().map(|(output, _)| format!("`{text}.{output}`")).collect();
                let help = if outputs.is_empty() {
                    "an input is STAGE.OUTPUT".into()
                } else {
                    format!("write {}", outputs.join(" or "))
                };
                Problem::at(node, format!("`{text}` is a stage, not one of its outputs")).help(help)
            }
            Some((stage, output)) if is_name(stage) && is_name(output) => {
                let near = did_you_mean(stage, names.clone())
                    .unwrap_or_else(|| format!("stages are: {}", names.collect::<Vec<_>>().join(", ")));
                Problem::at(
                    node,
                    format!("there is neither a stage `{stage}` nor a file `{}`", shortened(text)),
                )
                .help(near)
            }
            _ => Problem::at(node, format!("there is no file or folder `{}`", shortened(text)))
                .help("relative paths start at the pipeline's folder"),
        };
        self.tell(problem);
        None
    }
}
