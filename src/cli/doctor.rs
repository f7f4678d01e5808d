//! `pipe doctor`: what is found, in which version, what is missing and how to get it. Never stops at the first
//! problem, and needs no valid pipeline.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pipeline::spec::{self, Action, Manifests, Overrides, Parsed, Pipeline};
use protocol::{Manifest, NativeLibrary};
use schemars::JsonSchema;
use serde::Serialize;
use store::Store;
use text::clock::now_ms;
use text::format;
use text::printable::clean;

use super::output::{Version, print_json, print_painted};
use super::{Context, gc};
use crate::error::{Error, ExitStatus};
use crate::hardware;
use crate::plugin::{PluginError, Registry};
use crate::progress::Paint;

/// Less free space than this is worth a remark.
const LITTLE_SPACE: u64 = 3 << 30;

/// Show what is found, in which versions, what is missing and how to get it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command. The exit status is 0 where all that the pipeline needs is there, 1 otherwise.
///
/// # Errors
/// When standard output cannot be written to.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let findings = examine(&context.global.file, context.cache());
    let ill = findings.iter().any(|finding| finding.state == State::Missing);
    if args.json {
        print_json(&Answer { version: Version, healthy: !ill, findings })?;
    } else {
        print_painted(&render(&findings, Paint::new(context.color_stdout())))?;
    }
    Ok(if ill { ExitStatus::Failed } else { ExitStatus::Done })
}

/// What `pipe doctor --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Doctor", title = "pipe doctor --json")]
pub(super) struct Answer {
    version: Version,
    /// Whether all that the pipeline needs is there.
    healthy: bool,
    /// What was looked at.
    findings: Vec<Finding>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "FindingState")]
