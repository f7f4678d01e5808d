//! How far what a model gives is from what a reference gives for the same samples, output by output: signal to quantization
//! noise, of the whole and of parts, and how often the same class is picked. Knows numbers; knows no models.

use anyhow::{Result, bail};

use crate::heads::{Head, Joined};
use crate::samples::Output;

/// What is said where nothing differs, in dB: more than any rounding of 32-bit floats comes to.
pub(crate) const EXACT_DB: f64 = 200.0;

/// Most values of a sample that are told apart.
const MOST_PLACES: usize = 1 << 22;

/// A part of a signal that has less than this share of the strongest place's power is silent.
const SILENT: f64 = 1e-8;

/// Sums of squares: of what the reference gives, and of how far the other is from it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Powers {
    pub(crate) signal: f64,
    pub(crate) noise: f64,
}

impl Powers {
    fn add(&mut self, reference: f64, other: f64) {
        self.signal += reference * reference;
        self.noise += (reference - other) * (reference - other);
    }

    fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        all.into_iter().fold(Self::default(), |sum, next| Self {
            signal: sum.signal + next.signal,
            noise: sum.noise + next.noise,
        })
    }

    /// 10·log₁₀(Σx² / Σ(x−x̂)²), at most [`EXACT_DB`], which is also that of no noise; `None` of noise without a signal.
    pub(crate) fn db(self) -> Option<f64> {
        if self.noise <= 0.0 {
            return Some(EXACT_DB);
        }
        (self.signal > 0.0).then(|| (10.0 * (self.signal / self.noise).log10()).min(EXACT_DB))
    }
}

/// One sample of an output.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct OfSample {
    pub(crate) powers: Powers,
    /// Rows of scores whose best class is another, or whole numbers that are.
    pub(crate) differing: u64,
}

/// An output of a model against that of a reference.
#[derive(Debug, Clone)]
pub(crate) struct Contrast {
    pub(crate) name: String,
    /// Sizes of a sample's axes, of the first one.
    pub(crate) shape: Vec<usize>,
    /// In their order.
    pub(crate) samples: Vec<OfSample>,
    /// Rows of scores whose best class is the same, or whole numbers that are.
    pub(crate) agreeing: u64,
    /// Of how many.
    pub(crate) compared: u64,
    /// Largest difference of two floats.
    pub(crate) largest: f64,
    /// Samples for which the two have different numbers of values, so that nothing is compared.
    pub(crate) unlike: usize,
    has_floats: bool,
    joined: Option<Joined>,
    is_scores: bool,
    /// By place in a sample; of samples that all have one shape.
    places: Option<Vec<Powers>>,
}

/// What a part of an output comes to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OfPart {
    pub(crate) name: String,
    pub(crate) db: Option<f64>,
}

/// Whether the best of each row along the last axis of a sample may be a class.
pub(crate) fn has_scores(output: &Output, head: &Head) -> bool {
    let classes = output.shape.last().copied().unwrap_or(0);
    output.values.are_floats() && classes > 1 && (output.shape.len() == 1 || head.gives_scores)
}

/// Places of rows from the greatest score to the least, the first of equal ones first.
pub(crate) fn best(row: &[f64]) -> Option<usize> {
    let place = row.iter().enumerate().fold(None, |best: Option<(usize, f64)>, (place, score)| match best {
        Some((_, most)) if *score <= most || score.is_nan() => best,
        _ if score.is_nan() => best,
        _ => Some((place, *score)),
    });
    place.map(|(place, _)| place)
}

impl Contrast {
    /// Of an output that is as `first` for the first sample, and ends as `head` says.
    pub(crate) fn new(first: &Output, head: &Head) -> Self {
        let count = first.values.len();
        let joined = head.joined.clone().filter(|joined| {
            let axis = first.shape.len().checked_sub(joined.from_last);
            let size = axis.and_then(|axis| first.shape.get(axis)).copied();
            size == Some(joined.parts.iter().map(|(_, size)| size).sum())
        });
        let has_floats = first.values.are_floats();
        Self {
            name: first.name.clone(),
            shape: first.shape.clone(),
            samples: Vec::new(),
            agreeing: 0,
            compared: 0,
            largest: 0.0,
            unlike: 0,
            has_floats,
            joined,
            is_scores: has_scores(first, head),
            places: (has_floats && count <= MOST_PLACES).then(|| vec![Powers::default(); count]),
        }
    }

