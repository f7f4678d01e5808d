//! Random images for runs whose logits do not matter.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `count` standard normal values, two at a time by Box and Muller's transform. Same seed, same values.
pub(crate) fn normal(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
        let (sine, cosine) = (std::f32::consts::TAU * rng.random::<f32>()).sin_cos();
        values.extend([radius * cosine, radius * sine]);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_normal_and_repeat() {
        let values = normal(10_001, 7);
        assert_eq!(values, normal(10_001, 7));
        let mean = values.iter().sum::<f32>() / 10_001.0;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / 10_001.0;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
