//! What a stage's identity is: an ordered list of named, printable ingredients, made in one traversal. Its digest
//! names the result in the cache, its differences say why a stage is stale; the two cannot disagree, because both
//! read the same list. Knows no files, no machine paths, no times, no upstream keys
//! and no secrets: a digest that this cache alone can make stands for what is secret in a URL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pipeline::digest::Digest;
use pipeline::spec::{Action, CommandAction, CommandLine, OpAction, Stage};
use protocol::{CHECKSUMS, KeyScope, Manifest, OpManifest, SOURCE_KEYWORD};
use serde_json::{Map, Value};
use text::secret::{Salt, with_texts, without_secrets};

use crate::{Change, Ingredient, Machine};

/// Separates digests of keys from digests of anything else.
const DOMAIN: &str = "pipe 2026-11 stage key v1";

/// The identity of one execution of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    ingredients: Vec<Ingredient>,
    digest: Digest,
}

impl Key {
    /// Of these.
    #[must_use]
    pub fn new(ingredients: Vec<Ingredient>) -> Self {
        let digest = digest_of(&ingredients);
        Self { ingredients, digest }
    }

    /// Its digest: the same for the same ingredients, on any machine.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest of everything in it but some params: the same for keys that differ in nothing else.
    #[must_use]
    pub fn digest_without(&self, params: &[String]) -> Digest {
        let paths: Vec<_> = params.iter().map(|param| ingredient_of_param(param)).collect();
        let rest: Vec<_> = (self.ingredients.iter())
            .filter(|ingredient| !paths.iter().any(|path| is_below(&ingredient.name, path)))
            .cloned()
            .collect();
        digest_of(&rest)
    }

    /// What it consists of. Names are unique.
    #[must_use]
    pub fn ingredients(&self) -> &[Ingredient] {
        &self.ingredients
    }

    /// What differs from an earlier key: changed and new ingredients in this key's order, then those that are
    /// gone. Empty exactly when the digests are equal.
    #[must_use]
    pub fn changes_from(&self, earlier: &[Ingredient]) -> Vec<Change> {
        changes(earlier, &self.ingredients)
    }
}

/// What differs between the ingredients of two keys, as [`Key::changes_from`].
#[must_use]
pub fn changes(earlier: &[Ingredient], later: &[Ingredient]) -> Vec<Change> {
    let by_name = |list: &[Ingredient]| -> BTreeMap<String, String> {
        list.iter().map(|ingredient| (ingredient.name.clone(), ingredient.value.clone())).collect()
    };
    let (old, new) = (by_name(earlier), by_name(later));
    let changed = later.iter().filter(|now| old.get(&now.name) != Some(&now.value));
    let gone = earlier.iter().filter(|then| !new.contains_key(&then.name));
    let change = |name: &String| Change {
        name: name.clone(),
        old: old.get(name).cloned(),
        new: new.get(name).cloned(),
    };
    changed.chain(gone).map(|ingredient| change(&ingredient.name)).collect()
}

/// The digest of a list of ingredients. Every text is preceded by its length, so that no two lists read the same.
#[must_use]
pub fn digest_of(ingredients: &[Ingredient]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
    for ingredient in ingredients {
        for text in [&ingredient.name, &ingredient.value] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
    Digest::from(hasher.finalize())
}

/// What a key is made of beside the stage itself.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// Content digest of each input.
    pub inputs: &'a BTreeMap<String, Digest>,
    /// Content digest of each param that names a local source.
    pub sources: &'a BTreeMap<String, Digest>,
    /// Manifests of the stage's plugin and of its op's companions.
    pub manifests: &'a BTreeMap<String, Arc<Manifest>>,
    /// This machine; read for measurements only.
    pub machine: &'a Machine,
    /// Thread budget of the run; read for measurements only.
    pub threads: usize,
    /// Seals what is secret in URLs.
    pub salt: &'a Salt,
}

