//! `pipe schema`: the JSON Schema of pipeline.yaml, for editors, and of what commands print as JSON, for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipeline::spec::{self, Manifests};
use protocol::Manifest;
use schemars::generate::SchemaSettings;
use store::Store;
use text::printable::{clean, clean_line};

use super::output::{may_replace, print, print_json_text, tell};
use super::{Context, compare, doctor, gc, graph, history, reference, report, status, verify, why};
use crate::error::{Error, ExitStatus};
use crate::plugin::Registry;
use crate::progress::Line;

/// Print the JSON Schema of pipeline.yaml, with every plugin's params, for editors to complete and check
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the schema of what commands print with `--json` instead
    #[arg(long)]
    cli: bool,
    /// Print a reference for people instead, as Markdown: all commands, and the ops of all plugins
    #[arg(long, conflicts_with = "cli")]
    reference: bool,
    /// Write it to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite a file that holds something else
    #[arg(long, requires = "output")]
    force: bool,
}

/// Runs the command.
///
/// # Errors
/// When the file cannot be written, or the cache folder cannot be used.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let (text, content) = if args.cli {
        (of_answers()?, "the answers of all commands".to_owned())
    } else {
        let manifests = manifests(&context.global.file)?;
        let names: Vec<&str> = manifests.keys().map(String::as_str).collect();
        let text = if args.reference { clean(&reference::page(&manifests)) } else { text(&manifests)? };
        (text, format!("the plugins: {}", names.join(", ")))
    };
    match args.output {
        Some(file) => {
            let what = if args.reference { "such reference" } else { "such schema" };
            may_replace(&file, args.force, what, &|there| is_titled_alike(there, text.as_bytes()))?;
            std::fs::write(&file, text)
                .map_err(|error| Error::failed(format!("cannot write `{}`: {error}", file.display())))?;
            print(&format!("wrote {}, with {content}\n", file.display()))?;
        }
        None if args.reference => print(&text)?,
        None => print_json_text(&text)?,
    }
    Ok(ExitStatus::Done)
}

/// Whether two texts are schemas of the same title, or pages that begin with the same line.
fn is_titled_alike(one: &[u8], other: &[u8]) -> bool {
    let title = |bytes: &[u8]| {
        let schema: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        schema.get("title")?.as_str().map(str::to_owned)
    };
    match title(other) {
        Some(_) => title(one) == title(other),
        None => one.split(|byte| *byte == b'\n').next() == other.split(|byte| *byte == b'\n').next(),
    }
}

/// The schema of what commands print with `--json`, as a file.
fn of_answers() -> Result<String, Error> {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let answers = [
        generator.subschema_for::<status::Answer>(),
        generator.subschema_for::<why::Answer>(),
        generator.subschema_for::<history::Answer>(),
        generator.subschema_for::<compare::Answer>(),
        generator.subschema_for::<report::Answer>(),
        generator.subschema_for::<graph::Answer>(),
        generator.subschema_for::<doctor::Answer>(),
        generator.subschema_for::<gc::Answer>(),
        generator.subschema_for::<verify::Answer>(),
        generator.subschema_for::<Line>(),
    ];
    let schema = serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What pipe prints with --json",
        "anyOf": answers,
        "$defs": generator.take_definitions(true),
    });
    pretty(&schema)
}

fn pretty(schema: &serde_json::Value) -> Result<String, Error> {
    let mut text = serde_json::to_string_pretty(schema).map_err(Error::failed)?;
    text.push('\n');
    Ok(text)
}

/// The schema as a file.
///
/// # Errors
/// Never for manifests that were read from JSON.
pub fn text(manifests: &BTreeMap<String, Arc<Manifest>>) -> Result<String, Error> {
    pretty(&spec::schema(manifests))
}

/// Manifests of all plugins that are found, and those that the pipeline names or uses, by plugin. One that does not
/// describe itself is left out with a warning.
fn manifests(file: &Path) -> Result<BTreeMap<String, Arc<Manifest>>, Error> {
    // Without a pipeline, or with one that cannot be read, there are still the plugins beside this executable.
    let parsed = spec::parse(file).ok();
    let folder = file.parent().unwrap_or(Path::new(""));
    let root = std::path::absolute(folder.join(".")).map_err(Error::failed)?;
    let named = parsed.as_ref().map(|parsed| parsed.plugins().clone()).unwrap_or_default();
    let registry = Registry::new(&root, &named, &Store::open(&root)?);
    let used = parsed.iter().flat_map(|parsed| parsed.plugins_used()).map(ToOwned::to_owned);
    let names: BTreeSet<String> = registry.known().into_iter().chain(used).collect();
    let mut manifests = BTreeMap::new();
    for name in names {
        match Manifests::manifest(&registry, &name) {
            Ok(manifest) => {
                manifests.insert(name, manifest);
            }
            Err(error) => tell(&format!(
                "warning: plugin `{}` is left out: {}",
                clean_line(&name),
                clean(&error.message)
            )),
        }
    }
    Ok(manifests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_and_pages_are_known_by_their_titles() {
        let [schema, answers] = [text(&BTreeMap::new()).unwrap(), of_answers().unwrap()];
        let page = reference::page(&BTreeMap::new());
        let alike = |one: &str, other: &str| is_titled_alike(one.as_bytes(), other.as_bytes());
        for one in [&schema, &answers, &page] {
            assert!(alike(one, one) && !alike("", one) && !alike("{}", one) && !alike("# Mine", one));
        }
        assert!(!alike(&schema, &answers) && !alike(&answers, &schema) && !alike(&schema, &page));
    }

    #[test]
    fn a_folder_without_a_pipeline_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let text = text(&manifests(&folder.path().join("pipeline.yaml")).unwrap()).unwrap();
        assert!(text.starts_with("{\n  \"$schema\""));
        assert!(text.ends_with("}\n"));
    }
}
