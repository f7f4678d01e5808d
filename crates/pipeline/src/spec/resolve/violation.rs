//! A violated JSON Schema in words, at the value that violates it. Knows schemas and places; knows no plugin.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

use super::super::suggest::{did_you_mean, did_you_mean_or_list};
use super::super::tree::{Data, Node, Problem, canonical_json, shortened};

/// Longest list of allowed values that is printed.
const MOST_OPTIONS: usize = 12;

/// What `error` means for `with`, the params of `what` (`plugin/op`). Nothing where the value has been told of already.
pub(super) fn violations(
    error: &ValidationError<'_>,
    schema: &Value,
    with: &Node,
    what: &str,
) -> Vec<Problem> {
    let path = segments(error.instance_path().as_str());
    let Some(node) = node_at(with, &path) else {
        return vec![Problem::at(with, format!("params of `{what}`: {error}"))];
    };
    if holds_broken(node) {
        return Vec::new();
    }
    let name = spelled(&path);
    let subject = if name.is_empty() { format!("the params of `{what}`") } else { format!("`{name}`") };
    let wrong =
        |must: String| vec![Problem::at(node, format!("{subject} must be {must}, not {}", node.describe()))];
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            unknown_keys(unexpected, &allowed_keys(error, schema), node, &path, what)
        }
        Kind::Required { property } => vec![missing(property, error, schema, node, &path, what)],
        Kind::Type { kind } => wrong(type_words(kind)),
        Kind::Enum { options } => {
            vec![not_an_option(options.as_array().map_or(&[], Vec::as_slice), node, &subject)]
        }
        Kind::Constant { expected_value } => wrong(one_value(expected_value)),
        Kind::Minimum { limit } => wrong(format!("at least {}", canonical_json(limit))),
        Kind::Maximum { limit } => wrong(format!("at most {}", canonical_json(limit))),
        Kind::ExclusiveMinimum { limit } => wrong(format!("more than {}", canonical_json(limit))),
        Kind::ExclusiveMaximum { limit } => wrong(format!("less than {}", canonical_json(limit))),
        Kind::MultipleOf { multiple_of } => wrong(format!("a multiple of {multiple_of}")),
        Kind::MinItems { limit } => counted(node, &subject, "at least", *limit, "item"),
        Kind::MaxItems { limit } => counted(node, &subject, "at most", *limit, "item"),
        Kind::MinLength { limit: 1 } => vec![Problem::at(node, format!("{subject} must not be empty"))],
        Kind::MinLength { limit } => counted(node, &subject, "at least", *limit, "character"),
        Kind::MaxLength { limit } => counted(node, &subject, "at most", *limit, "character"),
        Kind::Pattern { pattern } => wrong(format!("like `{pattern}`")),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => one_key(error, schema, node, &subject)
            .unwrap_or_else(|| branches(context, schema, with, node, &subject, what)),
        _ => vec![Problem::at(node, format!("{subject}: {error}"))],
    }
}

fn counted(node: &Node, subject: &str, bound: &str, limit: u64, unit: &str) -> Vec<Problem> {
    let plural = if limit == 1 { "" } else { "s" };
    vec![Problem::at(node, format!("{subject} must have {bound} {limit} {unit}{plural}"))]
}

