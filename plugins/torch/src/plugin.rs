//! The plugin as the runner sees it: its ops, and the library and environment that they depend on. Knows them by their
//! list; knows nothing of what they do.

use protocol::{
    CheckRequest, Failure, Manifest, Ops, PROTOCOL_VERSION, Plugin, Problem, Reporter, RunRequest,
};

use crate::ops::specs::LIBTORCH;
use crate::{device, ops};

/// The plugin.
pub(crate) struct Torch {
    ops: Ops,
}

impl Torch {
    /// The plugin with all its ops.
    pub(crate) fn new() -> Self {
        Self { ops: ops::all() }
    }
}

impl Plugin for Torch {
    fn manifest(&self) -> Manifest {
        Manifest {
            protocol: PROTOCOL_VERSION,
            plugin: "torch".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ops: self.ops.manifests(),
            natives: [(LIBTORCH.to_owned(), device::native())].into(),
            env: ["LIBTORCH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"].map(String::from).into(),
        }
    }

    fn check(&self, request: &CheckRequest) -> Vec<Problem> {
        self.ops.check(request)
    }

    fn run(&self, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        tch::set_num_threads(i32::try_from(request.threads.max(1)).unwrap_or(i32::MAX));
        self.ops.run(request, reporter)
    }
}

#[cfg(test)]
mod tests {
    use protocol::KeyScope;

    use super::*;

    #[test]
    fn the_manifest_names_what_the_ops_use() {
        let manifest = Torch::new().manifest();
        for (name, op) in &manifest.ops {
            assert_eq!(op.params["type"], "object", "{name}");
            assert_eq!(op.params["additionalProperties"], false, "{name}");
            assert!(op.natives.iter().all(|native| manifest.natives.contains_key(native)));
        }
        assert_eq!(manifest.ops["train"].scope, KeyScope::Portable);
        assert_eq!(manifest.ops["evaluate"].scope, KeyScope::Hardware);
    }

    /// What is said here is part of the keys of all stages.
    #[test]
    fn the_manifest_is_the_one_that_was_agreed_on() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifest.json");
        let ops = serde_json::to_string_pretty(&Torch::new().manifest().ops).unwrap() + "\n";
        if std::env::var_os("PIPE_UPDATE_DOCS").is_some() {
            std::fs::write(path, &ops).unwrap();
        }
        let agreed = std::fs::read_to_string(path).unwrap();
        assert!(ops == agreed, "if it is meant, set PIPE_UPDATE_DOCS to write `{path}` anew");
    }
}
