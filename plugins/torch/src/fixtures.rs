//! Small things for tests: a dataset that is easy to learn, a network that learns in a blink, and a runner in memory.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dataset::{Dataset, Normalization, Split};
use model::{Network, Weights, WeightsMetadata};
use protocol::{Figure, FromPlugin, Metric, Op, Ops, Reporter, RunRequest};
use rand::Rng;
use serde_json::{Value, json};

use crate::net::parameters::Parameters;
use crate::random::{Purpose, generator};

/// Dark and bright images of 8×8 with noise.
pub(crate) fn synthetic(train: usize, test: usize) -> Dataset {
    let mut rng = generator(5, Purpose::Order, 0);
    let mut split = |count: usize| {
        let labels: Vec<i64> = (0..count).map(|index| (index % 2) as i64).collect();
        let pixels = labels
            .iter()
            .flat_map(|&label| std::iter::repeat_n(label, 2 * 8 * 8).collect::<Vec<_>>())
            .map(|label| rng.random_range(0..=150_u8) + if label == 1 { 100 } else { 0 })
            .collect();
        Split::new([2, 8, 8], pixels, labels).unwrap()
    };
    let (train, test) = (split(train), split(test));
    Dataset::new(vec!["dark".into(), "bright".into()], train, test, "test", vec![]).unwrap()
}

/// A network with one of everything, for [`synthetic`].
pub(crate) fn network() -> Value {
    json!({"input": [2, 8, 8], "layers": [
        {"conv": {"out": 6, "kernel": 3, "activation": "relu"}},
        {"inverted_residual": {"out": 6, "expand": 8, "se": 2}},
        {"inverted_residual": {"out": 8, "expand": 12, "stride": 2, "se": 4, "gate": "hard_sigmoid"}},
        {"residual": {"layers": [{"conv": {"out": 8, "kernel": 3, "norm": "none"}}]}},
        {"max_pool": {"kernel": 2}}, {"average_pool": {"kernel": 2, "stride": 1}},
        {"global_average_pool": {}}, {"dropout": {"p": 0.2}}, {"linear": {}},
    ]})
}

/// Params of a training that takes a moment.
pub(crate) fn train_params() -> Value {
    json!({
        "network": network(), "epochs": 4, "batch_size": 16, "validation": 20, "device": "cpu",
        "augment": {"crop_padding": 1, "flip": true},
        "normalization": {"mean": [0.5, 0.5], "std": [0.25, 0.25]},
    })
}

/// Untrained weights of [`network`].
pub(crate) fn weights(seed: u64) -> Weights {
    let network: Network = serde_json::from_value(network()).unwrap();
    let graph = network.lower(2).unwrap();
    let parameters = Parameters::initial(&graph, &mut generator(seed, Purpose::Initialization, 0));
    let normalization = Normalization { mean: vec![0.5; 2], std: vec![0.25; 2] };
    let classes = vec!["dark".into(), "bright".into()];
    Weights::new(
        parameters.to_tensors(&graph, 0),
        WeightsMetadata { network, classes, normalization, held_out: None },
    )
    .unwrap()
}

/// libtorch's generator and thread count are the process's own: tests that train take turns.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request as the runner makes it.
pub(crate) fn request(
    op: &str,
    params: Value,
    inputs: &[(&str, PathBuf)],
    outputs: &[(&str, PathBuf)],
    folder: &Path,
) -> RunRequest {
    let named = |paths: &[(&str, PathBuf)]| {
        paths.iter().map(|(name, path)| ((*name).to_owned(), path.clone())).collect()
    };
    RunRequest {
        op: op.into(),
        params,
        inputs: named(inputs),
        outputs: named(outputs),
        threads: 1,
        resume_dir: folder.join("resume"),
        continue_dir: Some(folder.join("continue")),
        companions: std::collections::BTreeMap::default(),
        ignore: None,
    }
}

/// What an op said.
#[derive(Debug)]
pub(crate) struct Reported(pub(crate) Vec<FromPlugin>);

impl Reported {
    pub(crate) fn metric(&self, wanted: &str) -> &Metric {
        let found = self.0.iter().find_map(|message| match message {
            FromPlugin::Metric { name, metric } if name == wanted => Some(metric),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no metric {wanted} in {:?}", self.0))
    }

    pub(crate) fn figure(&self, id: &str) -> &Figure {
        let found = self.0.iter().rev().find_map(|message| match message {
            FromPlugin::Figure(figure) if figure.id == id => Some(figure),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no figure {id}"))
    }

    pub(crate) fn logs(&self) -> String {
        let logs = self.0.iter().filter_map(|message| match message {
            FromPlugin::Log { message, .. } => Some(message.as_str()),
            _ => None,
        });
        logs.collect::<Vec<_>>().join("\n")
    }
}

/// Runs an op; what it said, or the failure's words.
pub(crate) fn serve_op(op: impl Op + 'static, request: &RunRequest) -> Result<Reported, String> {
    let ops = Ops::default().and(op);
    let mut bytes = Vec::new();
    let outcome = ops.run(request, &mut Reporter::new(&mut bytes));
    let text = String::from_utf8(bytes).unwrap();
    let messages: Vec<FromPlugin> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let inputs = request.inputs.keys().map(String::as_str);
    let declared = ops.manifests()[&request.op].metric_names(inputs, &request.params).unwrap();
    for message in &messages {
        if let FromPlugin::Metric { name, .. } = message {
            assert!(declared.contain(name), "{} does not declare `{name}`", request.op);
        }
    }
    outcome.map(|()| Reported(messages)).map_err(|failure| format!("{failure:?}"))
}
