//! `pipe ui`: serves the pages of runs to a browser on this machine. Knows when to begin and to end; the pages are made in
//! `ui`.

use std::ffi::OsStr;
use std::io;
use std::sync::mpsc;

use super::output::{print, tell};
use super::{Context, browser};
use crate::error::{Error, ExitStatus};
use crate::exec::BetweenRuns;
use crate::ui::Server;

/// Show runs, reports and logs in the browser, live while a run goes on
///
/// Listens on 127.0.0.1 only, and prints an address with a token, without which nothing is shown. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The port; any that is free where not given
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    port: u16,
    /// Open it in the browser
    #[arg(long)]
    open: bool,
}

/// Runs the command until it is interrupted.
///
/// # Errors
/// When the cache is not a folder, the port cannot be had, or standard output cannot be written to.
pub fn run(args: Args, context: &Context) -> Result<ExitStatus, Error> {
    context.store_here()?;
    let file = std::path::absolute(&context.global.file).map_err(Error::failed)?;
    let cache = context.cache().map(ToOwned::to_owned);
    let server = Server::bind(file, cache, args.port).map_err(|error| cannot_listen(args.port, &error))?;
    let (stop, stopped) = mpsc::channel();
    let stop = move || {
        // Who is asked twice is about to end.
        let _ = stop.send(());
    };
    let _signals = BetweenRuns::start(stop)
        .map_err(|error| Error::failed(format!("cannot listen for Ctrl-C: {error}")))?;
    let address = server.address();
    std::thread::Builder::new()
        .name("pipe ui".into())
        .spawn(move || server.serve())
        .map_err(|error| Error::failed(format!("cannot start a thread: {error}")))?;
    print(&format!("{address}\n"))?;
    tell(" serving on this machine only; Ctrl-C ends");
    if args.open {
        // What opens it may go on for as long as the browser does.
        std::thread::spawn(move || {
            if let Err(why) = browser::open(OsStr::new(&address)) {
                tell(&format!("warning: cannot open the browser: {why}; open the address yourself"));
            }
        });
    }
    // The listener for signals keeps the other end.
    let _ = stopped.recv();
    Ok(ExitStatus::Interrupted)
}

fn cannot_listen(port: u16, error: &io::Error) -> Error {
    let failed = Error::failed(format!("cannot listen on 127.0.0.1:{port}: {error}"));
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            failed.hint("something else has that port: without `--port` any free one is taken")
        }
        io::ErrorKind::PermissionDenied => {
            failed.hint("ports below 1024 are not for everybody: `--port 8080`")
        }
        _ => failed,
    }
}
