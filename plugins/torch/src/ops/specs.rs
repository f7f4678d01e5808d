//! What several ops say of themselves in the same words: what they read and write, report, and take their time for. Knows the
//! manifest; knows nothing of what the ops do.

use protocol::{InputSpec, OpManifest, OutputSpec};

/// Name of the native library in the manifest.
pub(crate) const LIBTORCH: &str = "libtorch";

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
pub(super) const UNTIMED: [&str; 19] = [
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

/// A training, which may go on from a shorter one.
pub(super) fn training(manifest: OpManifest) -> OpManifest {
    let manifest = manifest.on_all_threads().with_metrics(&TRAINED);
    OpManifest { continues: vec!["epochs".into()], ..manifest }
        .with_time(&["with.epochs", "inputs.dataset"], &UNTIMED)
}

/// The images.
pub(super) fn dataset() -> (&'static str, InputSpec) {
    ("dataset", InputSpec::required("Images and labels, from data/download"))
}

/// What a training came to.
pub(super) fn trained() -> (&'static str, InputSpec) {
    ("weights", InputSpec::required("Weights, from torch/train"))
}

/// Another network to learn from.
pub(super) fn teacher() -> (&'static str, InputSpec) {
    let description =
        "Weights of another network, from torch/train, to distil from, in addition to the labels";
    ("teacher", InputSpec::optional(description))
}

/// What a training comes to.
pub(super) fn weights() -> (&'static str, OutputSpec) {
    let description = "State dict of the chosen epoch, with its network in the metadata";
    ("weights", OutputSpec::new(description, "weights.safetensors"))
}