    /// Takes in what both give for the sample at `index` of all.
    ///
    /// # Errors
    /// Where one gives a number and the other does not.
    pub(crate) fn add(&mut self, index: usize, reference: &Output, other: &Output) -> Result<()> {
        if reference.shape != other.shape {
            self.unlike += 1;
            self.samples.push(OfSample::default());
            return Ok(());
        }
        if reference.shape != self.shape {
            self.places = None;
        }
        let (exact, rounded) = (reference.values.numbers(), other.values.numbers());
        let (mut rows, mut agreeing) = (0, 0);
        if self.is_scores {
            let size = reference.shape.last().copied().unwrap_or(1).max(1);
            for (exact, rounded) in exact.chunks(size).zip(rounded.chunks(size)) {
                rows += 1;
                agreeing += u64::from(best(exact) == best(rounded));
            }
        } else if !self.has_floats {
            rows = exact.len() as u64;
            agreeing = exact.iter().zip(&rounded).filter(|(exact, rounded)| exact == rounded).count() as u64;
        }
        let mut powers = Powers::default();
        for (place, (exact, rounded)) in exact.iter().zip(&rounded).enumerate() {
            if !exact.is_finite() || !rounded.is_finite() {
                // As of what is masked.
                if exact == rounded || exact.is_nan() && rounded.is_nan() {
                    continue;
                }
                bail!(
                    "output `{}` is {rounded} for sample {index}, where that of the baseline is {exact}: look at what that sample holds",
                    self.name
                );
            }
            powers.add(*exact, *rounded);
            self.largest = self.largest.max((exact - rounded).abs());
            if let Some(sum) = self.places.as_mut().and_then(|places| places.get_mut(place)) {
                sum.add(*exact, *rounded);
            }
        }
        self.agreeing += agreeing;
        self.compared += rows;
        self.samples.push(OfSample { powers, differing: rows - agreeing });
        Ok(())
    }

    /// Signal to quantization noise of all of it, in dB; `None` of whole numbers, and of noise without a signal.
    pub(crate) fn db(&self) -> Option<f64> {
        let powers = Powers::sum(self.samples.iter().map(|sample| &sample.powers));
        if self.has_floats && self.unlike < self.samples.len() { powers.db() } else { None }
    }

    /// That which 99 of 100 places in a sample have at least, of those that are not silent.
    pub(crate) fn worst_places_db(&self) -> Option<f64> {
        let places = self.places.as_deref()?;
        let most = places.iter().map(|place| place.signal).fold(0.0, f64::max);
        let audible = places.iter().filter(|place| place.signal > most * SILENT);
        let levels: Vec<f64> = audible.filter_map(|place| place.db()).collect();
        crate::statistics::quantile(&levels, 0.01)
    }

    /// By part of what was joined; nothing where nothing was.
    pub(crate) fn parts(&self) -> Vec<OfPart> {
        let (Some(joined), Some(places)) = (&self.joined, &self.places) else { return Vec::new() };
        let inner: usize = self.shape.iter().rev().take(joined.from_last.saturating_sub(1)).product();
        let along: usize = joined.parts.iter().map(|(_, size)| size).sum();
        let mut from = 0;
        let mut parts = Vec::with_capacity(joined.parts.len());
        for (name, size) in &joined.parts {
            let within = places
                .iter()
                .enumerate()
                .filter(|(place, _)| (from..from + size).contains(&(place / inner.max(1) % along.max(1))));
            let powers = Powers::sum(within.map(|(_, powers)| powers));
            from += size;
            parts.push(OfPart { name: name.clone(), db: powers.db() });
        }
        parts
    }

    /// Share of rows or whole numbers that agree, in %; `None` of an output with neither.
    pub(crate) fn agreement(&self) -> Option<f64> {
        (self.compared > 0).then(|| 100.0 * self.agreeing as f64 / self.compared as f64)
    }

    /// Whether there is one class, or whole number, a sample.
    pub(crate) fn is_one_a_sample(&self) -> bool {
        self.compared == self.samples.len() as u64
    }

