//! Vars: their values after profile and `--set`, and putting them where `${vars.NAME}` stands. Knows no stages.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::Value;

use super::diagnostic::MOST_PROBLEMS;
use super::overlay::{Overrides, apply_profiles, apply_set};
use super::parse::Parsed;
use super::suggest::did_you_mean_or_list;
use super::tree::{Data, Node, Problem, Sources, Span, shortened};
use super::yaml;

/// Bound on the bytes that vars may expand to, in all.
const MOST: usize = 256 << 20;

/// What may stand in `${…}` beside vars. It is left as it is for others to fill in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Also {
    /// Nothing.
    Nothing,
    /// `${inputs.x}`, `${outputs.x}` and `${params.x}`, and `$${`.
    Command,
    /// `${row}`.
    Row,
    /// `${matrix.x}`, before it is known which variant it is.
    Matrix,
}

/// Vars with their final values.
pub(super) struct Vars {
    /// None for a var further down in the file, while vars themselves are filled in.
    values: IndexMap<String, Option<Node>>,
    /// Bytes that may still be put in.
    left: usize,
    exhausted: bool,
    /// Those that were put in somewhere, but for other vars.
    used: RefCell<BTreeSet<String>>,
}

impl Vars {
    /// The vars of `parsed` under `overrides`. Adds the texts of `--set` to `sources`, and problems to `problems`.
    pub(super) fn new(
        parsed: &Parsed,
        overrides: &Overrides,
        sources: &mut Sources,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut written: IndexMap<String, Node> =
            parsed.vars.iter().map(|(key, node)| (key.name.clone(), node.clone())).collect();
        for (key, _) in &parsed.vars {
            let plain = key.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            if !plain || key.name.is_empty() {
                let message = format!("`{}` is not a name for a var", shortened(&key.name));
                problems.push(Problem::new(key.span, message).help("use letters, digits, `_` and `-`"));
            }
        }
        apply_profiles(parsed, overrides.profile.as_deref(), sources, &mut written, problems);
        for (name, text) in &overrides.set {
            apply_set(name, text, sources, &mut written, problems);
        }
        let mut vars = Self {
            values: written.keys().map(|name| (name.clone(), None)).collect(),
            left: MOST,
            exhausted: false,
            used: RefCell::default(),
        };
        for (name, node) in written {
            let value = vars.fill(&node, Also::Nothing, &[], sources, problems).into_owned();
            vars.values.insert(name, Some(value));
        }
        vars.used.take();
        vars
    }

    /// The names of those that were put in somewhere so far, but for other vars.
    pub(super) fn used(&self) -> BTreeSet<String> {
        self.used.borrow().clone()
    }

    /// All values as JSON.
    pub(super) fn to_json(&self) -> IndexMap<String, Value> {
        let values = self.values.iter();
        values.map(|(name, node)| (name.clone(), node.as_ref().map_or(Value::Null, Node::to_json))).collect()
    }

    /// `node` with vars and the values of `matrix` put in. What could not be put in is [`Data::Broken`] and told in
    /// `problems`.
    pub(super) fn fill<'n>(
        &mut self,
        node: &'n Node,
        also: Also,
        matrix: &[(String, Node)],
        sources: &Sources,
        problems: &mut Vec<Problem>,
    ) -> Cow<'n, Node> {
        if !has_references(node) {
            return Cow::Borrowed(node);
        }
        let mut filler = Filler { vars: self, also, matrix, sources, problems, depth: 0 };
        Cow::Owned(filler.node(node))
    }
}

impl Vars {
    /// The value that `name` stands for (`vars.PATH` or `matrix.PATH`), which is named at `site`. An error without a
    /// problem has been told already.
    fn lookup<'s>(
        &'s self,
        name: &str,
        matrix: &'s [(String, Node)],
        site: Span,
    ) -> Result<&'s Node, Option<Problem>> {
        let (what, path) = what_and_path(name);
        let mut parts = path.split('.');
        let first = parts.next().unwrap_or_default();
        let found =
            if name.starts_with("matrix.") { in_matrix(first, matrix, site) } else { self.var(first, site) };
        let mut at = found.map_err(Some)?;
        for part in parts {
            match at.get(part) {
                Some(next) => at = next,
                None if at.is_broken() => return Err(None),
                None if at.entries().is_none() => {
                    let message = format!("{what} `{}` is {}, not a map", shortened(first), at.describe());
                    return Err(Some(Problem::new(site, message)));
                }
                None => {
                    let known = at.entries().unwrap_or_default().iter().map(|(key, _)| key.name.as_str());
                    let message = format!("{what} `{}` holds no `{}`", shortened(first), shortened(part));
                    let help = did_you_mean_or_list(part, "it holds", known);
                    return Err(Some(Problem::new(site, message).help(help)));
                }
            }
        }
        Ok(at)
    }

    fn var(&self, name: &str, site: Span) -> Result<&Node, Problem> {
        match self.values.get(name) {
            Some(Some(value)) => {
                let mut used = self.used.borrow_mut();
                if !used.contains(name) {
                    used.insert(name.to_owned());
                }
                Ok(value)
            }
            Some(None) => Err(Problem::new(site, format!("var `{name}` is defined further down"))
                .help("a var may refer to those before it: move it up")),
            None => {
                let help = did_you_mean_or_list(name, "vars are", self.values.keys().map(String::as_str));
                Err(Problem::new(site, format!("unknown var `{}`", shortened(name))).help(help))
            }
        }
    }
}

