//! JSON Schema of `pipeline.yaml`, for editors: its own keys from [`super::keys`], params and inputs of every op from
//! the manifests. Wherever a value may stand, so may `${vars.NAME}` and `${matrix.NAME}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::{IGNORE_KEYWORD, Manifest, OpManifest, SOURCE_KEYWORD};
use serde_json::{Map, Value, json};

use super::keys::{self, KeySpec, NAME_PATTERN};

/// Keywords that stay beside the alternatives when a value may also be a var: editors show them.
const ANNOTATIONS: [&str; 6] =
    ["title", "description", "default", "examples", SOURCE_KEYWORD, IGNORE_KEYWORD];

/// Keyword of an op's params: its outputs, file by name.
pub(super) const OUTPUTS_KEYWORD: &str = "x-pipe-outputs";

/// The schema (draft 2020-12) of pipelines that use the ops of `manifests`, by plugin name.
#[must_use]
pub fn schema(manifests: &BTreeMap<String, Arc<Manifest>>) -> Value {
    let mut definitions = Map::new();
    definitions.insert(
        "var".into(),
        json!({
            "type": "string",
            "pattern": r"\$\{(vars|matrix)\.",
            "description": "The value of a var or of a sweep: `${vars.NAME}`, `${matrix.NAME}`.",
        }),
    );
    definitions.insert("resources".into(), closed(keys::RESOURCES, with_vars));
    definitions.insert("retries".into(), closed(keys::RETRIES, with_vars));
    definitions.insert("report".into(), closed(keys::REPORT, with_vars));
    definitions.insert("column".into(), closed(keys::COLUMN, with_vars));
    let ops: Vec<(String, &OpManifest)> = manifests
        .iter()
        .flat_map(|(plugin, manifest)| {
            manifest.ops.iter().map(move |(op, spec)| (format!("{plugin}/{op}"), spec))
        })
        .collect();
    definitions.insert("stage".into(), stage(&ops));
    for (name, op) in &ops {
        add_params(name, op, &mut definitions);
    }
    let mut schema = Map::new();
    schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".into(), json!("pipeline.yaml"));
    schema.insert(
        "description".into(),
        json!("A pipeline of `pipe`: stages, and what their result must satisfy."),
    );
    if let Value::Object(file) = closed(keys::FILE, Value::clone) {
        schema.extend(file);
    }
    schema.insert("$defs".into(), Value::Object(definitions));
    Value::Object(schema)
}

/// A map with these keys and no others. `change` is applied to the schema of each.
fn closed(known: &[KeySpec], change: fn(&Value) -> Value) -> Value {
    let properties: Map<String, Value> = known
        .iter()
        .map(|key| {
            let mut schema = change(&(key.schema)());
            if let Value::Object(schema) = &mut schema {
                schema.insert("description".into(), key.doc.into());
            }
            (key.name.into(), schema)
        })
        .collect();
    let required: Vec<&str> = known.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let Value::Object(schema) = &mut schema
        && !required.is_empty()
    {
        schema.insert("required".into(), json!(required));
    }
    schema
}

fn stage(ops: &[(String, &OpManifest)]) -> Value {
    let mut stage = closed(keys::STAGE, with_vars);
    let known = ops.iter().map(|(name, op)| json!({ "const": name, "description": described(op) }));
    let other =
        json!({ "type": "string", "pattern": "^[^/]+/[^/]+$", "description": "An op of another plugin." });
    let uses: Vec<Value> = known.chain([other]).collect();
    if let Some(Value::Object(property)) = stage.pointer_mut("/properties/uses") {
        property.remove("type");
        property.insert("anyOf".into(), Value::Array(uses));
    }
    let rules: Vec<Value> = ops.iter().map(|(name, op)| rule(name, op)).collect();
    if let Value::Object(stage) = &mut stage {
        stage.insert("oneOf".into(), json!([{ "required": ["uses"] }, { "required": ["run"] }]));
        if !rules.is_empty() {
            stage.insert("allOf".into(), Value::Array(rules));
        }
    }
    stage
}

