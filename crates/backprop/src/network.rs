//! A network on all cores: level by level over groups of images.

use std::sync::Mutex;

use model::Graph;
use rayon::prelude::*;

use crate::batch::{GROUP, Group, Records};
use crate::image::{Shared, Workspace};
use crate::norm::{NormState, Widened};
use crate::packed::Weights;
use crate::plan::{Level, Plan, Unsupported, Widening};
use crate::simd::Instructions;

/// How normalisation and dropout behave.
#[derive(Debug)]
pub enum Mode<'a> {
    /// Running statistics, in the order of [`Graph::params`]; nothing is dropped out.
    Inference {
        /// Running means and variances.
        stats: &'a [f32],
    },
    /// Statistics of the batch.
    Training {
        /// Running means and variances, which the batch moves.
        stats: &'a mut [f32],
        /// How far: PyTorch's default is 0.1.
        momentum: f64,
        /// What is dropped out depends on it, the image's place in the batch and nothing else; nothing is without it.
        dropout: Option<u64>,
    },
}

/// Whether a network can be computed here.
///
/// # Errors
/// The first node that cannot be.
pub fn supports(graph: &Graph) -> Result<(), Unsupported> {
    Plan::new(graph).map(drop)
}

/// Why a network cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The network has a node that cannot be computed here.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The system gave no threads.
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Computes a network and its gradients. What it computes does not depend on the number of threads, nor on which vectors
/// the processor has.
pub struct Network {
    plan: Plan,
    threads: rayon::ThreadPool,
    instructions: Instructions,
    weights: Vec<Weights>,
    norms: Vec<NormState>,
    groups: Vec<Group>,
    workspaces: Mutex<Vec<Workspace>>,
    classes: usize,
    /// The last batch, and what was dropped out of it.
    images: Vec<f32>,
    dropout: Option<u64>,
    /// Whether a backward pass may follow.
    trains: bool,
    logits: Vec<f32>,
}

impl Network {
    /// A network computed by `threads` threads.
    ///
    /// # Errors
    /// When the network has a node that is not supported, or the system gives no threads.
    pub fn new(graph: &Graph, threads: usize) -> Result<Self, StartError> {
        Self::with(graph, threads, Instructions::best())
    }

