//! `onnx/sensitivity`: what rounding each layer does to a model, and which layers to leave in floating point so that the
//! model keeps its accuracy.

mod figures;
mod measure;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use dataset::{Normalization, Outline, Sample, SplitName, wilson_interval};
use protocol::{
    CheckRequest, Failure, InputSpec, Metric, Op, OpManifest, OutputSpec, Problem, Progress, Reporter,
    RunRequest, counted, grouped,
};
use quant::{
    IntegerLayer, LayerError, QuantError, Ranges, Sensitivity, StaticOptions, integer_layers, next_to_keep,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::images::{Wanted, draw};
use crate::ops::quantize::{self, Calibrated};
use crate::ops::{RUNTIME, cannot_draw, known, problems, weights_input};
use crate::sizes;
use crate::statistics::paired_drop;
use measure::{Laboratory, Score};

/// Images that are measured on where their number is not given and there are as many.
const USUAL_IMAGES: usize = 1_000;

/// Params of `onnx/sensitivity`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {
    /// The points of accuracy, on the images below, that the quantized model may lose. Layers are left in floating point
    /// until it loses no more.
    #[schemars(range(min = 0, max = 100))]
    max_drop: f64,
    /// How many images to measure on, drawn from those that `ranges` were not calibrated on. By default 1,000, or all of these where
    /// there are fewer; all images of the split where none is left.
    #[schemars(range(min = 1))]
    images: Option<usize>,
    /// Seed of the draw.
    seed: u64,
    /// Images per call.
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
            ("dataset", InputSpec::required("images and labels to measure on")),
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
                "float_layers",
            ])
            .with_time(
                &["with.images"],
                &["with.seed", "with.split", "inputs.ranges", "inputs.moments", "inputs.dataset"],
            )
    }

    /// How many images were not calibrated on shows later.
    fn check(&self, params: &Params, request: &CheckRequest) -> Vec<Problem> {
        let wanted = Wanted { asked: params.images, usual: USUAL_IMAGES, unit: "images" };
        let dataset = request.present.get("dataset");
        let outline = dataset.and_then(|dataset| Outline::read(dataset).ok());
        let unlabelled = outline.and_then(|outline| check_labels(&outline).err());
        let too_many = cannot_draw(request, params.split, wanted, params.seed);
        let mut found = problems(unlabelled.into_iter().chain(too_many), request);
        found.extend(known::observable(request, params.normalization.as_ref()));
        found
    }

    fn run(&self, params: Params, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        let Calibrated { float, digest, ranges, moments } = quantize::calibrated(request)?;
        let dataset = request.input("dataset")?;
        let sample = Sample::open(dataset, params.split)?;
        let (indices, known) = drawn(&params, &ranges, sample.len())?;
        let [_, height, width] = sample.shape()?;
        let split = params.split.as_str();
        let basis = format!(
            "{} images of the {split} split that were {}calibrated on, drawn with seed {}",
            grouped(indices.len()),
            if known { "" } else { "not " },
            params.seed
        );
        if known {
            reporter.warn(format!(
                "`ranges` were calibrated on all images of the {split} split, so this is measured on images that they know: calibrate on \
                 fewer, as with `images: {}`, for a choice that holds on others, too",
                (sample.len() / 2).max(1)
            ));
        }
        let mut laboratory = Laboratory {
            float: &float,
            ranges: &ranges,
            moments: moments.as_ref(),
            params: &params,
            dataset,
            indices: &indices,
            size: [height, width],
            threads: request.threads,
            reference: None,
        };
        let reference = laboratory.float_score()?;
        // What a layer costs depends on how large its maps are.
        let layers = integer_layers(&sizes::fixed(&float, laboratory.size), &params.quantize)?;
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

/// Indices of images that the ranges do not know, and whether they do all the same, because there are no others.
fn drawn(params: &Params, ranges: &Ranges, length: usize) -> Result<(Vec<usize>, bool), Failure> {
    let seen: BTreeSet<u64> = match ranges.lineage.split == params.split.as_str() {
        true => ranges.lineage.images.iter().copied().collect(),
        false => BTreeSet::new(),
    };
    let unseen: Vec<usize> = (0..length).filter(|index| !seen.contains(&(*index as u64))).collect();
    let known = unseen.is_empty() && params.images.is_none();
    let from: Vec<usize> = if known { (0..length).collect() } else { unseen };
    let wanted = Wanted { asked: params.images, usual: USUAL_IMAGES, unit: "images" };
    let split = params.split.as_str();
    let of = match seen.is_empty() || known {
        true => format!("the {split} split"),
        false => format!("what is left of the {split} split beside the images calibrated on"),
    };
    let places = draw(wanted, params.seed, from.len(), &of)?;
    Ok((places.into_iter().filter_map(|place| from.get(place).copied()).collect(), known))
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
    let budget = laboratory.params.max_drop;
    let mut kept: Vec<usize> = Vec::new();
    let mut score = all.clone();
    while score.drop > budget {
        let next = next_to_keep(layers, noise, &kept.iter().copied().collect());
        let name = next.and_then(|next| layers.get(next)).map_or("", |layer| &layer.name);
        kept.extend(next);
        score = match laboratory.score(&kept, layers)? {
            Some(score) if next.is_some() => score,
            _ => {
                return Err(Failure::new(format!(
                    "no integer layer can be kept without losing more than {budget} points: all of them lose {:.2}",
                    all.drop
                ))
                .hint("calibrate by another `method` or on more images, or allow for a larger `max_drop`"));
            }
        };
        reporter.info(format!("with `{name}` in floating point: {:.2} points lost", score.drop));
    }
    for place in kept.clone() {
        let without: Vec<usize> = kept.iter().copied().filter(|other| *other != place).collect();
        if let Some(tried) = laboratory.score(&without, layers)?.filter(|tried| tried.drop <= budget) {
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
    for (name, score) in [("fp32", reference), ("int8", all), ("mixed", mixed)] {
        let [low, high] = wilson_interval(score.correct, score.total);
        let accuracy = Metric::new(score.accuracy(), "%").interval(low, high).basis(basis);
        reporter.metric(&format!("{name}.accuracy"), accuracy);
        if name != "fp32" {
            let (drop, [low, high]) = paired_drop(score.lost, score.won, score.total);
            let drop = Metric::new(drop, "points").interval(low, high).basis(basis);
            reporter.metric(&format!("{name}.drop"), drop);
        }
        if let Some(sqnr) = score.sqnr_db() {
            reporter.metric(&format!("{name}.sqnr_db"), Metric::new(sqnr, "dB").basis(basis));
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

    #[test]
    fn images_that_were_calibrated_on_are_not_measured_on() {
        let params = Params { images: Some(5), ..Params::default() };
        let mut ranges = Ranges::default();
        ranges.lineage.split = "train".into();
        ranges.lineage.images = vec![0, 2, 4, 6, 8];
        assert_eq!(drawn(&params, &ranges, 10).unwrap(), (vec![1, 3, 5, 7, 9], false));
        assert_eq!(drawn(&Params::default(), &ranges, 10).unwrap(), (vec![1, 3, 5, 7, 9], false));
        let failure = drawn(&Params { images: Some(6), ..params.clone() }, &ranges, 10).unwrap_err();
        let said = "`images` asks for 6 images, but what is left of the train split beside the images calibrated on has 5";
        assert!(format!("{failure:?}").contains(said), "{failure:?}");
        ranges.lineage.split = "test".into();
        assert_eq!(drawn(&Params { images: Some(10), ..params.clone() }, &ranges, 10).unwrap().0.len(), 10);
        // All of a small split was calibrated on: better on these than on none, but not where a number was asked for.
        ranges.lineage =
            quant::Lineage { split: "train".into(), images: (0..10).collect(), ..ranges.lineage };
        assert_eq!(drawn(&Params::default(), &ranges, 10).unwrap(), ((0..10).collect(), true));
        assert!(drawn(&params, &ranges, 10).is_err());
        let many = drawn(&Params::default(), &Ranges::default(), 5_000).unwrap();
        assert_eq!((many.0.len(), many.1), (1_000, false));
    }
}
