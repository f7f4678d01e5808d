//! The `pipe` command.

use std::process::ExitCode;

/// Pipelines of thousands of stages are many small texts on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pipe::cli::main()
}
