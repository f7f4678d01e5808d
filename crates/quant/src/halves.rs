//! Calibration that can be held against itself: every other sample on its own, so that ranges from one half can be tried on the other.

use crate::error::QuantError;
use crate::judge::Candidates;
use crate::observe::Observer;

/// Two observers, of every other call of the model from the first and from the second.
#[derive(Debug, Clone)]
pub struct Halves {
    observers: [Observer; 2],
    call: usize,
}

impl Halves {
    /// With copies of `observer`, which has seen nothing; a call of the model takes `call` samples at least.
    #[must_use]
    pub fn new(observer: Observer, call: usize) -> Self {
        Self { observers: [observer.clone(), observer], call: call.max(1) }
    }

    /// As [`Observer::observe`] of the `samples` samples from the place `from` on. Values that do not tell samples apart go to both.
    ///
    /// # Errors
    /// As [`Observer::observe`].
    pub fn observe<'b>(
        &mut self,
        batch: &[(&'b str, &'b [f32])],
        from: usize,
        samples: usize,
    ) -> Result<(), QuantError> {
        let half = |sample: usize| (from + sample) / self.call % 2;
        let (apart, joined): (Vec<_>, Vec<_>) =
            batch.iter().copied().partition(|(_, values)| values.len().is_multiple_of(samples.max(1)));
        for observer in &mut self.observers {
            observer.observe(&joined, samples)?;
        }
        let mut sample = 0;
        while sample < samples {
            // Of a call together, which need not tell its samples apart.
            let count = self.call.min(samples - sample);
            let part = |values: &'b [f32]| {
                let length = values.len() / samples;
                values.get(sample * length..(sample + count) * length).unwrap_or_default()
            };
            let parts: Vec<(&str, &[f32])> =
                apart.iter().map(|(name, values)| (*name, part(values))).collect();
            if let Some(observer) = self.observers.get_mut(half(sample)) {
                observer.observe(&parts, count)?;
            }
            sample += count;
        }
        Ok(())
    }

    /// As [`Observer::merge`].
    pub fn merge(&mut self, other: Self) {
        self.observers.iter_mut().zip(other.observers).for_each(|(one, other)| one.merge(other));
    }

    /// The candidates of each half, which are those of all where there is only one. As [`Observer::candidates`].
    ///
    /// # Errors
    /// As [`Observer::candidates`].
    pub fn candidates(&self, percentile: f64, threads: usize) -> Result<[Candidates; 2], QuantError> {
        let [one, two] = &self.observers;
        let all = one.candidates(percentile, threads)?;
        let other = if two.has_seen() { two.candidates(percentile, threads)? } else { all.clone() };
        Ok([all, other])
    }

    /// What was seen of all samples.
    #[must_use]
    pub fn whole(&self) -> Observer {
        let [one, two] = &self.observers;
        let mut whole = one.clone();
        whole.merge(two.clone());
        whole
    }
}
