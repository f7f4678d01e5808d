//! What was found out, as it is kept with the ranges.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clip::Method;

/// Why ranges are what they are, where they were chosen by what rounding does to the outputs. All decibels are of signal to noise of
/// the model's outputs, in the mean over these: four parts of the columns (places in what is given for a sample) where it is the worst,
/// one part of the whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// How many samples, or batches where the model takes samples by the batch alone, `single_db` and `chosen_db` were found on.
    pub samples: usize,
    /// With all tensors rounded by one method, and rounded weights.
    pub single_db: BTreeMap<Method, f64>,
    /// Of these the best, or one that cuts off less and is about as good. Tensors that are not rounded by default have it.
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
