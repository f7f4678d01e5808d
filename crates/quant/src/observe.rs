//! Calibration by streaming: every batch is looked at once and forgotten.

use std::collections::BTreeMap;

use onnx::{ElementType, Model, Shapes, Value};

use crate::clip::Method;
use crate::error::QuantError;
use crate::histogram::Histogram;
use crate::judge::Candidates;
use crate::options::Opsets;
use crate::plan::Plan;
use crate::prepare::prepare;
use crate::ranges::{Lineage, Range, Ranges};
use crate::vectors::for_widest_vectors;

/// Most bins of a histogram that is kept with the ranges.
const KEPT_BINS: usize = 128;

/// Names of the tensors whose ranges [`crate::quantize_static`] may need.
///
/// # Errors
/// As [`observed_model`].
pub fn tensors_to_observe(model: &Model) -> Result<Vec<String>, QuantError> {
    Plan::observing(&prepare(model, Opsets::default())?).map(|plan| plan.roots())
}

/// A copy of the model whose outputs are its own and then those of [`tensors_to_observe`] that are neither outputs
/// nor inputs already: feed an [`Observer`] with a session's outputs, and with the inputs given to it.
///
/// # Errors
/// [`QuantError::AlreadyQuantized`], [`QuantError::NothingToQuantize`], [`QuantError::Opset`], or an
/// [`onnx::Error`] for a model that contradicts itself.
pub fn observed_model(model: &Model) -> Result<Model, QuantError> {
    let mut observed = prepare(model, Opsets::default())?;
    let shapes = Shapes::infer(&observed.graph)?;
    for name in Plan::observing(&observed)?.roots() {
        let graph = &mut observed.graph;
        if !graph.is_output(&name) && !graph.inputs.iter().any(|value| value.name == name) {
            let shape = shapes.dims(&name).map(<[_]>::to_vec);
            graph.outputs.push(Value { name, element: ElementType::F32, shape });
        }
    }
    Ok(observed)
}

/// Gathers what calibration needs of each tensor's values, batch by batch. Its memory does not grow with the number of
/// batches.
#[derive(Debug, Clone)]
pub struct Observer {
    tensors: BTreeMap<String, Observed>,
    method: Method,
    counts: bool,
}

/// What is known of the values of a tensor.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    /// The smallest and the largest. Upside down before the first.
    pub(crate) range: Range,
    /// Empty where it is not wanted.
    pub(crate) histogram: Histogram,
    images: u64,
    /// Sums of the smallest and of the largest value of each image.
    sums: [f64; 2],
}

impl Default for Observed {
    fn default() -> Self {
        let range = Range { min: f32::INFINITY, max: f32::NEG_INFINITY };
        Self { range, histogram: Histogram::default(), images: 0, sums: [0.0; 2] }
    }
}

impl Observed {
    /// Takes in the values of `images` images, as many of each.
    ///
    /// # Errors
    /// A value that is not finite.
    pub(crate) fn add(&mut self, values: &[f32], images: usize, with_histogram: bool) -> Result<(), f32> {
        if values.is_empty() {
            return Ok(());
        }
        let mut batch = Self::default().range;
        for image in values.chunks(values.len().div_ceil(images.max(1))) {
            let Range { min, max } = ends(image)?;
            batch = Range { min: batch.min.min(min), max: batch.max.max(max) };
            self.sums[0] += f64::from(min);
            self.sums[1] += f64::from(max);
            self.images += 1;
        }
        self.range = Range { min: self.range.min.min(batch.min), max: self.range.max.max(batch.max) };
        if with_histogram {
            self.histogram.add(values, batch.min, batch.max);
        }
        Ok(())
    }

    fn merge(&mut self, other: &Self) {
        self.range =
            Range { min: self.range.min.min(other.range.min), max: self.range.max.max(other.range.max) };
        self.histogram.merge(&other.histogram);
        self.images += other.images;
        // Exact, in whatever order, unless the ends of images differ by many orders of magnitude.
        self.sums = [self.sums[0] + other.sums[0], self.sums[1] + other.sums[1]];
    }

    /// The average of the smallest and of the largest value of each image.
    #[expect(clippy::cast_possible_truncation, reason = "an average of floats is no larger than they are")]
    pub(crate) fn average(&self) -> Range {
        let [min, max] = self.sums.map(|sum| (sum / self.images.max(1) as f64) as f32);
        Range { min, max }
    }
}

