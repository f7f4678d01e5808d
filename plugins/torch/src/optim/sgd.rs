//! The rule of stochastic gradient descent as `torch.optim.SGD` has it: weight decay, momentum without dampening, optionally
//! Nesterov's. Written once for whatever it computes with: a number of the host, or a tensor on any device. Knows numbers; knows
//! neither parameters nor where they are.

use std::convert::Infallible;

use tch::Tensor;

use crate::error::TorchError;

/// What the rule computes with: one number, or many at a time.
pub(crate) trait Number: Sized {
    /// Why an operation fails.
    type Error;

    /// Each times `factor`, which is rounded to 32 bits.
    fn times(&self, factor: f64) -> Result<Self, Self::Error>;
    /// Each times the other's.
    fn product(&self, other: &Self) -> Result<Self, Self::Error>;
    /// Each plus the other's.
    fn plus(&self, other: &Self) -> Result<Self, Self::Error>;
    /// Each minus the other's.
    fn minus(&self, other: &Self) -> Result<Self, Self::Error>;
    /// The same once more; of a tensor, the same numbers.
    fn again(&self) -> Self;
}

impl Number for f32 {
    type Error = Infallible;

    fn times(&self, factor: f64) -> Result<Self, Infallible> {
        Ok(self * factor as f32)
    }

    fn product(&self, other: &Self) -> Result<Self, Infallible> {
        Ok(self * other)
    }

    fn plus(&self, other: &Self) -> Result<Self, Infallible> {
        Ok(self + other)
    }

    fn minus(&self, other: &Self) -> Result<Self, Infallible> {
        Ok(self - other)
    }

    fn again(&self) -> Self {
        *self
    }
}

impl Number for Tensor {
    type Error = TorchError;

    fn times(&self, factor: f64) -> Result<Self, TorchError> {
        Ok(self.f_mul_scalar(factor)?)
    }

    fn product(&self, other: &Self) -> Result<Self, TorchError> {
        Ok(self.f_mul(other)?)
    }

    fn plus(&self, other: &Self) -> Result<Self, TorchError> {
        Ok(self.f_add(other)?)
    }

    fn minus(&self, other: &Self) -> Result<Self, TorchError> {
        Ok(self.f_sub(other)?)
    }

    fn again(&self) -> Self {
        self.shallow_clone()
    }
}

/// Momentum: a running sum of gradients goes along with each step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Momentum {
    /// Share of the velocity that is kept.
    pub(crate) share: f64,
    /// Whether the gradient is looked up ahead.
    pub(crate) nesterov: bool,
}

impl Momentum {
    /// The new velocity, and the direction of the step against it.
    pub(crate) fn advance<N: Number>(self, velocity: &N, gradient: &N) -> Result<[N; 2], N::Error> {
        let velocity = velocity.times(self.share)?.plus(gradient)?;
        let direction =
            if self.nesterov { gradient.plus(&velocity.times(self.share)?)? } else { velocity.again() };
        Ok([velocity, direction])
    }

    /// What a value and its velocity become in a step at rate `lr`; `decay` is the pull of the value towards zero.
    pub(crate) fn descend<N: Number>(
        self,
        lr: f64,
        [value, velocity]: [&N; 2],
        gradient: &N,
        decay: &N,
    ) -> Result<[N; 2], N::Error> {
        let gradient = gradient.plus(&value.product(decay)?)?;
        let [velocity, direction] = self.advance(velocity, &gradient)?;
        Ok([value.minus(&direction.times(lr)?)?, velocity])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::to_host;

    /// Two steps with gradients of 1 and 2 from a value of 1, by both kinds of number.
    fn two_steps(share: f64, nesterov: bool, decay: f32) -> f32 {
        let rule = Momentum { share, nesterov };
        let tensor = |value: f32| Tensor::from_slice(&[value]);
        let mut numbers = [1.0_f32, 0.0];
        let mut tensors = [tensor(1.0), tensor(0.0)];
        for gradient in [1.0_f32, 2.0] {
            let Ok(next) = rule.descend(0.1, [&numbers[0], &numbers[1]], &gradient, &decay);
            numbers = next;
            let [value, velocity] = &tensors;
            tensors = rule.descend(0.1, [value, velocity], &tensor(gradient), &tensor(decay)).unwrap();
        }
        let of_tensors = tensors.map(|tensor| to_host(&tensor).unwrap()[0]);
        assert_eq!(numbers.map(f32::to_bits), of_tensors.map(f32::to_bits), "the rule is the same");
        numbers[0]
    }

    /// Worked out by hand after PyTorch's documentation.
    #[test]
    fn steps_are_pytorchs() {
        for (got, wanted) in [
            (two_steps(0.0, false, 0.0), 1.0 - 0.1 - 0.2),
            (two_steps(0.9, false, 0.0), 1.0 - 0.1 - 0.1 * 2.9),
            (two_steps(0.9, true, 0.0), 1.0 - 0.1 * 1.9 - 0.1 * (2.0 + 0.9 * 2.9)),
            (two_steps(0.0, false, 0.5), 0.85 - 0.1 * (2.0 + 0.5 * 0.85)),
        ] {
            assert!((got - wanted).abs() < 1e-6, "{got} instead of {wanted}");
        }
    }
}
