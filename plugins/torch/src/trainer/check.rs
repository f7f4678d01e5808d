//! What is wrong with what a stage asks of a training, before anything runs: params that make no sense together, and what does not
//! fit the images, as far as these are there. Knows a request before it runs; knows no op.

use std::path::Path;

use dataset::Outline;
use protocol::{CheckRequest, Problem};

use super::setup;
use crate::params::{EngineName, TrainParams};

/// What is wrong with a recipe for the images of input `dataset`.
pub(crate) fn recipe(params: &TrainParams, request: &CheckRequest) -> Vec<Problem> {
    let mut problems = params.check();
    problems.extend(params.remarks());
    problems.extend(setup::check_teacher(params, request.inputs.contains("teacher")).err());
    problems.extend(device(params));
    let graph = match images(request) {
        Some(images) => {
            problems.extend(setup::check_normalization(params, &images).err());
            problems.extend(params.validation_count(images.train).err());
            setup::fitting_graph(params, &images)
        }
        // How many classes there are decides on nothing but the last layer's size.
        None => setup::graph(params, 2),
    };
    match graph {
        Err(problem) => problems.push(problem),
        Ok(graph) if params.engine == EngineName::Native => {
            let hindrance = backprop::supports(&graph).err();
            problems.extend(hindrance.map(|error| {
                Problem::new(format!("`engine` is native, but {error}; use `engine: auto` or `libtorch`"))
                    .param("engine")
            }));
        }
        Ok(_) => {}
    }
    // A number of images that makes no sense is told of once.
    problems.dedup();
    problems
}

/// Why not as many images can be held out as a recipe asks for, as far as the images are there.
pub(crate) fn held_out(params: &TrainParams, request: &CheckRequest) -> Option<Problem> {
    params.validation_count(images(request)?.train).err()
}

/// Why the device that a recipe asks for is of no use.
pub(crate) fn device(params: &TrainParams) -> Option<Problem> {
    params.device.resolve().err().map(|error| Problem::new(error.to_string()).param("device"))
}

/// The images, if they are there. What cannot be read the op will tell of.
fn images(request: &CheckRequest) -> Option<Outline> {
    let path: &Path = request.present.get("dataset")?;
    Outline::read(path).ok()
}
