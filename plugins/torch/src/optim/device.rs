//! Steps of an optimiser on a device: clipping by the global norm, then gradient descent and Muon, each for its numbers. A handful
//! of operations on flat tensors, however many parameters there are; the host waits for none. Knows no network.

use tch::{Device, Tensor};

use super::Rules;
use super::muon::Matrix;
use crate::error::TorchError;
use crate::tensor::{inference, to_device};

/// The optimiser of a network on a device.
pub(crate) struct DeviceOptimizer<'a> {
    rules: &'a Rules,
    /// Momentum's running sum of gradients, flat.
    velocity: Tensor,
    /// Pull towards zero, by value.
    weight_decay: Tensor,
}

impl<'a> DeviceOptimizer<'a> {
    /// By these rules, going on with a velocity.
    ///
    /// # Errors
    /// When the device has no room.
    pub(crate) fn new(rules: &'a Rules, velocity: &[f32], device: Device) -> Result<Self, TorchError> {
        let weight_decay = to_device(&rules.weight_decay, device)?;
        Ok(Self { rules, velocity: to_device(velocity, device)?, weight_decay })
    }

    /// Momentum's running sum of gradients, flat.
    pub(crate) fn velocity(&self) -> &Tensor {
        &self.velocity
    }

    /// Changes `values` by one step at rate `lr` against `gradient`. All are flat and of one length.
    pub(crate) fn step(&mut self, values: &mut Tensor, gradient: Tensor, lr: f64) -> Result<(), TorchError> {
        inference(|| {
            let mut gradient = gradient;
            if let Some(limit) = self.rules.clip {
                // As `torch.nn.utils.clip_grad_norm_`; the host does not wait for the norm.
                let factor = gradient.f_norm()?.f_add_scalar(1e-6)?.f_reciprocal()?.f_mul_scalar(limit)?;
                gradient = gradient.f_mul(&factor.f_clamp_max(1.0)?)?;
            }
            let turned = self.turned(values, &gradient, lr)?;
            let numbers = [&*values, &self.velocity];
            let [new, velocity] = self.rules.momentum.descend(lr, numbers, &gradient, &self.weight_decay)?;
            self.velocity = velocity;
            values.f_copy_(&new).map(drop)?;
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
        let Some(muon) = &self.rules.muon else { return Ok(Vec::new()) };
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
    use crate::fixtures::network;
    use crate::optim::host::HostOptimizer;
    use crate::params::TrainParams;
    use crate::tensor::to_host;

    fn rules(changes: &serde_json::Value) -> Rules {
        let mut params = serde_json::json!({"network": network(), "nesterov": true});
        params.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let params: TrainParams = serde_json::from_value(params).unwrap();
        Rules::new(&params, &params.network.lower(2).unwrap(), None)
    }

    fn numbers(count: usize, from: f32) -> Vec<f32> {
        (0..count).map(|at| from + at as f32).collect()
    }

    #[test]
    fn what_learns_by_muon_does_not_descend() {
        let [with, without] = [serde_json::json!({"muon": {"lr": 0.05}}), serde_json::json!({})];
        let (with, without) = (rules(&with), rules(&without));
        let count = with.weight_decay.len();
        let tensor = |from: f32| Tensor::from_slice(&numbers(count, from));
        let step = |rules: &Rules| {
            let mut values = tensor(1.0);
            let mut optimizer = DeviceOptimizer::new(rules, &numbers(count, 3.0), Device::Cpu).unwrap();
            optimizer.step(&mut values, tensor(-7.0), 0.1).unwrap();
            [to_host(&values).unwrap(), to_host(optimizer.velocity()).unwrap()]
        };
        let (turned, descended) = (step(&with), step(&without));
        for range in &with.descended {
            assert_eq!(turned[0][range.clone()], descended[0][range.clone()]);
            assert_eq!(turned[1][range.clone()], descended[1][range.clone()]);
        }
        let muon = with.muon.as_ref().unwrap();
        for &matrix in muon.matrices() {
            let part = |tensor: Tensor| part(&tensor, matrix).unwrap();
            let own = [&part(tensor(1.0)), &part(tensor(3.0)), &part(tensor(-7.0))];
            let own = muon.step_by_libtorch(0.1, matrix, own).unwrap();
            for (found, own) in turned.iter().zip(&own) {
                assert_eq!(found[matrix.range()], to_host(own).unwrap());
            }
        }
    }

    /// A gradient as long as `limit` would have it, or longer.
    #[test]
    fn a_long_gradient_is_scaled_down_here_as_on_the_host() {
        for (limit, is_scaled) in [(0.5, true), (1e9, false)] {
            let rules = rules(&serde_json::json!({"clip_grad": limit, "momentum": 0.5, "weight_decay": 0.0}));
            let count = rules.weight_decay.len();
            let gradient: Vec<_> = (0..count).map(|at| (at as f32).sin()).collect();
            let (mut values, mut velocity) = (vec![1.0; count], vec![0.0; count]);
            let mut on_host = gradient.clone();
            HostOptimizer::new(&rules).step(0.1, [&mut values, &mut velocity], &mut on_host);
            let mut tensor = Tensor::from_slice(&vec![1.0_f32; count]);
            let mut optimizer = DeviceOptimizer::new(&rules, &vec![0.0; count], Device::Cpu).unwrap();
            optimizer.step(&mut tensor, Tensor::from_slice(&gradient), 0.1).unwrap();
            let norm = velocity.iter().map(|&slope| f64::from(slope).powi(2)).sum::<f64>().sqrt();
            assert_eq!((norm - limit).abs() < 1e-3, is_scaled, "{norm}");
            for (host, device) in values.iter().zip(to_host(&tensor).unwrap()) {
                assert!((host - device).abs() < 1e-6, "{host} {device}");
            }
        }
    }
}
