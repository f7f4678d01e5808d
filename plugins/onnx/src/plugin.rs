//! The plugin as the runner sees it: its manifest, and its ops by name.

use protocol::{CheckRequest, Failure, Manifest, PROTOCOL_VERSION, Plugin, Problem, Reporter, RunRequest};

use crate::{library, ops};

/// Plugin `onnx`.
pub(crate) struct Onnx;

impl Plugin for Onnx {
    fn manifest(&self) -> Manifest {
        Manifest {
            protocol: PROTOCOL_VERSION,
            plugin: "onnx".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ops: ops::manifests(),
            natives: [(ops::RUNTIME.to_owned(), library::describe())].into(),
            env: vec![library::PATH_VARIABLE.into()],
        }
    }

    fn check(&self, request: &CheckRequest) -> Vec<Problem> {
        ops::check(request)
    }

    fn run(&self, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        ops::run(request, reporter)
    }
}
