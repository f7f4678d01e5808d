//! Files that import each other, found by reading the paths after `use`, and those that begin with `crate` or `super`.
//! Knows no types and no macros. A file and one below its folder may import each other: they are a module and a part of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Where a module lies in its crate; empty for the crate itself.
type Module = Vec<String>;
/// Which modules a module imports from.
type Imports = BTreeMap<Module, BTreeSet<Module>>;

/// A name in a module.
type Name = (Module, String);
/// Names that a module has from elsewhere for others.
type Given = BTreeMap<Name, Name>;

/// A name more than so often handed on is given up.
const MOST_HANDS: usize = 8;

/// The modules of a crate with their texts.
pub(super) type Sources = BTreeMap<Module, String>;

/// The modules of a crate with their texts, without those that are for tests.
pub(super) fn read(folder: &Path) -> Result<Sources> {
    let mut modules = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        let cannot = || format!("cannot read `{}`", next.display());
        for entry in fs::read_dir(&next).with_context(cannot)? {
            let path = entry.with_context(cannot)?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inner = path.strip_prefix(folder)?.with_extension("");
                let mut module: Module =
                    inner.iter().map(|part| part.to_string_lossy().into_owned()).collect();
                let names_its_folder =
                    matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main"));
                if names_its_folder {
                    module.pop();
                }
                if !module.iter().any(|part| part == "tests") {
                    modules.insert(module, fs::read_to_string(&path).with_context(cannot)?);
                }
            }
        }
    }
    Ok(modules)
}

/// How many imports there are between files of which neither is part of the other.
pub(super) fn count_imports(sources: &Sources) -> usize {
    imports(sources).values().map(BTreeSet::len).sum()
}

/// Groups of modules that import each other, directly or by way of others of the group.
pub(super) fn circles(sources: &Sources) -> Vec<Vec<String>> {
    let imports = imports(sources);
    let reach: BTreeMap<&Module, BTreeSet<&Module>> =
        imports.keys().map(|module| (module, reached(&imports, module))).collect();
    let mut circles = BTreeSet::new();
    for (module, there) in &reach {
        let back = |other: &&&Module| reach.get(*other).is_some_and(|its| its.contains(module));
        if there.contains(module) {
            circles.insert(there.iter().filter(back).map(|module| module.join("::")).collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

fn reached<'i>(imports: &'i Imports, from: &Module) -> BTreeSet<&'i Module> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&Module> = imports.get(from).into_iter().flatten().collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(imports.get(next).into_iter().flatten());
        }
    }
    found
}

/// What each module imports of others that are neither part of it nor what it is part of.
fn imports(sources: &Sources) -> Imports {
    let paths: BTreeMap<&Module, Paths> =
        sources.iter().map(|(module, text)| (module, Paths::of(text))).collect();
    let mut given = Given::new();
    for (module, paths) in &paths {
        for (path, name) in &paths.given {
            if let Some(from) = place(sources, module, path) {
                given.insert(((*module).clone(), name.clone()), from);
            }
        }
    }
    let related = |one: &Module, other: &Module| one.starts_with(other) || other.starts_with(one);
    let of = |(module, paths): (&Module, Paths)| {
        let places = paths.all.iter().filter_map(|path| place(sources, module, path));
        let found = places.map(|name| origin(&given, name));
        (module.clone(), found.filter(|from| !related(from, module)).collect())
    };
    paths.into_iter().map(of).collect()
}

/// The module that a path leads to as seen from `module`, and the name in it.
fn place(sources: &Sources, module: &Module, path: &[String]) -> Option<Name> {
    let mut at = module.clone();
    let mut rest = path;
    match path.first().map(String::as_str) {
        Some("crate") => (at, rest) = (vec![], path.get(1..)?),
        Some("self") => rest = path.get(1..)?,
        Some("super") => {
            while rest.first().is_some_and(|step| step == "super") {
                at.pop()?;
                rest = rest.get(1..)?;
            }
        }
        // A part of the module; else another crate.
        Some(first) if sources.contains_key(&[at.as_slice(), &[first.to_owned()]].concat()) => {}
        _ => return None,
    }
    while let Some(step) = rest.first() {
        let inner = [at.as_slice(), std::slice::from_ref(step)].concat();
        if !sources.contains_key(&inner) {
            break;
        }
        (at, rest) = (inner, rest.get(1..)?);
    }
    Some((at, rest.first().cloned().unwrap_or_default()))
}

/// The module that a name comes from, which another may have handed on.
fn origin(given: &Given, mut name: Name) -> Module {
    for _ in 0..MOST_HANDS {
        match given.get(&name) {
            Some(from) => name.clone_from(from),
            None => break,
        }
    }
    name.0
}

/// The paths in a text.
#[derive(Default)]
struct Paths {
    all: Vec<Vec<String>>,
    /// Those of `pub use`, with the name that is given.
    given: Vec<(Vec<String>, String)>,
}

