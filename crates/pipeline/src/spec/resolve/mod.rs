//! From what is written to what it means: vars are put in, every reference is followed and every param checked.
//! Finds all problems, not only the first. Knows manifests, but not where they come from.

mod command;
mod fan_out;
mod ignore;
mod inputs;
mod matrix;
mod metrics;
mod params;
mod report;
mod resources;
mod secrets;
mod stage;
mod violation;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;
use protocol::Manifest;
use text::secret::hidden;

use super::diagnostic::{Diagnostic, Diagnostics, MOST_PROBLEMS};
use super::matrix::Matrix;
use super::overlay::Overrides;
use super::parse::Parsed;
use super::suggest::did_you_mean_or_list;
use super::tree::{Node, Problem, Sources, Span, shortened};
use super::unused::unused;
use super::vars::{Also, Vars};
use super::written::Texts;
use super::{Pipeline, Stage};
use crate::StageName;
use crate::gate::{BASELINE, Gate};
use crate::graph::{Cycle, Graph};
use crate::name::Selector;

/// Where manifests come from.
pub trait Manifests {
    /// The manifest of a plugin.
    ///
    /// # Errors
    /// When there is no such plugin or it does not answer.
    fn manifest(&self, plugin: &str) -> Result<Arc<Manifest>, Unusable>;