/// What a stage that uses the op `name` may say.
fn rule(name: &str, op: &OpManifest) -> Value {
    let inputs: Map<String, Value> = op
        .inputs
        .iter()
        .map(|(input, spec)| (input.clone(), json!({ "type": "string", "description": spec.description })))
        .collect();
    let needed: Vec<&String> =
        op.inputs.iter().filter(|(_, spec)| !spec.optional).map(|(input, _)| input).collect();
    let others = op
        .extra_inputs
        .as_ref()
        .map_or(Value::Bool(false), |extra| json!({ "type": "string", "description": extra.description }));
    let wants_params =
        op.params.get("required").and_then(Value::as_array).is_some_and(|names| !names.is_empty());
    let mut required = Vec::new();
    if wants_params {
        required.push("with");
    }
    if !needed.is_empty() {
        required.push("inputs");
    }
    json!({
        "if": { "properties": { "uses": { "const": name } }, "required": ["uses"] },
        "then": {
            "properties": {
                "with": { "$ref": format!("#/$defs/{}", definition(name)) },
                "inputs": {
                    "type": "object",
                    "properties": inputs,
                    "required": needed,
                    "propertyNames": { "pattern": NAME_PATTERN },
                    "additionalProperties": others,
                },
                "outputs": false,
                "env": false,
                "params": false,
                "run": false,
            },
            "required": required,
        },
    })
}

/// Adds the op's params, and the definitions that they refer to, under names of their own.
fn add_params(name: &str, op: &OpManifest, definitions: &mut Map<String, Value>) {
    let prefix = definition(name);
    let mut params = renamed(&op.params, &prefix);
    if let Value::Object(params) = &mut params {
        params.remove("$schema");
        if let Some(Value::Object(own)) = params.remove("$defs") {
            for (key, value) in own {
                definitions.insert(format!("{prefix}.{key}"), with_vars_inside(&value));
            }
        }
        params.insert("title".into(), json!(format!("Params of {name}")));
        params.insert("description".into(), json!(described(op)));
        let outputs: Map<String, Value> =
            op.outputs.iter().map(|(name, output)| (name.clone(), json!(output.file))).collect();
        params.insert(OUTPUTS_KEYWORD.into(), Value::Object(outputs));
    }
    definitions.insert(prefix, with_vars_inside(&params));
}

/// What an op does and what it produces.
fn described(op: &OpManifest) -> String {
    let outputs: Vec<String> =
        op.outputs.iter().map(|(name, output)| format!("`{name}` ({})", output.description)).collect();
    if outputs.is_empty() {
        format!("{}.", op.description)
    } else {
        format!("{}. Outputs: {}.", op.description, outputs.join(", "))
    }
}

/// Name of an op's definition: without a slash, which pointers would have to escape.
fn definition(op: &str) -> String {
    op.replace('/', ".")
}

/// `schema` with references to its own definitions under `prefix`.
fn renamed(schema: &Value, prefix: &str) -> Value {
    match schema {
        Value::Array(items) => Value::Array(items.iter().map(|item| renamed(item, prefix)).collect()),
        Value::Object(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, value)| {
                    let own = value
                        .as_str()
                        .filter(|_| key == "$ref")
                        .and_then(|text| text.strip_prefix("#/$defs/"));
                    let value = own.map_or_else(
                        || renamed(value, prefix),
                        |own| json!(format!("#/$defs/{prefix}.{own}")),
                    );
                    (key.clone(), value)
                })
                .collect(),
        ),
        other => other.clone(),
    }
}

/// `schema`, or a var.
fn with_vars(schema: &Value) -> Value {
    let Value::Object(entries) = with_vars_inside(schema) else { return schema.clone() };
    // Any text will do already.
    let plain_text = entries.get("type") == Some(&json!("string"))
        && !["enum", "const", "pattern", "format", "minLength"].iter().any(|key| entries.contains_key(*key));
    if plain_text || entries.is_empty() {
        return Value::Object(entries);
    }
    let (mut outside, inside): (Map<String, Value>, Map<String, Value>) =
        entries.into_iter().partition(|(key, _)| ANNOTATIONS.contains(&key.as_str()));
    outside.insert("anyOf".into(), json!([inside, { "$ref": "#/$defs/var" }]));
    Value::Object(outside)
}

/// `schema`, in which every value further down may also be a var.
fn with_vars_inside(schema: &Value) -> Value {
    let Value::Object(entries) = schema else { return schema.clone() };
    let each = |value: &Value, change: fn(&Value) -> Value| match value {
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, member)| (name.clone(), change(member))).collect())
        }
        other => other.clone(),
    };
    let changed = entries.iter().map(|(key, value)| {
        let value = match key.as_str() {
            "properties" | "patternProperties" => each(value, with_vars),
            "$defs" => each(value, with_vars_inside),
            "items" | "additionalProperties" => with_vars(value),
            "prefixItems" => list(value, with_vars),
            "oneOf" | "anyOf" | "allOf" => list(value, with_vars_inside),
            _ => value.clone(),
        };
        (key.clone(), value)
    });
    Value::Object(changed.collect())
}

fn list(value: &Value, change: fn(&Value) -> Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(change).collect()),
        other => other.clone(),
    }
}
