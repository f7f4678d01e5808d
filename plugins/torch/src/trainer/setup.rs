//! From a request to what a training needs: images, network, device and teacher, each checked against the others. Knows
//! files and params; knows no steps.

use anyhow::Context;
use dataset::{Dataset, Normalization, Outline, validation_split};
use model::Graph;
use protocol::{Failure, Problem, RunRequest, grouped};

use super::Trainer;
use crate::net::teacher::Teacher;
use crate::params::{Budget, TrainParams};

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
    pub(crate) fn read(params: TrainParams, request: &RunRequest) -> Result<Self, Failure> {
        Self::new(params, Dataset::read(request.input("dataset")?)?, request)
    }

    /// As [`Setup::read`], with the images read already.
    pub(crate) fn new(
        mut params: TrainParams,
        dataset: Dataset,
        request: &RunRequest,
    ) -> Result<Self, Failure> {
        let outline = dataset.outline();
        let graph = fitting_graph(&params, &outline)?;
        let normalization = params.normalization();
        check_normalization(&params, &outline)?;
        let teacher = match request.inputs.get("teacher") {
            Some(path) => {
                let distill = *params.distill.get_or_insert_default();
                let teacher = Teacher::read(path, distill, &dataset, &normalization);
                Some(teacher.context("input `teacher`")?)
            }
            None => {
                check_teacher(&params, false)?;
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
    pub(crate) fn training(&self) -> Trainer<'_> {
        Trainer {
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

/// Refuses a word on how much a teacher counts where there is none.
pub(crate) fn check_teacher(params: &TrainParams, there_is_one: bool) -> Result<(), Problem> {
    if there_is_one || params.distill.is_none() {
        return Ok(());
    }
    let message = "`distill` says how much a teacher counts, but there is none; give weights of torch/train as input \
                   `teacher`, or leave `distill` out";
    Err(Problem::new(message).param("distill"))
}

pub(crate) fn check_normalization(params: &TrainParams, dataset: &Outline) -> Result<(), Problem> {
    let [channels, ..] = dataset.shape;
    let checked = params.normalization().check(channels);
    checked.map_err(|error| Problem::new(error.to_string()).param("normalization"))
}

/// The graph of the network, if it fits the dataset and the budget.
pub(crate) fn fitting_graph(params: &TrainParams, dataset: &Outline) -> Result<Graph, Problem> {
    let ([c, h, w], [ic, ih, iw]) = (params.network.input, dataset.shape);
    if params.network.input != dataset.shape {
        let message = format!(
            "the network takes images of {c}×{h}×{w}, but those of the dataset are {ic}×{ih}×{iw} (channels × height × \
             width); set `network.input` to [{ic}, {ih}, {iw}]"
        );
        return Err(Problem::new(message).param("network/input"));
    }
    let graph = graph(params, dataset.classes)?;
    check_budget(&params.budget, &graph)?;
    Ok(graph)
}

/// The graph of the network with as many outputs as there are classes.
pub(crate) fn graph(params: &TrainParams, classes: usize) -> Result<Graph, Problem> {
    let graph = params.network.lower(classes).context("params: `network`");
    graph.map_err(|error| Problem::new(format!("{error:#}")).param("network"))
}

fn check_budget(budget: &Budget, graph: &Graph) -> Result<(), Problem> {
    let count = graph.parameter_count() as u64;
    let size = graph.state_dict_bytes() as f64 / 1024.0;
    if let Some(limit) = budget.max_parameters.filter(|limit| count > *limit) {
        let message = format!(
            "the network has {} parameters, more than the {} of `budget.max_parameters`; make it smaller or raise the budget",
            grouped(count),
            grouped(limit)
        );
        return Err(Problem::new(message).param("budget/max_parameters"));
    }
    if let Some(limit) = budget.max_size_kb.filter(|limit| size > *limit) {
        let message = format!(
            "the network of {} parameters takes {size:.1} KB, more than the {limit} KB of `budget.max_size_kb`; make it \
             smaller or raise the budget",
            grouped(count)
        );
        return Err(Problem::new(message).param("budget/max_size_kb"));
    }
    Ok(())
}