enum State {
    /// There, and as it should be.
    Good,
    /// Worth a look; nothing depends on it.
    Remark,
    /// Needed, and missing or broken.
    Missing,
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
struct Finding {
    /// How it is.
    state: State,
    /// What it is, for people.
    name: String,
    /// One or more lines.
    text: String,
}

fn finding(state: State, name: &str, text: impl Into<String>) -> Finding {
    Finding { state, name: name.into(), text: text.into() }
}

fn examine(file: &Path, shared: Option<&Path>) -> Vec<Finding> {
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
    if !file.exists() {
        let folder = folder_of(file);
        let mut all = vec![finding(State::Missing, &name, "not here; `pipe init` writes one")];
        all.extend(cache(&folder, shared).1);
        all.push(machine());
        all.push(disk(&folder));
        return all;
    }
    match spec::parse(file) {
        Ok(parsed) => examine_parsed(&name, parsed, shared),
        Err(problems) => {
            let folder = folder_of(file);
            let mut all = vec![finding(State::Missing, &name, problems.render(false))];
            all.extend(cache(&folder, shared).1);
            all.push(machine());
            all.push(disk(&folder));
            all
        }
    }
}

fn folder_of(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

fn examine_parsed(name: &str, parsed: Parsed, shared: Option<&Path>) -> Vec<Finding> {
    let root = parsed.root().to_owned();
    let used: BTreeSet<String> = parsed.plugins_used().into_iter().map(str::to_owned).collect();
    let (store, cache) = cache(&root, shared);
    let mut all = vec![];
    if let Some(store) = store {
        let registry = Registry::new(&root, parsed.plugins(), &store);
        let resolved = spec::resolve(parsed, &Overrides::default(), &registry);
        all.push(match &resolved {
            Ok(pipeline) => finding(
                State::Good,
                name,
                format!("{}, valid", format::count(pipeline.stages.len(), "stage")),
            ),
            Err(problems) => finding(State::Missing, name, problems.render(false)),
        });
        all.extend(plugins(&used, resolved.as_ref().ok(), &registry));
        // What could not be remembered costs the next command time, nothing else.
        let _ = store.flush();
    }
    all.extend(cache);
    all.push(machine());
    all.push(disk(&root));
    all
}

/// The plugins that the pipeline uses, their companions and the native libraries of all of them.
fn plugins(used: &BTreeSet<String>, pipeline: Option<&Pipeline>, registry: &Registry) -> Vec<Finding> {
    let mut all = vec![];
    let mut natives = vec![];
    let mut ahead: Vec<String> = used.iter().cloned().collect();
    let mut seen = BTreeSet::new();
    while let Some(plugin) = ahead.pop() {
        if !seen.insert(plugin.clone()) {
            continue;
        }
        match registry.manifest(&plugin) {
            Ok(manifest) => {
                let ops = ops_used(&plugin, &manifest, pipeline);
                ahead.extend(
                    ops.iter().filter_map(|op| manifest.ops.get(*op)).flat_map(|op| op.companions.clone()),
                );
                let path =
                    registry.find(&plugin).map(|path| format!("  {}", path.display())).unwrap_or_default();
                all.push(finding(
                    State::Good,
                    &format!("plugin {plugin}"),
                    format!("{}{path}", manifest.version),
                ));
                natives.extend(manifest.natives.iter().map(|(name, native)| {
                    // A plugin used only as a companion loads its libraries too.
                    let needed = ops.is_empty()
                        || ops
                            .iter()
                            .filter_map(|op| manifest.ops.get(*op))
                            .any(|op| op.natives.contains(name));
                    self::native(name, native, needed)
                }));
            }
            Err(error) => {
                all.push(finding(State::Missing, &format!("plugin {plugin}"), broken(&error, registry)))
            }
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.extend(natives);
    all
}

/// The ops of a plugin that the pipeline uses; all of them where the pipeline is not valid.
fn ops_used<'a>(plugin: &str, manifest: &'a Manifest, pipeline: Option<&Pipeline>) -> Vec<&'a str> {
    let ops = manifest.ops.keys().map(String::as_str);
    let Some(pipeline) = pipeline else { return ops.collect() };
    let uses = |op: &str| {
        let actions = pipeline.stages.values().map(|stage| &stage.action);
        actions
            .into_iter()
            .any(|action| matches!(action, Action::Op(used) if used.plugin == plugin && used.op == op))
    };
    ops.filter(|op| uses(op)).collect()
}

fn broken(error: &PluginError, registry: &Registry) -> String {
    let hint = error.hint().map(|hint| format!("\n{hint}")).unwrap_or_default();
    let known = match error {
        PluginError::NotFound { .. } => registry.known(),
        _ => vec![],
    };
    let known = if known.is_empty() { String::new() } else { format!("\nfound are: {}", known.join(", ")) };
    format!("{error}{hint}{known}")
}

fn native(name: &str, native: &NativeLibrary, needed: bool) -> Finding {
    let detail = if native.detail.is_empty() { String::new() } else { format!(", {}", native.detail) };
    match (&native.version, needed) {
        (Some(version), _) => finding(State::Good, name, format!("{version}{detail}")),
        (None, needed) => {
            // What is wrong may end with what to do.
            let remedy = native.remedy.as_deref().filter(|remedy| !native.detail.contains(remedy));
            let remedy = remedy.map(|remedy| format!("\n{remedy}")).unwrap_or_default();
            let state = if needed { State::Missing } else { State::Remark };
            let whom = if needed { "" } else { "; no stage needs it" };
            finding(state, name, format!("not found{whom}{detail}{remedy}"))
        }
    }
}

/// The store, and a line on it. The line is there whether the store is or not.
fn cache(root: &Path, shared: Option<&Path>) -> (Option<Store>, Vec<Finding>) {
    let store = Store::open(root).map(|store| store.sharing(shared));
    match store {
        Ok(store) => {
            let (objects, count) = size(&store.objects_folder());
            let bytes = objects.saturating_add(size(&store.records_folder()).0);
            let all = bytes.saturating_add(size(store.folder()).0);
            let finding = match gc::limit() {
                Err(error) => finding(State::Missing, "cache", error.into_parts().0),
                Ok(_) if all == 0 => finding(State::Good, "cache", "empty"),
                Ok(limit) => {
                    let used = format!("{} of {}", format::bytes(bytes), format::bytes(limit));
                    let text = format!("{used}, {}, {}", format::count(count, "object"), verified(&store));
                    if bytes > limit {
                        let remedy = "`pipe gc` removes what the pipeline does not need";
                        finding(State::Remark, "cache", format!("{text}\n{remedy}"))
                    } else {
                        finding(State::Good, "cache", text)
                    }
                }
            };
            (Some(store), vec![finding])
        }
        Err(error) => {
            let hint = error.hint().map(|hint| format!("\n{hint}")).unwrap_or_default();
            (None, vec![finding(State::Missing, "cache", format!("{error}{hint}"))])
        }
    }
}

/// When the cache was verified last.
fn verified(store: &Store) -> String {
    match store.verified_ms() {
        Some(then) => match now_ms().saturating_sub(then) / (24 * 3_600_000) {
            0 => "last verified today".into(),
            days => format!("last verified {} ago", format::count(usize::try_from(days).unwrap_or(0), "day")),
        },
        None => "never verified".into(),
    }
}

/// Bytes and number of the files below a folder. What cannot be read counts for nothing.
fn size(folder: &Path) -> (u64, usize) {
    let (mut bytes, mut files) = (0u64, 0);
    let mut ahead = vec![folder.to_owned()];
    while let Some(folder) = ahead.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => ahead.push(entry.path()),
                Ok(metadata) if metadata.is_file() => {
                    bytes = bytes.saturating_add(metadata.len());
                    files += 1;
                }
                _ => {}
            }
        }
    }
    (bytes, files)
}

