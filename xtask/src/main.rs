//! `cargo xtask`: everything between a fresh clone and a finished demo or test run.
//!
//! Knows tools, wheels, folders and cargo. Depends on no other crate of the workspace, because it has to be built
//! before the native libraries that some of them need are there.

mod given;
mod habits;
mod layers;
mod peers;
mod pins;
mod requirements;
mod setup;
mod soak;
mod step;
mod task;
mod unpack;
mod wheel;
mod workspace;

use std::process::ExitCode;

use task::Task;

const USAGE: &str = "\
Usage: cargo xtask <TASK>

  setup          fetch libtorch and ONNX Runtime into `native/`, unless they are there or given
  demo [ARGS…]   set up, build in release mode, then `pipe run --profile demo ARGS…`
  test [ARGS…]   set up, build, then `cargo test --workspace ARGS…`
  fmt            format the whole workspace
  lint           what a change has to pass before its tests: formatting, clippy without a warning, and the licences and
                 origins of all dependencies (`deny.toml`)
  bless          write anew what tests hold against the code: schemas, the reference, the output that pages show,
                 snapshots. Look at the difference before you commit it
  bench CLAIM…   measure a claim and write its section of `docs/benchmarks.md`: see `bench/README.md`
  layers         draw which package of the runner uses which into `docs/architecture.md`, and count modules and imports
                 before the layers and now, for which git has to have that commit
  soak [PART…]   the tests against kills, damage and hostile input, for as long as it takes (hours), into
                 `docs/reliability.md`; goes on with the parts that are not done yet. `--again` does all of them anew,
                 `--short` as long as in `test`, writing nothing
  help           print this text

Environment:
  LIBTORCH           a folder with your own libtorch (`include/`, `lib/`); it is used and not fetched
  ORT_DYLIB_PATH     your own ONNX Runtime library; it is used and not fetched
  PIPE_PEERS_PYTHON  a Python with the packages of `tests/peers/requirements.txt`, which some tests compare with
  CI                 when `true`, tests that would be skipped for want of that Python are an error

Parts of `soak`:
";

/// The help text.
fn usage() -> String {
    USAGE.to_owned() + &soak::usage()
}

fn main() -> ExitCode {
    let task = match Task::parse(std::env::args_os().skip(1)) {
        Ok(task) => task,
        Err(wrong) => {
            eprintln!("error: {wrong}\n\n{}", usage());
            return ExitCode::from(2);
        }
    };
    match task.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
