//! Which package of the runner may use which: said here, drawn in `docs/architecture.md`, and held by tests. Knows
//! packages and what their `Cargo.toml` asks for; which files import each other is looked at in [`circles`], and counted in
//! [`table`].

mod circles;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::workspace::Workspace;

/// The page with the drawing.
const PAGE: &str = "docs/architecture.md";
/// What stands around the drawing there.
const BEGIN: &str = "<!-- Drawn by `cargo xtask layers`. -->\n";
const END: &str = "<!-- End of what is drawn. -->\n";
/// What stands around the table there.
const COUNTED: &str = "<!-- Counted by `cargo xtask layers`. -->\n";
const END_OF_COUNTED: &str = "<!-- End of what is counted. -->\n";

/// The runner from the ground up: each package, and what of this workspace it may use.
const LAYERS: [(&str, &[&str]); 10] = [
    ("regular", &[]),
    ("protocol", &["regular"]),
    ("patterns", &[]),
    ("text", &["regular", "protocol"]),
    ("pipeline", &["regular", "protocol", "patterns", "text"]),
    ("record", &["protocol", "text", "pipeline"]),
    ("store", &["regular", "protocol", "text", "pipeline", "record"]),
    ("history", &["protocol", "text", "pipeline", "record", "store"]),
    ("report", &["regular", "protocol", "text", "pipeline", "record", "store", "history"]),
    ("pipe", &["regular", "protocol", "text", "pipeline", "record", "store", "history", "report"]),
];

/// What of the above plugins and the crates below them may use, too.
#[cfg(test)]
const FOR_ALL: [&str; 3] = ["regular", "protocol", "patterns"];

/// What each package of the workspace uses of it, not counting what only tests use.
type Uses = BTreeMap<String, BTreeSet<String>>;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    /// Absent for what comes from a registry.
    path: Option<String>,
}

/// Draws the layers into the page, and counts modules and imports.
pub(crate) fn draw(workspace: &Workspace) -> Result<()> {
    let path = workspace.path(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read `{PAGE}`"))?;
    let page = replaced(&page, [BEGIN, END], &drawing(&uses(workspace)?))?;
    let page = replaced(&page, [COUNTED, END_OF_COUNTED], &table::whole(workspace)?)?;
    fs::write(&path, page).with_context(|| format!("cannot write `{PAGE}`"))
}

fn uses(workspace: &Workspace) -> Result<Uses> {
    let asked = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let output = workspace.cargo().args(asked).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let found: Metadata = serde_json::from_slice(&output.stdout).context("cannot read `cargo metadata`")?;
    let used = |package: Package| {
        let own = package.dependencies.into_iter();
        let own = own.filter(|used| used.path.is_some() && used.kind.as_deref() != Some("dev"));
        (package.name, own.map(|used| used.name).collect())
    };
    Ok(found.packages.into_iter().map(used).collect())
}

/// What packages use that they may not, one a line.
#[cfg(test)]
fn faults(uses: &Uses) -> Vec<String> {
    let layers = BTreeMap::from(LAYERS);
    let mut faults = vec![];
    for (package, used) in uses {
        for used in used {
            let is_allowed = match layers.get(package.as_str()) {
                Some(allowed) => allowed.contains(&used.as_str()),
                None => !layers.contains_key(used.as_str()) || FOR_ALL.contains(&used.as_str()),
            };
            if !is_allowed {
                faults.push(format!("`{package}` may not use `{used}`"));
            }
        }
    }
    faults
}

/// The packages of the runner and what they use, without what they use by another that they use.
fn drawing(uses: &Uses) -> String {
    let mut drawing = "```mermaid\nflowchart TD\n".to_owned();
    for (package, _) in LAYERS.iter().rev() {
        for used in uses.get(*package).into_iter().flatten() {
            let others = uses.get(*package).into_iter().flatten().filter(|other| *other != used);
            if !others.into_iter().any(|other| reaches(uses, other, used)) {
                // Writing to a string cannot fail.
                let _ = writeln!(drawing, "    {package} --> {used}");
            }
        }
    }
    drawing + "```\n"
}

/// Cargo lets no package use itself, so that this ends.
fn reaches(uses: &Uses, from: &str, to: &str) -> bool {
    uses.get(from).into_iter().flatten().any(|used| used == to || reaches(uses, used, to))
}

/// The page with `text` between two marks.
fn replaced(page: &str, [begin, end]: [&str; 2], text: &str) -> Result<String> {
    let around = page.split_once(begin).and_then(|(head, rest)| Some((head, rest.split_once(end)?.1)));
    let (head, tail) = around.with_context(|| format!("`{PAGE}` has no place for what follows {begin:?}"))?;
    Ok([head, begin, text, end, tail].concat())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn workspace() -> Workspace {
        Workspace::at(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
    }

    fn made(packages: &[(&str, &[&str])]) -> Uses {
        let named = |used: &&str| (*used).to_owned();
        packages.iter().map(|(name, used)| ((*name).to_owned(), used.iter().map(named).collect())).collect()
    }

    #[test]
    fn no_package_uses_what_lies_above_it() {
        let uses = uses(&workspace()).unwrap();
        assert_eq!(faults(&uses), Vec::<String>::new());
        for (package, _) in LAYERS {
            assert!(uses.contains_key(package), "there is no `{package}`");
        }
    }

    #[test]
    fn what_may_not_be_used_is_noticed() {
        let uses = made(&[
            ("store", &["record", "report"]),
            ("pipe-data", &["protocol", "store", "dataset"]),
            ("dataset", &[]),
            ("history", &["dataset"]),
        ]);
        let faults = faults(&uses);
        let expected = [
            "`history` may not use `dataset`",
            "`pipe-data` may not use `store`",
            "`store` may not use `report`",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn what_is_used_by_way_of_another_is_not_drawn() {
        let uses = made(&[("pipe", &["store", "record"]), ("store", &["record"]), ("record", &[])]);
        assert_eq!(
            drawing(&uses),
            "```mermaid\nflowchart TD\n    pipe --> store\n    store --> record\n```\n"
        );
    }

    #[test]
    fn the_page_shows_the_layers_as_they_are() {
        let workspace = workspace();
        let page = fs::read_to_string(workspace.path(PAGE)).unwrap();
        let drawn = replaced(&page, [BEGIN, END], &drawing(&uses(&workspace).unwrap())).unwrap();
        assert!(page == drawn, "`cargo xtask layers` draws `{PAGE}` anew");
        assert!(replaced("no place", [BEGIN, END], "").is_err());
    }

    /// Names and circles; how many files and imports there are changes with every file. The lines on what was before are those of a
    /// commit, which not every clone has.
    #[test]
    fn the_page_counts_the_circles_that_are_there_now() {
        let lasting = |line: &str| {
            let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
            [&cells[1..2], &cells[4..]].concat()
        };
        let workspace = workspace();
        let page = fs::read_to_string(workspace.path(PAGE)).unwrap();
        let counted = page.split_once(COUNTED).unwrap().1.split_once(END_OF_COUNTED).unwrap().0;
        let now = table::now(&workspace).unwrap();
        let counted: Vec<_> = counted.lines().skip(4).map(lasting).collect();
        let now: Vec<_> = now.lines().map(lasting).collect();
        assert_eq!(counted, now, "`cargo xtask layers` counts anew");
    }
}
