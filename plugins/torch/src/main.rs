//! Plugin torch: trains, evaluates and times networks with libtorch. The only executable that links it.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod album;
mod batches;
mod check;
mod checkpoint;
mod computes;
mod device;
mod earlier;
mod engine;
mod evaluate;
mod find_lr;
mod history;
mod libtorch;
mod loss;
mod muon;
mod native;
mod net;
mod params;
mod plugin;
mod process;
mod qat;
mod random;
mod rounding;
mod score;
mod setup;
mod sgd;
mod snapshot;
mod state;
mod teacher;
mod time;
mod train;
mod training;

#[cfg(test)]
mod agreement;
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
    protocol::main(&plugin::Torch)
}
