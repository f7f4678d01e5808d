//! `pipeline.yaml` as written: its keys are known and its parts have the right kind, but vars are not put in and no
//! reference is followed. Collects problems and leaves telling them to [`super::resolve`], so that all are told at
//! once.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Diagnostics, MOST_PROBLEMS};
use super::keys::{self, KeySpec};
use super::suggest::did_you_mean_or_list;
use super::tree::{Data, Key, Node, Problem, Sources, Span};
use super::yaml;
use crate::digest::Digest;

/// A pipeline as written. Turns into a [`super::Pipeline`] by [`super::resolve`].
#[derive(Debug, Clone)]
pub struct Parsed {
    pub(super) file: PathBuf,
    /// Digest of what was read from it.
    pub(super) digest: Digest,
    pub(super) root: PathBuf,
    pub(super) sources: Sources,
    pub(super) problems: Vec<Problem>,
    pub(super) name: String,
    pub(super) vars: Vec<(Key, Node)>,
    pub(super) profiles: Vec<(Key, Vec<(Key, Node)>)>,
    pub(super) ignore: Option<Node>,
    pub(super) stages: Vec<ParsedStage>,
    pub(super) gates: Vec<Node>,
    pub(super) report: Option<Node>,
    plugins: BTreeMap<String, PathBuf>,
}

/// A stage as written.
#[derive(Debug, Clone)]
pub(super) struct ParsedStage {
    pub(super) name: Key,
    fields: Vec<(Key, Node)>,
}

impl ParsedStage {
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// About how many bytes each of its variants takes in memory, without its own values: the list of all of them is there
    /// once.
    pub(super) fn size(&self) -> usize {
        self.fields.iter().filter(|(key, _)| key.name != "matrix").map(|(_, node)| node.size()).sum()
    }

    pub(super) fn has_unknown_keys(&self) -> bool {
        self.fields.iter().any(|(key, _)| !keys::STAGE.iter().any(|known| known.name == key.name))
    }

    pub(super) fn entry(&self, key: &str) -> Option<&(Key, Node)> {
        self.fields.iter().find(|(name, _)| name.name == key)
    }
}

impl Parsed {
    /// Its name; empty where it says none that could be read.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder that relative paths start from: the file's.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Executables named in the file, by plugin; absolute.
    #[must_use]
    pub fn plugins(&self) -> &BTreeMap<String, PathBuf> {
        &self.plugins
    }

    /// Names of its profiles, in the order of the file.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.profiles.iter().map(|(key, _)| key.name.as_str())
    }

    /// Paths that its stages read, whether anything is there or not. Without those in which vars stand.
    #[must_use]
    pub fn input_paths(&self) -> Vec<PathBuf> {
        let inputs = self.stages.iter().filter_map(|stage| stage.get("inputs")?.entries()).flatten();
        let texts = inputs.filter_map(|(_, input)| input.text()).filter(|text| !text.contains("${"));
        let is_output = |text: &str| {
            text.split_once('.')
                .is_some_and(|(first, _)| self.stages.iter().any(|stage| stage.name.name == first))
        };
        let paths = texts.filter(|text| !is_output(text));
        paths.map(|text| self.root.join(text).components().collect()).collect()
    }

    /// The plugins that its stages use, as far as that can be told before vars are put in.
    #[must_use]
    pub fn plugins_used(&self) -> Vec<&str> {
        let mut used: Vec<&str> = self
            .stages
            .iter()
            .filter_map(|stage| Some(stage.get("uses")?.text()?.split_once('/')?.0))
            .filter(|plugin| !plugin.contains('$'))
            .collect();
        used.sort_unstable();
        used.dedup();
        used
    }
}

