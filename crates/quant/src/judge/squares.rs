//! Sums of squares of what a model gives, and the noise that rounding puts into it: by column, which is the place of a value in
//! what is given for a sample. Knows numbers, and no graph.

/// Most columns that are told apart: of more, neighbours are taken together.
const MOST_COLUMNS: usize = 4096;

/// The square of what is no number, or is infinite.
const RUINED: f64 = 1e60;

/// What came of trials, in the order of their settings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcomes {
    /// Of the float model.
    pub(super) signal: Squares,
    /// By setting.
    pub(super) noise: Vec<Squares>,
}

impl Outcomes {
    /// Adds what the outputs are for `samples` samples, of the float model.
    pub fn add_exact(&mut self, outputs: &[&[f32]], samples: usize) {
        self.signal.add(outputs, samples);
    }

    /// Adds what they are with the setting at `setting`; `exact` is what they are without.
    pub fn add_rounded(&mut self, setting: usize, exact: &[&[f32]], rounded: &[&[f32]], samples: usize) {
        if self.noise.len() <= setting {
            self.noise.resize(setting + 1, Squares::default());
        }
        if let Some(noise) = self.noise.get_mut(setting) {
            noise.add_differences(exact, rounded, samples);
        }
    }

    /// Adds what came of other samples or settings.
    pub fn merge(&mut self, other: &Self) {
        self.signal.merge(&other.signal);
        self.noise.resize(self.noise.len().max(other.noise.len()), Squares::default());
        self.noise.iter_mut().zip(&other.noise).for_each(|(noise, other)| noise.merge(other));
    }
}

/// Sums over samples, by output.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Squares {
    outputs: Vec<Columns>,
}

/// Sums of an output.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Columns {
    pub(super) sums: Vec<f64>,
    /// How many squares were added up, over all columns.
    pub(super) values: usize,
}

impl Squares {
    /// Adds the squares of what the outputs are for `samples` samples.
    pub(super) fn add(&mut self, outputs: &[&[f32]], samples: usize) {
        let squares = |values: &&[f32]| {
            let squares = values.iter().map(|value| f64::from(*value).powi(2));
            Columns::of(squares, values.len(), samples)
        };
        self.merge(&Self { outputs: outputs.iter().map(squares).collect() });
    }

    /// Adds the squares of how far `rounded` is from `exact`.
    pub(super) fn add_differences(&mut self, exact: &[&[f32]], rounded: &[&[f32]], samples: usize) {
        let squares = |(exact, rounded): (&&[f32], &&[f32])| {
            let pairs = exact.iter().zip(*rounded);
            let differences = pairs.map(|(one, other)| (f64::from(*one) - f64::from(*other)).powi(2));
            match exact.len() == rounded.len() {
                true => Columns::of(differences, exact.len(), samples),
                // Of another shape, as where things are found and listed, nothing is where it was.
                false => Columns {
                    sums: vec![exact.iter().map(|value| f64::from(*value).powi(2)).sum()],
                    values: exact.len(),
                },
            }
        };
        self.merge(&Self { outputs: exact.iter().zip(rounded).map(squares).collect() });
    }

    /// Adds what was summed over other samples.
    pub(super) fn merge(&mut self, other: &Self) {
        for (place, added) in other.outputs.iter().enumerate() {
            match self.outputs.get_mut(place) {
                Some(columns) => columns.merge(added),
                None => self.outputs.push(added.clone()),
            }
        }
    }

    /// This and `other`.
    pub(super) fn with(mut self, other: &Self) -> Self {
        self.merge(other);
        self
    }

    /// What is left without `other`, which is among what was added.
    pub(super) fn without(mut self, other: &Self) -> Self {
        for (columns, taken) in self.outputs.iter_mut().zip(&other.outputs) {
            columns.sums.iter_mut().zip(&taken.sums).for_each(|(sum, taken)| *sum -= taken);
        }
        self
    }