for_widest_vectors! {
    /// The smallest and the largest of some values.
    ///
    /// # Errors
    /// One that is not finite.
    fn ends = ends_of(values: &[f32]) -> Result<Range, f32>
}

#[inline(always)]
fn ends_of(values: &[f32]) -> Result<Range, f32> {
    const LANES: usize = 16;
    let mut lowest = [f32::INFINITY; LANES];
    let mut highest = [f32::NEG_INFINITY; LANES];
    // Zero times a value that is not finite is no number, and stays none.
    let mut zeros = [0.0_f32; LANES];
    let mut take = |block: &[f32; LANES]| {
        for lane in 0..LANES {
            let value = block[lane];
            lowest[lane] = if value < lowest[lane] { value } else { lowest[lane] };
            highest[lane] = if value > highest[lane] { value } else { highest[lane] };
            zeros[lane] += value * 0.0;
        }
    };
    let (blocks, rest) = values.as_chunks::<LANES>();
    blocks.iter().for_each(&mut take);
    if let Some(&first) = rest.first() {
        let mut last = [first; LANES];
        last[..rest.len()].copy_from_slice(rest);
        take(&last);
    }
    if zeros.iter().any(|zero| zero.is_nan()) {
        return Err(values.iter().copied().find(|value| !value.is_finite()).unwrap_or(f32::NAN));
    }
    // Of two zeros either may be the smaller: the sum makes them one.
    let min = lowest.into_iter().fold(f32::INFINITY, f32::min) + 0.0;
    Ok(Range { min, max: highest.into_iter().fold(f32::NEG_INFINITY, f32::max) + 0.0 })
}

impl Observer {
    /// An observer of these tensors, which are best [`tensors_to_observe`]. Without `with_histograms` there are histograms
    /// only where the method needs them: they take most of the time.
    pub fn new(tensors: impl IntoIterator<Item = String>, method: Method, with_histograms: bool) -> Self {
        let tensors = tensors.into_iter().map(|name| (name, Observed::default())).collect();
        Self { tensors, method, counts: with_histograms || method.wants_histogram() }
    }

    /// Takes in the values that tensors took in one batch of `images` images. Tensors that are not wanted are passed over.
    ///
    /// # Errors
    /// [`QuantError::NotFinite`] for values that are not numbers.
    pub fn observe(&mut self, batch: &[(&str, &[f32])], images: usize) -> Result<(), QuantError> {
        for (name, values) in batch {
            if let Some(observed) = self.tensors.get_mut(*name) {
                let done = observed.add(values, images, self.counts);
                done.map_err(|value| QuantError::NotFinite { tensor: (*name).to_owned(), value })?;
            }
        }
        Ok(())
    }

    /// Whether there was anything to see.
    pub(crate) fn has_seen(&self) -> bool {
        self.tensors.values().any(|observed| observed.images > 0)
    }

    /// Takes in what another observer of the same tensors saw of other images.
    pub fn merge(&mut self, other: Self) {
        for (name, seen) in other.tensors {
            match self.tensors.get_mut(&name) {
                Some(observed) => observed.merge(&seen),
                None => drop(self.tensors.insert(name, seen)),
            }
        }
    }

    /// The ranges, as the method chooses them, on `threads` threads. `percentile` is what [`Method::Percentile`] keeps, in
    /// percent.
    ///
    /// Of histograms: `percentile` cuts off as much at both ends, as ONNX Runtime's `PercentileCalibrater` does; `entropy` draws both
    /// ends towards zero by the factor of the least Jensen–Shannon divergence between values and rounded values (Lin 1991); `mse`
    /// takes the ends of the least `Σ (x − x̂)²`, where a value inside errs by `scale² / 12` in the mean (Widrow).
    ///
    /// # Errors
    /// [`QuantError::MissingRange`] for a tensor that no batch had.
    pub fn ranges(&self, percentile: f64, lineage: Lineage, threads: usize) -> Result<Ranges, QuantError> {
        let tensors = self.chosen(threads, |observed| self.method.choose(observed, percentile))?;
        Ok(self.with_histograms(tensors, lineage))
    }

    /// By tensor, the range that each method chooses; histograms must have been wanted.
    ///
    /// # Errors
    /// As [`Observer::ranges`].
    pub fn candidates(&self, percentile: f64, threads: usize) -> Result<Candidates, QuantError> {
        self.chosen(threads, |observed| Method::ALL.map(|method| method.choose(observed, percentile)))
    }

