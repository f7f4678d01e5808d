//! `onnx/calibrate`: the ranges that a model's activations take on some images of a dataset, or on arrays.
//!
//! Each thread has one batch of activations in memory at a time, however many images there are.

mod choice;
mod data;
mod judged;

use anyhow::{Context, Result};
use dataset::{Normalization, SplitName};
use protocol::{
    Axis, Bin, Cell, CheckRequest, Column, Content, Failure, Figure, Histogram, InputSpec, Marker, Op,
    OpManifest, OutputSpec, Problem, Reporter, RunRequest,
};
use quant::{Halves, Method, Moments, MomentsObserver, Observer, Ranges, observed_model, tensors_to_observe};
use schemars::JsonSchema;
use serde::Deserialize;

use self::choice::Choice;
use self::data::Data;
use crate::images::Wanted;
use crate::ops::{
    RUNTIME, arrays_input, cannot_draw, cannot_draw_arrays, known, problems, weights_input, which_data,
};
use crate::request;
use crate::samples::ARRAYS;

/// Images that are calibrated on where their number is not given and there are as many.
const USUAL_IMAGES: usize = 512;

/// The metric that `auto` leaves: see [`quant::Judged`].
const FIDELITY: &str = "fidelity_db";

/// Most bins of a histogram in the figure.
const BINS: usize = 32;

/// Params of `onnx/calibrate`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {
    /// How many images (or samples of arrays) to draw. By default 512, or all of them where there are fewer.
    #[schemars(range(min = 1))]
    images: Option<usize>,
    /// Seed of the draw.
    seed: u64,
    /// Images per call. Without effect on the ranges.
    #[schemars(range(min = 1))]
    batch_size: usize,
    /// The split to draw from: `train`, or `test` as the notebook did.
    split: SplitName,
    /// How ranges are chosen.
    method: Choice,
    /// What `percentile` keeps of the values of a tensor, in percent.
    #[schemars(range(min = 50, max = 100))]
    percentile: f64,
    /// Count values for the figure of histograms even where the method does not need them. Takes most of the time.
    histograms: bool,
    /// Run the images a second time for the means and covariances of what each layer's weights multiply, with which
    /// `onnx/quantize` rounds them better.
    moments: bool,
    /// Mean and standard deviation per channel, of pixels scaled to 0..1, for a model that does not carry them.
    normalization: Option<Normalization>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            images: None,
            seed: 42,
            batch_size: 32,
            split: SplitName::Train,
            method: Choice::default(),
            percentile: 99.999,
            histograms: true,
            moments: true,
            normalization: None,
        }
    }
}

/// The op.
pub(crate) struct Calibrate;

impl Op for Calibrate {
    const NAME: &'static str = "calibrate";
    const VERSION: u32 = 7;
    const DESCRIPTION: &'static str =
        "Finds the ranges of a model's activations on images of a dataset, or on arrays";
    const NATIVES: &'static [&'static str] = &[RUNTIME];
    const CHECKS: bool = true;
    type Params = Params;

    fn inputs(&self) -> Vec<(&'static str, InputSpec)> {
        vec![
            ("model", InputSpec::required("the float model, as `onnx/export` writes it")),
            weights_input(),
            ("dataset", InputSpec::optional("the images to draw from, for a model of pictures")),
            arrays_input("the samples to draw from"),
        ]
    }

    fn outputs(&self) -> Vec<(&'static str, OutputSpec)> {
        let moments = "by layer, mean and covariance of what its weights multiply, for rounding them";
        vec![
            ("ranges", OutputSpec::new("range by tensor, and which images they come from", "ranges.json")),
            ("moments", OutputSpec::new(moments, "moments.safetensors")),
        ]
    }

    fn manifest(&self) -> OpManifest {
        OpManifest::of(self)
            .with_metrics(&[FIDELITY])
            .with_time(&["with.images"], &["with.seed", "with.split", "with.percentile", "inputs.dataset"])
    }

    fn check(&self, params: &Params, request: &CheckRequest) -> Vec<Problem> {
        let wanted = Wanted { asked: params.images, usual: USUAL_IMAGES, unit: "images" };
        let (images, arrays) = (request.inputs.contains("dataset"), request.inputs.contains(ARRAYS));
        if let Some(failure) = which_data(images, arrays, "calibrate on") {
            return problems(Some(failure), request);
        }
        let mut found = match arrays {
            true => problems(cannot_draw_arrays(request, wanted, params.seed), request),
            false => problems(cannot_draw(request, params.split, wanted, params.seed), request),
        };
        if arrays && params.normalization.is_some() {
            let failure = Failure::new(
                "`normalization` is for images, and `arrays` are given to the model as they are",
            );
            found.push(Problem::from(failure).param("normalization"));
        }
        found.extend(known::observable(request, params.normalization.as_ref()));
        found
    }

    fn run(&self, params: Params, request: &RunRequest, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
        let float = request::model(request)?;
        let data = Data::open(&params, request, &float)?;
        let observed = data.sized(&observed_model(&float)?).to_bytes();
        let method = params.method.method();
        // Any method that wants a histogram has all that the others want.
        let counting = method.unwrap_or(Method::Mse);
        let observer = Observer::new(tensors_to_observe(&float)?, counting, params.histograms);
        let lineage = data.lineage(&params, request::model_digest(request)?);
        let (observer, ranges, moments) = match method {
            Some(_) => {
                let observer = data.show(&observed, &observer, request, reporter)?;
                let ranges = observer.ranges(params.percentile, lineage, request.threads)?;
                let moments = moments(&params, &data, &float, &ranges, request, reporter)?;
                (observer, ranges, moments)
            }
            None => {
                let halves = Halves::new(observer, data.calls().0);
                let halves = data.show(&observed, &halves, request, reporter)?;
                let whole = halves.whole();
                let candidates = judged::Candidates {
                    whole: whole.candidates(params.percentile, request.threads)?,
                    halves: halves.candidates(params.percentile, request.threads)?,
                };
                let complete = |tensors| whole.with_histograms(tensors, lineage.clone());
                let moments = |ranges: &Ranges, reporter: &mut Reporter<'_>| {
                    moments(&params, &data, &float, ranges, request, reporter)
                };
                let judged::Choice { ranges, moments } =
                    judged::choose(&data, &float, candidates, &complete, &moments, request, reporter)?;
                (whole, ranges, moments)
            }
        };
        ranges.write(request.output("ranges")?)?;
        moments.unwrap_or_default().write(request.output("moments")?)?;
        let basis = data.basis(&params);
        reporter.info(format!("{} tensors on {basis}, {}", ranges.tensors.len(), data.treatment()));
        if observer.histograms().next().is_some() {
            reporter.figure(histograms(&observer, &ranges, &basis));
        }
        match &ranges.judged {
            Some(judged) => {
                reporter.metric(FIDELITY, judged::metric(judged));
                reporter.figure(judged::table(&ranges, judged, &basis));
            }
            None => reporter.figure(table(&ranges, params.method, &basis)),
        }
        Ok(())
    }
}