/// Reads `file`. What is wrong inside it is kept for [`super::resolve`] where reading can go on.
///
/// # Errors
/// When the file cannot be read, is not YAML, or is not a map.
pub fn parse(file: &Path) -> Result<Parsed, Diagnostics> {
    let shown = file.display().to_string();
    let unreadable = |reason: String, help: &str| {
        Diagnostics::new(vec![Diagnostic {
            message: format!("cannot read `{shown}`: {reason}"),
            file: String::new(),
            location: None,
            snippet: None,
            help: vec![help.into()],
        }])
    };
    let absolute = std::path::absolute(file)
        .map_err(|error| unreadable(error.to_string(), "name the file with `--file`"))?;
    let bytes = read_bytes(&absolute).map_err(|error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => "`pipe init` writes one here; `--file` names another",
            _ => "name the file with `--file`",
        };
        unreadable(error.to_string(), help)
    })?;
    if let Some(folder) = absolute.parent().filter(|folder| folder.to_str().is_none()) {
        let reason = format!("the path of its folder `{}` is not UTF-8", folder.display());
        return Err(unreadable(reason, "rename the folder; commands and plugins cannot be given such paths"));
    }
    let digest = Digest::of_bytes(&bytes);
    let text = String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes().iter().take(error.utf8_error().valid_up_to()).filter(|b| **b == b'\n').count()
                + 1;
        unreadable(format!("line {line} is not UTF-8"), "save it in UTF-8")
    })?;
    Ok(Parsed { digest, ..parse_text(&text, &shown, absolute)? })
}

fn read_bytes(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(yaml::LARGEST).unwrap_or(u64::MAX).saturating_add(1);
    regular::open(file)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads `text` as the content of `file` (absolute), which problems call `shown`.
pub fn parse_text(text: &str, shown: &str, file: PathBuf) -> Result<Parsed, Diagnostics> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let sources = Sources::new(shown.into(), text.into());
    let root = file.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    let document = yaml::read(text, 0, 0).map_err(|problem| sources.diagnose(vec![problem]))?;
    let mut parser = Parser { problems: Vec::new(), root: &root };
    let span = document.span;
    let mut top = match document.data {
        Data::Map(entries) => entries,
        Data::Null => {
            let problem =
                Problem::at(&document, "the pipeline is empty").help("`pipe init` writes one to start from");
            return Err(sources.diagnose(vec![problem]));
        }
        _ => {
            let message = format!(
                "a pipeline is a map of `version`, `name`, `stages` and more, not {}",
                document.describe()
            );
            return Err(sources.diagnose(vec![Problem::at(&document, message)]));
        }
    };
    parser.check_keys(&top, keys::FILE, "a pipeline", span);
    let mut take = |key: &str| {
        let index = top.iter().position(|(name, _)| name.name == key)?;
        Some(top.swap_remove(index).1)
    };
    parser.version(take("version"));
    let name = parser.name(take("name"));
    let vars = parser.map(take("vars"), "vars");
    let profiles = parser.profiles(take("profiles"));
    let plugins = parser.plugins(take("plugins"));
    let ignore = take("ignore").filter(|node| node.data != Data::Null);
    let stages = parser.stages(take("stages"));
    let gates = parser.gates(take("gates"));
    let report = take("report").filter(|node| node.data != Data::Null);
    let problems = parser.problems;
    let digest = Digest::of_bytes(text.as_bytes());
    Ok(Parsed {
        file,
        digest,
        root,
        sources,
        problems,
        name,
        vars,
        profiles,
        ignore,
        stages,
        gates,
        report,
        plugins,
    })
}

struct Parser<'a> {
    problems: Vec<Problem>,
    root: &'a Path,
}

