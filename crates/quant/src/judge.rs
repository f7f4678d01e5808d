//! Which method's range each tensor gets: the one whose rounding puts the least noise into what the model gives on some of the
//! calibration data.
//!
//! Knows ranges and what is to be tried; runs no model. The caller does ([`Judge::models`]), and says what came of it ([`Outcomes`]).

mod belief;
mod shortlist;
mod squares;
mod trial;
mod verdict;

use std::collections::BTreeMap;
use std::ops::Range as Span;

use onnx::{Attribute, ElementType, Model, Node, Value};

use crate::clip::Method;
use crate::error::QuantError;
use crate::integers::Grid;
use crate::judge::belief::{Both, believed};
pub use crate::judge::shortlist::{Choice, Shortlist};
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

/// Of fewer samples, halves say too little of all, and ranges are tried on the samples that they come from.
const FEWEST_TO_HALVE: usize = 8;

/// How often the model is run to try parts of the network: four times a sample within these bounds. As many parts are made of it as
/// that allows for.
const RUNS_A_SAMPLE: usize = 4;
const FEWEST_RUNS: usize = 64;
const MOST_RUNS: usize = 512;

/// How many decibels a method must be better by than one that cuts off less. Smaller differences do not show on other data, of which
/// some lie farther out.
const CLEARLY: f64 = 0.1;

/// The same, of what a part adds.
const BARELY: f64 = 0.05;

/// How often the method of each part is reconsidered.
const SWEEPS: usize = 3;

/// Grids whose ends are no farther apart than this share of them need not be told apart.
const ALIKE: f32 = 0.01;

/// Places in [`Judge::models`].
const EXACT: usize = 0;
const ROUNDED: usize = 1;

/// What is tried in a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Names of inputs of the model, which have values of their own, and what they are set to.
    pub inputs: Vec<(String, f32)>,
    /// Which model: a place in [`Judge::models`], or of an INT8 model behind the float one.
    pub model: usize,
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
    /// By method of [`Method::ALL`], the place of what gives its ranges in `methods`.
    places: [usize; Method::ALL.len()],
}

/// The candidates and how they are tried.
#[derive(Debug, Clone)]
pub struct Judge {
    trial: Trial,
    candidates: Candidates,
    /// Of every other sample, from the first and from the second. Each is tried on the samples that it does not come from.
    halves: [Candidates; 2],
    samples: usize,
    runs: usize,
    parts: Vec<Part>,
}

impl Judge {
    /// Prepares to try `candidates`, which come from an [`crate::Observer`] of `model`, on `samples` samples, or batches where the model
    /// takes samples by the batch alone. `halves` are those of [`crate::Halves`]. Each tensor is a part of its own where as many runs
    /// as are allowed suffice.
    ///
    /// # Errors
    /// As [`crate::observed_model`].
    pub fn new(
        model: &Model,
        candidates: Candidates,
        halves: [Candidates; 2],
        samples: usize,
    ) -> Result<Self, QuantError> {
        let trial = Trial::new(model)?;
        let runs = (RUNS_A_SAMPLE * samples).clamp(FEWEST_RUNS, MOST_RUNS);
        let halves =
            if samples < FEWEST_TO_HALVE { [candidates.clone(), candidates.clone()] } else { halves };
        let mut judge = Self { trial, candidates, halves, samples, runs, parts: Vec::new() };
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

    /// Each part of the network rounded alone, by each method; and last the weights alone. By half of the samples.
    #[must_use]
    pub fn alone(&self) -> [Trials; 2] {
        by_half(self.samples_alone(), |half, samples| {
            let parts = self.each().map(|(part, method)| Setting {
                inputs: self.inputs(half, &part.tensors, method),
                model: EXACT,
            });
            let weights = Setting { inputs: Vec::new(), model: ROUNDED };
            Trials { samples, settings: parts.chain([weights]).collect() }
        })
    }

    /// All of the network rounded: by each of [`Method::ALL`] alone, and last as `mixed` says. By half of the samples.
    #[must_use]
    pub fn together(&self, mixed: &[Method]) -> [Trials; 2] {
        by_half(self.samples_together(), |half, samples| {
            let all = 0..self.trial.tensors.len();
            let single = Method::ALL.map(|method| self.inputs(half, &all, method));
            let parts = self.parts.iter().zip(mixed);
            let mixed = parts.flat_map(|(part, method)| self.inputs(half, &part.tensors, *method));
            let inputs = single.into_iter().chain([mixed.collect()]);
            let settings = inputs.map(|inputs| Setting { inputs, model: ROUNDED });
            Trials { samples, settings: settings.collect() }
        })
    }

    /// By part, the method with which all of the network is expected to have the least noise after what came of
    /// [`Judge::alone`]: noises of roundings, which have nothing to do with each other, add up (Widrow).
    #[must_use]
    pub fn mix(&self, alone: &[Outcomes; 2]) -> Vec<Method> {
        let (signal, noises) = both(alone);
        let none = Both::default();
        let noise = |place: usize| noises.get(place).unwrap_or(&none);
        let mut places: Vec<Span<usize>> = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let from = places.last().map_or(0, |places| places.end);
            places.push(from..from + part.methods.len());
        }
        let weights = noise(places.last().map_or(0, |places| places.end));
        let sum =
            |chosen: &[usize]| chosen.iter().fold(weights.clone(), |sum, place| sum.with(noise(*place)));
        // One method for all, in the order of what it is like in each part.
        let single = Method::ALL.map(|method| -> Vec<usize> {
            let like = |(part, places): (&Part, &Span<usize>)| places.start + part.places[method as usize];
            self.parts.iter().zip(&places).map(like).collect()
        });
        let sums = single.each_ref().map(|chosen| sum(chosen));
        let usual = Both::usual(&sums.each_ref());
        let fidelity = |noise: &Both| self.fidelity(&signal, &usual, noise);
        let found = sums.each_ref().map(fidelity);
        let best = best_of(&found) as usize;
        let (mut chosen, mut total, mut most) = (single[best].clone(), sums[best].clone(), found[best]);
        // What is best for one depends on what the others do.
        for _ in 0..SWEEPS {
            for (chosen, places) in chosen.iter_mut().zip(&places) {
                for place in places.clone() {
                    let other = total.clone().without(noise(*chosen)).with(noise(place));
                    let found = fidelity(&other);
                    if found > most + BARELY {
                        (*chosen, total, most) = (place, other, found);
                    }
                }
            }
        }
        let methods: Vec<Method> = self.each().map(|(_, method)| method).collect();
        chosen.iter().filter_map(|place| methods.get(*place).copied()).collect()
    }

