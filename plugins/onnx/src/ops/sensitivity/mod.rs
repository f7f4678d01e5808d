//! `onnx/sensitivity`: what rounding each layer does to a model, and which layers to leave in floating point so that the
//! model keeps its accuracy, on images or on arrays.

mod data;
mod figures;
mod measure;

use std::collections::BTreeMap;

use anyhow::Result;
use arrays::Source;
use dataset::{Normalization, Outline, SplitName, wilson_interval};
use protocol::{
    CheckRequest, Failure, InputSpec, Metric, Op, OpManifest, OutputSpec, Problem, Progress, Reporter,
    RunRequest, counted,
};
use quant::{IntegerLayer, LayerError, QuantError, Sensitivity, StaticOptions, integer_layers, next_to_keep};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::images::Wanted;
use crate::labels::Labels;
use crate::ops::quantize::{self, Calibrated};
use crate::ops::{
    RUNTIME, arrays_input, cannot_draw, cannot_draw_arrays, known, problems, weights_input, which_data,
};
use crate::samples::ARRAYS;
use crate::statistics::paired_drop;
use data::Data;
use measure::{Laboratory, Score};

/// Images that are measured on where their number is not given and there are as many.
const USUAL_IMAGES: usize = 1_000;

/// Params of `onnx/sensitivity`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {
    /// The points of accuracy, on the images below, that the quantized model may lose. Layers are left in floating point
    /// until it loses no more. Of `arrays` without `labels` it is the share of samples, in points, of which the model may say another
    /// class.
    #[schemars(range(min = 0, max = 100))]
    max_drop: f64,
    /// The signal to quantization noise of its outputs, in dB, that the quantized model must have at least, beside `max_drop`: for
    /// models that say no classes.
    min_sqnr_db: Option<f64>,
    /// Of `arrays`, the name of the one that says which class each sample is of, counted from 0.
    labels: Option<String>,
    /// How many images (or samples of arrays) to measure on, drawn from those that `ranges` were not calibrated on. By default 1,000, or all of these where
    /// there are fewer; all images of the split where none is left.
    #[schemars(range(min = 1))]
    images: Option<usize>,
    /// Seed of the draw.
    seed: u64,
    /// Images (or samples of arrays) per call.
    #[schemars(range(min = 1))]
    batch_size: usize,
    /// The split to draw from. Choosing layers by test images would flatter the result on them.
    split: SplitName,
    /// Options of quantization, as `onnx/quantize` will have them.
    quantize: StaticOptions,
    /// Mean and standard deviation per channel, of pixels scaled to 0..1, for a model that does not carry them.
    normalization: Option<Normalization>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            max_drop: 0.5,
            min_sqnr_db: None,
            labels: None,
            images: None,
            seed: 42,
            batch_size: 50,
            split: SplitName::Train,
            quantize: StaticOptions::default(),
            normalization: None,
        }
    }
}

/// The op.
pub(crate) struct MeasureSensitivity;

