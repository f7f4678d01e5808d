//! One stage: what it does, what it writes, what it needs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use protocol::{KeyScope, Manifest, OpManifest};

use super::super::parse::{Parsed, ParsedStage};
use super::super::suggest::{did_you_mean, did_you_mean_or_list};
use super::super::tree::{Data, Node, Problem, shortened};
use super::super::vars::Also;
use super::super::{Action, OpAction, Stage, Written};
use super::fan_out::Choice;
use super::{Outline, Resolver, Unusable};
use crate::StageName;
use crate::name::is_name;

/// What a stage does, as far as its `uses` or `run` says.
enum Doing<'n> {
    Op {
        plugin: String,
        op: String,
        manifest: Arc<Manifest>,
        uses: Cow<'n, Node>,
    },
    Command(&'n Node),
    /// Not known; told already.
    Unclear,
}

impl Doing<'_> {
    fn op(&self) -> Option<&OpManifest> {
        match self {
            Self::Op { op, manifest, .. } => manifest.ops.get(op),
            _ => None,
        }
    }
}

impl Resolver<'_> {
    /// All stages that could be resolved.
    pub(super) fn stages(&mut self, parsed: &Parsed) -> IndexMap<StageName, Stage> {
        // First what every stage produces and how it is fanned out, so that inputs may name stages further down.
        let mut doings = Vec::with_capacity(parsed.stages.len());
        for stage in &parsed.stages {
            if self.has_given_up() {
                return IndexMap::new();
            }
            let doing = self.doing(stage);
            let (outputs, what) = match &doing {
                Doing::Op { plugin, op, .. } => (self.op_outputs(stage, &doing), format!("{plugin}/{op}")),
                Doing::Command(_) => (self.command_outputs(stage), "the command".into()),
                Doing::Unclear => (None, String::new()),
            };
            self.outlines.insert(stage.name.name.clone(), Outline { outputs, over: None, what });
            doings.push(doing);
        }
        let over = self.fan_out(parsed);
        for (outline, over) in self.outlines.values_mut().zip(&over) {
            outline.over.clone_from(over);
        }
        let mut stages = IndexMap::with_capacity(parsed.stages.len());
        for ((stage, doing), over) in parsed.stages.iter().zip(doings).zip(over) {
            let choices = over.map(|over| self.choices(&over)).unwrap_or_default();
            for choice in choices {
                if self.has_given_up() {
                    return stages;
                }
                self.choice = choice;
                let before = self.problems.len();
                stages.extend(self.stage(stage, &doing).map(|stage| (stage.name.clone(), stage)));
                if self.problems.len() > before {
                    // The other variants have the same mistake, or the next run tells theirs.
                    break;
                }
            }
            self.choice = Choice::default();
        }
        stages
    }

    fn doing<'n>(&mut self, stage: &'n ParsedStage) -> Doing<'n> {
        let given = |key: &str| stage.entry(key).filter(|(_, node)| node.data != Data::Null);
        match (given("uses"), given("run")) {
            (Some(_), Some((run, _))) => {
                let message = format!("stage `{}` has both `uses` and `run`", stage.name.name);
                self.tell(Problem::new(run.span, message).help("make two stages of it"));
                Doing::Unclear
            }
            (Some((_, uses)), None) => {
                let uses = self.fill(uses, Also::Nothing);
                self.find_op(uses)
            }
            (None, Some((_, run))) => Doing::Command(run),
            // A misspelt key has been told, and is likely the one that is missing.
            (None, None) if stage.has_unknown_keys() => Doing::Unclear,
            (None, None) => {
                let message = format!("stage `{}` has neither `uses` nor `run`", stage.name.name);
                let help = "`uses: PLUGIN/OP` runs an op of a plugin, `run: COMMAND` a command";
                self.tell(Problem::new(stage.name.span, message).help(help));
                Doing::Unclear
            }
        }
    }

    fn find_op<'n>(&mut self, uses: Cow<'n, Node>) -> Doing<'n> {
        if uses.is_broken() {
            return Doing::Unclear;
        }
        let parts = uses.text().and_then(|text| text.split_once('/'));
        let Some((plugin, op)) = parts.filter(|(plugin, op)| is_name(plugin) && is_name(op)) else {
            let message = format!("`uses` is PLUGIN/OP, such as `torch/train`, not {}", uses.describe());
            self.tell(Problem::at(&uses, message));
            return Doing::Unclear;
        };
        let manifest = match self.manifest(plugin) {
            Ok(manifest) => manifest,
            Err(Unusable { message, help }) => {
                let known = self.manifests.known();
                let others = known.iter().map(String::as_str).filter(|name| *name != plugin);
                let meant = did_you_mean(plugin, others);
                self.tell(Problem::at(&uses, message).maybe_help(meant).maybe_help(help));
                return Doing::Unclear;
            }
        };
        if !manifest.ops.contains_key(op) {
            let help = did_you_mean_or_list(op, "its ops are", manifest.ops.keys().map(String::as_str));
            self.tell(Problem::at(&uses, format!("plugin `{plugin}` has no op `{op}`")).help(help));
            return Doing::Unclear;
        }
        let (plugin, op) = (plugin.into(), op.into());
        Doing::Op { plugin, op, manifest, uses }
    }

    fn op_outputs(&mut self, stage: &ParsedStage, doing: &Doing<'_>) -> Option<BTreeMap<String, String>> {
        let Doing::Op { uses, .. } = doing else { return None };
        let outputs: BTreeMap<String, String> =
            doing.op()?.outputs.iter().map(|(name, output)| (name.clone(), output.file.clone())).collect();
        let mut problems = Vec::new();
        for (name, file) in &outputs {
            if let Err(reason) = check_file(file) {
                problems.push(Problem::at(uses, format!("the plugin's output `{name}` is wrong: {reason}")));
            }
        }
        problems.extend(duplicate_file(&outputs).map(|(first, second, file)| {
            Problem::at(
                uses,
                format!("the plugin's outputs `{first}` and `{second}` are both written to `{file}`"),
            )
        }));
        for key in ["outputs", "env", "params"] {
            if let Some((key, _)) = stage.entry(key) {
                let message = format!("`{}` belongs to a stage with `run`", key.name);
                let help = match key.name.as_str() {
                    "params" => "an op's params stand in `with`",
                    _ => "an op's outputs and environment are the plugin's business",
                };
                problems.push(Problem::new(key.span, message).help(help));
            }
        }
        self.problems.extend(problems);
        Some(outputs)
    }

    /// One stage in full, unless something is wrong with it.
    fn stage(&mut self, parsed: &ParsedStage, doing: &Doing<'_>) -> Option<Stage> {
        let before = self.problems.len();
        let family = match StageName::try_from(parsed.name.name.clone()) {
            Ok(name) if is_name(name.as_str()) => name,
            Ok(name) => {
                let message = format!("`{name}` is the name of a variant");
                self.tell(Problem::new(parsed.name.span, message).help("`matrix` makes variants of a stage"));
                return None;
            }
            Err(message) => {
                self.tell(Problem::new(parsed.name.span, message));
                return None;
            }
        };
        let (name, variant) = match self.variant(family.as_str(), &self.choice.of) {
            Ok(variant) => variant,
            Err(message) => {
                let span = parsed.entry("matrix").map_or(parsed.name.span, |(key, _)| key.span);
                self.tell(Problem::new(span, message).help("shorten the names of variables or the values"));
                return None;
            }
        };
        let description = self.text_of(parsed.get("description"), "description");
        let inputs = self.inputs(&name, parsed, doing.op());
        let mut written = Written { name: parsed.name.span, ..Written::default() };
        if let Some(node) = parsed.get("inputs").filter(|_| self.problems.len() == before) {
            written.inputs = Some(self.fill(node, Also::Nothing).into_owned());
        }
        let resources = self.resources(parsed, doing.op());
        let timeout = self.timeout(parsed);
        let retries = self.retries(parsed);
        let secrets = self.secrets(parsed);
        let action = match doing {
            Doing::Op { plugin, op, manifest, uses } => {
                let what = format!("{plugin}/{op}");
                let described = manifest.ops.get(op)?;
                let params = self.params(&what, described, parsed.get("with"), uses)?;
                let is_needed = described.checks || !params.sources.is_empty();
                written.with = is_needed.then_some(params.written);
                Action::Op(OpAction {
                    plugin: plugin.clone(),
                    op: op.clone(),
                    params: params.values,
                    param_locations: params.locations,
                    sources: params.sources,
                    filtered: params.filtered,
                    continues: described.continues.clone(),
                })
            }
            Doing::Command(run) => {
                if let Some((with, _)) = parsed.entry("with") {
                    let problem = Problem::new(with.span, "`with` belongs to a stage with `uses`");
                    self.tell(
                        problem.help("a command's own are `params`, which `${params.NAME}` puts into it"),
                    );
                }
                Action::Command(self.command(run, parsed, &inputs)?)
            }
            Doing::Unclear => return None,
        };
        let outputs = self.outlines.get(family.as_str())?.outputs.clone()?;
        let scope = doing.op().map_or(KeyScope::Portable, |op| op.scope);
        let location = parsed.name.span.start;
        let stage = Stage {
            name,
            family,
            variant,
            description,
            location,
            action,
            inputs,
            outputs,
            resources,
            timeout,
            retries,
            scope,
            secrets,
            written,
        };
        (self.problems.len() == before).then_some(stage)
    }

    pub(super) fn text_of(&mut self, node: Option<&Node>, what: &str) -> Option<String> {
        let node = self.fill(node?, Also::Nothing);
        match &node.data {
            Data::Null | Data::Broken => None,
            _ => {
                let text = node.scalar_text();
                if text.is_none() {
                    self.tell(Problem::at(&node, format!("`{what}` is a text, not {}", node.describe())));
                }
                text
            }
        }
    }
}

/// Whether `file` is a plain name below the stage's folder.
pub(super) fn check_file(file: &str) -> Result<(), String> {
    let shown = shortened(file);
    if file.is_empty() || file == "." || file == ".." {
        Err(format!("`{shown}` is not a name for a file or folder"))
    } else if file.contains(['/', '\\']) {
        Err(format!("`{shown}` leads out of the stage's folder: give a plain name"))
    } else if file.contains(char::is_control) || file.len() > 200 {
        Err(format!("`{shown}` holds control characters or is longer than 200 bytes"))
    } else {
        Ok(())
    }
}

/// Two outputs that are written to the same file.
pub(super) fn duplicate_file(outputs: &BTreeMap<String, String>) -> Option<(&str, &str, &str)> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    outputs
        .iter()
        .find_map(|(name, file)| seen.insert(file, name).map(|first| (first, name.as_str(), file.as_str())))
}