fn in_matrix<'m>(name: &str, matrix: &'m [(String, Node)], site: Span) -> Result<&'m Node, Problem> {
    if let Some((_, value)) = matrix.iter().find(|(known, _)| known == name) {
        return Ok(value);
    }
    let problem = Problem::new(site, format!("no matrix has a variable `{}`", shortened(name)));
    if matrix.is_empty() {
        let help = "the values of a `matrix` can stand in its stage and those that read from it, but not in `uses` and \
                    `outputs`";
        return Err(problem.help(help));
    }
    let known = matrix.iter().map(|(name, _)| name.as_str());
    Err(problem.help(did_you_mean_or_list(name, "variables here are", known)))
}

/// `vars.a.b` as `var` and `a.b`, for sentences.
fn what_and_path(name: &str) -> (&'static str, &str) {
    match name.split_once('.') {
        Some(("matrix", path)) => ("matrix variable", path),
        Some((_, path)) => ("var", path),
        None => ("var", name),
    }
}

struct Filler<'a> {
    vars: &'a mut Vars,
    also: Also,
    matrix: &'a [(String, Node)],
    sources: &'a Sources,
    problems: &'a mut Vec<Problem>,
    /// Lists and maps around the value at hand.
    depth: usize,
}

/// A part of a text.
enum Part<'a> {
    Literal(&'a str),
    /// `$${`.
    Escape,
    /// What stands in `${…}`.
    Reference(&'a str),
    /// `${` without `}`.
    Open,
}

impl Filler<'_> {
    fn node(&mut self, node: &Node) -> Node {
        if let Data::Text(text) = &node.data
            && text.contains("${")
        {
            if self.problems.len() > MOST_PROBLEMS {
                return Node { data: Data::Broken, ..node.clone_place() };
            }
            return self.text(node, text);
        }
        self.depth += 1;
        let data = match &node.data {
            Data::List(items) => Data::List(items.iter().map(|item| self.node(item)).collect()),
            Data::Map(entries) => {
                Data::Map(entries.iter().map(|(key, value)| (key.clone(), self.node(value))).collect())
            }
            other => other.clone(),
        };
        self.depth -= 1;
        Node { data, ..node.clone_place() }
    }

    fn text(&mut self, node: &Node, text: &str) -> Node {
        let parts = split(text);
        if let [Part::Reference(name)] = parts.as_slice()
            && (name.starts_with("vars.") || self.is_matrix(name))
        {
            return self.whole(node, name);
        }
        let mut filled = String::with_capacity(text.len());
        let mut added = 0;
        let mut broken = false;
        for part in parts {
            match part {
                Part::Literal(text) => filled.push_str(text),
                Part::Escape => filled.push_str(if self.also == Also::Command { "$${" } else { "${" }),
                Part::Open => {
                    let problem = Problem::new(self.sources.find(node.span, "${"), "`${` without `}`");
                    self.problems.push(problem.help("write `$${` for `${` itself"));
                    broken = true;
                }
                Part::Reference(name) => match self.reference(node, name) {
                    Some(text) => {
                        added += text.len();
                        filled.push_str(&text);
                    }
                    None => broken = true,
                },
            }
            if added > self.vars.left {
                self.exhaust(node);
                broken = true;
                break;
            }
        }
        self.vars.left = self.vars.left.saturating_sub(added);
        let data = if broken { Data::Broken } else { Data::Text(filled) };
        Node { data, ..node.clone_place() }
    }

    /// A value that is nothing but one var keeps that var's kind.
    fn whole(&mut self, node: &Node, name: &str) -> Node {
        let site = self.sources.find(node.span, &format!("${{{name}}}"));
        let broken = Node { data: Data::Broken, ..node.clone_place() };
        let found = match self.vars.lookup(name, self.matrix, site) {
            Ok(found) => found,
            Err(problem) => {
                self.problems.extend(problem);
                return broken;
            }
        };
        if self.depth + found.depth() > yaml::DEEPEST {
            let message = format!("vars nest deeper than {} levels", yaml::DEEPEST);
            self.problems.push(Problem::new(site, message));
            return broken;
        }
        let size = found.size();
        if size > self.vars.left {
            self.exhaust(node);
            return broken;
        }
        let mut value = found.clone();
        self.vars.left -= size;
        if self.also == Also::Command {
            escape(&mut value);
        }
        set_used(&mut value, node.used_at.unwrap_or(site));
        value
    }

    fn reference(&mut self, node: &Node, name: &str) -> Option<String> {
        let whole = format!("${{{name}}}");
        let kept = match self.also {
            Also::Nothing => false,
            Also::Command => ["inputs.", "outputs.", "params."].iter().any(|kind| name.starts_with(kind)),
            Also::Row => name == "row",
            Also::Matrix => name.starts_with("matrix."),
        };
        if kept {
            return Some(whole);
        }
        let site = self.sources.find(node.span, &whole);
        if !name.starts_with("vars.") && !self.is_matrix(name) {
            let message = format!("unknown reference `${{{}}}`", shortened(name));
            self.problems.push(Problem::new(site, message).help(self.allowed(name)));
            return None;
        }
        let text = match self.vars.lookup(name, self.matrix, site) {
            Ok(found) if found.is_broken() => None,
            Ok(found) => {
                let text = found.scalar_text();
                if text.is_none() {
                    let kind = found.describe();
                    let (what, path) = what_and_path(name);
                    let message =
                        format!("{what} `{}` is {kind} and cannot stand within a text", shortened(path));
                    self.problems
                        .push(Problem::new(site, message).help("make it the whole value to keep its kind"));
                }
                text
            }
            Err(problem) => {
                self.problems.extend(problem);
                None
            }
        };
        text.map(|text| if self.also == Also::Command { text.replace("${", "$${") } else { text })
    }

    /// Whether `name` is a value of a matrix that is put in here.
    fn is_matrix(&self, name: &str) -> bool {
        self.also != Also::Matrix && name.starts_with("matrix.")
    }

    fn allowed(&self, name: &str) -> String {
        if self.vars.values.contains_key(name) {
            return format!("write `${{vars.{name}}}`");
        }
        match self.also {
            Also::Nothing | Also::Matrix => {
                "only `${vars.NAME}` can stand here; write `$${` for `${` itself".into()
            }
            Also::Command => format!(
                "`${{vars.NAME}}`, `${{params.NAME}}`, `${{inputs.NAME}}` and `${{outputs.NAME}}` are filled in; write \
                 `$${{{}}}` for the shell's own",
                shortened(name)
            ),
            Also::Row => "only `${vars.NAME}` and `${row}` can stand here".into(),
        }
    }

    fn exhaust(&mut self, node: &Node) {
        if !self.vars.exhausted {
            self.problems.push(Problem::at(node, format!("vars expand to more than {} MB", MOST >> 20)));
        }
        self.vars.exhausted = true;
        self.vars.left = 0;
    }
}

