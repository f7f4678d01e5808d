//! `onnx/quantize`: static INT8 from a float model and calibrated ranges, checked by running it.

use protocol::{Failure, OpManifest, Reporter, RunRequest};
use quant::{Moments, Ranges, StaticOptions, quantize_static};

use crate::ops::{input, manifest_of, optional_input, output, quantized};
use crate::request;

const VERSION: u32 = 2;

pub(crate) fn manifest() -> OpManifest {
    OpManifest {
        inputs: [
            input("model", "the float model"),
            input("ranges", "its ranges, from `onnx/calibrate` of this very model"),
            optional_input(
                "moments",
                "what its weights multiply, from the same; without it, weights are rounded to the nearest",
            ),
        ]
        .into(),
        outputs: [output("model", "the INT8 model", "model.onnx")].into(),
        ..manifest_of::<StaticOptions>(
            "Quantizes a model to INT8 with fixed ranges of activations, the fastest form",
            VERSION,
        )
    }
}

pub(crate) fn run(request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
    let options: StaticOptions = request::params(request)?;
    let path = request::input(request, "model")?;
    let float = onnx::Model::read(path)?;
    let ranges = Ranges::read(request::input(request, "ranges")?)?;
    let digest = request::digest(path)?;
    let moments = match request.inputs.contains_key("moments") {
        true => Some(Moments::read(request::input(request, "moments")?)?),
        false => None,
    };
    let of_moments = moments.as_ref().map_or("", |moments| &moments.model);
    for (what, model) in [("ranges", ranges.lineage.model.as_str()), ("moments", of_moments)] {
        if !model.is_empty() && model != digest {
            return Err(Failure::new(format!(
                "`{what}` were calibrated on another model ({model}, this one is {digest})"
            ))
            .hint("let `calibrate` and `quantize` read the same model"));
        }
    }
    let (model, summary) = quantize_static(&float, &ranges, moments.as_ref(), &options)?;
    quantized::write(request, &model, &summary, reporter)?;
    let float_layers: Vec<_> = summary
        .float_layers()
        .map(|(layer, reason)| format!("`{}` ({}): {reason}", layer.name, layer.op))
        .collect();
    if !float_layers.is_empty() {
        reporter.warn(format!(
            "{} of {} layers stay in floating point, each at the cost of conversions around it:\n{}",
            float_layers.len(),
            summary.layers.len(),
            float_layers.join("\n")
        ));
    }
    Ok(())
}
