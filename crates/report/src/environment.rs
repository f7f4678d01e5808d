//! What the run was made with: vars, profile, machine, versions of `pipe` and of the native libraries.

use std::collections::BTreeMap;

use maud::{Markup, html};
use text::format;

use super::{Input, stage};

/// The section on the environment.
pub(super) fn section(input: &Input) -> Markup {
    let run = input.run;
    html! {
        section #environment {
            h2 { "Environment" }
            div.pair {
                div.card {
                    h3 { "Vars" }
                    @if run.vars.is_empty() { p.empty { "The pipeline has no vars." } }
                    dl.values {
                        @for (name, value) in &run.vars { dt { code { (name) } } dd { (stage::value(value)) } }
                        @if let Some(profile) = &run.profile { dt { "profile" } dd { (profile) } }
                    }
                }
                div.card {
                    h3 { "Machine and versions" }
                    dl.values {
                        dt { "pipe" } dd { (run.version) }
                        @for (name, versions) in natives(input) { dt { (name) } dd { (versions.join(", ")) } }
                        dt { "CPU" } dd { (run.machine.cpu) }
                        @if !run.machine.features.is_empty() { dt { "CPU features" } dd { (run.machine.features) } }
                        dt { "cores" } dd { (run.machine.cores) }
                        dt { "threads" } dd { (run.threads) }
                        dt { "system" } dd { (run.machine.system) }
                        dt { "run" } dd { code { (run.id) } }
                        dt { "started" } dd { (format::date_time(run.started_ms)) " UTC" }
                    }
                }
            }
        }
    }
}

/// Native libraries that the stages' keys name, with all versions that occur.
fn natives(input: &Input) -> BTreeMap<String, Vec<String>> {
    let mut natives: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let parts = input.parts();
    let records = input.records.iter().filter(|(stage, _)| parts.contains(stage));
    for ingredient in records.flat_map(|(_, record)| &record.ingredients) {
        if let Some(name) = ingredient.name.strip_prefix("natives.") {
            let versions = natives.entry(name.to_owned()).or_default();
            let version = ingredient.value.trim_matches('"').to_owned();
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
    }
    natives
}
