//! What a training asks of those who compute: a step, the train state, logits. Two do: [`native`] on a CPU, and [`libtorch`]
//! anywhere and with anything. Knows batches and numbers; knows no epochs.

use dataset::{Normalization, Split};
use model::Graph;
use tch::Device;

use crate::data::loader::Batch;
use crate::error::TorchError;
use crate::net::fake_quant::NodeFakeQuant;
use crate::net::parameters::Parameters;
use crate::net::teacher::Teacher;
use crate::optim::loss::Outcome;
use crate::params::{EngineName, Precision};

#[cfg(test)]
mod agreement;
pub(crate) mod choice;
pub(crate) mod libtorch;
pub(crate) mod native;

/// Batches, each with what it counts in the mean over all images so far, its own the last.
pub(crate) fn with_shares<'a>(batches: &'a [&'a [usize]]) -> impl Iterator<Item = (&'a [usize], f64)> {
    batches.iter().scan(0, |seen, &batch| {
        *seen += batch.len();
        Some((batch, batch.len() as f64 / *seen as f64))
    })
}

/// What is to be computed, how and where.
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    /// The network.
    pub(crate) graph: &'a Graph,
    /// How pixels become input.
    pub(crate) normalization: &'a Normalization,
    /// How each node is rounded, if its INT8 model is what learns.
    pub(crate) fake_quants: Option<&'a [NodeFakeQuant]>,
    /// Who is asked for.
    pub(crate) engine: EngineName,
    /// In what numbers a step is computed.
    pub(crate) precision: Precision,
    /// A network to learn from.
    pub(crate) teacher: Option<&'a Teacher>,
    /// Where.
    pub(crate) device: Device,
    /// Threads on a CPU.
    pub(crate) threads: usize,
}

/// Which step of a training.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    /// The epoch, from 0.
    pub(crate) epoch: u32,
    /// The step since the first epoch, from 0.
    pub(crate) step: u64,
    /// Its learning rate.
    pub(crate) lr: f64,
}

/// What a training has come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TrainState {
    /// The network's numbers.
    pub(crate) parameters: Parameters,
    /// The optimiser's velocity.
    pub(crate) velocity: Vec<f32>,
    /// The running average of the trained numbers, with statistics of its own.
    pub(crate) average: Option<Parameters>,
}

impl TrainState {
    /// What is validated and kept: the average, where there is one.
    pub(crate) fn kept(&self) -> &Parameters {
        self.average.as_ref().unwrap_or(&self.parameters)
    }
}

/// Who computes.
pub(crate) trait Backend {
    /// Whether it makes images itself, from what of them is seen.
    fn makes_images(&self) -> bool {
        false
    }

    /// Learns from a batch. A device may still be at it afterwards.
    fn step(&mut self, batch: &Batch, at: At) -> Result<(), TorchError>;

    /// What each step came to since this was last asked; waits for the device.
    fn outcomes(&mut self) -> Result<Vec<Outcome>, TorchError>;

    /// Brings the statistics of averaged weights up to date: their mean over batches of images of `split`, each batch by its
    /// size. Those that were seen on the way are of other weights (Izmailov et al., *Averaging Weights Leads to Wider Optima
    /// and Better Generalization* (2018), §3.2). Does nothing without an average.
    fn estimate_statistics(&mut self, split: &Split, batches: &[&[usize]]) -> Result<(), TorchError>;

    /// A copy of everything that later steps depend on.
    fn train_state(&self) -> Result<TrainState, TorchError>;

    /// Logits `[N, classes]` of images, by what is kept.
    fn logits(&mut self, split: &Split, indices: &[usize]) -> Result<Vec<f32>, TorchError>;
}
