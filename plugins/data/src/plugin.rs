//! The plugin as the runner sees it: its ops, and on what of its environment they depend. Knows them by their list; knows
//! nothing of what they do.

use std::collections::BTreeMap;

use protocol::{
    CheckRequest, Failure, Manifest, Ops, PROTOCOL_VERSION, Plugin, Problem, Reporter, RunRequest,
};

use crate::download::Download;
use crate::fetch::Fetcher;

/// Variables that decide how servers are reached and whom to trust.
const ENVIRONMENT: [&str; 10] = [
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "https_proxy",
    "http_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The plugin `data`.
pub(crate) struct Data {
    ops: Ops,
}

impl Data {
    /// The plugin, whose ops fetch with `fetcher`.
    pub(crate) fn new(fetcher: Fetcher) -> Self {
        Self { ops: Ops::default().and(Download { fetcher }) }
    }
}

impl Plugin for Data {
    fn manifest(&self) -> Manifest {
        Manifest {
            protocol: PROTOCOL_VERSION,
            plugin: "data".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ops: self.ops.manifests(),
            natives: BTreeMap::new(),
            env: ENVIRONMENT.map(Into::into).to_vec(),
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

    #[test]
    fn params_that_contradict_each_other_are_told_where_they_stand() {
        let check = |params: serde_json::Value| {
            let request = CheckRequest {
                op: "download".into(),
                params,
                inputs: [].into(),
                present: BTreeMap::new(),
                threads: 1,
            };
            Data::new(Fetcher::default()).check(&request)
        };
        assert_eq!(check(serde_json::json!({"format": "synthetic"})), []);
        assert_eq!(check(serde_json::json!({"format": "idx", "source": "https://h/x.zip#size=3"})), []);
        let missing = check(serde_json::json!({"format": "idx"}));
        assert_eq!(missing[0].message, "`source` is missing");
        assert_eq!(missing[0].place, protocol::Place::Param("/source".into()));
        let twice =
            check(serde_json::json!({"format": "idx", "size": 3, "source": "https://h/x.zip#size=3"}));
        snapshots::assert_message!(twice[0].message);
    }

    #[test]
    fn the_manifest_names_the_op_and_its_output() {
        let manifest = Data::new(Fetcher::default()).manifest();
        let op = &manifest.ops["download"];
        assert_eq!(op.outputs["dataset"].file, "dataset.safetensors");
        assert_eq!(op.params["type"], "object");
        let text = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
    }

    /// What is said here is part of the keys of all stages.
    #[test]
    fn the_manifest_is_the_one_that_was_agreed_on() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifest.json");
        let ops = serde_json::to_string_pretty(&Data::new(Fetcher::default()).manifest().ops).unwrap() + "\n";
        if std::env::var_os("PIPE_UPDATE_DOCS").is_some() {
            std::fs::write(path, &ops).unwrap();
        }
        let agreed = std::fs::read_to_string(path).unwrap();
        assert!(ops == agreed, "if it is meant, set PIPE_UPDATE_DOCS to write `{path}` anew");
    }
}
