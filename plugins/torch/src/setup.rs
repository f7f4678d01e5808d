//! From a request to what a training needs: images, network, device and teacher, each checked against the others.

use anyhow::{Context, ensure};
use dataset::{Dataset, Normalization, validation_split};
use model::Graph;
use protocol::RunRequest;

use crate::params::{Budget, TrainParams};
use crate::plugin::{grouped, input};
use crate::teacher::Teacher;
use crate::training::Training;

/// Everything that a training borrows.
pub(crate) struct Setup {
    pub(crate) params: TrainParams,
    pub(crate) dataset: Dataset,
    pub(crate) graph: Graph,
    normalization: Normalization,
    /// Training images to learn from.
    pub(crate) train: Vec<usize>,
    /// Training images held out.
    pub(crate) validation: Vec<usize>,
    device: tch::Device,
    pub(crate) teacher: Option<Teacher>,
    threads: usize,
}

impl Setup {
    /// What `params` ask for with the request's inputs.
    pub(crate) fn read(params: TrainParams, request: &RunRequest) -> anyhow::Result<Self> {
        params.check()?;
        Self::new(params, Dataset::read(input(request, "dataset")?)?, request)
    }

    /// As [`Setup::read`], with the params checked and the images read already.
    pub(crate) fn new(
        mut params: TrainParams,
        dataset: Dataset,
        request: &RunRequest,
    ) -> anyhow::Result<Self> {
        let graph = fitting_graph(&params, &dataset)?;
        let normalization = params.normalization();
        let [channels, ..] = dataset.shape();
        normalization.check(channels)?;
        let teacher = match request.inputs.get("teacher") {
            Some(path) => {
                let distill = *params.distill.get_or_insert_default();
                let teacher = Teacher::read(path, distill, &dataset, &normalization);
                Some(teacher.context("input `teacher`")?)
            }
            None => {
                ensure!(
                    params.distill.is_none(),
                    "`distill` says how much a teacher counts, but there is none; give weights of torch/train as input \
                     `teacher`, or leave `distill` out"
                );
                None
            }
        };
        let held_out = params.validation_count(dataset.train.len())?;
        let (train, validation) = validation_split(dataset.train.labels(), held_out, params.seed);
        let device = params.device.resolve()?;
        Ok(Self {
            threads: request.threads,
            params,
            dataset,
            graph,
            normalization,
            train,
            validation,
            device,
            teacher,
        })
    }

    /// The training itself.
    pub(crate) fn training(&self) -> Training<'_> {
        Training {
            params: &self.params,
            dataset: &self.dataset,
            graph: &self.graph,
            normalization: &self.normalization,
            train: &self.train,
            validation: &self.validation,
            device: self.device,
            threads: self.threads,
            tuning: None,
            teacher: self.teacher.as_ref(),
        }
    }
}

/// The graph of the network, if it fits the dataset and the budget.
fn fitting_graph(params: &TrainParams, dataset: &Dataset) -> anyhow::Result<Graph> {
    let ([c, h, w], [ic, ih, iw]) = (params.network.input, dataset.shape());
    ensure!(
        params.network.input == dataset.shape(),
        "the network takes images of {c}×{h}×{w}, but those of the dataset are {ic}×{ih}×{iw} (channels × height × \
         width); set `network.input` to [{ic}, {ih}, {iw}]"
    );
    let graph = params.network.lower(dataset.classes.len()).context("params: `network`")?;
    check_budget(&params.budget, &graph)?;
    Ok(graph)
}

fn check_budget(budget: &Budget, graph: &Graph) -> anyhow::Result<()> {
    let count = graph.parameter_count() as u64;
    let size = graph.state_dict_bytes() as f64 / 1024.0;
    if let Some(limit) = budget.max_parameters {
        ensure!(
            count <= limit,
            "the network has {} parameters, more than the {} of `budget.max_parameters`; make it smaller or raise \
             the budget",
            grouped(count),
            grouped(limit)
        );
    }
    if let Some(limit) = budget.max_size_kb {
        ensure!(
            size <= limit,
            "the network of {} parameters takes {size:.1} KB, more than the {limit} KB of `budget.max_size_kb`; \
             make it smaller or raise the budget",
            grouped(count)
        );
    }
    Ok(())
}
