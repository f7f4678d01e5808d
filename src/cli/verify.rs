//! `pipe verify`: reads the whole cache and says what is damaged. Works while the pipeline is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pipeline::StageName;
use pipeline::spec::{Action, Input};
use schemars::JsonSchema;
use serde::Serialize;
use store::{Damage, Kind, Misremembered, Origin, Remedy, Step, Verification};
use text::format;

use super::output::{Version, print_json, print_painted, tell};
use super::{Context, Selection};
use crate::error::{Error, ExitStatus};
use crate::progress::Paint;
use crate::project::Project;

/// Places that are listed for one damaged file.
const MAX_ORIGINS: usize = 4;

/// Where inputs are not compared.
const UNREAD: &str = "the pipeline cannot be loaded, so that what its stages read was not compared";

/// Read the whole cache again and move what is damaged out of the way
///
/// Every object is compared with its digest, every record with its checksum and the objects that it names, every artifact
/// with its record, and every file that a stage reads with what it was last taken for: a change that the file system does
/// not tell of is found here. What is damaged goes to `corrupt` in the cache's folder, and the next run that needs it makes
/// it anew; an object whose content is still among the artifacts is made anew at once. Exit code 0 where all is whole,
/// 1 where something was damaged.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show what is damaged without moving anything
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `pipe verify --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Verify", title = "pipe verify --json")]
pub(super) struct Answer {
    version: Version,
    /// Whether nothing is damaged.
    whole: bool,
    /// What was found.
    verification: Verification,
}

/// Runs the command.
///
/// # Errors
/// When the cache cannot be listed, or damage cannot be moved out of the way.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let store = context.store_here()?;
    let _lock = match args.dry_run || !store.folder().exists() {
        true => None,
        false => Some(store.lock(&mut |message| tell(&format!(" {message}")))?),
    };
    let bar = bar();
    let tell = |step| match step {
        Step::Total(bytes) => bar.inc_length(bytes),
        Step::Read(bytes) => bar.inc(bytes),
    };
    // Looking creates nothing, and loading a pipeline may ask its plugins.
    let project = store.folder().exists().then(|| context.load(&Selection::default()));
    let inputs = match &project {
        Some(Ok(project)) => Some((inputs_of(project), &project.pipeline.ignore)),
        Some(Err(_)) | None => None,
    };
    let inputs = inputs.as_ref().map(|(inputs, ignore)| (inputs, *ignore));
    let store = match &inputs {
        Some((_, ignore)) => store.ignoring(ignore),
        None => store,
    };
    let mut verification = store.verify(_lock.is_some(), inputs, &tell)?;
    let unread = matches!(project, Some(Err(_))).then(|| UNREAD.to_owned());
    verification.notes.extend(unread);
    bar.finish_and_clear();
    let whole = verification.damage.is_empty();
    if args.json {
        print_json(&Answer { version: Version, whole, verification })?;
    } else {
        print_painted(&text(&verification, args.dry_run, Paint::new(context.color_stdout())))?;
    }
    Ok(if whole { ExitStatus::Done } else { ExitStatus::Failed })
}

/// What stages read that no stage makes, with who reads it.
fn inputs_of(project: &Project) -> BTreeMap<PathBuf, BTreeSet<StageName>> {
    let mut inputs: BTreeMap<PathBuf, BTreeSet<StageName>> = BTreeMap::new();
    for stage in project.pipeline.stages.values() {
        let read = stage.inputs.values().filter_map(|input| match input {
            Input::Path(path) => Some(path),
            Input::Output { .. } => None,
        });
        let sources = match &stage.action {
            Action::Op(action) => Some(action.sources.values()),
            Action::Command(_) => None,
        };
        for path in read.chain(sources.into_iter().flatten()) {
            inputs.entry(path.clone()).or_default().insert(stage.name.clone());
        }
    }
    inputs
}

/// A bar on a terminal, nothing elsewhere.
fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(15));
    let template = " reading the cache {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("━╸─")),
        Err(_) => bar,
    }
}

fn text(found: &Verification, dry_run: bool, paint: Paint) -> String {
    let mut lines = Vec::new();
    for damage in &found.damage {
        lines.push(format!(" {} {}", paint.bad("✖"), what(damage)));
        lines.extend(origins(damage).into_iter().map(|line| format!("     {line}")));
        lines.extend(remedy(damage, dry_run).map(|line| format!("     {}", paint.faint(&line))));
    }
    for edited in &found.edited {
        let (path, stage) = (edited.path.display(), &edited.stage);
        let text = format!("`{path}` is not what `{stage}` made any more; the next run replaces it");
        lines.push(format!(" {} {text}", paint.warn("!")));
    }
    for Misremembered { path, stages } in &found.misremembered {
        let names: Vec<String> = stages.iter().map(|stage| format!("`{stage}`")).collect();
        let forced: Vec<&str> = stages.iter().map(StageName::as_str).collect();
        let text = format!(
            "`{}` changed although its timestamps did not, so stale content was used; {} read it",
            path.display(),
            names.join(", ")
        );
        lines.push(format!(" {} {text}", paint.warn("!")));
        let remedy = format!("`pipe run --force {}` makes anew what was made of it", forced.join(" "));
        lines.push(format!("     {}", paint.faint(&remedy)));
    }
    lines.extend(found.notes.iter().map(|note| format!(" {} {note}", paint.warn("!"))));
    let read = format!(
        "{}, {}, {} and {} read, {}",
        format::count(found.inputs, "input"),
        format::count(found.objects, "object"),
        format::count(found.records, "cached result"),
        format::count(found.runs, "run"),
        format::bytes(found.bytes)
    );
    lines.push(match found.damage.len() {
        0 => format!(" {} all is whole: {read}", paint.good("✔")),
        count => format!(
            " {} {} damaged, missing or unreadable: {read}",
            paint.bad("✖"),
            format::count(count, "file")
        ),
    });
    lines.join("\n") + "\n"
}

fn what(damage: &Damage) -> String {
    let short: String = damage.name.chars().take(12).collect();
    let name = match damage.kind {
        Kind::Object => format!("object {short}"),
        Kind::Record => format!("the record of result {short}"),
        Kind::Run => format!("the record of run {}", damage.name),
        Kind::Definition => format!("what a pipeline said, {short},"),
        Kind::Superseded => format!("the record of an earlier result of {short}"),
        Kind::Memory | Kind::Place => format!("`{}`", damage.name),
    };
    format!("{name} {}", damage.problem)
}

fn origins(damage: &Damage) -> Vec<String> {
    let of = |origin: &Origin| match &origin.output {
        Some(output) => format!("output `{}.{output}`, made by run {}", origin.stage, origin.run),
        None => format!("the log of `{}` in run {}", origin.stage, origin.run),
    };
    let mut lines: Vec<String> = damage.of.iter().take(MAX_ORIGINS).map(of).collect();
    if damage.of.len() > MAX_ORIGINS {
        lines.push(format!("and {}", format::count(damage.of.len() - MAX_ORIGINS, "other place")));
    }
    if damage.kind == Kind::Object && damage.of.is_empty() {
        lines.push("unreferenced".into());
    }
    lines
}

fn remedy(damage: &Damage, dry_run: bool) -> Option<String> {
    let is_output = damage.of.iter().any(|origin| origin.output.is_some());
    let next = match damage.kind {
        Kind::Object if is_output => "; the next run that needs it makes it anew",
        Kind::Record => "; the next run that needs it executes its stage anew",
        Kind::Run => "; history goes on without it",
        Kind::Definition | Kind::Superseded => "; reports of the runs that it belongs to go on without it",
        Kind::Object | Kind::Memory | Kind::Place => "",
    };
    Some(match &damage.remedy {
        Remedy::Renewed { from } => format!("made anew from `{}`", from.display()),
        Remedy::Aside { to } => format!("moved to `{}`{next}", to.display()),
        Remedy::Replaced => "made anew by a run that shares the cache".into(),
        Remedy::Removed => "removed; it only saves time and will be rebuilt".into(),
        Remedy::None if damage.problem.starts_with("cannot be read") => {
            "left where it is; it may be whole once it can be read".into()
        }
        Remedy::None if dry_run => "`pipe verify` without --dry-run moves it out of the way".into(),
        Remedy::None if next.is_empty() => return None,
        Remedy::None => next.trim_start_matches("; ").into(),
    })
}
