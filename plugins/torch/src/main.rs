//! Plugin torch: trains, evaluates and times networks with libtorch. The only executable that links it.
//!
//! Terms are those of `docs/glossary.md`.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod backend;
mod data;
mod device;
mod error;
mod net;
mod ops;
mod optim;
mod params;
mod plugin;
mod process;
mod random;
mod tensor;
mod time;
mod trainer;

#[cfg(test)]
mod fixtures;

use std::process::ExitCode;

fn main() -> ExitCode {
    process::keep_memory();
    match std::env::args().nth(1).as_deref() {
        Some("time") => return time::main(),
        Some(_) => {}
        None => process::wait_politely(),
    }
    protocol::main(&plugin::Torch::new())
}
