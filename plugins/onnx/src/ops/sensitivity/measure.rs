//! Running a model with some layers in integers on the same images as the float one.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use dataset::{Predictions, Sample, Split};
use quant::{
    IntegerLayer, Moments, QuantError, Ranges, StaticOptions, observed_model, observed_quantized_model,
    quantize_one_layer, quantize_static,
};

use super::Params;
use crate::runtime::Model;
use crate::{metadata, sizes};

/// Most images whose tensors are compared one by one.
pub(crate) const COMPARED_IMAGES: usize = 128;

/// A model and what it is measured on.
pub(crate) struct Laboratory<'a> {
    pub(crate) float: &'a onnx::Model,
    pub(crate) ranges: &'a Ranges,
    pub(crate) moments: Option<&'a Moments>,
    pub(crate) params: &'a Params,
    pub(crate) dataset: &'a Path,
    /// Height and width of its images.
    pub(crate) size: [usize; 2],
    /// Indices into the split, ascending.
    pub(crate) indices: &'a [usize],
    pub(crate) threads: usize,
    /// What the float model predicts, once it has.
    pub(crate) reference: Option<Predictions>,
}

/// What takes a batch: the model to run, the images as they are, and normalised.
type Take<'a> = &'a mut dyn FnMut(&mut Model, &Split, &[f32]) -> Result<()>;

/// How a model did.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Score {
    /// Images classified rightly, of how many.
    pub(crate) correct: u64,
    pub(crate) total: u64,
    /// Images that only the float model, and only this one, gets right.
    pub(crate) lost: u64,
    pub(crate) won: u64,
    /// Points of accuracy lost.
    pub(crate) drop: f64,
    /// Sums of squares of the float logits, and of how far these are from them.
    signal: f64,
    pub(crate) noise: f64,
}

impl Score {
    pub(crate) fn accuracy(&self) -> f64 {
        100.0 * self.correct as f64 / (self.total as f64).max(1.0)
    }

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
        let predictions = self.predict(self.float).context("running the float model")?;
        let score = compare(&predictions, &predictions);
        self.reference = Some(predictions);
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
        Ok(compare(reference, &self.predict(model)?))
    }

    /// By tensor, the signal to quantization noise of each integer layer's outcome where all are integers, in decibels.
    pub(crate) fn output_errors(&self) -> Result<BTreeMap<String, Option<f64>>> {
        let mut float = self.model(&observed_model(self.float)?)?;
        let (quantized, outputs) =
            observed_quantized_model(self.float, self.ranges, self.moments, &self.params.quantize)?;
        let mut quantized = self.model(&quantized)?;
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        let indices = self.indices.get(..COMPARED_IMAGES).unwrap_or(self.indices);
        self.batches(&mut float, indices, &mut |float, _, images| {
            let mut tensors: BTreeMap<String, Vec<f32>> = BTreeMap::new();
            float.run_all(images, &mut |values| {
                let wanted = values.iter().filter(|(name, _)| outputs.contains_key(*name));
                tensors.extend(wanted.map(|(name, values)| ((*name).to_owned(), values.to_vec())));
                Ok(())
            })?;
            quantized.run_all(images, &mut |values| {
                for (tensor, output) in &outputs {
                    let rounded = values.iter().find(|(name, _)| name == output);
                    if let (Some(float), Some((_, rounded))) = (tensors.get(tensor), rounded) {
                        let (signal, noise) = powers(float, rounded);
                        let sum = sums.entry(tensor).or_default();
                        *sum = (sum.0 + signal, sum.1 + noise);
                    }
                }
                Ok(())
            })
        })?;
        Ok(sums
            .into_iter()
            .map(|(tensor, (signal, noise))| (tensor.to_owned(), decibels(signal, noise)))
            .collect())
    }

    fn model(&self, model: &onnx::Model) -> Result<Model> {
        Model::from_bytes(&sizes::fixed(model, self.size).to_bytes(), "the model".into(), self.threads)
    }

    fn predict(&self, model: &onnx::Model) -> Result<Predictions> {
        let mut model = self.model(model)?;
        let (mut logits, mut labels) = (Vec::new(), Vec::new());
        self.batches(&mut model, self.indices, &mut |model, split, images| {
            logits.extend(model.run(images)?);
            labels.extend_from_slice(split.labels());
            Ok(())
        })?;
        let classes = logits.len().checked_div(self.indices.len()).unwrap_or(0);
        let label = labels.iter().copied().max().unwrap_or(0);
        if usize::try_from(label).is_ok_and(|label| label >= classes) {
            bail!("the model has {classes} classes, but the dataset has a label {label}");
        }
        Ok(Predictions::new(logits, classes, labels)?)
    }

    /// Hands the images at `indices` over, as they are and normalised, a batch at a time.
    fn batches(&self, model: &mut Model, indices: &[usize], take: Take<'_>) -> Result<()> {
        let mut sample = Sample::open(self.dataset, self.params.split)?;
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

fn compare(reference: &Predictions, predictions: &Predictions) -> Score {
    let (signal, noise) = powers(&reference.logits, &predictions.logits);
    let mut score = Score {
        correct: predictions.correct(),
        total: predictions.len() as u64,
        signal,
        noise,
        ..Score::default()
    };
    for index in 0..predictions.len().min(reference.len()) {
        match (reference.is_correct(index), predictions.is_correct(index)) {
            (true, false) => score.lost += 1,
            (false, true) => score.won += 1,
            _ => {}
        }
    }
    score.drop = 100.0 * (score.lost as f64 - score.won as f64) / (score.total as f64).max(1.0);
    score
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_counts_what_was_lost_and_won() {
        let labels = vec![0, 1, 0, 1];
        let predictions = |logits: [f32; 8]| Predictions::new(logits.to_vec(), 2, labels.clone()).unwrap();
        let float = predictions([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]);
        let rounded = predictions([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
        let score = compare(&float, &rounded);
        assert_eq!((score.correct, score.lost, score.won), (2, 2, 1));
        assert!((score.drop - 25.0).abs() < 1e-12);
        assert!((score.sqnr_db().unwrap() - 10.0 * (4.0_f64 / 6.0).log10()).abs() < 1e-9);
        assert_eq!(compare(&float, &float).sqnr_db(), None);
    }
}
