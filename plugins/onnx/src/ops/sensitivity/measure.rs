//! Running a model with some layers in integers on the same images, or samples of arrays, as the float one.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use dataset::{Predictions, Sample, Split};
use quant::{
    IntegerLayer, Moments, QuantError, Ranges, StaticOptions, observed_model, observed_quantized_model,
    quantize_one_layer, quantize_static,
};

use super::Params;
use crate::labels::{Labels, said, says_class};
use crate::runtime::{Loaded, Model, NamedValues};
use crate::samples::{Asked, Samples, Values};
use crate::{metadata, sizes};

/// Most images, or samples, whose tensors are compared one by one.
pub(crate) const COMPARED_IMAGES: usize = 128;

/// A model and what it is measured on.
pub(crate) struct Laboratory<'a> {
    pub(crate) float: &'a onnx::Model,
    pub(crate) ranges: &'a Ranges,
    pub(crate) moments: Option<&'a Moments>,
    pub(crate) params: &'a Params,
    pub(crate) shown: Shown<'a>,
    pub(crate) threads: usize,
    /// What the float model gives, once it has.
    pub(crate) reference: Option<Given>,
}

/// What a model is measured on.
pub(crate) enum Shown<'a> {
    /// Images of a dataset at these indices, ascending, and their height and width.
    Images { dataset: &'a Path, indices: &'a [usize], size: [usize; 2] },
    /// Samples of arrays, and which class each is of, where that is known.
    Arrays { samples: &'a Samples, labels: Option<&'a Labels> },
}

/// What takes a batch: the model to run, the images as they are, and normalised.
type Take<'a> = &'a mut dyn FnMut(&mut Model, &Split, &[f32]) -> Result<()>;

/// What takes the tensors of two models for the same data.
type TakeBoth<'a> = &'a mut dyn FnMut(&BTreeMap<String, Vec<f32>>, &[NamedValues<'_>]) -> Result<()>;

/// What a model gives for all of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Given {
    /// How many images or samples.
    total: usize,
    /// All values of each output of floats.
    outputs: Vec<Vec<f32>>,
    /// The class that is said of each, where one is.
    classes: Vec<Option<i64>>,
    /// Whether that is right, where it is known.
    right: Option<Vec<bool>>,
}

/// How a model did.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Score {
    /// Images classified rightly, where that is known, of how many.
    pub(crate) correct: Option<u64>,
    pub(crate) total: u64,
    /// Images that only the float model, and only this one, gets right. Where that is not known: of which this one says another
    /// class, and none.
    pub(crate) lost: u64,
    pub(crate) won: u64,
    /// Whether classes are said at all.
    pub(crate) has_classes: bool,
    /// Points of accuracy lost, or of agreement.
    pub(crate) drop: f64,
    /// Sums of squares of the float outputs, and of how far these are from them; of several outputs, as shares of the former.
    signal: f64,
    pub(crate) noise: f64,
}

impl Score {
    pub(crate) fn sqnr_db(&self) -> Option<f64> {
        decibels(self.signal, self.noise)
    }
}

/// 10·log₁₀(Σx² / Σ(x−x̂)²); `None` where there is no noise or no signal.
fn decibels(signal: f64, noise: f64) -> Option<f64> {
    (signal > 0.0 && noise > 0.0).then(|| 10.0 * (signal / noise).log10())
}

/// Σx² and Σ(x−x̂)².
fn powers(float: &[f32], rounded: &[f32]) -> (f64, f64) {
    float.iter().zip(rounded).fold((0.0, 0.0), |(signal, noise), (x, y)| {
        let (x, y) = (f64::from(*x), f64::from(*y));
        (signal + x * x, noise + (x - y) * (x - y))
    })
}