impl Paths {
    fn of(text: &str) -> Self {
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code: String = text.lines().map(|line| line.split("//").next().unwrap_or_default()).fold(
            String::new(),
            |mut code, line| {
                code += line;
                code.push('\n');
                code
            },
        );
        let mut paths = Self::default();
        let mut other = String::new();
        for statement in code.split_inclusive(';') {
            let start = statement.rfind("use ").filter(|at| is_start(statement.get(..*at)));
            let Some(at) = start else {
                other += statement;
                continue;
            };
            let (before, tree) = statement.split_at(at);
            let tree = tree.trim_start_matches("use ").trim_end_matches(';');
            let is_given = before.lines().last().is_some_and(|line| line.trim_start().starts_with("pub"));
            for (path, name) in expanded("", tree) {
                if is_given {
                    paths.given.push((path, name));
                } else {
                    paths.all.push(path);
                }
            }
            other += before;
        }
        let words = other.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        let inner = words.filter(|word| ["crate::", "super::"].iter().any(|start| word.starts_with(start)));
        paths.all.extend(inner.map(|word| word.split("::").map(str::to_owned).collect()));
        paths
    }
}

/// Whether a statement may begin after this.
fn is_start(before: Option<&str>) -> bool {
    let line = before.and_then(|text| text.rsplit('\n').next()).unwrap_or_default().trim();
    line.is_empty() || line.starts_with("pub")
}

/// The paths of a tree such as `a::{b, c as d}`, each with the name that it is known by.
fn expanded(prefix: &str, tree: &str) -> Vec<(Vec<String>, String)> {
    let tree = tree.trim();
    if let Some((head, inner)) = tree.split_once('{') {
        let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
        let prefix = format!("{prefix}{}", head.trim());
        return parts(inner).into_iter().flat_map(|part| expanded(&prefix, part)).collect();
    }
    let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
    let path: Vec<String> =
        format!("{prefix}{path}").split("::").map(|step| step.trim().to_owned()).collect();
    let last =
        if alias.is_empty() { path.last().cloned().unwrap_or_default() } else { alias.trim().to_owned() };
    vec![(path, last)]
}

/// What stands between commas that are in no inner braces.
fn parts(list: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let split = list.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    split.filter(|part| !part.trim().is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Circles that are known, by the folder. They may become smaller and go, and no other may come.
    const KNOWN: [(&str, &[&str]); 1] = [(
        "crates/quant/src",
        &[
            "clip",
            "integers",
            "islands",
            "judge",
            "judge::shortlist",
            "judge::verdict",
            "neighbours",
            "observe",
            "plan",
            "ranges",
            "weights",
        ],
    )];

    #[test]
    fn no_two_files_import_each_other() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut folders = vec!["src".to_owned(), "xtask/src".to_owned()];
        for group in ["crates", "plugins"] {
            for entry in fs::read_dir(root.join(group)).unwrap() {
                folders.push(format!("{group}/{}/src", entry.unwrap().file_name().to_string_lossy()));
            }
        }
        for folder in folders {
            let sources = read(&root.join(&folder)).unwrap();
            assert!(!sources.is_empty(), "{folder}");
            let known = KNOWN.into_iter().find(|(of, _)| *of == folder).map_or(&[][..], |(_, known)| known);
            for circle in circles(&sources) {
                let is_known = circle.iter().all(|module| known.contains(&module.as_str()));
                assert!(is_known, "{folder}: these import each other: {circle:?}");
            }
        }
    }

    fn crate_of(modules: &[(&str, &str)]) -> BTreeMap<Module, String> {
        let path = |name: &str| name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        modules.iter().map(|(name, text)| (path(name), (*text).to_owned())).collect()
    }

    #[test]
    fn a_circle_is_found_also_through_names_that_are_handed_on() {
        let direct =
            crate_of(&[("", "mod a;\nmod b;"), ("a", "use crate::b::B;"), ("b", "fn f() { super::a::g() }")]);
        assert_eq!(circles(&direct), [["a", "b"]]);
        let handed = crate_of(&[
            ("", "mod a;\nmod b;\npub use b::{self, Inner as B};\n"),
            ("a", "use crate::{\n    B,\n    c::{C, D},\n};"),
            ("b", "pub(crate) use self::inner::Inner;"),
            ("b::inner", "use crate::c;"),
            ("c", "use super::a;"),
        ]);
        assert_eq!(circles(&handed), [["a", "b::inner", "c"]]);
    }

    #[test]
    fn a_module_and_its_parts_are_one_and_tests_do_not_count() {
        let sources = crate_of(&[
            ("", "mod a;\nmod d;"),
            ("a", "mod b;\nmod c;\nuse b::B;\nuse std::io;\nuse d::D;"),
            ("a::b", "use super::A;\nuse super::c::C; // use crate::d::D;"),
            ("a::c", "use serde::Serialize;\n\n#[cfg(test)]\nmod tests {\n    use super::super::b::B;\n}"),
            ("d", "use crate::a::A;"),
        ]);
        assert_eq!(circles(&sources), Vec::<Vec<String>>::new());
        let found = imports(&sources);
        let of = |name: &str| {
            found[&vec![name.to_owned()]].iter().map(|module| module.join("::")).collect::<Vec<_>>()
        };
        assert_eq!((of("a"), of("d")), (vec![], vec!["a".to_owned()]));
        assert_eq!(count_imports(&sources), 2);
    }
}
