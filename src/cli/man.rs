//! `pipe man`: manual pages, made from the command line's own definition.

use std::path::PathBuf;

use clap::CommandFactory;

use super::output::print;
use super::{Cli, Context};
use crate::error::{Error, ExitStatus};

/// Write manual pages: that of `pipe` to standard output, or with `--output` those of all commands as files
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for `pipe.1`, `pipe-run.1` and so on; made where it is not there
    #[arg(short, long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    output: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the folder or standard output cannot be written to.
pub fn run(args: Args, _context: &Context) -> Result<ExitStatus, Error> {
    let command = Cli::command().disable_help_subcommand(true);
    match args.output {
        Some(folder) => {
            let cannot = |error: std::io::Error| {
                Error::failed(format!("cannot write to `{}`: {error}", folder.display()))
            };
            std::fs::create_dir_all(&folder).map_err(cannot)?;
            clap_mangen::generate_to(command, &folder).map_err(cannot)?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).map_err(Error::failed)?;
            print(&String::from_utf8_lossy(&page))?;
        }
    }
    Ok(ExitStatus::Done)
}
