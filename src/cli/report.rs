//! `pipe report`: writes the report of the latest run anew, from what the store still has of it, or prints it in short.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::output::{Version, print, print_json};
use super::{Context, Selection, browser};
use crate::error::{Error, ExitStatus};
use crate::history::known_records;
use crate::project::Project;
use crate::record::RunRecord;
use crate::report::{self, Brief};

/// Write the report of the latest run anew, or print it in short
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Open it in the browser
    #[arg(long)]
    open: bool,
    /// Print it in short as Markdown, such as for a comment on a pull request, instead of writing the file
    #[arg(long, conflicts_with_all = ["open", "json"])]
    markdown: bool,
    /// Print the same as JSON instead of writing the file
    #[arg(long, conflicts_with = "open")]
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
/// When the pipeline is wrong, nothing ran yet, or the report cannot be written or opened.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let project = context.load(&Selection::default())?;
    let mut runs = project.store.runs()?;
    runs.sort_by(|a, b| a.id.cmp(&b.id));
    let in_short = args.markdown || args.json;
    let run = match runs.pop() {
        Some(run) => run,
        None if !in_short && is_under_way(&project) => first_run(&project),
        None => return Err(Error::failed("there is no run to report on").hint("`pipe run` makes the first")),
    };
    let project = project.as_of(&run, context.cache());
    let records = known_records(&project.store, &run);
    if in_short {
        let gone = || Error::failed("the run was removed while it was read").hint("try again");
        let brief = report::brief(&project, &run, &records, runs.last()).ok_or_else(gone)?;
        if args.json {
            print_json(&Answer { version: Version, brief })?;
        } else {
            print(&report::markdown(&brief))?;
        }
        return Ok(ExitStatus::Done);
    }
    let file = project.report_file();
    report::write(&project, &run, &records, runs.last(), &file)
        .map_err(|error| Error::failed(format!("cannot write `{}`: {error}", file.display())))?;
    let shown = file.strip_prefix(&project.pipeline.root).unwrap_or(&file);
    print(&format!("{}\n", shown.display()))?;
    if args.open {
        open(&file)?;
    }
    Ok(ExitStatus::Done)
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
        vars: project.pipeline.vars.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        started_ms: crate::clock::now_ms(),
        duration_ms: 0,
        machine: project.machine.clone(),
        threads: project.threads,
        stages: Vec::new(),
        gates: Vec::new(),
        certain: false,
    }
}

fn open(file: &Path) -> Result<(), Error> {
    browser::open(file.as_os_str()).map_err(|why| cannot_open(file, &why))
}

fn cannot_open(file: &Path, why: &str) -> Error {
    Error::failed(format!("cannot open the report: {why}"))
        .hint(format!("open `{}` in a browser yourself", file.display()))
}
