//! The reference as Markdown, from what commands and plugins say of themselves. Knows no command and no op by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use clap::{Arg, Command, CommandFactory};
use protocol::{KeyScope, Manifest, OpManifest, Threads};
use serde_json::Value;

use super::Cli;
use crate::env;

/// The whole page.
pub(super) fn page(manifests: &BTreeMap<String, Arc<Manifest>>) -> String {
    let mut text = String::from(
        "# Reference\n\nWritten by `pipe schema --reference` from the code itself; a test holds this file against it. For what belongs \
         together, see [pipeline.yaml](pipeline.md).\n\n## Commands\n\nEvery command takes these, too:\n\n",
    );
    let cli = Cli::command().disable_help_subcommand(true);
    arguments(&mut text, cli.get_arguments());
    for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
        self::command(&mut text, command);
    }
    variables(&mut text);
    text.push_str("## Ops\n\nWhat `uses: PLUGIN/OP` can name, with the plugins that come with `pipe`.\n\n");
    for (plugin, manifest) in manifests {
        for (name, op) in &manifest.ops {
            self::op(&mut text, &format!("{plugin}/{name}"), op);
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

// Writing to a string cannot fail, here and below.
fn command(text: &mut String, command: &Command) {
    let _ = write!(text, "### `pipe {}`\n\n", command.get_name());
    if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
        let _ = write!(text, "{}\n\n", about.to_string().trim());
    }
    arguments(text, command.get_arguments());
}

fn variables(text: &mut String) {
    text.push_str("## Environment variables\n\nWhat `pipe` itself reads.\n\n| variable | |\n|---|---|\n");
    for variable in env::ALL {
        let _ = writeln!(text, "| `{}` | {} |", variable.name, variable.about);
    }
    text.push('\n');
}

/// A table of arguments, or nothing where there are none.
fn arguments<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    let shown: Vec<&Arg> = arguments
        .filter(|arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version"))
        .collect();
    if shown.is_empty() {
        return;
    }
    text.push_str("| argument | |\n|---|---|\n");
    for arg in shown {
        let help =
            arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "| {} | {} |", spelled(arg), cell(&help));
    }
    text.push('\n');
}

/// As it is typed: `` `-o`, `--output FILE` ``.
fn spelled(arg: &Arg) -> String {
    let names: Vec<&str> =
        arg.get_value_names().into_iter().flatten().map(clap::builder::Str::as_str).collect();
    let value = if arg.get_action().takes_values() { format!(" {}", names.join(" ")) } else { String::new() };
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("`-{short}`, `--{long}{value}`"),
        (None, Some(long)) => format!("`--{long}{value}`"),
        (Some(short), None) => format!("`-{short}{value}`"),
        (None, None) => format!("`{}`", value.trim()),
    }
}

fn op(text: &mut String, name: &str, op: &OpManifest) {
    let _ = write!(text, "### `{name}`\n\n{}.", op.description.trim_end_matches('.'));
    if op.resources.exclusive {
        text.push_str(" Nothing else runs meanwhile.");
    } else if op.resources.threads == Threads::All {
        text.push_str(" It uses all threads.");
    }
    if op.scope == KeyScope::Hardware {
        text.push_str(" Its result is one of this machine, and stale on another.");
    }
    text.push_str("\n\n");
    let mut files: Vec<(String, String)> = vec![];
    for (input, spec) in &op.inputs {
        let optional = if spec.optional { ", optional" } else { "" };
        files.push((format!("input `{input}`{optional}"), spec.description.clone()));
    }
    if let Some(extra) = &op.extra_inputs {
        files.push(("input of any other name".into(), extra.description.clone()));
    }
    for (output, spec) in &op.outputs {
        files.push((format!("output `{output}`, `{}`", spec.file), spec.description.clone()));
    }
    if !files.is_empty() {
        text.push_str("| file | |\n|---|---|\n");
        for (what, description) in files {
            let _ = writeln!(text, "| {what} | {} |", cell(&description));
        }
        text.push('\n');
    }
    let mut told = BTreeSet::new();
    params(text, "", &op.params, &op.params, &mut told);
}

