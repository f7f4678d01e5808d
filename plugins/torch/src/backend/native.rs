//! Training on the CPU by `backprop`: what a step comes to does not depend on the number of threads. Knows steps on the
//! host; knows no tensors and no files.

use backprop::{Mode, Network};
use dataset::{Normalization, Split};
use rand::RngCore;

use super::{At, Backend, TrainState, with_shares};
use crate::data::loader::Batch;
use crate::error::TorchError;
use crate::net::kernel::BATCH_NORM_MOMENTUM;
use crate::net::parameters::Parameters;
use crate::net::teacher::Teacher;
use crate::optim::host::HostOptimizer;
use crate::optim::loss::{CrossEntropy, Outcome, distil};
use crate::optim::{Rules, kept};
use crate::random::{Purpose, generator};

/// Images at a time when validating: as many values are in memory as in a usual step.
const EVALUATION_BATCH: usize = 128;

/// A network that learns.
pub(crate) struct Native<'a> {
    network: Network,
    rules: &'a Rules,
    normalization: &'a Normalization,
    classes: usize,
    train_state: TrainState,
    teacher: Option<(Network, &'a Teacher)>,
    optimizer: HostOptimizer<'a>,
    logits_gradient: Vec<f32>,
    gradient: Vec<f32>,
    outcomes: Vec<Outcome>,
}

impl<'a> Native<'a> {
    /// Goes on from `train_state`; a teacher comes with its network.
    pub(crate) fn new(
        network: Network,
        rules: &'a Rules,
        normalization: &'a Normalization,
        classes: usize,
        train_state: TrainState,
        teacher: Option<(Network, &'a Teacher)>,
    ) -> Self {
        Self {
            network,
            rules,
            normalization,
            classes,
            train_state,
            teacher,
            optimizer: HostOptimizer::new(rules),
            logits_gradient: Vec::new(),
            gradient: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    fn average(&mut self, step: u64) {
        let (Some(decay), Some(average)) = (self.rules.average, &mut self.train_state.average) else {
            return;
        };
        let share = (1.0 - kept(decay, step)) as f32;
        let values = average.values.iter_mut().zip(&self.train_state.parameters.values);
        values.for_each(|(average, new)| *average += share * (new - *average));
    }
}

impl Backend for Native<'_> {
    fn step(&mut self, batch: &Batch, at: At) -> Result<(), TorchError> {
        let mut dropout = generator(self.rules.seed, Purpose::Dropout, at.epoch);
        let dropout = dropout.next_u64().wrapping_add(at.step);
        let parameters = &mut self.train_state.parameters;
        let mode = Mode::Training {
            stats: &mut parameters.stats,
            momentum: BATCH_NORM_MOMENTUM,
            dropout: Some(dropout),
        };
        let logits = self.network.forward(&parameters.values, mode, &batch.images);
        let loss =
            CrossEntropy { smoothing: self.rules.smoothing, weights: self.rules.class_weights.as_deref() };
        let mut outcome = loss.of(logits, &batch.labels, self.classes, &mut self.logits_gradient);
        if let Some((network, Teacher { parameters, distill, .. })) = &mut self.teacher {
            let told = network.forward(
                &parameters.values,
                Mode::Inference { stats: &parameters.stats },
                &batch.images,
            );
            distil(*distill, [told, logits], self.classes, &mut outcome, &mut self.logits_gradient);
        }
        if outcome.loss.is_finite() {
            self.network.backward(&parameters.values, &self.logits_gradient, &mut self.gradient);
            let TrainState { parameters: Parameters { values, .. }, velocity, .. } = &mut self.train_state;
            self.optimizer.step(at.lr, [values, velocity], &mut self.gradient);
            self.average(at.step);
        }
        self.outcomes.push(outcome);
        Ok(())
    }

    fn outcomes(&mut self) -> Result<Vec<Outcome>, TorchError> {
        Ok(std::mem::take(&mut self.outcomes))
    }

    fn estimate_statistics(&mut self, split: &Split, batches: &[&[usize]]) -> Result<(), TorchError> {
        let Some(Parameters { values, stats }) = &mut self.train_state.average else { return Ok(()) };
        let mut images = Vec::new();
        for (batch, share) in with_shares(batches) {
            images.clear();
            self.normalization.apply(split, batch, &mut images);
            self.network.forward(values, Mode::Training { stats, momentum: share, dropout: None }, &images);
        }
        Ok(())
    }

    fn train_state(&self) -> Result<TrainState, TorchError> {
        Ok(self.train_state.clone())
    }

    fn logits(&mut self, split: &Split, indices: &[usize]) -> Result<Vec<f32>, TorchError> {
        let parameters = self.train_state.kept();
        let (mut logits, mut images) = (Vec::new(), Vec::new());
        for batch in indices.chunks(EVALUATION_BATCH) {
            images.clear();
            self.normalization.apply(split, batch, &mut images);
            let mode = Mode::Inference { stats: &parameters.stats };
            logits.extend_from_slice(self.network.forward(&parameters.values, mode, &images));
        }
        Ok(logits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{network, synthetic};
    use crate::params::TrainParams;

    #[test]
    fn statistics_of_an_average_are_the_mean_of_those_of_its_batches() {
        let params: TrainParams =
            serde_json::from_value(serde_json::json!({"network": network(), "ema": 0.9})).unwrap();
        let graph = params.network.lower(2).unwrap();
        let rules = Rules::new(&params, &graph, None);
        let normalization = Normalization { mean: vec![0.5; 2], std: vec![0.25; 2] };
        let parameters = Parameters::initial(&graph, &mut generator(1, Purpose::Initialization, 0));
        let train_state = TrainState {
            velocity: vec![0.0; parameters.values.len()],
            average: Some(Parameters {
                values: parameters.values.clone(),
                stats: vec![7.0; parameters.stats.len()],
            }),
            parameters,
        };
        let split = synthetic(24, 2).train;
        let order: Vec<_> = (0..24).collect();
        let batches = [&order[..10], &order[10..22], &order[22..]];
        let mut one = Network::new(&graph, 1).unwrap();
        let mut mean = vec![0.0; train_state.parameters.stats.len()];
        for batch in batches {
            let (mut stats, mut images) = (vec![0.0; mean.len()], Vec::new());
            normalization.apply(&split, batch, &mut images);
            let mode = Mode::Training { stats: &mut stats, momentum: 1.0, dropout: None };
            one.forward(&train_state.parameters.values, mode, &images);
            let share = batch.len() as f32 / 24.0;
            mean.iter_mut().zip(&stats).for_each(|(mean, value)| *mean += value * share);
        }
        let network = Network::new(&graph, 1).unwrap();
        let mut engine = Native::new(network, &rules, &normalization, 2, train_state, None);
        engine.estimate_statistics(&split, &batches).unwrap();
        for (found, mean) in engine.train_state().unwrap().average.unwrap().stats.iter().zip(&mean) {
            assert!((found - mean).abs() < 1e-5 * mean.abs().max(1.0), "{found} {mean}");
        }
    }
}
