//! Training on the CPU by `backprop`: what a step comes to does not depend on the number of threads.

use backprop::{Mode, Network};
use dataset::{Normalization, Split};
use rand::RngCore;

use crate::batches::Batch;
use crate::engine::{At, Engine, Learned, Rules, kept, with_shares};
use crate::loss::{CrossEntropy, Outcome, distil};
use crate::muon::{Muon, Scratch};
use crate::net::{BATCH_NORM_MOMENTUM, TorchError};
use crate::random::{Purpose, generator};
use crate::state::State;
use crate::teacher::Teacher;

/// Images at a time when validating: as many values are in memory as in a usual step.
const EVALUATION_BATCH: usize = 128;

/// What a gradient is multiplied with so that its `norm` is at most `limit`: as `torch.nn.utils.clip_grad_norm_`.
fn clipped(limit: Option<f64>, norm: impl FnOnce() -> f64) -> f64 {
    limit.map_or(1.0, |limit| (limit / (norm() + 1e-6)).min(1.0))
}

/// A network that learns.
pub(crate) struct Native<'a> {
    network: Network,
    rules: &'a Rules,
    normalization: &'a Normalization,
    classes: usize,
    learned: Learned,
    teacher: Option<(Network, &'a Teacher)>,
    /// One for each weight that learns by Muon.
    scratches: Vec<Scratch>,
    by_logits: Vec<f32>,
    gradient: Vec<f32>,
    outcomes: Vec<Outcome>,
}