/// A table of the properties of an object, then one of each object that they name. `root` has the definitions.
fn params(text: &mut String, path: &str, object: &Value, root: &Value, told: &mut BTreeSet<String>) {
    let Some(properties) = object["properties"].as_object().filter(|properties| !properties.is_empty())
    else {
        return;
    };
    let required: Vec<&str> =
        object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let heading = if path.is_empty() { "param" } else { path };
    let _ = write!(text, "| {heading} | type | default | |\n|---|---|---|---|\n");
    let mut inside: Vec<(String, Value)> = vec![];
    for (name, schema) in properties {
        let default = match schema.get("default") {
            Some(default) => format!("`{}`", cell(&default.to_string())),
            None if required.contains(&name.as_str()) => "required".into(),
            None => String::new(),
        };
        let mut objects = vec![];
        let kind = kind(schema, root, &mut objects);
        let description = schema["description"].as_str().unwrap_or_default();
        let _ = writeln!(text, "| `{name}` | {} | {default} | {} |", cell(&kind), cell(description));
        inside.extend(objects);
    }
    text.push('\n');
    for (name, object) in inside {
        if told.insert(name.clone()) {
            params(text, &format!("of {name}"), &object, root, told);
        }
    }
}

/// A type in words. Objects that have properties are named, and gathered to be told in full.
fn kind(schema: &Value, root: &Value, objects: &mut Vec<(String, Value)>) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        let target = &root["$defs"][name];
        if target["properties"].is_object() {
            objects.push((name.to_owned(), target.clone()));
            return name.to_owned();
        }
        return kind(target, root, objects);
    }
    if let Some(value) = schema.get("const") {
        return format!("`{}`", word(value));
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("`{}`", word(value))).collect::<Vec<_>>().join(", ");
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(ways) = schema[key].as_array() {
            let mut words: Vec<String> = ways.iter().map(|way| kind(way, root, objects)).collect();
            words.dedup();
            return words.join(", ");
        }
    }
    let of_type = |name: &str, objects: &mut Vec<(String, Value)>| match name {
        "array" => format!("list of {}", kind(&schema["items"], root, objects)),
        "object" => match schema["properties"].as_object() {
            Some(fields) => format!(
                "map of {}",
                fields.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
            ),
            None => "map".into(),
        },
        "integer" | "number" => limited(name, schema),
        other => other.to_owned(),
    };
    match &schema["type"] {
        Value::String(name) => of_type(name, objects),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str);
            names.map(|name| of_type(name, objects)).collect::<Vec<_>>().join(" or ")
        }
        _ => "any".into(),
    }
}

/// A number with the limits that its schema has.
fn limited(name: &str, schema: &Value) -> String {
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(low), Some(high)) => format!("{name}, {low} to {high}"),
        (Some(low), None) => format!("{name}, at least {low}"),
        (None, Some(high)) => format!("{name}, at most {high}"),
        (None, None) => name.to_owned(),
    }
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Text that stays in its cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: &Value) -> String {
        let mut text = String::new();
        params(&mut text, "", schema, schema, &mut BTreeSet::new());
        text
    }

    #[test]
    fn params_are_told_with_type_default_and_what_they_hold() {
        let schema = json!({
            "properties": {
                "epochs": { "type": "integer", "minimum": 1, "default": 75, "description": "How | many." },
                "flip": { "oneOf": [{ "type": "boolean" }, { "const": "alternating" }] },
                "layers": { "type": "array", "items": { "$ref": "#/$defs/Layer" } },
            },
            "required": ["layers"],
            "$defs": { "Layer": { "properties": { "kernel": { "type": ["integer", "null"] } } } },
        });
        assert_eq!(
            told(&schema),
            "| param | type | default | |\n|---|---|---|---|\n| `epochs` | integer, at least 1 | `75` | How \\| many. |\n\
             | `flip` | boolean, `alternating` |  |  |\n| `layers` | list of Layer | required |  |\n\n\
             | of Layer | type | default | |\n|---|---|---|---|\n| `kernel` | integer or null |  |  |\n\n"
        );
    }

    /// Definitions may name each other.
    #[test]
    fn what_holds_itself_is_told_once() {
        let schema = json!({
            "properties": { "tree": { "$ref": "#/$defs/Tree" } },
            "$defs": { "Tree": { "properties": { "left": { "$ref": "#/$defs/Tree" } } } },
        });
        assert_eq!(told(&schema).matches("of Tree").count(), 1);
    }

    #[test]
    fn every_command_has_a_section_and_every_argument_a_row() {
        let text = page(&BTreeMap::new());
        for part in
            ["### `pipe run`", "| `--baseline RUN` |", "### `pipe ui`", "| `-o`, `--output FILE` |", "## Ops"]
        {
            assert!(text.contains(part), "no {part}");
        }
    }
}
