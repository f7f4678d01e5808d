//! `onnx/quantize`: static INT8 from a float model and calibrated ranges, checked by running it.

mod taken;

use protocol::{CheckRequest, Failure, InputSpec, Op, OpManifest, OutputSpec, Problem, Reporter, RunRequest};
use quant::{
    DynamicOptions, DynamicScheme, Moments, Ranges, Sensitivity, StaticOptions, Target, is_faster_in_wasm,
    quantize_dynamic, quantize_static,
};

use crate::ops::{RUNTIME, arrays_input, known, quantized, weights_input};
use crate::request;

/// The op.
pub(crate) struct Quantize;

impl Op for Quantize {
    const NAME: &'static str = "quantize";
    const VERSION: u32 = 8;
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
        let (Calibrated { float, digest, ranges, moments }, is_half) = float_and_calibrated(request)?;
        if is_half {
            reporter.warn(quantized::HALVES);
        }
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
        if options.target == Target::Wasm && (options.runtime.is_some() || options.opset.is_some()) {
            return Err(Failure::new(
                "`runtime` and `opset` say what runs on a processor, and `target: wasm` is for a browser",
            )
            .hint("leave them out, or make a file of its own for each"));
        }
        if options.target == Target::Wasm && !is_faster_in_wasm(&float)? {
            reporter.info(
                "in a browser this network is slower in integers than in floats: weights alone have 8 bits, which are expanded once, when \
                 the model is loaded",
            );
            let (model, summary) = quantize_dynamic(&float, &weights_only(options))?;
            return quantized::write(request, &model, &summary, reporter);
        }
        let left = match taken::left(&float, &ranges, &options, &request.resume_dir) {
            Ok(left) => left,
            Err(error) => {
                reporter
                    .info(format!("which layers ONNX Runtime computes in integers is not known: {error:#}"));
                Vec::new()
            }
        };
        options.exclude.extend(left.iter().cloned());
        let (model, mut summary) = quantize_static(&float, &ranges, moments.as_ref(), &options)?;
        taken::explain(&mut summary, &left);
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

/// What is said of both ways to quantize, for weights alone.
fn weights_only(options: StaticOptions) -> DynamicOptions {
    let StaticOptions { target, per_channel, exclude, compact, .. } = options;
    DynamicOptions { scheme: DynamicScheme::WeightsOnly, target, per_channel, exclude, compact }
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
    float_and_calibrated(request).map(|(calibrated, _)| calibrated)
}

/// As [`calibrated`], and whether the file's model computes in 16-bit floats.
fn float_and_calibrated(request: &RunRequest) -> Result<(Calibrated, bool), Failure> {
    let (float, is_half) = request::float(request)?;
    let digest = request::model_digest(request)?;
    let ranges = Ranges::read(request.input("ranges")?)?;
    same_model("ranges", &ranges.lineage.model, &digest)?;
    let moments = match request.inputs.contains_key("moments") {
        true => Some(Moments::read(request.input("moments")?)?),
        false => None,
    };
    same_model("moments", moments.as_ref().map_or("", |moments| &moments.model), &digest)?;
    Ok((Calibrated { float, digest, ranges, moments }, is_half))
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
