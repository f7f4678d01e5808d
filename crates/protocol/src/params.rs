//! Params of an op, read once: into the op's own type, and checked against the JSON Schema that describes that type, which is what
//! its manifest says. Knows schemas and values; not what params mean together, which is the op's to check.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use schemars::{JsonSchema, schema_for};
use serde::de::DeserializeOwned;
use serde_json::{Number, Value};
use serde_path_to_error::Segment;

use crate::Problem;

/// Params of type `T`.
///
/// # Errors
/// What is not of the type, or all that the type's schema does not allow: each with its place, its value and what is allowed.
pub fn params<T: DeserializeOwned + JsonSchema>(params: &Value) -> Result<T, Vec<Problem>> {
    let read = serde_path_to_error::deserialize(params).map_err(|error| vec![mistyped(&error)])?;
    let wrong = violations(&schema_for!(T).to_value(), params);
    if wrong.is_empty() { Ok(read) } else { Err(wrong) }
}

/// A value of another type than that of its param, or a param that there is none of.
fn mistyped(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let mut pointer = String::new();
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => pointer += &format!("/{index}"),
            Segment::Map { key } => pointer += &format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            // It is no key of its own where it is spelled without one.
            Segment::Enum { .. } | Segment::Unknown => break,
        }
    }
    match pointer.strip_prefix('/') {
        None => Problem::new(format!("params: {}", error.inner())),
        Some(place) => Problem::new(format!("params: `{}`: {}", error.path(), error.inner())).param(place),
    }
}

/// All that `schema` does not allow of `params`, each place told of once.
fn violations(schema: &Value, params: &Value) -> Vec<Problem> {
    let validator = match jsonschema::draft202012::options().offline().build(schema) {
        Ok(validator) => validator,
        Err(error) => return vec![Problem::new(format!("the schema of the params is wrong: {error}"))],
    };
    let mut problems: Vec<Problem> = Vec::new();
    for error in validator.iter_errors(params) {
        for problem in told(&error, schema) {
            if problems.iter().all(|other| other.place != problem.place) {
                problems.push(problem);
            }
        }
    }
    problems
}

/// What an error says: the value, what is allowed, and whether it may be left out.
fn told(error: &ValidationError<'_>, schema: &Value) -> Vec<Problem> {
    if let Kind::AnyOf { context } | Kind::OneOfNotValid { context } = error.kind() {
        // Of the alternatives, `null` is not what was meant, and the one that fails furthest down comes nearest.
        let depth = |error: &ValidationError<'_>| error.instance_path().as_str().matches('/').count();
        let nearest = context.iter().max_by_key(|branch| branch.iter().map(depth).max());
        let meant = nearest.filter(|branch| branch.iter().all(|inner| depth(inner) > depth(error)));
        if let Some(branch) = meant {
            return branch.iter().flat_map(|inner| told(inner, schema)).collect();
        }
    }
    let pointer = error.instance_path().as_str();
    let name = spelled(pointer);
    // The schema that holds the violated keyword.
    let keyword = error.schema_path().as_str().rsplit_once('/');
    let holder = keyword.and_then(|(holder, _)| schema.pointer(holder));
    let is_nullable = holder
        .and_then(|holder| holder.get("type")?.as_array())
        .is_some_and(|types| types.iter().any(|kind| kind == "null"));
    let message = match (error.kind(), holder.and_then(range)) {
        (
            Kind::Minimum { .. }
            | Kind::Maximum { .. }
            | Kind::ExclusiveMinimum { .. }
            | Kind::ExclusiveMaximum { .. },
            Some(range),
        ) => format!("`{name}` is {}, but must be {range}", shown(error.instance())),
        (Kind::Type { kind }, _) => {
            format!("`{name}` is {}, but must be {}", shown(error.instance()), in_words(kind))
        }
        (Kind::MinItems { limit }, _) => format!("`{name}` must have at least {limit} of its items"),
        (Kind::Pattern { pattern }, _) => {
            format!("`{name}` is {}, but must be like `{pattern}`", shown(error.instance()))
        }
        _ => format!("`{name}`: {error}"),
    };
    let end = if is_nullable { "; or leave it out" } else { "" };
    vec![Problem::new(format!("{message}{end}")).param(pointer.trim_start_matches('/'))]
}

/// The types of a value that is there: `a whole number`.
fn in_words(kind: &TypeKind) -> String {
    let types: Vec<_> = match kind {
        TypeKind::Single(one) => vec![*one],
        TypeKind::Multiple(several) => several.into_iter().collect(),
    };
    let words = types.iter().filter_map(|kind| match kind.as_str() {
        "null" => None,
        "integer" => Some("a whole number"),
        "number" => Some("a number"),
        "string" => Some("a text"),
        "boolean" => Some("true or false"),
        "array" => Some("a list"),
        _ => Some("a map"),
    });
    words.collect::<Vec<_>>().join(" or ")
}

/// The numbers that a schema allows: `at least 1`, `1 to 9`, `above 0 and at most 1`.
fn range(schema: &Value) -> Option<String> {
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_number).map(plain);
    let (low, high) = (bound("minimum"), bound("maximum"));
    if let (Some(low), Some(high)) = (&low, &high) {
        return Some(format!("{low} to {high}"));
    }
    let low = low.map(|low| format!("at least {low}"));
    let low = low.or_else(|| Some(format!("above {}", bound("exclusiveMinimum")?)));
    let high = high.map(|high| format!("at most {high}"));
    let high = high.or_else(|| Some(format!("below {}", bound("exclusiveMaximum")?)));
    match (low, high) {
        (Some(low), Some(high)) => Some(format!("{low} and {high}")),
        (low, high) => low.or(high),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => plain(number),
        Value::String(text) => format!("`{text}`"),
        other => other.to_string(),
    }
}

/// A number without a fraction of zero.
fn plain(number: &Number) -> String {
    match number.as_f64() {
        Some(value) if number.is_f64() => value.to_string(),
        _ => number.to_string(),
    }
}

/// A JSON Pointer as people write it: `network.layers[3].conv.out`.
fn spelled(pointer: &str) -> String {
    let mut text = String::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if !text.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            text += &format!("[{part}]");
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text += &part;
        }
    }
    text
}

#[cfg(test)]
mod tests;