    /// The samples with the most noise for how strong the output is on average, or of whole numbers with the most that differ, the
    /// worst first: their places and the share.
    pub(crate) fn worst(&self, count: usize) -> Vec<(usize, f64)> {
        let sum = Powers::sum(self.samples.iter().map(|sample| &sample.powers));
        let mean = sum.signal / (self.samples.len() as f64).max(1.0);
        let whole: usize = self.shape.iter().product();
        let share = |(place, sample): (usize, &OfSample)| {
            let share = match self.has_floats {
                true if mean > 0.0 => sample.powers.noise / mean,
                true => sample.powers.noise,
                false => sample.differing as f64 / (whole as f64).max(1.0),
            };
            (share > 0.0).then_some((place, share))
        };
        let mut all: Vec<(usize, f64)> = self.samples.iter().enumerate().filter_map(share).collect();
        all.sort_by(|(_, one), (_, two)| two.total_cmp(one));
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Values;

    fn output(shape: &[usize], values: &[f32]) -> Output {
        Output { name: "y".into(), shape: shape.to_vec(), values: Values::F32(values.to_vec()) }
    }

    fn contrast(shape: &[usize], head: &Head, samples: &[(&[f32], &[f32])]) -> Contrast {
        let mut contrast = Contrast::new(&output(shape, samples[0].0), head);
        for (index, (exact, rounded)) in samples.iter().enumerate() {
            contrast.add(index, &output(shape, exact), &output(shape, rounded)).unwrap();
        }
        contrast
    }

    /// Signal 9 + 16 = 25, noise 0.25: 20 dB.
    #[test]
    fn noise_and_agreement_are_those_of_all_samples() {
        let samples: [(&[f32], &[f32]); 2] = [(&[3.0, 0.0], &[3.0, 0.5]), (&[0.0, 4.0], &[0.0, 4.0])];
        let whole = contrast(&[2], &Head::default(), &samples);
        assert!((whole.db().unwrap() - 20.0).abs() < 1e-9);
        assert_eq!((whole.agreement(), whole.largest, whole.is_one_a_sample()), (Some(100.0), 0.5, true));
        assert_eq!(whole.worst(5), [(0, 0.25 / 12.5)]);
        let flipped: [(&[f32], &[f32]); 1] = [(&[3.0, 2.0], &[3.0, 3.5])];
        let other = contrast(&[2], &Head::default(), &flipped);
        assert_eq!((other.agreeing, other.compared, other.samples[0].differing), (0, 1, 1));
        let same = contrast(&[2], &Head::default(), &samples[1..]);
        assert_eq!((same.db(), same.worst(5)), (Some(EXACT_DB), vec![]));
    }

    /// Boxes up to hundreds hide scores up to one: each part by itself does not.
    #[test]
    fn parts_of_what_was_joined_are_told_apart() {
        let parts = vec![("boxes".to_owned(), 1), ("scores".to_owned(), 1)];
        let head = Head { joined: Some(Joined { from_last: 2, parts }), gives_scores: false };
        let samples: [(&[f32], &[f32]); 1] = [(&[300.0, 400.0, 0.6, 0.8], &[300.0, 400.0, 0.0, 0.8])];
        let whole = contrast(&[2, 2], &head, &samples);
        assert!(whole.db().unwrap() > 50.0);
        let parts = whole.parts();
        assert_eq!((parts[0].name.as_str(), parts[0].db), ("boxes", Some(EXACT_DB)));
        assert!((parts[1].db.unwrap() - 10.0 * (1.0_f64 / 0.36).log10()).abs() < 1e-5, "{parts:?}");
        assert!(whole.worst_places_db().unwrap() < 10.0);
        assert_eq!(whole.agreement(), None, "rows of a map are no scores");
    }

    #[test]
    fn what_is_not_finite_must_be_so_in_both() {
        let masked = f32::NEG_INFINITY;
        let samples: [(&[f32], &[f32]); 1] = [(&[masked, 1.0], &[masked, 1.0])];
        assert_eq!(contrast(&[2], &Head::default(), &samples).db(), Some(EXACT_DB));
        let mut other = Contrast::new(&output(&[1], &[1.0]), &Head::default());
        let said = other.add(7, &output(&[1], &[1.0]), &output(&[1], &[f32::NAN])).unwrap_err().to_string();
        assert_eq!(
            said,
            "output `y` is NaN for sample 7, where that of the baseline is 1: look at what that sample holds"
        );
    }

    #[test]
    fn whole_numbers_agree_or_do_not_and_other_shapes_are_counted() {
        let classes = |values: &[i64]| Output {
            name: "class".into(),
            shape: vec![values.len()],
            values: Values::I64(values.to_vec()),
        };
        let mut contrast = Contrast::new(&classes(&[1, 2]), &Head::default());
        contrast.add(0, &classes(&[1, 2]), &classes(&[1, 3])).unwrap();
        contrast.add(1, &classes(&[1]), &classes(&[1, 3])).unwrap();
        assert_eq!((contrast.agreement(), contrast.unlike, contrast.db()), (Some(50.0), 1, None));
        assert_eq!(contrast.worst(5), [(0, 0.5)]);
        assert_eq!(best(&[0.1, 0.7, 0.7, f64::NAN]), Some(1));
    }
}
