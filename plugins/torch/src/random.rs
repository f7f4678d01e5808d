//! Where randomness comes from: a stream of its own for each purpose and epoch, so that an epoch can be repeated
//! or continued from without knowing what came before it. Knows seeds; knows nothing of what is drawn.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What random numbers are for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// First values of the parameters.
    Initialization = 1,
    /// Order of the images.
    Order = 2,
    /// Crops and flips.
    Augmentation = 3,
    /// What is dropped out.
    Dropout = 4,
    /// Which images are mirrored first, where that alternates.
    Mirroring = 5,
    /// Images on which statistics of averaged weights are estimated.
    Statistics = 6,
}

/// The generator for a purpose in an epoch, counted from 0.
pub(crate) fn generator(seed: u64, purpose: Purpose, epoch: u32) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(((purpose as u64) << 32) | u64::from(epoch));
    generator
}

/// Seeds libtorch's generator for an epoch.
pub(crate) fn seed_libtorch(seed: u64, epoch: u32) {
    tch::manual_seed(generator(seed, Purpose::Dropout, epoch).next_u64().cast_signed());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_repeat() {
        let draw = |seed, purpose, epoch| generator(seed, purpose, epoch).next_u64();
        assert_eq!(draw(1, Purpose::Order, 3), draw(1, Purpose::Order, 3));
        let all = [
            draw(1, Purpose::Order, 3),
            draw(1, Purpose::Order, 4),
            draw(1, Purpose::Augmentation, 3),
            draw(2, Purpose::Order, 3),
        ];
        assert_eq!(std::collections::BTreeSet::from(all).len(), all.len());
    }
}
