//! Muon (Jordan et al., *Muon: An optimizer for hidden layers in neural networks* (2024)): a step changes a weight in all
//! directions by the same amount, not most where gradients are largest. Here for convolutions that a normalisation follows, which
//! takes away how long their weights are: so their norm stays what it was, and a step turns them by a share of it. Knows which
//! weights these are, and the step; not what becomes of the others.

use std::ops::Range;

use backprop::Orthogonal;
use model::{Conv, Graph, Node, Op};
use tch::{Kind, Tensor};

use super::sgd::Momentum;
use crate::error::TorchError;
use crate::net::parameters::placed;
use crate::params::{MuonParams, TrainParams};

/// A weight as a matrix: a row for each output channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Matrix {
    /// Place of its first number among all that gradients train.
    place: usize,
    rows: usize,
    columns: usize,
}

impl Matrix {
    /// Places of its numbers.
    pub(crate) fn range(self) -> Range<usize> {
        self.place..self.place + self.rows * self.columns
    }
}

/// What learns by Muon, and how.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Muon {
    /// Its learning rate by that of everything else.
    ratio: f64,
    momentum: Momentum,
    matrices: Vec<Matrix>,
}

impl Muon {
    /// As `params` want it for a network, if they do.
    pub(crate) fn new(params: &TrainParams, graph: &Graph) -> Option<Self> {
        let MuonParams { lr, momentum } = params.muon?;
        let momentum = Momentum { share: momentum, nesterov: true };
        Some(Self { ratio: lr / params.lr, momentum, matrices: matrices(graph) })
    }

    /// The weights that learn by it, in the order of their places.
    pub(crate) fn matrices(&self) -> &[Matrix] {
        &self.matrices
    }

    /// One step on the host for a weight, where everything else learns at rate `lr`: `scratch` is that weight's, and all slices
    /// have its length.
    pub(crate) fn step(
        &self,
        lr: f64,
        scratch: &mut Scratch,
        [values, velocity]: [&mut [f32]; 2],
        gradient: &[f32],
    ) {
        scratch.direction.clear();
        scratch.direction.extend(velocity.iter_mut().zip(gradient).map(|(velocity, gradient)| {
            let Ok([new, direction]) = self.momentum.advance(&*velocity, gradient);
            *velocity = new;
            direction
        }));
        let (length, turns) = (norm(values), scratch.orthogonal.replace(&mut scratch.direction));
        if length < Orthogonal::LEAST_NORM || !turns {
            return;
        }
        let share = (lr * self.ratio * length / norm(&scratch.direction)) as f32;
        values.iter_mut().zip(&scratch.direction).for_each(|(value, direction)| *value -= share * direction);
        let factor = (length / norm(values).max(Orthogonal::LEAST_NORM)) as f32;
        values.iter_mut().for_each(|value| *value *= factor);
    }

    /// The same by libtorch, for a weight on any device: what becomes of its values and of its velocity. All are flat.
    pub(crate) fn step_by_libtorch(
        &self,
        lr: f64,
        Matrix { rows, columns, .. }: Matrix,
        [values, velocity, gradient]: [&Tensor; 3],
    ) -> Result<[Tensor; 2], TorchError> {
        let [velocity, direction] = self.momentum.advance(velocity, gradient)?;
        let turns = direction.f_norm()?.f_ge(Orthogonal::LEAST_NORM)?;
        let direction = orthogonal(&direction.f_view([rows as i64, columns as i64])?)?.f_reshape([-1])?;
        let length = values.f_norm()?;
        let share = length.f_mul_scalar(lr * self.ratio)?.f_div(&safe_norm(&direction)?)?.f_mul(&turns)?;
        let turned = values.f_sub(&direction.f_mul(&share)?)?;
        let factor = length.f_div(&safe_norm(&turned)?)?;
        Ok([turned.f_mul(&factor)?, velocity])
    }
}

/// A norm that can be divided by.
fn safe_norm(values: &Tensor) -> Result<Tensor, TorchError> {
    Ok(values.f_norm()?.f_clamp_min(Orthogonal::LEAST_NORM)?)
}

/// What a step of a weight on the host works with.
pub(crate) struct Scratch {
    orthogonal: Orthogonal,
    direction: Vec<f32>,
}