/// A part that a stage needs was not handed in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The manifest of a plugin, or the op in it.
    #[error("stage `{stage}`: no manifest describes `{what}`")]
    Manifest {
        /// The stage.
        stage: String,
        /// The plugin or op.
        what: String,
    },
    /// The digest of an input or of a source.
    #[error("stage `{stage}`: the digest of `{what}` is not known")]
    Digest {
        /// The stage.
        stage: String,
        /// `inputs.NAME` or `with.NAME`.
        what: String,
    },
}

/// Makes the key of a stage.
///
/// # Errors
/// When `parts` lacks something that the stage needs.
pub fn key(stage: &Stage, parts: &Parts<'_>) -> Result<Key, KeyError> {
    let mut list = List { stage, salt: parts.salt, ingredients: Vec::new() };
    match &stage.action {
        Action::Op(action) => list.op(action, parts)?,
        Action::Command(action) => list.command(action),
    }
    for name in &stage.secrets {
        // With or without it a stage may do different things; which value it has is nobody's business.
        list.push(format!("secrets.{name}"), "***");
    }
    for name in stage.inputs.keys() {
        let digest = list.digest(parts.inputs, name, "inputs")?;
        list.push(format!("inputs.{name}"), digest);
    }
    for (name, file) in &stage.outputs {
        list.push(format!("outputs.{name}"), file);
    }
    if stage.scope == KeyScope::Hardware {
        list.push("machine.cpu", &parts.machine.cpu);
        list.push("machine.features", &parts.machine.features);
        list.push("machine.threads", stage.resources.threads(parts.threads));
    }
    Ok(Key::new(list.ingredients))
}

/// The ingredients so far.
struct List<'a> {
    stage: &'a Stage,
    salt: &'a Salt,
    ingredients: Vec<Ingredient>,
}

impl List<'_> {
    fn push(&mut self, name: impl Into<String>, value: impl ToString) {
        self.ingredients.push(Ingredient { name: name.into(), value: value.to_string() });
    }

    fn op(&mut self, action: &OpAction, parts: &Parts<'_>) -> Result<(), KeyError> {
        let uses = format!("{}/{}", action.plugin, action.op);
        let manifest = self.manifest(parts, &action.plugin)?;
        let op = manifest.ops.get(&action.op).ok_or_else(|| self.undescribed(&uses))?;
        self.push("op", &uses);
        self.push("op.version", op.version);
        for name in op.natives.iter().collect::<BTreeSet<_>>() {
            self.push(format!("natives.{name}"), native_version(manifest, name));
        }
        for name in op.companions.iter().collect::<BTreeSet<_>>() {
            let companion = self.manifest(parts, name)?;
            self.push(format!("companion.{name}"), &companion.version);
            for native in companion.natives.keys() {
                self.push(format!("companion.{name}.{native}"), native_version(companion, native));
            }
        }
        match &action.params {
            Value::Object(params) => {
                for (name, value) in sorted(params) {
                    let path = ingredient_of_param(name);
                    if action.sources.contains_key(name) {
                        let digest = self.digest(parts.sources, name, "with")?;
                        self.push(path, format!("content {digest}"));
                    } else if let Some(url) = checked_source(op, params, name, value) {
                        self.push(path, canonical(&Value::from(without_secrets(url))));
                    } else {
                        self.value(path, value);
                    }
                }
            }
            other => self.value("with".into(), other),
        }
        Ok(())
    }

    fn command(&mut self, action: &CommandAction) {
        match &action.command {
            CommandLine::Shell(text) => {
                self.push("run", self.salt.sealed(text));
                if action.command.stops_at_failure() {
                    // Earlier versions went on after a line that failed.
                    self.push("run.shell", "sh -e");
                }
            }
            CommandLine::Args(args) => {
                let args: Vec<_> = args.iter().map(|arg| self.salt.sealed_argument(arg)).collect();
                self.push("run.args", canonical(&Value::from(args)));
            }
        }
        for (name, value) in action.params.as_object().into_iter().flat_map(sorted) {
            self.value(format!("params.{}", segment(name)), value);
        }
        for (name, value) in &action.env {
            self.push(format!("env.{name}"), self.salt.sealed_value(value));
        }
    }

    /// One ingredient for each leaf. A list without objects in it is a leaf.
    fn value(&mut self, path: String, value: &Value) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (name, field) in sorted(fields) {
                    self.value(format!("{path}.{}", segment(&self.salt.sealed(name))), field);
                }
            }
            Value::Array(items) if items.iter().any(holds_object) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(format!("{path}[{index}]"), item);
                }
            }
            leaf => {
                let sealed = with_texts(leaf, &|text| self.salt.sealed_value(text).into_owned());
                self.push(path, canonical(&sealed));
            }
        }
    }

    fn manifest<'p>(&self, parts: &Parts<'p>, plugin: &str) -> Result<&'p Manifest, KeyError> {
        parts.manifests.get(plugin).map(Arc::as_ref).ok_or_else(|| self.undescribed(plugin))
    }

    fn undescribed(&self, what: &str) -> KeyError {
        KeyError::Manifest { stage: self.stage.name.to_string(), what: what.to_owned() }
    }

    fn digest(&self, from: &BTreeMap<String, Digest>, name: &str, kind: &str) -> Result<Digest, KeyError> {
        from.get(name).copied().ok_or_else(|| KeyError::Digest {
            stage: self.stage.name.to_string(),
            what: format!("{kind}.{name}"),
        })
    }
}

