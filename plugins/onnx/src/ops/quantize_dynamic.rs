//! `onnx/quantize-dynamic`: INT8 whose activations are quantized anew for every batch; needs no calibration.

use protocol::{Failure, OpManifest, Reporter, RunRequest};
use quant::{DynamicOptions, quantize_dynamic};

use crate::ops::{input, manifest_of, names, output, quantized, time, weights_input};
use crate::request;

const VERSION: u32 = 4;

pub(crate) fn manifest() -> OpManifest {
    OpManifest {
        inputs: [input("model", "the float model"), weights_input()].into(),
        outputs: [output("model", "the INT8 model", "model.onnx")].into(),
        metrics: Some(names(&["size_kb", "size_ratio", "integer_layers"])),
        time: time(&[], &[]),
        ..manifest_of::<DynamicOptions>(
            "Quantizes a model to INT8 without calibration: small as static INT8, but no faster than floats",
            VERSION,
        )
    }
}

pub(crate) fn run(request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
    let options: DynamicOptions = request::params(request)?;
    let float = request::model(request)?;
    // What is wrong with a node is told with its name, which running it would not tell.
    let (model, summary) = quantize_dynamic(&float, &options)?;
    // Nothing else runs it before, and what does not work as it is must not be taken for an INT8 model's fault.
    quantized::check_float(request, &float)?;
    quantized::write(request, &model, &summary, reporter)?;
    Ok(())
}