    pub(crate) fn with(
        graph: &Graph,
        threads: usize,
        instructions: Instructions,
    ) -> Result<Self, StartError> {
        let plan = Plan::new(graph)?;
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|index| format!("compute {index}"))
            .build()?;
        Ok(Self {
            weights: plan.layers.iter().map(Weights::new).collect(),
            norms: plan.norms.iter().map(NormState::new).collect(),
            plan,
            threads,
            instructions,
            groups: Vec::new(),
            workspaces: Mutex::default(),
            classes: graph.classes(),
            images: Vec::new(),
            dropout: None,
            trains: false,
            logits: Vec::new(),
        })
    }

    /// Logits `[N, classes]` of normalised images `[N, C, H, W]`, with the trained `values` in the order of
    /// [`Graph::params`].
    ///
    /// # Panics
    /// When `values` or statistics are not those of the graph, or `images` are not whole images.
    pub fn forward(&mut self, values: &[f32], mode: Mode<'_>, images: &[f32]) -> &[f32] {
        assert_eq!(values.len(), self.plan.values, "trained values");
        let shape = self.plan.shapes[0];
        let length = shape.channels * shape.pixels();
        assert!(images.len().is_multiple_of(length.max(1)), "images of {length} values");
        let count = images.len() / length.max(1);
        self.images.clear();
        self.images.extend_from_slice(images);
        for (layer, weights) in self.plan.layers.iter().zip(&mut self.weights) {
            weights.pack(layer, values);
        }
        self.groups.resize_with(count.div_ceil(GROUP), || Group::new(&self.plan));
        for (index, group) in self.groups.iter_mut().enumerate() {
            (group.first, group.images) = (index * GROUP, GROUP.min(count - index * GROUP));
        }
        let (stats, mut running) = match mode {
            Mode::Inference { stats } => {
                assert_eq!(stats.len(), self.plan.stats, "running statistics");
                for (norm, state) in self.plan.norms.iter().zip(&mut self.norms) {
                    state.use_running(norm, values, stats);
                }
                (None, None)
            }
            Mode::Training { stats, momentum, dropout } => (dropout, Some((stats, momentum))),
        };
        self.dropout = stats;
        self.trains = running.is_some();
        for level in 0..self.plan.levels.len() {
            let observe = running.is_some();
            self.each_group(level, observe, |shared, level, group, workspace| {
                group.before_forward(shared.plan, level);
                shared.forward(level, group, workspace);
            });
            let Some((stats, momentum)) = &mut running else { continue };
            for &norm in &self.plan.levels[level].norms {
                let Some((first, rest)) = self.groups.split_first_mut() else { continue };
                let moments = &mut first.records.moments[norm];
                rest.iter().for_each(|group| moments.merge(&group.records.moments[norm]));
                let (planned, state) = (&self.plan.norms[norm], &mut self.norms[norm]);
                state.use_batch(planned, moments, values, stats, *momentum);
                if let Some(widening) = planned.widening {
                    state.scale_weights(&self.weights[widening.layer].backward, widening.from.padded());
                }
            }
        }
        self.logits.clear();
        let row = self.plan.stored[self.plan.logits];
        for group in &self.groups {
            for logits in group.values[self.plan.logits].chunks_exact(row.max(1)) {
                self.logits.extend_from_slice(&logits[..self.classes]);
            }
        }
        &self.logits
    }

    /// The gradient with respect to all trained values, in the order of [`Graph::params`], from that with respect to the logits
    /// `[N, classes]` of the last [`Network::forward`] in training.
    ///
    /// # Panics
    /// When `values` are not those of the graph, `by_logits` not those of the last batch, or that was not in training or is
    /// done already.
    pub fn backward(&mut self, values: &[f32], by_logits: &[f32], gradient: &mut Vec<f32>) {
        assert!(std::mem::take(&mut self.trains), "one backward pass after a forward one in training");
        assert_eq!(
            by_logits.len(),
            self.logits.len(),
            "gradients with respect to the logits of the last batch"
        );
        gradient.clear();
        gradient.resize(self.plan.values, 0.0);
        let row = self.plan.stored[self.plan.logits];
        for group in &mut self.groups {
            let rows = by_logits[group.first * self.classes..].chunks_exact(self.classes).take(group.images);
            let mut padded = Vec::with_capacity(group.images * row);
            for logits in rows {
                padded.extend_from_slice(logits);
                padded.resize(padded.len().next_multiple_of(row), 0.0);
            }
            group.set_gradient(self.plan.logits, &padded);
        }
        for level in (0..self.plan.levels.len()).rev() {
            self.each_group(level, false, |shared, level, group, workspace| {
                group.before_backward(shared.plan, level);
                shared.backward(level, group, workspace);
                group.after_backward(level);
            });
            let planned = &self.plan.levels[level];
            for &layer in &planned.layers {
                for group in &self.groups {
                    group.records.layers[layer].add_to(&self.plan.layers[layer], gradient);
                }
            }
            for &norm in &planned.completes {
                let Some((first, rest)) = self.groups.split_first_mut() else { continue };
                let sums = &mut first.records.sums[norm];
                for group in rest {
                    let other = &group.records.sums[norm];
                    sums.add(other.gradient.iter().copied(), other.product.iter().copied());
                }
                let (planned, state) = (&self.plan.norms[norm], &mut self.norms[norm]);
                state.close(planned, sums, values, gradient);
                let Some(widening) = planned.widening else { continue };
                let total = |part: fn(&Records, Widening, usize) -> &[f32]| {
                    let mut total = Vec::new();
                    for group in &self.groups {
                        let part = part(&group.records, widening, norm);
                        total.resize(part.len(), 0.0);
                        total
                            .iter_mut()
                            .zip(part)
                            .for_each(|(total, value): (&mut f64, _)| *total += f64::from(*value));
                    }
                    total
                };
                let widened = Widened {
                    widening,
                    layer: &self.plan.layers[widening.layer],
                    weights: &self.weights[widening.layer].backward,
                    gradient: &total(|records, widening, _| &records.layers[widening.layer].weights),
                    sums: &total(|records, _, norm| &records.products[norm].sums),
                    products: &total(|records, _, norm| &records.products[norm].products),
                };
                let Some(Group { records, .. }) = self.groups.first() else { continue };
                state.correct(&widened, &records.sums[norm], gradient);
            }
        }
    }

    /// Lets all threads take groups, until `compute` was called for each.
    fn each_group(
        &mut self,
        level: usize,
        observe: bool,
        compute: impl Fn(Shared<'_>, &Level, &mut Group, &mut Workspace) + Sync,
    ) {
        let shared = Shared {
            plan: &self.plan,
            weights: &self.weights,
            norms: &self.norms,
            images: &self.images,
            instructions: self.instructions,
            dropout: self.dropout,
            observe,
        };
        let (level, workspaces, groups) = (&self.plan.levels[level], &self.workspaces, &mut self.groups);
        let free = || workspaces.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.threads.install(|| {
            groups.par_iter_mut().with_max_len(1).for_each(|group| {
                let mut workspace = free().pop().unwrap_or_default();
                compute(shared, level, group, &mut workspace);
                free().push(workspace);
            });
        });
    }
}

#[cfg(test)]
mod tests;
