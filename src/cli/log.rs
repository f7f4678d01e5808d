//! `pipe log STAGE`: what the last execution of a stage logged. Reads the cache alone, so that it works while the
//! pipeline is broken.

use pipeline::StageName;
use store::Store;
use text::format;
use text::printable::clean;
use text::secret::hidden;

use super::output::{print, tell};
use super::{Context, completions};
use crate::error::{Error, ExitStatus};

/// Print the log of a stage's last execution: of the one under way or failed, else of the one its outputs came from
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The stage
    #[arg(add = completions::stages())]
    stage: String,
}

/// Runs the command.
///
/// # Errors
/// When the stage has no log.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let stage = StageName::try_from(args.stage).map_err(Error::usage)?;
    let store = context.store_here()?;
    let (heading, text) = find(&store, &stage)?;
    tell(&format!(" {heading}"));
    print(&clean(&text))?;
    Ok(ExitStatus::Done)
}

/// What log it is, and its text.
fn find(store: &Store, stage: &StageName) -> Result<(String, String), Error> {
    if let Some(path) = store.unfinished_log(stage) {
        let bytes = regular::read(&path)
            .map_err(|error| Error::failed(format!("cannot read `{}`: {error}", path.display())))?;
        let heading = format!("{stage}: an execution that failed, was stopped, or is under way");
        return Ok((heading, hidden(&String::from_utf8_lossy(&bytes)).into_owned()));
    }
    let Some(record) = store.last(stage) else {
        return Err(Error::failed(format!("stage `{stage}` has no log: it never ran here"))
            .hint("`pipe status` lists the stages"));
    };
    let heading = format!(
        "{stage}: executed {} UTC in {}",
        format::date_time(record.started_ms),
        format::millis(record.duration_ms)
    );
    let text = store.log(&record).map_err(|error| {
        Error::failed(format!("the log of `{stage}` is lost: {error}"))
            .hint(format!("`pipe run --force {stage}` executes it anew"))
    })?;
    Ok((heading, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    fn stage() -> StageName {
        StageName::try_from("train".to_owned()).unwrap()
    }

    #[test]
    fn a_stage_that_never_ran_has_no_log() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let error = find(&store, &stage()).unwrap_err();
        snapshots::assert_message!(error.to_string());
    }

    #[test]
    fn the_log_of_what_did_not_finish_is_found() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        fs::write(store.log_path(&stage()).unwrap(), b"so far \xff").unwrap();
        let (heading, text) = find(&store, &stage()).unwrap();
        snapshots::assert_message!(heading);
        assert_eq!(text, "so far \u{fffd}");
    }
}