    /// By tensor, the ranges of a choice: from all samples, or from those of one half.
    #[must_use]
    pub fn ranges(&self, choice: &Choice, half: Option<usize>) -> BTreeMap<String, Range> {
        let candidates = half.and_then(|half| self.halves.get(half)).unwrap_or(&self.candidates);
        let methods = self.methods(choice);
        let range = |(tensor, ranges): (&String, &[Range; Method::ALL.len()])| {
            let method = methods.get(tensor.as_str()).copied().unwrap_or(choice.fallback());
            (tensor.clone(), ranges[method as usize])
        };
        candidates.iter().map(range).collect()
    }

    /// An INT8 model that [`crate::quantize_static`] made of the float model, with the outputs of [`Judge::outputs`].
    #[must_use]
    pub fn comparable(&self, mut quantized: Model) -> Model {
        let own = std::mem::take(&mut quantized.graph.outputs);
        for output in &self.trial.outputs {
            let value = |name: &str| Value { name: name.into(), element: ElementType::F32, shape: None };
            if output.name != output.of {
                let to = Attribute::Int(i64::from(ElementType::F32.code()));
                let cast = Node::new("Cast", [output.of.as_str()], [output.name.as_str()]);
                quantized.graph.nodes.push(cast.with("to", to));
                quantized.graph.outputs.push(value(&output.name));
            } else if let Some(own) = own.iter().find(|own| own.name == output.of) {
                quantized.graph.outputs.push(own.clone());
            }
        }
        quantized
    }

    /// What is to be run with INT8 models, of [`Judge::comparable`], of so many choices.
    #[must_use]
    pub fn integers(&self, choices: usize) -> [Trials; 2] {
        let settings = || (1..=choices).map(|model| Setting { inputs: Vec::new(), model }).collect();
        self.places()
            .map(|places| Trials { samples: spread(MOST_SAMPLES / 2, &places), settings: settings() })
    }

    /// By setting, the signal to noise.
    fn compared(&self, outcomes: &[Outcomes; 2]) -> Vec<f64> {
        let (signal, noises) = both(outcomes);
        let usual = Both::usual(&noises.iter().collect::<Vec<_>>());
        noises.iter().map(|noise| self.fidelity(&signal, &usual, noise)).collect()
    }

