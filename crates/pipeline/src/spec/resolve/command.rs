//! A command: its text or list, the outputs it declares, its params, its environment.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::super::parse::ParsedStage;
use super::super::suggest::did_you_mean_or_list;
use super::super::tree::{Data, Node, Problem, shortened};
use super::super::vars::Also;
use super::super::{CommandAction, CommandLine, Input};
use super::Resolver;
use super::params::{location_in_file, sorted};
use super::stage::check_file;
use crate::name::is_name;

impl Resolver<'_> {
    /// What the command writes: file by output name. None where something is wrong.
    pub(super) fn command_outputs(&mut self, stage: &ParsedStage) -> Option<BTreeMap<String, String>> {
        let mut outputs = BTreeMap::new();
        let Some(node) = stage.get("outputs").map(|node| self.fill(node, Also::Nothing)) else {
            return Some(outputs);
        };
        let entries = match &node.data {
            Data::Map(entries) => entries,
            Data::Null => return Some(outputs),
            Data::Broken => return None,
            _ => {
                let message = format!("`outputs` is a map of names to file names, not {}", node.describe());
                self.tell(Problem::at(&node, message));
                return None;
            }
        };
        let before = self.problems.len();
        let mut written: BTreeMap<&str, &str> = BTreeMap::new();
        for (key, value) in entries {
            if !is_name(&key.name) {
                self.tell(wrong_name(&key.name, "an output", key.span));
            }
            match &value.data {
                Data::Broken => return None,
                Data::Text(file) => match check_file(file) {
                    Ok(()) => {
                        if let Some(other) = written.insert(file, &key.name) {
                            let message = format!("`{file}` is output `{other}` already");
                            self.tell(Problem::at(value, message).help("give each output a file of its own"));
                        }
                        outputs.insert(key.name.clone(), file.clone());
                    }
                    Err(reason) => {
                        let help =
                            "outputs are written to `artifacts/STAGE/`; use `${outputs.NAME}` for the path";
                        self.tell(Problem::at(value, reason).help(help));
                    }
                },
                _ => {
                    let message = format!("output `{}` is a file name, not {}", key.name, value.describe());
                    self.tell(Problem::at(value, message));
                }
            }
        }
        (self.problems.len() == before).then_some(outputs)
    }

    /// The command with its environment.
    pub(super) fn command(
        &mut self,
        run: &Node,
        stage: &ParsedStage,
        inputs: &BTreeMap<String, Input>,
    ) -> Option<CommandAction> {
        let run = &*self.fill(run, Also::Command);
        let command = match &run.data {
            Data::Broken => return None,
            Data::Text(text) if text.trim().is_empty() => {
                self.tell(Problem::at(run, "the command is empty"));
                return None;
            }
            Data::Text(text) => CommandLine::Shell(text.clone()),
            Data::List(items) => {
                let mut args = Vec::with_capacity(items.len());
                for item in items {
                    match item.scalar_text() {
                        Some(text) => args.push(text),
                        None if item.is_broken() => return None,
                        None => {
                            let message = format!("an argument is a text, not {}", item.describe());
                            self.tell(Problem::at(item, message));
                            return None;
                        }
                    }
                }
                if args.first().is_none_or(String::is_empty) {
                    self.tell(Problem::at(run, "the command is empty"));
                    return None;
                }
                CommandLine::Args(args)
            }
            _ => {
                let message =
                    format!("`run` is a text or a list of program and arguments, not {}", run.describe());
                self.tell(Problem::at(run, message));
                return None;
            }
        };
        let params = self.command_params(stage);
        self.check_references(run, &stage.name.name, stage.get("inputs"), inputs, params.as_deref());
        let params = params?;
        let entries = params.entries().unwrap_or_default();
        let locations =
            entries.iter().filter_map(|(key, node)| Some((key.name.clone(), location_in_file(node)?)));
        Some(CommandAction {
            command,
            param_locations: locations.collect(),
            params: sorted(&params.to_json()),
            env: self.env(stage),
        })
    }

    /// The command's params, a map. None where something is wrong with them.
    fn command_params<'n>(&mut self, stage: &'n ParsedStage) -> Option<Cow<'n, Node>> {
        let absent = || Cow::Owned(Node::new(stage.name.span, Data::Map(Vec::new())));
        let Some(node) = stage.get("params").map(|node| self.fill(node, Also::Nothing)) else {
            return Some(absent());
        };
        let entries = match &node.data {
            Data::Map(entries) => entries,
            Data::Null => return Some(absent()),
            Data::Broken => return None,
            _ => {
                let message = format!("`params` is a map of names to values, not {}", node.describe());
                self.tell(Problem::at(&node, message));
                return None;
            }
        };
        for (key, _) in entries.iter().filter(|(key, _)| !is_name(&key.name)) {
            self.tell(wrong_name(&key.name, "a param", key.span));
        }
        Some(node)
    }

    /// Tells of every `${inputs.x}`, `${outputs.x}` and `${params.x}` that is not declared. Params that are wrong are
    /// absent, and nothing is said of them.
    fn check_references(
        &mut self,
        run: &Node,
        stage: &str,
        declared: Option<&Node>,
        inputs: &BTreeMap<String, Input>,
        params: Option<&Node>,
    ) {
        // An input that is declared but wrong has been told.
        let declared = declared.and_then(Node::entries).unwrap_or_default();
        let inputs: BTreeSet<&str> =
            inputs.keys().chain(declared.iter().map(|(key, _)| &key.name)).map(String::as_str).collect();
        let outputs = self.outlines.get(stage).and_then(|outline| outline.outputs.as_ref());
        let outputs: Option<BTreeSet<&str>> =
            outputs.map(|outputs| outputs.keys().map(String::as_str).collect());
        let texts: Vec<&Node> = run.items().map_or_else(|| vec![run], |items| items.iter().collect());
        for node in texts {
            for reference in references(node.text().unwrap_or_default()) {
                let (kind, name, known) = match reference.split_once('.') {
                    Some(("params", path)) => {
                        let wrong = params.and_then(|params| wrong_param(stage, params, path));
                        self.problems.extend(wrong.map(|(message, help)| {
                            let span = self.sources.find(node.span, &format!("${{{reference}}}"));
                            Problem::new(span, message).help(help)
                        }));
                        continue;
                    }
                    Some(("inputs", name)) => ("input", name, Some(&inputs)),
                    Some((_, name)) => ("output", name, outputs.as_ref()),
                    None => continue,
                };
                let Some(known) = known.filter(|known| !known.contains(name)) else { continue };
                let span = self.sources.find(node.span, &format!("${{{reference}}}"));
                let help = did_you_mean_or_list(name, &format!("{kind}s are"), known.iter().copied());
                let message = format!("stage `{stage}` declares no {kind} `{}`", shortened(name));
                self.problems.push(Problem::new(span, message).help(help));
            }
        }
    }

    fn env(&mut self, stage: &ParsedStage) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let Some(node) = stage.get("env").map(|node| self.fill(node, Also::Nothing)) else { return env };
        let entries = match &node.data {
            Data::Map(entries) => entries,
            Data::Null | Data::Broken => return env,
            _ => {
                self.tell(Problem::at(
                    &node,
                    format!("`env` is a map of names to values, not {}", node.describe()),
                ));
                return env;
            }
        };
        for (key, value) in entries {
            if !is_variable(&key.name) {
                self.tell(wrong_variable(&key.name, key.span));
            }
            match value.scalar_text() {
                Some(text) if text.contains('\0') => {
                    self.tell(Problem::at(value, "an environment variable cannot hold a NUL character"));
                }
                Some(text) => {
                    env.insert(key.name.clone(), text);
                }
                None if value.is_broken() => {}
                None => {
                    let message = format!("`{}` is a text, not {}", shortened(&key.name), value.describe());
                    self.tell(Problem::at(value, message));
                }
            }
        }
        env
    }
}

