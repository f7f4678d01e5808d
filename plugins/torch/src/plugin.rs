//! What the plugin says of itself, and which function runs which op.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use protocol::{
    CheckRequest, Failure, InputSpec, KeyScope, Manifest, OpManifest, OutputSpec, PROTOCOL_VERSION, Plugin,
    Problem, Reporter, Resources, RunRequest, Threads, TimeSpec,
};
use schemars::{JsonSchema, schema_for};

use crate::find_lr::Sweep;
use crate::params::{EvaluateParams, TrainParams};
use crate::qat::QatParams;
use crate::{check, device, evaluate, find_lr, qat, train};

/// Bump when weights could differ for the same inputs and params.
pub(crate) const TRAIN_VERSION: u32 = 5;
/// Bump when predictions could differ for the same inputs and params.
const EVALUATE_VERSION: u32 = 1;

/// Bump when weights could differ for the same inputs and params.
const QAT_VERSION: u32 = 5;

/// Bump when the sweep could differ for the same inputs and params.
const FIND_LR_VERSION: u32 = 2;

/// What a training reports.
const TRAINED: [&str; 8] = [
    "parameters",
    "size_kb",
    "macs",
    "best_epoch",
    "images_per_second",
    "train_loss",
    "val_accuracy{if with.validation!=0}",
    "test_accuracy{if with.select_on=test}",
];

/// What the time of an epoch does not depend on, or next to nothing. A teacher, an average, Muon, and the network matter.
const UNTIMED: [&str; 19] = [
    "with.augment",
    "with.budget",
    "with.checkpoint_every",
    "with.class_weights",
    "with.clip_grad",
    "with.decay_norms",
    "with.label_smoothing",
    "with.lr",
    "with.momentum",
    "with.nesterov",
    "with.normalization",
    "with.restart_every",
    "with.schedule",
    "with.seed",
    "with.warmup",
    "with.weight_decay",
    "inputs.ranges",
    "inputs.sensitivity",
    "inputs.weights",
];

/// The plugin.
pub(crate) struct Torch;

impl Plugin for Torch {
    fn manifest(&self) -> Manifest {
        let train = OpManifest {
            description: "Trains a network on a dataset's training images".into(),
            version: TRAIN_VERSION,
            params: params::<TrainParams>(),
            inputs: inputs_or(
                [("dataset", "Images and labels, from data/download")],
                ("teacher", "Weights of another network, from torch/train, to learn from beside the labels"),
            ),
            extra_inputs: None,
            outputs: outputs([
                (
                    "weights",
                    "State dict of the chosen epoch, with its network in the metadata",
                    "weights.safetensors",
                ),
                ("reference", "A few normalised training images and their logits", "reference.safetensors"),
            ]),
            resources: Resources { threads: Threads::All, exclusive: false },
            scope: KeyScope::Portable,
            natives: vec!["libtorch".into()],
            companions: Vec::new(),
            continues: vec!["epochs".into()],
            metrics: Some(names(&TRAINED)),
            checks: true,
            time: Some(TimeSpec {
                scales_with: names(&["with.epochs", "inputs.dataset"]),
                ignores: names(&UNTIMED),
            }),
        };
        let evaluate = OpManifest {
            description: "Computes logits and accuracy on all test images".into(),
            version: EVALUATE_VERSION,
            params: params::<EvaluateParams>(),
            inputs: inputs([
                ("dataset", "Images and labels, from data/download"),
                ("weights", "Weights, from torch/train"),
            ]),
            outputs: outputs([(
                "predictions",
                "Logits and labels of all test images",
                "predictions.safetensors",
            )]),
            scope: KeyScope::Hardware,
            continues: Vec::new(),
            metrics: Some(names(&["accuracy", "size_kb"])),
            time: Some(TimeSpec { scales_with: names(&["inputs.dataset"]), ignores: vec![] }),
            ..train.clone()
        };
        let qat = OpManifest {
            description:
                "Goes on training on the grid of the network's INT8 model (quantization-aware training)"
                    .into(),
            version: QAT_VERSION,
            params: params::<QatParams>(),
            inputs: inputs_or(
                [
                    ("dataset", "Images and labels, from data/download"),
                    ("weights", "Weights, from torch/train"),
                    (
                        "ranges",
                        "Ranges, from onnx/calibrate of the model that onnx/export makes of these weights",
                    ),
                ],
                ("sensitivity", "Which layers stay in floating point, from onnx/sensitivity"),
            ),
            outputs: outputs([
                (
                    "weights",
                    "State dict of the chosen epoch, with its network in the metadata",
                    "weights.safetensors",
                ),
                (
                    "reference",
                    "A few normalised training images and their logits in floats",
                    "reference.safetensors",
                ),
                ("ranges", "The ranges, for onnx/quantize of the new model", "ranges.json"),
            ]),
            ..train.clone()
        };
        let find_lr = OpManifest {
            description:
                "Tries learning rates from low to high: which a training of the same params can bear".into(),
            version: FIND_LR_VERSION,
            params: Sweep::schema(params::<TrainParams>()),
            outputs: outputs([("sweep", "Smoothed loss by learning rate", "sweep.json")]),
            continues: Vec::new(),
            metrics: Some(names(&["lr", "lr_lowest_loss"])),
            time: Some(TimeSpec {
                scales_with: names(&["with.steps"]),
                ignores: names(
                    &[&UNTIMED[..], &["with.lr_from", "with.lr_to", "with.epochs", "inputs.dataset"]]
                        .concat(),
                ),
            }),
            ..train.clone()
        };
        Manifest {
            protocol: PROTOCOL_VERSION,
            plugin: "torch".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ops: BTreeMap::from([
                ("train".into(), train),
                ("qat".into(), qat),
                ("evaluate".into(), evaluate),
                ("find-lr".into(), find_lr),
            ]),
            natives: BTreeMap::from([("libtorch".into(), device::native())]),
            env: ["LIBTORCH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"].map(String::from).into(),
        }
    }

