//! The plugin as the runner sees it: its ops, and the library and environment that they depend on. Knows them by their
//! list; knows nothing of what they do.

use protocol::{
    CheckRequest, Failure, Manifest, Ops, PROTOCOL_VERSION, Plugin, Problem, Reporter, RunRequest,
};

use crate::{library, ops};

/// Plugin `onnx`.
pub(crate) struct Onnx {
    ops: Ops,
}

impl Onnx {
    /// The plugin with all its ops.
    pub(crate) fn new() -> Self {
        Self { ops: ops::all() }
    }
}

impl Plugin for Onnx {
    fn manifest(&self) -> Manifest {
        Manifest {
            protocol: PROTOCOL_VERSION,
            plugin: "onnx".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ops: self.ops.manifests(),
            natives: [(ops::RUNTIME.to_owned(), library::describe())].into(),
            env: vec![library::PATH_VARIABLE.into()],
        }
    }

    fn check(&self, request: &CheckRequest) -> Vec<Problem> {
        self.ops.check(request)
    }

    fn run(&self, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        self.ops.run(request, reporter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said here is part of the keys of all stages.
    #[test]
    fn the_manifest_is_the_one_that_was_agreed_on() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifest.json");
        let ops = serde_json::to_string_pretty(&Onnx::new().manifest().ops).unwrap() + "\n";
        if std::env::var_os("PIPE_UPDATE_DOCS").is_some() {
            std::fs::write(path, &ops).unwrap();
        }
        let agreed = std::fs::read_to_string(path).unwrap();
        assert!(ops == agreed, "if it is meant, set PIPE_UPDATE_DOCS to write `{path}` anew");
    }
}
