//! Other values for vars: profiles and `--set`. Knows names and dots; knows nothing of `${…}`.

use indexmap::IndexMap;

use super::Location;
use super::parse::Parsed;
use super::suggest::{did_you_mean, did_you_mean_or_list};
use super::tree::{Data, Node, Problem, Sources, Span, shortened};
use super::yaml;

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
    let original = vars.clone();
    for (profile, overlay) in &parsed.profiles {
        let is_chosen = chosen == Some(profile.name.as_str());
        // Profiles that are not chosen are checked too.
        let mut scratch = original.clone();
        let target = if is_chosen { &mut *vars } else { &mut scratch };
        for (key, node) in overlay {
            problems.extend(overlay_one(target, &key.name, key.span, node.clone()));
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
        Ok(node) => problems.extend(overlay_one(vars, name, argument_span(origin, "--set ", name), node)),
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

/// Replaces the var `path`, or the entry of a map that it reaches by dots.
fn overlay_one(vars: &mut IndexMap<String, Node>, path: &str, span: Span, value: Node) -> Option<Problem> {
    let unknown = |known: Vec<&str>, what: &str| {
        Problem::new(span, format!("unknown var `{}`", shortened(path))).help(did_you_mean_or_list(
            path.rsplit('.').next().unwrap_or(path),
            what,
            known,
        ))
    };
    let mut parts = path.split('.');
    let first = parts.next().unwrap_or_default();
    let Some(mut target) = vars.get_mut(first) else {
        let known: Vec<String> = vars.keys().cloned().collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Some(match did_you_mean(first, known.iter().copied()) {
            Some(help) => Problem::new(span, format!("unknown var `{}`", shortened(path))).help(help),
            None => unknown(known, "vars are"),
        });
    };
    for part in parts {
        let Data::Map(entries) = &mut target.data else {
            return Some(Problem::new(
                span,
                format!("`{}` reaches into a var that is not a map", shortened(path)),
            ));
        };
        let Some(index) = entries.iter().position(|(key, _)| key.name == part) else {
            let known = entries.iter().map(|(key, _)| key.name.as_str()).collect();
            return Some(unknown(known, "it holds"));
        };
        let (_, next) = entries.get_mut(index)?;
        target = next;
    }
    *target = value;
    None
}