/// Whether a text can name an environment variable.
pub(super) fn is_variable(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// A text that cannot name an environment variable.
pub(super) fn wrong_variable(name: &str, span: super::Span) -> Problem {
    Problem::new(span, format!("`{}` is not a name for a variable", shortened(name)))
        .help("use letters, digits and `_`")
}

/// What is wrong with `${params.PATH}`, and what to do about it.
fn wrong_param(stage: &str, params: &Node, path: &str) -> Option<(String, String)> {
    let mut at = params;
    let mut before = None;
    for part in path.split('.') {
        let Some(next) = at.get(part) else {
            let known = at.entries().unwrap_or_default().iter().map(|(key, _)| key.name.as_str());
            return Some(match before {
                None => (
                    format!("stage `{stage}` declares no param `{}`", shortened(part)),
                    did_you_mean_or_list(part, "params are", known),
                ),
                Some(before) => (
                    format!("param `{before}` of stage `{stage}` holds no `{}`", shortened(part)),
                    did_you_mean_or_list(part, "it holds", known),
                ),
            });
        };
        (at, before) = (next, Some(part));
    }
    let message = format!("param `{}` is {} and cannot stand in a command", shortened(path), at.describe());
    let help = "texts, numbers, true and false can; dots reach into maps: `${params.MAP.KEY}`";
    (at.scalar_text().is_none() && !at.is_broken()).then(|| (message, help.into()))
}

/// What stands in `${…}` of a text in which `$${` is no reference.
fn references(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let after = from.get(2..).unwrap_or_default();
        match after.split_once('}').filter(|_| !before.ends_with('$')) {
            Some((name, after)) => {
                found.push(name);
                rest = after;
            }
            None => rest = after,
        }
    }
    found
}

/// A name of an input or output that cannot be one.
pub(super) fn wrong_name(name: &str, what: &str, span: super::Span) -> Problem {
    Problem::new(span, format!("`{}` is not a name for {what}", shortened(name)))
        .help("use letters, digits, `_` and `-`, starting with a letter")
}
