//! Talks to the plugin, and finds what tests need.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use dataset::{Dataset, FolderOptions, Normalization, Source, Split, image_folder};
use model::{Network, Weights, WeightsMetadata};
use protocol::{Figure, FromPlugin, Manifest, Metric, MetricNames, PROTOCOL_VERSION, RunRequest, ToPlugin};
use serde_json::Value;

pub(crate) const EXECUTABLE: &str = env!("CARGO_BIN_EXE_pipe-onnx");

const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// What an op said.
pub(crate) struct Said {
    pub(crate) metrics: BTreeMap<String, Metric>,
    pub(crate) figures: BTreeMap<String, Figure>,
    pub(crate) logs: Vec<String>,
    /// Why it is no answer yet, where the op said so.
    pub(crate) provisional: Option<String>,
    /// Message and hint of a failure.
    pub(crate) failure: Option<String>,
}

impl Said {
    pub(crate) fn value(&self, metric: &str) -> f64 {
        self.metrics.get(metric).unwrap_or_else(|| panic!("no metric `{metric}`: {:?}", self.metrics)).value
    }

    /// Itself, unless the op failed.
    #[track_caller]
    pub(crate) fn done(self) -> Self {
        assert_eq!(self.failure, None);
        self
    }

    /// What it failed with.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        self.failure.expect("the op should have failed")
    }
}

/// Runs an op with these params, inputs and outputs.
pub(crate) fn run(op: &str, params: Value, inputs: &[(&str, &Path)], outputs: &[(&str, &Path)]) -> Said {
    run_as(&[], op, params, inputs, outputs)
}

/// As [`run`], by a program with its arguments where one is given.
pub(crate) fn run_as(
    program: &[&str],
    op: &str,
    params: Value,
    inputs: &[(&str, &Path)],
    outputs: &[(&str, &Path)],
) -> Said {
    let paths = |pairs: &[(&str, &Path)]| {
        pairs.iter().map(|(name, path)| ((*name).to_owned(), path.to_path_buf())).collect()
    };
    let request = RunRequest {
        op: op.into(),
        params,
        inputs: paths(inputs),
        outputs: paths(outputs),
        threads: 2,
        resume_dir: PathBuf::new(),
        continue_dir: None,
        companions: BTreeMap::new(),
        ignore: None,
    };
    let declared = declared(&request);
    let lines = [ToPlugin::Hello { version: PROTOCOL_VERSION }, ToPlugin::Run(Box::new(request))]
        .map(|message| serde_json::to_string(&message).unwrap() + "\n");
    let cache = tempfile::tempdir().unwrap();
    let words = [program, &[EXECUTABLE]].concat();
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .env("XDG_CACHE_HOME", cache.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Stays open until the plugin is done: its end would mean that the runner is gone.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.concat().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert!(output.status.success(), "{:?}", output.status);
    let kept: Vec<_> = std::fs::read_dir(cache.path()).unwrap().collect();
    assert!(kept.is_empty(), "ONNX Runtime keeps telemetry: {kept:?}");
    let mut said = Said {
        metrics: BTreeMap::new(),
        figures: BTreeMap::new(),
        logs: vec![],
        provisional: None,
        failure: None,
    };
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        match serde_json::from_str(line).unwrap() {
            FromPlugin::Metric { name, metric } => {
                assert!(
                    declared.as_ref().is_some_and(|names| names.contain(&name)),
                    "{op} does not declare `{name}`"
                );
                said.metrics.insert(name, metric);
            }
            FromPlugin::Figure(figure) => drop(said.figures.insert(figure.id.clone(), figure)),
            FromPlugin::Log { message, .. } => said.logs.push(message),
            FromPlugin::Failed { message, hint } => {
                said.failure = Some(format!("{message} ({})", hint.unwrap_or_default()));
            }
            FromPlugin::Done { provisional } => said.provisional = provisional,
            FromPlugin::Hello { .. } | FromPlugin::Progress(_) | FromPlugin::Checked { .. } => {}
        }
    }
    said
}

/// The metrics that the plugin declares for what it is asked for, if it has such an op.
fn declared(request: &RunRequest) -> Option<MetricNames> {
    static MANIFEST: OnceLock<Manifest> = OnceLock::new();
    let manifest = MANIFEST.get_or_init(|| {
        let output = Command::new(EXECUTABLE).arg("describe").output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    });
    let inputs = request.inputs.keys().map(String::as_str);
    manifest.ops.get(&request.op)?.metric_names(inputs, &request.params)
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// A file beside the repository; prints that the test is skipped where it is missing.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let file = repository().parent()?.join("shared").join(path);
    if file.is_file() {
        return Some(file);
    }
    println!("skipped: there is no `../shared/{path}`");
    None
}

/// Whether ONNX Runtime is there; prints that the test is skipped where it is not.
pub(crate) fn runtime() -> Option<()> {
    let there = std::env::var_os("ORT_DYLIB_PATH").is_some()
        || repository().join("native/onnxruntime/libonnxruntime.so.1.32.0").is_file();
    if !there {
        println!("skipped: there is no ONNX Runtime; run `cargo xtask setup`");
    }
    there.then_some(())
}

/// Every n-th image of the JPEG data set, 1,000 for testing and 2,000 for training, as a dataset file.
pub(crate) fn images(folder: &Path) -> Option<PathBuf> {
    static WHOLE: OnceLock<Option<Dataset>> = OnceLock::new();
    let whole = WHOLE.get_or_init(|| {
        let archive = shared("data/cifar10-images.tar.gz")?;
        Some(
            image_folder(&Source::open(&archive).unwrap(), &FolderOptions::default(), &mut |_| {})
                .unwrap()
                .dataset,
        )
    });
    let whole = whole.as_ref()?;
    let train = every(&whole.train, 2_000);
    let subset =
        Dataset::new(whole.classes.clone(), train, every(&whole.test, 1_000), "image-folder", vec![]);
    let path = folder.join("dataset.safetensors");
    subset.unwrap().write(&path).unwrap();
    Some(path)
}

/// Ten grey images for training and ten for testing, one of each class.
pub(crate) fn tiny_dataset(folder: &Path, shape: [usize; 3]) -> PathBuf {
    let size: usize = shape.iter().product();
    let split = || Split::new(shape, vec![128; 10 * size], (0..10).collect()).unwrap();
    let classes = (0..10).map(|class| format!("class {class}")).collect();
    let path = folder.join("tiny.safetensors");
    Dataset::new(classes, split(), split(), "synthetic", vec![]).unwrap().write(&path).unwrap();
    path
}

fn every(split: &Split, count: usize) -> Split {
    let indices: Vec<usize> = (0..count).map(|place| place * split.len() / count).collect();
    let pixels = indices.iter().flat_map(|&index| split.image(index)).copied().collect();
    let labels = indices.iter().map(|&index| split.label(index)).collect();
    Split::new(split.shape(), pixels, labels).unwrap()
}

/// A reference state dict as weights that carry TinyNet.
pub(crate) fn weights(folder: &Path, state_dict: &str) -> Option<PathBuf> {
    let metadata = WeightsMetadata {
        network: Network::tinynet(),
        classes: CLASSES.map(String::from).into(),
        normalization: Normalization::cifar10(),
        held_out: None,
    };
    let path = folder.join("weights.safetensors");
    Weights::read_state_dict(&shared(state_dict)?, metadata).unwrap().write(&path).unwrap();
    Some(path)
}
