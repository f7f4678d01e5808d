//! Stochastic gradient descent as `torch.optim.SGD` does it: weight decay, momentum without dampening, optionally
//! Nesterov's; and clipping by the global norm before it. Weights that learn by Muon are left to [`crate::muon`].

use tch::Tensor;

use crate::muon::{Matrix, Muon};
use crate::net::{TorchError, inference};

/// Settings and velocity.
pub(crate) struct Sgd<'a> {
    /// Momentum's running sum of gradients, flat.
    pub(crate) velocity: Tensor,
    /// Share of the velocity that is kept.
    pub(crate) momentum: f64,
    /// Whether the gradient is looked up ahead.
    pub(crate) nesterov: bool,
    /// Pull towards zero, by value.
    pub(crate) weight_decay: Tensor,
    /// What learns by Muon instead.
    pub(crate) muon: Option<&'a Muon>,
    /// Largest global norm of a gradient.
    pub(crate) clip: Option<f64>,
}

impl Sgd<'_> {
    /// Changes `values` by one step against `gradient`.
    pub(crate) fn step(&mut self, values: &mut Tensor, gradient: Tensor, lr: f64) -> Result<(), TorchError> {
        inference(|| {
            let mut gradient = gradient;
            if let Some(limit) = self.clip {
                // As `torch.nn.utils.clip_grad_norm_`; the host does not wait for the norm.
                let factor = gradient.f_norm()?.f_add_scalar(1e-6)?.f_reciprocal()?.f_mul_scalar(limit)?;
                gradient = gradient.f_mul(&factor.f_clamp_max(1.0)?)?;
            }
            let turned = self.turned(values, &gradient, lr)?;
            let gradient = gradient.f_add(&values.f_mul(&self.weight_decay)?)?;
            self.velocity = self.velocity.f_mul_scalar(self.momentum)?.f_add(&gradient)?;
            let direction = if self.nesterov {
                gradient.f_add(&self.velocity.f_mul_scalar(self.momentum)?)?
            } else {
                self.velocity.shallow_clone()
            };
            values.f_sub_(&direction.f_mul_scalar(lr)?).map(drop)?;
            for (matrix, [new, velocity]) in turned {
                part(values, matrix)?.f_copy_(&new).map(drop)?;
                part(&self.velocity, matrix)?.f_copy_(&velocity).map(drop)?;
            }
            Ok(())
        })
    }

    /// What becomes of the values and the velocity of each weight that learns by Muon.
    fn turned(
        &self,
        values: &Tensor,
        gradient: &Tensor,
        lr: f64,
    ) -> Result<Vec<(Matrix, [Tensor; 2])>, TorchError> {
        let Some(muon) = self.muon else { return Ok(Vec::new()) };
        let turn = |&matrix: &Matrix| {
            let [values, velocity, gradient] =
                [part(values, matrix)?, part(&self.velocity, matrix)?, part(gradient, matrix)?];
            Ok((matrix, muon.step_by_libtorch(lr, matrix, [&values, &velocity, &gradient])?))
        };
        muon.matrices().iter().map(turn).collect()
    }
}

/// A weight's numbers among all.
fn part(all: &Tensor, matrix: Matrix) -> Result<Tensor, TorchError> {
    let range = matrix.range();
    Ok(all.f_narrow(0, range.start as i64, range.len() as i64)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Rules;
    use crate::fixtures::network;
    use crate::net::to_host;
    use crate::params::{TrainParams, parse};

    /// Two steps with gradients of 1 and 2 from a value of 1, worked out by hand after PyTorch's documentation.
    fn two_steps(momentum: f64, nesterov: bool, weight_decay: f64, clip: Option<f64>) -> f32 {
        let mut values = Tensor::from_slice(&[1.0_f32]);
        let velocity = Tensor::from_slice(&[0.0_f32]);
        let weight_decay = Tensor::from_slice(&[weight_decay as f32]);
        let mut sgd = Sgd { velocity, momentum, nesterov, weight_decay, muon: None, clip };
        for gradient in [1.0_f32, 2.0] {
            sgd.step(&mut values, Tensor::from_slice(&[gradient]), 0.1).unwrap();
        }
        to_host(&values).unwrap()[0]
    }

    #[test]
    fn what_learns_by_muon_does_not_descend() {
        let muon = serde_json::json!({"lr": 0.05});
        let params: TrainParams = parse(&serde_json::json!({"network": network(), "muon": muon})).unwrap();
        let graph = params.network.lower(2).unwrap();
        let rules = Rules::new(&params, &graph, None);
        let count = rules.weight_decay.len();
        let tensor =
            |value: f32| Tensor::from_slice(&(0..count).map(|at| value + at as f32).collect::<Vec<_>>());
        let step = |muon: Option<&Muon>| {
            let (mut values, gradient) = (tensor(1.0), tensor(-7.0));
            let weight_decay = Tensor::from_slice(&vec![0.5_f32; count]);
            let mut sgd =
                Sgd { velocity: tensor(3.0), momentum: 0.9, nesterov: true, weight_decay, muon, clip: None };
            sgd.step(&mut values, gradient, 0.1).unwrap();
            [to_host(&values).unwrap(), to_host(&sgd.velocity).unwrap()]
        };
        let muon = rules.muon.as_ref().unwrap();
        let (with, without) = (step(Some(muon)), step(None));
        for range in &rules.descended {
            assert_eq!(with[0][range.clone()], without[0][range.clone()]);
            assert_eq!(with[1][range.clone()], without[1][range.clone()]);
        }
        for &matrix in muon.matrices() {
            let part = |tensor: Tensor| part(&tensor, matrix).unwrap();
            let own = [&part(tensor(1.0)), &part(tensor(3.0)), &part(tensor(-7.0))];
            let turned = muon.step_by_libtorch(0.1, matrix, own).unwrap();
            for (found, turned) in with.iter().zip(&turned) {
                assert_eq!(found[matrix.range()], to_host(turned).unwrap());
            }
        }
    }

    #[test]
    fn steps_are_pytorchs() {
        for (got, wanted) in [
            (two_steps(0.0, false, 0.0, None), 1.0 - 0.1 - 0.2),
            (two_steps(0.9, false, 0.0, None), 1.0 - 0.1 - 0.1 * 2.9),
            (two_steps(0.9, true, 0.0, None), 1.0 - 0.1 * 1.9 - 0.1 * (2.0 + 0.9 * 2.9)),
            (two_steps(0.0, false, 0.5, None), 0.85 - 0.1 * (2.0 + 0.5 * 0.85)),
            (two_steps(0.0, false, 0.0, Some(1.5)), 1.0 - 0.1 - 0.15),
        ] {
            assert!((got - wanted).abs() < 1e-6, "{got} instead of {wanted}");
        }
    }
}