impl Laboratory<'_> {
    /// The float model's score, against itself.
    pub(crate) fn float_score(&mut self) -> Result<Score> {
        let given = self.give(self.float).context("running the float model")?;
        let score = compare(&given, &given);
        self.reference = Some(given);
        Ok(score)
    }

    /// The score with the layers at `float` left in floating point, beside those that are there by option. `None` where
    /// that leaves nothing to quantize.
    pub(crate) fn score(&self, float: &[usize], layers: &[IntegerLayer]) -> Result<Option<Score>> {
        let names = float.iter().filter_map(|place| layers.get(*place)).map(|layer| layer.name.clone());
        let exclude = self.params.quantize.exclude.iter().cloned().chain(names).collect();
        let options = StaticOptions { exclude, compact: false, ..self.params.quantize.clone() };
        match quantize_static(self.float, self.ranges, self.moments, &options) {
            Ok((model, _)) => self.compared(&model).map(Some),
            Err(QuantError::NothingToQuantize) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The score with `layer` alone in integers.
    pub(crate) fn score_alone(&self, layer: &IntegerLayer) -> Result<Score> {
        let options = &self.params.quantize;
        let model = quantize_one_layer(self.float, self.ranges, self.moments, options, &layer.name)?;
        self.compared(&model)
    }

    fn compared(&self, model: &onnx::Model) -> Result<Score> {
        let Some(reference) = &self.reference else { bail!("the float model has not run") };
        Ok(compare(reference, &self.give(model)?))
    }

    /// By tensor, the signal to quantization noise of each integer layer's outcome where all are integers, in decibels.
    pub(crate) fn output_errors(&self) -> Result<BTreeMap<String, Option<f64>>> {
        let float = observed_model(self.float)?;
        let (quantized, outputs) =
            observed_quantized_model(self.float, self.ranges, self.moments, &self.params.quantize)?;
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        self.both(&float, &quantized, &mut |tensors, values| {
            for (tensor, output) in &outputs {
                let rounded = values.iter().find(|(name, _)| name == output);
                if let (Some(float), Some((_, rounded))) = (tensors.get(tensor), rounded) {
                    let (signal, noise) = powers(float, rounded);
                    let sum = sums.entry(tensor).or_default();
                    *sum = (sum.0 + signal, sum.1 + noise);
                }
            }
            Ok(())
        })?;
        Ok(sums
            .into_iter()
            .map(|(tensor, (signal, noise))| (tensor.to_owned(), decibels(signal, noise)))
            .collect())
    }

    /// Runs two models on the first [`COMPARED_IMAGES`], and hands over what the tensors of both are.
    fn both(&self, one: &onnx::Model, other: &onnx::Model, take: TakeBoth<'_>) -> Result<()> {
        let owned = |values: &[NamedValues<'_>]| -> BTreeMap<String, Vec<f32>> {
            values.iter().map(|(name, values)| ((*name).to_owned(), values.to_vec())).collect()
        };
        match &self.shown {
            Shown::Images { indices, size, .. } => {
                let (mut one, mut other) = (self.model(one, *size)?, self.model(other, *size)?);
                let indices = indices.get(..COMPARED_IMAGES).unwrap_or(indices);
                self.batches(&mut one, indices, &mut |one, _, images| {
                    let mut tensors = BTreeMap::new();
                    one.run_all(images, &mut |values| {
                        tensors = owned(values);
                        Ok(())
                    })?;
                    other.run_all(images, &mut |values| take(&tensors, values))
                })
            }
            Shown::Arrays { samples, .. } => {
                let (mut one, mut other) = (self.loaded(one)?, self.loaded(other)?);
                let size = samples.batch_size(1);
                let count = COMPARED_IMAGES.min(samples.indices.len()) / size * size;
                for from in (0..count).step_by(size) {
                    let range = from..from + size;
                    let mut tensors = BTreeMap::new();
                    one.run(samples.inputs(&range)?, &mut |values| {
                        tensors = owned(values);
                        Ok(())
                    })?;
                    other.run(samples.inputs(&range)?, &mut |values| take(&tensors, values))?;
                }
                Ok(())
            }
        }
    }

    fn model(&self, model: &onnx::Model, size: [usize; 2]) -> Result<Model> {
        Model::from_bytes(&sizes::fixed(model, size).to_bytes(), "the model".into(), self.threads)
    }

    fn loaded(&self, model: &onnx::Model) -> Result<Loaded> {
        Loaded::from_bytes(&model.to_bytes(), "the model".into(), self.threads)
    }

    fn give(&self, model: &onnx::Model) -> Result<Given> {
        match &self.shown {
            Shown::Images { indices, size, .. } => self.predict(self.model(model, *size)?, indices),
            Shown::Arrays { samples, labels } => {
                let size = samples.batch_size(self.params.batch_size);
                answers(&mut Asked::new(samples, self.loaded(model)?), samples.indices.len(), size, *labels)
            }
        }
    }

    fn predict(&self, mut model: Model, indices: &[usize]) -> Result<Given> {
        let (mut logits, mut labels) = (Vec::new(), Vec::new());
        self.batches(&mut model, indices, &mut |model, split, images| {
            logits.extend(model.run(images)?);
            labels.extend_from_slice(split.labels());
            Ok(())
        })?;
        let classes = logits.len().checked_div(indices.len()).unwrap_or(0);
        let label = labels.iter().copied().max().unwrap_or(0);
        if usize::try_from(label).is_ok_and(|label| label >= classes) {
            bail!("the model has {classes} classes, but the dataset has a label {label}");
        }
        Ok(Given::of(Predictions::new(logits, classes, labels)?))
    }

    /// Hands the images at `indices` over, as they are and normalised, a batch at a time.
    fn batches(&self, model: &mut Model, indices: &[usize], take: Take<'_>) -> Result<()> {
        let Shown::Images { dataset, .. } = self.shown else { bail!("there are no images") };
        let mut sample = Sample::open(dataset, self.params.split)?;
        let mut images = Vec::new();
        for batch in indices.chunks(model.batch_size(self.params.batch_size)) {
            let split = sample.take(batch)?;
            let normalization = metadata::normalization(model, &split, self.params.normalization.as_ref())?;
            images.clear();
            normalization.apply_pixels(split.shape(), split.pixels(), &mut images);
            take(model, &split, &images)?;
        }
        Ok(())
    }
}

impl Given {
    fn of(predictions: Predictions) -> Self {
        let total = predictions.len();
        let classes = (0..total).map(|index| i64::try_from(predictions.predicted(index)).ok()).collect();
        let right = (0..total).map(|index| predictions.is_correct(index)).collect();
        Self { total, classes, right: Some(right), outputs: vec![predictions.logits] }
    }
}

/// What a model gives for the first `count` samples, `size` at a time.
fn answers(asked: &mut Asked<'_>, count: usize, size: usize, labels: Option<&Labels>) -> Result<Given> {
    let mut given = Given { total: count, ..Given::default() };
    let mut outputs: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for from in (0..count).step_by(size.max(1)) {
        for sample in asked.ask(from..count.min(from + size.max(1)))? {
            let scores = sample.iter().find(|output| says_class(output));
            given.classes.push(scores.and_then(said));
            for output in &sample {
                if let Values::F32(values) = &output.values {
                    outputs.entry(output.name.clone()).or_default().extend(values);
                }
            }
        }
    }
    if let Some(labels) = labels {
        if given.classes.iter().any(Option::is_none) {
            bail!(
                "no output gives scores of classes, [samples, classes], or a class, which `labels` could be held against: leave `labels` \
                 out"
            );
        }
        let pairs = given.classes.iter().zip(&labels.classes);
        given.right = Some(pairs.map(|(class, label)| *class == Some(*label)).collect());
    }
    given.outputs = outputs.into_values().collect();
    Ok(given)
}

fn compare(reference: &Given, given: &Given) -> Score {
    let each: Vec<(f64, f64)> =
        reference.outputs.iter().zip(&given.outputs).map(|(float, rounded)| powers(float, rounded)).collect();
    let (signal, noise) = match *each {
        [one] => one,
        // Outputs count alike, however strong each is.
        _ => each
            .iter()
            .filter(|(signal, _)| *signal > 0.0)
            .fold((0.0, 0.0), |sum, (signal, noise)| (sum.0 + 1.0, sum.1 + noise / signal)),
    };
    let total = reference.total.min(given.total);
    let (mut lost, mut won) = (0, 0);
    if let (Some(before), Some(after)) = (&reference.right, &given.right) {
        for pair in before.iter().zip(after) {
            match pair {
                (true, false) => lost += 1,
                (false, true) => won += 1,
                _ => {}
            }
        }
    } else {
        lost =
            reference.classes.iter().zip(&given.classes).filter(|(one, other)| one != other).count() as u64;
    }
    Score {
        correct: given.right.as_ref().map(|right| right.iter().filter(|right| **right).count() as u64),
        total: total as u64,
        lost,
        won,
        has_classes: given.classes.iter().any(Option::is_some),
        drop: 100.0 * (lost as f64 - won as f64) / (total as f64).max(1.0),
        signal,
        noise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_counts_what_was_lost_and_won() {
        let labels = vec![0, 1, 0, 1];
        let predictions =
            |logits: [f32; 8]| Given::of(Predictions::new(logits.to_vec(), 2, labels.clone()).unwrap());
        let float = predictions([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]);
        let rounded = predictions([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
        let score = compare(&float, &rounded);
        assert_eq!((score.correct, score.lost, score.won), (Some(2), 2, 1));
        assert!((score.drop - 25.0).abs() < 1e-12);
        assert!((score.sqnr_db().unwrap() - 10.0 * (4.0_f64 / 6.0).log10()).abs() < 1e-9);
        assert_eq!(compare(&float, &float).sqnr_db(), None);
    }

    #[test]
    fn without_labels_another_class_is_lost_and_outputs_count_alike() {
        let of = |classes: [i64; 2], outputs: [Vec<f32>; 2]| Given {
            total: 2,
            outputs: outputs.into(),
            classes: classes.map(Some).into(),
            right: None,
        };
        let float = of([0, 1], [vec![100.0], vec![1.0]]);
        let score = compare(&float, &of([0, 0], [vec![90.0], vec![0.9]]));
        assert_eq!((score.correct, score.lost, score.won, score.drop), (None, 1, 0, 50.0));
        assert!((score.sqnr_db().unwrap() - 20.0).abs() < 1e-4);
    }
}
