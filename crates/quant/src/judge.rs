//! Which method's range each tensor gets: the one whose rounding puts the least noise into what the model gives on some of the
//! calibration data.
//!
//! Knows ranges and what is to be tried; runs no model. The caller does ([`Judge::models`]), and says what came of it ([`Outcomes`]).

mod squares;
mod trial;
mod verdict;

use std::collections::BTreeMap;
use std::ops::Range as Span;

use onnx::Model;

use crate::clip::Method;
use crate::error::QuantError;
use crate::integers::Grid;
use crate::judge::squares::{Squares, floats_db, whole_numbers_db};
use crate::judge::trial::{Trial, grid};
use crate::ranges::Range;

pub use crate::judge::squares::Outcomes;
pub use crate::judge::trial::TRIAL_INPUT;
pub use crate::judge::verdict::{Chosen, Judged};

/// By tensor, the range that each of [`Method::ALL`] gives it.
pub type Candidates = BTreeMap<String, [Range; Method::ALL.len()]>;

/// The methods, as a rule those first that cut off less.
const WIDEST_FIRST: [Method; Method::ALL.len()] =
    [Method::Minmax, Method::Percentile, Method::Mse, Method::Entropy, Method::MovingAverage];

/// Most samples that something is tried on.
const MOST_SAMPLES: usize = 64;

/// Fewest samples that a part of the network is tried on, if there are as many.
const FEWEST_SAMPLES: usize = 4;

/// How often the model is run to try parts of the network: four times a sample within these bounds. As many parts are made of it as
/// that allows for.
const RUNS_A_SAMPLE: usize = 4;
const FEWEST_RUNS: usize = 64;
const MOST_RUNS: usize = 512;

/// How many decibels a choice must be better by than one that cuts off less. Smaller differences do not show on other data, of which
/// some lie farther out.
const CLEARLY: f64 = 0.3;

/// The same, of what a part adds.
const BARELY: f64 = 0.05;

/// How often the method of each part is reconsidered.
const SWEEPS: usize = 3;

/// Grids whose ends are no farther apart than this share of them need not be told apart.
const ALIKE: f32 = 0.01;

/// What is tried in a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Names of inputs of the model, which have values of their own, and what they are set to.
    pub inputs: Vec<(String, f32)>,
    /// Whether the model is the one with rounded weights.
    pub with_rounded_weights: bool,
}

/// What is to be run: each setting on each sample, beside the float model as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Trials {
    /// Places of samples, ascending.
    pub samples: Vec<usize>,
    /// What is tried.
    pub settings: Vec<Setting>,
}

/// Neighbouring tensors that get one method.
#[derive(Debug, Clone)]
struct Part {
    /// Places in [`Trial::tensors`].
    tensors: Span<usize>,
    /// Those that differ: of methods that give about the same ranges, the first.
    methods: Vec<Method>,
}

/// The candidates and how they are tried.
#[derive(Debug, Clone)]
pub struct Judge {
    trial: Trial,
    candidates: Candidates,
    samples: usize,
    runs: usize,
    parts: Vec<Part>,
}

impl Judge {
    /// Prepares to try `candidates`, which come from an [`crate::Observer`] of `model`, on `samples` samples, or batches where the model
    /// takes samples by the batch alone. Each tensor is a part of its own where as many runs as are allowed suffice.
    ///
    /// # Errors
    /// As [`crate::observed_model`].
    pub fn new(model: &Model, candidates: Candidates, samples: usize) -> Result<Self, QuantError> {
        let trial = Trial::new(model)?;
        let runs = (RUNS_A_SAMPLE * samples).clamp(FEWEST_RUNS, MOST_RUNS);
        let mut judge = Self { trial, candidates, samples, runs, parts: Vec::new() };
        let tensors = judge.trial.tensors.len();
        let affordable = |parts: &Vec<Part>| {
            FEWEST_SAMPLES * parts.iter().map(|part| part.methods.len()).sum::<usize>() <= runs
        };
        let parts =
            (2..=tensors.min(runs / FEWEST_SAMPLES)).rev().map(|parts| judge.split(parts)).find(affordable);
        judge.parts = parts.unwrap_or_else(|| judge.split(1));
        Ok(judge)
    }

    /// The models to run: the float model, and it with rounded weights. They take what it takes, and give [`Judge::outputs`].
    #[must_use]
    pub fn models(&self) -> [&Model; 2] {
        [&self.trial.model, &self.trial.rounded]
    }

