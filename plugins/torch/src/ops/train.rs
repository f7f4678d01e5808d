//! The op `train`: a dataset becomes weights, with progress, curves and checkpoints on the way. Knows its request; leaves
//! training to `trainer`.

use model::Graph;
use protocol::{
    CheckRequest, Failure, InputSpec, Metric, Op, OpManifest, OutputSpec, Problem, Reporter, RunRequest,
    counted, grouped,
};

use super::specs::{LIBTORCH, dataset, teacher, training, weights};
use crate::net::score::size_metric;
use crate::params::{SelectOn, TrainParams};
use crate::trainer::check;
use crate::trainer::fit::fit;
use crate::trainer::setup::Setup;

/// The op.
pub(super) struct Train;

impl Op for Train {
    const NAME: &'static str = "train";
    const VERSION: u32 = 5;
    const DESCRIPTION: &'static str = "Trains a network on a dataset's training images";
    const NATIVES: &'static [&'static str] = &[LIBTORCH];
    const CHECKS: bool = true;
    type Params = TrainParams;

    fn inputs(&self) -> Vec<(&'static str, InputSpec)> {
        vec![dataset(), teacher()]
    }

    fn outputs(&self) -> Vec<(&'static str, OutputSpec)> {
        let reference = "A few normalised training images and their logits";
        vec![weights(), ("reference", OutputSpec::new(reference, "reference.safetensors"))]
    }

    fn manifest(&self) -> OpManifest {
        training(OpManifest::of(self))
    }

    fn check(&self, params: &TrainParams, request: &CheckRequest) -> Vec<Problem> {
        check::recipe(params, request)
    }

    fn run(
        &self,
        params: TrainParams,
        request: &RunRequest,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), Failure> {
        let setup = Setup::read(params, request)?;
        report_network(&setup.graph, reporter);
        reporter.info(format!(
            "training on {}, {} held out",
            counted(setup.train.len(), "image", "images"),
            grouped(setup.validation.len() as u64),
        ));
        if let Some(teacher) = &setup.teacher {
            reporter.info(format!(
                "taught by a network of {} parameters (weight {}, temperature {})",
                grouped(teacher.graph.parameter_count() as u64),
                teacher.distill.weight,
                teacher.distill.temperature
            ));
        }
        if setup.params.select_on == SelectOn::Test {
            reporter.warn(
                "the epoch is chosen on the test images: the reported test accuracy will be optimistic",
            );
        }
        fit(&setup.training(), request, reporter)
    }
}

fn report_network(graph: &Graph, reporter: &mut Reporter<'_>) {
    reporter.metric("parameters", Metric::new(graph.parameter_count() as f64, ""));
    reporter.metric("size_kb", size_metric(graph));
    reporter.metric("macs", Metric::new(graph.macs() as f64, "").basis("multiply-adds for one image"));
}

#[cfg(test)]
mod tests;