    /// By tensor.
    fn methods(&self, choice: &Choice) -> BTreeMap<&str, Method> {
        let mut methods = BTreeMap::new();
        for (index, part) in self.parts.iter().enumerate() {
            for (tensor, _) in self.trial.tensors.get(part.tensors.clone()).unwrap_or_default() {
                methods.insert(tensor.as_str(), choice.method(index));
            }
        }
        methods
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
            let mut places = [0; Method::ALL.len()];
            for method in WIDEST_FIRST {
                let is_like = |known: &Method| {
                    let grids = |method| self.grids(&self.candidates, &tensors, method);
                    grids(method).zip(grids(*known)).all(|((_, one), (_, other))| are_alike(one, other))
                };
                places[method as usize] = methods.iter().position(is_like).unwrap_or(methods.len());
                if places[method as usize] == methods.len() {
                    methods.push(method);
                }
            }
            Part { tensors, methods, places }
        };
        (0..parts).map(part).collect()
    }

    fn grids<'s>(
        &'s self,
        candidates: &'s Candidates,
        tensors: &Span<usize>,
        method: Method,
    ) -> impl Iterator<Item = (&'s str, Grid)> {
        let tensors = self.trial.tensors.get(tensors.clone()).unwrap_or_default();
        tensors.iter().filter_map(move |(tensor, bounds)| {
            let range = candidates.get(tensor)?[method as usize];
            Some((tensor.as_str(), grid(range, *bounds)))
        })
    }

    /// For samples of this half, with the ranges of the other one.
    fn inputs(&self, half: usize, tensors: &Span<usize>, method: Method) -> Vec<(String, f32)> {
        let grids = self.grids(&self.halves[1 - half], tensors, method);
        grids.flat_map(|(tensor, grid)| self.trial.set(tensor, grid)).collect()
    }

    fn samples_alone(&self) -> [Vec<usize>; 2] {
        let settings = self.each().count() + 1;
        let most = (self.samples / 4).clamp(FEWEST_SAMPLES, MOST_SAMPLES);
        let count = (self.runs / settings).clamp(FEWEST_SAMPLES, most);
        self.places().map(|places| spread(count / 2, &places))
    }

    /// Others than those by which the mixture was chosen, which would flatter it, unless there are hardly any.
    fn samples_together(&self) -> [Vec<usize>; 2] {
        let alone = self.samples_alone();
        by_half(self.places(), |half, places| {
            let others: Vec<usize> =
                places.iter().copied().filter(|place| !alone[half].contains(place)).collect();
            spread(MOST_SAMPLES / 2, if others.len() < alone[half].len() { &places } else { &others })
        })
    }

    /// Of all samples, by half.
    fn places(&self) -> [Vec<usize>; 2] {
        [0, 1].map(|half| (half..self.samples).step_by(2).collect())
    }

    /// Signal to noise in decibels, in the mean over the outputs that are not always zero. The noise of single columns is believed as
    /// far as both halves of the samples say the same of it beside what is `usual`.
    fn fidelity(&self, signal: &Squares, usual: &Both, noise: &Both) -> f64 {
        let (believed, noise) = (believed(signal, usual, noise), noise.all());
        let outputs = signal.outputs().zip(believed.outputs()).zip(noise.outputs()).zip(&self.trial.outputs);
        let found = outputs.filter_map(|(((signal, believed), noise), output)| match output.is_whole {
            true => whole_numbers_db(signal, noise),
            false => floats_db(signal, believed, noise),
        });
        let found: Vec<f64> = found.collect();
        found.iter().sum::<f64>() / found.len().max(1) as f64
    }
}

/// What `make` makes of each half.
fn by_half<T, U>([one, two]: [T; 2], make: impl Fn(usize, T) -> U) -> [U; 2] {
    [make(0, one), make(1, two)]
}

/// What came of both halves: the signal over all samples, and by setting the noise.
fn both(outcomes: &[Outcomes; 2]) -> (Squares, Vec<Both>) {
    let [one, two] = outcomes;
    let of = |outcomes: &Outcomes, setting: usize| outcomes.noise.get(setting).cloned().unwrap_or_default();
    let settings = one.noise.len().max(two.noise.len());
    let noises = (0..settings).map(|setting| Both([of(one, setting), of(two, setting)]));
    (one.signal.clone().with(&two.signal), noises.collect())
}

/// Of methods that are about as good as the best, by what was found of [`Method::ALL`], the one that cuts off the least.
fn best_of(found: &[f64; Method::ALL.len()]) -> Method {
    let most = found.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let is_best = |method: &Method| found[*method as usize] >= most - CLEARLY;
    WIDEST_FIRST.into_iter().find(is_best).unwrap_or(Method::Minmax)
}

fn are_alike(one: Grid, other: Grid) -> bool {
    let ((low, high), (other_low, other_high)) = (one.span(), other.span());
    let apart = (low - other_low).abs().max((high - other_high).abs());
    apart <= ALIKE * (high - low).max(other_high - other_low)
}

/// `count` of these places, evenly spread; all of them, where there are fewer.
fn spread(count: usize, places: &[usize]) -> Vec<usize> {
    let count = count.min(places.len());
    (0..count).filter_map(|index| places.get(index * places.len() / count).copied()).collect()
}

#[cfg(test)]
mod tests;