    /// Names of the outputs that count, in the order that [`Outcomes`] want.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.trial.outputs.iter().map(|output| output.name.as_str())
    }

    /// Each part of the network rounded alone, by each method; and last the weights alone.
    #[must_use]
    pub fn alone(&self) -> Trials {
        let parts = self.each().map(|(part, method)| Setting {
            inputs: self.inputs(&part.tensors, method),
            with_rounded_weights: false,
        });
        let weights = Setting { inputs: Vec::new(), with_rounded_weights: true };
        Trials { samples: self.samples_alone(), settings: parts.chain([weights]).collect() }
    }

    /// All of the network rounded: by each of [`Method::ALL`] alone, and last as `mixed` says.
    #[must_use]
    pub fn together(&self, mixed: &[Method]) -> Trials {
        let all = 0..self.trial.tensors.len();
        let single = Method::ALL.map(|method| self.inputs(&all, method));
        let mixed =
            self.parts.iter().zip(mixed).flat_map(|(part, method)| self.inputs(&part.tensors, *method));
        let inputs = single.into_iter().chain([mixed.collect()]);
        let settings = inputs.map(|inputs| Setting { inputs, with_rounded_weights: true });
        Trials { samples: self.samples_together(), settings: settings.collect() }
    }

    /// By part, the method with which all of the network is expected to have the least noise after what came of
    /// [`Judge::alone`]: noises of roundings, which have nothing to do with each other, add up (Widrow).
    #[must_use]
    pub fn mix(&self, alone: &Outcomes) -> Vec<Method> {
        let noise = |place: usize| alone.noise.get(place).cloned().unwrap_or_default();
        let mut places: Vec<Span<usize>> = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let from = places.last().map_or(0, |places| places.end);
            places.push(from..from + part.methods.len());
        }
        let mut chosen: Vec<usize> = places.iter().map(|places| places.start).collect();
        let mut total = noise(places.last().map_or(0, |places| places.end));
        chosen.iter().for_each(|place| total.merge(&noise(*place)));
        let mut most = self.fidelity(&alone.signal, &total);
        // What is best for one depends on what the others do.
        for _ in 0..SWEEPS {
            for (chosen, places) in chosen.iter_mut().zip(&places) {
                for place in places.clone() {
                    let other = total.clone().without(&noise(*chosen)).with(&noise(place));
                    let fidelity = self.fidelity(&alone.signal, &other);
                    if fidelity > most + BARELY {
                        (*chosen, total, most) = (place, other, fidelity);
                    }
                }
            }
        }
        let methods: Vec<Method> = self.each().map(|(_, method)| method).collect();
        chosen.iter().filter_map(|place| methods.get(*place).copied()).collect()
    }

    /// The ranges, and why: those of `mixed` where these are clearly better than those of one method for all, after what came of
    /// [`Judge::together`].
    #[must_use]
    pub fn conclude(
        &self,
        mixed: &[Method],
        alone: &Outcomes,
        together: &Outcomes,
    ) -> (BTreeMap<String, Range>, Judged) {
        let fidelity = |noise: &Squares| self.fidelity(&together.signal, noise);
        let found: Vec<f64> = together.noise.iter().map(fidelity).collect();
        let single: BTreeMap<Method, f64> = Method::ALL.into_iter().zip(found.iter().copied()).collect();
        let most = single.values().copied().fold(f64::NEG_INFINITY, f64::max);
        let is_best = |method: &Method| single.get(method).is_some_and(|found| *found >= most - CLEARLY);
        let best = WIDEST_FIRST.into_iter().find(is_best).unwrap_or(Method::Minmax);
        let with_best = single.get(&best).copied().unwrap_or(f64::NEG_INFINITY);
        let with_mixed = found.last().copied().unwrap_or(f64::NEG_INFINITY);
        let is_mixed = with_mixed > with_best + CLEARLY;
        let mut found_alone = alone.noise.iter().map(|noise| self.fidelity(&alone.signal, noise));
        let mut tensors = BTreeMap::new();
        for (part, mixed) in self.parts.iter().zip(mixed) {
            let found = part.methods.iter().copied().zip(found_alone.by_ref());
            let alone_db: BTreeMap<Method, f64> =
                found.map(|(method, db)| (method, hundredths(db))).collect();
            let method = if is_mixed { *mixed } else { best };
            for (tensor, _) in self.trial.tensors.get(part.tensors.clone()).unwrap_or_default() {
                tensors.insert(tensor.clone(), Chosen { method, alone_db: alone_db.clone() });
            }
        }
        let judged = Judged {
            samples: self.samples_together().len(),
            single_db: single.into_iter().map(|(method, db)| (method, hundredths(db))).collect(),
            best,
            chosen_db: hundredths(if is_mixed { with_mixed } else { with_best }),
            tensors,
        };
        let range = |(tensor, ranges): (&String, &[Range; Method::ALL.len()])| {
            (tensor.clone(), ranges[judged.method(tensor) as usize])
        };
        (self.candidates.iter().map(range).collect(), judged)
    }

    /// Every part with every method that it is tried with.
    fn each(&self) -> impl Iterator<Item = (&Part, Method)> {
        self.parts.iter().flat_map(|part| part.methods.iter().map(move |method| (part, *method)))
    }

    /// The network in so many parts, about as many tensors in each.
    fn split(&self, parts: usize) -> Vec<Part> {
        let count = self.trial.tensors.len();
        let part = |index: usize| {
            let tensors = index * count / parts..(index + 1) * count / parts;
            let mut methods: Vec<Method> = Vec::new();
            for method in WIDEST_FIRST {
                let is_like = |known: &Method| {
                    let mut grids = self.grids(&tensors, method).zip(self.grids(&tensors, *known));
                    grids.all(|((_, one), (_, other))| are_alike(one, other))
                };
                if !methods.iter().any(is_like) {
                    methods.push(method);
                }
            }
            Part { tensors, methods }
        };
        (0..parts).map(part).collect()
    }

    fn grids(&self, tensors: &Span<usize>, method: Method) -> impl Iterator<Item = (&str, Grid)> {
        let tensors = self.trial.tensors.get(tensors.clone()).unwrap_or_default();
        tensors.iter().filter_map(move |(tensor, bounds)| {
            let range = self.candidates.get(tensor)?[method as usize];
            Some((tensor.as_str(), grid(range, *bounds)))
        })
    }

    fn inputs(&self, tensors: &Span<usize>, method: Method) -> Vec<(String, f32)> {
        self.grids(tensors, method).flat_map(|(tensor, grid)| self.trial.set(tensor, grid)).collect()
    }

    fn samples_alone(&self) -> Vec<usize> {
        let settings = self.each().count() + 1;
        let most = (self.samples / 4).clamp(FEWEST_SAMPLES, MOST_SAMPLES);
        spread((self.runs / settings).clamp(FEWEST_SAMPLES, most), self.samples)
    }

    /// Others than those by which the mixture was chosen, which would flatter it, unless there are hardly any.
    fn samples_together(&self) -> Vec<usize> {
        let alone = self.samples_alone();
        let others: Vec<usize> = (0..self.samples).filter(|place| !alone.contains(place)).collect();
        let from = if others.len() < alone.len() { (0..self.samples).collect() } else { others };
        spread(MOST_SAMPLES, from.len()).into_iter().filter_map(|place| from.get(place).copied()).collect()
    }

    /// Signal to noise in decibels, in the mean over the outputs that are not always zero.
    fn fidelity(&self, signal: &Squares, noise: &Squares) -> f64 {
        let outputs = signal.outputs().zip(noise.outputs()).zip(&self.trial.outputs);
        let found = outputs.filter_map(|((signal, noise), output)| match output.is_whole {
            true => whole_numbers_db(signal, noise),
            false => floats_db(signal, noise),
        });
        let found: Vec<f64> = found.collect();
        found.iter().sum::<f64>() / found.len().max(1) as f64
    }
}

fn are_alike(one: Grid, other: Grid) -> bool {
    let ((low, high), (other_low, other_high)) = (one.span(), other.span());
    let apart = (low - other_low).abs().max((high - other_high).abs());
    apart <= ALIKE * (high - low).max(other_high - other_low)
}

/// `count` of the places below `length`, evenly spread; all of them, where there are fewer.
fn spread(count: usize, length: usize) -> Vec<usize> {
    let count = count.min(length);
    (0..count).map(|index| index * length / count).collect()
}

/// Decibels as they are kept.
fn hundredths(decibels: f64) -> f64 {
    (decibels * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests;
