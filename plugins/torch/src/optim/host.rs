//! Steps of an optimiser on the host: clipping by the global norm, then gradient descent and Muon, each for its numbers. Knows
//! flat numbers; knows no network.

use super::Rules;
use super::muon::{Muon, Scratch};

/// The optimiser of a network on the host.
pub(crate) struct HostOptimizer<'a> {
    rules: &'a Rules,
    /// One for each weight that learns by Muon.
    scratches: Vec<Scratch>,
}

impl<'a> HostOptimizer<'a> {
    /// By these rules.
    pub(crate) fn new(rules: &'a Rules) -> Self {
        let matrices = rules.muon.iter().flat_map(Muon::matrices);
        Self { rules, scratches: matrices.map(|&matrix| Scratch::new(matrix)).collect() }
    }

    /// Changes values and velocity by one step at rate `lr` against `gradient`, which is clipped. All have one length.
    pub(crate) fn step(&mut self, lr: f64, [values, velocity]: [&mut [f32]; 2], gradient: &mut [f32]) {
        if let Some(limit) = self.rules.clip {
            // As `torch.nn.utils.clip_grad_norm_`.
            let norm = gradient.iter().map(|&slope| f64::from(slope).powi(2)).sum::<f64>().sqrt();
            let factor = (limit / (norm + 1e-6)).min(1.0) as f32;
            gradient.iter_mut().for_each(|slope| *slope *= factor);
        }
        for range in self.rules.descended.iter().cloned() {
            let pulls = gradient[range.clone()].iter().zip(&self.rules.weight_decay[range.clone()]);
            let values = values[range.clone()].iter_mut().zip(&mut velocity[range]);
            for ((value, velocity), (gradient, decay)) in values.zip(pulls) {
                let Ok(next) = self.rules.momentum.descend(lr, [&*value, &*velocity], gradient, decay);
                [*value, *velocity] = next;
            }
        }
        if let Some(muon) = &self.rules.muon {
            for (matrix, scratch) in muon.matrices().iter().zip(&mut self.scratches) {
                let range = matrix.range();
                let numbers = [&mut values[range.clone()], &mut velocity[range.clone()]];
                muon.step(lr, scratch, numbers, &gradient[range]);
            }
        }
    }
}