/// Whether any text in `node` holds `${`.
fn has_references(node: &Node) -> bool {
    match &node.data {
        Data::Text(text) => text.contains("${"),
        Data::List(items) => items.iter().any(has_references),
        Data::Map(entries) => entries.iter().any(|(_, value)| has_references(value)),
        _ => false,
    }
}

fn split(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let after = from.get(2..).unwrap_or_default();
        if let Some(before) = before.strip_suffix('$') {
            parts.extend([Part::Literal(before), Part::Escape]);
            rest = after;
        } else if let Some((name, after)) = after.split_once('}') {
            if !before.is_empty() {
                parts.push(Part::Literal(before));
            }
            parts.push(Part::Reference(name));
            rest = after;
        } else {
            parts.extend([Part::Literal(before), Part::Open]);
            rest = "";
        }
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    parts
}

/// A var's text stands for itself in a command, whatever it holds.
fn escape(node: &mut Node) {
    match &mut node.data {
        Data::Text(text) => *text = text.replace("${", "$${"),
        Data::List(items) => items.iter_mut().for_each(escape),
        Data::Map(entries) => entries.iter_mut().for_each(|(_, value)| escape(value)),
        _ => {}
    }
}

fn set_used(node: &mut Node, site: Span) {
    node.used_at = Some(site);
    match &mut node.data {
        Data::List(items) => items.iter_mut().for_each(|item| set_used(item, site)),
        Data::Map(entries) => entries.iter_mut().for_each(|(_, value)| set_used(value, site)),
        _ => {}
    }
}
