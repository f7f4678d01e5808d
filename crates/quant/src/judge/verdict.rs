//! What was found out, as it is kept with the ranges.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clip::Method;
use crate::judge::{Choice, Judge, Outcomes, Shortlist, both};

/// Why ranges are what they are, where they were chosen by what rounding does to the outputs. All decibels are of signal to noise of
/// the model's outputs, in the mean over these: four parts of the columns (places in what is given for a sample) where it is the worst,
/// one part of the whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// How many samples, or batches where the model takes samples by the batch alone, `single_db` and `chosen_db` were found on.
    pub samples: usize,
    /// With all tensors rounded by one method, and weights rounded to the nearest.
    pub single_db: BTreeMap<Method, f64>,
    /// Of the INT8 models of what then came into question, as ONNX Runtime computes them: by method, or `mixed`.
    #[serde(default)]
    pub integers_db: BTreeMap<String, f64>,
    /// The method of tensors that are not rounded by default.
    pub best: Method,
    /// With the ranges that were chosen.
    pub chosen_db: f64,
    /// By tensor.
    pub tensors: BTreeMap<String, Chosen>,
}

/// Which method a tensor has, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// The method.
    pub method: Method,
    /// With this tensor alone rounded, or of a large network this part, by each method. One that gives about the same range as another
    /// is left out.
    pub alone_db: BTreeMap<Method, f64>,
}

impl Judged {
    /// The method of `tensor`.
    #[must_use]
    pub fn method(&self, tensor: &str) -> Method {
        self.tensors.get(tensor).map_or(self.best, |chosen| chosen.method)
    }

    /// How many tensors have each method, the most frequent first.
    #[must_use]
    pub fn counts(&self) -> Vec<(Method, usize)> {
        let mut counts: BTreeMap<Method, usize> = BTreeMap::new();
        for chosen in self.tensors.values() {
            *counts.entry(chosen.method).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }
}

impl Judge {
    /// The choice, and why: the best of the short list after what came of [`Judge::integers`], where these could be had: with
    /// the ranges that there will be, and with those of the other half of the samples, by the mean in decibels. The former have the very
    /// grids, the latter are not flattered.
    #[must_use]
    pub fn conclude<'l>(
        &self,
        list: &'l Shortlist,
        alone: &[Outcomes; 2],
        integers: Option<&[[Outcomes; 2]; 2]>,
    ) -> (&'l Choice, Judged) {
        let found: Vec<f64> = match integers {
            Some([own, other]) => {
                let pairs = self.compared(own).into_iter().zip(self.compared(other));
                pairs.map(|(own, other)| f64::midpoint(own, other)).collect()
            }
            None => list.choices.iter().map(|(_, db)| *db).collect(),
        };
        let (choice, chosen_db) = list.best(&found);
        let (signal, noises) = both(alone);
        let mut found_alone = noises.iter().map(|noise| self.fidelity(&signal, noise, noise));
        let methods = self.methods(choice);
        let mut tensors = BTreeMap::new();
        for part in &self.parts {
            let found = part.methods.iter().copied().zip(found_alone.by_ref());
            let alone_db: BTreeMap<Method, f64> =
                found.map(|(method, db)| (method, hundredths(db))).collect();
            for (tensor, _) in self.trial.tensors.get(part.tensors.clone()).unwrap_or_default() {
                let method = methods.get(tensor.as_str()).copied().unwrap_or(choice.fallback());
                tensors.insert(tensor.clone(), Chosen { method, alone_db: alone_db.clone() });
            }
        }
        let integers_db =
            list.choices.iter().zip(&found).map(|((choice, _), db)| (choice.name(), hundredths(*db)));
        let judged = Judged {
            samples: self.integers(0).iter().map(|trials| trials.samples.len()).sum(),
            single_db: Method::ALL.into_iter().zip(list.single.map(hundredths)).collect(),
            integers_db: integers_db.filter(|_| integers.is_some()).collect(),
            best: choice.fallback(),
            chosen_db: hundredths(chosen_db),
            tensors,
        };
        (choice, judged)
    }
}

/// Decibels as they are kept.
fn hundredths(decibels: f64) -> f64 {
    (decibels * 100.0).round() / 100.0
}
