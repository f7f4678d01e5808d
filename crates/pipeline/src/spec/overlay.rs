//! Other values for vars: profiles and `--set`. Knows names and dots; knows nothing of `${…}`.

use indexmap::IndexMap;

use super::parse::Parsed;
use super::suggest::{did_you_mean, did_you_mean_or_list};
use super::tree::{Data, Node, Problem, Sources, Span, shortened};
use super::{Location, yaml};

/// What the command line says about vars.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Var (with dots to reach into a map) and the YAML text of its value, in the order given.
    pub set: Vec<(String, String)>,
    /// Name of the profile.
    pub profile: Option<String>,
}

/// Lays the chosen profile over `vars`, and checks the others.
pub(super) fn apply_profiles(
    parsed: &Parsed,
    chosen: Option<&str>,
    sources: &mut Sources,
    vars: &mut IndexMap<String, Node>,
    problems: &mut Vec<Problem>,
) {
    for (profile, overlay) in &parsed.profiles {
        let mut replaced = Vec::new();
        for (key, node) in overlay {
            match overlay_one(vars, &key.name, key.span, node.clone()) {
                Ok(old) => replaced.push((key, old)),
                Err(problem) => problems.push(problem),
            }
        }
        // Profiles that are not chosen are checked too, and taken off again.
        if chosen != Some(profile.name.as_str()) {
            for (key, old) in replaced.into_iter().rev() {
                let _ = overlay_one(vars, &key.name, key.span, old);
            }
        }
    }
    if let Some(chosen) = chosen
        && !parsed.profiles.iter().any(|(profile, _)| profile.name == chosen)
    {
        let names = parsed.profiles.iter().map(|(profile, _)| profile.name.as_str());
        let text = format!("--profile {chosen}");
        let origin = sources.add_argument(text);
        problems.push(
            Problem::new(
                argument_span(origin, "--profile ", chosen),
                format!("unknown profile `{}`", shortened(chosen)),
            )
            .help(did_you_mean_or_list(chosen, "profiles are", names)),
        );
    }
}

/// Sets one var from the command line, whose text is added to `sources`.
pub(super) fn apply_set(
    name: &str,
    text: &str,
    sources: &mut Sources,
    vars: &mut IndexMap<String, Node>,
    problems: &mut Vec<Problem>,
) {
    let prefix = format!("--set {name}=");
    let origin = sources.add_argument(format!("{prefix}{text}"));
    match yaml::read(text, origin, prefix.chars().count()) {
        Ok(node) => {
            problems.extend(overlay_one(vars, name, argument_span(origin, "--set ", name), node).err());
        }
        Err(problem) => {
            let mut problem =
                problem.help("the value is read as YAML; quote it twice if it is a text: `--set 'x=\"…\"'`");
            problem.message = format!("the value of `{}` is not YAML: {}", shortened(name), problem.message);
            problems.push(problem);
        }
    }
}

fn argument_span(origin: usize, prefix: &str, part: &str) -> Span {
    let start = Location { line: 1, column: prefix.chars().count() + 1 };
    Span { origin, start, length: part.chars().count() }
}

/// Replaces the var `path`, or the entry of a map that it reaches by dots, and returns what was there.
fn overlay_one(
    vars: &mut IndexMap<String, Node>,
    path: &str,
    span: Span,
    value: Node,
) -> Result<Node, Problem> {
    let unknown = |help: String| Problem::new(span, format!("unknown var `{}`", shortened(path))).help(help);
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let last = path.rsplit('.').next().unwrap_or(path);
    let Some(index) = vars.get_index_of(first) else {
        let names = vars.keys().map(String::as_str);
        let near = did_you_mean(first, names.clone());
        return Err(unknown(near.unwrap_or_else(|| did_you_mean_or_list(last, "vars are", names))));
    };
    let mut target = &mut vars[index];
    for part in rest.into_iter().flat_map(|rest| rest.split('.')) {
        let Data::Map(entries) = &mut target.data else {
            let message = format!("`{}` reaches into a var that is not a map", shortened(path));
            return Err(Problem::new(span, message));
        };
        let Some(index) = entries.iter().position(|(key, _)| key.name == part) else {
            let known = entries.iter().map(|(key, _)| key.name.as_str());
            return Err(unknown(did_you_mean_or_list(last, "it holds", known)));
        };
        target = &mut entries[index].1;
    }
    Ok(std::mem::replace(target, value))
}