/// The URL in a param that names a source, where a checksum says what it leads to: then what is secret in it, such as a
/// signature that is made anew each day, only says who may have it. The checksum stands in the URL's fragment or in the
/// op's param of that name.
fn checked_source<'v>(
    op: &OpManifest,
    params: &Map<String, Value>,
    param: &str,
    value: &'v Value,
) -> Option<&'v str> {
    let properties = op.params.get("properties")?;
    let keyword = properties.get(param)?.get(SOURCE_KEYWORD)?;
    let url = value.as_str().filter(|_| *keyword == Value::Bool(true))?;
    let mut pairs = url.split_once('#').into_iter().flat_map(|(_, fragment)| fragment.split('&'));
    let in_fragment = pairs.any(|pair| {
        pair.split_once('=').is_some_and(|(name, digest)| CHECKSUMS.contains(&name) && !digest.is_empty())
    });
    let in_params = CHECKSUMS.iter().any(|&name| {
        let given = params.get(name).and_then(Value::as_str);
        properties.get(name).is_some() && given.is_some_and(|digest| !digest.is_empty())
    });
    (in_fragment || in_params).then_some(url)
}

/// Whether an ingredient is of the param at `path`, or of a part of it.
fn is_below(name: &str, path: &str) -> bool {
    name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn native_version<'m>(manifest: &'m Manifest, name: &str) -> &'m str {
    manifest.natives.get(name).and_then(|native| native.version.as_deref()).unwrap_or("not found")
}

fn holds_object(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Array(items) => items.iter().any(holds_object),
        _ => false,
    }
}

fn sorted(fields: &Map<String, Value>) -> BTreeMap<&String, &Value> {
    fields.iter().collect()
}

/// The name of the ingredient that a param is.
#[must_use]
pub fn ingredient_of_param(name: &str) -> String {
    format!("with.{}", segment(name))
}

/// A field's name as a step of a path; quoted where it could be taken for several steps.
fn segment(name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if plain { name.to_owned() } else { Value::from(name).to_string() }
}

/// Compact JSON in which equal values are equal texts: fields sorted, and an integer written as a float (`1.0`)
/// written as the integer it is, for a plugin reads both as the same number.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> = sorted(fields)
                .into_iter()
                .map(|(name, field)| format!("{}:{}", Value::from(name.as_str()), canonical(field)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && is_exact_integer(float) => format!("{float:.0}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// Whether a float is an integer that every float near it can be told from. Minus zero is not.
fn is_exact_integer(float: f64) -> bool {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    float.fract() == 0.0 && float.abs() < EXACT && !(float == 0.0 && float.is_sign_negative())
}

#[cfg(test)]
mod tests;