impl Parser<'_> {
    fn tell(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn check_keys(&mut self, entries: &[(Key, Node)], known: &[KeySpec], whose: &str, span: Span) {
        if self.problems.len() <= MOST_PROBLEMS {
            self.problems.extend(unknown_or_missing(entries, known, whose, span));
        }
    }

    /// The entries of a map that may be absent or empty.
    fn map(&mut self, node: Option<Node>, what: &str) -> Vec<(Key, Node)> {
        match node {
            None | Some(Node { data: Data::Null, .. }) => Vec::new(),
            Some(Node { data: Data::Map(entries), .. }) => entries,
            Some(node) => {
                self.tell(Problem::at(&node, format!("`{what}` is a map, not {}", node.describe())));
                Vec::new()
            }
        }
    }

    fn version(&mut self, node: Option<Node>) {
        let Some(node) = node else { return };
        if node.to_json() != 1 {
            let message = format!("version {} of the format is not known", node.describe());
            self.tell(Problem::at(&node, message).help("this `pipe` reads `version: 1`"));
        }
    }

    fn name(&mut self, node: Option<Node>) -> String {
        let Some(node) = node else { return String::new() };
        match &node.data {
            Data::Text(name) if !name.trim().is_empty() => {
                if let Some(control) = name.chars().find(|character| character.is_control()) {
                    let message = format!(
                        "`name` has the control character U+{:04X}, but must be a text on one line without any",
                        u32::from(control)
                    );
                    self.tell(Problem::at(&node, message));
                }
                name.clone()
            }
            Data::Number(name) => name.to_string(),
            _ => {
                self.tell(Problem::at(
                    &node,
                    format!("`name` is a text on one line, not {}", node.describe()),
                ));
                String::new()
            }
        }
    }

    fn profiles(&mut self, node: Option<Node>) -> Vec<(Key, Vec<(Key, Node)>)> {
        let entries = self.map(node, "profiles");
        entries
            .into_iter()
            .map(|(key, node)| {
                let vars = self.map(Some(node), &format!("profiles.{}", key.name));
                (key, vars)
            })
            .collect()
    }

    fn plugins(&mut self, node: Option<Node>) -> BTreeMap<String, PathBuf> {
        let mut plugins = BTreeMap::new();
        for (key, node) in self.map(node, "plugins") {
            let Some(text) = node.text().filter(|text| !text.is_empty()) else {
                self.tell(Problem::at(
                    &node,
                    format!("the path of plugin `{}` is a text, not {}", key.name, node.describe()),
                ));
                continue;
            };
            let path = self.root.join(text);
            if !path.is_file() {
                self.tell(
                    Problem::at(&node, format!("there is no file `{}`", super::tree::shortened(text)))
                        .help("relative paths start at the pipeline's folder"),
                );
            }
            plugins.insert(key.name, path);
        }
        plugins
    }

    fn stages(&mut self, node: Option<Node>) -> Vec<ParsedStage> {
        let Some(node) = node else { return Vec::new() };
        if node.data == Data::Null || node.entries().is_some_and(<[_]>::is_empty) {
            self.tell(Problem::at(&node, "the pipeline has no stages"));
        }
        let entries = self.map(Some(node), "stages");
        let stages = entries.into_iter().map(|(name, body)| {
            let fields = match body.data {
                Data::Map(fields) => fields,
                Data::Null => Vec::new(),
                _ => {
                    let message = format!(
                        "stage `{}` is a map with `uses` or `run`, not {}",
                        name.name,
                        body.describe()
                    );
                    self.tell(Problem::at(&body, message));
                    Vec::new()
                }
            };
            self.check_keys(&fields, keys::STAGE, "a stage", name.span);
            ParsedStage { name, fields }
        });
        stages.collect()
    }

    fn gates(&mut self, node: Option<Node>) -> Vec<Node> {
        match node {
            None | Some(Node { data: Data::Null, .. }) => Vec::new(),
            Some(Node { data: Data::List(gates), .. }) => gates,
            Some(node) => {
                let message = format!("`gates` is a list of comparisons, not {}", node.describe());
                self.tell(
                    Problem::at(&node, message)
                        .help("write each on a line of its own: `- train.val_accuracy >= 85`"),
                );
                Vec::new()
            }
        }
    }
}

/// What is wrong with the keys of a map that allows `known`. `whose` has an article: `a stage`.
pub(super) fn unknown_or_missing(
    entries: &[(Key, Node)],
    known: &[KeySpec],
    whose: &str,
    span: Span,
) -> Vec<Problem> {
    let names = known.iter().map(|key| key.name);
    let unknown =
        entries.iter().filter(|(key, _)| !names.clone().any(|name| name == key.name)).map(|(key, _)| {
            let message = format!("unknown key `{}`", super::tree::shortened(&key.name));
            let help = did_you_mean_or_list(&key.name, "keys are", names.clone());
            Problem::new(key.span, message).label(format!("{whose} has no such key")).help(help)
        });
    let missing = known
        .iter()
        .filter(|key| key.required && !entries.iter().any(|(entry, _)| entry.name == key.name))
        .map(|key| Problem::new(span, format!("{whose} needs `{}`", key.name)).help(key.doc));
    unknown.take(MOST_PROBLEMS + 1).chain(missing).collect()
}
