//! `onnx/quantize`: static INT8 from a float model and calibrated ranges, checked by running it.

use protocol::{Failure, OpManifest, Reporter, RunRequest};
use quant::{Ranges, StaticOptions, quantize_static};

use crate::ops::{input, manifest_of, output, quantized};
use crate::request;

const VERSION: u32 = 2;

pub(crate) fn manifest() -> OpManifest {
    OpManifest {
        inputs: [
            input("model", "the float model"),
            input("ranges", "its ranges, from `onnx/calibrate` of this very model"),
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
    if !ranges.lineage.model.is_empty() && ranges.lineage.model != digest {
        return Err(Failure::new(format!(
            "`ranges` were calibrated on another model ({}, this one is {digest})",
            ranges.lineage.model
        ))
        .hint("let `calibrate` and `quantize` read the same model"));
    }
    let (model, summary) = quantize_static(&float, &ranges, &options)?;
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
