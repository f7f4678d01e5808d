//! `onnx/quantize-dynamic`: INT8 whose activations are quantized anew for every batch; needs no calibration.

use protocol::{CheckRequest, Failure, InputSpec, Op, OpManifest, OutputSpec, Problem, Reporter, RunRequest};
use quant::{DynamicOptions, quantize_dynamic};

use crate::ops::{RUNTIME, arrays_input, known, quantized, weights_input};
use crate::request;

/// The op.
pub(crate) struct QuantizeDynamic;

impl Op for QuantizeDynamic {
    const NAME: &'static str = "quantize-dynamic";
    const VERSION: u32 = 7;
    const DESCRIPTION: &'static str =
        "Quantizes a model to INT8 without calibration: small as static INT8, but no faster than floats";
    const NATIVES: &'static [&'static str] = &[RUNTIME];
    const CHECKS: bool = true;
    type Params = DynamicOptions;

    fn inputs(&self) -> Vec<(&'static str, InputSpec)> {
        vec![
            ("model", InputSpec::required("the float model")),
            weights_input(),
            arrays_input("what the INT8 model is tried on"),
        ]
    }

    fn outputs(&self) -> Vec<(&'static str, OutputSpec)> {
        vec![("model", OutputSpec::new("the INT8 model", "model.onnx"))]
    }

    fn manifest(&self) -> OpManifest {
        OpManifest::of(self).with_metrics(&["size_kb", "size_ratio", "integer_layers"]).with_time(&[], &[])
    }

    fn check(&self, _: &DynamicOptions, request: &CheckRequest) -> Vec<Problem> {
        known::quantizable(request)
    }

    fn run(
        &self,
        options: DynamicOptions,
        request: &RunRequest,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), Failure> {
        let (float, is_half) = request::float(request)?;
        if is_half {
            reporter.warn(quantized::HALVES);
        }
        // What is wrong with a node is told with its name, which running it would not tell.
        let (model, summary) = quantize_dynamic(&float, &options)?;
        // Nothing else runs it before, and what does not work as it is must not be taken for an INT8 model's fault.
        quantized::check_float(request, &float)?;
        quantized::write(request, &model, &summary, reporter)?;
        Ok(())
    }
}
