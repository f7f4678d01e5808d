//! `pipe man`: manual pages, made from the command line's own definition.

use std::path::PathBuf;

use clap::CommandFactory;

use super::output::{may_replace, print};
use super::{Cli, Context};
use crate::error::{Error, ExitStatus};

/// Write manual pages: that of `pipe` to standard output, or with `--output` those of all commands as files
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for `pipe.1`, `pipe-run.1` and so on; made where it is not there
    #[arg(short, long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    output: Option<PathBuf>,
    /// Overwrite files that are no manual pages of `pipe`
    #[arg(long, requires = "output")]
    force: bool,
}

/// Runs the command.
///
/// # Errors
/// When the folder or standard output cannot be written to.
pub fn run(args: Args, _context: &Context) -> Result<ExitStatus, Error> {
    let mut command = Cli::command().disable_help_subcommand(true);
    match args.output {
        Some(folder) => {
            let cannot = |error: std::io::Error| {
                Error::failed(format!("cannot write to `{}`: {error}", folder.display()))
            };
            if folder.exists() && !folder.is_dir() {
                return Err(Error::usage(format!("`{}` is not a folder", folder.display()))
                    .hint("name a folder: there is a page for each command"));
            }
            std::fs::create_dir_all(&folder).map_err(cannot)?;
            // It gives commands the names that their pages have.
            command.build();
            // All are asked for before any is written.
            for page in pages(&command) {
                may_replace(&folder.join(page), args.force, "manual page of `pipe`", &is_page)?;
            }
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

/// The names of the files that pages of a command and of those below it are written to.
fn pages(command: &clap::Command) -> Vec<String> {
    let below = command.get_subcommands().filter(|command| !command.is_hide_set()).flat_map(pages);
    below.chain([clap_mangen::Man::new(command.clone()).get_filename()]).collect()
}

/// Whether a file is a manual page of some version of `pipe`.
fn is_page(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).lines().take(5).any(|line| line.starts_with(".TH pipe"))
}
