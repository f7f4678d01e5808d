//! Folding an affine map of channels into the convolution before it, in double precision.

/// `scale · x + shift` by channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Affine {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Affine {
    /// One scale and one shift for each channel.
    #[must_use]
    pub(crate) fn new(scale: Vec<f64>, shift: Vec<f64>) -> Self {
        Self { scale, shift }
    }

    /// The same map for all of `channels`.
    #[must_use]
    pub fn uniform(channels: usize, scale: f64, shift: f64) -> Self {
        Self { scale: vec![scale; channels], shift: vec![shift; channels] }
    }

    /// Batch normalisation at inference: `(x - mean) / sqrt(variance + eps) · weight + bias`. All slices have
    /// one value a channel.
    #[must_use]
    pub fn of_batch_norm(weight: &[f32], bias: &[f32], mean: &[f32], variance: &[f32], eps: f64) -> Self {
        let scale: Vec<f64> = weight
            .iter()
            .zip(variance)
            .map(|(&weight, &variance)| f64::from(weight) / (f64::from(variance) + eps).sqrt())
            .collect();
        let shift = bias
            .iter()
            .zip(mean)
            .zip(&scale)
            .map(|((&bias, &mean), scale)| f64::from(bias) - f64::from(mean) * scale)
            .collect();
        Self { scale, shift }
    }

    /// Changes `weight` (output channels outermost) and returns the new bias, so that the convolution's outcome
    /// is the map of what it was. No bias stands for zeros.
    #[expect(clippy::cast_possible_truncation, reason = "rounding to 32 bits once, at the end")]
    pub fn fold(&self, weight: &mut [f32], bias: Option<&[f32]>) -> Vec<f32> {
        let per_channel = (weight.len() / self.scale.len().max(1)).max(1);
        for (values, scale) in weight.chunks_mut(per_channel).zip(&self.scale) {
            for value in values {
                *value = (f64::from(*value) * scale) as f32;
            }
        }
        let bias = bias.unwrap_or(&[]).iter().map(|&value| f64::from(value)).chain(std::iter::repeat(0.0));
        bias.zip(self.scale.iter().zip(&self.shift))
            .map(|(bias, (scale, shift))| (bias * scale + shift) as f32)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folded_convolution_computes_the_normalised_outcome() {
        let (gamma, beta, mean, variance) = ([2.0, -1.0], [0.5, 0.25], [1.0, 3.0], [4.0, 0.25]);
        let affine = Affine::of_batch_norm(&gamma, &beta, &mean, &variance, 1e-5);
        let mut weight = [0.5, -1.5, 2.0, 3.0];
        let bias = affine.fold(&mut weight, Some(&[0.1, -0.2]));
        let (x, w, b) = ([0.7_f64, -0.3], [[0.5_f64, -1.5], [2.0, 3.0]], [0.1_f64, -0.2]);
        for channel in 0..2 {
            let before = w[channel][0] * x[0] + w[channel][1] * x[1] + b[channel];
            let expected = (before - f64::from(mean[channel])) / (f64::from(variance[channel]) + 1e-5).sqrt()
                * f64::from(gamma[channel])
                + f64::from(beta[channel]);
            let folded = f64::from(weight[channel * 2]) * x[0]
                + f64::from(weight[channel * 2 + 1]) * x[1]
                + f64::from(bias[channel]);
            assert!((folded - expected).abs() < 1e-6, "{folded} {expected}");
        }
    }

    #[test]
    fn without_a_bias_the_shift_is_the_bias() {
        let mut weight = [1.0, 2.0];
        assert_eq!(Affine::uniform(2, 3.0, 0.5).fold(&mut weight, None), [0.5, 0.5]);
        assert_eq!(weight, [3.0, 6.0]);
    }
}
