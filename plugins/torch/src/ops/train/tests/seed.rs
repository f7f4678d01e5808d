//! What a seed means.

use model::Network;
use protocol::Op;

use crate::data::loader::Loader;
use crate::fixtures::synthetic;
use crate::net::parameters::Parameters;
use crate::ops::train::Train;
use crate::params::{AugmentParams, Mirror};
use crate::random::{Purpose, generator};

/// What training starts from and in what order it sees images, whoever computes. libtorch's own sums differ from one kind of
/// CPU to the next; what our kernels make of it is held by a test in `longer`.
#[test]
fn a_change_of_what_a_seed_means_wants_a_new_version() {
    let graph = Network::tinynet().lower(10).unwrap();
    let parameters = Parameters::initial(&graph, &mut generator(42, Purpose::Initialization, 0));
    let mut hasher = blake3::Hasher::new();
    for value in &parameters.values {
        hasher.update(&value.to_le_bytes());
    }
    let dataset = synthetic(40, 10);
    let (sender, receiver) = std::sync::mpsc::sync_channel(100);
    let loader = Loader {
        split: &dataset.train,
        indices: &(0..40).collect::<Vec<_>>(),
        augment: AugmentParams { crop_padding: 2, flip: Mirror::Random(true) },
        normalization: &dataset::Normalization { mean: vec![0.5; 2], std: vec![0.25; 2] },
        batch_size: 16,
        seed: 42,
        renders: true,
    };
    loader.send(0..2, &sender);
    drop(sender);
    for batch in receiver {
        for value in batch.images {
            hasher.update(&value.to_le_bytes());
        }
    }
    let digest = hasher.finalize().to_hex();
    assert_eq!(
        (Train::VERSION, &digest[..16]),
        (5, "81a667140a289ee5"),
        "bump Train::VERSION, then change this"
    );
}
