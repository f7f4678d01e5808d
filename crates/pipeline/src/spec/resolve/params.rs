//! Params of an op: checked against its schema, completed with its defaults, local sources made absolute.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use jsonschema::Validator;
use protocol::{IGNORE_KEYWORD, OpManifest, SOURCE_KEYWORD};
use serde_json::{Map, Value, json};

use super::super::Location;
use super::super::tree::{Data, Node, Problem, canonical_json, shortened};
use super::super::vars::Also;
use super::Resolver;
use super::violation::violations;

/// Params that are valid.
pub(super) struct Params {
    /// An object; in the order of the schema.
    pub(super) values: Value,
    pub(super) locations: BTreeMap<String, Location>,
    /// Param name → absolute path of a local source.
    pub(super) sources: BTreeMap<String, PathBuf>,
    /// Those of which the op leaves out what counts for nothing.
    pub(super) filtered: BTreeSet<String>,
    /// As they are written, with vars put in.
    pub(super) written: Node,
}

/// How to check the params of an op. Made once for all stages that use it.
pub(super) struct Check {
    schema: Value,
    validator: Result<Validator, String>,
}

impl Check {
    fn new(params: &Value) -> Self {
        let schema = bounded(params);
        let validator = jsonschema::draft202012::options().offline().build(&schema);
        Self { validator: validator.map_err(|error| error.to_string()), schema }
    }
}

impl Resolver<'_> {
    /// The params of `what` (`plugin/op`), or none where something is wrong with them.
    pub(super) fn params(
        &mut self,
        what: &str,
        op: &OpManifest,
        with: Option<&Node>,
        uses: &Node,
    ) -> Option<Params> {
        let before = self.problems.len();
        let with = match with {
            Some(with) => self.fill(with, Also::Nothing),
            None => Cow::Owned(Node::new(uses.span, Data::Null)),
        };
        let with = match with.data {
            Data::Map(_) => with,
            // Params that are absent are an empty map, written where the op is named.
            Data::Null => Cow::Owned(Node::new(uses.span, Data::Map(Vec::new()))),
            Data::Broken => return None,
            _ => {
                self.tell(Problem::at(&with, format!("`with` is a map of params, not {}", with.describe())));
                return None;
            }
        };
        let written = with.to_json();
        let check = self.checks.entry(what.into()).or_insert_with(|| Rc::new(Check::new(&op.params)));
        let Check { schema, validator } = &*Rc::clone(check);
        match validator {
            Ok(validator) => {
                let found = validator.iter_errors(&written);
                self.problems.extend(found.flat_map(|error| violations(&error, schema, &with, what)));
            }
            Err(error) => {
                let message = format!("the schema of `{what}` is wrong: {error}");
                self.tell(Problem::at(uses, message).help("this is a mistake in the plugin"));
            }
        }
        let mut values = with_defaults(&written, schema);
        let sources = self.sources_of(&mut values, schema, &with);
        let is_filtered = |name: &&String| {
            schema["properties"][name.as_str()].get(IGNORE_KEYWORD) == Some(&Value::Bool(true))
        };
        let filtered = sources.keys().filter(is_filtered).cloned().collect();
        let locations = with
            .entries()
            .unwrap_or_default()
            .iter()
            .filter_map(|(key, node)| Some((key.name.clone(), location_in_file(node)?)))
            .collect();
        (self.problems.len() == before).then_some(Params {
            values: Value::Object(values),
            locations,
            sources,
            filtered,
            written: with.into_owned(),
        })
    }

    /// Makes local sources absolute, in `values` too.
    fn sources_of(
        &mut self,
        values: &mut Map<String, Value>,
        schema: &Value,
        with: &Node,
    ) -> BTreeMap<String, PathBuf> {
        let mut sources = BTreeMap::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            if property.get(SOURCE_KEYWORD) != Some(&Value::Bool(true)) {
                continue;
            }
            let Some(text) = values.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()) else {
                continue;
            };
            let node = with.get(name).unwrap_or(with);
            let path = match local_path(text) {
                Ok(None) => continue,
                Ok(Some(path)) => self.absolute(&path),
                Err(message) => {
                    self.tell(
                        Problem::at(node, message)
                            .help("give an `https://` URL, or the path of a file or folder"),
                    );
                    continue;
                }
            };
            match path.try_exists() {
                Ok(true) => {}
                Ok(false) => {
                    let message = format!("there is no file or folder `{}`", shortened(text));
                    let help = "relative paths start at the pipeline's folder; a URL starts with `https://`";
                    self.tell(Problem::at(node, message).help(help));
                }
                Err(error) => {
                    self.tell(Problem::at(node, format!("cannot look at `{}`: {error}", shortened(text))));
                }
            }
            match path.to_str() {
                Some(text) => {
                    values.insert(name.clone(), Value::String(text.into()));
                }
                None => self.tell(Problem::at(node, "the pipeline's folder has a name that is not UTF-8")),
            }
            sources.insert(name.clone(), path);
        }
        sources
    }
}

