//! The plugin: its manifest, and which op does what.

use std::collections::BTreeMap;

use protocol::{
    CheckRequest, Failure, KeyScope, Manifest, OpManifest, OutputSpec, PROTOCOL_VERSION, Plugin, Problem,
    Reporter, Resources, RunRequest, Threads,
};

use crate::download;
use crate::fetch::Fetcher;
use crate::params::DownloadParams;

/// Bumped whenever the output of `download` could differ for the same source and params.
const DOWNLOAD_VERSION: u32 = 3;

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
#[derive(Default)]
pub(crate) struct Data {
    pub(crate) fetcher: Fetcher,
}

impl Plugin for Data {
    fn manifest(&self) -> Manifest {
        let download = OpManifest {
            description: "Fetches a set of labelled images, checks it, and writes it as one dataset file"
                .into(),
            version: DOWNLOAD_VERSION,
            params: schemars::schema_for!(DownloadParams).into(),
            inputs: BTreeMap::new(),
            extra_inputs: None,
            outputs: BTreeMap::from([(
                "dataset".into(),
                OutputSpec {
                    description: "Training and test images with their labels and class names".into(),
                    file: "dataset.safetensors".into(),
                },
            )]),
            resources: Resources { threads: Threads::All, exclusive: false },
            scope: KeyScope::Portable,
            natives: Vec::new(),
            companions: Vec::new(),
            continues: Vec::new(),
            metrics: Some(["train_images", "test_images", "classes"].map(Into::into).into()),
            checks: true,
            // Most of it may be the network's.
            time: None,
        };
        Manifest {
            protocol: PROTOCOL_VERSION,
            plugin: "data".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ops: BTreeMap::from([("download".into(), download)]),
            natives: BTreeMap::new(),
            env: ENVIRONMENT.map(Into::into).to_vec(),
        }
    }

    fn check(&self, request: &CheckRequest) -> Vec<Problem> {
        download::problems(request)
    }

    fn run(&self, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        match request.op.as_str() {
            "download" => download::run(&self.fetcher, request, reporter),
            other => Err(Failure::new(format!("plugin `data` has no op `{other}`"))),
        }
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
            Data::default().check(&request)
        };
        assert_eq!(check(serde_json::json!({"format": "synthetic"})), []);
        assert_eq!(check(serde_json::json!({"format": "idx", "source": "https://h/x.zip#size=3"})), []);
        let missing = check(serde_json::json!({"format": "idx"}));
        assert_eq!(missing[0].message, "`source` is missing");
        assert_eq!(missing[0].place, protocol::Place::Param("/source".into()));
        let twice =
            check(serde_json::json!({"format": "idx", "size": 3, "source": "https://h/x.zip#size=3"}));
        assert!(twice[0].message.contains("given twice"), "{twice:?}");
    }

    #[test]
    fn the_manifest_names_the_op_and_its_output() {
        let manifest = Data::default().manifest();
        let op = &manifest.ops["download"];
        assert_eq!(op.outputs["dataset"].file, "dataset.safetensors");
        assert_eq!(op.params["type"], "object");
        let text = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
    }
}
