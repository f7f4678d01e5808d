//! What a batch normalisation multiplies with and adds, forward and backward. By channel, with padding.

use crate::memory::Memory;
use crate::plan::{Layer, Norm, Widening};
use crate::statistics::{Moments, Sums};

/// Factors of a normalisation for the current batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct NormState {
    /// Forward: `x · scale + shift`.
    pub(crate) scale: Memory,
    pub(crate) shift: Memory,
    pub(crate) mean: Memory,
    inverse: Vec<f64>,
    count: f64,
    /// Backward: `gradient · factor + x · slope + offset`.
    pub(crate) factor: Memory,
    pub(crate) slope: Memory,
    pub(crate) offset: Memory,
    /// Where there is a widening. Its weights, each output's times the normalisation's factor: `[outputs, padded inputs]`.
    pub(crate) backward: Memory,
    /// What all images tell of the gradient with respect to its operand x, `x · correction + shift`: `[inputs, padded inputs]`.
    pub(crate) correction: Memory,
    pub(crate) correction_shift: Memory,
}

impl NormState {
    pub(crate) fn new(norm: &Norm) -> Self {
        let zeros = || Memory::zeros(norm.shape.padded());
        Self {
            scale: zeros(),
            shift: zeros(),
            mean: zeros(),
            inverse: vec![0.0; norm.shape.padded()],
            count: 0.0,
            factor: zeros(),
            slope: zeros(),
            offset: zeros(),
            backward: Memory::zeros(
                norm.widening.map_or(0, |widening| norm.shape.channels * widening.from.padded()),
            ),
            correction: Memory::zeros(
                norm.widening.map_or(0, |widening| widening.from.channels * widening.from.padded()),
            ),
            correction_shift: Memory::zeros(norm.widening.map_or(0, |widening| widening.from.padded())),
        }
    }

    /// Normalises with the statistics of the batch, and lets them move the running ones by `momentum`, as PyTorch does:
    /// the running variance is that of a sample.
    pub(crate) fn use_batch(
        &mut self,
        norm: &Norm,
        moments: &Moments,
        values: &[f32],
        running: &mut [f32],
        momentum: f64,
    ) {
        self.count = moments.count;
        for channel in 0..norm.shape.channels {
            let (mean, squares) = (moments.mean[channel], moments.squares[channel]);
            self.set(norm, channel, mean, squares / moments.count, values);
            let sample = squares / (moments.count - 1.0).max(1.0);
            for (place, new) in [(norm.stats[0], mean), (norm.stats[1], sample)] {
                let old = &mut running[place + channel];
                *old = (f64::from(*old) * (1.0 - momentum) + new * momentum) as f32;
            }
        }
    }

    /// Scales a widening's weights, `[outputs, padded inputs]`.
    pub(crate) fn scale_weights(&mut self, weights: &[f32], row: usize) {
        let rows = self.backward.chunks_exact_mut(row).zip(weights.chunks_exact(row));
        for ((scaled, weights), scale) in rows.zip(self.scale.iter()) {
            scaled.iter_mut().zip(weights).for_each(|(scaled, weight)| *scaled = weight * scale);
        }
    }

    /// Normalises with the running statistics.
    pub(crate) fn use_running(&mut self, norm: &Norm, values: &[f32], running: &[f32]) {
        for channel in 0..norm.shape.channels {
            let [mean, variance] = norm.stats.map(|place| f64::from(running[place + channel]));
            self.set(norm, channel, mean, variance, values);
        }
    }

    fn set(&mut self, norm: &Norm, channel: usize, mean: f64, variance: f64, values: &[f32]) {
        let inverse = 1.0 / (variance + norm.eps).sqrt();
        let [weight, bias] = norm.values.map(|place| f64::from(values[place + channel]));
        self.inverse[channel] = inverse;
        self.mean[channel] = mean as f32;
        self.scale[channel] = (weight * inverse) as f32;
        self.shift[channel] = (bias - mean * weight * inverse) as f32;
    }

    /// Takes the sums of the gradient, and adds the gradient with respect to the normalisation's own values to `gradient`.
    ///
    /// With x̂ = (x - mean) · inverse and n values: dx = weight · inverse · (dy - Σdy/n - x̂ · Σ(dy · x̂)/n); Ioffe and Szegedy,
    /// *Batch Normalization* (2015).
    pub(crate) fn close(&mut self, norm: &Norm, sums: &Sums, values: &[f32], gradient: &mut [f32]) {
        for channel in 0..norm.shape.channels {
            let inverse = self.inverse[channel];
            let (plain, product) = (sums.gradient[channel], sums.product[channel] * inverse);
            gradient[norm.values[0] + channel] += product as f32;
            gradient[norm.values[1] + channel] += plain as f32;
            let factor = f64::from(values[norm.values[0] + channel]) * inverse;
            let slope = -factor * inverse * product / self.count;
            self.factor[channel] = factor as f32;
            self.slope[channel] = slope as f32;
            self.offset[channel] =
                (-factor * plain / self.count - slope * f64::from(self.mean[channel])) as f32;
        }
    }
}

/// What a widening needs of the whole batch.
pub(crate) struct Widened<'a> {
    pub(crate) widening: Widening,
    pub(crate) layer: &'a Layer,
    /// `[outputs, padded inputs]`.
    pub(crate) weights: &'a [f32],
    /// Sums over pixels of operand times gradient with respect to the normalisation's output: `[inputs, padded outputs]`.
    pub(crate) gradient: &'a [f64],
    /// Sums of the operand, and of its products.
    pub(crate) sums: &'a [f64],
    pub(crate) products: &'a [f64],
}

impl NormState {
    /// Completes the gradient with respect to a widening's weights, and what all images tell of that with respect to its
    /// operand. After [`NormState::close`]; the formulas are those of [`Widening`].
    pub(crate) fn correct(&mut self, widened: &Widened<'_>, sums: &Sums, gradient: &mut [f32]) {
        let Widened { widening, layer, weights, gradient: products_with, sums: operand, products } = *widened;
        let (inputs, row, columns) = (widening.from.channels, widening.from.padded(), layer.padded());
        let count = self.count;
        let mean: Vec<f64> = operand.iter().map(|sum| sum / count).collect();
        let mut correction = vec![0.0; inputs * row];
        let mut shift = vec![0.0; row];
        for output in 0..layer.outputs {
            let weights = &weights[output * row..][..inputs];
            let (inverse, factor) = (self.inverse[output], f64::from(self.factor[output]));
            let (plain, product) = (sums.gradient[output], sums.product[output] * inverse);
            let share = product * inverse / count;
            let centre: f64 = weights.iter().zip(&mean).map(|(weight, mean)| f64::from(*weight) * mean).sum();
            for input in 0..inputs {
                let spread: f64 = (weights.iter().enumerate())
                    .map(|(other, weight)| {
                        let centred = products[other * row + input] - count * mean[other] * mean[input];
                        f64::from(*weight) * centred
                    })
                    .sum();
                let told = products_with[input * columns + output] - plain * mean[input];
                gradient[layer.weight + output * inputs + input] += (factor * (told - share * spread)) as f32;
                let weight = f64::from(weights[input]) * factor;
                shift[input] -= weight * (plain / count - share * centre);
                for (other, other_weight) in weights.iter().enumerate() {
                    correction[other * row + input] -= weight * f64::from(*other_weight) * share;
                }
            }
        }
        for (to, from) in [(&mut self.correction, correction), (&mut self.correction_shift, shift)] {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from as f32);
        }
    }
}
