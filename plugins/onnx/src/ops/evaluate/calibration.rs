//! How far a variant's confidence is from how often it is right: expected calibration error, with an interval. Knows
//! counts, not images.
//!
//! Source: C. Guo et al., "On calibration of modern neural networks", 2017.

use dataset::Predictions;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::pictures::confidence;
use crate::statistics::{multinomial, quantile};

/// Bins of equal width that confidences from 0 to 1 fall into.
pub(super) const BINS: usize = 15;

/// Draws of the bootstrap.
const RESAMPLES: usize = 1_000;

const SEED: u64 = 42;

/// Images of one bin that are all right or all wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Cell {
    images: u64,
    /// Sum of their confidences.
    confidence: f64,
}

impl Cell {
    fn mean(self) -> f64 {
        if self.images > 0 { self.confidence / self.images as f64 } else { 0.0 }
    }
}

/// The images whose confidence lies between two marks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bin {
    right: Cell,
    wrong: Cell,
}

/// A bin with images in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// Mean confidence, in %.
    pub(super) confidence: f64,
    /// Share of images that are right, in %.
    pub(super) accuracy: f64,
    /// Share of all images that are in it, in %.
    pub(super) share: f64,
}

/// Confidences of a variant's predictions, and how often they were right.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Calibration {
    bins: [Bin; BINS],
    images: u64,
}

impl Calibration {
    pub(super) fn of(predictions: &Predictions) -> Self {
        let mut bins = [Bin::default(); BINS];
        for image in 0..predictions.len() {
            let confidence = confidence(predictions, image);
            // A confidence of 1 belongs to the last bin.
            let place = ((confidence * BINS as f64) as usize).min(BINS - 1);
            let Some(bin) = bins.get_mut(place) else { continue };
            let cell = if predictions.is_correct(image) { &mut bin.right } else { &mut bin.wrong };
            cell.images += 1;
            cell.confidence += confidence;
        }
        Self { bins, images: predictions.len() as u64 }
    }

    /// The bins that have images, from the least confidence to the most.
    pub(super) fn points(&self) -> Vec<Point> {
        let point = |Bin { right, wrong }: &Bin| {
            let images = (right.images + wrong.images) as f64;
            (images > 0.0).then(|| Point {
                confidence: 100.0 * (right.confidence + wrong.confidence) / images,
                accuracy: 100.0 * right.images as f64 / images,
                share: 100.0 * images / self.images as f64,
            })
        };
        self.bins.iter().filter_map(point).collect()
    }

    /// Expected calibration error in points: how far confidence and accuracy of a bin are apart, on average over images.
    pub(super) fn error(&self) -> f64 {
        error(&self.bins, self.images)
    }

    /// 95 % interval of the error, from a bootstrap over images: the counts of right and wrong images in each bin are
    /// drawn anew, each image with the mean confidence of those that it is counted with.
    ///
    /// Chance alone makes confidence and accuracy differ, so the error is too high, and that of a drawn sample once more
    /// so. The interval therefore reaches as far below the error as the quantile at 97.5 % of the drawn ones lies above
    /// it, but not below 0.
    pub(super) fn interval(&self) -> Option<[f64; 2]> {
        let counts: Vec<u64> =
            self.bins.iter().flat_map(|bin| [bin.right.images, bin.wrong.images]).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let mut errors = Vec::with_capacity(RESAMPLES);
        for _ in 0..RESAMPLES {
            let drawn = multinomial(&counts, &mut rng)?;
            let mut bins = self.bins;
            for (bin, pair) in bins.iter_mut().zip(drawn.chunks_exact(2)) {
                for (cell, &images) in [&mut bin.right, &mut bin.wrong].into_iter().zip(pair) {
                    *cell = Cell { images, confidence: images as f64 * cell.mean() };
                }
            }
            errors.push(error(&bins, self.images));
        }
        let own = self.error();
        let half = (quantile(&errors, 0.975)? - own).max(0.0);
        Some([(own - half).max(0.0), own + half])
    }
}

fn error(bins: &[Bin], images: u64) -> f64 {
    let gap = |Bin { right, wrong }: &Bin| (right.images as f64 - right.confidence - wrong.confidence).abs();
    100.0 * bins.iter().map(gap).sum::<f64>() / (images as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Predictions of two classes with these confidences, right or wrong.
    fn predictions(images: &[(f64, bool)]) -> Predictions {
        let logits =
            images.iter().flat_map(|(confidence, _)| [(confidence / (1.0 - confidence)).ln() as f32, 0.0]);
        let labels = images.iter().map(|&(_, right)| i64::from(!right)).collect();
        Predictions::new(logits.collect(), 2, labels).unwrap()
    }

    /// 100 images at 0.9 of which 80 are right, 100 at 0.6 of which 70 are: (0.1·100 + 0.1·100) / 200.
    fn off_by_ten() -> Vec<(f64, bool)> {
        let group = |confidence, right| (0..100).map(move |image| (confidence, image < right));
        group(0.9, 80).chain(group(0.6, 70)).collect()
    }

    #[test]
    fn the_error_is_the_mean_gap_between_confidence_and_accuracy() {
        let calibration = Calibration::of(&predictions(&off_by_ten()));
        assert!((calibration.error() - 10.0).abs() < 1e-4, "{}", calibration.error());
        let points = calibration.points();
        assert_eq!(points.len(), 2);
        assert!((points[0].confidence - 60.0).abs() < 1e-4 && (points[1].confidence - 90.0).abs() < 1e-4);
        assert_eq!((points[0].accuracy, points[1].accuracy, points[0].share), (70.0, 80.0, 50.0));
    }

    /// In one bin, confidence that is too high for some images makes up for what is too low for others.
    #[test]
    fn gaps_of_one_bin_cancel() {
        let images = [(0.94, true), (0.95, true), (0.96, true), (0.99, false)];
        let calibration = Calibration::of(&predictions(&images));
        assert!((calibration.error() - 100.0 * (3.84 - 3.0) / 4.0).abs() < 1e-4);
        let sure = Predictions::new(vec![900.0, 0.0], 2, vec![0]).unwrap();
        assert_eq!(Calibration::of(&sure).error(), 0.0);
    }

    #[test]
    fn the_interval_repeats_and_holds_the_error() {
        let calibration = Calibration::of(&predictions(&off_by_ten()));
        let [low, high] = calibration.interval().unwrap();
        assert_eq!(calibration.interval(), Some([low, high]));
        assert!(low < 10.0 && 10.0 < high, "[{low}, {high}]");
        // Two binomial shares of 100 images each: a standard error of about 3 points.
        assert!((2.0..7.0).contains(&low) && (13.0..18.0).contains(&high), "[{low}, {high}]");
    }

    #[test]
    fn chance_alone_is_not_shown_to_be_an_error() {
        let perfect: Vec<_> = (0..1000).map(|image| (0.8, image % 5 != 0)).collect();
        let calibration = Calibration::of(&predictions(&perfect));
        assert!(calibration.error() < 1e-3);
        let [low, high] = calibration.interval().unwrap();
        // The share that is right has a standard error of 1.3 points.
        assert!(low == 0.0 && (1.5..5.0).contains(&high), "[{low}, {high}]");
    }

    #[test]
    fn no_image_has_no_interval() {
        let none = Calibration::of(&predictions(&[]));
        assert_eq!((none.error(), none.interval(), none.points()), (0.0, None, vec![]));
    }
}
