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
    say("bless 3/3: manifests, layers, and what pages show");
    let plugins = ["--package", "pipe-data", "--package", "pipe-torch", "--package", "pipe-onnx"];
    for (packages, filter) in
        [(&plugins[..], "the_manifest_is_the_one"), (&["--package", "pipe", "--test", "terminal"], "docs::")]
    {
        let mut tests = workspace.cargo();
        tests.arg("test").args(packages).args(["--", filter]).env("PIPE_UPDATE_DOCS", "1");
        finish(&mut tests)?;
    }
    layers::draw(workspace)?;
    say("look at the difference before you commit it: git diff");
    Ok(ExitCode::SUCCESS)
}
