//! Modules, imports and circles before the layers and now, as a table for `docs/architecture.md`. Knows which folders are
//! counted, and which commit was before.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::LAYERS;
use super::circles::{Sources, circles, count_imports, read};
use crate::workspace::Workspace;

/// The last commit with all of the runner in one package, and `pipe-torch` in one flat folder.
const BEFORE: &str = "d2620ec";

/// What stood in folders of that commit. It does not change any more.
const THEN: [(&str, &str); 2] =
    [("all of the runner, in `src/`", "src"), ("`plugins/torch/src/`", "plugins/torch/src")];

/// A param of a training, which is described, checked, kept with a training and used.
const PARAM: &str = "weight_decay";

const HEAD: &str = "| | files | imports between files | circles of files | files in circles | files with `weight_decay` |\n\
                    |---|---|---|---|---|---|\n";

/// The lines on what is there now.
pub(super) fn now(workspace: &Workspace) -> Result<String> {
    let mut folders = vec![("`src/`".to_owned(), "src".to_owned())];
    // The package `pipe` is `src/`.
    let inner = LAYERS.iter().rev().filter(|(package, _)| *package != "pipe");
    folders
        .extend(inner.map(|(package, _)| (format!("`crates/{package}/`"), format!("crates/{package}/src"))));
    for other in ["dataset", "onnx", "quant", "backprop", "model"] {
        folders.push((format!("`crates/{other}/`"), format!("crates/{other}/src")));
    }
    for plugin in ["data", "torch", "onnx"] {
        folders.push((format!("`plugins/{plugin}/`"), format!("plugins/{plugin}/src")));
    }
    let mut lines = String::new();
    for (name, folder) in folders {
        lines += &line(&name, &read(&workspace.path(&folder))?);
    }
    Ok(lines)
}

/// The whole table, for which the commit before has to be there.
pub(super) fn whole(workspace: &Workspace) -> Result<String> {
    let folder = workspace.path("target/before");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut table = HEAD.to_owned();
    for (name, path) in THEN {
        unpack(workspace, path, &folder)?;
        table += &line(&format!("before (`{BEFORE}`): {name}"), &read(&folder.join(path))?);
    }
    fs::remove_dir_all(&folder)?;
    Ok(table + &now(workspace)?)
}

/// Puts a folder as it was before into another.
fn unpack(workspace: &Workspace, path: &str, into: &Path) -> Result<()> {
    let mut command = workspace.command("sh");
    command.args(["-c", "git archive \"$0\" -- \"$1\" | tar -x -C \"$2\""]).args([BEFORE, path]).arg(into);
    let status = command.status().context("cannot start `sh`")?;
    if !status.success() || !into.join(path).exists() {
        bail!("`git archive {BEFORE}` failed: fetch the whole history (`git fetch --unshallow`)");
    }
    Ok(())
}

fn line(name: &str, sources: &Sources) -> String {
    let circles = circles(sources);
    let in_circles: usize = circles.iter().map(Vec::len).sum();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let has = |text: &&String| text.split(|c| !is_word(c)).any(|word| word == PARAM);
    let mut line = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        line,
        "| {name} | {} | {} | {} | {in_circles} | {} |",
        sources.len(),
        count_imports(sources),
        circles.len(),
        sources.values().filter(has).count(),
    );
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_files_imports_circles_and_a_param() {
        let path = |name: &str| vec![name.to_owned()];
        let sources = Sources::from([
            (vec![], "mod a;\nmod b;".to_owned()),
            (path("a"), "use crate::b::B;\nlet weight_decay = 1;".to_owned()),
            (path("b"), "use crate::a::A;\nlet my_weight_decay = 1;".to_owned()),
        ]);
        assert_eq!(line("x", &sources), "| x | 3 | 2 | 1 | 2 | 1 |\n");
    }
}
