//! `pipe report`: writes the report of a run anew, from what the store still has of it, or prints it in short. Reads the
//! cache alone, whatever the pipeline says now.

use std::path::{Path, PathBuf};

use clap::ValueHint;
use history::{FindError, Past};
use record::{Definition, RunRecord};
use report::Brief;
use schemars::JsonSchema;
use serde::Serialize;
use store::{ARTIFACTS, Store};
use text::printable::clean_line;

use super::history::tell_lost;
use super::output::{self, PAGE, Version, print, print_json, tell};
use super::{Context, Selection, browser, completions};
use crate::error::{Error, ExitStatus};
use crate::project::Project;

/// Write the report of a run anew, or print it in short
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run: `latest` or the beginning of its name in `pipe history`; `~` behind it means the run before, `~2` the one
    /// before that
    #[arg(value_name = "RUN", default_value = "latest", add = completions::runs())]
    run: String,
    /// Where to write it; `artifacts/report.html` for the last run
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Overwrite a file that was not written by `pipe`
    #[arg(long, conflicts_with_all = ["markdown", "json"])]
    force: bool,
    /// Open it in the browser
    #[arg(long)]
    open: bool,
    /// Print it in short as Markdown, such as for a comment on a pull request, instead of writing the file
    #[arg(long, conflicts_with_all = ["open", "json", "output"])]
    markdown: bool,
    /// Print the same as JSON instead of writing the file
    #[arg(long, conflicts_with_all = ["open", "output"])]
    json: bool,
}

/// What `pipe report --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Report", title = "pipe report --json")]
pub(super) struct Answer {
    version: Version,
    #[serde(flatten)]
    brief: Brief,
}

/// Runs the command.
///
/// # Errors
/// When the run is not found, its report cannot be written or opened, or it is not said where that is to go.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let store = context.store_here()?;
    let history = context.history(&store)?;
    tell_lost(&history);
    let past = match history.find(&args.run) {
        Ok(past) => past,
        Err(none @ (FindError::NoRuns | FindError::NoneOf { .. }))
            if args.run == "latest" && !args.markdown && !args.json =>
        {
            return write_first(&args, context, &store, none);
        }
        Err(error) => return Err(error.into()),
    };
    if args.markdown || args.json {
        let brief = report::brief(&store, &history, past);
        if args.json {
            print_json(&Answer { version: Version, brief })?;
        } else {
            print(&report::markdown(&brief))?;
        }
        return Ok(ExitStatus::Done);
    }
    let is_latest = history.is_last(past);
    let file = match &args.output {
        Some(file) => file.clone(),
        None if is_latest => default_file(context),
        None => return Err(where_to(past)),
    };
    may_replace(&args, &file)?;
    let page = report::of_past(&store, &history, past, &maud::Markup::default());
    report::write_whole(&file, page.as_bytes()).map_err(|error| cannot_write(&file, &error))?;
    written(&args, context, &file)
}

/// Writes the report of the first run while that is under way.
fn write_first(args: &Args, context: &Context, store: &Store, none: FindError) -> Result<ExitStatus, Error> {
    let project = context.load(&Selection::default())?;
    if !is_under_way(&project) {
        return Err(none.into());
    }
    let file = args.output.clone().unwrap_or_else(|| default_file(context));
    may_replace(args, &file)?;
    let (run, said) = (first_run(&project), Definition::of(&project.pipeline));
    let records = std::collections::BTreeMap::new();
    report::write(store, &run, Some(&said), &records, None, &file)
        .map_err(|error| cannot_write(&file, &error))?;
    written(args, context, &file)
}

/// Refuses to write over what somebody else put where the report is to go.
fn may_replace(args: &Args, file: &Path) -> Result<(), Error> {
    let is_file = std::fs::symlink_metadata(file).is_ok_and(|there| there.is_file());
    if args.output.is_none() && !is_file {
        // A run does the same. Where somebody names a pipe or a device, it is meant.
        let moved = report::make_room(file).map_err(|error| cannot_write(file, &error))?;
        if let Some(to) = moved {
            let (from, to) = (file.display().to_string(), to.display().to_string());
            tell(&clean_line(&format!("`{from}` was not written by `pipe`; moved to `{to}`")));
        }
    }
    output::may_replace(file, args.force, PAGE, &report::is_document)
}

/// Says where the report is, and opens it if that is asked for.
fn written(args: &Args, context: &Context, file: &Path) -> Result<ExitStatus, Error> {
    let root = root(context);
    let shown = if args.output.is_some() { file } else { file.strip_prefix(root).unwrap_or(file) };
    // Into a pipe or a device nothing but the page itself is written.
    if file.is_file() {
        print(&format!("{}\n", clean_line(&shown.display().to_string())))?;
    }
    if args.open {
        open(file)?;
    }
    Ok(ExitStatus::Done)
}

/// The folder of the pipeline.
fn root(context: &Context) -> &Path {
    context.global.file.parent().unwrap_or(Path::new(""))
}

/// Where a run writes its report.
fn default_file(context: &Context) -> PathBuf {
    root(context).join(ARTIFACTS).join("report.html")
}

/// `artifacts/report.html` is of the last run, and who looks at it relies on that.
fn where_to(past: &Past) -> Error {
    let name = &past.name;
    Error::usage(format!("`{name}` is not the last run, whose report is `{ARTIFACTS}/report.html`"))
        .hint(format!("say where to write this one, as in `pipe report {name} -o run-{name}.html`"))
}

fn cannot_write(file: &Path, error: &std::io::Error) -> Error {
    Error::failed(format!("cannot write `{}`: {error}", file.display()))
}

/// Whether a first run has shown anything yet.
fn is_under_way(project: &Project) -> bool {
    project.pipeline.stages.keys().any(|stage| project.store.unfinished_figures(stage).is_some())
}

/// A record of the first run, which is still under way: nothing has ended yet.
fn first_run(project: &Project) -> RunRecord {
    RunRecord {
        id: "under way".into(),
        pipeline: project.pipeline.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        profile: project.pipeline.profile.clone(),
        vars: project.recorded_vars(),
        started_ms: text::clock::now_ms(),
        duration_ms: 0,
        machine: project.machine.clone(),
        threads: project.threads,
        stages: Vec::new(),
        gates: Vec::new(),
        certain: false,
        definition: None,
        recording: None,
    }
}

fn open(file: &Path) -> Result<(), Error> {
    browser::open(file.as_os_str()).map_err(|why| cannot_open(file, &why))
}

fn cannot_open(file: &Path, why: &str) -> Error {
    Error::failed(format!("cannot open the report: {why}"))
        .hint(format!("open `{}` in a browser yourself", file.display()))
}