/// Where every alternative is a map with one key of its own, such as the kinds of layer: what is wrong with the keys.
fn one_key(error: &ValidationError<'_>, schema: &Value, node: &Node, subject: &str) -> Option<Vec<Problem>> {
    let alternatives = schema.pointer(error.schema_path().as_str())?.as_array()?;
    let keys: Vec<&str> = alternatives
        .iter()
        .map(|alternative| match alternative.get("required")?.as_array()?.as_slice() {
            [key] => key.as_str(),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let problem = match node.entries()? {
        [(key, _)] if keys.contains(&key.name.as_str()) => return None,
        [(key, _)] => {
            let message = format!("unknown key `{}` in {subject}", shortened(&key.name));
            Problem::new(key.span, message).help(did_you_mean_or_list(&key.name, "one of", keys))
        }
        entries => {
            let message = format!("{subject} must be a map with one key, not with {}", entries.len());
            Problem::at(node, message).help(format!("one of: {}", keys.join(", ")))
        }
    };
    Some(vec![problem])
}

/// Of the alternatives that a value could have followed, the one it comes nearest to explains what is wrong.
fn branches(
    context: &[Vec<ValidationError<'static>>],
    schema: &Value,
    with: &Node,
    node: &Node,
    subject: &str,
    what: &str,
) -> Vec<Problem> {
    let here = context.iter().flatten().map(|error| depth(error)).min().unwrap_or(0);
    // A branch that fails only further down has the right shape.
    let deepest = context.iter().max_by_key(|branch| branch.iter().map(depth).min().unwrap_or(0));
    if let Some(branch) = deepest.filter(|branch| branch.iter().all(|error| depth(error) > here)) {
        return branch.iter().flat_map(|error| violations(error, schema, with, what)).collect();
    }
    let options: Vec<Value> = context.iter().flatten().flat_map(constants).collect();
    if options.len() >= context.len() && !matches!(node.data, Data::Map(_) | Data::List(_)) {
        return vec![not_an_option(&options, node, subject)];
    }
    // All that is wrong is the kind of value, as for a param that may be absent.
    let kinds: Vec<String> = context
        .iter()
        .filter_map(|branch| match branch.as_slice() {
            [error] => match error.kind() {
                Kind::Type { kind } => Some(type_words(kind)),
                _ => None,
            },
            _ => None,
        })
        .filter(|words| words != NOTHING)
        .collect();
    let others: Vec<&Vec<ValidationError<'static>>> =
        context.iter().filter(|branch| !is_about_kind(branch)).collect();
    match others.as_slice() {
        [] if !kinds.is_empty() => {
            vec![Problem::at(
                node,
                format!("{subject} must be {}, not {}", kinds.join(" or "), node.describe()),
            )]
        }
        [only] => only.iter().flat_map(|error| violations(error, schema, with, what)).collect(),
        _ => vec![Problem::at(node, format!("{subject} has none of the allowed forms"))],
    }
}

fn is_about_kind(branch: &[ValidationError<'_>]) -> bool {
    branch.iter().any(|error| matches!(error.kind(), Kind::Type { .. }))
}

fn depth(error: &ValidationError<'_>) -> usize {
    error.instance_path().as_str().matches('/').count()
}

fn constants(error: &ValidationError<'_>) -> Vec<Value> {
    match error.kind() {
        Kind::Constant { expected_value } => vec![(**expected_value).clone()],
        Kind::Enum { options } => options.as_array().cloned().unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn unknown_keys(
    unexpected: &[String],
    allowed: &[&str],
    node: &Node,
    path: &[String],
    what: &str,
) -> Vec<Problem> {
    let entries = node.entries().unwrap_or_default();
    unexpected
        .iter()
        .map(|name| {
            let (message, label, list) = if path.is_empty() {
                let message = format!("unknown parameter `{}`", shortened(name));
                (message, format!("{what} has no such parameter"), "its parameters are")
            } else {
                let message = format!("unknown key `{}` in `{}`", shortened(name), spelled(path));
                (message, "no such key".into(), "keys are")
            };
            let span =
                entries.iter().find(|(key, _)| key.name == *name).map_or(node.span, |(key, _)| key.span);
            let help = did_you_mean_or_list(name, list, allowed.iter().copied());
            Problem { span: Some(span), ..Problem::at(node, message) }.label(label).help(help)
        })
        .collect()
}

fn missing(
    property: &Value,
    error: &ValidationError<'_>,
    schema: &Value,
    node: &Node,
    path: &[String],
    what: &str,
) -> Problem {
    let name = property.as_str().unwrap_or_default();
    let message = if path.is_empty() {
        format!("{what} needs the parameter `{name}`")
    } else {
        format!("`{}` needs `{name}`", spelled(path))
    };
    let description = parent(error, schema)
        .and_then(|schema| schema.get("properties")?.get(name)?.get("description")?.as_str())
        .map(|text| format!("it is: {}", text.split_whitespace().collect::<Vec<_>>().join(" ")));
    Problem::at(node, message).maybe_help(description)
}

fn not_an_option(options: &[Value], node: &Node, subject: &str) -> Problem {
    let words: Vec<String> = options.iter().map(plain).collect();
    let list = if words.len() > MOST_OPTIONS {
        format!("one of: {}, …", words.iter().take(MOST_OPTIONS).cloned().collect::<Vec<_>>().join(", "))
    } else {
        format!("one of: {}", words.join(", "))
    };
    let near = node.text().and_then(|text| did_you_mean(text, words.iter().map(String::as_str)));
    Problem::at(node, format!("{subject} cannot be {}", shown(node))).help(list).maybe_help(near)
}

fn one_value(value: &Value) -> String {
    format!("`{}`", plain(value))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), Into::into)
}

/// A value among values: no more than its text.
fn shown(node: &Node) -> String {
    node.text().map_or_else(|| node.describe(), |text| format!("`{}`", shortened(text)))
}

const NOTHING: &str = "nothing";

fn type_words(kind: &TypeKind) -> String {
    let types: Vec<jsonschema::types::JsonType> = match kind {
        TypeKind::Single(one) => vec![*one],
        TypeKind::Multiple(several) => several.into_iter().collect(),
    };
    let words = types.iter().map(|kind| match kind.as_str() {
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a text",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map",
        _ => NOTHING,
    });
    let mut words: Vec<&str> = words.collect();
    if words.len() > 1 {
        words.retain(|word| *word != NOTHING);
    }
    words.join(" or ")
}

/// The schema that holds the keyword which `error` is about.
fn parent<'s>(error: &ValidationError<'_>, schema: &'s Value) -> Option<&'s Value> {
    schema.pointer(error.schema_path().as_str().rsplit_once('/')?.0)
}

fn allowed_keys<'s>(error: &ValidationError<'_>, schema: &'s Value) -> Vec<&'s str> {
    parent(error, schema)
        .and_then(|schema| schema.get("properties")?.as_object())
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

/// The parts of a JSON pointer.
fn segments(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
}

fn node_at<'n>(node: &'n Node, path: &[String]) -> Option<&'n Node> {
    path.iter().try_fold(node, |node, part| match &node.data {
        Data::List(items) => items.get(part.parse::<usize>().ok()?),
        _ => node.get(part),
    })
}

fn holds_broken(node: &Node) -> bool {
    match &node.data {
        Data::Broken => true,
        Data::List(items) => items.iter().any(holds_broken),
        Data::Map(entries) => entries.iter().any(|(_, value)| holds_broken(value)),
        _ => false,
    }
}

/// A path as people write it: `network.layers[3].conv.out`.
fn spelled(path: &[String]) -> String {
    let mut text = String::new();
    for part in path {
        if !text.is_empty() && !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()) {
            text += &format!("[{part}]");
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text += &shortened(part);
        }
    }
    text
}
