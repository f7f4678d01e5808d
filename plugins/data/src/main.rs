//! Plugin data: fetches, checks, unpacks and converts image sets.
//!
//! Terms are those of `docs/glossary.md`.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod checks;
mod download;
mod fetch;
mod figures;
mod location;
mod params;
mod partial;
mod plugin;
#[cfg(test)]
mod testing;
mod url;
mod validator;

use std::process::ExitCode;

fn main() -> ExitCode {
    protocol::main(&plugin::Data::new(fetch::Fetcher::default()))
}