    /// Names of plugins that are there, for suggestions.
    fn known(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Why a plugin cannot be used, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Makes a valid pipeline of a parsed one.
///
/// # Errors
/// All that is wrong with the pipeline, in the order of the file.
pub fn resolve(
    parsed: Parsed,
    overrides: &Overrides,
    manifests: &dyn Manifests,
) -> Result<Pipeline, Diagnostics> {
    let mut sources = parsed.sources.clone();
    let mut problems = parsed.problems.clone();
    let vars = Vars::new(&parsed, overrides, &mut sources, &mut problems);
    let mut resolver = Resolver {
        root: &parsed.root,
        sources: &sources,
        manifests,
        vars,
        problems,
        warnings: Vec::new(),
        outlines: IndexMap::new(),
        reads: Vec::new(),
        manifests_found: HashMap::new(),
        checks: HashMap::new(),
        matrices: Vec::new(),
        choice: fan_out::Choice::default(),
        variant_bytes: 0,
    };
    let ignore = resolver.ignore(parsed.ignore.as_ref());
    let stages = resolver.stages(&parsed);
    let gates = parsed.gates.iter().flat_map(|gate| resolver.gate(gate, &stages)).collect();
    let report = parsed.report.as_ref().map(|report| resolver.report(report, &stages)).unwrap_or_default();
    resolver.check_cycles();
    let Resolver { vars, problems, mut warnings, .. } = resolver;
    let ignore = match ignore {
        Some(ignore) if problems.is_empty() => ignore,
        _ => return Err(sources.diagnose(problems)),
    };
    warnings.extend(unused(&parsed, &vars.used()));
    let warnings = sources.diagnose(warnings).problems().iter().map(Diagnostic::line).collect();
    Ok(Pipeline {
        warnings,
        // It is nothing but shown and kept.
        name: hidden(&parsed.name).into_owned(),
        file: parsed.file,
        digest: parsed.digest,
        root: parsed.root,
        vars: vars.to_json(),
        profile: overrides.profile.as_deref().map(|profile| hidden(profile).into_owned()),
        ignore,
        stages,
        gates,
        report,
        texts: Texts(sources),
    })
}

struct Resolver<'a> {
    root: &'a Path,
    sources: &'a Sources,
    manifests: &'a dyn Manifests,
    vars: Vars,
    problems: Vec<Problem>,
    /// What is odd and hinders nothing.
    warnings: Vec<Problem>,
    /// What is known of every stage before its parts are looked at, in the order of the file.
    outlines: IndexMap<String, Outline>,
    /// Which stage reads which, and where that is written.
    reads: Vec<Read>,
    /// What was said of each plugin that was asked for.
    manifests_found: HashMap<String, Result<Arc<Manifest>, Unusable>>,
    /// How to check the params of each op met so far.
    checks: HashMap<String, Rc<params::Check>>,
    /// All sweeps, from the top of the graph to its bottom.
    matrices: Vec<Matrix>,
    /// The variant that is being resolved.
    choice: fan_out::Choice,
    /// About what all variants take in memory.
    variant_bytes: usize,
}

/// What other stages need to know of a stage.
struct Outline {
    /// Files by output name. None where that is not known because something is wrong with the stage.
    outputs: Option<BTreeMap<String, String>>,
    /// The matrices that it is fanned out over. None where that is not known because something is wrong.
    over: Option<Vec<usize>>,
    /// What it does, for sentences: `torch/train`, or `the command`.
    what: String,
}

struct Read {
    reader: StageName,
    producer: StageName,
    span: Span,
}

impl Resolver<'_> {
    fn tell(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Whether so much is wrong that looking for more helps nobody.
    fn has_given_up(&self) -> bool {
        self.problems.len() > MOST_PROBLEMS
    }

    fn manifest(&mut self, plugin: &str) -> Result<Arc<Manifest>, Unusable> {
        if let Some(found) = self.manifests_found.get(plugin) {
            return found.clone();
        }
        let found = self.manifests.manifest(plugin);
        self.manifests_found.insert(plugin.into(), found.clone());
        found
    }

    fn fill<'n>(&mut self, node: &'n Node, also: Also) -> Cow<'n, Node> {
        self.vars.fill(node, also, &self.choice.values, self.sources, &mut self.problems)
    }

    /// A path of the file: relative ones start at its folder.
    fn absolute(&self, text: &str) -> PathBuf {
        let path = self.root.join(text);
        // Fails for an empty path only; the root is absolute.
        std::path::absolute(&path).unwrap_or(path)
    }

    fn stage_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.outlines.keys().map(String::as_str)
    }

    /// A gate, or one for each variant of the stages that it names.
    fn gate(&mut self, written: &Node, stages: &IndexMap<StageName, Stage>) -> Vec<Gate> {
        let node = self.fill(written, Also::Nothing);
        let gates = self.gates_of(written, &node);
        self.check_metrics_of_gates(&gates, &node, stages);
        gates
    }

    fn gates_of(&mut self, written: &Node, node: &Node) -> Vec<Gate> {
        let Some(gate) = self.parsed_gate(written, node) else { return Vec::new() };
        self.check_baseline(&gate, node);
        let before = self.problems.len();
        for stage in gate.stages() {
            self.check_stage_of_metric(stage, node, "gate");
        }
        let stages: BTreeSet<String> = gate.stages().into_iter().map(Into::into).collect();
        let plain = |stage: &String| {
            let outline = self.outlines.get(stage.as_str());
            outline.is_some_and(|outline| outline.over.as_ref().is_none_or(Vec::is_empty))
        };
        if self.problems.len() > before || stages.iter().all(plain) {
            return vec![gate];
        }
        let variants = self.instances(&stages).and_then(|instances| {
            let named = |stage: &str, instance: &fan_out::Instance| {
                instance.names.get(stage).map(ToString::to_string)
            };
            let gates = instances.iter().map(|instance| gate.renamed(&|stage| named(stage, instance)));
            gates.collect::<Result<Vec<Gate>, _>>().map_err(|error| (error.message, "write two gates".into()))
        });
        variants.unwrap_or_else(|(message, help)| {
            self.tell(
                Problem::at(node, format!("gate `{}`: {message}", shortened(&gate.expression))).help(help),
            );
            Vec::new()
        })
    }

    fn parsed_gate(&mut self, written: &Node, node: &Node) -> Option<Gate> {
        if node.is_broken() {
            return None;
        }
        let Some(text) = node.text() else {
            let message =
                format!("a gate is a comparison such as `train.val_accuracy >= 85`, not {}", node.describe());
            self.tell(Problem::at(node, message));
            return None;
        };
        match Gate::parse(text) {
            Ok(gate) => Some(gate),
            Err(error) => {
                let part: String = text.chars().skip(error.start).take(error.length).collect();
                // The place within the text is the place within the line only where nothing was put in.
                let span = match (written.text() == Some(text) && !part.trim().is_empty(), node.span) {
                    (true, span) => {
                        let from: String = text.chars().skip(error.start).collect();
                        let rest = self.sources.find(span, from.lines().next().unwrap_or_default());
                        Span { length: part.chars().count(), ..rest }
                    }
                    (false, span) => span,
                };
                let problem = Problem::new(span, format!("gate `{}`: {}", shortened(text), error.message));
                let help = if part.starts_with("baseline.") && self.outlines.contains_key(BASELINE) {
                    "give the stage `baseline` another name: in gates that is an earlier run"
                } else {
                    "gates look like `export.size_kb < 500`"
                };
                self.tell(problem.help(help));
                None
            }
        }
    }

    /// Tells when a gate says `baseline`, which is an earlier run, and there is a stage of that name.
    fn check_baseline(&mut self, gate: &Gate, node: &Node) {
        let is_named = !gate.baseline_metrics().is_empty()
            || gate.stages().into_iter().any(|stage| Selector::new(stage).family() == BASELINE);
        if is_named && self.outlines.contains_key(BASELINE) {
            let span = self.sources.find(node.span, BASELINE);
            let message = "`baseline` stands for an earlier run in gates, and there is a stage of that name";
            self.tell(Problem::new(span, message).help("give the stage another name"));
        }
    }

    /// Tells when `stage`, named by a metric within the text of `node`, does not exist.
    fn check_stage_of_metric(&mut self, stage: &str, node: &Node, whose: &str) {
        let family = Selector::new(stage).family();
        if self.outlines.contains_key(family) || self.has_given_up() {
            return;
        }
        let help = did_you_mean_or_list(family, "stages are", self.stage_names());
        let span = self.sources.find(node.span, &format!("{stage}."));
        let length = span.length.saturating_sub(usize::from(span != node.span));
        let problem = Problem::new(
            Span { length, ..span },
            format!("{whose} names unknown stage `{}`", shortened(stage)),
        );
        self.tell(problem.help(help));
    }

    fn check_cycles(&mut self) {
        let names: Vec<StageName> =
            self.outlines.keys().filter_map(|name| StageName::try_from(name.clone()).ok()).collect();
        let variants = self.reads.iter().flat_map(|read| [&read.reader, &read.producer]);
        let variants = variants.filter(|_| !self.matrices.is_empty());
        let known: BTreeSet<&StageName> = names.iter().collect();
        let variants: BTreeSet<&StageName> = variants.filter(|name| !known.contains(name)).collect();
        let pairs = self.reads.iter().map(|read| (&read.reader, &read.producer));
        if let Err(cycle) = Graph::new(names.iter().chain(variants), pairs) {
            let reads = std::mem::take(&mut self.reads);
            self.tell_cycle(&cycle, &reads);
        }
    }

    fn tell_cycle(&mut self, cycle: &Cycle, reads: &[Read]) {
        let second = cycle.0.get(1).or(cycle.0.first());
        let read =
            reads.iter().find(|read| Some(&read.reader) == cycle.0.first() && Some(&read.producer) == second);
        let problem = Problem {
            span: read.map(|read| read.span),
            message: cycle.to_string(),
            label: None,
            help: vec!["each stage reads from the next; take one of these inputs away".into()],
        };
        self.tell(problem);
    }
}