fn machine() -> Finding {
    let machine = hardware::machine();
    let features =
        if machine.features.is_empty() { String::new() } else { format!(", {}", machine.features) };
    finding(
        State::Good,
        "machine",
        format!("{}, {}{features}", machine.cpu, format::count(machine.cores, "core")),
    )
}

fn disk(folder: &Path) -> Finding {
    match rustix::fs::statvfs(folder) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let text = format!("{} free", format::bytes(free));
            if free < LITTLE_SPACE {
                finding(State::Remark, "disk", format!("{text}; data sets and checkpoints take a few GB"))
            } else {
                finding(State::Good, "disk", text)
            }
        }
        Err(error) => finding(State::Remark, "disk", format!("free space is not known: {error}")),
    }
}

fn render(findings: &[Finding], paint: Paint) -> String {
    let width = findings.iter().map(|finding| finding.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.state {
            State::Good => paint.good("✔"),
            State::Remark => paint.warn("!"),
            State::Missing => paint.bad("✖"),
        };
        let clean = clean(finding.text.trim_end());
        let mut lines = clean.lines();
        let first = lines.next().unwrap_or_default();
        let name = paint.strong(&format!("{:<width$}", finding.name));
        text.push_str(format!(" {mark} {name}  {first}").trim_end());
        text.push('\n');
        for line in lines {
            text.push_str(format!("{:indent$}{line}", "", indent = width + 5).trim_end());
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_stand_in_columns() {
        let findings = [
            finding(State::Good, "pipeline.yaml", "9 stages, valid"),
            finding(State::Missing, "libtorch", "not found\nrun `cargo xtask setup`"),
            finding(State::Remark, "disk", "1.0 GB free"),
        ];
        let expected = " ✔ pipeline.yaml  9 stages, valid
 ✖ libtorch       not found
                  run `cargo xtask setup`
 ! disk           1.0 GB free
";
        assert_eq!(render(&findings, Paint::new(false)), expected);
    }

    #[test]
    fn without_a_pipeline_it_says_how_to_get_one() {
        let folder = tempfile::tempdir().unwrap();
        let findings = examine(&folder.path().join("pipeline.yaml"), None);
        assert_eq!(
            findings.first(),
            Some(&finding(State::Missing, "pipeline.yaml", "not here; `pipe init` writes one"))
        );
        assert!(findings.contains(&finding(State::Good, "cache", "empty")));
        assert!(findings.iter().any(|finding| finding.name == "disk"));
    }

    #[test]
    fn a_broken_pipeline_and_a_broken_cache_are_both_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pipeline.yaml");
        std::fs::write(&file, "version: [1\n").unwrap();
        std::fs::write(folder.path().join("cache"), "not a folder").unwrap();
        let missing: Vec<String> = examine(&file, None)
            .into_iter()
            .filter(|finding| finding.state == State::Missing)
            .map(|finding| finding.name)
            .collect();
        assert_eq!(missing, ["pipeline.yaml", "cache"]);
    }

    #[test]
    fn a_missing_plugin_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pipeline.yaml");
        let text = "version: 1\nname: x\nstages:\n  a:\n    uses: nowhere_to_be_found/op\n";
        std::fs::write(&file, text).unwrap();
        let findings = examine(&file, None);
        let plugin = findings.iter().find(|finding| finding.name == "plugin nowhere_to_be_found").unwrap();
        assert_eq!(plugin.state, State::Missing);
        // What else is found depends on where the test runs.
        let lines: Vec<&str> = plugin.text.lines().take(2).collect();
        snapshots::assert_message!(lines.join("\n"));
    }

    #[test]
    fn a_library_that_no_stage_needs_is_a_remark() {
        let missing = NativeLibrary { remedy: Some("install it".into()), ..NativeLibrary::default() };
        assert_eq!(native("cuda", &missing, false).state, State::Remark);
        assert_eq!(native("cuda", &missing, true), finding(State::Missing, "cuda", "not found\ninstall it"));
        let said = NativeLibrary { detail: "no `libcuda.so`: install it".into(), ..missing };
        let told = finding(State::Missing, "cuda", "not found, no `libcuda.so`: install it");
        assert_eq!(native("cuda", &said, true), told);
    }

    #[test]
    fn sizes_are_of_whole_trees() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/c"), [0; 10]).unwrap();
        std::fs::write(folder.path().join("d"), [0; 5]).unwrap();
        assert_eq!(size(folder.path()), (15, 2));
        assert_eq!(size(Path::new("/nowhere/at/all")), (0, 0));
    }
}