impl Op for MeasureSensitivity {
    const NAME: &'static str = "sensitivity";
    const VERSION: u32 = 3;
    const DESCRIPTION: &'static str =
        "Measures what rounding each layer does, and chooses a few layers to leave in floating point";
    const NATIVES: &'static [&'static str] = &[RUNTIME];
    const CHECKS: bool = true;
    type Params = Params;

    fn inputs(&self) -> Vec<(&'static str, InputSpec)> {
        vec![
            ("model", InputSpec::required("the float model")),
            weights_input(),
            ("ranges", InputSpec::required("its ranges, from `onnx/calibrate` of this very model")),
            ("moments", InputSpec::optional("from the same; as `onnx/quantize` will have them")),
            ("dataset", InputSpec::optional("images and labels to measure on, for a model of pictures")),
            arrays_input("the samples to measure on"),
        ]
    }

    fn outputs(&self) -> Vec<(&'static str, OutputSpec)> {
        let description = "the error of each layer, and which layers to leave in floating point";
        vec![("sensitivity", OutputSpec::new(description, "sensitivity.json"))]
    }

    fn manifest(&self) -> OpManifest {
        OpManifest::of(self)
            .on_all_threads()
            .with_metrics(&[
                "fp32.accuracy",
                "fp32.sqnr_db",
                "int8.accuracy",
                "int8.drop",
                "int8.sqnr_db",
                "mixed.accuracy",
                "mixed.drop",
                "mixed.sqnr_db",
                "{if inputs.arrays}int8.agreement",
                "{if inputs.arrays}mixed.agreement",
                "float_layers",
            ])
            .with_time(
                &["with.images"],
                &[
                    "with.seed",
                    "with.split",
                    "with.labels",
                    "inputs.ranges",
                    "inputs.moments",
                    "inputs.dataset",
                    "inputs.arrays",
                ],
            )
    }

    /// How many images were not calibrated on shows later.
    fn check(&self, params: &Params, request: &CheckRequest) -> Vec<Problem> {
        let wanted = Wanted { asked: params.images, usual: USUAL_IMAGES, unit: "images" };
        let has_arrays = request.inputs.contains(ARRAYS);
        if let Some(failure) = which_data(request.inputs.contains("dataset"), has_arrays, "measure on") {
            return problems(Some(failure), request);
        }
        let mut found = match has_arrays {
            true => {
                let source = request.present.get(ARRAYS).and_then(|path| Source::open(path).ok());
                let labels = source.and_then(|source| Labels::check(params.labels.as_deref(), &source).err());
                let too_many = cannot_draw_arrays(request, wanted, params.seed);
                problems(labels.into_iter().chain(too_many), request)
            }
            false => {
                let dataset = request.present.get("dataset");
                let outline = dataset.and_then(|dataset| Outline::read(dataset).ok());
                let unlabelled = outline.and_then(|outline| check_labels(&outline).err());
                let too_many = cannot_draw(request, params.split, wanted, params.seed);
                problems(unlabelled.into_iter().chain(too_many), request)
            }
        };
        if params.labels.is_some() && !has_arrays {
            let failure = Failure::new("`labels` is for `arrays`, and `dataset` has its own");
            found.push(Problem::from(failure).param("labels"));
        }
        if params.normalization.is_some() && has_arrays {
            let failure = Failure::new(
                "`normalization` is for images, and `arrays` are given to the model as they are",
            );
            found.push(Problem::from(failure).param("normalization"));
        }
        found.extend(known::observable(request, params.normalization.as_ref()));
        if let (true, Some(path)) = (has_arrays, request.present.get("model")) {
            found.extend(known::given_arrays(request, "model", path));
        }
        found
    }

    fn run(&self, params: Params, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        let Calibrated { float, digest, ranges, moments } = quantize::calibrated(request)?;
        let data = Data::open(&params, request, &float, &ranges)?;
        data.tell(reporter);
        let basis = data.basis(&params);
        let mut laboratory = Laboratory {
            float: &float,
            ranges: &ranges,
            moments: moments.as_ref(),
            params: &params,
            shown: data.shown(),
            threads: request.threads,
            reference: None,
        };
        let reference = laboratory.float_score()?;
        // What a layer costs depends on how large its maps are.
        let layers = integer_layers(&data.sized(&float), &params.quantize)?;
        let outputs = laboratory.output_errors()?;
        let (errors, noise) = alone(&laboratory, &layers, &outputs, reporter)?;
        let all = laboratory.score(&[], &layers)?.ok_or(QuantError::NothingToQuantize)?;
        let (kept, mixed) = choose(&laboratory, &layers, &noise, &all, reporter)?;

        let keep_float = kept.iter().filter_map(|place| layers.get(*place)).map(|layer| layer.name.clone());
        let sensitivity = Sensitivity {
            model: digest,
            options: params.quantize.clone(),
            with_moments: moments.is_some(),
            keep_float: keep_float.collect(),
            layers: errors,
        };
        sensitivity.write(request.output("sensitivity")?)?;
        report(&reference, &all, &mixed, &sensitivity, &basis, reporter);
        Ok(())
    }
}

fn check_labels(dataset: &Outline) -> Result<(), Failure> {
    if dataset.is_labelled {
        return Ok(());
    }
    Err(Failure::new("the dataset holds pictures without labels, which say nothing of accuracy").hint(
        "measure on images with labels, such as those of the format `image-folder`; without any, leave `sensitivity` out and \
         name layers in `exclude` of `onnx/quantize`",
    ))
}

/// By layer, what it does alone: for the report, and as power of the noise of the logits.
fn alone(
    laboratory: &Laboratory<'_>,
    layers: &[IntegerLayer],
    outputs: &BTreeMap<String, Option<f64>>,
    reporter: &mut Reporter<'_>,
) -> Result<(Vec<LayerError>, Vec<f64>)> {
    let (mut errors, mut noise) = (Vec::new(), Vec::new());
    for (place, layer) in layers.iter().enumerate() {
        let score = laboratory.score_alone(layer)?;
        reporter.progress(Progress {
            done: (place + 1) as f64,
            total: layers.len() as f64,
            unit: "layer".into(),
            text: layer.name.clone(),
            milestone: false,
        });
        noise.push(score.noise);
        errors.push(LayerError {
            name: layer.name.clone(),
            op: layer.op.clone(),
            alone_db: score.sqnr_db(),
            alone_drop: score.drop,
            output_db: outputs.get(&layer.output).copied().flatten(),
        });
    }
    Ok((errors, noise))
}