/// What the weights multiply with these ranges, if that is wanted: a pass over all of the data.
fn moments(
    params: &Params,
    data: &Data<'_>,
    float: &onnx::Model,
    ranges: &Ranges,
    request: &RunRequest,
    reporter: &mut Reporter<'_>,
) -> Result<Option<Moments>, Failure> {
    if !params.moments {
        return Ok(None);
    }
    let observer =
        MomentsObserver::new(&data.sized(float), ranges).with_context(|| format!("for {}", data.size()))?;
    let observed = observer.model().to_bytes();
    let observer = data.show(&observed, &observer, request, reporter)?;
    Ok(Some(observer.moments(ranges.lineage.model.clone())))
}

/// The first 16 hexadecimal digits of the BLAKE3 of the indices as 64-bit little-endian integers.
fn indices_digest(indices: &[usize]) -> String {
    let mut hasher = blake3::Hasher::new();
    for index in indices {
        hasher.update(&(*index as u64).to_le_bytes());
    }
    let mut digest = format!("blake3:{}", hasher.finalize().to_hex());
    digest.truncate("blake3:".len() + 16);
    digest
}

fn histograms(observer: &Observer, ranges: &Ranges, basis: &str) -> Figure {
    let marked = |(name, counted): (&str, &quant::Histogram)| {
        let marker = |label: &str, value: f32| Marker { label: label.into(), value: f64::from(value) };
        let range = ranges.tensors.get(name);
        Histogram {
            name: name.into(),
            bins: counted.coarse(BINS).bins().map(|(low, high, count)| Bin { low, high, count }).collect(),
            markers: range.map_or(vec![], |range| vec![marker("min", range.min), marker("max", range.max)]),
        }
    };
    Figure {
        id: "activations".into(),
        title: "Activations and their ranges".into(),
        caption: format!(
            "Values of each tensor on {basis}; marks are the ends of the range that was chosen."
        ),
        content: Content::Histograms {
            x: Axis::new("activation", ""),
            histograms: observer.histograms().map(marked).collect(),
        },
    }
}

fn table(ranges: &Ranges, method: Choice, basis: &str) -> Figure {
    let column = |label: &str, digits| Column::new(label, "", digits);
    let row = |(name, range): (&String, &quant::Range)| {
        vec![Cell::Text(name.clone()), Cell::Number(range.min.into()), Cell::Number(range.max.into())]
    };
    Figure {
        id: "ranges".into(),
        title: "Ranges by tensor".into(),
        caption: format!("What `{}` chose on {basis}.", method.as_str()),
        content: Content::Table {
            columns: vec![column("tensor", 0), column("min", 4), column("max", 4)],
            rows: ranges.tensors.iter().map(row).collect(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_says_which_numbers_make_sense() {
        let schema = Calibrate.manifest().params;
        for field in ["images", "batch_size"] {
            assert_eq!(schema["properties"][field]["minimum"], 1, "{field}");
        }
    }
}
