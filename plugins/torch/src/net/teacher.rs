//! A trained network whose logits another one learns from, beside the labels.

use std::path::Path;

use anyhow::ensure;
use dataset::{Dataset, Normalization};
use model::{Graph, Weights};

use crate::evaluate::check_fit;
use crate::params::Distill;
use crate::state::State;

/// A network that knows already.
pub(crate) struct Teacher {
    pub(crate) graph: Graph,
    pub(crate) state: State,
    /// How much it counts.
    pub(crate) distill: Distill,
}

impl Teacher {
    /// From weights that `torch/train` made of the same classes. It is shown what the student sees, so that images must
    /// become input for both in the same way.
    pub(crate) fn read(
        path: &Path,
        distill: Distill,
        dataset: &Dataset,
        normalization: &Normalization,
    ) -> anyhow::Result<Self> {
        let weights = Weights::read(path)?;
        check_fit(&weights, dataset)?;
        let its = &weights.metadata.normalization;
        ensure!(
            its == normalization,
            "the teacher was trained with `normalization: {{ mean: {:?}, std: {:?} }}`, this network is with {:?} and {:?}; \
             give both the same",
            its.mean,
            its.std,
            normalization.mean,
            normalization.std
        );
        let graph = weights.graph()?;
        let state = State::from_weights(&graph, &weights)?;
        Ok(Self { graph, state, distill })
    }
}
