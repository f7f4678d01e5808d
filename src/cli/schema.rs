//! `pipe schema`: the JSON Schema of pipeline.yaml, for editors.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::Manifest;

use super::Context;
use crate::error::{Error, ExitStatus};
use crate::plugin::Registry;
use crate::spec::{self, Manifests};
use crate::store::Store;

/// Print the JSON Schema of pipeline.yaml, with every plugin's params, for editors to complete and check
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write it to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the file cannot be written, or the cache folder cannot be used.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let manifests = manifests(&context.global.file)?;
    let text = text(&manifests)?;
    match args.output {
        Some(file) => {
            std::fs::write(&file, text)
                .map_err(|error| Error::failed(format!("cannot write `{}`: {error}", file.display())))?;
            let names: Vec<&str> = manifests.keys().map(String::as_str).collect();
            println!("wrote {}, with the plugins: {}", file.display(), names.join(", "));
        }
        // A reader that has seen enough is no failure.
        None => drop(std::io::stdout().write_all(text.as_bytes())),
    }
    Ok(ExitStatus::Done)
}

/// The schema as a file.
///
/// # Errors
/// Never for manifests that were read from JSON.
pub fn text(manifests: &BTreeMap<String, Arc<Manifest>>) -> Result<String, Error> {
    let mut text = serde_json::to_string_pretty(&spec::schema(manifests)).map_err(Error::failed)?;
    text.push('\n');
    Ok(text)
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
            Err(error) => eprintln!("warning: plugin `{name}` is left out: {}", error.message),
        }
    }
    Ok(manifests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_pipeline_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let text = text(&manifests(&folder.path().join("pipeline.yaml")).unwrap()).unwrap();
        assert!(text.starts_with("{\n  \"$schema\""));
        assert!(text.ends_with("}\n"));
    }
}
