//! What is done over and over while the project is changed: formatting, lints, and writing anew what tests compare with.
//!
//! Knows which commands these are, and in which order. What they check, the tools know.

use std::process::{ExitCode, Stdio};

use anyhow::{Result, bail};

use crate::step::finish;
use crate::workspace::{Workspace, say};
use crate::{layers, setup};

/// The version of cargo-deny that `deny.toml` is written for.
const DENY: &str = "0.20.2";

/// The packages whose tests hold messages against snapshots.
const SNAPSHOTS: [&str; 6] = ["arrays", "dataset", "pipeline", "report", "pipe-data", "pipe"];

/// Formats every package.
pub(crate) fn fmt(workspace: &Workspace) -> Result<ExitCode> {
    finish(workspace.cargo().args(["fmt", "--all"]))?;
    Ok(ExitCode::SUCCESS)
}

/// What a change has to pass before its tests, the quickest first.
pub(crate) fn lint(workspace: &Workspace) -> Result<ExitCode> {
    say("lint 1/3: formatting");
    finish(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    say("lint 2/3: licences and origins of dependencies");
    deny(workspace)?;
    say("lint 3/3: clippy");
    setup::run(workspace)?;
    finish(workspace.cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks cargo-deny all that can be asked without a network. Advisories are in a repository that it would have to fetch.
fn deny(workspace: &Workspace) -> Result<()> {
    let mut version = workspace.cargo();
    version.args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        bail!("cargo-deny is missing: `cargo install --locked --no-default-features cargo-deny@{DENY}`");
    }
    finish(workspace.cargo().args(["deny", "check", "licenses", "bans", "sources"]))
}

/// Writes anew what tests hold against the code.
pub(crate) fn bless(workspace: &Workspace) -> Result<ExitCode> {
    say("bless 1/3: building (some minutes the first time)");
    setup::run(workspace)?;
    finish(workspace.cargo().args(["build", "--workspace"]))?;
    say("bless 2/3: the schema of pipelines and the reference");
    for (args, page) in
        [(&["schema"][..], "docs/pipeline.schema.json"), (&["schema", "--reference"], "docs/reference.md")]
    {
        finish(
            workspace
                .command(workspace.path("target/debug/pipe"))
                .args(args)
                .args(["--force", "--output", page]),
        )?;
    }
    say("bless 3/3: manifests, snapshots, layers, and what pages show");
    let plugins = ["--package", "pipe-data", "--package", "pipe-torch", "--package", "pipe-onnx"];
    for (packages, filter) in
        [(&plugins[..], "the_manifest_is_the_one"), (&["--package", "pipe", "--test", "terminal"], "docs::")]
    {
        let mut tests = workspace.cargo();
        tests.arg("test").args(packages).args(["--", filter]).env("PIPE_UPDATE_DOCS", "1");
        finish(&mut tests)?;
    }
    let mut tests = workspace.cargo();
    tests.args(["test", "--no-fail-fast"]).env("INSTA_UPDATE", "always");
    finish(tests.args(SNAPSHOTS.iter().flat_map(|package| ["--package", package])))?;
    layers::draw(workspace)?;
    say("look at the difference before you commit it: git diff");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn below(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, extension, found);
            } else if path.extension().is_some_and(|own| own == extension) {
                found.push(path);
            }
        }
    }

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    fn all(extension: &str) -> Vec<PathBuf> {
        let mut found = vec![];
        for folder in ["crates", "plugins", "src", "tests", "xtask"] {
            below(&root().join(folder), extension, &mut found);
        }
        found
    }

    #[test]
    fn every_package_with_snapshots_is_blessed() {
        let uses =
            |path: &PathBuf| fs::read_to_string(path).unwrap().contains("\nsnapshots.workspace = true");
        let mut manifests = all("toml");
        manifests.push(root().join("Cargo.toml"));
        assert_eq!(manifests.iter().filter(|path| uses(path)).count(), SNAPSHOTS.len());
    }

    /// A snapshot is called after its test and the modules that this is in; one of several in a test has a number.
    #[test]
    fn every_snapshot_has_its_test() {
        let snapshots = all("snap");
        assert!(snapshots.len() > 100, "{}", snapshots.len());
        for path in snapshots {
            let text = fs::read_to_string(&path).unwrap();
            let source = text.lines().find_map(|line| line.strip_prefix("source: ")).unwrap();
            let source = fs::read_to_string(root().join(source)).unwrap_or_default();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let name = name.rsplit("__").next().unwrap();
            let test = name.rsplit_once('-').map_or(name, |(test, _)| test);
            let is_named = source.contains(&format!("fn {test}(")) || test.starts_with("help");
            assert!(is_named, "nothing uses `{}`", path.display());
        }
    }
}