impl<'a> Native<'a> {
    /// Goes on from `learned`; a teacher comes with its network.
    pub(crate) fn new(
        network: Network,
        rules: &'a Rules,
        normalization: &'a Normalization,
        classes: usize,
        learned: Learned,
        teacher: Option<(Network, &'a Teacher)>,
    ) -> Self {
        Self {
            network,
            rules,
            normalization,
            classes,
            learned,
            teacher,
            scratches: (rules.muon.iter().flat_map(Muon::matrices))
                .map(|&matrix| Scratch::new(matrix))
                .collect(),
            by_logits: Vec::new(),
            gradient: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// As [`crate::sgd::Sgd`] does it, and [`Muon`].
    fn update(&mut self, rate: f64) {
        let (momentum, lr) = (self.rules.momentum as f32, rate as f32);
        let factor = clipped(self.rules.clip, || {
            self.gradient.iter().map(|&slope| f64::from(slope).powi(2)).sum::<f64>().sqrt()
        });
        self.gradient.iter_mut().for_each(|slope| *slope *= factor as f32);
        let Learned { state: State { values, .. }, velocity, .. } = &mut self.learned;
        for range in self.rules.descended.iter().cloned() {
            let pulls = self.gradient[range.clone()].iter().zip(&self.rules.weight_decay[range.clone()]);
            let values = values[range.clone()].iter_mut().zip(&mut velocity[range]);
            for ((value, velocity), (gradient, decay)) in values.zip(pulls) {
                let gradient = gradient + *value * decay;
                *velocity = *velocity * momentum + gradient;
                *value -= lr * if self.rules.nesterov { gradient + *velocity * momentum } else { *velocity };
            }
        }
        if let Some(muon) = &self.rules.muon {
            for (matrix, scratch) in muon.matrices().iter().zip(&mut self.scratches) {
                let range = matrix.range();
                let learned = [&mut values[range.clone()], &mut velocity[range.clone()]];
                muon.step(rate, scratch, learned, &self.gradient[range]);
            }
        }
    }

    fn average(&mut self, step: u64) {
        let (Some(decay), Some(average)) = (self.rules.average, &mut self.learned.average) else { return };
        let share = (1.0 - kept(decay, step)) as f32;
        let values = average.values.iter_mut().zip(&self.learned.state.values);
        values.for_each(|(average, new)| *average += share * (new - *average));
    }
}

impl Engine for Native<'_> {
    fn step(&mut self, batch: &Batch, at: At) -> Result<(), TorchError> {
        let mut dropout = generator(self.rules.seed, Purpose::Dropout, at.epoch);
        let dropout = dropout.next_u64().wrapping_add(at.step);
        let state = &mut self.learned.state;
        let mode =
            Mode::Training { stats: &mut state.stats, momentum: BATCH_NORM_MOMENTUM, dropout: Some(dropout) };
        let logits = self.network.forward(&state.values, mode, &batch.images);
        let loss =
            CrossEntropy { smoothing: self.rules.smoothing, weights: self.rules.class_weights.as_deref() };
        let mut outcome = loss.of(logits, &batch.labels, self.classes, &mut self.by_logits);
        if let Some((network, Teacher { state, distill, .. })) = &mut self.teacher {
            let told = network.forward(&state.values, Mode::Inference { stats: &state.stats }, &batch.images);
            distil(*distill, [told, logits], self.classes, &mut outcome, &mut self.by_logits);
        }
        if outcome.loss.is_finite() {
            self.network.backward(&state.values, &self.by_logits, &mut self.gradient);
            self.update(at.lr);
            self.average(at.step);
        }
        self.outcomes.push(outcome);
        Ok(())
    }

    fn outcomes(&mut self) -> Result<Vec<Outcome>, TorchError> {
        Ok(std::mem::take(&mut self.outcomes))
    }

    fn estimate_statistics(&mut self, split: &Split, batches: &[&[usize]]) -> Result<(), TorchError> {
        let Some(State { values, stats }) = &mut self.learned.average else { return Ok(()) };
        let mut images = Vec::new();
        for (batch, share) in with_shares(batches) {
            images.clear();
            self.normalization.apply(split, batch, &mut images);
            self.network.forward(values, Mode::Training { stats, momentum: share, dropout: None }, &images);
        }
        Ok(())
    }

    fn learned(&self) -> Result<Learned, TorchError> {
        Ok(self.learned.clone())
    }

    fn logits(&mut self, split: &Split, indices: &[usize]) -> Result<Vec<f32>, TorchError> {
        let state = self.learned.kept();
        let (mut logits, mut images) = (Vec::new(), Vec::new());
        for batch in indices.chunks(EVALUATION_BATCH) {
            images.clear();
            self.normalization.apply(split, batch, &mut images);
            let mode = Mode::Inference { stats: &state.stats };
            logits.extend_from_slice(self.network.forward(&state.values, mode, &images));
        }
        Ok(logits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{network, synthetic};
    use crate::params::{TrainParams, parse};

    #[test]
    fn statistics_of_an_average_are_the_mean_of_those_of_its_batches() {
        let params: TrainParams = parse(&serde_json::json!({"network": network(), "ema": 0.9})).unwrap();
        let graph = params.network.lower(2).unwrap();
        let rules = Rules::new(&params, &graph, None);
        let normalization = Normalization { mean: vec![0.5; 2], std: vec![0.25; 2] };
        let state = State::initial(&graph, &mut generator(1, Purpose::Initialization, 0));
        let learned = Learned {
            velocity: vec![0.0; state.values.len()],
            average: Some(State { values: state.values.clone(), stats: vec![7.0; state.stats.len()] }),
            state,
        };
        let split = synthetic(24, 2).train;
        let order: Vec<_> = (0..24).collect();
        let batches = [&order[..10], &order[10..22], &order[22..]];
        let mut one = Network::new(&graph, 1).unwrap();
        let mut mean = vec![0.0; learned.state.stats.len()];
        for batch in batches {
            let (mut stats, mut images) = (vec![0.0; mean.len()], Vec::new());
            normalization.apply(&split, batch, &mut images);
            let mode = Mode::Training { stats: &mut stats, momentum: 1.0, dropout: None };
            one.forward(&learned.state.values, mode, &images);
            let share = batch.len() as f32 / 24.0;
            mean.iter_mut().zip(&stats).for_each(|(mean, value)| *mean += value * share);
        }
        let network = Network::new(&graph, 1).unwrap();
        let mut engine = Native::new(network, &rules, &normalization, 2, learned, None);
        engine.estimate_statistics(&split, &batches).unwrap();
        for (found, mean) in engine.learned().unwrap().average.unwrap().stats.iter().zip(&mean) {
            assert!((found - mean).abs() < 1e-5 * mean.abs().max(1.0), "{found} {mean}");
        }
    }
}