    /// Ranges that somebody else has chosen, with the histograms of what was seen.
    pub fn with_histograms(&self, tensors: BTreeMap<String, Range>, lineage: Lineage) -> Ranges {
        let histograms = self
            .histograms()
            .map(|(name, histogram)| (name.to_owned(), histogram.coarse(KEPT_BINS).to_bins()));
        Ranges { lineage, tensors, histograms: histograms.collect(), judged: None }
    }

    /// What `choose` makes of each tensor, on `threads` threads.
    fn chosen<T: Send>(
        &self,
        threads: usize,
        choose: impl Fn(&Observed) -> T + Sync,
    ) -> Result<BTreeMap<String, T>, QuantError> {
        if let Some((name, _)) = self.tensors.iter().find(|(_, observed)| observed.images == 0) {
            return Err(QuantError::MissingRange { tensor: name.clone() });
        }
        let all: Vec<(&String, &Observed)> = self.tensors.iter().collect();
        let choose = &|part: &[(&String, &Observed)]| -> Vec<(String, T)> {
            part.iter().map(|(name, observed)| ((*name).clone(), choose(observed))).collect()
        };
        let part = all.len().div_ceil(threads.max(1)).max(1);
        let chosen: Vec<Vec<(String, T)>> = std::thread::scope(|scope| {
            let parts: Vec<_> = all.chunks(part).map(|part| scope.spawn(move || choose(part))).collect();
            let joined = parts.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined.map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        Ok(chosen.into_iter().flatten().collect())
    }

    /// Tensor name → histogram, for those that have one.
    pub fn histograms(&self) -> impl Iterator<Item = (&str, &Histogram)> {
        let with = self.tensors.iter().filter(|(_, observed)| observed.histogram.total() > 0);
        with.map(|(name, observed)| (name.as_str(), &observed.histogram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observer(tensors: &[&str]) -> Observer {
        Observer::new(tensors.iter().map(ToString::to_string), Method::Minmax, true)
    }

    #[test]
    fn ranges_cover_all_batches() {
        let mut observer = observer(&["x", "y"]);
        observer.observe(&[("x", &[1.0, 2.0]), ("z", &[9.0])], 2).unwrap();
        observer.observe(&[("x", &[])], 1).unwrap();
        observer.observe(&[("x", &[-3.0, 1.5])], 1).unwrap();
        let error = observer.ranges(100.0, Lineage::default(), 2).unwrap_err();
        assert!(matches!(error, QuantError::MissingRange { tensor } if tensor == "y"));
        observer.observe(&[("y", &[0.0])], 1).unwrap();
        let ranges = observer.ranges(100.0, Lineage::default(), 2).unwrap();
        assert_eq!(ranges.tensors["x"], Range { min: -3.0, max: 2.0 });
        assert_eq!(ranges.tensors["y"], Range { min: 0.0, max: 0.0 });
        assert_eq!(observer.histograms().map(|(name, _)| name).collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(ranges.histograms["x"].counts.iter().sum::<u64>(), 4);
    }

    #[test]
    fn two_observers_of_a_half_each_are_one_of_the_whole() {
        let values: Vec<f32> = (0_u16..600).map(|i| f32::from(i * 37 % 600) / 7.0 - 20.0).collect();
        let whole = {
            let mut observer = observer(&["x"]);
            observer.observe(&[("x", &values)], 6).unwrap();
            observer
        };
        let [mut one, mut other] = [observer(&["x"]), observer(&["x"])];
        one.observe(&[("x", &values[400..])], 2).unwrap();
        other.observe(&[("x", &values[..400])], 4).unwrap();
        one.merge(other);
        let ranges = |observer: Observer| observer.ranges(100.0, Lineage::default(), 2).unwrap();
        assert_eq!(one.tensors["x"].average(), whole.tensors["x"].average());
        assert_eq!(ranges(one), ranges(whole));
    }

    #[test]
    fn broken_values_are_named() {
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, 20, 39] {
                let mut values = vec![1.0; 40];
                values[place] = broken;
                let mut observer = observer(&["w", "x"]);
                let message = observer.observe(&[("x", &values), ("w", &[1.0])], 4).unwrap_err().to_string();
                assert!(message.contains(&format!("`x` took the value {broken}")), "{message}");
            }
        }
    }

    #[test]
    fn ends_of_any_number_of_values() {
        for length in 1..40_u16 {
            let values: Vec<f32> = (0..length).map(|i| f32::from((i + 5) % length) - 3.0).collect();
            assert_eq!(ends(&values), Ok(Range { min: -3.0, max: f32::from(length) - 4.0 }));
        }
    }
}
