//! A trained network whose logits another one learns from, beside the labels. Knows files of weights; knows nothing of how
//! it is learned from.

use std::path::Path;

use anyhow::ensure;
use dataset::{Dataset, Normalization};
use model::{Graph, Weights};

use super::parameters::Parameters;
use crate::params::Distill;

/// A network that knows already.
pub(crate) struct Teacher {
    pub(crate) graph: Graph,
    pub(crate) parameters: Parameters,
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
        let parameters = Parameters::from_weights(&graph, &weights)?;
        Ok(Self { graph, parameters, distill })
    }
}

/// Checks that the dataset is of the kind that the weights were trained on.
pub(crate) fn check_fit(weights: &Weights, dataset: &Dataset) -> anyhow::Result<()> {
    anyhow::ensure!(
        weights.metadata.classes == dataset.classes,
        "the weights know the classes {}, but the dataset has {}; take the dataset that they were trained on",
        weights.metadata.classes.join(", "),
        dataset.classes.join(", ")
    );
    let ([c, h, w], [ic, ih, iw]) = (weights.metadata.network.input, dataset.shape());
    anyhow::ensure!(
        weights.metadata.network.input == dataset.shape(),
        "the weights are for images of {c}×{h}×{w}, but those of the dataset are {ic}×{ih}×{iw}"
    );
    Ok(())
}
