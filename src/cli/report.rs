//! `pipe report`: writes the report of the latest run anew, from what the store still has of it.

use std::path::Path;

use super::output::print;
use super::{Context, Selection, browser};
use crate::error::{Error, ExitStatus};
use crate::history::known_records;
use crate::project::Project;
use crate::record::RunRecord;
use crate::report;

/// Write the report of the latest run anew
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Open it in the browser
    #[arg(long)]
    open: bool,
}

/// Runs the command.
///
/// # Errors
/// When the pipeline is wrong, nothing ran yet, or the report cannot be written or opened.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let project = context.load(&Selection::default())?;
    let mut runs = project.store.runs()?;
    runs.sort_by(|a, b| a.id.cmp(&b.id));
    let run = match runs.pop() {
        Some(run) => run,
        None if project
            .pipeline
            .stages
            .keys()
            .any(|stage| project.store.unfinished_figures(stage).is_some()) =>
        {
            first_run(&project)
        }
        None => return Err(Error::failed("there is no run to report on").hint("`pipe run` makes the first")),
    };
    let project = project.as_of(&run, context.cache());
    let records = known_records(&project.store, &run);
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
    }
}

fn open(file: &Path) -> Result<(), Error> {
    browser::open(file.as_os_str()).map_err(|why| cannot_open(file, &why))
}

fn cannot_open(file: &Path, why: &str) -> Error {
    Error::failed(format!("cannot open the report: {why}"))
        .hint(format!("open `{}` in a browser yourself", file.display()))
}