    fn check(&self, request: &CheckRequest) -> Vec<Problem> {
        check::check(request)
    }

    fn run(&self, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        tch::set_num_threads(i32::try_from(request.threads.max(1)).unwrap_or(i32::MAX));
        match request.op.as_str() {
            "train" => train::run(request, reporter),
            "qat" => qat::run(request, reporter),
            "evaluate" => evaluate::run(request, reporter),
            "find-lr" => find_lr::run(request, reporter),
            other => Err(Failure::new(format!("torch has no op `{other}`"))
                .hint("it has `train`, `qat`, `evaluate` and `find-lr`")),
        }
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn params<T: JsonSchema>() -> serde_json::Value {
    schema_for!(T).to_value()
}

fn inputs<const N: usize>(inputs: [(&str, &str); N]) -> BTreeMap<String, InputSpec> {
    inputs
        .map(|(name, description)| {
            (name.into(), InputSpec { description: description.into(), optional: false })
        })
        .into()
}

/// Those, and one that may be left out.
fn inputs_or<const N: usize>(
    required: [(&str, &str); N],
    (name, description): (&str, &str),
) -> BTreeMap<String, InputSpec> {
    let mut all = inputs(required);
    all.insert(name.into(), InputSpec { description: description.into(), optional: true });
    all
}

fn outputs<const N: usize>(outputs: [(&str, &str, &str); N]) -> BTreeMap<String, OutputSpec> {
    outputs
        .map(|(name, description, file)| {
            (name.into(), OutputSpec { description: description.into(), file: file.into() })
        })
        .into()
}

/// Path of an input.
pub(crate) fn input<'a>(request: &'a RunRequest, name: &str) -> anyhow::Result<&'a Path> {
    request.inputs.get(name).map(PathBuf::as_path).with_context(|| format!("there is no input `{name}`"))
}

/// Path of an output.
pub(crate) fn output<'a>(request: &'a RunRequest, name: &str) -> anyhow::Result<&'a Path> {
    request.outputs.get(name).map(PathBuf::as_path).with_context(|| format!("there is no output `{name}`"))
}

/// `1 image`, `10,000 images`.
pub(crate) fn images(number: usize) -> String {
    format!("{} {}", grouped(number as u64), if number == 1 { "image" } else { "images" })
}

/// A number with commas between thousands: `1,630`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use model::Network;

    use super::*;
    use crate::batches::Feed;
    use crate::fixtures::synthetic;
    use crate::params::{AugmentParams, Mirror};
    use crate::random::{Purpose, generator};
    use crate::state::State;

    #[test]
    fn the_manifest_names_what_the_ops_use() {
        let manifest = Torch.manifest();
        for (name, op) in &manifest.ops {
            assert_eq!(op.params["type"], "object", "{name}");
            assert_eq!(op.params["additionalProperties"], false, "{name}");
            assert!(op.natives.iter().all(|native| manifest.natives.contains_key(native)));
        }
        assert_eq!(manifest.ops["train"].scope, KeyScope::Portable);
        assert_eq!(manifest.ops["evaluate"].scope, KeyScope::Hardware);
    }

    /// What training starts from and in what order it sees images, whoever computes. libtorch's own sums differ from one kind of
    /// CPU to the next; what our kernels make of it is held by a test of `train`.
    #[test]
    fn a_change_of_what_a_seed_means_wants_a_new_version() {
        let graph = Network::tinynet().lower(10).unwrap();
        let state = State::initial(&graph, &mut generator(42, Purpose::Initialization, 0));
        let mut hasher = blake3::Hasher::new();
        for value in &state.values {
            hasher.update(&value.to_le_bytes());
        }
        let dataset = synthetic(40, 10);
        let (sender, receiver) = std::sync::mpsc::sync_channel(100);
        let feed = Feed {
            split: &dataset.train,
            indices: &(0..40).collect::<Vec<_>>(),
            augment: AugmentParams { crop_padding: 2, flip: Mirror::Random(true) },
            normalization: &dataset::Normalization { mean: vec![0.5; 2], std: vec![0.25; 2] },
            batch_size: 16,
            seed: 42,
            renders: true,
        };
        feed.send(0..2, &sender);
        drop(sender);
        for batch in receiver {
            for value in batch.images {
                hasher.update(&value.to_le_bytes());
            }
        }
        let digest = hasher.finalize().to_hex();
        assert_eq!(
            (TRAIN_VERSION, &digest[..16]),
            (5, "81a667140a289ee5"),
            "bump TRAIN_VERSION, then change this"
        );
    }

    #[test]
    fn one_image_is_no_images() {
        assert_eq!([0, 1, 2000].map(images), ["0 images", "1 image", "2,000 images"]);
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(
            [0, 999, 1630, 78_630, 1_000_000].map(grouped),
            ["0", "999", "1,630", "78,630", "1,000,000"]
        );
    }
}
