//! For tests: numbers to compute with, and comparison of outputs.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Numbers between −1 and 1.
pub(crate) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect()
}

/// Checks that `got` differs from `wanted` by at most `tolerance` of its largest value.
pub(crate) fn assert_close(got: &[f32], wanted: &[f32], tolerance: f32) {
    assert_eq!(got.len(), wanted.len());
    let largest = wanted.iter().fold(1e-6_f32, |most, value| most.max(value.abs()));
    for (index, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        assert!(
            (got - wanted).abs() <= tolerance * largest,
            "{index}: {got} instead of {wanted} (of {largest})"
        );
    }
}