impl Scratch {
    /// For a weight.
    pub(crate) fn new(matrix: Matrix) -> Self {
        Self { orthogonal: Orthogonal::new(matrix.rows, matrix.columns), direction: Vec::new() }
    }
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// The weights of convolutions that a normalisation follows, but for those in groups, whose filters are no directions of one
/// space.
fn matrices(graph: &Graph) -> Vec<Matrix> {
    let normalized = |node: &Node| match (&node.op, node.inputs.first()) {
        (Op::BatchNorm(_), Some(&input)) => match &graph.node(input).op {
            Op::Conv(conv @ Conv { groups: 1, .. }) => Some(format!("{}.weight", conv.prefix)),
            _ => None,
        },
        _ => None,
    };
    let names: Vec<_> = graph.nodes().iter().filter_map(normalized).collect();
    let matrix = |(param, place): (model::Param, usize)| {
        let rows = *param.shape.first()?;
        let columns = param.count().checked_div(rows)?;
        names.contains(&param.name).then_some(Matrix { place, rows, columns })
    };
    placed(graph).into_iter().filter_map(matrix).collect()
}

/// As [`Orthogonal::replace`], by libtorch.
fn orthogonal(matrix: &Tensor) -> Result<Tensor, TorchError> {
    let [a, b, c] = Orthogonal::POLYNOMIAL.map(f64::from);
    let wide = matches!(matrix.size()[..], [rows, columns] if rows <= columns);
    let turned = |matrix: Tensor| if wide { Ok(matrix) } else { matrix.f_transpose(0, 1) };
    let mut x = turned(matrix.f_div(&safe_norm(matrix)?)?)?;
    for _ in 0..Orthogonal::ITERATIONS {
        let gram = x.f_matmul(&x.f_transpose(0, 1)?)?;
        let polynomial = gram.f_mul_scalar(b)?.f_add(&gram.f_matmul(&gram)?.f_mul_scalar(c)?)?;
        x = x.f_mul_scalar(a)?.f_add(&polynomial.f_matmul(&x)?)?;
    }
    Ok(turned(x)?.f_to_kind(Kind::Float)?)
}

#[cfg(test)]
mod tests {
    use model::Network;
    use rand::Rng;

    use super::*;
    use crate::random::{Purpose, generator};
    use crate::tensor::to_host;

    #[test]
    fn convolutions_before_normalisations_learn_by_it() {
        let graph = Network::tinynet().lower(10).unwrap();
        let found = matrices(&graph);
        // The stem, and two of each block: neither depthwise ones, nor gates, nor the classifier.
        assert_eq!(found.len(), 1 + 7 * 2);
        assert_eq!(found[0], Matrix { place: 0, rows: 16, columns: 27 });
        assert!(found.windows(2).all(|pair| pair[0].range().end <= pair[1].range().start));
        assert!(found.iter().all(|matrix| matrix.columns > 9));
    }

    #[test]
    fn both_engines_take_the_same_step() {
        let params = TrainParams {
            lr: 0.2,
            muon: Some(MuonParams { lr: 0.05, momentum: 0.9 }),
            ..TrainParams::default()
        };
        let graph = params.network.lower(10).unwrap();
        let muon = Muon::new(&params, &graph).unwrap();
        let mut rng = generator(1, Purpose::Initialization, 0);
        for &matrix in muon.matrices() {
            let mut draw = || matrix.range().map(|_| rng.random::<f32>() - 0.4).collect::<Vec<_>>();
            let (mut values, mut velocity, gradient) = (draw(), draw(), draw());
            let (before, given) =
                (values.clone(), [&values, &velocity, &gradient].map(|it| Tensor::from_slice(it)));
            let told = muon.step_by_libtorch(0.1, matrix, [&given[0], &given[1], &given[2]]).unwrap();
            muon.step(0.1, &mut Scratch::new(matrix), [&mut values, &mut velocity], &gradient);
            for (own, told) in [&values, &velocity].into_iter().zip(&told) {
                let told = to_host(told).unwrap();
                assert!(own.iter().zip(&told).all(|(own, told)| (own - told).abs() < 1e-4), "{matrix:?}");
            }
            assert!((norm(&values) / norm(&before) - 1.0).abs() < 1e-5, "the norm stays");
            let change: Vec<f32> = values.iter().zip(&before).map(|(new, old)| new - old).collect();
            let share = norm(&change) / norm(&before);
            assert!((0.5 * 0.025..=1.01 * 0.025).contains(&share), "{matrix:?} turned by {share}");
        }
    }

    #[test]
    fn a_gradient_of_zeros_changes_nothing_once_the_momentum_is_used_up() {
        let params = TrainParams { muon: Some(MuonParams::default()), ..TrainParams::default() };
        let muon = Muon::new(&params, &params.network.lower(10).unwrap()).unwrap();
        let matrix = muon.matrices()[1];
        let mut values: Vec<f32> = matrix.range().map(|index| index as f32).collect();
        let (before, zeros) = (values.clone(), vec![0.0_f32; values.len()]);
        for left in [0.0, 1e-43, 1e-40, 1e-30, 1e-20] {
            let mut velocity = vec![left; values.len()];
            let tensors = [&values, &velocity, &zeros].map(|values| Tensor::from_slice(values));
            let [told, _] =
                muon.step_by_libtorch(0.1, matrix, [&tensors[0], &tensors[1], &tensors[2]]).unwrap();
            muon.step(0.1, &mut Scratch::new(matrix), [&mut values, &mut velocity], &zeros);
            assert_eq!(values, before, "{left}");
            let told = to_host(&told).unwrap();
            assert!(told.iter().zip(&before).all(|(told, before)| (told - before).abs() < 1e-3), "{left}");
        }
    }
}