    /// By output and column, the harmonic mean of `all`; nothing where their columns have not the same places.
    pub(super) fn harmonic_mean(all: &[&Self]) -> Self {
        let Some((first, others)) = all.split_first() else { return Self::default() };
        let mean = |(place, columns): (usize, &Columns)| {
            let same: Vec<&Columns> = others.iter().filter_map(|other| other.outputs.get(place)).collect();
            let mean = |(column, sum): (usize, &f64)| {
                let sums = same.iter().filter_map(|other| other.sums.get(column)).chain([sum]);
                let inverse: f64 = sums.map(|sum| 1.0 / sum.max(f64::MIN_POSITIVE)).sum();
                all.len() as f64 / inverse
            };
            let fits =
                same.len() == others.len() && same.iter().all(|other| other.sums.len() == columns.sums.len());
            let sums = if fits { columns.sums.iter().enumerate().map(mean).collect() } else { Vec::new() };
            Columns { sums, values: columns.values }
        };
        first.outputs.iter().enumerate().map(mean).collect()
    }

    /// By output.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &Columns> {
        self.outputs.iter()
    }
}

impl FromIterator<Columns> for Squares {
    fn from_iter<T: IntoIterator<Item = Columns>>(outputs: T) -> Self {
        Self { outputs: outputs.into_iter().collect() }
    }
}

impl Columns {
    /// The sums of `squares`, of which there are `length` for all of `samples`, over samples and neighbouring columns.
    fn of(squares: impl Iterator<Item = f64>, length: usize, samples: usize) -> Self {
        let sample = if length.is_multiple_of(samples.max(1)) { length / samples.max(1) } else { length };
        let count = sample.min(MOST_COLUMNS);
        let mut sums = vec![0.0; count];
        for (place, square) in squares.enumerate() {
            if let Some(sum) = sums.get_mut(place % sample.max(1) * count / sample.max(1)) {
                *sum += if square.is_finite() { square } else { RUINED };
            }
        }
        Self { sums, values: length }
    }

    fn merge(&mut self, added: &Self) {
        self.values += added.values;
        if self.sums.len() != added.sums.len() {
            // Where samples have different numbers of values, a place means nothing.
            self.sums = vec![self.total()];
        }
        match self.sums.as_mut_slice() {
            [one] => *one += added.total(),
            many => many.iter_mut().zip(&added.sums).for_each(|(sum, added)| *sum += added),
        }
    }

    fn total(&self) -> f64 {
        self.sums.iter().sum()
    }

    /// The columns that carry a signal.
    pub(super) fn alive(&self) -> Vec<usize> {
        let most = self.sums.iter().copied().fold(0.0, f64::max);
        let alive = |column: &usize| self.sums.get(*column).is_some_and(|sum| *sum > most * ALIVE);
        (0..self.sums.len()).filter(alive).collect()
    }

    /// Noise of this signal as a share of it; nothing where it is always zero.
    fn share_of(&self, noise: &Self) -> Option<f64> {
        let signal = self.total();
        (signal > 0.0).then(|| noise.total().max(0.0) / signal)
    }
}

/// The share of columns that is the worst part.
const WORST: f64 = 0.02;

/// The least power of a column that carries a signal, as a share of the strongest one's.
const ALIVE: f64 = 1e-8;

/// How much the worst part counts, beside the whole.
const WEIGHT_OF_WORST: f64 = 0.8;

/// Signal to noise of floats in decibels: four parts that of the worst columns that carry a signal, in the geometric mean, and one part
/// that of the whole. The whole alone would not show a ruined part, and the worst part alone would have all of the others cut off for
/// the least gain of the weakest column. Nothing of what is always zero. `believed` is the noise of columns, `noise` that of the whole.
pub(super) fn floats_db(signal: &Columns, believed: &Columns, noise: &Columns) -> Option<f64> {
    // Quieter than the floats themselves.
    const FLOOR: f64 = 1e-14;
    let whole = signal.share_of(noise)? + FLOOR;
    let mut shares: Vec<f64> = match signal.sums.len() == believed.sums.len() {
        true => {
            let share =
                |column: usize| Some(believed.sums.get(column)?.max(0.0) / signal.sums.get(column)? + FLOOR);
            signal.alive().into_iter().filter_map(share).collect()
        }
        false => vec![whole],
    };
    shares.sort_by(|one, other| other.total_cmp(one));
    let count = ((shares.len() as f64 * WORST).ceil() as usize).max(1);
    let worst = shares.iter().take(count).map(|share| share.log10()).sum::<f64>() / count as f64;
    Some(-10.0 * (WEIGHT_OF_WORST * worst + (1.0 - WEIGHT_OF_WORST) * whole.log10()))
}

