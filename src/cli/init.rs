//! `pipe init`: a commented pipeline to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use super::Context;
use super::output::print;
use crate::error::{Error, ExitStatus};

/// The pipeline that is written: this repository's own.
pub const TEMPLATE: &str = include_str!("../../pipeline.yaml");

/// Write a commented pipeline.yaml to start from
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Runs the command.
///
/// # Errors
/// When the file is there already, or cannot be written.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    let file = &context.global.file;
    write(file, args.force)?;
    print(&format!(
        "wrote {}: edit it, then `pipe run`, or `pipe run --profile demo` for a few minutes without a network\n",
        file.display()
    ))?;
    Ok(ExitStatus::Done)
}

fn write(file: &Path, force: bool) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options.open(file).and_then(|mut file| file.write_all(TEMPLATE.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Error::usage(format!("`{}` is there already", file.display()))
            .hint("`--force` replaces it, `--file` names another"),
        _ => Error::failed(format!("cannot write `{}`: {error}", file.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_is_kept_unless_forced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pipeline.yaml");
        write(&file, false).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), TEMPLATE);
        std::fs::write(&file, format!("mine\n{TEMPLATE}")).unwrap();
        let error = write(&file, false).unwrap_err();
        assert_eq!(error.status(), ExitStatus::Usage);
        snapshots::assert_message!(error.to_string());
        assert!(std::fs::read_to_string(&file).unwrap().starts_with("mine"));
        write(&file, true).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), TEMPLATE);
    }

    #[test]
    fn a_folder_that_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&folder.path().join("no/pipeline.yaml"), false).unwrap_err();
        assert_eq!(error.status(), ExitStatus::Failed);
        snapshots::assert_message!(error.to_string());
    }
}