/// Where a value stands in the file; for one from the command line, where it is used.
pub(super) fn location_in_file(node: &Node) -> Option<Location> {
    [Some(node.span), node.used_at].into_iter().flatten().find(|span| span.origin == 0).map(|span| span.start)
}

/// The path that a source names; none for a URL that is fetched.
fn local_path(text: &str) -> Result<Option<String>, String> {
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("http://") || lower.starts_with("https://") {
        return Ok(None);
    }
    if lower.starts_with("file://") {
        let path = text.get("file://".len()..).unwrap_or_default();
        let path = path.strip_prefix("localhost").filter(|rest| rest.starts_with('/')).unwrap_or(path);
        if !path.starts_with('/') {
            return Err(format!("`{}` is not an absolute `file:///` URL", shortened(text)));
        }
        return percent_decoded(path)
            .map(Some)
            .ok_or_else(|| format!("`{}` is not a valid URL", shortened(text)));
    }
    match text.split_once("://") {
        Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c)) => {
            Err(format!("nothing here fetches `{}://`", shortened(scheme)))
        }
        _ => Ok(Some(text.into())),
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|path| !path.contains('\0'))
}

/// `written` with the schema's defaults of what is absent, in the schema's order. Maps further down are sorted by
/// key: their order means nothing.
fn with_defaults(written: &Value, schema: &Value) -> Map<String, Value> {
    let mut values = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        match (written.get(name), property.get("default")) {
            (Some(value), _) => values.insert(name.clone(), sorted(value)),
            (None, Some(default)) => values.insert(name.clone(), sorted(&canonical_json(default))),
            (None, None) => None,
        };
    }
    for (name, value) in written.as_object().into_iter().flatten() {
        if !values.contains_key(name) {
            values.insert(name.clone(), sorted(value));
        }
    }
    values
}

pub(super) fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Object(entries) => {
            let ordered: BTreeMap<&String, &Value> = entries.iter().collect();
            Value::Object(ordered.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        other => other.clone(),
    }
}

/// The schema with the bounds that its integer formats imply, which validators do not check.
fn bounded(schema: &Value) -> Value {
    match schema {
        Value::Array(items) => Value::Array(items.iter().map(bounded).collect()),
        Value::Object(entries) => {
            let mut entries: Map<String, Value> =
                entries.iter().map(|(key, value)| (key.clone(), bounded(value))).collect();
            let (low, high) = match entries.get("format").and_then(Value::as_str) {
                Some("uint8") => (json!(0), json!(u8::MAX)),
                Some("uint16") => (json!(0), json!(u16::MAX)),
                Some("uint32") => (json!(0), json!(u32::MAX)),
                Some("uint64" | "uint") => (json!(0), json!(u64::MAX)),
                Some("int8") => (json!(i8::MIN), json!(i8::MAX)),
                Some("int16") => (json!(i16::MIN), json!(i16::MAX)),
                Some("int32") => (json!(i32::MIN), json!(i32::MAX)),
                Some("int64" | "int") => (json!(i64::MIN), json!(i64::MAX)),
                _ => return Value::Object(entries),
            };
            entries.entry("minimum").or_insert(low);
            entries.entry("maximum").or_insert(high);
            Value::Object(entries)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_urls_or_paths() {
        assert_eq!(local_path("https://x/y"), Ok(None));
        assert_eq!(local_path("HTTP://x/y"), Ok(None));
        assert_eq!(local_path("../a/b"), Ok(Some("../a/b".into())));
        assert_eq!(local_path("a:b"), Ok(Some("a:b".into())));
        assert_eq!(local_path("file:///a%20b"), Ok(Some("/a b".into())));
        assert_eq!(local_path("file://localhost/a"), Ok(Some("/a".into())));
        assert!(local_path("file://a").is_err());
        assert!(local_path("file:///%zz").is_err());
        assert!(local_path("file:///a%00").is_err());
        assert!(local_path("s3://bucket").is_err());
    }

    #[test]
    fn defaults_fill_gaps_and_numbers_have_one_form() {
        let schema = json!({ "properties": {
            "a": { "default": 1.0 },
            "b": { "default": { "y": 1, "x": 2 } },
            "c": {},
        } });
        let values = with_defaults(&json!({ "z": { "q": 1, "p": 2 }, "c": 3 }), &schema);
        assert_eq!(Value::Object(values).to_string(), r#"{"a":1,"b":{"x":2,"y":1},"c":3,"z":{"p":2,"q":1}}"#);
    }
}