/// Signal to noise of whole numbers in decibels: as if a few more of them were off by as much as they are large, so that chance
/// decides nothing where few are off. Nothing of what is always zero.
pub(super) fn whole_numbers_db(signal: &Columns, noise: &Columns) -> Option<f64> {
    const MORE: f64 = 4.0;
    Some(-10.0 * (signal.share_of(noise)? + MORE / signal.values.max(1) as f64).log10())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32], samples: usize) -> Columns {
        let mut squares = Squares::default();
        squares.add(&[values], samples);
        squares.outputs.remove(0)
    }

    fn noise(exact: &[f32], rounded: &[f32], samples: usize) -> Columns {
        let mut squares = Squares::default();
        squares.add_differences(&[exact], &[rounded], samples);
        squares.outputs.remove(0)
    }

    fn db(signal: &Columns, noise: &Columns) -> Option<f64> {
        floats_db(signal, noise, noise)
    }

    #[test]
    fn columns_are_places_within_a_sample() {
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0], 2).sums, [10.0, 20.0]);
        assert_eq!(of(&[1.0, 2.0, 3.0], 2).sums, [1.0, 4.0, 9.0], "of samples of different sizes");
        let many = of(&vec![1.0; 3 * MOST_COLUMNS], 1);
        assert_eq!((many.sums.len(), many.sums[0], many.values), (MOST_COLUMNS, 3.0, 3 * MOST_COLUMNS));
        let mut sum = of(&[1.0, 2.0], 1);
        sum.merge(&of(&[1.0, 1.0, 1.0], 1));
        assert_eq!((sum.sums, sum.values), (vec![8.0], 5));
    }

    #[test]
    fn a_ruined_column_counts_for_more_than_it_has_of_the_whole() {
        let exact = [100.0, 100.0, 1.0];
        let signal = of(&exact, 1);
        let even = db(&signal, &noise(&exact, &[101.0, 101.0, 1.01], 1)).unwrap();
        assert!((even - 40.0).abs() < 1e-6, "{even}");
        let ruined = db(&signal, &noise(&exact, &[100.0, 100.0, 0.0], 1)).unwrap();
        // 0 dB of the worst column, 43 dB of the whole.
        assert!((8.0..9.0).contains(&ruined), "{ruined}");
        assert_eq!(db(&of(&[0.0], 1), &noise(&[0.0], &[1.0], 1)), None);
        let broken = db(&signal, &noise(&exact, &[f32::NAN, 100.0, 1.0], 1)).unwrap();
        assert!(broken.is_finite() && broken < -100.0, "{broken}");
    }

    #[test]
    fn a_single_whole_number_that_is_off_tells_little_and_many_tell_much() {
        let exact = [3.0_f32; 64];
        let off = |count: usize| {
            let mut rounded = exact;
            rounded[..count].fill(0.0);
            whole_numbers_db(&of(&exact, 64), &noise(&exact, &rounded, 64)).unwrap()
        };
        assert!(off(0) - off(1) < 1.0 && off(0) - off(32) > 9.0);
    }

    #[test]
    fn what_was_added_is_taken_away_again() {
        let one = noise(&[1.0, 1.0], &[2.0, 1.0], 1);
        let sum = Squares { outputs: vec![one.clone()] };
        let other = Squares { outputs: vec![noise(&[1.0, 1.0], &[1.0, 4.0], 1)] };
        assert_eq!(sum.clone().with(&other).without(&sum).outputs[0].sums, [0.0, 9.0]);
    }
}
