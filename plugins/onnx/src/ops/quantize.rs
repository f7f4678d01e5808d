//! `onnx/quantize`: static INT8 from a float model and calibrated ranges, checked by running it.

use protocol::{CheckRequest, Failure, InputSpec, Op, OpManifest, OutputSpec, Problem, Reporter, RunRequest};
use quant::{Moments, Ranges, Sensitivity, StaticOptions, quantize_static};

use crate::ops::{RUNTIME, arrays_input, known, quantized, weights_input};
use crate::request;

/// The op.
pub(crate) struct Quantize;

impl Op for Quantize {
    const NAME: &'static str = "quantize";
    const VERSION: u32 = 7;
    const DESCRIPTION: &'static str =
        "Quantizes a model to INT8 with fixed ranges of activations, the fastest form";
    const NATIVES: &'static [&'static str] = &[RUNTIME];
    const CHECKS: bool = true;
    type Params = StaticOptions;

    fn inputs(&self) -> Vec<(&'static str, InputSpec)> {
        let moments =
            "what its weights multiply, from the same; without it, weights are rounded to the nearest";
        vec![
            ("model", InputSpec::required("the float model")),
            weights_input(),
            ("ranges", InputSpec::required("its ranges, from `onnx/calibrate` of this very model")),
            ("moments", InputSpec::optional(moments)),
            arrays_input("what the INT8 model is tried on"),
            (
                "sensitivity",
                InputSpec::optional("which layers to leave in floating point, from `onnx/sensitivity`"),
            ),
        ]
    }

    fn outputs(&self) -> Vec<(&'static str, OutputSpec)> {
        vec![("model", OutputSpec::new("the INT8 model", "model.onnx"))]
    }

    fn manifest(&self) -> OpManifest {
        OpManifest::of(self)
            .with_metrics(&["size_kb", "size_ratio", "integer_layers"])
            .with_time(&[], &["inputs.ranges", "inputs.moments"])
    }

    fn check(&self, _: &StaticOptions, request: &CheckRequest) -> Vec<Problem> {
        known::quantizable(request)
    }

    fn run(
        &self,
        mut options: StaticOptions,
        request: &RunRequest,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), Failure> {
        let Calibrated { float, digest, ranges, moments } = calibrated(request)?;
        if request.inputs.contains_key("sensitivity") {
            let sensitivity = Sensitivity::read(request.input("sensitivity")?)?;
            same_model("sensitivity", &sensitivity.model, &digest)?;
            if !sensitivity.is_of(&options, moments.is_some()) {
                reporter.warn(
                    "`sensitivity` was measured with other options, or other `moments`, than these: what it chose may not keep the \
                     accuracy",
                );
            }
            options.exclude.extend(sensitivity.keep_float);
        }
        let (model, summary) = quantize_static(&float, &ranges, moments.as_ref(), &options)?;
        quantized::write(request, &model, &summary, reporter)?;
        let float_layers: Vec<_> = summary
            .float_layers()
            .map(|(layer, reason)| format!("`{}` ({}): {reason}", layer.name, layer.op))
            .collect();
        if !float_layers.is_empty() {
            reporter.warn(format!(
                "{} in floating point, each at the cost of conversions around it:\n{}",
                staying(float_layers.len(), summary.computing_layers()),
                float_layers.join("\n")
            ));
        }
        Ok(())
    }
}

/// `1 of 7 layers stays`.
fn staying(layers: usize, all: usize) -> String {
    let (of, stay) = (if all == 1 { "layer" } else { "layers" }, if layers == 1 { "stays" } else { "stay" });
    format!("{layers} of {all} {of} {stay}")
}

/// A float model with what was calibrated on it.
pub(crate) struct Calibrated {
    pub(crate) float: onnx::Model,
    pub(crate) digest: String,
    pub(crate) ranges: Ranges,
    pub(crate) moments: Option<Moments>,
}

/// The inputs, if they are of one model.
pub(crate) fn calibrated(request: &RunRequest) -> Result<Calibrated, Failure> {
    let float = request::model(request)?;
    let digest = request::model_digest(request)?;
    let ranges = Ranges::read(request.input("ranges")?)?;
    same_model("ranges", &ranges.lineage.model, &digest)?;
    let moments = match request.inputs.contains_key("moments") {
        true => Some(Moments::read(request.input("moments")?)?),
        false => None,
    };
    same_model("moments", moments.as_ref().map_or("", |moments| &moments.model), &digest)?;
    Ok(Calibrated { float, digest, ranges, moments })
}

/// Checks that what input `what` holds was made of the model with this digest, where it says of which.
fn same_model(what: &str, model: &str, digest: &str) -> Result<(), Failure> {
    if model.is_empty() || model == digest {
        return Ok(());
    }
    Err(Failure::new(format!("`{what}` were made of another model ({model}, this one is {digest})"))
        .hint("let the stages read the same model"))
}

#[cfg(test)]
mod tests {
    use super::staying;

    #[test]
    fn the_verb_is_of_the_layers_that_stay() {
        assert_eq!(staying(1, 7), "1 of 7 layers stays");
        assert_eq!(staying(2, 7), "2 of 7 layers stay");
        assert_eq!(staying(1, 1), "1 of 1 layer stays");
    }
}