/// Leaves layers in floating point until the accuracy is kept, then takes back those that turn out not to be needed.
fn choose(
    laboratory: &Laboratory<'_>,
    layers: &[IntegerLayer],
    noise: &[f64],
    all: &Score,
    reporter: &mut Reporter<'_>,
) -> Result<(Vec<usize>, Score), Failure> {
    let Params { max_drop: budget, min_sqnr_db, .. } = *laboratory.params;
    let too_noisy = |score: &Score| match (min_sqnr_db, score.sqnr_db()) {
        (Some(least), Some(own)) => own < least,
        _ => false,
    };
    let fails = |score: &Score| score.drop > budget || too_noisy(score);
    let mut kept: Vec<usize> = Vec::new();
    let mut score = all.clone();
    while fails(&score) {
        let next = next_to_keep(layers, noise, &kept.iter().copied().collect());
        let name = next.and_then(|next| layers.get(next)).map_or("", |layer| &layer.name);
        kept.extend(next);
        score = match laboratory.score(&kept, layers)? {
            Some(score) if next.is_some() => score,
            _ => {
                let (message, allowed) = match score.drop > budget {
                    true => (
                        format!(
                            "no integer layer can be kept without losing more than {budget} points: all of them lose {:.2}",
                            all.drop
                        ),
                        "a larger `max_drop`",
                    ),
                    false => (
                        format!(
                            "no integer layer can be kept with a signal to quantization noise of at least {} dB: all of them have {:.1}",
                            min_sqnr_db.unwrap_or_default(),
                            all.sqnr_db().unwrap_or_default()
                        ),
                        "a lower `min_sqnr_db`",
                    ),
                };
                return Err(Failure::new(message).hint(format!(
                    "calibrate by another `method` or on more images, or allow for {allowed}"
                )));
            }
        };
        let noise = score.sqnr_db().map_or_else(String::new, |db| format!(", {db:.1} dB"));
        reporter.info(format!("with `{name}` in floating point: {:.2} points lost{noise}", score.drop));
    }
    for place in kept.clone() {
        let without: Vec<usize> = kept.iter().copied().filter(|other| *other != place).collect();
        if let Some(tried) = laboratory.score(&without, layers)?.filter(|tried| !fails(tried)) {
            (kept, score) = (without, tried);
        }
    }
    Ok((kept, score))
}

fn report(
    reference: &Score,
    all: &Score,
    mixed: &Score,
    sensitivity: &Sensitivity,
    basis: &str,
    reporter: &mut Reporter<'_>,
) {
    let plain = basis.replace('`', "");
    for (name, score) in [("fp32", reference), ("int8", all), ("mixed", mixed)] {
        let share = |what: &str, count: u64, reporter: &mut Reporter<'_>| {
            let [low, high] = wilson_interval(count, score.total);
            let share = 100.0 * count as f64 / (score.total as f64).max(1.0);
            let metric = Metric::new(share, "%").interval(low, high).basis(&plain);
            reporter.metric(&format!("{name}.{what}"), metric);
        };
        match score.correct {
            Some(correct) => {
                share("accuracy", correct, reporter);
                if name != "fp32" {
                    let (drop, [low, high]) = paired_drop(score.lost, score.won, score.total);
                    let drop = Metric::new(drop, "points").interval(low, high).basis(&plain);
                    reporter.metric(&format!("{name}.drop"), drop);
                }
            }
            None if name != "fp32" && score.has_classes => {
                share("agreement", score.total.saturating_sub(score.lost), reporter);
            }
            None => {}
        }
        if let Some(sqnr) = score.sqnr_db() {
            reporter.metric(&format!("{name}.sqnr_db"), Metric::new(sqnr, "dB").basis(&plain));
        }
    }
    let kept = Metric::new(sensitivity.keep_float.len() as f64, "").basis(counted(
        sensitivity.layers.len(),
        "layer",
        "layers",
    ));
    reporter.metric("float_layers", kept);
    reporter.figure(figures::errors(sensitivity, basis));
    reporter.figure(figures::table(sensitivity, basis));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_without_labels_measure_nothing() {
        let outline = |is_labelled| Outline { shape: [1, 2, 2], train: 9, test: 0, classes: 1, is_labelled };
        assert!(check_labels(&outline(true)).is_ok());
        let failure = format!("{:?}", check_labels(&outline(false)).unwrap_err());
        assert!(failure.contains("pictures without labels"), "{failure}");
    }
}
